"""Figures of the grid search: Figure 1 of the report, the grid as a map, random trials as points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_jax.studies.plots.style import STYLES, Row, band, canvas, legend, report_line, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT_LOSS = 0.95  # where the report's Figure 1 ends


def figure_1(row: Row, thin: int) -> str:
    """Loss against iteration, accuracies against epoch, of a row with `curves` and `figure_1`.

    thin: steps that each point of the loss is the mean of.
    """
    figure, (left, right) = canvas(2)
    losses = [run["loss"] for run in row["figure_1"]]
    ends = [min((number + 1) * thin, row["steps"]) for number in range(len(losses[0]))]
    band(left, ends, losses, 2, "minibatch, with L2")
    accuracies = [run["batch_accuracy"] for run in row["figure_1"]]
    epochs = _epochs(row, len(accuracies[0]))
    band(right, epochs, _percent(accuracies), 1, "training: current minibatch")
    band(right, epochs, _percent(row["curves"]["validation_accuracy"]), 2, "validation")
    if row["report"] is not None:
        stated = 100 * row["report"]["validation_accuracy"]
        report_line(left, REPORT_LOSS, f"report: ends near {REPORT_LOSS}")
        report_line(right, stated, f"report: {stated:.1f} %")
    left.set(xlabel="iteration", ylabel="loss [nats]")
    right.set(xlabel="epoch", ylabel="accuracy [%]")
    legend(left)
    legend(right, loc="lower right")
    return svg(figure)


def _epochs(row: Row, number: int) -> list[float]:
    """Ends of the epochs, of which the last may be cut."""
    per_epoch = row["images"]["train"] // row["batch_size"]
    return [min(end + 1, row["steps"] / per_epoch) for end in range(number)]


def _percent(seeds: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[100 * value for value in values] for values in seeds]


def grid(rows: Sequence[Row], best: Mapping[str, Any] | None) -> str:
    """A map of validation accuracy for each number of steps: network and batch down, lambda and rate across."""
    from matplotlib.patches import Rectangle

    searched = [row for row in rows if row["kind"] == "grid"]
    down = sorted({_down(row) for row in searched})
    across = sorted({_across(row) for row in searched})
    steps = sorted({row["steps"] for row in searched}) if not _by_epochs(searched) else [None]
    figure, panels = canvas(len(steps), height=max(2.8, 1.2 + 0.36 * len(down)))
    values = [100 * row["validation_accuracy"]["mean"] for row in searched if row["status"] == "finished"]
    ends = (min(values, default=0.0), max(values, default=100.0))
    for axes, taken in zip(panels, steps, strict=True):
        shown = [row for row in searched if taken in (None, row["steps"])]
        _map(axes, shown, down, across, ends)
        if best is not None:
            place = (across.index(_across(best)), down.index(_down(best)))
            axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.5))
        axes.set_title(f"after {taken} steps" if taken else "validation accuracy [%]", fontsize="medium")
        axes.set(xlabel="learning rate, lambda", ylabel="hidden, batch")
    return svg(figure)


def _by_epochs(rows: Sequence[Row]) -> bool:
    return all(row["recipe"]["steps"] is None for row in rows)


def _down(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["hidden"], row["batch_size"]


def _across(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["learning_rate"], row["l2"]


def _map(
    axes: Axes,
    rows: Sequence[Row],
    down: list[tuple[int, int]],
    across: list[tuple[float, float]],
    ends: tuple[float, float],
) -> None:
    """Light grey is the least of `ends`, dark the greatest, so that print shows it; the number is in its cell."""
    cells = np.full((len(down), len(across)), math.nan)
    middle, span = sum(ends) / 2, max(ends[1] - ends[0], 1.0)
    for row in rows:
        y, x = down.index(_down(row)), across.index(_across(row))
        if row["status"] == "finished":
            cells[y, x] = 100 * row["validation_accuracy"]["mean"]
        text = "x" if math.isnan(cells[y, x]) else f"{cells[y, x]:.1f}"
        color = "white" if cells[y, x] > middle else "black"
        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", size=8, color=color)
    limits: dict[str, Any] = {"vmin": middle - 0.7 * span, "vmax": middle + 0.8 * span}
    axes.pcolormesh(cells, cmap="Greys", edgecolors="#bbbbbb", linewidth=0.5, **limits)
    axes.grid(False)
    axes.set_xticks([i + 0.5 for i in range(len(across))], [f"{rate:g}\n{l2:g}" for rate, l2 in across], size=8)
    axes.set_yticks([i + 0.5 for i in range(len(down))], [f"{h}, {b}" for h, b in down], size=8)
    axes.invert_yaxis()


def trials(rows: Sequence[Row], best: Mapping[str, Any] | None) -> str:
    """Validation accuracy of each trial against learning rate and lambda, in logarithms; a marker per width."""
    searched = [row for row in rows if row["kind"] == "trial"]
    figure, (left, right) = canvas(2)
    for axes, name, label in ((left, "learning_rate", "learning rate"), (right, "l2", "lambda")):
        for number, hidden in enumerate(sorted({row["hidden"] for row in searched})):
            mine = [r for r in searched if r["hidden"] == hidden and r["status"] == "finished"]
            color, marker = STYLES[number % len(STYLES)]
            values = [100 * row["validation_accuracy"]["mean"] for row in mine]
            axes.plot([r[name] for r in mine], values, marker, color=color, markersize=5, label=f"hidden {hidden}")
        _mark(axes, searched, best, name)
        axes.set(xscale="log", xlabel=label, ylabel="validation accuracy [%]")
    legend(left)
    return svg(figure)


def _mark(axes: Axes, rows: Sequence[Row], best: Mapping[str, Any] | None, name: str) -> None:
    """Crosses at the foot of the panel for what diverged, a ring around the best."""
    diverged = [row[name] for row in rows if row["status"] != "finished"]
    if diverged:
        foot = axes.get_xaxis_transform()
        axes.plot(
            diverged, [0.02] * len(diverged), "x", color="black", transform=foot, clip_on=False, label="diverged"
        )
    for row in rows:
        if best is not None and all(row[key] == value for key, value in best.items()):
            y = 100 * row["validation_accuracy"]["mean"]
            axes.plot([row[name]], [y], "o", markersize=12, fillstyle="none", color="black", label="best")
            return
