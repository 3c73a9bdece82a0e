"""A layer as a network of one operation, and what the known mistakes compute there.

Arrays are turned into those of `ops`: rows are examples, and weights have shape (in, out).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_jax.gradcheck import operations, references
from mlp_jax.gradcheck.layer_ops import Conv, Hinge, MaxPool, Softmax
from mlp_jax.gradcheck.mistakes import MISTAKES
from mlp_jax.gradcheck.ops import Affine, Dropout, Loss, Norm, Op, Slope, softmax
from mlp_jax.gradcheck.trials import Guess, Trial

Array = np.ndarray
FIELDS = {"affine": ("x", "w", "b"), "conv": ("x", "w", "b"), "norm": ("x", "scale", "shift")}
NORMS = ("batchnorm", "layernorm", "spatial")
SLOPES: dict[str, Callable[[Array, Array], Array]] = {  # of x and the output
    "relu": lambda x, a: (x > 0) * 1.0,
    "leaky_relu": lambda x, a: a / np.where(x == 0, 1, x),
    "sigmoid": lambda x, a: a * (1 - a),
    "tanh": lambda x, a: 1 - a**2,
}


@dataclass(frozen=True)
class View:
    """How a layer's arrays become those of an operation, and back."""

    operation: str
    layout: int
    trial: Trial

    def rows(self, array: Array) -> Array:
        """(N, features) of inputs, outputs or dout."""
        if self.layout == operations.COLUMNS:
            return array.T
        if self.operation == "spatial":
            return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])
        return array.reshape(len(array), -1)

    def inputs(self, rows: Array) -> Array:
        """Rows as the layer's inputs have them."""
        shape = next(iter(self.trial.inputs.values())).shape
        if self.layout == operations.COLUMNS:
            return rows.T
        if self.operation == "spatial":
            return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
        return rows.reshape(shape)

    @property
    def turned(self) -> bool:
        """Whether weights have shape (out, in)."""
        return self.layout in (operations.COLUMNS, operations.OUT_IN)

    def back(self, field: str, value: Array, leaf: Array) -> Array:
        """An operation's gradient in the layer's own shapes."""
        if field == "x":
            return value if self.operation in ("conv", "pool") else self.inputs(value)
        if field == "w":
            return value.T if self.turned and value.ndim == 2 else value
        return value.reshape(leaf.shape) if value.size == leaf.size else value

    def cotangent(self) -> Array:
        """dout as the operation wants it; (N, 1) of a loss."""
        g = self.trial.dout
        if self.operation.endswith("loss"):
            return np.ones((len(next(iter(self.trial.inputs.values()))), 1))
        return g if self.operation in ("conv", "pool") else self.rows(g)

    def op(self) -> Op | None:
        """The operation; None if there is none for this layer."""
        leaves, options = list(self.trial.inputs.values()), list(self.trial.options.values())
        x, out, name = leaves[0], self.trial.output, self.operation
        if name == "affine" and len(leaves) == 3:
            w = leaves[1].T if self.turned else leaves[1]
            return Affine(0, self.rows(x), w, leaves[2].ravel(), (self.rows(out),))
        if name in NORMS and len(leaves) == 3:
            return self._norm()
        if name in SLOPES and out.shape == x.shape:
            return self._slope()
        if name == "dropout" and out.shape == x.shape:
            mask = self.rows(references.mask_of(self.trial))
            return Dropout(0, mask, 1 - 1 / max(float(mask.max()), 1.0))
        if name == "softmax" and out.shape == x.shape and x.ndim == 2:
            return Softmax(0, out)
        return self._of_pictures(leaves, options) if name in ("conv", "pool") else self._loss(x, options)

    def _norm(self) -> Norm:
        x, gamma, beta = self.trial.inputs.values()
        u, axis, out = self.rows(x), int(self.operation == "layernorm"), self.rows(self.trial.output)
        gamma, beta = gamma.ravel(), beta.ravel()
        eps = references.eps_of(out, u, gamma, beta, axis)
        inverse_std = 1 / np.sqrt(u.var(axis=axis) + eps)
        n = (u - u.mean(axis=axis, keepdims=True)) * np.expand_dims(inverse_std, axis)
        return Norm(0, u, n, inverse_std, gamma, beta, axis, eps)

    def _slope(self) -> Slope:
        x, a = self.rows(next(iter(self.trial.inputs.values()))), self.rows(self.trial.output)
        slope = SLOPES[self.operation](x, a)
        tensors = {"the opposite of z": -x, "its outputs": a}
        low = float(slope[x < 0].mean()) if self.operation == "leaky_relu" and (x < 0).any() else None
        return Slope(0, x, a, slope, self.operation, low, tensors)

    def _loss(self, x: Array, options: list[Any]) -> Op | None:
        if len(options) != 1 or x.ndim != 2:
            return None
        y = options[0].argmax(axis=1) if options[0].ndim == 2 else options[0]
        if self.operation == "svm_loss":
            return Hinge(0, x, y)
        if self.operation != "softmax_loss":
            return None
        psi, one_hot = softmax(x), np.eye(x.shape[1])[y]
        return Loss(0, (psi - one_hot) / len(x), psi, one_hot, x)

    def _of_pictures(self, leaves: list[Array], options: list[Any]) -> Op | None:
        if len(options) != 1 or not isinstance(options[0], dict):
            return None
        param = options[0]
        if self.operation == "pool":
            size = (param["pool_height"], param["pool_width"])
            return MaxPool(0, leaves[0], param["stride"], 0, size) if len(leaves) == 1 else None
        w = leaves[1]
        return Conv(0, leaves[0], param["stride"], param["pad"], w.shape[2:], w) if len(leaves) == 3 else None


def guesses(operation: str, layout: int, leaf: str, trials: Sequence[Trial]) -> Iterator[Guess]:
    """What each known mistake computes in place of one leaf, in every trial."""
    views = [View(operation, layout, trial) for trial in trials]
    try:
        ops = [view.op() for view in views]
        if any(op is None for op in ops):
            return
        cotangents = [view.cotangent() for view in views]
    except (ValueError, IndexError, KeyError, AttributeError):  # another thing than the name says
        return
    fields = FIELDS.get("norm" if operation in NORMS else operation, ("x",))
    field = fields[list(trials[0].inputs).index(leaf)]
    place = type(ops[0]) if field == "x" else (type(ops[0]), field)

    def values(function: Callable[..., Any], *more: list[Array]) -> list[Array]:
        every = zip(views, ops, cotangents, *more, strict=True)
        return [view.back(field, function(*given), view.trial.inputs[leaf]) for view, *given in every]

    for row in sorted(MISTAKES.values(), key=lambda row: row.late):
        for table in (row.instead, row.in_layers):
            for way in table[place](ops) if place in table else ():
                try:
                    if field != "x":
                        yield Guess(row.code, values(way.value), way.detail)
                    else:
                        extra = way.extra and values(way.extra, cotangents)
                        yield Guess(row.code, values(way.back, cotangents), way.detail, extra, way.say)
                except ValueError:  # it does not conform
                    continue
