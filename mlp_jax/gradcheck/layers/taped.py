"""Layer objects that leave gradients at the arrays themselves: backward() turns out.g into inp.g, w.g and b.g.

So "Deep Learning for Coders" builds its backward pass, with torch tensors. Numpy's arrays take no attributes;
those of `Noted` do.
"""

import dis
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import operations
from mlp_jax.gradcheck.layers.losses import Array, OfClass, inputs_of
from mlp_jax.gradcheck.layers.shapes import LABELS
from mlp_jax.gradcheck.reading.answers import double
from mlp_jax.gradcheck.reading.beside import with_derivative
from mlp_jax.gradcheck.reading.calling import converter
from mlp_jax.gradcheck.reading.holders import names_of_gradient
from mlp_jax.gradcheck.reading.names import is_output
from mlp_jax.gradcheck.reading.paths import as_kept, attribute, is_array
from mlp_jax.gradcheck.reading.signatures import libraries, module_of, needed, positions_of, signature

GRADIENTS = ("g", "grad", "gradient")
METHODS = ("backward", "bwd", "_backward")


class Noted(np.ndarray):
    """An array that takes attributes, as torch's tensors do."""


def is_taped(target: type) -> bool:
    """Whether a class is called with an array, and has a backward() that writes to an attribute of that."""
    backward = getattr(target, "backward", None)
    if not callable(backward) or needed(positions_of(backward)):
        return False
    stored = {name for method in METHODS for name in _stored(getattr(target, method, None))}
    return bool(stored & set(GRADIENTS)) and bool(inputs_of(target))


def joined(name: str, beside: Mapping[str, Any]) -> "TapedObject | None":
    """A function lin_grad(inp, out, w, b) that leaves gradients at arrays, and lin(x, w, b), as an object's class.

    A loss has no output among the arguments: mse_grad(inp, targ) beside mse(output, targ). None if it is neither.
    """
    if (pair := with_derivative(name, beside)) is None:
        return None
    forward, backward = pair
    names = list(signature(backward))
    outputs = [n for n in names[1:] if is_output(n)]
    kept = [n for n in names[1:] if n not in outputs and outputs]
    if not set(_stored(backward)) & set(GRADIENTS) or len(names) - len(outputs) != len(signature(forward)):
        return None

    class Joined:
        def __init__(self, **arrays: Any) -> None:
            vars(self).update(arrays)

        def __call__(self, inp: Any, *targ: Any) -> Any:
            self._inp, self._targ = inp, targ
            self._out = forward(inp, *(getattr(self, n) for n in kept), *targ)
            return self._out

        def backward(self) -> None:
            out = [self._out] if outputs else []
            backward(self._inp, *out, *(getattr(self, n) for n in kept), *self._targ)

    given = names[:1] if outputs else names
    told = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in ("self", *given)]
    Joined.__call__.__signature__ = inspect.Signature(told)  # type: ignore[attr-defined]
    Joined.__name__, Joined.__module__ = name, backward.__module__
    return TapedObject(Joined, [("array", n) for n in kept], operations.named(name))


def _stored(method: Any) -> Iterator[str]:
    """The names of attributes that a method writes to."""
    if inspect.isfunction(method):
        yield from (str(each.argval) for each in dis.get_instructions(method) if each.opname == "STORE_ATTR")


class TapedObject(OfClass):
    """This is a class whose objects are called with an array, or with predictions and labels as a loss is.

    constructor: what its constructor takes, as `objects` tells it.
    """

    several_shapes = True

    def __init__(self, target: type, constructor: list[tuple[str, str]], operation: str) -> None:
        super().__init__(target)
        self._constructor, names = constructor, inputs_of(target)
        self.upstream = len(names) == 1
        self.operation = operation if self.upstream else ""
        self.mistakes_of = "softmax_loss" if not self.upstream and "entropy" in self.name.lower() else ""
        if len(names) > 2 or (len(names) == 2 and names[1].lower() not in LABELS):
            raise UserError(
                f"{self.name} takes {len(names)} inputs, of which the second is no label: "
                "use mlp_jax.gradcheck.check_vjp(f, backward, *args)"
            )
        self._of_torch = "torch" in libraries(module_of(target))

    def layouts(self) -> Sequence[int]:
        """Four for a loss, of predictions and labels in several forms; one for others."""
        return (0,) if self.upstream else range(4)

    def _tensor(self, value: Array) -> Any:
        return converter("torch")(value.copy()) if self._of_torch else value.copy().view(Noted)

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Returns x (N, D) and the object's own arrays, or predictions and labels; option "": the object."""
        n, d, m = operations.SIZES_OF_OBJECTS[number]
        shapes = {"w": (d, m), "weight": (d, m), "weights": (d, m)}
        given: dict[str, Any] = {}
        for kind, name in self._constructor:
            array = rng.normal(size=shapes.get(name.lower().rstrip("0123456789_"), (m,)))
            given[name] = {"array": self._tensor(array), "in": d, "out": m, "rng": rng}.get(kind, 0.4)
        made = self._target(**given)
        held = {name: value for name, value in vars(made).items() if is_array(value) and np.ndim(value)}
        leaves = {name: rng.normal(size=np.shape(value)) for name, value in held.items()}
        if self.upstream:
            return {"inputs": rng.normal(size=(n, d)), **leaves}, {"": (made, held)}
        shape = ((n, 1), (n, m), (n,), (n, m))[layout]
        labels = {0: rng.normal(size=n), 1: rng.integers(0, m, n)}.get(layout, rng.normal(size=shape))
        return {"inputs": rng.normal(size=shape), **leaves}, {"": (made, held), "y": labels}

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """With the object's own arrays replaced by the leaves."""
        made, held = options[""]
        for name, kept in held.items():
            object.__setattr__(
                made, name, self._tensor(leaves[name]) if not self._of_torch else as_kept(kept, leaves[name])
            )
        x = self._tensor(leaves["inputs"])
        labels = [self._tensor(options["y"])] if "y" in options else []
        out = (made if callable(made) else made.forward)(x, *labels)
        if out is None:
            raise UserError("its forward pass returns nothing")
        return double(out), (made, held, x, out)

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """Writes dout to the output, and reads what is written to the inputs and to the object's own arrays."""
        made, held, x, out = cache
        if self.upstream:
            for name in GRADIENTS:
                setattr(out, name, self._tensor(dout))
        made.backward()
        found = {"inputs": _gradient_of(x)}
        for name in held:
            beside = getattr(made, attribute(made, names_of_gradient(name)[1:]) or "", None)
            found[name] = _gradient_of(getattr(made, name)) if beside is None else beside
        if found["inputs"] is None:
            raise UserError("backward leaves no gradient at its input")
        return {name: double(g) for name, g in found.items() if g is not None}


def _gradient_of(array: Any) -> Any:
    return next((g for name in GRADIENTS if (g := getattr(array, name, None)) is not None), None)
