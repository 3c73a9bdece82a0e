"""The operations that single layers have beside those of networks (`ops`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlp_jax.gradcheck.mistakes.ops import Loss, Op
from mlp_jax.gradcheck.softmax import softmax, through_softmax

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Upstream(Op):
    """The output of a layer, or of any function: what arrives there, dout, is where its backward pass starts."""

    def back(self, g: Array) -> Array:
        """What arrives is what goes on."""
        return g


@dataclass(frozen=True, eq=False)
class Inputs(Op):
    """The inputs of a layer, whose gradient is a leaf as well."""

    fields = ("x",)

    def leaves(self, g: Array) -> dict[str, Array]:
        """Returns what arrives."""
        return {"x": g}


@dataclass(frozen=True, eq=False)
class Function(Op):
    """Any function of one argument; `pull` is its vjp, from jax.

    turned: its vjps where another square argument is transposed.
    """

    pull: Callable[[Array], Array]
    turned: tuple[Callable[[Array], Array], ...] = ()

    def back(self, g: Array) -> Array:
        """Returns the vjp of g."""
        return self.pull(g)


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """This is the softmax a (N, C) as a layer of its own."""

    a: Array

    def back(self, g: Array) -> Array:
        """Returns a (g - sum(g a)), with the sum over the classes."""
        return through_softmax(self.a, g)


@dataclass(frozen=True, eq=False)
class LogSoftmax(Op):
    """This is the logarithm of the softmax a (N, C) as a layer of its own."""

    a: Array

    def back(self, g: Array) -> Array:
        """Returns g - a sum(g), with the sum over the classes."""
        return np.asarray(g - self.a * g.sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Embedding(Op):
    """The rows of a matrix w (words, D) that `index` names: what arrives is D numbers for each of its places."""

    w: Array
    index: Array

    def back(self, g: Array) -> Array:
        """Returns the sum of g over the places where a word occurs, for every word."""
        dw = np.zeros_like(self.w)
        np.add.at(dw, self.index, g)
        return dw

    def each_once(self, g: Array, axis: int | None = None) -> Array:
        """Returns the sum to which a word adds its last g alone: of all places, or of each slice of an axis."""
        dw = np.zeros_like(self.w)
        parts = ([self.index], [g]) if axis is None else (np.moveaxis(each, axis, 0) for each in (self.index, g))
        for index, part in zip(*parts, strict=True):
            dw[index] += part
        return dw


@dataclass(frozen=True, eq=False)
class Hinge(Loss):
    """The mean hinge loss of scores and labels: the sum over j != y of max(0, s_j - s_y + margin)^power."""

    margin: float = 1.0
    power: int = 1

    def margins(self, margin: float | None = None) -> Array:
        """Returns s_j - s_y + margin, and 0 at the true class."""
        true = (self.scores * self.one_hot).sum(axis=1, keepdims=True)
        return np.asarray((self.scores - true + (self.margin if margin is None else margin)) * (1 - self.one_hot))

    def mask(self, margin: float | None = None, *, power: int = 0) -> Array:
        """Returns the derivative of each class's own part by its score, 0 at the true class."""
        over = np.maximum(self.margins(margin), 0)
        return np.asarray((over > 0) * 1.0 if (power or self.power) == 1 else 2 * over)

    def of_mask(self, mask: Array) -> Array:
        """Returns the mask, and minus its sum at the true class."""
        return np.asarray(mask + self.true_class(mask))

    def true_class(self, mask: Array) -> Array:
        """Returns minus the sum of the mask at the true class, and 0 elsewhere."""
        return np.asarray(-self.one_hot * mask.sum(axis=1, keepdims=True))

    @classmethod
    def of_scores(cls, scores: Array, y: Array) -> "Hinge":
        """The loss of scores (N, C) and labels (N,) as a layer of its own."""
        one_hot = np.eye(scores.shape[1])[y]
        made = cls(0, scores, softmax(scores), one_hot, scores)
        return replace(made, d=made.of_mask(made.mask()) / len(scores))


