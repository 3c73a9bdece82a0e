"""Pixels become network inputs by what is subtracted and divided by, always from the training split alone."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlp_jax.data.dataset import ChannelFirst, Images, Split, Splits, check_images
from mlp_jax.errors import one_of

NORMALIZATIONS = ("mean_image", "unit_range", "standardize")
"""`normalize` knows these names."""


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
        check_images(f"{name}.x", part.x)
    found = scaling(splits.train.x, how)
    kind = ChannelFirst if how == "unit_range" else Split
    return Splits(*(kind(rows(part.x, found, dtype=dtype), part.y) for part in splits))


class Scaling(NamedTuple):
    """Pixels become network inputs as (pixels - shift) / scale; `how` is a name of `NORMALIZATIONS`."""

    how: str
    shift: NDArray[np.float64]
    scale: NDArray[np.float64]


def scaling(images: Images, how: str) -> Scaling:
    """Return the shift and scale that `normalize` takes from these training images.

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
    """Return images (N, height, width, channels) as rows, with one float copy of the images and no more."""
    if by.how == "unit_range":
        images = images.transpose(0, 3, 1, 2)
    values = images.astype(dtype, order="C").reshape(len(images), -1)
    # shift and scale are stretched to whole rows: broadcasting over a last axis of 3 takes six times as long
    values -= np.broadcast_to(by.shift, images.shape[1:]).ravel().astype(dtype)
    values /= np.broadcast_to(by.scale, images.shape[1:]).ravel().astype(dtype)
    return values


def _channel_statistics(images: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation per channel (1 where that is 0), from exact counts of the 256 values."""
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
