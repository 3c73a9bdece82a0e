"""A function and its derivative as one layer: `tanh(x)` and `tanh_prime(x)`, or two methods.

The function is one of every element, or gives one number, as the penalty of a regulariser does.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlp_jax.gradcheck.layers import operations
from mlp_jax.gradcheck.layers.asking import Layer
from mlp_jax.gradcheck.layers.elementwise import STEP, OfOne, is_elementwise
from mlp_jax.gradcheck.layers.trials import Array
from mlp_jax.gradcheck.reading.answers import double
from mlp_jax.gradcheck.reading.arguments import kind_of
from mlp_jax.gradcheck.reading.beside import (
    DERIVATIVES,
    PASSES,
    PRIMES,
    backward_beside,
    forward_beside,
    methods_with_derivatives,
)
from mlp_jax.gradcheck.reading.holders import names_of_gradient
from mlp_jax.gradcheck.reading.running import quiet
from mlp_jax.gradcheck.reading.signatures import METHODS, TRAINS, method_of, needed, positions_of, signature

FUNCTIONS = ("__call__", "forward", "function", "func", "fn", "f", "activate", "activation", "evaluate", "compute")
"""What an object calls a function of every element; its derivative has a name of its own, or one of both."""
WORDS = (*DERIVATIVES[len(PASSES) :], "der", "dash", "d")
AT = np.linspace(-3.1, 2.9, 12).reshape(3, 4)
"""No activation has a kink here."""
OfNamed = Callable[[Mapping[str, Any]], Array]  # of numbers by the names of a function's arguments
OF_OUTPUT = "it is right where it is given the output f(x), and wrong where it is given x"


def functions_of(name: str, beside: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """The function of one argument beside its derivative of this name, and that; None if there is no such pair."""
    pair = forward_beside(name, beside, WORDS), beside.get(name)
    alone = all(inspect.isfunction(f) and len(needed(signature(f).values())) == 1 for f in pair)
    return pair if alone and kind_of(next(iter(signature(pair[1])))) != "upstream" else None  # clip_grad(grad)


def joined(name: str, beside: Mapping[str, Any]) -> "Derivative | None":
    """The layer; None if there is no pair of this name, or the function is none of every element."""
    pair = functions_of(name, beside)
    return None if pair is None else _layer(name, pair, pair[1])


def of_class(target: type) -> "Derivative | None":
    """A class whose objects have such a function and its derivative as a layer; None for another.

    A backward pass is the derivative of a number alone, and if it is given what the forward pass is: backward(w).
    What is given nothing is the derivative where the function was called last.
    """
    if method_of(target, METHODS) or method_of(target, TRAINS):  # a network has activations too
        return None
    pairs = [(f, p) for f in FUNCTIONS for p in (*PRIMES, *(f"{f}_{p}" for p in PRIMES), f"d{f}")]
    passes = [("forward", "backward"), ("__call__", "backward")]
    for names in (*pairs, *methods_with_derivatives(target), *passes):
        methods = [getattr(target, name, None) for name in names]
        taken = [needed(positions_of(method)) for method in methods]
        if all(map(inspect.isfunction, methods)) and [*map(len, taken)] in ([1, 1], [1, 0]):
            with quiet(), contextlib.suppress(Exception):  # it is not built without arguments
                made = target()
                pair = getattr(made, names[0]), getattr(made, names[1])
                if not taken[1]:
                    return _layer(target.__name__, (pair[0], _after(*pair)), target)
                if "backward" not in names or (taken[0] == taken[1] and np.size(pair[0](AT.copy())) == 1):
                    return _layer(target.__name__, pair, target)
    return None


def _after(function: Callable[..., Any], derivative: Callable[[], Any]) -> Callable[..., Any]:
    """The derivative where the function is called, which keeps what it needs."""
    return lambda *given: (function(*given), derivative())[1]


def _layer(name: str, pair: tuple[Any, Any], source: Any) -> "Derivative | None":
    with quiet(), contextlib.suppress(Exception):  # it is another function than its name says
        f, prime = map(_of_arrays, pair)
        if np.size(f(AT)) == 1 or any(is_elementwise(f, at) for at in (AT, np.abs(AT))):
            return Derivative(name, f, prime, source)
    return None


def _of_arrays(function: Callable[..., Any]) -> OfOne:
    """The function as one from and to arrays of numpy, although it may take single numbers alone."""
    try:
        function(AT.copy())
    except Exception:
        function = np.vectorize(function, otypes=[float])
    return lambda x: double(function(x.copy()))


class Derivative(Layer):
    """The layer is f; backward multiplies dout by the derivative, at x, or at f(x) where only that is right.

    The latter is asked of a function of every element alone.
    """

    def __init__(self, name: str, f: OfOne, prime: OfOne, source: Any) -> None:
        self.name, self._f, self._prime, self.source = name, f, prime, source
        self.operation = operations.named(name)
        of_elements = np.size(f(AT)) > 1
        self.of_output = of_elements and not self._is_right(lambda x: x) and self._is_right(f)

    def _is_right(self, of: OfOne) -> bool:
        """Whether the derivative is that of f if it is given `of` each x."""
        with np.errstate(all="ignore"):
            slope = (self._f(AT + STEP) - self._f(AT - STEP)) / (2 * STEP)
            known = np.isfinite(slope)
            return bool(np.allclose((self._prime(of(AT)) + 0 * AT)[known], slope[known], rtol=1e-3, atol=1e-5))

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Returns x (N, D)."""
        return {"x": rng.normal(size=operations.SIZES_OF_OBJECTS[number][:2])}, {}

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """Returns f(x)."""
        out = self._f(leaves["x"])
        return out, out if self.of_output else leaves["x"]

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """Returns dout times the derivative."""
        return {"x": dout * self._prime(cache)}


