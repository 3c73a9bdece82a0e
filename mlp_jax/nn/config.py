"""What a network looks like: its options, checked, and the units that they describe.

A unit is a product with what stands around it. Units follow one another; a plain network has one per hidden layer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError, float32, in_range, one_of, whole_number
from mlp_jax.nn import activations
from mlp_jax.nn.matmul import PRECISIONS

BATCH_NORMS = ("none", "before", "after")  # the activation; of layer normalisation too
BLOCKS = ("plain", "residual", "bottleneck")
INITS = ("uniform_fan_in", "normal", "he", "glorot", "lecun")
DTYPES = ("float32", "float64")
MOST_WEIGHTS = 2**31  # 8 GiB in float32, before gradients and optimiser


class Unit(NamedTuple):
    """A product and a bias, and, where it has them, normalisation, activation, dropout and a skip connection.

    norm: "none", or a normalisation of the "input", "before" or "after" the activation.
    skip: the output of the unit that stands so many before this one is added to its own; 0: nothing is.
    """

    inputs: int
    outputs: int
    norm: str
    active: bool
    skip: int

    @property
    def norm_width(self) -> int:
        """Of what is normalised."""
        return self.inputs if self.norm == "input" else self.outputs


@dataclass(frozen=True)
class MLPConfig:
    """A network's shape and options; hashable, so it can be a static argument of `jax.jit`.

    hidden: width of each hidden layer, first to last; () is softmax regression. The report counts
      *layers* = hidden layers + 1.
    activation: a name in `activations.ACTIVATIONS`; negative_slope replaces leaky_relu's 0.1.
    batch_norm: "none", or batch normalisation "before" or "after" the activation (the report's best: after).
    layer_norm: the same for layer normalisation (Ba et al. 2016), which needs no running statistics; not with
      batch_norm.
    block: "plain"; "residual": a hidden layer as wide as the one before adds that one's output to its own
      (He et al. 2016); "bottleneck": the inverted bottlenecks of "Scaling MLPs" (Bachmann et al. 2023): a linear
      map to the first width, then for each further one, all equally wide, a + contract(activation(expand(
      layer normalisation of a))), `expansion` times as wide inside; no other normalisation.
    dropout: probability, in [0, 1), that a unit behind an activation is dropped in training.
    init: "uniform_fan_in", U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weights and biases (the report's
      framework's default); or zero biases with weights "normal", N(0, init_std^2), "he", "glorot" or "lecun"
      (jax.nn.initializers' he_normal, glorot_normal and lecun_normal). init_scale: factor on all of them.
    norm_momentum: weight of the new batch in the running statistics; norm_eps is added to the variance.
    logit_scale: a fixed factor on the outputs of the last layer, which gives the logits (its inverse is known as
      the temperature of the softmax).
    dtype: "float32" or "float64"; the latter needs jax's jax_enable_x64.
    precision: of the matrix products, "float32", "tf32" or "bf16" (`matmul`).

    Raises UserError for a value out of range, or options that exclude each other.
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
    layer_norm: str = "none"
    block: str = "plain"
    expansion: int = 4
    logit_scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, Sequence) or isinstance(self.hidden, str):
            raise UserError(f"hidden must be widths in a tuple, such as (50, 50), not {self.hidden!r}")
        for width in self.hidden:
            whole_number("a hidden layer's width", width, 1)
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        whole_number("inputs", self.inputs, 1)
        whole_number("classes", self.classes, 1)
        self._check_block()
        weights = sum(a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True))
        if weights > MOST_WEIGHTS:
            raise UserError(
                f"the network would have {weights} weights: choose widths that give at most {MOST_WEIGHTS}"
            )
        activations.get(self.activation, self.negative_slope)
        if self.negative_slope is not None:
            in_range("negative_slope", self.negative_slope, -math.inf)
            float32("negative_slope", self.negative_slope)
        one_of("init", self.init, INITS)
        one_of("dtype", self.dtype, DTYPES)
        one_of("precision", self.precision, PRECISIONS)
        if self.dtype == "float64" and self.precision != "float32":
            raise UserError(
                f"precision {self.precision!r} is for float32 networks; dtype is float64: leave it out"
            )
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
        in_range("logit_scale", self.logit_scale, 0, open_low=True)
        float32("logit_scale", self.logit_scale)

    def _check_block(self) -> None:
        one_of("batch_norm", self.batch_norm, BATCH_NORMS)
        one_of("layer_norm", self.layer_norm, BATCH_NORMS)
        one_of("block", self.block, BLOCKS)
        whole_number("expansion", self.expansion, 1)
        chosen = [name for name in ("batch_norm", "layer_norm") if getattr(self, name) != "none"]
        if len(chosen) == 2:
            raise UserError("batch_norm and layer_norm exclude each other: set one of them to 'none'")
        if self.expansion != MLPConfig.expansion and self.block != "bottleneck":
            raise UserError(f"expansion is for bottleneck blocks; the block is {self.block!r}: leave it out")
        if self.block == "residual" and not any(unit.skip for unit in self.units):
            raise UserError(
                f"residual blocks need hidden layers of equal width in a row, as (64, 64), not {self.hidden}"
            )
        if self.block != "bottleneck":
            return
        if chosen:
            raise UserError(f"bottleneck blocks have their own normalisation: set {chosen[0]} to 'none'")
        if not self.hidden or len(set(self.hidden)) > 1:
            raise UserError(f"bottleneck blocks need hidden layers of one width, as (64, 64), not {self.hidden}")

    @property
    def units(self) -> tuple[Unit, ...]:
        """What stands before the output layer, first to last."""
        if self.block == "bottleneck":
            width, wide = self.hidden[0], self.expansion * self.hidden[0]
            block = Unit(width, wide, "input", True, 0), Unit(wide, width, "none", False, 2)
            return (Unit(self.inputs, width, "none", False, 0), *block * (len(self.hidden) - 1))
        norm = self.batch_norm if self.layer_norm == "none" else self.layer_norm
        sizes = (self.inputs, *self.hidden)
        return tuple(
            Unit(fan_in, width, norm, True, int(self.block == "residual" and number > 0 and fan_in == width))
            for number, (fan_in, width) in enumerate(pairwise(sizes))
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths from the inputs over the units' outputs to the classes."""
        return (self.inputs, *(unit.outputs for unit in self.units), self.classes)

    @property
    def normalized(self) -> bool:
        """Whether the hidden layers have batch normalisation, and so running statistics."""
        return self.batch_norm != "none"

    def norm_offset(self, var: Any) -> Any:
        """What is added to the variance under the root."""
        return self.norm_eps

    @property
    def norm_axis(self) -> int:
        """What is normalised: 0, every column of a batch; 1, every row, the same in training and evaluation."""
        return 0 if self.normalized else 1
