"""The backward pass as a list of operations, in numpy: what a wrong gradient is compared with, step by step.

A network is a list of operations, the loss first and the lowest product last. Each takes a cotangent g, the
derivative of the loss by its own output, and gives that by its input (`back`), and the gradients of its own
parameters (`leaves`). The tensors of the forward pass come from jax (`battery.evaluate`); here nothing is
differentiated. A layer of somebody's `layers.py` is a network of one operation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray
SATURATED = 1e-2  # slopes below this are differences of larger numbers


@dataclass(frozen=True, eq=False)
class Op:
    """One operation; `layer` is the number of the unit that it belongs to, 0 for the first."""

    layer: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the output, where the operation has leaves."""
        return ()

    def back(self, g: Array) -> Array:
        """The derivative of the loss by the input, from that by the output."""
        raise NotImplementedError

    def leaves(self, g: Array) -> dict[str, Array]:
        """The gradients of the operation's parameters, by field, without a penalty's part."""
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
        return np.asarray(abs(self.weight) * (self.psi + self.one_hot) / len(self.psi))


@dataclass(frozen=True, eq=False)
class Affine(Op):
    """inputs (N, D) times w (D, H), plus b (H,).

    outputs: what the unit hands on, and what that was computed from, (N, H). before: tensors (N, D) that `inputs`
    were computed from, by name. below_b: the bias of the unit below, or None. penalty: the derivative of the
    penalty by w.
    """

    inputs: Array
    w: Array
    b: Array
    outputs: tuple[Array, ...] = ()
    before: tuple[tuple[str, Array], ...] = ()
    below_b: Array | None = None
    penalty: Array | float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the product."""
        return (len(self.inputs), self.w.shape[1])

    def back(self, g: Array) -> Array:
        """Equations 6 and 12: g w^T."""
        return np.asarray(g @ self.w.T)

    def leaves(self, g: Array) -> dict[str, Array]:
        """Equations 7 and 9 without the penalty: inputs^T g, and the sum of g over the examples."""
        return {"w": self.inputs.T @ g, "b": g.sum(axis=0)}

    def absolute(self) -> Op:
        """With absolute values everywhere."""
        return replace(self, inputs=np.abs(self.inputs), w=np.abs(self.w))


@dataclass(frozen=True, eq=False)
class Slope(Op):
    """An activation: its derivative `slope` at z, both (N, H), and its value a.

    tensors: others of the same shape, at which the derivative may be taken by mistake. low: for a kinked
    activation, its slope left of 0.
    """

    z: Array
    a: Array
    slope: Array
    activation: str
    negative_slope: float | None
    tensors: dict[str, Array]

    def back(self, g: Array) -> Array:
        """Equation 11: times the derivative."""
        return np.asarray(g * self.slope)

    def absolute(self) -> Op:
        """1 at a kink, whatever the convention there is, and where a smooth unit saturates what is left of 1."""
        size = np.maximum(np.abs(self.slope), SATURATED * (self.slope != 0))
        return replace(self, slope=np.where(self.z == 0, 1, size))


@dataclass(frozen=True, eq=False)
class Norm(Op):
    """n = (u - mean) inverse_std over the axis (0 batch, 1 layer normalisation), then scale n + shift."""

    u: Array
    n: Array
    inverse_std: Array
    scale: Array
    shift: Array
    axis: int
    eps: float
    sign: int = 1

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
        variance: float = 1.0,
        divided: bool = True,
        ddof: int = 0,
        axis: int | None = None,
    ) -> Array:
        """(d - mean(d) - n mean(d n)) / std with d = g scale (Ioffe & Szegedy 2015, section 3, simplified).

        The keywords make it wrong: whether the scale is there, how often each term is, whether std is divided by,
        and of which variance and over which axis.
        """
        d = g * self.scale if scaled else g
        mean_term, variance_term = self.parts(d, self.axis if axis is None else axis)
        inverse_std = np.expand_dims(self.inverse_std, self.axis)
        if ddof:
            var = 1 / inverse_std**2 - self.eps
            inverse_std = 1 / np.sqrt(var * self.count / (self.count - ddof) + self.eps)
        all_terms = d - self.sign * (mean * mean_term + variance * variance_term)
        return np.asarray(all_terms * inverse_std if divided else all_terms)

    def parts(self, d: Array, axis: int) -> tuple[Array, Array]:
        """The terms of the mean and of the variance."""
        return d.mean(axis=axis, keepdims=True), self.n * (d * self.n).mean(axis=axis, keepdims=True)

    def leaves(self, g: Array) -> dict[str, Array]:
        """Sums over the examples, also in layer normalisation."""
        return {"scale": (g * self.n).sum(axis=0), "shift": g.sum(axis=0)}

    def absolute(self) -> Op:
        """With absolute values, and everything added."""
        return replace(self, n=np.abs(self.n), scale=np.abs(self.scale), sign=-1)


@dataclass(frozen=True, eq=False)
class Dropout(Op):
    """Inverted dropout: mask (N, H) is 0 where a unit is dropped, and else 1 / (1 - rate)."""

    mask: Array
    rate: float

    def back(self, g: Array) -> Array:
        """Times the mask of the forward pass."""
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


def network(case: Any, truth: Any, data: float, weights: Sequence[float]) -> list[list[Op]]:
    """The operations of a case (`battery.Case`, `battery.Truth`), the loss first, in segments.

    Each segment ends in a product; the next begins with the way back through it. The objective is data * the mean
    loss + sum_k weights[k] ||W_k||^2.
    """
    config, trace, params, units = case.config, truth.trace, case.params, case.config.units
    products = _products(case, truth, weights)
    one_hot = np.eye(trace.logits.shape[1])[case.y]
    loss = Loss(len(units), data * truth.d_scores, softmax(trace.logits), one_hot, trace.logits, data)
    segments: list[list[Op]] = [[loss, products[-1]]]
    for k in range(len(units) - 1, -1, -1):
        ops: list[Op] = [products[k + 1]]
        if k + 1 < len(units) and units[k + 1].norm == "input":
            ops.append(_norm(case, trace, k + 1, products[k].outputs[0]))
        starts = any(unit.skip and number - unit.skip == k for number, unit in enumerate(units))
        ops.append(Skip(k, units[k].skip, starts))
        hidden = trace.hidden[k]
        if hidden.mask is not None:
            ops.append(Dropout(k, hidden.mask, config.dropout))
        if units[k].norm == "after":
            ops.append(_norm(case, trace, k, truth.activated[k]))
        if units[k].active:
            tensors = _tensors(case, truth, products, k)
            activation = (config.activation, config.negative_slope)
            ops.append(Slope(k, hidden.z, truth.activated[k], truth.slopes[k], *activation, tensors))
        if units[k].norm == "before":
            ops.append(_norm(case, trace, k, hidden.inputs @ params[k].w + params[k].b))
        segments.append([*ops, products[k]])
    return segments


def _norm(case: Any, trace: Any, k: int, u: Array) -> Norm:
    norm, layer, axis_and_eps = trace.hidden[k].norm, case.params[k], (case.config.norm_axis, case.config.norm_eps)
    return Norm(k, u, norm.normalized, norm.inverse_std, layer.scale, layer.shift, *axis_and_eps)


def _products(case: Any, truth: Any, weights: Sequence[float]) -> list[Affine]:
    """The products, the lowest first; what a unit hands on is made again from what the trace has."""
    trace, products = truth.trace, list[Affine]()
    inputs = [*(hidden.inputs for hidden in trace.hidden), trace.inputs]
    for k, layer in enumerate(case.params):
        if k == len(trace.hidden):
            shifted = trace.logits - trace.logits.max(axis=1, keepdims=True)
            outputs = (trace.logits, shifted, softmax(trace.logits))
        else:
            outputs = (inputs[k + 1], truth.activated[k], trace.hidden[k].z)
        before = tuple[tuple[str, Array], ...]()
        if k:
            below = trace.hidden[k - 1]
            undropped = truth.activated[k - 1]
            before = (("z", below.z),)
            if below.mask is not None:
                before += (("z", below.z * below.mask), ("undropped", undropped))
        penalty = 2 * weights[k] * layer.w
        below_b = case.params[k - 1].b if k else None
        products.append(Affine(k, inputs[k], layer.w, layer.b, outputs, before, below_b, penalty))
    return products


def _tensors(case: Any, truth: Any, products: list[Affine], k: int) -> dict[str, Array]:
    """Tensors of the shape of layer k's z that are not z."""
    trace, hidden, layer = truth.trace, truth.trace.hidden[k], case.params[k]
    place = case.config.units[k].norm
    tensors = {
        "without bias": hidden.z - (layer.shift if place == "before" else layer.b),
        "the opposite of z": -hidden.z,
        "its inputs": hidden.inputs,
        "its outputs": products[k + 1].inputs,
        "the scores": trace.logits,
        **{f"z of layer {j + 1}": other.z for j, other in enumerate(trace.hidden) if j != k},
    }
    for name, w in (("its own weights", layer.w), ("the weights above", case.params[k + 1].w)):
        tensors |= {name: w, f"{name}, transposed": w.T}
    if place in ("before", "after"):
        tensors["what is normalised"] = hidden.norm.normalized
    if place == "before":
        tensors["what is not normalised yet"] = hidden.inputs @ layer.w + layer.b
    return {name: value for name, value in tensors.items() if value.shape == hidden.z.shape}


