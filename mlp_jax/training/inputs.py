"""Images become what a network sees: pixels, whitened images or frequencies; each is a network of pixels, too."""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlp_jax.data.dataset import Images, Split, Splits
from mlp_jax.data.pixels import Scaling, rows, scaling
from mlp_jax.data.spectrum import Amplitudes, Spectrum, amplitudes, folded, movable_rows
from mlp_jax.data.spectrum import rows as spectrum_rows
from mlp_jax.data.whitening import Whitening, white_rows, whitening
from mlp_jax.errors import UserError, in_range
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params

Learned = Scaling | Amplitudes | Whitening
"""The training images decide this."""


@dataclass(frozen=True)
class Inputs:
    """It turns images into what a recipe's network sees.

    spectrum: which frequencies. flatness: that of `whitening`, for whole images whitened. With neither: pixels,
      each channel normalised.

    Raises UserError for both together, or a flatness that is negative.
    """

    spectrum: Spectrum | None = None
    flatness: float | None = None

    def __post_init__(self) -> None:
        if self.flatness is not None:
            in_range("flatness", self.flatness, 0)
            if self.spectrum is not None:
                raise UserError(
                    "whole images are whitened, or frequencies are seen: leave flatness or spectrum out"
                )

    def count(self, image: tuple[int, int, int]) -> int:
        """Counts the inputs that an image of this shape gives."""
        return math.prod(image) if self.spectrum is None else self.spectrum.inputs

    def of(self, splits: Splits) -> Splits:
        """Returns the rows of uint8 images; only those of the training split can be moved."""
        by = self.learned(splits.train.x)
        return Splits(
            Split(self.rows(splits.train.x, by, training=True), splits.train.y),
            *(Split(self.rows(part.x, by), part.y) for part in splits[1:]),
        )

    def learned(self, images: Images) -> Learned:
        """Returns what these training images decide."""
        if self.spectrum is not None:
            return amplitudes(images, self.spectrum)
        return scaling(images, "standardize") if self.flatness is None else whitening(images, self.flatness)

    def rows(self, images: Images, by: Learned, *, training: bool = False) -> Any:
        """Returns images as rows; those to train on can be moved."""
        if isinstance(by, Scaling):
            return rows(images, by)
        if isinstance(by, Whitening):
            return white_rows(images, by)
        assert self.spectrum is not None
        return (movable_rows if training else spectrum_rows)(images, self.spectrum, by)

    def of_pixels(self, model: MLPConfig, params: Params, by: Learned) -> tuple[MLPConfig, Params, Scaling]:
        """Returns the same network with pixels as inputs, and the scaling of these, exact but for rounding.

        It computes in float32: pixels that are rounded to bfloat16 are not what the network was trained on.
        """
        if isinstance(by, Scaling):
            return model, params, by
        weights = np.asarray(params[0].w)
        if isinstance(by, Whitening):
            weights = by.matrix @ weights
        else:
            assert self.spectrum is not None
            weights = folded(weights, self.spectrum, by)
        first = params[0]._replace(w=jnp.asarray(weights))
        pixels = replace(model, inputs=len(weights), precision="float32")
        return pixels, (first, *params[1:]), Scaling("mean_image", by.mean, np.ones(1))
