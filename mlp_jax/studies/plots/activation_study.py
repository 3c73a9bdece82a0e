"""Figures of the activation study: one line per setting, grouped by factor, to read on a narrow screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlp_jax.studies.plots import style
from mlp_jax.studies.plots.style import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Groups = Mapping[str, Mapping[str, Row]]
"""Heading -> name of a line -> row, or paired difference."""


def accuracies(groups: Groups, centre: Row, report: float | None) -> str:
    """Test accuracy in %: mean, standard deviation and seeds of each row; the report's value as a line."""
    figure, axes, lines = _lines(groups)
    if report is not None:
        axes.axvline(100 * report, color="#666666", linestyle=(0, (5, 3)), linewidth=1.2, label="report", zorder=1)
    for y, number, row in lines:
        measured, (color, marker) = row["test_accuracy"], style.STYLES[number % len(style.STYLES)]
        if measured["mean"] is None:
            _no_value(axes, y)
            continue
        filled = color if row is centre else "white"
        spread = 100 * (measured["std"] or 0.0)
        axes.errorbar(
            100 * measured["mean"], y, xerr=spread, color=color, marker=marker, mfc=filled, capsize=3, zorder=3
        )
        seeds = [100 * value for value in measured["values"]]
        axes.plot(seeds, [y] * len(seeds), ".", color=color, alpha=0.4, markersize=4)
    axes.set_xlabel("test accuracy, %")
    style.legend(axes, loc="upper left")
    return style.svg(figure)


def differences(groups: Groups, split: str = "test") -> str:
    """Paired differences of accuracy in points with their 95 % intervals (none for one seed), and a line at 0."""
    figure, axes, lines = _lines(groups)
    axes.axvline(0, color="#666666", linewidth=1)
    for y, number, paired in lines:
        if paired["mean"] is None:
            _no_value(axes, y)
            continue
        color, marker = style.STYLES[number % len(style.STYLES)]
        width = 0.0 if paired["low"] is None else 100 * (paired["high"] - paired["mean"])
        axes.errorbar(100 * paired["mean"], y, xerr=width, color=color, marker=marker, capsize=3)
    axes.set_xlabel(f"difference in {split} accuracy, points")
    return style.svg(figure)


def _lines(groups: Groups) -> tuple[Figure, Axes, list[tuple[int, int, Row]]]:
    """An empty figure with a labelled line per setting; each line's height, the number of its group, its row."""
    ticks: list[tuple[int, str, bool]] = []
    lines = []
    for number, (heading, members) in enumerate((k, v) for k, v in groups.items() if v):
        ticks.append((-len(ticks), heading, True))
        for name, row in members.items():
            lines.append((-len(ticks), number, row))
            ticks.append((-len(ticks), name, False))
    figure, (axes,) = style.canvas(height=0.8 + 0.24 * len(ticks))
    axes.set_yticks([y for y, _, _ in ticks], [name for _, name, _ in ticks])
    axes.set_ylim(-len(ticks) + 0.4, 0.6)
    for tick, (_, _, bold) in zip(axes.get_yticklabels(), ticks, strict=True):
        tick.set_fontweight("bold" if bold else "normal")
    axes.tick_params(axis="y", length=0)
    return figure, axes, lines


def _no_value(axes: Axes, y: int) -> None:
    axes.annotate("diverged", (0.5, y), xycoords=("axes fraction", "data"), va="center", fontsize="small")
