"""The network: parameters as plain data, and a forward pass as short as the mathematics.

A hidden layer is: product with w, plus b, [batch normalisation], activation, [batch normalisation], [dropout].
The output layer is a product and a bias. Dimension key: B batch, D inputs of a layer, H its outputs, C classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, PRNGKeyArray

from mlp_jax import activations
from mlp_jax.activations import Array
from mlp_jax.errors import UserError, float32, in_range, one_of, whole_number
from mlp_jax.products import PRECISIONS, affine

BATCH_NORMS = ("none", "before", "after")
INITS = ("uniform_fan_in", "normal", "he", "glorot", "lecun")
DTYPES = ("float32", "float64")
MOST_WEIGHTS = 2**31  # 8 GiB in float32, before gradients and optimiser


class Layer(NamedTuple):
    """Weights w of shape (inputs, outputs) and bias b of shape (outputs,)."""

    w: jax.Array
    b: jax.Array


class NormLayer(NamedTuple):
    """A hidden layer with batch normalisation: a Layer, and the scale and shift of shape (outputs,)."""

    w: jax.Array
    b: jax.Array
    scale: jax.Array
    shift: jax.Array


Params = tuple[Layer | NormLayer, ...]


class RunningStats(NamedTuple):
    """Running mean and unbiased running variance of one normalised layer, each of shape (outputs,)."""

    mean: jax.Array
    var: jax.Array


Stats = tuple[RunningStats, ...]  # one per hidden layer; empty without batch normalisation


@dataclass(frozen=True)
class MLPConfig:
    """A network's shape and options; hashable, so it can be a static argument of `jax.jit`.

    hidden: width of each hidden layer, first to last; () is softmax regression. The report counts
      *layers* = hidden layers + 1.
    activation: a name in `activations.ACTIVATIONS`; negative_slope replaces leaky_relu's 0.1.
    batch_norm: "none", or batch normalisation "before" or "after" the activation (the report's best: after).
    dropout: probability, in [0, 1), that a hidden unit is dropped in training.
    init: "uniform_fan_in", U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weights and biases (the report's
      framework's default); or zero biases with weights "normal", N(0, init_std^2), "he", "glorot" or "lecun"
      (jax.nn.initializers' he_normal, glorot_normal and lecun_normal). init_scale: factor on all of them.
    norm_momentum: weight of the new batch in the running statistics; norm_eps is added to the variance.
    dtype: "float32" or "float64"; the latter needs jax's jax_enable_x64.
    precision: of the matrix products, "float32", "tf32" or "bf16" (`products`).

    Raises UserError for a value out of range.
    """

    hidden: tuple[int, ...] = (50,)
    activation: str = "relu"
    batch_norm: str = "none"
    dropout: float = 0.0
    init: str = "uniform_fan_in"
    init_std: float = 1e-3
    init_scale: float = 1.0
    negative_slope: float | None = None
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    inputs: int = 3072
    classes: int = 10
    dtype: str = "float32"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, Sequence) or isinstance(self.hidden, str):
            raise UserError(f"hidden must be widths in a tuple, such as (50, 50), not {self.hidden!r}")
        for width in self.hidden:
            whole_number("a hidden layer's width", width, 1)
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        whole_number("inputs", self.inputs, 1)
        whole_number("classes", self.classes, 1)
        weights = sum(a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True))
        if weights > MOST_WEIGHTS:
            raise UserError(
                f"the network would have {weights} weights: choose widths that give at most {MOST_WEIGHTS}"
            )
        activations.get(self.activation, self.negative_slope)
        if self.negative_slope is not None:
            in_range("negative_slope", self.negative_slope, -math.inf)
            float32("negative_slope", self.negative_slope)
        one_of("batch_norm", self.batch_norm, BATCH_NORMS)
        one_of("init", self.init, INITS)
        one_of("dtype", self.dtype, DTYPES)
        one_of("precision", self.precision, PRECISIONS)
        in_range("dropout", self.dropout, 0, 1, open_high=True)
        if np.float32(self.dropout) == 1:
            raise UserError(
                f"dropout {self.dropout!r} is 1 in float32, and would drop every unit: choose a smaller one"
            )
        in_range("init_std", self.init_std, 0)
        float32("init_std", self.init_std)
        in_range("init_scale", self.init_scale, 0)
        in_range("norm_eps", self.norm_eps, 0)
        in_range("norm_momentum", self.norm_momentum, 0, 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the inputs to the classes."""
        return (self.inputs, *self.hidden, self.classes)

    @property
    def normalized(self) -> bool:
        """Whether the hidden layers have batch normalisation."""
        return self.batch_norm != "none"


def init(key: PRNGKeyArray, config: MLPConfig, *, scale: ArrayLike | None = None) -> Params:
    """Initial parameters: one layer per hidden width and one for the output.

    `scale` replaces config.init_scale, and may be traced.

    Raises UserError if float64 is asked for and jax_enable_x64 is off (jax would give float32 in silence).
    """
    if jax.dtypes.canonicalize_dtype(config.dtype) != jnp.dtype(config.dtype):
        raise UserError("dtype float64 needs jax_enable_x64: call jax.config.update('jax_enable_x64', True)")
    keys = jax.random.split(key, len(config.hidden) + 1)
    factor = jnp.asarray(config.init_scale if scale is None else scale, config.dtype)
    plain = [
        Layer(*(factor * drawn for drawn in _init_layer(k, fan_in, fan_out, config)))
        for k, fan_in, fan_out in zip(keys, config.sizes[:-1], config.sizes[1:], strict=True)
    ]
    if not config.normalized:
        return tuple(plain)
    hidden = (NormLayer(w, b, jnp.ones_like(b), jnp.zeros_like(b)) for w, b in plain[:-1])
    return (*hidden, plain[-1])


def _init_layer(key: PRNGKeyArray, fan_in: int, fan_out: int, config: MLPConfig) -> Layer:
    shape, dtype = (fan_in, fan_out), jnp.dtype(config.dtype)
    if config.init == "uniform_fan_in":
        w_key, b_key = jax.random.split(key)
        bound = fan_in**-0.5
        w = jax.random.uniform(w_key, shape, dtype, -bound, bound)
        return Layer(w, jax.random.uniform(b_key, (fan_out,), dtype, -bound, bound))
    initializer = {
        "normal": jax.nn.initializers.normal(config.init_std),
        "he": jax.nn.initializers.he_normal(),
        "glorot": jax.nn.initializers.glorot_normal(),
        "lecun": jax.nn.initializers.lecun_normal(),
    }[config.init]
    return Layer(initializer(key, shape, dtype), jnp.zeros((fan_out,), dtype))


def init_stats(config: MLPConfig) -> Stats:
    """Running statistics before training: mean 0 and variance 1, or () without batch normalisation."""
    if not config.normalized:
        return ()
    dtype = jnp.dtype(config.dtype)
    return tuple(RunningStats(jnp.zeros(width, dtype), jnp.ones(width, dtype)) for width in config.hidden)


class Normalization(NamedTuple):
    """What one batch normalisation computed: normalised input (B, H), and (H,) mean, biased variance, 1/std."""

    normalized: jax.Array
    mean: jax.Array
    var: jax.Array
    inverse_std: jax.Array


class HiddenTrace(NamedTuple):
    """What the backward pass needs of one hidden layer."""

    inputs: jax.Array  # (B, D)
    z: jax.Array  # (B, H), the activation's argument
    norm: Normalization | None
    mask: jax.Array | None  # (B, H), 0 where dropped, else 1 / (1 - dropout)


class Trace(NamedTuple):
    """Everything that a forward pass computed: hidden layers, the output layer's inputs, and the logits."""

    hidden: tuple[HiddenTrace, ...]
    inputs: jax.Array
    logits: jax.Array


def forward(
    params: Params,
    x: Float[Array, "batch features"],
    config: MLPConfig,
    *,
    stats: Stats = (),
    train: bool = False,
    key: PRNGKeyArray | None = None,
) -> Float[jax.Array, "batch classes"]:
    """Logits of the network.

    In evaluation (train=False) batch normalisation uses the running `stats` and nothing is dropped; in
    training it uses the batch's own statistics, and dropout needs a `key`. To go on from the batch statistics
    of a training pass, call `trace` and `update_stats`.

    Raises UserError as `trace` does.
    """
    return trace(params, x, config, stats=stats, train=train, key=key).logits


def trace(
    params: Params,
    x: Float[Array, "batch features"],
    config: MLPConfig,
    *,
    stats: Stats = (),
    train: bool = True,
    key: PRNGKeyArray | None = None,
    dropout: ArrayLike | None = None,
) -> Trace:
    """The forward pass with everything that it computed; arguments as for `forward`.

    `dropout` replaces config.dropout, where that is not 0, and may be traced.

    Raises:
      UserError: x or params do not fit the configuration; batch normalisation has no running statistics to
        evaluate with, or a batch of 1 to train on; dropout in training has no key.
    """
    _check(params, x, config, stats, train, key)
    activation = activations.get(config.activation, config.negative_slope)
    keys = _dropout_keys(key, config) if train else (None,) * len(config.hidden)
    running = (None,) * len(config.hidden) if train or not config.normalized else stats
    hidden, a = [], jnp.asarray(x)
    for layer, layer_stats, layer_key in zip(params[:-1], running, keys, strict=True):
        inputs, norm, mask = a, None, None
        z = affine(inputs, layer.w, config.precision) + layer.b[None]
        if isinstance(layer, NormLayer) and config.batch_norm == "before":
            norm = _normalize(z, layer_stats, config.norm_eps)
            z = layer.scale[None] * norm.normalized + layer.shift[None]
        a = activation.function(z)
        if isinstance(layer, NormLayer) and config.batch_norm == "after":
            norm = _normalize(a, layer_stats, config.norm_eps)
            a = layer.scale[None] * norm.normalized + layer.shift[None]
        if layer_key is not None:
            mask = dropout_mask(layer_key, a.shape, config.dropout if dropout is None else dropout, a.dtype)
            a = a * mask
        hidden.append(HiddenTrace(inputs, z, norm, mask))
    return Trace(tuple(hidden), a, affine(a, params[-1].w, config.precision) + params[-1].b[None])


def _normalize(u: Float[jax.Array, "batch width"], running: RunningStats | None, eps: float) -> Normalization:
    """Subtracts the mean and divides by sqrt(biased variance + eps) (Ioffe & Szegedy 2015), per column."""
    if running is None:
        mean = u.mean(axis=0)
        var = jnp.square(u - mean[None]).mean(axis=0)
    else:
        mean, var = running
    inverse_std = jax.lax.rsqrt(var + eps)
    return Normalization((u - mean[None]) * inverse_std[None], mean, var, inverse_std)


def dropout_mask(
    key: PRNGKeyArray, shape: tuple[int, ...], rate: ArrayLike, dtype: jnp.dtype
) -> Float[jax.Array, "batch width"]:
    """Inverted dropout (Srivastava et al. 2014): 0 with probability `rate`, else 1 / (1 - rate)."""
    kept = 1 - jnp.asarray(rate, dtype)
    return jax.random.bernoulli(key, kept, shape).astype(dtype) / kept


def _dropout_keys(key: PRNGKeyArray | None, config: MLPConfig) -> tuple[PRNGKeyArray | None, ...]:
    if key is None or not config.dropout:
        return (None,) * len(config.hidden)
    return tuple(jax.random.split(key, len(config.hidden)))


def update_stats(stats: Stats, traced: Trace, config: MLPConfig) -> Stats:
    """Running statistics after one training pass: (1 - norm_momentum) * old + norm_momentum * batch.

    The running variance takes the batch's unbiased one (divisor B - 1), while the pass itself normalises with
    the biased one, as the report's framework does.
    """
    if not config.normalized:
        return stats

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        return old + config.norm_momentum * (new - old)

    batch = traced.logits.shape[0]
    norms = [layer.norm for layer in traced.hidden if layer.norm is not None]
    return tuple(
        RunningStats(mix(old.mean, norm.mean), mix(old.var, norm.var * (batch / (batch - 1))))
        for old, norm in zip(stats, norms, strict=True)
    )


def _check(
    params: Params,
    x: Float[Array, "batch features"],
    config: MLPConfig,
    stats: Stats,
    train: bool,
    key: PRNGKeyArray | None,
) -> None:
    """Shapes only, so it costs nothing under `jit`."""
    found = tuple(layer.w.shape for layer in params)
    expected = tuple(zip(config.sizes[:-1], config.sizes[1:], strict=True))
    if found != expected:
        raise UserError(f"params have weights of shapes {found}, but the configuration says {expected}")
    if any(isinstance(layer, NormLayer) != config.normalized for layer in params[:-1]):
        raise UserError(f"params and batch_norm={config.batch_norm!r} disagree: make them with init(key, config)")
    if x.ndim != 2 or x.shape[1] != config.inputs:
        raise UserError(f"x has shape {x.shape}, but the network takes (batch, {config.inputs})")
    if train and config.normalized and config.hidden and x.shape[0] < 2:
        raise UserError("batch normalisation cannot train on a batch of 1: its variance is 0")
    if train and config.dropout and config.hidden and key is None:
        raise UserError("dropout in training needs a random key: pass key=jax.random.key(...)")
    if not train and config.normalized and len(stats) != len(config.hidden):
        raise UserError("evaluating batch normalisation needs its running statistics: pass stats=...")
