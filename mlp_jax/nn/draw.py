"""The initial numbers of a network are drawn one layer at a time.

A layer is a program of its own: networks of all depths and kinds share those of their layers.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray as Key

from mlp_jax.machine import quick_compilation

Drawn = tuple[jax.Array, jax.Array]


@functools.partial(jax.jit, static_argnames="count")
def split(key: Key, count: int) -> tuple[Key, ...]:
    """Returns what `jax.random.split` does, as a tuple: one program, where taking rows would be one for each."""
    return tuple(jax.random.split(key, count))


def draw(key: Key, factor: jax.Array, fan_in: int, fan_out: int, init: str) -> Drawn:
    """Returns weights (fan_in, fan_out) and biases (fan_out,), drawn as `MLPConfig.init` says, times `factor`."""
    if isinstance(key, jax.core.Tracer):  # it is part of a program, which has its own options
        return _layer(key, factor, fan_in, fan_out, init)
    return _compiled()(key, factor, fan_in, fan_out, init)


@functools.cache
def _compiled() -> Callable[..., Drawn]:
    """Level 1 draws the bits of a full compilation, and is compiled sooner; level 0 draws others."""
    compiled: Callable[..., Drawn] = jax.jit(
        _layer, static_argnames=("fan_in", "fan_out", "init"), compiler_options=dict(quick_compilation(1))
    )
    return compiled


def _layer(key: Key, factor: jax.Array, fan_in: int, fan_out: int, init: str) -> Drawn:
    shape, dtype = (fan_in, fan_out), factor.dtype
    if init == "uniform_fan_in":
        w_key, b_key = jax.random.split(key)
        bound = fan_in**-0.5
        w = jax.random.uniform(w_key, shape, dtype, -bound, bound)
        return factor * w, factor * jax.random.uniform(b_key, (fan_out,), dtype, -bound, bound)
    initializer = {
        "normal": jax.nn.initializers.normal(1.0),
        "he": jax.nn.initializers.he_normal(),
        "glorot": jax.nn.initializers.glorot_normal(),
        "lecun": jax.nn.initializers.lecun_normal(),
    }[init]
    # the barrier keeps a compiler from joining the draw's last product with the scale: compiled or not, same bits
    w = jax.lax.optimization_barrier(initializer(key, shape, dtype))
    return factor * w, jnp.zeros((fan_out,), dtype)
