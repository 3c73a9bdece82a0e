"""Images are given by the amplitudes of their lowest frequencies: far fewer inputs than pixels, and as good.

Natural images have most of their variance in few low frequencies (Field 1987, JOSA A 4, 2379-2394), and plain
networks learn little from the others. An image is taken minus the mean training image, and transformed by an
orthonormal three-dimensional cosine transform (DCT-II, Ahmed, Natarajan and Rao 1974) over height, width and
channels. Of three channels this gives brightness, red against blue, and green against both. A row holds
the lowest frequencies of each component. All of it is one linear map of the pixels, so a network that was trained
on such rows is a network of pixels: `folded` writes the map into its first weights.

Moving an image by d pixels turns the frequency u of that axis by the angle pi u d / length (`training.augment`),
for which the sines that belong to the cosines are needed too. `movable_rows` have both.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mlp_jax.data.dataset import Images
from mlp_jax.data.pixels import scaling
from mlp_jax.errors import in_range, whole_number

MOST_AT_ONCE = 250
"""So many images are transformed together: their floats stay in the processor's cache."""

Image = tuple[int, int, int]  # it is height, width and channels


@dataclass(frozen=True)
class Spectrum:
    """It says which frequencies of an image are network inputs.

    lowest: how many of the first, second, ... component over the channels, the lowest ones first, by
      (u / height)^2 + (v / width)^2; all, if an image has no more. Components that are not named give none.
    flatness: amplitudes are divided by sqrt(variance + flatness * mean variance). 0 makes all variances equal,
      which is whitening; a large one leaves their proportions alone.
    image: height, width and channels of an image.

    Raises UserError for a value out of range.
    """

    lowest: tuple[int, ...] = (260, 30, 10)
    flatness: float = 10.0
    image: Image = (32, 32, 3)

    def __post_init__(self) -> None:
        for name, size in zip(("height", "width", "channels"), self.image, strict=True):
            whole_number(f"an image's {name}", size, 1)
        for count in self.lowest:
            whole_number("a number of frequencies", count, 0)
        whole_number("the number of frequencies", sum(self.lowest), 1)
        in_range("flatness", self.flatness, 0)

    @property
    def places(self) -> NDArray[np.int64]:
        """Returns the frequencies as (u, v, component), u along the height: shape (inputs, 3)."""
        return _places(self)

    @property
    def inputs(self) -> int:
        """Counts the inputs that a network has."""
        return len(self.places)


@lru_cache
def _places(spectrum: Spectrum) -> NDArray[np.int64]:
    height, width, channels = spectrum.image
    u, v = np.divmod(np.arange(height * width), width)
    order = np.argsort((u / height) ** 2 + (v / width) ** 2, kind="stable")
    found = [
        np.stack([u[order[:count]], v[order[:count]], np.full(min(count, len(order)), component)], axis=1)
        for component, count in enumerate(spectrum.lowest[:channels])
    ]
    return np.concatenate(found)


class Amplitudes(NamedTuple):
    """It has the mean image, (height, width, channels), and what amplitudes are divided by, (inputs,)."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


def amplitudes(images: Images, spectrum: Spectrum) -> Amplitudes:
    """Returns the mean and the scale of these training images; all inputs together have a mean square of 1."""
    mean = scaling(images, "mean_image").shift
    parts = [_turned(images[i : i + MOST_AT_ONCE], mean, spectrum, (0,)) for i in range(0, len(images), 10_000)]
    variance = np.square(np.concatenate(parts)[:, 0]).mean(axis=0, dtype=np.float64)
    scale = np.sqrt(variance + spectrum.flatness * variance.mean())
    scale = np.where(scale > 0, scale, 1.0)
    return Amplitudes(mean, scale * (np.sqrt((variance / scale**2).mean()) or 1.0))


def rows(images: Images, spectrum: Spectrum, by: Amplitudes, *, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Returns images (N, height, width, channels) as network inputs, shape (N, inputs)."""
    return _rows(images, spectrum, by, (0,), dtype)[:, 0]


def movable_rows(
    images: Images, spectrum: Spectrum, by: Amplitudes, *, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Returns images as rows that can be moved, shape (N, 4 * inputs).

    One after the other: cosines along height and width, which are `rows`; sines along the width; along the height;
    along both.
    """
    return _rows(images, spectrum, by, (0, 1, 2, 3), dtype).reshape(len(images), -1)


def folded(weights: NDArray[Any], spectrum: Spectrum, by: Amplitudes) -> NDArray[Any]:
    """Returns first weights of shape (inputs, outputs) as weights of pixels, (height * width * channels, outputs).

    The pixels are minus the mean image, in height-width-channel order: `normalize(..., "mean_image")`.
    """
    u, v, component = spectrum.places.T
    waves = (_waves(size)[0] for size in spectrum.image)
    along_height, along_width, along_channels = (
        wave[place] for wave, place in zip(waves, (u, v, component), strict=True)
    )
    basis = np.einsum("ki,kj,kc->ijck", along_height, along_width, along_channels)
    pixels = basis.reshape(-1, spectrum.inputs) @ (weights / by.scale[:, None])
    return np.asarray(pixels, weights.dtype)


def _rows(
    images: Images, spectrum: Spectrum, by: Amplitudes, kinds: tuple[int, ...], dtype: DTypeLike
) -> NDArray[Any]:
    found = np.empty((len(images), len(kinds), spectrum.inputs), dtype)
    for start in range(0, len(images), MOST_AT_ONCE):
        part = slice(start, start + MOST_AT_ONCE)
        found[part] = _turned(images[part], by.mean, spectrum, kinds, dtype) / by.scale.astype(dtype)
    return found


def _turned(
    images: Images,
    mean: NDArray[np.float64],
    spectrum: Spectrum,
    kinds: tuple[int, ...],
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Returns amplitudes (N, kinds, inputs), not scaled: width and channels are one product, height the next."""
    height, width, channels = spectrum.image
    values = (images.astype(dtype) - mean.astype(dtype)).reshape(-1, width * channels)
    waves = [_waves(size) for size in spectrum.image]
    ways = 1 + max(kinds) % 2  # both axes have cosines alone, or sines too
    found = np.empty((len(images), len(kinds), spectrum.inputs), dtype)
    for component in range(min(channels, len(spectrum.lowest))):
        here = np.flatnonzero(spectrum.places[:, 2] == component)
        if not here.size:
            continue
        u, v = spectrum.places[here, :2].T
        tall = waves[0][:ways, : u.max() + 1].reshape(-1, height)
        wide = np.einsum("kvj,c->jckv", waves[1][:ways, : v.max() + 1], waves[2][0, component])
        wide = wide.reshape(width * channels, -1)
        partly = (values @ wide.astype(dtype)).reshape(len(images), height, -1)
        whole = (tall.astype(dtype) @ partly).reshape(len(images), -1)
        along_height, along_width = np.divmod(np.array(kinds)[:, None], 2)
        row, column = along_height * (u.max() + 1) + u, along_width * (v.max() + 1) + v
        found[:, :, here] = whole[:, row * wide.shape[1] + column]
    return found


@lru_cache
def _waves(length: int) -> NDArray[np.float64]:
    """Returns orthonormal cosines of frequencies 0, 1, ..., and sines of the same height: (2, length, length)."""
    frequency, place = np.arange(length)[:, None], np.arange(length)[None] + 0.5
    height = np.where(frequency == 0, math.sqrt(1 / length), math.sqrt(2 / length))
    angle = np.pi * frequency * place / length
    return np.stack([height * np.cos(angle), height * np.sin(angle)])
