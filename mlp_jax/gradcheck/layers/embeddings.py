"""An object of an embedding: forward(indices), and backward(dout), which leaves the gradient of its matrix.

Indices have no gradient, so that it is asked as a pair of functions of its matrix.
"""

from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import kept
from mlp_jax.gradcheck.layers.functions import Pair
from mlp_jax.gradcheck.layers.losses import forward_of
from mlp_jax.gradcheck.layers.shapes import ARRAYS
from mlp_jax.gradcheck.reading.paths import Path, get, in_double, put
from mlp_jax.gradcheck.reading.signatures import needed, positions_of


def layer_of(target: Any) -> Pair:
    """Returns the class as a layer. Raises UserError if it cannot be told how it is built."""
    names = needed(positions_of(target.__init__))
    if len(names) != 2 and [ARRAYS.get(name.lower()) for name in names] != ["w"]:
        raise UserError(
            f"{target.__name__} is given indices, which have no gradient, and is not built with its matrix, nor "
            "with its two sizes: check its weights' gradient with "
            "mlp_jax.gradcheck.check_vjp(lambda w: w[indices], backward, w)"
        )

    def forward(x: Any, w: Any) -> tuple[Any, Any]:
        made = in_double(target(*(w.shape if len(names) == 2 else [w.copy()])))
        paths = [path for path in kept.own_arrays(made) if np.shape(get(made, path)) == w.shape]
        if not paths:
            raise UserError(f"{target.__name__} keeps no matrix of the two sizes with which it was built")
        for path in paths[:1]:
            put(made, path, w.copy())
        return forward_of(target)(made, x), (made, paths[:1])

    def backward(dout: Any, cache: tuple[Any, list[Path]]) -> Any:
        made, own = cache
        answer = made.backward(dout)
        gradients = [path for _, path in kept.kept(made, own, {}).values()]
        return kept.value_of(made, gradients[0]) if gradients else answer

    return Pair(target.__name__, forward, backward)
