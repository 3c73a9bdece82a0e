"""Layer objects: `forward` and `backward` methods that return arrays, or leave them as attributes.

Known are the conventions of "Neural Networks from Scratch" (.output, .dinputs, .dweights) and of "Deep Learning
from Scratch" (returned, with .dW and .db).
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.answers import plain

Array = np.ndarray
OUTPUTS = ("output", "out", "outputs", "a", "A", "y", "z", "Z")
INPUT_GRADIENTS = ("dinputs", "dinput", "dx", "dX", "grad_input", "dZ", "dA_prev")
ARRAYS = {"w": (2,), "weights": (2,), "weight": (2,), "b": (1,), "bias": (1,), "biases": (1,)}
INS = ("n_inputs", "in_features", "input_size", "n_in", "input_dim", "in_dim", "inputs", "fan_in", "num_inputs")
OUTS = ("n_neurons", "out_features", "output_size", "n_out", "output_dim", "out_dim", "units", "n_units",
        "n_outputs", "neurons", "fan_out", "num_outputs")  # fmt: skip


NETWORKS = ("net", "mlp", "model", "classifier", "perceptron", "regression")


class Layer:
    """What `layers` asks of a layer."""

    name = ""
    operation = ""
    upstream = True
    source: Any = None

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Random leaves by name, and the arguments that have no gradient."""
        raise NotImplementedError

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """The output, and what backward needs."""
        raise NotImplementedError

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients by the names of the leaves."""
        raise NotImplementedError


def is_layer_class(target: type) -> bool:
    """Whether a class has forward(x) and backward(dout), and is no network."""
    methods = [getattr(target, name, None) for name in ("forward", "backward")]
    network = hasattr(target, "loss") or any(word in target.__name__.lower() for word in NETWORKS)
    if network or hasattr(target, "apply") or not all(callable(method) for method in methods):
        return False
    forward, backward = (len(_positions(method)) for method in methods)
    fits = backward == 1 if forward == 1 else forward == 2 and backward <= 2
    return fits and _constructor(target) is not None


def _positions(method: Any) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return []
    return [p for p in parameters[1:] if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _constructor(target: type) -> list[str] | None:
    """What each argument of the constructor without a default is; None if that cannot be told."""
    if target.__init__ is object.__init__:  # type: ignore[misc]
        return []
    kinds = []
    for p in _positions(target.__init__):  # type: ignore[misc]
        name = p.name.lower()
        kind = "array" if name in ARRAYS else "in" if name in INS else "out" if name in OUTS else ""
        if not kind and p.default is p.empty:
            kind = "rate" if any(word in name for word in ("rate", "prob", "ratio", "drop")) else ""
            if not kind:
                return None
        if kind:
            kinds.append(f"{kind}:{p.name}")
    return kinds


def layer_of(target: type) -> Layer:
    """The class as a layer. Raises UserError if it is none that can be checked."""
    if len(_positions(target.forward)) == 2:  # type: ignore[attr-defined]
        return LossObject(target)
    return LayerObject(target)


class LayerObject(Layer):
    """A class with forward(x) and backward(dout)."""

    def __init__(self, target: type) -> None:
        self.name, self._target, self.source = target.__name__, target, target
        self.operation = _operation(target)
        self._made: Any = None

    def _make(self, n_in: int, n_out: int, rng: np.random.Generator) -> Any:
        given: dict[str, Any] = {}
        for entry in _constructor(self._target) or []:
            kind, name = entry.split(":")
            array = rng.normal(size=(n_in, n_out) if ARRAYS.get(name.lower()) == (2,) else (n_out,))
            given[name] = {"array": array, "in": n_in, "out": n_out, "rate": 0.4}[kind]
        return self._target(**given)

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """x (N, D), and the arrays that the object has a gradient of after a first pass."""
        n, d, m = ((5, 4, 3), (6, 3, 2), (3, 3, 3), (7, 2, 5))[number]
        self._made = self._make(d, m, rng)
        x = rng.normal(size=(n, d))
        out, _ = self._call(self._made, x)
        self._back(self._made, np.ones_like(out))
        leaves = {"inputs": x}
        for name in _with_gradient(self._made):
            leaves[name] = rng.normal(size=np.shape(getattr(self._made, name)))
        return leaves, {}

    def _call(self, made: Any, x: Array) -> tuple[Array, Any]:
        answer = made.forward(x)
        if answer is None:
            answer = next((getattr(made, name) for name in OUTPUTS if hasattr(made, name)), None)
        if answer is None:
            raise UserError("forward neither returns its output nor leaves it as .output")
        return np.array(plain(answer), np.float64), made

    def _back(self, made: Any, dout: Array) -> Array:
        answer = made.backward(dout)
        if answer is None:
            answer = next((getattr(made, name) for name in INPUT_GRADIENTS if hasattr(made, name)), None)
        if answer is None:
            raise UserError("backward neither returns the gradient of the inputs nor leaves it as .dinputs")
        return np.array(plain(answer), np.float64)

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """With the object's own arrays replaced by the leaves."""
        for name, value in leaves.items():
            if name != "inputs":
                setattr(self._made, name, value)
        return self._call(self._made, leaves["inputs"])

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """What is returned, and the object's attributes."""
        if hasattr(cache, "zero_grad"):
            cache.zero_grad()
        found = {"inputs": self._back(cache, dout)}
        for name in leaves:
            if name != "inputs":
                found[name] = np.array(plain(getattr(cache, _gradient_name(cache, name))), np.float64)
        return found