@dataclass(frozen=True, eq=False)
class Windows(Op):
    """What a layer of windows has: x (N, C, H, W), stride, padding, and the windows' size (h, w)."""

    x: Array
    stride: int
    pad: int
    size: tuple[int, int]

    @property
    def pads(self) -> tuple[int, int]:
        """The padding of rows and columns; what is one pixel high is padded at its ends alone."""
        return self.pad * (self.size[0] > 1), self.pad

    def places(self, g: Array, stride: int = 0) -> Iterator[tuple[int, int, Any]]:
        """Yields rows and columns of the output g, and where the window of each lies in the padded input."""
        step = stride or self.stride
        for i, j in np.ndindex(g.shape[2:]):
            rows, columns = (slice(n * step, n * step + m) for n, m in zip((i, j), self.size, strict=True))
            yield i, j, np.s_[:, :, rows, columns]

    def padded(self) -> Array:
        """Returns x with zeros around it."""
        return np.pad(self.x, ((0, 0), (0, 0), *((pad, pad) for pad in self.pads)))

    def empty(self, channels: int) -> Array:
        """Returns zeros in the shape of outputs with so many channels."""
        sizes = zip(self.x.shape[2:], self.pads, self.size, strict=True)
        return np.zeros((len(self.x), channels, *((n + 2 * p - m) // self.stride + 1 for n, p, m in sizes)))

    def cut(self, padded: Array, starts: tuple[int, int]) -> Array:
        """What belongs to x of a gradient of the padded input."""
        (height, width), (row, column) = self.x.shape[2:], starts
        return padded[:, :, row : row + height, column : column + width]


@dataclass(frozen=True, eq=False)
class Conv(Windows):
    """This is a convolution with w (F, C, h, w) and a bias for each filter."""

    fields = ("w", "b")
    w: Array
    b: Array

    def forward(self) -> Array:
        """Returns the outputs, (N, F, H, W)."""
        out, padded = self.empty(len(self.w)), self.padded()
        for i, j, at in self.places(out):
            out[:, :, i, j] = np.tensordot(padded[at], self.w, axes=((1, 2, 3), (1, 2, 3))) + self.b
        return out

    def of(self, *, examples: int = 0, filters: int = 0) -> "Conv":
        """Returns that of the examples, or the filters, from a number on."""
        return replace(self, x=self.x[examples:], w=self.w[filters:])

    def back(self, g: Array, *, stride: int = 0, cut: bool = True, add: bool = True, flip: bool = False) -> Array:
        """Every window gets w times its output's g. The keywords make it wrong."""
        padded, w = np.zeros_like(self.padded()), self.w[:, :, ::-1, ::-1] if flip else self.w
        for i, j, at in self.places(g, stride):
            padded[at] = np.tensordot(g[:, :, i, j], w, 1) + (padded[at] if add else 0)
        return self.cut(padded, self.pads if cut else (0, 0))

    def leaves(self, g: Array, *, stride: int = 0, cut: bool = True, add: bool = True) -> dict[str, Array]:
        """Returns the sum of every window times its output's g, and the sum of g."""
        inputs, w = self.padded(), np.zeros_like(self.w)
        if not cut:
            inputs = np.pad(self.x, ((0, 0), (0, 0), *((0, 2 * pad) for pad in self.pads)))
        for i, j, at in self.places(g, stride):
            w = np.tensordot(g[:, :, i, j], inputs[at], axes=(0, 0)) + (w if add else 0)
        return {"w": w, "b": g.sum(axis=(0, 2, 3))}


@dataclass(frozen=True, eq=False)
class MaxPool(Windows):
    """This is the largest input of each window."""

    def forward(self) -> Array:
        """Returns the maxima, (N, C, H, W)."""
        out = self.empty(self.x.shape[1])
        for i, j, at in self.places(out):
            out[:, :, i, j] = self.x[at].max(axis=(2, 3))
        return out

    def back(
        self, g: Array, *, stride: int = 0, everywhere: bool = False, of_output: bool = False, add: bool = True
    ) -> Array:
        """The largest input of each window gets g. The keywords make it wrong."""
        dx, right = np.zeros_like(self.x), {(i, j): self.x[at] for i, j, at in self.places(g)}
        for i, j, at in self.places(g, stride):
            window = self.x[at]
            output = (right[i, j] if of_output else window).max(axis=(2, 3), keepdims=True)
            largest = everywhere or window == output
            dx[at] = largest * g[:, :, i, j][:, :, None, None] + (dx[at] if add else 0)
        return dx

    def overwritten(self, g: Array) -> Array:
        """Returns the gradient of which each largest input has but that of its last window."""
        dx = np.zeros_like(self.x)
        for i, j, at in self.places(g):
            largest = self.x[at] == self.x[at].max(axis=(2, 3), keepdims=True)
            dx[at] = np.where(largest, g[:, :, i, j][:, :, None, None], dx[at])
        return dx
