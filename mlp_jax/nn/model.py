"""A network is plain data, its parameters, and a forward pass as short as the mathematics.

A hidden layer computes: product with w, plus b, [normalisation], activation, [normalisation], [dropout]; other
blocks are made of the same (`config.Unit`). The output layer is a product and a bias, times `logit_scale`.
The letters of shapes are B batch, D inputs of a layer, H its outputs, C classes.
"""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from jaxtyping import PRNGKeyArray as Key

from mlp_jax.errors import UserError
from mlp_jax.nn import activations
from mlp_jax.nn.checks import Inputs, check_call
from mlp_jax.nn.config import MLPConfig, Unit
from mlp_jax.nn.draw import draw, split
from mlp_jax.nn.matmul import affine


class Layer(NamedTuple):
    """A layer has weights w of shape (inputs, outputs) and a bias b of shape (outputs,)."""

    w: jax.Array
    b: jax.Array


class NormLayer(NamedTuple):
    """A hidden layer with normalisation has the scale and the shift of what is normalised, too.

    They have the shape (outputs,), or (inputs,) where the inputs are normalised.
    """

    w: jax.Array
    b: jax.Array
    scale: jax.Array
    shift: jax.Array


Params = tuple[Layer | NormLayer, ...]


class RunningStats(NamedTuple):
    """These are the running mean and unbiased variance of one normalised layer, each of shape (outputs,)."""

    mean: jax.Array
    var: jax.Array


Stats = tuple[RunningStats, ...]  # each hidden layer has one, or none without batch normalisation


def init(key: Key, config: MLPConfig, *, scale: ArrayLike | None = None) -> Params:
    """Returns initial parameters: one layer for each unit of the architecture, and one for the output.

    `scale` replaces config.init_scale, and may be traced.

    Raises UserError if float64 is asked for and jax_enable_x64 is off (jax would give float32 in silence).
    """
    if jax.dtypes.canonicalize_dtype(config.dtype) != jnp.dtype(config.dtype):
        raise UserError("dtype float64 needs jax_enable_x64: call jax.config.update('jax_enable_x64', True)")
    factor = config.init_scale if scale is None else scale
    if config.init == "normal":  # one product is made of both, as where they are traced (`training.hyper_from`)
        factor = factor * config.init_std
    library = jnp if isinstance(factor, jax.Array) else np  # numpy's operations are no programs to compile
    factor = library.asarray(factor, config.dtype)
    keys, pairs = split(key, len(config.sizes) - 1), pairwise(config.sizes)
    plain = [Layer(*draw(k, factor, *fans, config.init)) for k, fans in zip(keys, pairs, strict=True)]
    layers: list[Layer | NormLayer] = list(plain)
    for number, unit in enumerate(config.units):
        if unit.norm != "none":
            scale_and_shift = (np.full(unit.norm_width, value, config.dtype) for value in (1, 0))
            layers[number] = NormLayer(*plain[number], *map(jax.device_put, scale_and_shift))
    return tuple(layers)


def init_stats(config: MLPConfig) -> Stats:
    """Returns the running statistics before training: mean 0 and variance 1, or () without batch normalisation."""
    if not config.has_running_stats:
        return ()
    start = ([np.full(width, value, config.dtype) for value in (0, 1)] for width in config.hidden)
    return tuple(RunningStats(*map(jax.device_put, pair)) for pair in start)


class Normalization(NamedTuple):
    """One normalisation computed these: normalised input (B, H); mean, biased variance and 1/std.

    The last three have the shape (H,) in batch normalisation, (B,) in layer normalisation.
    """

    normalized: jax.Array
    mean: jax.Array
    var: jax.Array
    inverse_std: jax.Array


class HiddenTrace(NamedTuple):
    """The backward pass needs these of one unit."""

    inputs: jax.Array  # the product's, (B, D)
    z: jax.Array  # the activation's argument, (B, H)
    norm: Normalization | None
    mask: jax.Array | None  # (B, H): it is 0 where dropped, else 1 / (1 - dropout)


class Trace(NamedTuple):
    """A forward pass computed these: its units, the output layer's inputs (B, D), and the logits (B, C)."""

    hidden: tuple[HiddenTrace, ...]
    inputs: jax.Array
    logits: jax.Array


def forward(
    params: Params, x: Inputs, config: MLPConfig, *, stats: Stats = (), train: bool = False, key: Key | None = None
) -> Float[jax.Array, "batch classes"]:
    """Returns the network's logits for the rows x of shape (B, D).

    In evaluation (train=False) batch normalisation uses the running `stats` and nothing is dropped; in
    training it uses the batch's own statistics, and dropout needs a `key`. To go on from the batch statistics
    of a training pass, call `trace` and `update_stats`. Raises UserError as `trace` does.
    """
    return trace(params, x, config, stats=stats, train=train, key=key).logits


