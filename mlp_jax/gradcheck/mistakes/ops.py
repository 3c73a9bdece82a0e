"""The backward pass as a list of operations, in numpy: what a wrong gradient is compared with, step by step.

A network is a list of operations, the loss first and the lowest product last. Each takes a cotangent g, the
derivative of the loss by its own output, and gives that by its input (`back`), and the gradients of its own
parameters (`leaves`). The tensors of the forward pass come from jax (`truth.evaluate`); here nothing is
differentiated. A layer of somebody's `layers.py` is a network of one operation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

Array = np.ndarray
SATURATED = 1e-2  # slopes below this are differences of larger numbers


@dataclass(frozen=True, eq=False)
class Op:
    """One operation; `layer` is the number of the unit that it belongs to, 0 for the first.

    fields: the names of its own parameters, of which each has a leaf.
    """

    fields: ClassVar[tuple[str, ...]] = ()
    layer: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output, where the operation has leaves."""
        return ()

    def back(self, g: Array) -> Array:
        """Returns the derivative of the loss by the input, from that by the output."""
        raise NotImplementedError

    def leaves(self, g: Array) -> dict[str, Array]:
        """Returns the gradients of the operation's parameters, by field, without a penalty's part."""
        return {}

    def absolute(self) -> "Op":
        """The operation whose terms cannot cancel, for the size of what rounding errors come from."""
        return self


@dataclass(frozen=True, eq=False)
class Loss(Op):
    """The mean loss of scores (N, C): its derivative by them, d, and softmax and one-hot labels, (N, C) each.

    weight: what stands before the mean loss, for the mistakes that start from psi.
    """

    d: Array
    psi: Array
    one_hot: Array
    scores: Array
    weight: float = 1.0

    def back(self, g: Array) -> Array:
        """Equation 4 for the cross-entropy, whatever g is."""
        return self.d

    def absolute(self) -> Op:
        """psi - Delta may cancel to nothing: it counts as a tenth of psi + Delta at least."""
        return replace(self, d=np.maximum(np.abs(self.d), 0.1 * self.terms()))

    def terms(self) -> Array:
        """What is subtracted from what, without the sign."""
        return np.asarray(abs(self.weight) * (np.abs(self.psi) + self.one_hot) / len(self.psi))