def softmax(logits: Array) -> Array:
    """psi: softmax over each row of logits (N, C)."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def through_softmax(psi: Array, g: Array) -> Array:
    """The softmax's Jacobian times g, (N, C): psi (g - sum(g psi)) in each row (equation 3)."""
    return np.asarray(psi * (g - (g * psi).sum(axis=1, keepdims=True)))


def term_sizes(segments: list[list[Op]]) -> list[dict[str, float]]:
    """Per leaf, the norm of what it would be if no term of its own unit's backward step cancelled another.

    The cotangent that is handed down is that of the true backward pass, so that nothing piles up with depth; but
    psi - Delta counts as a tenth of psi + Delta at least.
    """
    loss = segments[0][0]
    assert isinstance(loss, Loss)
    true = np.where(loss.d < 0, -1, 1) * loss.absolute().back(loss.d)
    size = np.maximum(np.abs(true), loss.terms())
    sizes: list[dict[str, float]] = [{} for _ in segments]
    pending = [dict[int, Array](), dict[int, Array]()]
    for ops in segments:
        for op in ops:
            sizes[op.layer] |= {} if op is ops[0] else _norms(_terms_of(op, size))
            if isinstance(op, Skip):
                true, pending[0] = op.carried(true, pending[0])
                size, pending[1] = op.carried(size, pending[1])
            elif op is not ops[-1] and not isinstance(op, Loss):
                size = op.absolute().back(np.abs(true) if isinstance(op, Affine) else size)
                true = op.back(true)
        pending[1] = {unit: np.abs(value) for unit, value in pending[0].items()}
    return sizes


def _terms_of(op: Op, size: Array) -> dict[str, Array]:
    leaves = op.absolute().leaves(size)
    return leaves | ({"w": leaves["w"] + np.abs(op.penalty)} if isinstance(op, Affine) else {})


def _norms(leaves: dict[str, Array]) -> dict[str, float]:
    return {field: float(np.linalg.norm(leaf)) for field, leaf in leaves.items()}
