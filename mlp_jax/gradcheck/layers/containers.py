"""Weights that a layer's forward pass takes in a dict: its keys are learnt from what it asks for."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlp_jax.gradcheck.layers import windows
from mlp_jax.gradcheck.layers.operations import Untold
from mlp_jax.gradcheck.layers.shapes import Shapes

Array = np.ndarray
NAMES = ("parameters", "params")


def name_of(operation: str, names: list[str]) -> str:
    """The argument that is a dict of weights, or ""; of a convolution or pooling it has the windows' numbers."""
    return next((name for name in names if name in NAMES and operation not in windows.OPERATIONS), "")


class Drawn(dict[str, Array]):
    """A dict that draws what it is asked for, in the shape that the key says. Raises Untold where it says none."""

    def __init__(self, of: Shapes, rng: np.random.Generator) -> None:
        super().__init__()
        self._of, self._rng = of, rng

    def __missing__(self, key: str) -> Array:
        shape = self._of.of(str(key).lower())
        if shape is None:
            raise Untold(
                f"what {key} is cannot be told: call it W, b, Wx, Wh, gamma or beta, or use "
                "mlp_jax.gradcheck.check_vjp(f, backward, *args)"
            )
        self[key] = self._rng.normal(size=shape)
        return self[key]

    def get(self, key: str, default: Any = None) -> Any:
        """What lies there; no key is missing."""
        return self[key]


def used(weights: Mapping[str, Array], output: Callable[[Mapping[str, Array]], Array]) -> list[str]:
    """The keys of the weights that an output depends on, told by NaN in their place."""
    return [key for key, w in weights.items() if np.isnan(output({**weights, key: np.full_like(w, np.nan)})).any()]
