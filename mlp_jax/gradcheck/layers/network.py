"""A layer as a network of one operation, or of a few in a row.

Arrays are turned into those of `ops`: rows are examples, and weights have shape (in, out).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck.layers import operations, references, shapes, windows
from mlp_jax.gradcheck.layers.trials import Trial
from mlp_jax.gradcheck.mistakes.layer_ops import Conv, Embedding, Function, Hinge, LogSoftmax, MaxPool, Softmax
from mlp_jax.gradcheck.mistakes.ops import Affine, Dropout, Loss, Norm, Op, Slope
from mlp_jax.gradcheck.softmax import softmax

Array = np.ndarray
STEPS = ("affine", "conv", "pool", "batchnorm", "layernorm", "relu", "sigmoid", "tanh")
"""The operations that may stand in a row."""
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
    name: str = ""

    def rows(self, array: Array) -> Array:
        """Returns inputs, outputs or dout as (N, features)."""
        if self.layout in shapes.IN_COLUMNS:
            return array.T
        if self.operation in shapes.NORMS and array.ndim == 3:  # sequences (N, T, D)
            return array.reshape(-1, array.shape[-1])
        if self.operation == "spatial":
            return np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])
        if self.operation == "groupnorm":
            return array.reshape(len(array) * references.groups_of(list(self.trial.options.values())), -1)
        if self.operation in SLOPES and array.ndim == 4:
            return self.channels_first(array)
        return array.reshape(len(array), -1)

    def channels_first(self, array: Array) -> Array:
        """Returns pictures as (N, C, H, W)."""
        last = self.layout in shapes.CHANNELS_LAST and array.ndim == 4
        return np.moveaxis(array, -1, 1) if last else array

    def kernel(self, w: Array) -> Array:
        """Returns the kernels of a convolution as (F, C, h, w)."""
        if self.layout == shapes.LAST_FILTERS:
            return np.moveaxis(w, -1, 1)
        return w.transpose(3, 2, 0, 1) if self.layout in shapes.CHANNELS_LAST else w

    @property
    def turned(self) -> bool:
        """Whether weights have shape (out, in)."""
        return self.layout in (*shapes.IN_COLUMNS, shapes.OUT_IN)

    def seen(self, field: str, array: Array) -> Array:
        """Returns a gradient of the layer in the operation's own shape; as it is, where it has another one."""
        if field == "x":
            if array.shape != self.trial.x.shape:
                return array
            return self.channels_first(array) if self.pictures else self.rows(array)
        if field == "w":
            return array.T if self.turned and array.ndim == 2 else self.kernel(array) if array.ndim == 4 else array
        return array.ravel() if array.size == max(array.shape, default=1) else array

    def cotangent(self) -> Array:
        """Returns dout as the operation wants it, which is (N, 1) for a loss."""
        g = self.trial.dout
        if self.operation.endswith("loss"):
            return np.ones((len(self.rows(self.trial.x)), 1))
        if self.operation == "embedding":
            return g
        return self.channels_first(g) if self.pictures else self.rows(g)

    @property
    def pictures(self) -> bool:
        """Whether arrays stay (N, C, H, W)."""
        return self.operation in windows.OPERATIONS

    def chain(self) -> list[Op]:
        """The operations from the output down; [] if they are not known."""
        if self.operation not in ("affine_relu", "affines", "pictures"):
            op = self.op()
            return [] if op is None else [op]
        words = self.name.lower().removesuffix("_backward").removesuffix("_forward").split("_")
        steps = [operations.named(f"{word}_") or word.replace("activation", "relu") for word in words]
        if not all(step in STEPS for step in steps):
            return []
        leaves, options = list(self.trial.inputs.values()), list(self.trial.options.values())
        chain, a = list[Op](), leaves.pop(0)
        for step in steps:
            mine = [leaves.pop(0) for _ in range(2 * (step in ("affine", "conv", *shapes.NORMS)))]
            given = [options.pop(0)] if step not in SLOPES and step != "affine" else []
            inputs, options_ = ({str(n): v for n, v in enumerate(some)} for some in ([a, *mine], given))
            a = references.output(step, [a, *mine], options_, self.layout)
            trial = self.trial._replace(inputs=inputs, options=options_, output=a)
            op = View(step, self.layout, trial).op()
            if op is None:
                return []
            if isinstance(op, Slope) and chain and isinstance(chain[0], Affine):
                op = replace(op, tensors={**op.tensors, "without bias": op.z - chain[0].b})
            chain.insert(0, op)
        return chain

    def op(self) -> Op | None:
        """The operation; None if there is none for this layer."""
        leaves, options = list(self.trial.inputs.values()), list(self.trial.options.values())
        x, out, name = leaves[0], self.trial.output, self.operation
        if name == "affine" and len(leaves) == 3:
            w = leaves[1].T if self.turned else leaves[1]
            return Affine(0, self.rows(x), w, leaves[2].ravel(), (self.rows(out),))
        if name in shapes.NORMS and len(leaves) == 3:
            return self._norm()
        if name in SLOPES and out.shape == x.shape:
            return self._slope()
        if name == "dropout" and out.shape == x.shape:
            mask = self.rows(references.mask_of(self.trial))
            return Dropout(0, mask, 1 - 1 / max(float(mask.max()), 1.0))
        if name == "softmax" and out.shape == x.shape and x.ndim == 2:
            return Softmax(0, self.rows(out))
        if name == "embedding" and len(leaves) == len(options) == 1:
            return Embedding(0, x, options[0])
        if name == "log_softmax" and out.shape == x.shape and x.ndim == 2:
            return LogSoftmax(0, np.exp(self.rows(out)))
        return self._of_pictures(leaves) if name in ("conv", "pool") else self._loss(x, options)

    def _norm(self) -> Norm:
        x, gamma, beta = self.trial.inputs.values()
        u, out = self.rows(x), self.rows(self.trial.output)
        axis, pictures = int(self.operation in ("layernorm", "groupnorm")), tuple[int, ...]()
        gamma, beta = gamma.ravel(), beta.ravel()
        if self.operation == "groupnorm":  # then every number that is normalised has its own scale
            pictures = x.shape[:2]
            gamma, beta = (self.rows(np.broadcast_to(p[:, None, None], x.shape)) for p in (gamma, beta))
        eps = references.eps_of(out, u, gamma, beta, axis)
        inverse_std = 1 / np.sqrt(u.var(axis=axis) + eps)
        n = (u - u.mean(axis=axis, keepdims=True)) * np.expand_dims(inverse_std, axis)
        sizes = {f"the number of {('features', 'examples')[axis]}": u.shape[1 - axis]}
        return Norm(0, u, n, inverse_std, gamma, beta, axis, eps, pictures=pictures, sizes=sizes)

    def _slope(self) -> Slope:
        x, a = self.rows(self.trial.x), self.rows(self.trial.output)
        slope = SLOPES[self.operation](x, a)
        low = float(slope[x < 0].mean()) if self.operation == "leaky_relu" and (x < 0).any() else None
        return Slope(0, x, a, slope, self.operation, low)

    def _loss(self, x: Array, options: list[Any]) -> Op | None:
        if len(options) != 1 or x.ndim != 2:
            return None
        x, y = self.rows(x), operations.classes_of(options[0], self.layout)
        if self.operation == "svm_loss":
            return Hinge.of_scores(x, y)
        if self.operation != "softmax_loss":
            return None
        psi, one_hot = softmax(x), np.eye(x.shape[1])[y]
        weight = float(self.trial.dout)
        return Loss(0, weight * (psi - one_hot) / len(x), psi, one_hot, x, weight)

    def _of_pictures(self, leaves: list[Array]) -> Op | None:
        window = windows.of(self.trial.options)
        if window is None:
            return None
        x = self.channels_first(leaves[0])
        if self.operation == "pool":
            pool = MaxPool(0, x, window["stride"], 0, (window["pool_height"], window["pool_width"]))
            out = self.channels_first(self.trial.output)
            return (
                pool if len(leaves) == 1 and np.array_equal(pool.forward(), out) else None
            )  # or it is an average
        w = self.kernel(leaves[1])
        if len(leaves) != 3:
            return None
        return Conv(0, x, window["stride"], window["pad"], w.shape[2:], w, leaves[2].ravel())


