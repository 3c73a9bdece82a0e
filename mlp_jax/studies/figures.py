"""There are four kinds of figure: lines with bands, a forest of intervals, heat maps, a grid of images.

A study hands over data, and gets SVG text (or a PNG, for images): the same bytes for the same data.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlp_jax.data.dataset import Images
from mlp_jax.studies.results import Row, by
from mlp_jax.studies.statistics import finite

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
    where ticks stand, if matplotlib is not to decide. rows: names of y = 0, 1, ... from the top. crosses: x of
    what diverged, drawn at the foot. legend: matplotlib's name of a place, "above", or "" for none.
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
    crosses: Sequence[float] = ()
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


def over_seeds(label: str, x: Numbers, seeds: Sequence[Numbers] | NDArray[np.floating], number: int) -> Line:
    """Gives the mean over seeds at x, and one standard deviation (n - 1) around it; one seed has none.

    Raises ValueError for a value that is not finite.
    """
    values = np.asarray(seeds, float)
    if values.size == 0:
        return Line(label, [], [], number=number)
    finite(values.ravel())
    middle, spread = values.mean(axis=0), values.std(axis=0, ddof=1 if len(values) > 1 else 0)
    sides = (middle - spread, middle + spread) if len(values) > 1 else ()
    return Line(label, x, middle, *sides, number=number)


def grouped(
    rows: Iterable[Row], name: str, x: str, y: Callable[[Row], Any], *, how: str = "band", label: str = "{}"
) -> list[Line]:
    """Gives a line of rows for each of their values of this name, which stands in its label.

    x: the name of a row's value. y: makes of a row (number, low, high), or None for no point.
    """
    lines = []
    for number, (value, own) in enumerate(by(rows, name).items()):
        told = [(row[x], found) for row in own if (found := y(row)) is not None]
        sides: Any = np.array([found for _, found in told]).T if told else ([],)
        lines.append(Line(label.format(value), [place for place, _ in told], *sides, number=number, how=how))
    return lines


def in_percent(quantity: str) -> Callable[[Row], tuple[float, ...] | None]:
    """Gives for `grouped` a measured fraction in % and its standard deviation; None where no run finished."""

    def sides(row: Row) -> tuple[float, ...] | None:
        mean, spread = row[quantity]["mean"], row[quantity]["std"] or 0
        return None if mean is None else tuple(100 * (mean + sign * spread) for sign in (0, -1, 1))

    return sides


def stated(rows: Iterable[Row], x: str, quantity: str) -> Line:
    """Gives what the report states of a fraction, in %, against the rows' x: open grey markers."""
    told = [row for row in rows if row["report"]]
    values = [100 * row["report"][quantity] for row in told]
    return Line("report", [row[x] for row in told], values, number=None, how="ring")


def difference(paired: Mapping[str, Any]) -> Mark | None:
    """Marks a paired difference in points with its interval, which one seed has not; None if all diverged."""
    names = ("mean", "low", "high") if paired["low"] is not None else ("mean",) * 3
    return None if paired["mean"] is None else Mark(*(100 * paired[name] for name in names))


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
    if panel.crosses:
        low, foot = [0.02] * len(panel.crosses), axes.get_xaxis_transform()
        axes.plot(panel.crosses, low, "kx", transform=foot, clip_on=False, label="diverged")
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


def forest(groups: Mapping[str, Mapping[str, Mark | None]], xlabel: str, level: tuple[str, float] | None) -> str:
    """Draws a line for each mark below its group's heading, None as "diverged"; empty groups are left out.

    level: label and place of a vertical line to compare with; without a label it is in no legend.
    """
    groups = {heading: marks for heading, marks in groups.items() if marks}
    ticks = [
        tick for head, marks in groups.items() for tick in [(head, "bold"), *((name, "normal") for name in marks)]
    ]
    figure, (axes,) = canvas(height=0.8 + 0.24 * len(ticks))
    if level is not None:
        axes.axvline(level[1], **GREY | ({"label": level[0]} if level[0] else {"linestyle": "-", "linewidth": 1}))
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
    limits: tuple[float, float], *, framed: tuple[int, int] | None = None,
    cmap: str = "Greys", form: str = ".1f", height: float = 0, turn: float = 0,
) -> str:  # fmt: skip
    """Draws maps (rows, columns) side by side by title, with the number in each cell, or a cross for nan.

    labels: of the columns and of the rows. limits: the values of the lightest and the darkest colour. framed: row
    and column of the best. height: of a map in inches, 0 for what its rows need. turn: by how many degrees the
    columns' names are turned.
    """
    from matplotlib.patches import Rectangle

    figure, panels = canvas(len(maps), height=height or max(2.8, 1.2 + 0.36 * len(rows)))
    slanted: dict[str, Any] = {"rotation": turn, "ha": "right", "rotation_mode": "anchor"} if turn else {}
    for axes, (title, values) in zip(panels, maps.items(), strict=True):
        axes.pcolormesh(values, cmap=cmap, edgecolors="#bbbbbb", linewidth=0.5, vmin=limits[0], vmax=limits[1])
        for (y, x), value in np.ndenumerate(values):
            text = "x" if np.isnan(value) else f"{value:{form}}"
            color = "white" if value > sum(limits) / 2 else "black"
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


def image_grid(pictures: Sequence[Images], titles: Sequence[str], across: int, size: tuple[float, float]) -> bytes:
    """Draws pictures (height, width, 1 or 3 channels) of 0 to 255 with titles, each of `size` inches: a PNG."""
    figure, panels = canvas(across, -(-len(pictures) // across), width=size[0], height=size[1])
    for axes in panels:
        axes.set_axis_off()
    for axes, picture, title in zip(panels, pictures, titles, strict=False):  # the last row may have room left
        shown = picture if picture.shape[-1] == 3 else picture[..., 0]
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize="small")
    drawn, data = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    # a palette takes a third of the size, and random weights do not compress
    whole = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    whole.save(data, format="PNG", optimize=True)
    return data.getvalue()


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