def trace(
    params: Params,
    x: Inputs,
    config: MLPConfig,
    *,
    stats: Stats = (),
    train: bool = True,
    key: Key | None = None,
    dropout: ArrayLike | None = None,
) -> Trace:
    """Returns everything that the forward pass computed; arguments as for `forward`.

    `dropout` replaces config.dropout, where that is not 0, and may be traced.

    Raises UserError if x or params do not fit the configuration, if batch normalisation has no running statistics
    to evaluate with or a batch of 1 to train on, or if dropout in training has no key.
    """
    check_call(params, x, config, stats, train, key)
    rate = config.dropout if dropout is None else dropout
    nothing = (None,) * len(config.units)
    keys = jax.random.split(key, len(nothing)) if train and config.dropout and key is not None else nothing
    running = stats if config.has_running_stats and not train else nothing
    hidden: list[HiddenTrace] = []
    outputs: list[jax.Array] = []  # skip connections need them
    a = jnp.asarray(x)
    for layer, unit, unit_stats, unit_key in zip(params[:-1], config.units, running, keys, strict=True):
        a, traced = _unit(layer, unit, a, config, unit_stats, unit_key, rate)
        if unit.skip:
            a = a + outputs[-unit.skip]
        outputs.append(a)
        hidden.append(traced)
    logits = config.logit_scale * (affine(a, params[-1].w, config.precision) + params[-1].b[None])
    return Trace(tuple(hidden), a, logits)


def _unit(
    layer: Layer | NormLayer,
    unit: Unit,
    a: jax.Array,
    config: MLPConfig,
    running: RunningStats | None,
    key: Key | None,
    rate: ArrayLike,
) -> tuple[jax.Array, HiddenTrace]:
    """Returns the unit's output, without what its skip adds, and what it computed."""
    norm = mask = None
    if unit.norm_place == "input":
        a, norm = _normalize(a, layer, unit, running, config)
    inputs = a
    z = affine(inputs, layer.w, config.precision) + layer.b[None]
    if unit.norm_place == "before":
        z, norm = _normalize(z, layer, unit, running, config)
    a = activations.get(unit.activation, config.negative_slope).function(z) if unit.active else z
    if unit.norm_place == "after":
        a, norm = _normalize(a, layer, unit, running, config)
    if key is not None and unit.active:
        mask = config.dropout_factors(dropout_mask(key, a.shape, rate, a.dtype))
        a = a * mask
    return a, HiddenTrace(inputs, z, norm, mask)


def _normalize(
    u: jax.Array, layer: Layer | NormLayer, unit: Unit, running: RunningStats | None, config: MLPConfig
) -> tuple[jax.Array, Normalization]:
    """Returns scale * n + shift, and n = (u - mean) / sqrt(biased variance + eps) with its parts; u is (B, H).

    Means are over axis 0, of every column (Ioffe & Szegedy 2015), or over axis 1, of every row (Ba et al. 2016).
    """
    assert isinstance(layer, NormLayer)
    axis = unit.norm_axis
    if running is None:
        mean = u.mean(axis=axis)
        var = jnp.square(u - jnp.expand_dims(mean, axis)).mean(axis=axis)
    else:
        mean, var = running
    inverse_std = jax.lax.rsqrt(var + config.norm_offset(var))
    n = (u - jnp.expand_dims(mean, axis)) * jnp.expand_dims(inverse_std, axis)
    return layer.scale[None] * n + layer.shift[None], Normalization(n, mean, var, inverse_std)


def dropout_mask(
    key: Key, shape: tuple[int, ...], rate: ArrayLike, dtype: jnp.dtype
) -> Float[jax.Array, "batch width"]:
    """Draws inverted dropout's factors, 0 at this rate, else 1 / (1 - rate) (Srivastava et al. 2014)."""
    kept = 1 - jnp.asarray(rate, dtype)
    return jax.random.bernoulli(key, kept, shape).astype(dtype) / kept


def update_stats(stats: Stats, traced: Trace, config: MLPConfig) -> Stats:
    """Returns the running statistics after a training pass: (1 - norm_momentum) * old + norm_momentum * batch.

    The running variance takes the batch's unbiased one (divisor B - 1), while the pass itself normalises with
    the biased one, as the report's framework does.
    """
    if not config.has_running_stats:
        return stats
    batch = traced.logits.shape[0]
    norms = (layer.norm for layer in traced.hidden if layer.norm is not None)
    new = tuple(RunningStats(norm.mean, norm.var * (batch / (batch - 1))) for norm in norms)
    return tuple(jax.tree.map(lambda old, batch: old + config.norm_momentum * (batch - old), stats, new))