class LayerNetwork(NamedTuple):
    """A layer as a network: its operations in every trial, the last one first.

    cotangents: dout, as the last one wants it. places: by leaf, the number of the operation that it belongs to (1
    is the first of a chain; behind the last one are the inputs) and its field there. seen: takes such a field, an
    array in the shape of the leaf, and the number of a trial, and gives the array as the operation has it.
    """

    chains: Sequence[Sequence[Op]]
    cotangents: list[Array]
    places: Mapping[str, tuple[int, str]]
    seen: Callable[[str, Array, int], Array]


def network_of(name: str, operation: str, layout: int, trials: Sequence[Trial]) -> LayerNetwork | None:
    """The network that a layer is, by its name and operation; None if that is not known."""
    if operation == "affine" and layout == shapes.RANK_4 and any(map(is_turned, trials)):
        layout = shapes.OUT_IN
    views = [View(operation, layout, trial, name) for trial in trials]
    try:
        chains = [view.chain() for view in views]
        if not all(chains):
            return None
        places = dict(zip(trials[0].inputs, _places(chains[0]), strict=True))
        cotangents = [view.cotangent() for view in views]
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):  # another thing than the name says
        return None
    return LayerNetwork(chains, cotangents, places, lambda field, array, i: views[i].seen(field, array))


def is_turned(trial: Trial) -> bool:
    """Whether an object's weights are (out, in)."""
    shapes = [leaf.shape for leaf in trial.inputs.values()]
    return len(shapes) == 3 and shapes[1] == (trial.output.shape[-1], shapes[0][-1]) != shapes[1][::-1]


def _places(chain: Sequence[Op]) -> Iterator[tuple[int, str]]:
    """Where the arguments of a layer belong, in their order: the inputs, and then the lowest operation's first."""
    yield len(chain) + 1, "x"
    for number in range(len(chain), 0, -1):
        yield from ((number, field) for field in chain[number - 1].fields)


def alone(leaf: str, trials: Sequence[Trial], functions: Sequence[Function] = ()) -> LayerNetwork:
    """One leaf as the input of an operation of which nothing is known, or but its vjp in every trial."""
    chains: list[list[Op]] = [[function] for function in functions] or [[] for _ in trials]
    places = {leaf: (len(chains[0]) + 1, "x")}
    return LayerNetwork(chains, [trial.dout for trial in trials], places, lambda _, array, __: array)
