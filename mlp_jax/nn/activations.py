"""Activation functions stand beside their derivatives, so that forward and backward pass cannot drift apart.

At a kink the derivative is a convention. It is here what `jax.grad` gives for the same function: 0 for relu at 0
(the report's scripts do the same; its equation 11 leaves the point open), the right-hand 1 for leaky_relu, and
the left-hand value for selu (scale * alpha = 1.758); elu has 1 from both sides.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.errors import UserError, one_of

Array = jax.Array | np.ndarray
Elementwise = Callable[[Array], jax.Array]

_SELU_ALPHA = 1.6732632423543772848170429916717  # Klambauer et al. 2017, as in jax.nn.selu
_SELU_SCALE = 1.0507009873554804934193349852946
_GELU_CUBIC = 0.044715  # Hendrycks & Gimpel 2016


class Activation(NamedTuple):
    """This is an elementwise function of the pre-activation z and its derivative, also a function of z.

    Both take and give arrays of any one shape.
    """

    function: Elementwise
    derivative: Elementwise


def _relu_derivative(z: Array) -> jax.Array:
    return jnp.where(z > 0, jnp.ones_like(z), 0)


def _tanh_derivative(z: Array) -> jax.Array:
    t = jnp.tanh(z)
    return (1 - t) * (1 + t)


def _sigmoid_derivative(z: Array) -> jax.Array:
    s = jax.nn.sigmoid(z)
    return s * (1 - s)


def _elu_derivative(z: Array) -> jax.Array:
    # autodiff has one of these two; where a unit is saturated, exp(z) is small and 1 + expm1(z) exactly 0
    below = jnp.minimum(z, 0)
    return jnp.where(z > 0, 1, jnp.exp(below) if jax.__version_info__ >= (0, 12) else 1 + jnp.expm1(below))


def _selu_derivative(z: Array) -> jax.Array:
    return _SELU_SCALE * jnp.where(z > 0, 1, _SELU_ALPHA * _elu_derivative(z))


def _gelu_derivative(z: Array) -> jax.Array:
    z = jnp.asarray(z)
    cdf: jax.Array = 0.5 * jax.lax.erfc(-z * np.sqrt(0.5).astype(z.dtype))
    density: jax.Array = jnp.exp(-0.5 * z * z) * np.sqrt(0.5 / np.pi).astype(z.dtype)
    return cdf + z * density


def _gelu_tanh_derivative(z: Array) -> jax.Array:
    z = jnp.asarray(z)
    slope = np.sqrt(2 / np.pi).astype(z.dtype)
    t: jax.Array = jnp.tanh(slope * (z + _GELU_CUBIC * z**3))
    inner: jax.Array = slope * (1 + 3 * _GELU_CUBIC * z * z)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t) * (1 + t) * inner


def _silu_derivative(z: Array) -> jax.Array:
    s = jax.nn.sigmoid(z)
    return s * (1 + z * (1 - s))


@lru_cache
def leaky_relu(negative_slope: float = 0.1) -> Activation:
    """Returns z for z >= 0, else negative_slope * z. The default 0.1 is the report's; jax's own is 0.01."""
    return Activation(
        function=lambda z: jax.nn.leaky_relu(z, negative_slope),
        derivative=lambda z: jnp.where(z >= 0, jnp.ones_like(z), negative_slope),
    )


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(jax.nn.relu, _relu_derivative),
    "leaky_relu": leaky_relu(),
    "tanh": Activation(jnp.tanh, _tanh_derivative),
    "sigmoid": Activation(jax.nn.sigmoid, _sigmoid_derivative),
    "elu": Activation(jax.nn.elu, _elu_derivative),
    "selu": Activation(jax.nn.selu, _selu_derivative),
    "gelu": Activation(partial(jax.nn.gelu, approximate=False), _gelu_derivative),
    "gelu_tanh": Activation(partial(jax.nn.gelu, approximate=True), _gelu_tanh_derivative),
    "silu": Activation(jax.nn.silu, _silu_derivative),
    "softplus": Activation(jax.nn.softplus, jax.nn.sigmoid),
    "identity": Activation(jnp.asarray, jnp.ones_like),
}


def get(name: str, negative_slope: float | None = None) -> Activation:
    """Returns the activation called `name`, one of `ACTIVATIONS`; `negative_slope` replaces leaky_relu's 0.1.

    Raises UserError for an unknown name, or a slope given to another activation than leaky_relu.
    """
    one_of("activation", name, ACTIVATIONS)
    if negative_slope is None:
        return ACTIVATIONS[name]
    if name != "leaky_relu":
        raise UserError(f"negative_slope is leaky_relu's; the activation is {name!r}: leave it out")
    return leaky_relu(negative_slope)