@dataclass(frozen=True, eq=False)
class Affine(Op):
    """The product is inputs (N, D) times w (D, H), plus b (H,).

    outputs: what the unit hands on, and what that was computed from, (N, H). before: tensors (N, D) that `inputs`
    were computed from, by name. below_b: the bias of the unit below, or None. penalty: the derivative of the
    penalty by w.
    """

    fields = ("w", "b")
    inputs: Array
    w: Array
    b: Array
    outputs: tuple[Array, ...] = ()
    before: tuple[tuple[str, Array], ...] = ()
    below_b: Array | None = None
    penalty: Array | float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of the product."""
        return (len(self.inputs), self.w.shape[1])

    def back(self, g: Array) -> Array:
        """Returns g w^T (equations 6 and 12)."""
        return np.asarray(g @ self.w.T)

    def leaves(self, g: Array) -> dict[str, Array]:
        """Returns inputs^T g, and the sum of g over the examples (equations 7 and 9 without the penalty)."""
        return {"w": self.inputs.T @ g, "b": g.sum(axis=0)}

    def absolute(self) -> Op:
        """Returns it with absolute values everywhere."""
        return replace(self, inputs=np.abs(self.inputs), w=np.abs(self.w))


@dataclass(frozen=True, eq=False)
class Slope(Op):
    """This is an activation: its derivative `slope` at z, both (N, H), and its value a.

    tensors: more of the same shape, at which the derivative may be taken by mistake. derivative: as a function
    of z, of an activation that has no name here.
    """

    z: Array
    a: Array
    slope: Array
    activation: str
    negative_slope: float | None
    tensors: Mapping[str, Array] = field(default_factory=dict)
    derivative: Callable[[Array], Array] | None = None

    def back(self, g: Array) -> Array:
        """Returns g times the derivative (equation 11)."""
        return np.asarray(g * self.slope)

    def absolute(self) -> Op:
        """1 at a kink, whatever the convention there is, and where a smooth unit saturates what is left of 1."""
        size = np.maximum(np.abs(self.slope), SATURATED * (self.slope != 0))
        return replace(self, slope=np.where(self.z == 0, 1, size))


@dataclass(frozen=True, eq=False)
class Norm(Op):
    """n = (u - mean) inverse_std over the axis (0 batch, 1 layer normalisation), then scale n + shift.

    pictures: (N, C) where the rows are groups of the channels of pictures, of which each has its own scale.
    sizes: numbers that somebody may divide by in the place of `count`, by name.
    """

    fields = ("scale", "shift")
    u: Array
    n: Array
    inverse_std: Array
    scale: Array
    shift: Array
    axis: int
    eps: float
    sign: int = 1
    pictures: tuple[int, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is normalised."""
        return tuple(self.n.shape)

    @property
    def count(self) -> int:
        """How many numbers a mean is of."""
        return int(self.n.shape[self.axis])

    def back(
        self,
        g: Array,
        *,
        scaled: bool = True,
        mean: float = 1.0,
        variance: Array | float = 1.0,
        divided: bool = True,
        ddof: int = 0,
    ) -> Array:
        """Returns (d - mean(d) - n mean(d n)) / std, d = g scale (Ioffe & Szegedy 2015, section 3, simplified).

        The keywords make it wrong: whether the scale is there, how often each term is, whether std is divided by,
        and of which variance.
        """
        d = g * self.scale if scaled else g
        mean_term, variance_term = self.parts(d)
        inverse_std = np.expand_dims(self.inverse_std_of(ddof), self.axis)
        all_terms = d - self.sign * (mean * mean_term + variance * variance_term)
        return np.asarray(all_terms * inverse_std if divided else all_terms)

    def inverse_std_of(self, ddof: int) -> Array:
        """Returns 1 / std by the variance that divides by N - ddof."""
        if not ddof:
            return self.inverse_std
        var = 1 / self.inverse_std**2 - self.eps
        return np.asarray(1 / np.sqrt(var * self.count / max(self.count - ddof, 1) + self.eps))

    def parts(self, d: Array) -> tuple[Array, Array]:
        """Returns the terms of the mean and of the variance."""
        means = (each.mean(axis=self.axis, keepdims=True) for each in (d, d * self.n))
        return next(means), self.n * next(means)

    def leaves(self, g: Array) -> dict[str, Array]:
        """Returns sums over the examples, also in layer normalisation."""
        return {"scale": self.total(g * self.n), "shift": self.total(g)}

    def total(self, a: Array) -> Array:
        """The sum over all that shares a scale."""
        return np.asarray(a.reshape(*self.pictures, -1).sum(axis=(0, 2)) if self.pictures else a.sum(axis=0))

    def absolute(self) -> Op:
        """Returns it with absolute values, and everything added."""
        return replace(self, n=np.abs(self.n), scale=np.abs(self.scale), sign=-1)


@dataclass(frozen=True, eq=False)
class Dropout(Op):
    """Inverted dropout: mask (N, H) is 0 where a unit is dropped, and else 1 / (1 - rate)."""

    mask: Array
    rate: float

    def back(self, g: Array) -> Array:
        """Returns g times the mask of the forward pass."""
        return np.asarray(g * self.mask)


@dataclass(frozen=True, eq=False)
class Skip(Op):
    """A unit's output, where skip connections start or end.

    reach: the unit adds the output of the one that stands so many before it; 0: of none. starts: whether a later
    unit adds this one's output.
    """

    reach: int
    starts: bool

    def back(self, g: Array) -> Array:
        """What arrives over the unit itself; `carried` adds the rest."""
        return g

    def carried(
        self, g: Array, pending: dict[int, Array], *, added: bool = True
    ) -> tuple[Array, dict[int, Array]]:
        """g with what skips from this output bring, and what is on its way over skips then, by unit."""
        arriving = g + pending[self.layer] if added and self.layer in pending else g
        rest = {unit: value for unit, value in pending.items() if unit != self.layer}
        if not self.reach:
            return arriving, rest
        start = self.layer - self.reach
        return arriving, {**rest, start: rest[start] + arriving if start in rest else arriving}
