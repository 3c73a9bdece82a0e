"""Figures of the initialisation study: accuracy and gradient against depth, norms layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlp_jax.studies.plots.style import STYLES, Row, canvas, legend, report_line, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"sgd": "SGD", "adam": "Adam"}
QUANTITIES = {"activation": "RMS of the layer's activations", "gradient": "RMS of the layer's weight gradient"}


def accuracy(rows: Sequence[Row]) -> str:
    """Validation accuracy in % against layers: a panel per optimiser, a line per initialisation, and chance."""
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows))
    figure, panels = canvas(len(optimizers))
    for axes, optimizer in zip(panels, optimizers, strict=True):
        for number, init in enumerate(_inits(rows)):
            mine = _of(rows, optimizer, init)
            mine = [row for row in mine if row["validation_accuracy"]["n"]]
            means, spreads = (
                np.array([100 * (row["validation_accuracy"][k] or 0) for row in mine]) for k in ("mean", "std")
            )
            _line(axes, [row["layers"] for row in mine], means, means - spreads, means + spreads, number, init)
        report_line(axes, 100 * rows[0]["chance"], "commonest class")
        axes.set(title=NAMES[optimizer], xlabel="layers (hidden layers + 1)", ylabel="validation accuracy [%]")
        axes.set_xticks(sorted({row["layers"] for row in rows}))
    legend(panels[0])
    return svg(figure)


def first_gradient(rows: Sequence[Row]) -> str:
    """The first layer's gradient at the start against layers; the optimiser does not matter yet."""
    figure, (axes,) = canvas(1)
    axes.set_yscale("log")
    for number, init in enumerate(_inits(rows)):
        mine = [row for row in _of(rows, rows[0]["optimizer"], init) if row["norms"]["gradient"]]
        middle = np.array([row["norms"]["gradient"]["mean"][0][0] for row in mine])
        spread = np.array([(row["norms"]["gradient"]["spread"] or [[1.0]])[0][0] for row in mine])
        _line(axes, [row["layers"] for row in mine], middle, middle / spread, middle * spread, number, init)
    axes.set(xlabel="layers (hidden layers + 1)", ylabel="RMS of the first layer's weight gradient")
    axes.set_xticks(sorted({row["layers"] for row in rows}))
    legend(axes)
    return svg(figure)


def norms(rows: Sequence[Row], layers: int) -> str:
    """Of networks of one depth: activations above, gradients below; the start, then the end by optimiser."""
    rows = [row for row in rows if row["layers"] == layers]
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows))
    epochs = rows[0]["recipe"]["epochs"]
    columns = [("at the start", optimizers[0], 0)]
    columns += [(f"after {epochs} epochs of {NAMES[name]}", name, -1) for name in optimizers]
    figure, panels = canvas(len(columns), 2)
    for row_number, (quantity, words) in enumerate(QUANTITIES.items()):
        for column, (title, optimizer, when) in enumerate(columns):
            axes = panels[row_number * len(columns) + column]
            axes.set(yscale="log", title=title, xlabel="layer")
            _norms(axes, rows, optimizer, quantity, when)
            axes.set_xticks(range(1, layers + 1))
            if column == 0:
                axes.set_ylabel(words)
    legend(panels[0])
    return svg(figure)


def _norms(axes: Axes, rows: Sequence[Row], optimizer: str, quantity: str, when: int) -> None:
    for number, init in enumerate(_inits(rows)):
        for row in _of(rows, optimizer, init):
            found = row["norms"][quantity]
            if found is None:
                continue
            middle = np.array(found["mean"][when])
            spread = np.array(found["spread"][when]) if found["spread"] else np.ones_like(middle)
            x = range(1, len(middle) + 1)
            _line(axes, x, middle, middle / spread, middle * spread, number, init)


def _line(
    axes: Axes,
    x: Sequence[int],
    middle: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    number: int,
    label: str,
) -> None:
    color, marker = STYLES[number % len(STYLES)]
    if axes.get_yscale() == "log":  # which has no place for 0
        middle, low, high = (np.where(values > 0, values, np.nan) for values in (middle, low, high))
    axes.plot(x, middle, color=color, marker=marker, markersize=4, label=label)
    axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def _inits(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["init"] for row in rows))


def _of(rows: Sequence[Row], optimizer: str, init: str) -> list[Row]:
    mine = [row for row in rows if (row["optimizer"], row["init"]) == (optimizer, init)]
    return sorted(mine, key=lambda row: int(row["layers"]))