def by_argument(name: str, beside: Mapping[str, Any]) -> "OfNumbers | None":
    """A function of numbers beside its derivative by one of them, as a layer: J(x, theta) and dJ(x, theta).

    A variable's name tells by which, as dtheta does, or the value; None where neither does.
    """
    backward = backward_beside(name, beside)
    pair = (forward_beside(backward, beside), beside[backward]) if backward else ()
    if not pair or not all(map(inspect.isfunction, pair)):
        return None
    names, others = (needed(signature(f).values()) for f in pair)
    if len(names) < 2 or names != others or "upstream" in map(kind_of, names):
        return None
    f, prime = map(_of_named, pair)
    at = {n: 0.3 + 0.4 * i for i, n in enumerate(names)}
    with quiet(), contextlib.suppress(Exception):  # it is no function of numbers
        slopes = {n: (f({**at, n: at[n] + STEP}) - f({**at, n: at[n] - STEP})) / (2 * STEP) for n in names}
        told = [n for n in names if {*pair[1].__code__.co_varnames} & {*names_of_gradient(n)[1:]}]
        right = [n for n in names if np.isclose(slopes[n], prime(at), rtol=1e-4)]
        if np.size(f(at)) == np.size(prime(at)) == 1 and (told or right):
            return OfNumbers(backward or name, f, prime, (told or right)[0], at)
    return None


def _of_named(function: Callable[..., Any]) -> OfNamed:
    return lambda given: double(function(**given))


class OfNumbers(Layer):
    """The layer is a function of several numbers, whose derivative by one of them is given the same numbers."""

    def __init__(self, name: str, f: OfNamed, prime: OfNamed, leaf: str, at: Mapping[str, float]) -> None:
        self.name, self._f, self._prime, self._leaf, self._names = name, f, prime, leaf, list(at)

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Returns the number that it is differentiated by, and the others."""
        values = {n: float(rng.uniform(0.3, 1.7)) for n in self._names}
        return {self._leaf: np.asarray(values.pop(self._leaf))}, values

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """Returns the value."""
        given = {**options, self._leaf: float(leaves[self._leaf])}
        return self._f(given).reshape(()), given

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """Returns dout times the derivative."""
        return {self._leaf: dout * self._prime(cache).reshape(())}
