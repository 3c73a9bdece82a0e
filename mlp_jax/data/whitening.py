"""Whole images are whitened: all pixels are decorrelated, and stay as near to the image as that allows (ZCA).

Zero-phase whitening (Bell and Sejnowski 1997, Vision Research 37, 3327-3338; regularised as in Krizhevsky 2009,
"Learning Multiple Layers of Features from Tiny Images", appendix A) multiplies an image, minus the mean training
image, by C^(-1/2), C the covariance of the training images. The result is an image too, which can be mirrored and
cropped. All of it is one linear map of the pixels: a network of whitened images is a network of pixels.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlp_jax.data.dataset import Images
from mlp_jax.data.pixels import Scaling, rows, scaling


class Whitening(NamedTuple):
    """It has the mean image, (height, width, channels), and the symmetric map of rows, (pixels, pixels)."""

    mean: NDArray[np.float64]
    matrix: NDArray[np.float32]

    @property
    def centred(self) -> Scaling:
        """Returns what is done to pixels before the map."""
        return Scaling("mean_image", self.mean, np.ones(1))


def whitening(images: Images, flatness: float) -> Whitening:
    """Returns the map that these training images and their mirror images decide; rows have a mean square of 1.

    Each principal component is divided by sqrt(variance + flatness * mean variance). Since mirror images count
    too, a mirrored image, whitened, is the whitened image mirrored.
    """
    mean = scaling(images, "mean_image").shift
    mean = (mean + mean[:, ::-1]) / 2
    pixels = rows(images, Scaling("mean_image", mean, np.ones(1)))
    covariance = pixels.T @ pixels / len(pixels)
    mirrored = np.arange(mean.size).reshape(mean.shape)[:, ::-1].ravel()
    covariance = (covariance + covariance[np.ix_(mirrored, mirrored)]) / 2
    variance, components = np.linalg.eigh(covariance)
    variance = np.maximum(variance, 0)
    shrunk = variance + flatness * variance.mean()
    scale = np.sqrt(np.divide(1, shrunk, out=np.zeros_like(shrunk), where=shrunk > 0))
    scale /= np.sqrt((variance * scale**2).mean()) or 1.0
    return Whitening(mean, np.asarray((components * scale) @ components.T, np.float32))


def white_rows(images: Images, by: Whitening, *, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Returns images (N, height, width, channels) as whitened rows, shape (N, height * width * channels)."""
    found: NDArray[Any] = rows(images, by.centred, dtype=dtype) @ by.matrix.astype(dtype)
    return found
