"""Figures of the best model: curves, confusion matrix, first-layer weights and mistakes as pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlp_jax.data.dataset import Images
from mlp_jax.studies.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
ACROSS = 8


def training_curves(row: Row) -> str:
    """Loss and accuracy against epoch: the minibatches' and the validation split's, a band over seeds."""
    from matplotlib.ticker import MaxNLocator

    figure, (losses, accuracies) = style.canvas(columns=2)
    curves = row["curves"]
    epochs = list(range(1, 1 + max((len(curve) for curve in curves["loss"]), default=0)))
    for axes, name in ((losses, "loss"), (accuracies, "accuracy")):
        factor = 100 if name == "accuracy" else 1
        for number, (prefix, label) in enumerate((("", "training minibatches"), ("validation_", "validation"))):
            seeds = [[factor * value for value in curve] for curve in curves[prefix + name]]
            style.band(axes, epochs, seeds, number, label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.set_ylabel("loss (nats)")
    accuracies.set_ylabel("accuracy (%)")
    if row["report"] is not None:
        style.report_line(accuracies, 100 * row["report"]["validation_accuracy"], "report: validation, one seed")
    for axes in (losses, accuracies):
        style.legend(axes)
    return style.svg(figure)


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Of each true class (a row) the percentage that was taken for each class (a column)."""
    table = np.asarray(counts, float)
    shares = 100 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.45 * len(classes)
    figure = style.blank(size + 0.6, size)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (true, predicted), share in np.ndenumerate(shares):
        color = "white" if share > 55 else "black"
        axes.text(predicted, true, f"{share:.0f}", ha="center", va="center", color=color, fontsize="small")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title("% of each true class", fontsize="medium")
    return style.svg(figure)


def largest_units(w: NDArray[Any], most: int = 40) -> NDArray[np.intp]:
    """The units whose weights (inputs, units) have the largest norm, largest first."""
    return np.argsort(-np.linalg.norm(w, axis=0), kind="stable")[:most]


def first_layer(
    before: NDArray[Any],
    after: NDArray[Any],
    image_shape: tuple[int, int, int],
    *,
    channels_first: bool,
) -> bytes:
    """The same units' weights, (inputs, units), before and after training, each unit as a picture of its own."""
    sides = [mosaic(weight_pictures(w, image_shape, channels_first=channels_first)) for w in (before, after)]
    height, width = sides[0].shape[:2]
    figure = style.blank(9.6, 0.4 + 4.7 * height / width)
    for number, (side, title) in enumerate(
        zip(sides, ("before training", "after training"), strict=True), start=1
    ):
        axes = figure.add_subplot(1, 2, number)
        _show(axes, side)
        axes.set_title(title, fontsize="medium")
    return _small(figure)


def weight_pictures(w: NDArray[Any], image_shape: tuple[int, int, int], *, channels_first: bool) -> Images:
    """Weights (inputs, units) as uint8 (units, height, width, channels): 0 is grey, each has its own range."""
    height, width, channels = image_shape
    if channels_first:
        pictures = w.T.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    else:
        pictures = w.T.reshape(-1, height, width, channels)
    largest = np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)
    scaled = pictures / np.where(largest > 0, largest, 1)
    return np.rint(127.5 + 127.5 * scaled).astype(np.uint8)


def mosaic(pictures: Images) -> Images:
    """Pictures (N, height, width, channels) as one, `ACROSS` in a row, white lines between."""
    count, height, width, channels = pictures.shape
    gap = max(1, width // 16)
    down = -(-count // ACROSS)
    across = min(count, ACROSS)
    whole = np.full((down * (height + gap) + gap, across * (width + gap) + gap, channels), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = gap + number // ACROSS * (height + gap), gap + number % ACROSS * (width + gap)
        whole[top : top + height, left : left + width] = picture
    return whole


def mistakes(pictures: Images, titles: Sequence[str]) -> bytes:
    """Pictures with a title of up to three lines each, five in a row."""
    across, down = min(5, len(pictures)), -(-len(pictures) // 5)
    figure = style.blank(1.6 * across, 2.2 * down)
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True), start=1):
        axes = figure.add_subplot(down, across, number)
        _show(axes, picture)
        axes.set_title(title, fontsize="small")
    return _small(figure)


def _show(axes: Axes, picture: Images) -> None:
    axes.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=255)
    axes.images[0].set_interpolation("nearest")
    axes.set_axis_off()


def _small(figure: Figure) -> bytes:
    """A PNG with a palette: a third of the size, and random weights do not compress."""
    picture = Image.open(io.BytesIO(style.png(figure))).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    data = io.BytesIO()
    picture.save(data, format="PNG", optimize=True)
    return data.getvalue()
