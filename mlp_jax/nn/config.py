"""A network is described by its options, which are checked here, and by the units that they give.

A unit is a product with what stands around it. Units follow one another; a plain network has one per hidden layer.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError, float32, in_range, one_of, whole_number
from mlp_jax.nn import activations
from mlp_jax.nn.matmul import PRECISIONS

NORM_FLAGS = ("none", "before", "after")  # `norm_options` takes these
INITS = ("uniform_fan_in", "normal", "he", "glorot", "lecun")
DTYPES = ("float32", "float64")
CHOICES: Mapping[str, Sequence[str]] = {
    "norm": ("none", "batch", "layer"),
    "norm_place": ("before", "after"),
    "block": ("plain", "residual", "bottleneck"),
    "init": INITS,
    "dtype": DTYPES,
    "precision": PRECISIONS,
}
RANGES: Mapping[str, Mapping[str, Any]] = {
    "dropout": {"low": 0, "high": 1, "open_high": True},
    "init_std": {"low": 0},
    "init_scale": {"low": 0},
    "norm_eps": {"low": 0},
    "norm_momentum": {"low": 0, "high": 1},
    "logit_scale": {"low": 0, "open_low": True},
    "negative_slope": {"low": -math.inf},
}
"""These options are numbers; each has its arguments of `errors.in_range`."""
MOST_WEIGHTS = 2**31  # they take 8 GiB in float32, before gradients and optimiser
LATER = "later"


def later(default: Any) -> Any:
    """Returns a dataclass field for an option that is newer than the first files; see `training.written`."""
    return field(default=default, metadata={LATER: True})


class Unit(NamedTuple):
    """A unit is a product and a bias, and, where it has them, normalisation, activation, dropout and a skip.

    norm is "none", or "batch" or "layer" normalisation; norm_place is the "input", or "before" or "after" the
    activation, or "none". activation is a name in `activations.ACTIVATIONS`, or "none". With a skip, the output of
    the unit that stands so many before this one is added to its own; 0 adds nothing.
    """

    inputs: int
    outputs: int
    norm: str = "none"
    norm_place: str = "none"
    activation: str = "none"
    skip: int = 0

    @property
    def active(self) -> bool:
        """Tells whether it has an activation, and so dropout, where the network has that."""
        return self.activation != "none"

    @property
    def norm_width(self) -> int:
        """Returns the number of columns that are normalised."""
        return self.inputs if self.norm_place == "input" else self.outputs

    @property
    def norm_axis(self) -> int:
        """Returns the axis of means and variances: 0, over the batch, or 1, over each row."""
        return 0 if self.norm == "batch" else 1


@dataclass(frozen=True)
class MLPConfig:
    """It holds a network's shape and options; it is hashable, so it can be a static argument of `jax.jit`.

    hidden: width of each hidden layer, first to last; () is softmax regression. The report counts
      *layers* = hidden layers + 1.
    activation: a name in `activations.ACTIVATIONS`; negative_slope replaces leaky_relu's 0.1.
    norm: of every hidden layer, "none", "batch" normalisation (Ioffe & Szegedy 2015), or "layer" normalisation
      (Ba et al. 2016), which needs no running statistics.
    norm_place: where it stands, "before" or "after" the activation (the report's best: after).
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
    norm: str = "none"
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
    norm_place: str = "before"
    block: str = "plain"
    expansion: int = 4
    logit_scale: float = later(1.0)

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, Sequence) or isinstance(self.hidden, str):
            raise UserError(f"hidden must be widths in a tuple, such as (50, 50), not {self.hidden!r}")
        for width in self.hidden:
            whole_number("a hidden layer's width", width, 1)
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        for name in ("inputs", "classes", "expansion"):
            whole_number(name, getattr(self, name), 1)
        for name, valid in CHOICES.items():
            one_of(name, getattr(self, name), valid)
        activations.get(self.activation, self.negative_slope)
        for name, limits in RANGES.items():
            if getattr(self, name) is not None:
                in_range(name, getattr(self, name), **limits)
        for name in ("negative_slope", "init_std", "logit_scale"):
            float32(name, getattr(self, name))
        self._check_block()
        self._check_together()

    def _check_block(self) -> None:
        if self.expansion != MLPConfig.expansion and self.block != "bottleneck":
            raise UserError(f"expansion is for bottleneck blocks; the block is {self.block!r}: leave it out")
        if self.block == "residual" and not any(unit.skip for unit in self.units):
            raise UserError(
                f"residual blocks need hidden layers of equal width in a row, as (64, 64), not {self.hidden}"
            )
        if self.block == "bottleneck" and self.norm != "none":
            raise UserError("bottleneck blocks have their own normalisation: set norm to 'none'")
        if self.block == "bottleneck" and len(set(self.hidden)) != 1:
            raise UserError(f"bottleneck blocks need hidden layers of one width, as (64, 64), not {self.hidden}")

    def _check_together(self) -> None:
        """Refuses options that are right by themselves, but not together."""
        if self.norm == "none" and self.norm_place != MLPConfig.norm_place:
            raise UserError(f"norm_place {self.norm_place!r} is of a normalisation; norm is 'none': leave it out")
        weights = sum(a * b for a, b in pairwise(self.sizes))
        if weights > MOST_WEIGHTS:
            raise UserError(
                f"the network would have {weights} weights: choose widths that give at most {MOST_WEIGHTS}"
            )
        if self.dtype == "float64" and self.precision != "float32":
            raise UserError(
                f"precision {self.precision!r} is for float32 networks; dtype is float64: leave it out"
            )
        if np.float32(self.dropout) == 1:
            raise UserError(
                f"dropout {self.dropout!r} is 1 in float32, and would drop every unit: choose a smaller one"
            )

    @functools.cached_property
    def units(self) -> tuple[Unit, ...]:
        """Returns what stands before the output layer, first to last."""
        if self.block == "bottleneck":
            width, wide = self.hidden[0], self.expansion * self.hidden[0]
            block = Unit(width, wide, "layer", "input", self.activation), Unit(wide, width, skip=2)
            return (Unit(self.inputs, width), *block * (len(self.hidden) - 1))
        place, residual = "none" if self.norm == "none" else self.norm_place, self.block == "residual"
        return tuple(
            Unit(
                fan_in, width, self.norm, place, self.activation, int(residual and number > 0 and fan_in == width)
            )
            for number, (fan_in, width) in enumerate(pairwise((self.inputs, *self.hidden)))
        )

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """Returns the widths from the inputs over the units' outputs to the classes."""
        return (self.inputs, *(unit.outputs for unit in self.units), self.classes)

    @property
    def has_running_stats(self) -> bool:
        """Tells whether hidden layers have batch normalisation, which evaluates with running statistics."""
        return self.norm == "batch" and bool(self.hidden)

    def norm_offset(self, var: Any) -> Any:
        """Returns what is added to the variance under the root."""
        return self.norm_eps

    def dropout_factors(self, mask: Any) -> Any:
        """Returns what units are multiplied by, from 0 where one is dropped, else 1 / (1 - dropout)."""
        return mask


def norm_options(batch_norm: str = "none", layer_norm: str = "none") -> dict[str, Any]:
    """Returns `MLPConfig`'s norm and norm_place as flags and files say them: by the place of either normalisation.

    Raises UserError for another value than "none", "before" and "after", or if both have a place.
    """
    places = {"batch": batch_norm, "layer": layer_norm}
    for norm, place in places.items():
        one_of(f"{norm}_norm", place, NORM_FLAGS)
    chosen = [{"norm": norm, "norm_place": place} for norm, place in places.items() if place != "none"]
    if len(chosen) == 2:
        raise UserError("batch_norm and layer_norm exclude each other: set one of them to 'none'")
    return chosen[0] if chosen else {"norm": "none"}
