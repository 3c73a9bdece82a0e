"""Layer objects: `forward` and `backward` methods that return arrays, or leave them as attributes.

Known are the conventions of "Neural Networks from Scratch" (.output, .dinputs, .dweights) and of "Deep Learning
from Scratch" (returned, with .dW and .db).
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import classes, embeddings, kept, operations, shapes, windows
from mlp_jax.gradcheck.layers.arrangements import ASKED_BY_VALUE
from mlp_jax.gradcheck.layers.asking import Layer
from mlp_jax.gradcheck.layers.cells import Cell, is_cell
from mlp_jax.gradcheck.layers.contexts import function_of_context, function_of_torch
from mlp_jax.gradcheck.layers.functions import Pair
from mlp_jax.gradcheck.layers.losses import (
    OUTPUTS,
    Array,
    Gate,
    LossObject,
    OfClass,
    forward_of,
    input_gradient,
    inputs_of,
    is_backward_alone,
)
from mlp_jax.gradcheck.layers.shapes import ARRAYS, LABELS
from mlp_jax.gradcheck.layers.taped import TapedObject, is_taped
from mlp_jax.gradcheck.reading.answers import double, plain
from mlp_jax.gradcheck.reading.names import TRAINING
from mlp_jax.gradcheck.reading.paths import Path, attribute, get, in_double, is_there, put
from mlp_jax.gradcheck.reading.signatures import needed, positions_of


def layer_of(target: type) -> Layer:
    """Returns the class as a layer."""
    target = classes.with_usual_names(target)
    if classes.of_torch(target):
        return function_of_torch(target)
    if classes.takes_context(target):
        return function_of_context(target)
    if "embed" in target.__name__.lower():
        return embeddings.layer_of(target)
    if why := classes.not_told(target):
        raise UserError(why)
    if is_cell(target):
        return Cell(target)
    if is_backward_alone(target):
        return LossObject(target)
    if is_taped(target):
        return TapedObject(target, classes.constructor(target) or [], _operation(target))
    if classes.is_pair(target):
        made = target()
        return Pair(target.__name__, made.forward, made.backward)
    forward = [p.name.lower() for p in positions_of(forward_of(target))]
    taken = [name.lower() for name in inputs_of(target)]
    if shapes.attends(forward) or (len(taken) > 1 and taken[1] not in (*LABELS, *TRAINING)):
        return Gate(target)
    if len(forward) < 2 or forward[1] not in LABELS:
        return LayerObject(target)
    backward = needed(positions_of(target.backward))  # type: ignore[attr-defined]
    is_loss = len(backward) != 1 or any(word in target.__name__.lower() for word in classes.LOSSES)
    return LossObject(target) if is_loss else Gate(target)


class LayerObject(OfClass):
    """This is a class with forward(x) and backward(dout)."""

    def __init__(self, target: type) -> None:
        super().__init__(target)
        self.operation = _operation(target)
        norms = [norm for norm in ("batchnorm", "layernorm") if norm in target.__name__.lower()]
        self.mistakes_of = norms[0] if norms else ""
        self._picture = classes.is_of_pictures(target)
        self._row = "1d" in target.__name__.lower()  # pictures are one pixel high
        self._channels = 4 if "group" in target.__name__.lower() else 2
        forward, backward = (positions_of(method) for method in (forward_of(target), target.backward))  # type: ignore[attr-defined]
        self._training = (True,) if len(forward) > 1 and forward[1].default is inspect.Parameter.empty else ()
        names = [p.name for p in positions_of(target.__init__)]  # type: ignore[misc]
        self._strides = [n for n in names if n.lower() in windows.STRIDES]
        self._regularisers = [n for n in names if n[-2:] in ("l1", "l2") and n[:4] in ("weig", "bias")]
        self._given_inputs = classes.is_given_inputs(target)
        rest = backward[1 + self._given_inputs :]
        self._updates = bool(rest) and rest[0].default is inspect.Parameter.empty

    def layouts(self) -> Sequence[int]:
        """Rows are examples first; one example, as a row, is tried last."""
        if self._picture:
            return (shapes.RANK_4, shapes.LAST)
        next_ones = (shapes.SEQUENCE, shapes.COLUMNS)
        told = self.operation in ASKED_BY_VALUE  # which a sequence leaves unknown
        return (shapes.RANK_4, *(next_ones[::-1] if told else next_ones), shapes.ONE_COLUMN, shapes.ONE_ROW)

    def _make(self, n_in: int, n_out: int, rng: np.random.Generator, number: int) -> Any:
        kind_of_penalty = ("none", "l2", "l1", "none")[number]
        given: dict[str, Any] = {name: 0.05 for name in self._regularisers if kind_of_penalty in name}
        numbers = {"in": n_in, "out": n_out, "rate": 0.4, "window": 2, "rng": rng, "groups": 2, "pad": 1}
        numbers["heads"] = next(heads for heads in (2, 3, 1) if n_in % heads == 0)
        for kind, name in classes.constructor(self._target) or []:
            shape = {"w": (n_in, n_out), "n": (n_in,)}.get(ARRAYS.get(name.lower(), ""), (n_out,))
            if self._picture and ARRAYS.get(name.lower()) != "n":
                window = (3,) if self._row else (3, 3)
                shape = (3, n_in, *window) if ARRAYS.get(name.lower()) == "w" else (3,)
            given[name] = rng.normal(size=shape) if kind == "array" else numbers[kind]
        if windows.overlap(self.name, number):
            given |= dict.fromkeys(self._strides, 1)
        return in_double(self._target(**given))

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """x (N, D), and the arrays that the object has a gradient of after a first pass; option "": the object."""
        n, d, m = operations.SIZES_OF_OBJECTS[number]
        ends = (self._channels, 3) if self._picture else (d, m)
        made = self._make(*ends, rng, number)
        if hasattr(made, "add") and [] in vars(made).values():
            raise UserError(
                f"{self.name} is built without layers: check a function f(params, x, y, l2) that adds them"
            )
        own = kept.own_arrays(made)
        singles = {path: get(made, path) for path in kept.numbers(made)}
        x = rng.normal(size=self._picture_shape(number, layout) if self._picture else _shape(n, d, layout))
        if layout == shapes.SEQUENCE or (layout in shapes.IN_COLUMNS and self.operation not in ASKED_BY_VALUE):
            self.operation = ""
        out, _ = self._call(made, x)
        before = {path: kept.value_of(made, path) for path in kept.stepped(made, singles)}
        numbers = dict(vars(made))
        self._back(made, x, rng.normal(size=out.shape))
        held = kept.returned_with(made, own, singles, self._returned) or kept.kept(made, own, singles)
        changed = [path for path, value in before.items() if not np.array_equal(kept.value_of(made, path), value)]
        if self._updates or (kept.rate(made) and any(path in own or path in singles for path in changed)):
            held = {str(path[-1][1]): (path, ()) for path in changed if self._matters(made, x, path)}
        named = own or [path for path in kept.own_arrays(made) if str(path[-1][1]).lower() in ARRAYS]
        self._refuse_without_gradient(made, x, named, [path for path, _ in held.values()])
        kept.refuse_unmatched(made, held, numbers)
        if not changed:
            kept.refuse_unread(self._returned, held)
        sizes = {name: np.shape(get(made, path)) for name, (path, _) in held.items()}
        if not own and layout not in shapes.IN_COLUMNS and any(s[1:] == (1,) < s for s in sizes.values()):
            raise ValueError(
                "its weights are made for any inputs, but its biases are columns: so are its examples"
            )
        if self.operation == "affine" and [np.prod(shape) for shape in sizes.values()] != [d * m, m]:
            self.operation = ""
        if self.operation == "affine" and not number and next(iter(sizes.values())) != (d, m):
            self.operation, self.mistakes_of = "", "affine"  # weights of shape (out, in), say
        leaves = {"inputs": x, **{name: shapes.drawn(rng, shape) for name, shape in sizes.items()}}
        return leaves, {"": (made, held)}

    def _picture_shape(self, number: int, layout: int) -> tuple[int, ...]:
        size = (6,) if self._row else (6, 4)
        last = layout == shapes.LAST
        return (2 + number % 2, *((*size, self._channels) if last else (self._channels, *size)))

    def penalties(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Array]:
        """Of lambda ||w||^2 or lambda |w|, for the arrays whose regularisers the object has."""
        made, held = options[""]
        found: dict[str, Array] = {}
        for name in self._regularisers:
            for leaf in (leaf for leaf in held if leaf.lower()[:4] == name[:4]):
                slope = 2 * leaves[leaf] if name.endswith("l2") else np.sign(leaves[leaf])
                found[leaf] = found.get(leaf, np.zeros_like(leaves[leaf])) + getattr(made, name, 0) * slope
        return found

    def _call(self, made: Any, x: Array) -> tuple[Array, Any]:
        answer = forward_of(self._target)(made, self.array(x), *self._training)
        if answer is None:
            answer = getattr(made, attribute(made, OUTPUTS) or "", None)
        if answer is None:
            raise UserError("forward neither returns its output nor leaves it as .output")
        return double(answer), made

    def _back(self, made: Any, x: Array, dout: Array) -> Array:
        if hasattr(made, "zero_grad"):
            made.zero_grad()
        given = [self.array(x.copy())] if self._given_inputs else []
        answer = made.backward(*given, self.array(dout), *((1.0,) if self._updates else ()))
        first, *rest = answer if isinstance(answer, (tuple, list)) else (answer,)
        self._returned = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest  # [dW, db]
        return input_gradient(made, first)

    def _matters(self, made: Any, x: Array, path: Path) -> bool:
        """Whether the output depends on what lies at a path, and keeps its shape when that changes."""
        out, _ = self._call(made, x)
        value = plain(get(made, path)).copy()
        put(made, path, value + 1)
        moved, _ = self._call(made, x)
        put(made, path, value)
        return moved.shape == out.shape and not np.allclose(moved, out)

    def _refuse_without_gradient(self, made: Any, x: Array, own: Sequence[Path], held: Sequence[Path]) -> None:
        """Raises UserError where the output depends on an array of the object's whose gradient is not known."""
        known = [get(made, path) for path in held]
        for path in (p for p in own if is_there(made, p) and not any(get(made, p) is each for each in known)):
            if self._matters(made, x, path):
                name = kept.name_of(path)
                told = f"backward leaves no gradient of {name} that is called so: leave it as "
                raise UserError(f"{told}.d{name} or .grad_{name}")

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """With the object's own arrays replaced by the leaves."""
        made, held = options[""]
        for name, (path, _) in held.items():
            put(made, path, leaves[name])
        out, _ = self._call(made, leaves["inputs"])
        return out, options[""]

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """What is returned, and what is left in the object; where it updates, the step over its learning rate."""
        made, held = cache
        before = {name: kept.value_of(made, path) for name, (path, _) in held.items()}
        for path, gradient in (places for places in held.values() if kept.is_zeroed_by_others(*places)):
            put(made, gradient, np.zeros_like(plain(get(made, path))))
        found = {"inputs": self._back(made, leaves["inputs"], dout)}
        for name, (path, gradient) in held.items():
            if not gradient:
                now = kept.value_of(made, path)
                found[name] = (before[name] - now) / (1.0 if self._updates else kept.rate(made))
            elif gradient[0][0] == "returned":
                found[name] = double(self._returned[gradient[0][1]])
            elif kept.is_value(made, gradient):
                found[name] = kept.value_of(made, gradient)
        rows = {name for name, value in found.items() if leaves[name].shape == (1, *value.shape)}
        return {n: v[None] if n in rows else v for n, v in found.items()}  # a row takes a vector in every update


def _shape(n: int, d: int, layout: int) -> tuple[int, ...]:
    """The shape of inputs that are no pictures."""
    forms = {shapes.SEQUENCE: (n, 3, d), shapes.COLUMNS: (d, n), shapes.ONE_COLUMN: (d, 1), shapes.ONE_ROW: (1, d)}
    return forms.get(layout, (n, d))


KNOWN = ("dropout", "affine", "leaky_relu", "relu", "sigmoid", "tanh", "softmax", "log_softmax")


def _operation(target: type) -> str:
    operation = operations.named(f"{target.__name__}_")
    return operation if operation in KNOWN else ""
