"""Data sets as arrays: loading them by name, splitting them, and turning pixels into network inputs.

Everything here is numpy on the host: uint8 pixels until `normalize`, which makes the float rows that a
network reads. Statistics used for normalisation always come from the training split alone.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlp_jax.errors import UserError, one_of

DATASETS = ("digits", "cifar10", "synthetic")
"""Names that `load` knows."""

SPLITS = {"49000/1000": (49_000, 1_000), "45000/5000": (45_000, 5_000)}
"""The report's (train, validation) sizes on CIFAR-10: Question 3 and Table 1; the best model of Question 4."""

NORMALIZATIONS = ("mean_image", "unit_range", "standardize")
"""Names that `normalize` knows."""

Images = NDArray[np.uint8]
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of two splits, checked when made.

    Images are uint8 (N, height, width, channels), 0..255; labels are of any integer type and become int32
    (N,), 0..len(classes)-1. The fingerprint is a sha256 over class names, shapes and bytes of the arrays; it
    is computed unless given, so that results can say which data they come from (`dataclasses.replace` keeps
    the old one: give it `fingerprint=""`).

    Raises:
        UserError: an array has the wrong type or shape, splits do not match, or a label is out of range.
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: tuple[str, ...]
    fingerprint: str = ""

    def __post_init__(self) -> None:
        _check_images("train_images", self.train_images)
        _check_images("test_images", self.test_images)
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise UserError(
                f"train and test images differ in shape: {self.train_images.shape[1:]} "
                f"and {self.test_images.shape[1:]}"
            )
        for split in ("train", "test"):
            labels, count = getattr(self, f"{split}_labels"), len(getattr(self, f"{split}_images"))
            _check_labels(f"{split}_labels", labels, count, len(self.classes))
            object.__setattr__(self, f"{split}_labels", labels.astype(np.int32, copy=False))
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", _fingerprint(self))


def _check_images(name: str, images: Any) -> None:
    dtype, shape = getattr(images, "dtype", type(images).__name__), np.shape(images)
    if dtype != np.uint8 or len(shape) != 4:
        raise UserError(
            f"{name}: expected uint8 of shape (N, height, width, channels), found {dtype} of shape {shape}"
        )
    if 0 in shape:
        raise UserError(f"{name}: there are no pixels in shape {shape}")


def _check_labels(name: str, labels: Any, count: int, classes: int) -> None:
    dtype, shape = getattr(labels, "dtype", type(labels).__name__), np.shape(labels)
    if not np.issubdtype(getattr(labels, "dtype", object), np.integer) or shape != (count,):
        raise UserError(f"{name}: expected integers of shape ({count},), found {dtype} of shape {shape}")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        first = wrong[0]
        raise UserError(f"{name}[{first}] is {labels[first]}: labels of {classes} classes are 0..{classes - 1}")


def _fingerprint(dataset: Dataset) -> str:
    digest = hashlib.sha256(repr(dataset.classes).encode())
    for array in (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels):
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    archive: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Load a data set by name; the options belong to `cifar10.load`, the other data sets need no files.

    Raises:
        UserError: the name is not in `DATASETS`, or the data cannot be read.
    """
    one_of("dataset", name, DATASETS)
    if name == "digits":
        return digits()
    if name == "synthetic":
        return synthetic()
    from mlp_jax.data import cifar10  # it imports Dataset from here

    return cifar10.load(data_dir=data_dir, archive=archive, cache_dir=cache_dir)


def digits() -> Dataset:
    """scikit-learn's handwritten digits: 1,497 training and 300 test images of 8x8x1, 10 classes.

    The original 0..16 is stretched to 0..255, and the order is a fixed permutation, because the source is
    grouped by writer. Source: `sklearn.datasets.load_digits` (test part of the UCI optical digits).
    """
    from sklearn.datasets import load_digits  # takes most of a second

    source = load_digits()
    order = np.random.default_rng(0).permutation(len(source.target))
    images = np.rint(source.images[order, :, :, None] * (255 / 16)).astype(np.uint8)
    labels = source.target[order]
    classes = tuple(str(digit) for digit in source.target_names)
    return Dataset("digits", images[:-300], labels[:-300], images[-300:], labels[-300:], classes)


def synthetic(
    seed: int = 0, *, train: int = 1000, test: int = 200, size: int = 8, channels: int = 3, classes: int = 10
) -> Dataset:
    """Noisy copies of one random picture per class: `train` + `test` images of size x size x channels.

    The spread of the pictures (12 grey levels) is well below the noise (64), so that no pixel tells the
    class, while all of them together nearly do.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(train + test) % classes)
    centres = 128 + 12 * rng.standard_normal((classes, size, size, channels))
    pixels = centres[labels] + 64 * rng.standard_normal((train + test, size, size, channels))
    images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    names = tuple(f"class {index}" for index in range(classes))
    return Dataset("synthetic", images[:train], labels[:train], images[train:], labels[train:], names)


