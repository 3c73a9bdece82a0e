"""Objects of two inputs: losses of predictions and labels, and gates."""

import contextlib
import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import operations, shapes
from mlp_jax.gradcheck.layers.asking import Layer
from mlp_jax.gradcheck.layers.operations import classes_of
from mlp_jax.gradcheck.layers.shapes import LABELS
from mlp_jax.gradcheck.reading.answers import double, plain
from mlp_jax.gradcheck.reading.calling import converter
from mlp_jax.gradcheck.reading.conventions import likely_arrays
from mlp_jax.gradcheck.reading.paths import attribute
from mlp_jax.gradcheck.reading.signatures import needed, positions_of, signature
from mlp_jax.gradcheck.softmax import softmax

Array = np.ndarray
OUTPUTS = ("output", "out", "outputs", "a", "A", "y", "z", "Z")
APART = {"reduction": "none", "individual_losses": True}
OF_ELEMENTS = (
    "it is held against the loss with {}; with the mean, the default, it is to be divided by their number"
)
ANY_LABELS = 2  # the labels of a loss are any numbers in this layout
INPUT_GRADIENTS = ("dinputs", "dinput", "dx", "dX", "grad_input", "dZ", "dA_prev")


def is_backward_alone(target: type) -> bool:
    """Whether a class has only the backward pass of softmax and cross-entropy together."""
    name, backward = target.__name__.lower(), getattr(target, "backward", None)
    labels = [p.name.lower() for p in positions_of(backward)][1:]
    return (
        "softmax" in name and "loss" in name and forward_of(target) is None and labels[:1] in [[n] for n in LABELS]
    )


def forward_of(target: type) -> Any:
    """The forward pass of a class: its method forward, or what calls its objects; None if it has neither."""
    methods = (getattr(target, name, None) for name in ("forward", "__call__"))
    return next((method for method in methods if inspect.isfunction(method)), None)


def inputs_of(target: type) -> list[str]:
    """The names of what the forward pass takes, and needs."""
    return needed(positions_of(forward_of(target)))


def library_of(target: type) -> str:
    """The library that the class's file is written with, the likeliest."""
    return likely_arrays(getattr(target, "joined_of", None) or forward_of(target))[0]


def input_gradient(made: Any, answer: Any) -> Array:
    """The gradient of the inputs, (N, D): returned, or left in the object. Raises UserError without one."""
    if answer is None:
        answer = getattr(made, attribute(made, INPUT_GRADIENTS) or "", None)
    if answer is None:
        raise UserError("backward neither returns the gradient of the inputs nor leaves it as .dinputs")
    return double(answer)


class OfClass(Layer):
    """A class, of which an object is made for every trial."""

    def __init__(self, target: type) -> None:
        self.name, self._target, self.source = target.__name__, target, target
        self.library = library_of(target)


class Gate(OfClass):
    """This is a class with forward(x, y) and backward(dout) -> (dx, dy): a product, or attention of q, k and v."""

    only_inputs = True

    def __init__(self, target: type) -> None:
        super().__init__(target)
        self._inputs = [p for p in positions_of(forward_of(target)) if p.default is p.empty]
        self.operation = "attention" if shapes.attends([p.name for p in self._inputs]) else ""
        self.several_shapes = not self.operation

    def layouts(self) -> Sequence[int]:
        """Two arrays have one shape, or the first is a sequence, and the other weighs its steps, or its units."""
        of_two = (shapes.PLAIN, shapes.SEQUENCE, shapes.BY_STEP, shapes.BY_UNIT)
        return super().layouts() if self.operation else of_two

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Returns two arrays, or queries, keys and values."""
        if self.operation:
            return operations.arguments(self.operation, self._inputs, rng, number, layout)
        n, steps, units = 4 + number, 3, 2
        first = (n, steps) if layout == shapes.PLAIN else (n, steps, units)
        other = {shapes.BY_STEP: (n, steps), shapes.BY_UNIT: (n, units)}.get(layout, first)
        return {p.name: rng.normal(size=other if place else first) for place, p in enumerate(self._inputs)}, {}

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """Returns the output of a new object, and the object."""
        made = self._target()
        answer = forward_of(self._target)(made, *map(self.array, leaves.values()))
        return double(answer), made

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """Returns one gradient for each input."""
        answer = cache.backward(self.array(dout))
        if not isinstance(answer, (tuple, list)) or len(answer) != len(leaves):
            raise UserError("backward must return one gradient for each argument of forward")
        return {n: double(value) for n, value in zip(leaves, answer, strict=True)}


def _is_of_scores(target: type) -> bool:
    """Whether a loss is the mean cross-entropy of its inputs' softmax, by the value that it gives."""
    x, labels = np.random.default_rng(0).normal(size=(3, 4)), np.array([1, 3, 0])
    true, one_hot = -np.log(softmax(x)[range(3), labels]).mean(), np.eye(4)[labels]
    for given in ((x, labels), (x, one_hot), (x.T, labels), (x.T, one_hot.T)):
        with contextlib.suppress(Exception), np.errstate(all="ignore"):
            loss = forward_of(target)(target(), *map(converter(library_of(target)), given))
            if np.isclose(np.mean(plain(loss)), true):
                return True
    return False


