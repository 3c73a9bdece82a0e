"""What the known mistakes multiply by in place of an activation's derivative; see `deviations`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mlp_jax.gradcheck.comparison import compiled
from mlp_jax.gradcheck.mistakes.ops import Slope
from mlp_jax.gradcheck.mistakes.row import Alternative, Alternatives, Array, Ops
from mlp_jax.nn import activations


def _times(ops: Ops, slopes: Sequence[Array], detail: str = "") -> Alternative:
    of = dict(zip(ops, slopes, strict=True))
    return Alternative(lambda op, g: g * of[op], detail)


def of_product(layer: int, z: Array, a: Array, bias: Array, activation: str, low: float | None) -> Slope:
    """Returns the activation with values a of a product z with its bias; low: the slope of a leaky ReLU."""
    slope = slopes_of(((activation, low),), [z])[0][0]
    return Slope(layer, z, a, slope, activation, low, {"without bias": z - bias})


def slope_without_bias(ops: Ops) -> Alternatives:
    """The derivative is taken at z less its bias."""
    name = "without bias"
    if all(name in op.tensors for op in ops):
        yield _times(ops, _slopes_at(ops, [op.tensors[name] for op in ops]))


def slope_elsewhere(ops: Ops) -> Alternatives:
    """The derivative is taken at any other tensor of the same shape, or at what is handed down."""
    tensors = [{"the opposite of z": -op.z, "its outputs": op.a, **op.tensors} for op in ops]
    for name in tensors[0]:
        if name != "without bias" and all(name in each for each in tensors):
            yield _times(ops, _slopes_at(ops, [each[name] for each in tensors]), f"at {name}")
    yield Alternative(lambda op, g: g * _slopes_at([op], [g])[0], "at the gradient from above")
    above = "at the gradient of the layer above"
    yield Alternative(lambda op, g, higher: g * _slopes_at([op], [higher])[0], above, wants_above=True)


def _slopes_at(ops: Ops, tensors: list[Array]) -> list[Array]:
    if ops[0].derivative is not None:
        return [op.derivative(tensor) for op, tensor in zip(ops, tensors, strict=True)]
    return slopes_of(((ops[0].activation, ops[0].negative_slope),), tensors)[0]


def other_value_at_zero(ops: Ops) -> Alternatives:
    """At exactly 0 the slope is that of the other side, or one between them."""
    low = kinked(ops[0])
    if low is None or not any((op.z == 0).any() for op in ops):
        return
    ours = float(ops[0].activation == "leaky_relu")
    for value in dict.fromkeys((1.0, low, (1 + low) / 2, 0.0)):
        if value != ours:
            yield _times(ops, [np.asarray(np.where(op.z == 0, value, op.slope)) for op in ops])


def kinked(op: Any) -> float | None:
    """Returns the slope left of 0 of a (leaky) ReLU, and None for other activations."""
    if op.activation not in ("relu", "leaky_relu"):
        return None
    return 0.0 if op.activation == "relu" else 0.1 if op.negative_slope is None else float(op.negative_slope)


FORMS: dict[str, Callable[[Array], Array]] = {
    "tanh": lambda v: 1 - v**2,
    "sigmoid": lambda v: v * (1 - v),
    "elu": lambda v: np.where(v > 0, 1, v + 1),
    "softplus": lambda v: 1 - np.exp(-v),
}
"""Derivatives as functions of the activation's value a = phi(z)."""


def form_at_z(ops: Ops) -> Alternatives:
    """A formula in a is given z."""
    details = {"tanh": "1 - z^2", "sigmoid": "z (1 - z)"}
    for name, form in FORMS.items():
        if name in (ops[0].activation, *details):
            yield _times(ops, [form(op.z) for op in ops], details.get(name, ""))


def of_another(ops: Ops) -> Alternatives:
    """The derivative is another activation's, at z, or in its form in a."""
    kinks = ("relu", "leaky_relu") if kinked(ops[0]) is not None else ()
    names = [name for name in activations.ACTIVATIONS if name not in (ops[0].activation, "identity", *kinks)]
    every = slopes_of(tuple((name, None) for name in names), [op.z for op in ops])
    for name, slopes in zip(names, every, strict=True):
        yield _times(ops, slopes, f"that of {name}")
    if not kinks:
        yield _times(ops, [np.asarray(op.z >= 0, float) for op in ops], "that of relu, with 1 at 0")
        yield from _leaky(ops, "that of a leaky ReLU with slope {:.3g}".format)
    for name in ("tanh", "sigmoid"):
        if name != ops[0].activation:
            yield _times(ops, [FORMS[name](op.a) for op in ops], f"that of {name}, taken at a")


def another_low_slope(ops: Ops) -> Alternatives:
    """The slope left of 0 is not the forward pass's number; at 0 it is either side's."""
    if kinked(ops[0]) is not None:
        yield from _leaky(ops, "a slope of {:.3g}".format)
        if kinked(ops[0]):
            for is_right in (np.greater, np.greater_equal):
                yield _times(ops, [is_right(op.z, 0).astype(float) for op in ops], "a slope of 0")


def _leaky(ops: Ops, say: Callable[[float], str]) -> Alternatives:
    for is_right in (np.greater, np.greater_equal):
        right = [is_right(op.z, 0).astype(float) for op in ops]
        left = _times(ops, [1 - mask for mask in right]).back
        yield _times(ops, right)._replace(extra=left, say=say)


_PADDED = 8192  # what all tensors of a layer have together; a call takes longer than its numbers


Kind = tuple[str, float | None]  # an activation, and the slope that replaces leaky_relu's own


@functools.lru_cache
def _program(form: str, kinds: tuple[Kind, ...]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """The functions of activations, or their derivatives, at z."""
    return compiled(lambda z: [getattr(activations.get(*kind), form)(z) for kind in kinds])


def values_of(names: tuple[str, ...], z: np.ndarray) -> list[np.ndarray]:
    """Returns each activation at z (M,)."""
    return _in_rows(_program("function", tuple((name, None) for name in names)), z)


def slopes_of(kinds: tuple[Kind, ...], tensors: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Returns each activation's derivative at each of the tensors, from one compiled program for one length."""
    if not any(tensor.size for tensor in tensors):
        raise ValueError("nothing lies above the scores")
    every = _in_rows(_program("derivative", kinds), np.concatenate([tensor.ravel() for tensor in tensors]))
    cuts = np.cumsum([tensor.size for tensor in tensors])[:-1]
    return [
        [part.reshape(t.shape) for part, t in zip(np.split(values, cuts), tensors, strict=True)]
        for values in every
    ]


def _in_rows(program: Callable[[np.ndarray], list[np.ndarray]], z: np.ndarray) -> list[np.ndarray]:
    """What a program gives at z (M,), from rows of one length, so that it is compiled once."""
    rows = np.pad(z, (0, -z.size % _PADDED)).reshape(-1, _PADDED)
    with jax.enable_x64(True):
        found = [[np.asarray(each) for each in program(row)] for row in rows]
    return [np.concatenate(of_one)[: z.size] for of_one in zip(*found, strict=True)]
