"""There are three kinds of figure: lines with bands, a forest of intervals, heat maps; `learned` has images.

A study hands over data (`plotted` makes it of rows), and gets SVG text: the same bytes for the same data.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


class Figure(NamedTuple):
    """A figure is SVG text or the bytes of a PNG, and a caption that says what to see."""

    content: str | bytes
    caption: str


# the colour-blind can tell Okabe and Ito's colours apart; in prints in grey, each has a marker of its own
COLORS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
STYLES = list(zip(COLORS, "os^DvPX*", strict=True))
DASHES = ("-", "--", "-.", ":")  # these tell lines apart beyond the number of colours
GREY: dict[str, Any] = {"color": "#666666", "linestyle": (0, (5, 3)), "linewidth": 1.2, "zorder": 1}
FORMS: dict[str, dict[str, Any]] = {
    "band": {},
    "points": {"linestyle": "", "markersize": 5, "alpha": 0.8, "markevery": 1},
    "ring": {"linestyle": "", "markersize": 10, "fillstyle": "none", "marker": "o", "markevery": 1},
}
Numbers = Sequence[float] | NDArray[np.floating]


@dataclass(frozen=True)
class Line:
    """A line has values y at x, with low and high around them where there is a spread.

    number: which colour and marker, None for the report's grey. how: "band" (a line, its spread as a band),
    "whiskers" (a line, its spread as whiskers), "points" (no line) or "ring" (open markers).
    """

    label: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    number: int | None = field(default=0, kw_only=True)
    how: str = field(default="band", kw_only=True)


@dataclass(frozen=True)
class Panel:
    """A panel is lines on one pair of axes.

    levels: grey horizontal values by label. limits: vertical ones as (label, value, number of a colour). xticks:
    where ticks stand, if matplotlib is not to decide. rows: names of y = 0, 1, ... from the top. legend:
    matplotlib's name of a place, "above", or "" for none.
    """

    lines: Sequence[Line]
    xlabel: str
    ylabel: str = ""
    title: str = ""
    xscale: str = "linear"
    yscale: str = "linear"
    xticks: Sequence[float] = ()
    rows: Sequence[str] = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    limits: Sequence[tuple[str, float, int]] = ()
    legend: str = "best"


@dataclass(frozen=True)
class Mark:
    """A mark is a line of a forest: a value, its interval, each seed as a dot; open if it is not `filled`."""

    value: float
    low: float
    high: float
    seeds: Sequence[float] = ()
    filled: bool = True


Groups = dict[str, dict[str, Mark | None]]
"""Marks are grouped under headings, each with a label; None marks what diverged."""


def lines(panels: Sequence[Panel], *, columns: int | None = None, height: float = 3.6) -> str:
    """Draws panels in rows of so many columns, default all in one; `height` of a panel in inches."""
    across = columns or len(panels)
    figure, axes = canvas(across, -(-len(panels) // across), height=height)
    for one, panel in zip(axes, panels, strict=True):
        for line in panel.lines:
            _draw(one, line, log=panel.yscale == "log")
        _furnish(one, panel)
        if panel.legend == "above":
            figure.legend(loc="outside upper center", ncols=4, fontsize="small", frameon=False)
        elif panel.legend:
            _legend(one, panel.legend)
    return svg(figure)


def _draw(axes: Axes, line: Line, *, log: bool) -> None:
    number = line.number or 0
    color, marker = ("#666666", "o") if line.number is None else STYLES[number % len(STYLES)]
    y, low, high = (np.asarray(line.y if side is None else side) for side in (line.y, line.low, line.high))
    if not y.size:
        return
    if log:  # there is no place for 0
        y, low, high = (np.where(side > 0, side, np.nan) for side in (y, low, high))
    style: dict[str, Any] = {"color": color, "label": line.label, "marker": marker, "markersize": 4}
    if line.how == "whiskers":
        axes.errorbar(line.x, y, np.abs([low - y, high - y]), capsize=3, **style)
        return
    dash = DASHES[number // len(STYLES) % len(DASHES)]
    axes.plot(line.x, y, **style | {"linestyle": dash, "markevery": max(1, len(y) // 12)} | FORMS[line.how])
    if line.how == "band" and line.low is not None:
        axes.fill_between(line.x, low, high, color=color, alpha=0.18, linewidth=0)


def _furnish(axes: Axes, panel: Panel) -> None:
    """Adds what a panel has beside its lines."""
    for label, value in panel.levels.items():
        axes.axhline(value, label=label, **GREY)
    for label, value, number in panel.limits:
        axes.axvline(value, color=STYLES[number][0], linestyle="--", linewidth=1, label=label)
    # a logarithmic scale has no place where no value is above 0
    scale = panel.yscale if any(np.any(np.asarray(line.y) > 0) for line in panel.lines) else "linear"
    axes.set(xscale=panel.xscale, yscale=scale, xlabel=panel.xlabel, ylabel=panel.ylabel)
    axes.set_title(panel.title, fontsize="medium")
    if panel.xticks:
        axes.set_xticks(panel.xticks, [f"{tick:g}" for tick in panel.xticks])
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    if panel.rows:
        axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize="small")
        axes.invert_yaxis()


def _legend(axes: Axes, place: str) -> None:
    if axes.get_legend_handles_labels()[0]:
        options: dict[str, Any] = {"loc": place}
        axes.legend(fontsize="small", framealpha=0.85, **options)


def forest(groups: Mapping[str, Mapping[str, Mark | None]], xlabel: str, levels: Mapping[str, float]) -> str:
    """Draws a line for each mark below its group's heading, None as "diverged"; empty groups are left out.

    levels: places, by label, of vertical lines to compare with; what has no label is in no legend.
    """
    groups = {heading: marks for heading, marks in groups.items() if marks}
    ticks = [
        tick for head, marks in groups.items() for tick in [(head, "bold"), *((name, "normal") for name in marks)]
    ]
    figure, (axes,) = canvas(height=0.8 + 0.24 * len(ticks))
    for label, value in levels.items():
        axes.axvline(value, **GREY | ({"label": label} if label else {"linestyle": "-", "linewidth": 1}))
    y = 0
    for number, marks in enumerate(groups.values()):
        for place, mark in enumerate(marks.values(), start=1):
            _mark(axes, y - place, number, mark)
        y -= 1 + len(marks)
    axes.set_yticks([-place for place in range(len(ticks))], [name for name, _ in ticks])
    axes.set_ylim(-len(ticks) + 0.4, 0.6)
    for tick, (_, weight) in zip(axes.get_yticklabels(), ticks, strict=True):
        tick.set_fontweight(weight)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(xlabel)
    _legend(axes, "upper left")
    return svg(figure)


def _mark(axes: Axes, y: int, number: int, mark: Mark | None) -> None:
    if mark is None:
        axes.annotate("diverged", (0.5, y), xycoords=("axes fraction", "data"), va="center", fontsize="small")
        return
    color, marker = STYLES[number % len(STYLES)]
    face, spread = color if mark.filled else "white", [[mark.value - mark.low], [mark.high - mark.value]]
    axes.errorbar(mark.value, y, xerr=spread, color=color, marker=marker, mfc=face, capsize=3, zorder=3)
    axes.plot(mark.seeds, [y] * len(mark.seeds), ".", color=color, alpha=0.4, markersize=4)


def heat_map(
    maps: Mapping[str, NDArray[np.floating]], rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str],
    *, framed: tuple[int, int] | None = None, form: str = ".1f", turn: float = 0,
) -> str:  # fmt: skip
    """Draws maps (rows, columns) side by side by title, with the number in each cell, or a cross for nan.

    labels: of the columns and of the rows. framed: row and column of the best. turn: by how many degrees the
    columns' names are turned. Grey goes from 1 below the least value to 1 above the greatest.
    """
    from matplotlib.patches import Rectangle

    figure, panels = canvas(len(maps), height=max(2.8, 1.2 + 0.36 * len(rows)))
    known = [value for values in maps.values() for value in values[np.isfinite(values)]]
    low, high = min(known, default=0) - 1, max(known, default=0) + 1
    slanted: dict[str, Any] = {"rotation": turn, "ha": "right", "rotation_mode": "anchor"} if turn else {}
    for axes, (title, values) in zip(panels, maps.items(), strict=True):
        axes.pcolormesh(values, cmap="Greys", edgecolors="#bbbbbb", linewidth=0.5, vmin=low, vmax=high)
        for (y, x), value in np.ndenumerate(values):
            text = "x" if np.isnan(value) else f"{value:{form}}"
            color = "white" if value > (low + high) / 2 else "black"
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", size=8, color=color)
        if framed is not None:
            axes.add_patch(Rectangle(framed[::-1], 1, 1, fill=False, edgecolor="#D55E00", linewidth=2.5))
        axes.grid(False)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, size=8, **slanted)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows, size=8)
        axes.invert_yaxis()
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_title(title, fontsize="medium")
    return svg(figure)


def canvas(columns: int = 1, rows: int = 1, *, height: float = 3.6, width: float = 0) -> tuple[Canvas, list[Axes]]:
    """Makes a figure of rows x columns panels with a light grid, each of so many inches; width 0 is usual."""
    # matplotlib takes half as long to import as jax: only what draws waits for it
    from matplotlib.figure import Figure as Canvas

    size = (columns * (width or (6.4 if columns == 1 else 4.2)), rows * height)
    figure = Canvas(figsize=size, layout="constrained")
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def svg(drawn: Canvas) -> str:
    """Gives the figure as SVG, without date and with fixed names, so that equal figures are equal files."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mlp_jax", "svg.fonttype": "none"}):
        drawn.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
