"""How images become what a network sees, pixels or frequencies; and a network of these as one of pixels."""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlp_jax.data.dataset import Images, Split, Splits
from mlp_jax.data.pixels import Scaling, rows, scaling
from mlp_jax.data.spectrum import Amplitudes, Spectrum, amplitudes, folded, movable_rows
from mlp_jax.data.spectrum import rows as spectrum_rows
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params


@dataclass(frozen=True)
class Inputs:
    """How images become what a recipe's network sees."""

    spectrum: Spectrum | None

    def count(self, image: tuple[int, int, int]) -> int:
        """How many inputs an image of this shape gives."""
        return math.prod(image) if self.spectrum is None else self.spectrum.inputs

    def of(self, splits: Splits) -> Splits:
        """The rows of uint8 images; only those of the training split can be moved."""
        by = self.learned(splits.train.x)
        return Splits(
            Split(self.rows(splits.train.x, by, training=True), splits.train.y),
            *(Split(self.rows(part.x, by), part.y) for part in splits[1:]),
        )

    def learned(self, images: Images) -> Scaling | Amplitudes:
        """What the training images decide."""
        return scaling(images, "standardize") if self.spectrum is None else amplitudes(images, self.spectrum)

    def rows(self, images: Images, by: Scaling | Amplitudes, *, training: bool = False) -> Any:
        """Images as rows; those to train on can be moved."""
        if self.spectrum is None:
            assert isinstance(by, Scaling)
            return rows(images, by)
        assert isinstance(by, Amplitudes)
        return (movable_rows if training else spectrum_rows)(images, self.spectrum, by)

    def of_pixels(
        self, model: MLPConfig, params: Params, by: Scaling | Amplitudes
    ) -> tuple[MLPConfig, Params, Scaling]:
        """The same network with pixels as inputs, and the scaling of these; exact but for rounding.

        It computes in float32: pixels that are rounded to bfloat16 are not what the network was trained on.
        """
        if isinstance(by, Scaling):
            return model, params, by
        assert self.spectrum is not None
        weights = folded(np.asarray(params[0].w), self.spectrum, by)
        first = params[0]._replace(w=jnp.asarray(weights))
        pixels = replace(model, inputs=math.prod(self.spectrum.image), precision="float32")
        return pixels, (first, *params[1:]), Scaling("mean_image", by.mean, np.ones(1))