def _is_of_differences(target: type) -> bool:
    """Whether a loss hangs on predictions - targets alone, as the squared error does, by its values."""
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4))
    with contextlib.suppress(Exception), np.errstate(all="ignore"):
        pairs = [map(converter(library_of(target)), (x + c, y + c)) for c in (0, 2)]
        first, other = (plain(forward_of(target)(target(), *pair)) for pair in pairs)
        return bool(np.allclose(first, other, rtol=1e-6))
    return False


class LossObject(OfClass):
    """A class with forward(predictions, labels): a loss, or one loss for each example, whose mean is taken."""

    upstream = False
    _apart: Mapping[str, Any] = {}  # the option by which it gives a loss for each element
    _of_elements: bool | None = None  # whether it gives a loss for each element, and backward their derivatives

    def __init__(self, target: type) -> None:
        super().__init__(target)
        name = target.__name__.lower()
        scores = "softmax" in name or (not is_backward_alone(target) and _is_of_scores(target))
        self.operation = "softmax_loss" if scores else ""
        self._binary = any(word in name for word in ("sigmoid", "binary", "bce", "logistic"))
        self._of_differences = _is_of_differences(target)
        # numbers that are probabilities are scores as well
        self.of_probabilities = not scores and not any(word in name for word in ("sigmoid", "logit"))

    def layouts(self) -> Sequence[int]:
        """Of labels: classes, one-hot, and any numbers; or of two classes in three shapes."""
        return range(3) if self._binary else (*range(3), shapes.COLUMNS, shapes.COLUMNS_ONE_HOT)

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Returns scores, or probabilities, and labels."""
        n, c, _ = operations.SIZES_OF_OBJECTS[number]
        if self._binary:
            shape = ((n,), (n, 1), (n, c))[layout]
            z = rng.normal(size=shape)
            y = rng.integers(0, 2, shape)
            return {"inputs": 1 / (1 + np.exp(-z)) if self.of_probabilities else z}, {"y": y}
        x = rng.normal(size=(n, c))
        if self._of_differences and layout in (
            shapes.ONE_HOT,
            ANY_LABELS,
        ):  # far enough for every branch of Huber's
            return {"inputs": 2 * x}, {"y": 2 * rng.normal(size=(n, c))}
        if self.of_probabilities:
            x = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        labels = rng.integers(0, c, n)
        if layout in shapes.IN_COLUMNS:
            return {"inputs": x.T}, {"y": labels if layout == shapes.COLUMNS else np.eye(c)[:, labels]}
        return {"inputs": x}, {"y": (labels, np.eye(c)[labels], rng.normal(size=(n, c)))[layout]}

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """Returns the mean loss."""
        made, x, y = self._target(), *map(self.array, (leaves["inputs"], options["y"]))
        if is_backward_alone(self._target):
            psi = softmax(leaves["inputs"])
            loss = -np.mean(np.log(psi[range(len(psi)), classes_of(options["y"])]))
            return np.asarray(loss), (made, self.array(psi), y)
        if self._of_elements is None:
            self._settle(leaves, options)
        losses = self._losses(made, x, y)
        return np.asarray(np.sum(losses) if self._of_elements else np.mean(losses)), (made, x, y)

    def _settle(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> None:
        """Finds out whether it gives a loss for each element, by default or if told so, and their derivatives."""
        self._of_elements = self._gives_each(leaves, options)
        takes = signature(forward_of(self._target))
        for name in (name for name in APART if name in takes and not self._of_elements):
            self._apart = {name: APART[name]}
            with contextlib.suppress(Exception):
                self._of_elements = self._gives_each(leaves, options)
            if self._of_elements:
                self.notes = (OF_ELEMENTS.format(f"{name}={APART[name]!r}"),)
            else:
                self._apart = {}

    def _gives_each(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> bool:
        losses = self._losses(self._target(), self.array(leaves["inputs"]), self.array(options["y"]))
        return losses.shape == leaves["inputs"].shape and self._is_of_elements(leaves, options)

    def _losses(self, made: Any, x: Any, y: Any) -> Array:
        answer = forward_of(self._target)(made, x, y, **self._apart)
        if answer is None:
            raise UserError("forward returns no loss")
        return double(answer)

    def _is_of_elements(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> bool:
        """Whether backward is as large as the derivative of every element's own loss, not of their mean."""
        x, y = leaves["inputs"], self.array(options["y"])
        before, after = (self._losses(self._target(), self.array(at), y) for at in (x - 1e-5, x + 1e-5))
        made = self._target()
        self._losses(made, self.array(x), y)
        found = self.backward(np.ones(()), (made, self.array(x), y), leaves)["inputs"]
        return bool(np.linalg.norm(found) * x.size**0.5 > np.linalg.norm(after - before) / 2e-5)

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """backward(predictions, labels), of the softmax's output where the object has one; or backward()."""
        made, x, y = cache
        positions = positions_of(self._target.backward)  # type: ignore[attr-defined]
        if not positions:
            answer = made.backward()
        elif len(positions) == 2:
            output = getattr(made, attribute(made, OUTPUTS) or "", x)
            answer = made.backward(copy.deepcopy(output), y)
        else:
            answer = made.backward(1.0)
        if isinstance(answer, (tuple, list)):
            raise UserError(
                f"{self.name}.backward returns {len(answer)} gradients, so that its second input is no label: "
                "use mlp_jax.gradcheck.check_vjp(f, backward, *args)"
            )
        return {"inputs": input_gradient(made, answer)}
