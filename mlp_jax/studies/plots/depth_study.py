"""Figure of the depth study: accuracy against the number of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlp_jax.studies.plots.style import STYLES, Row, canvas, legend, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {"validation_accuracy": "validation", "test_accuracy": "test"}


def accuracy(rows: Sequence[Row]) -> str:
    """Validation and test accuracy in %, a line per initialisation, whiskers of one standard deviation.

    What the report states is an open grey marker. A depth of which no run finished has no point.
    """
    figure, panels = canvas(2)
    inits = list(dict.fromkeys(row["init"] for row in rows))
    for axes, (quantity, split) in zip(panels, PANELS.items(), strict=True):
        for (color, marker), init in zip(STYLES, inits, strict=False):
            mine = [row for row in rows if row["init"] == init and row[quantity]["n"]]
            mine.sort(key=lambda row: int(row["layers"]))
            layers = [row["layers"] for row in mine]
            means, spreads = ([100 * (row[quantity][k] or 0) for row in mine] for k in ("mean", "std"))
            axes.errorbar(layers, means, spreads, color=color, marker=marker, markersize=4, capsize=3, label=init)
        _report(axes, [row for row in rows if row["report"]], quantity)
        axes.set(xlabel="layers (hidden layers + 1)", ylabel=f"{split} accuracy [%]")
        axes.set_xticks(sorted({row["layers"] for row in rows}))
        legend(axes)
    return svg(figure)


def _report(axes: Axes, rows: Sequence[Row], quantity: str) -> None:
    if rows:
        axes.plot(
            [row["layers"] for row in rows],
            [100 * row["report"][quantity] for row in rows],
            linestyle="",
            marker="o",
            markersize=8,
            markerfacecolor="none",
            color="#666666",
            label="report",
        )
