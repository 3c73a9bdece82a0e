"""What all figures share: colours, axes, a band over seeds, the report's own value as a line, SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

from mlp_jax.studies.statistics import finite

Row = Mapping[str, Any]

# Okabe and Ito's colours, which the colour-blind can tell apart; a marker of its own for prints in grey
STYLES = [
    ("#000000", "o"), ("#D55E00", "s"), ("#0072B2", "^"), ("#009E73", "D"),
    ("#CC79A7", "v"), ("#E69F00", "P"), ("#56B4E9", "X"), ("#999999", "*"),
]  # fmt: skip
DASHES = ("-", "--", "-.", ":")
"""A further sign for lines beyond the number of colours, and for a second property of a line."""


def blank(width: float, height: float) -> Figure:
    """A figure without panels, of so many inches."""
    # matplotlib takes half as long to import as jax: only what draws waits for it
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def canvas(columns: int = 1, rows: int = 1, *, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure of rows x columns panels with a light grid; `height` of a panel in inches, the width fits."""
    width = 6.4 if columns == 1 else 4.2 * columns
    figure = blank(width, height * rows)
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def band(axes: Axes, x: Sequence[float], seeds: Sequence[Sequence[float]], number: int, label: str) -> None:
    """The mean over seeds as a line with markers, and one standard deviation (n - 1) as a band around it.

    seeds: for each of them, the values at x. number: which colour and marker. One seed has no band.

    Raises ValueError for a value that is not finite.
    """
    color, marker = STYLES[number % len(STYLES)]
    dash = DASHES[number // len(STYLES) % len(DASHES)]
    values = np.asarray(seeds, float)
    if values.size == 0:
        return
    middle = np.array(finite(values.ravel())).reshape(values.shape).mean(axis=0)
    every = max(1, len(x) // 12)
    axes.plot(x, middle, dash, color=color, marker=marker, markersize=4, markevery=every, label=label)
    if len(values) > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(x, middle - spread, middle + spread, color=color, alpha=0.18, linewidth=0)


def report_line(axes: Axes, value: float, label: str) -> None:
    """A dashed grey line across the panel at what the report states."""
    axes.axhline(value, color="#666666", linestyle=(0, (5, 3)), linewidth=1.2, label=label, zorder=1)


def legend(axes: Axes, **options: Any) -> None:
    """A small legend, if anything has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", framealpha=0.85, **options)


def svg(figure: Figure) -> str:
    """The figure as SVG, without date and with fixed names, so that equal figures are equal files."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "mlp_jax", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def png(figure: Figure, *, dpi: int = 110) -> bytes:
    """The figure as PNG, for pictures made of pixels."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    return data.getvalue()
