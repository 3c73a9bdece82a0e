"""This shows what the best model has learned: confusion, mistakes, first-layer weights."""

import io
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlp_jax import data
from mlp_jax.data.dataset import Images
from mlp_jax.studies import figures as draw
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.saved_model import Model
from mlp_jax.training.step import init_state

MOST_MISTAKES = 20


def shown(dataset: data.Dataset, model: Model) -> tuple[dict[str, Any], dict[str, draw.Figure]]:
    """Gives classes, confusion counts and the most confident mistakes, and the figures made of pixels."""
    probabilities = model.probabilities(dataset.test_images)
    mistakes = most_confident_mistakes(probabilities, dataset.test_labels)
    from sklearn.metrics import confusion_matrix  # it takes longer to import than most commands

    predicted = probabilities.argmax(axis=1)
    counts = confusion_matrix(dataset.test_labels, predicted, labels=range(len(model.classes))).tolist()
    more = {
        "classes": list(model.classes),
        "confusion": {"of": "test images: a row per true class, a column per predicted one", "counts": counts},
        "mistakes": mistakes,
    }
    figures = {"first_layer.png": first_layer(model)} if model.config.hidden else {}
    if mistakes:
        figures["mistakes.png"] = mistakes_figure(model, dataset, mistakes)
    return more, figures


def most_confident_mistakes(probabilities: Any, labels: data.Labels) -> list[dict[str, Any]]:
    """Gives the wrong answers of the largest probability, largest first; `index` counts the test images from 0."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    return [
        {
            "index": int(i),
            "true": int(labels[i]),
            "predicted": int(predicted[i]),
            "probability": round(float(confidence[i]), 6),
            "probability_of_true": round(float(probabilities[i, labels[i]]), 6),
        }
        for i in order
    ]


def first_layer(model: Model) -> draw.Figure:
    """Draws the first layer's largest units as pictures, beside what they were before training."""
    start = init_state(jax.random.key(model.about.seed), model.config, TrainConfig()).params
    before, after = (np.asarray(params[0].w) for params in (start, model.params))
    units = largest_units(after)
    channels_first = model.scaling.how == "unit_range"
    sides = [
        mosaic(weight_pictures(w[:, units], model.image_shape, channels_first=channels_first))
        for w in (before, after)
    ]
    height, width = sides[0].shape[:2]
    png = image_grid(sides, ("before training", "after training"), 2, (4.8, 0.4 + 4.7 * height / width))
    return draw.Figure(
        png,
        f"First-layer weights as pictures: the {len(units)} units (of {after.shape[1]}) whose weights are largest "
        f"after training, the same units on both sides. 0 is grey, and each has its own scale. "
        f"Seed {model.about.seed}.",
    )


ACROSS = 8


def largest_units(w: NDArray[Any], most: int = 40) -> NDArray[np.intp]:
    """Gives the units whose weights (inputs, units) have the largest norm, largest first."""
    return np.argsort(-np.linalg.norm(w, axis=0), kind="stable")[:most]


def weight_pictures(w: NDArray[Any], image_shape: tuple[int, int, int], *, channels_first: bool) -> Images:
    """Gives weights (inputs, units) as uint8 (units, height, width, channels): 0 is grey, each has its range."""
    height, width, channels = image_shape
    if channels_first:
        pictures = w.T.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    else:
        pictures = w.T.reshape(-1, height, width, channels)
    largest = np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)
    scaled = pictures / np.where(largest > 0, largest, 1)
    return np.rint(127.5 + 127.5 * scaled).astype(np.uint8)


def mosaic(pictures: Images) -> Images:
    """Gives pictures (N, height, width, channels) as one, `ACROSS` in a row, white lines between."""
    count, _, width, channels = pictures.shape
    gap, across = max(1, width // 16), min(count, ACROSS)
    missing = -count % across  # in the last row
    framed = np.pad(pictures, ((0, missing), (gap, 0), (gap, 0), (0, 0)), constant_values=255)
    rows = framed.reshape(-1, across, *framed.shape[1:]).swapaxes(1, 2)
    whole = rows.reshape(len(rows) * framed.shape[1], across * framed.shape[2], channels)
    return np.pad(whole, ((0, gap), (0, gap), (0, 0)), constant_values=255)


def mistakes_figure(model: Model, dataset: data.Dataset, mistakes: list[dict[str, Any]]) -> draw.Figure:
    """Draws the test images that the network got wrong with most confidence."""
    titles = [
        f"is {model.classes[m['true']]}\ntaken for {model.classes[m['predicted']]}\n{100 * m['probability']:.1f} %"
        for m in mistakes
    ]
    pictures = dataset.test_images[[m["index"] for m in mistakes]]
    return draw.Figure(
        image_grid(list(pictures), titles, min(5, len(pictures)), (1.6, 2.2)),
        f"The {len(mistakes)} most confident mistakes on {len(dataset.test_labels):,} test images: true class, "
        "predicted class, and the probability that the network gives it.",
    )


def image_grid(pictures: Sequence[Images], titles: Sequence[str], across: int, size: tuple[float, float]) -> bytes:
    """Draws pictures (height, width, 1 or 3 channels) of 0 to 255 with titles, each of `size` inches: a PNG."""
    figure, panels = draw.canvas(across, -(-len(pictures) // across), width=size[0], height=size[1])
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
