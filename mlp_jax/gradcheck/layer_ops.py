"""The operations that single layers have beside those of networks (`ops`), and what mistakes compute in them.

The words are in the mistakes' rows (`mistakes`). A way of `WAYS` is one beside the row's own, `Row.instead`: it
is made in single layers alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mlp_jax.gradcheck.deviations import Alternative, Alternatives, LeafAlternative, LeafAlternatives, Ops
from mlp_jax.gradcheck.ops import Affine, Norm, Op

Array = np.ndarray
Way = Callable[[Ops], Iterator[Any]]


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """The softmax a (N, C) as a layer of its own."""

    a: Array

    def back(self, g: Array) -> Array:
        """a (g - sum(g a)) over the classes."""
        return np.asarray(self.a * (g - (g * self.a).sum(axis=1, keepdims=True)))


@dataclass(frozen=True, eq=False)
class Hinge(Op):
    """The mean hinge loss of scores (N, C) and labels (N,): the sum over j != y of max(0, s_j - s_y + 1)."""

    scores: Array
    y: Array

    @property
    def one_hot(self) -> Array:
        """1 at the true class, (N, C)."""
        return np.asarray(np.eye(self.scores.shape[1])[self.y])

    def margins(self, margin: float = 1.0) -> Array:
        """s_j - s_y + margin, and 0 at the true class."""
        true = self.scores[np.arange(len(self.y)), self.y][:, None]
        return np.asarray((self.scores - true + margin) * (1 - self.one_hot))

    def of_mask(self, mask: Array) -> Array:
        """The mask, and minus its sum at the true class, over N."""
        return np.asarray((mask - self.one_hot * mask.sum(axis=1, keepdims=True)) / len(self.y))

    def back(self, g: Array) -> Array:
        """By the scores, whatever g is."""
        return self.of_mask(self.margins() > 0)


@dataclass(frozen=True, eq=False)
class Windows(Op):
    """What a layer of windows has: x (N, C, H, W), stride, padding, and the windows' size (h, w)."""

    x: Array
    stride: int
    pad: int
    size: tuple[int, int]

    def places(self, g: Array, stride: int = 0) -> Iterator[tuple[int, int, Any]]:
        """Rows and columns of the output g, and where the window of each lies in the padded input."""
        step = stride or self.stride
        for i, j in np.ndindex(g.shape[2:]):
            rows, columns = (slice(n * step, n * step + m) for n, m in zip((i, j), self.size, strict=True))
            yield i, j, np.s_[:, :, rows, columns]

    def padded(self) -> Array:
        """x with zeros around it."""
        return np.pad(self.x, ((0, 0), (0, 0), (self.pad,) * 2, (self.pad,) * 2))

    def cut(self, padded: Array, start: int) -> Array:
        """What belongs to x of a gradient of the padded input."""
        height, width = self.x.shape[2:]
        return padded[:, :, start : start + height, start : start + width]


@dataclass(frozen=True, eq=False)
class Conv(Windows):
    """A convolution with w (F, C, h, w) and a bias for each filter."""

    w: Array

    def back(self, g: Array, *, stride: int = 0, cut: bool = True, add: bool = True, flip: bool = False) -> Array:
        """Every window gets w times its output's g. The keywords make it wrong."""
        padded, w = np.zeros_like(self.padded()), self.w[:, :, ::-1, ::-1] if flip else self.w
        for i, j, at in self.places(g, stride):
            padded[at] = np.tensordot(g[:, :, i, j], w, 1) + (padded[at] if add else 0)
        return self.cut(padded, self.pad if cut else 0)

    def leaves(self, g: Array, *, stride: int = 0, cut: bool = True, add: bool = True) -> dict[str, Array]:
        """Every window of the input times its output's g; and the sum of g."""
        inputs, w = self.padded(), np.zeros_like(self.w)
        if not cut:
            inputs = np.pad(self.x, ((0, 0), (0, 0), (0, 2 * self.pad), (0, 2 * self.pad)))
        for i, j, at in self.places(g, stride):
            w = np.tensordot(g[:, :, i, j], inputs[at], axes=(0, 0)) + (w if add else 0)
        return {"w": w, "b": g.sum(axis=(0, 2, 3))}


@dataclass(frozen=True, eq=False)
class MaxPool(Windows):
    """The largest input of each window."""

    def back(self, g: Array, *, stride: int = 0, everywhere: bool = False, of_output: bool = False) -> Array:
        """The largest input of each window gets g. The keywords make it wrong."""
        dx, right = np.zeros_like(self.x), {(i, j): self.x[at] for i, j, at in self.places(g)}
        for i, j, at in self.places(g, stride):
            window = self.x[at]
            output = (right[i, j] if of_output else window).max(axis=(2, 3), keepdims=True)
            largest = everywhere or window == output
            dx[at] += largest * g[:, :, i, j][:, :, None, None]
        return dx


def _with(detail: str = "", **keywords: Any) -> Way:
    """The operation's own way back with other keywords."""

    def ways(ops: Ops) -> Alternatives:
        yield Alternative(lambda j, g, above: ops[j].back(g, **keywords), detail)

    return ways


def _leaf_with(field: str, **keywords: Any) -> Way:
    def ways(ops: Ops) -> LeafAlternatives:
        yield LeafAlternative(lambda j, g: ops[j].leaves(g, **keywords)[field])

    return ways


def _instead(*values: Callable[[Any, Array], Array]) -> Way:
    """Functions of the operation and its cotangent."""

    def ways(ops: Ops) -> Alternatives:
        for value in values:
            yield Alternative(lambda j, g, above, value=value: np.asarray(value(ops[j], g)))  # type: ignore[misc]

    return ways


