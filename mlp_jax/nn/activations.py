"""Activation functions, each beside its derivative, so that the forward and the backward pass cannot drift apart.

At a kink the derivative is a convention. Ours is what `jax.grad` gives for the same function: 0 for relu at 0
(the report's scripts do the same; its equation 11 leaves the point open), the right-hand 1 for leaky_relu, and
the left-hand value for selu (scale * alpha = 1.758); elu has 1 from both sides.
"""

import functools
from collections.abc import Callable
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
    """An elementwise function of the pre-activation z, and its derivative, also as a function of z."""

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
    # exp(z), as autodiff computes it: where the unit is saturated, 1 + expm1(z) is 0 and differs by all it is
    below = jnp.minimum(z, 0)
    return jnp.where(z > 0, 1, jnp.exp(below) if jax.__version_info__ >= (0, 12) else 1 + jnp.expm1(below))


def _selu_derivative(z: Array) -> jax.Array:
    return _SELU_SCALE * jnp.where(z > 0, 1, _SELU_ALPHA * _elu_derivative(z))


def _gelu(z: Array) -> jax.Array:
    return jax.nn.gelu(z, approximate=False)


def _gelu_derivative(z: Array) -> jax.Array:
    z = jnp.asarray(z)
    cdf: jax.Array = 0.5 * jax.lax.erfc(-z * np.sqrt(0.5).astype(z.dtype))
    density: jax.Array = jnp.exp(-0.5 * z * z) * np.sqrt(0.5 / np.pi).astype(z.dtype)
    return cdf + z * density


def _gelu_tanh(z: Array) -> jax.Array:
    return jax.nn.gelu(z, approximate=True)


def _gelu_tanh_derivative(z: Array) -> jax.Array:
    z = jnp.asarray(z)
    slope = np.sqrt(2 / np.pi).astype(z.dtype)
    t: jax.Array = jnp.tanh(slope * (z + _GELU_CUBIC * z**3))
    inner: jax.Array = slope * (1 + 3 * _GELU_CUBIC * z * z)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t) * (1 + t) * inner


def _silu_derivative(z: Array) -> jax.Array:
    s = jax.nn.sigmoid(z)
    return s * (1 + z * (1 - s))


def _identity(z: Array) -> jax.Array:
    return jnp.asarray(z)


@functools.lru_cache
def leaky_relu(negative_slope: float = 0.1) -> Activation:
    """z for z >= 0, else negative_slope * z. The default 0.1 is the report's; jax's own default is 0.01."""

    def function(z: Array) -> jax.Array:
        return jax.nn.leaky_relu(z, negative_slope)

    def derivative(z: Array) -> jax.Array:
        return jnp.where(z >= 0, jnp.ones_like(z), negative_slope)

    return Activation(function, derivative)


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(jax.nn.relu, _relu_derivative),
    "leaky_relu": leaky_relu(),
    "tanh": Activation(jnp.tanh, _tanh_derivative),
    "sigmoid": Activation(jax.nn.sigmoid, _sigmoid_derivative),
    "elu": Activation(jax.nn.elu, _elu_derivative),
    "selu": Activation(jax.nn.selu, _selu_derivative),
    "gelu": Activation(_gelu, _gelu_derivative),
    "gelu_tanh": Activation(_gelu_tanh, _gelu_tanh_derivative),
    "silu": Activation(jax.nn.silu, _silu_derivative),
    "softplus": Activation(jax.nn.softplus, jax.nn.sigmoid),
    "identity": Activation(_identity, jnp.ones_like),
}


def get(name: str, negative_slope: float | None = None) -> Activation:
    """The activation called `name`; `negative_slope` replaces leaky_relu's 0.1.

    Raises:
      UserError: an unknown name, or a slope given to another activation than leaky_relu.
    """
    one_of("activation", name, ACTIVATIONS)
    if negative_slope is None:
        return ACTIVATIONS[name]
    if name != "leaky_relu":
        raise UserError(f"negative_slope is leaky_relu's; the activation is {name!r}: leave it out")
    return leaky_relu(negative_slope)