class LossObject(Layer):
    """A class with forward(predictions, labels): a loss, or one loss for each example, whose mean is taken."""

    upstream = False

    def __init__(self, target: type) -> None:
        self.name, self._target, self.source = target.__name__, target, target
        name = target.__name__.lower()
        self.operation = ""
        self._probabilities = "softmax" not in name and ("crossentropy" in name or "cross_entropy" in name)

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Scores, or probabilities, and labels."""
        n, c = ((5, 4), (6, 3), (3, 3), (7, 2))[number]
        x = rng.normal(size=(n, c))
        if self._probabilities:
            x = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        labels = rng.integers(0, c, n)
        return {"inputs": x}, {"y": (labels, np.eye(c)[labels], rng.normal(size=(n, c)))[layout % 3]}

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """The mean loss."""
        made = self._target()
        answer = made.forward(leaves["inputs"], options["y"])
        if answer is None:
            raise UserError("forward returns no loss")
        return np.asarray(np.mean(np.asarray(plain(answer), np.float64))), (made, leaves["inputs"], options["y"])

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """backward(predictions, labels), of the softmax's output where the object has one; or backward()."""
        made, x, y = cache
        positions = _positions(self._target.backward)  # type: ignore[attr-defined]
        if not positions:
            answer = made.backward()
        elif len(positions) == 2:
            output = next((getattr(made, n) for n in OUTPUTS if hasattr(made, n)), x)
            answer = made.backward(np.array(output), y)
        else:
            answer = made.backward(1.0)
        if answer is None:
            answer = next((getattr(made, name) for name in INPUT_GRADIENTS if hasattr(made, name)), None)
        if answer is None:
            raise UserError("backward neither returns the gradient of the inputs nor leaves it as .dinputs")
        return {"inputs": np.array(plain(answer), np.float64)}


def _gradient_name(made: Any, name: str) -> str:
    for candidate in (f"d{name}", f"d_{name}", f"{name}_grad", f"grad_{name}"):
        if hasattr(made, candidate):
            return candidate
    return ""


def _with_gradient(made: Any) -> list[str]:
    names = [n for n, v in vars(made).items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    inputs = ("inputs", "input", "x", "X")
    return [name for name in names if name not in inputs and _gradient_name(made, name)]


def _operation(target: type) -> str:
    name = target.__name__.lower()
    known = {"dropout": "dropout", "dense": "affine", "affine": "affine", "linear": "affine",
             "fullyconnected": "affine",
             "leakyrelu": "leaky_relu", "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh"}  # fmt: skip
    return next((operation for word, operation in known.items() if word in name), "")