def _leaf_instead(*values: Callable[[Any, Array], Array]) -> Way:
    def ways(ops: Ops) -> LeafAlternatives:
        for value in values:
            yield LeafAlternative(lambda j, g, value=value: np.asarray(value(ops[j], g)))  # type: ignore[misc]

    return ways


def _leaf_of_ones(field: str) -> Way:
    """The leaf as if the cotangent were 1."""
    return _leaf_instead(lambda op, g: op.leaves(np.ones_like(g))[field])


def _other_eps(ops: Ops) -> Alternatives:
    """Another eps than the forward pass's, in the backward pass alone."""

    def back(eps: float, j: int, g: Array, above: Array) -> Array:
        op = ops[j]
        var = np.maximum(1 / np.expand_dims(op.inverse_std, op.axis) ** 2 - op.eps + eps, 1e-30)
        return np.asarray(op.back(g, divided=False) / np.sqrt(var))

    for eps, text in ((0.0, "none"), (-1e-5, "subtracted"), (1e-8, "1e-08")):
        yield Alternative(partial(back, eps), f"in the backward pass: {text}")


def _one_term_over_the_other_axis(ops: Ops) -> Alternatives:
    """The mean's or the variance's term over the wrong axis, or one factor of the latter."""

    def back(number: int, j: int, g: Array, above: Array) -> Array:
        op, d = ops[j], g * ops[j].scale
        terms = [op.parts(d, op.axis if n != number else 1 - op.axis)[n] for n in (0, 1)]
        return np.asarray((d - terms[0] - terms[1]) * np.expand_dims(op.inverse_std, op.axis))

    for number, text in enumerate(("the mean's term", "the variance's term")):
        yield Alternative(partial(back, number), text)


def _every_term_missing(ops: Ops) -> Alternatives:
    yield Alternative(lambda j, g, above: ops[j].back(g, mean=0, variance=0), "and the mean's")


W, B, SCALE, SHIFT = (Affine, "w"), (Affine, "b"), (Norm, "scale"), (Norm, "shift")
WAYS: Mapping[str, Mapping[Any, Way]] = {
    "upstream_lost": {
        W: _leaf_of_ones("w"),
        B: _leaf_instead(lambda op, g: np.ones_like(op.b), lambda op, g: np.full_like(op.b, len(g))),
        SCALE: _leaf_of_ones("scale"),
        SHIFT: _leaf_instead(lambda op, g: np.ones_like(op.scale), lambda op, g: np.full_like(op.scale, len(g))),
        (Conv, "w"): _leaf_of_ones("w"),
        (Conv, "b"): _leaf_of_ones("b"),
        **dict.fromkeys((Conv, MaxPool), _instead(lambda op, g: op.back(np.ones_like(g)))),
        Softmax: _instead(lambda op, g: op.a * (1 - op.a), lambda op, g: op.a),
    },
    "bias_over_classes": {
        SCALE: _leaf_instead(lambda op, g: (g * op.n).sum(axis=1)),
        SHIFT: _leaf_instead(lambda op, g: g.sum(axis=1)),
    },
    "softmax_jacobian_diagonal": {Softmax: _instead(lambda op, g: g * op.a * (1 - op.a))},
    "softmax_derivative_missing": {Softmax: _instead(lambda op, g: g)},
    "bn_eps": {Norm: _other_eps},
    "bn_axis": {Norm: _one_term_over_the_other_axis},
    "bn_variance_term_dropped": {Norm: _every_term_missing},
    "svm_margin": {
        Hinge: _instead(
            lambda op, g: op.of_mask(op.margins(0.0) > 0),
            lambda op, g: op.back(g) + ((op.margins(0.0) > 0) * 1.0 - (op.margins() > 0)) / len(g),
        )
    },
    "svm_true_class": {
        Hinge: _instead(
            lambda op, g: (op.margins() > 0) / len(g),
            lambda op, g: ((op.margins() > 0) * 1.0 - op.one_hot) / len(g),
            lambda op, g: abs(op.back(g)),
            lambda op, g: ((op.margins() > 0) * 1.0 - op.one_hot * (op.scores.shape[1] - 1)) / len(g),
            lambda op, g: op.back(g) + op.one_hot / len(g),
            lambda op, g: op.back(g) - op.one_hot / len(g),
        )
    },
    "svm_mask": {
        Hinge: _instead(
            lambda op, g: op.of_mask(1 - op.one_hot),
            lambda op, g: op.of_mask(op.margins() * (op.margins() > 0)),
            lambda op, g: op.of_mask((op.scores > 0) * (1 - op.one_hot)),
            lambda op, g: op.of_mask((op.margins() < 0) * (1 - op.one_hot)),
        )
    },
    "window_stride": {
        Conv: _with(stride=1),
        (Conv, "w"): _leaf_with("w", stride=1),
        MaxPool: _instead(
            lambda op, g: op.back(g, stride=1), lambda op, g: op.back(g, stride=1, of_output=True)
        ),
    },
    "window_pad": {Conv: _with(cut=False), (Conv, "w"): _leaf_with("w", cut=False)},
    "window_overwritten": {Conv: _with(add=False), (Conv, "w"): _leaf_with("w", add=False)},
    "kernel_flipped": {Conv: _with(flip=True)},
    "bias_mean": {
        (Conv, "b"): _leaf_instead(
            lambda op, g: g.mean(axis=(0, 2, 3)), lambda op, g: g.mean(axis=(2, 3)).sum(axis=0)
        )
    },
    "pool_everywhere": {
        MaxPool: _instead(
            lambda op, g: op.back(g, everywhere=True), lambda op, g: op.back(g, everywhere=True) / np.prod(op.size)
        )
    },
}  # fmt: skip
