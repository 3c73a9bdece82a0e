"""Data sets and their splits are checked arrays: numpy on the host, uint8 pixels until `pixels.normalize`."""

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlp_jax.errors import UserError
from mlp_jax.files import sha256

SPLITS = {"49000/1000": (49_000, 1_000), "45000/5000": (45_000, 5_000)}
"""These are the report's (train, validation) sizes on CIFAR-10: of Question 3 and Table 1, and of Question 4."""

Images = NDArray[np.uint8]
Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set has images and labels of two splits, checked when it is made.

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
        check_images("train_images", self.train_images)
        check_images("test_images", self.test_images)
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


def check_images(name: str, images: Any) -> None:
    """Raises UserError unless `images` are uint8 of shape (N, height, width, channels), none of them 0."""
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
    arrays = (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
    parts: Any = ((repr((a.dtype.str, a.shape)), np.ascontiguousarray(a).data) for a in arrays)
    return sha256(repr(dataset.classes), *itertools.chain.from_iterable(parts))


class Split(NamedTuple):
    """A split has images, uint8 from `split` or float rows (N, D) from `normalize`, and their labels (N,).

    They are numpy arrays as they come from here; `training.evaluate.on_device` makes jax arrays of them.
    """

    x: Any
    y: Any


class ChannelFirst(Split):
    """The rows of this split have one channel after the other, as the report's Question 4 scripts order them.

    No dense network minds the order; what takes a row for an image of (height, width, channels) refuses this type.
    """


class Splits(NamedTuple):
    """A run has these three splits."""

    train: Split
    validation: Split
    test: Split


def split(dataset: Dataset, *, train: int | None = None, validation: int, test: int | None = None) -> Splits:
    """Cut a data set in its given order, into views: nothing is copied.

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