class Split(NamedTuple):
    """Images of one split, uint8 from `split` or float rows (N, D) from `normalize`, and their labels (N,).

    numpy arrays as they come from here; `evaluation.on_device` makes jax arrays of them.
    """

    x: Any
    y: Any


class ChannelFirst(Split):
    """A split whose rows have one channel after the other, as the report's Question 4 scripts order them.

    No dense network minds the order; what takes a row for an image of (height, width, channels) refuses this type.
    """


class Splits(NamedTuple):
    """The three splits of a run."""

    train: Split
    validation: Split
    test: Split


def split(dataset: Dataset, *, train: int | None = None, validation: int, test: int | None = None) -> Splits:
    """Cut a data set in its given order: views, nothing is copied.

    Training takes the first `train` training images (default: all but `validation`), validation the next
    `validation`, testing the first `test` test images (default: all).

    Raises:
        UserError: a size is below 1 or there are not enough images.
    """
    images, labels = dataset.train_images, dataset.train_labels
    train = len(images) - validation if train is None else train
    test = len(dataset.test_images) if test is None else test
    sizes = f"train={train}, validation={validation}, test={test}"
    if not all(isinstance(size, int) and size >= 1 for size in (train, validation, test)):
        raise UserError(f"every split needs a whole number of at least 1 image: {sizes}")
    if train + validation > len(images) or test > len(dataset.test_images):
        raise UserError(
            f"{dataset.name} has {len(images)} training and {len(dataset.test_images)} test images, "
            f"too few for {sizes}"
        )
    end = train + validation
    return Splits(
        Split(images[:train], labels[:train]),
        Split(images[train:end], labels[train:end]),
        Split(dataset.test_images[:test], dataset.test_labels[:test]),
    )


def normalize(splits: Splits, how: str, *, dtype: DTypeLike = np.float32) -> Splits:
    """Turn uint8 images into float rows of shape (N, D), D = height * width * channels.

    - `mean_image` (Question 3): 0..255 minus the mean training image, not scaled; height-width-channel order.
    - `unit_range` (Question 4): [-1, 1] as (x / 255 - 0.5) / 0.5; channel-first order, as `ChannelFirst` splits.
    - `standardize`: minus the mean, over the standard deviation, of each channel of the training split;
      height-width-channel order. A constant channel becomes 0.

    Raises:
        UserError: `how` is not in `NORMALIZATIONS`, or the images are not uint8 (normalised already, say).
    """
    for name, part in zip(splits._fields, splits, strict=True):
        _check_images(f"{name}.x", part.x)
    found = scaling(splits.train.x, how)
    kind = ChannelFirst if how == "unit_range" else Split
    return Splits(*(kind(rows(part.x, found, dtype=dtype), part.y) for part in splits))


class Scaling(NamedTuple):
    """How pixels become network inputs: (pixels - shift) / scale; `how` is a name of `NORMALIZATIONS`."""

    how: str
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]


def scaling(images: Images, how: str) -> Scaling:
    """The shift and scale that `normalize` takes from these training images.

    Shapes: (height, width, channels) and (1,) for `mean_image`, (1,) for `unit_range`, (channels,) for
    `standardize`.
    """
    one_of("normalization", how, NORMALIZATIONS)
    if how == "mean_image":
        return Scaling(how, images.mean(axis=0, dtype=np.float64), np.ones(1))
    if how == "standardize":
        return Scaling(how, *_channel_statistics(images))
    return Scaling(how, np.full(1, 127.5), np.full(1, 127.5))


def rows(images: Images, by: Scaling, *, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Images (N, height, width, channels) as rows, with one float copy of the images and no more."""
    if by.how == "unit_range":
        images = images.transpose(0, 3, 1, 2)
    values = images.astype(dtype, order="C").reshape(len(images), -1)
    # Stretched to whole rows, because broadcasting over a last axis of 3 channels takes six times as long.
    values -= np.broadcast_to(by.shift, images.shape[1:]).ravel().astype(dtype)
    values /= np.broadcast_to(by.scale, images.shape[1:]).ravel().astype(dtype)
    return values


def _channel_statistics(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation per channel (1 where that is 0), from exact counts of the 256 values."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256))
    for start in range(0, len(images), 1000):  # bincount makes a copy of 8 bytes a pixel
        for channel in range(channels):
            pixels = images[start : start + 1000, ..., channel]
            counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    values, shares = np.arange(256), counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean, np.where(std > 0, std, 1.0)
