"""Gives what draws its own dropout masks with numpy the masks of a case."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from mlp_jax.errors import UserError


class _Uniform(np.ndarray):
    """Draws that compare with a threshold as the masks want it, whichever side of it a unit is kept on.

    `draw < t` is true with probability t, and `draw > t` with 1 - t: the side that is as likely as a kept unit.
    """

    kept: np.ndarray
    ratio: float

    def __lt__(self, other: Any) -> np.ndarray:
        return _side(self.kept, self.ratio, float(other))

    def __gt__(self, other: Any) -> np.ndarray:
        return _side(self.kept, self.ratio, float(1 - other))

    __le__, __ge__ = __lt__, __gt__


def _side(kept: np.ndarray, ratio: float, probability: float) -> np.ndarray:
    """The kept units, or the dropped ones: those that are as likely as the probability."""
    return np.array(kept if abs(probability - ratio) <= abs(probability - (1 - ratio)) else ~kept)


DRAWS = ("rand", "random", "random_sample", "uniform", "binomial", "ranf", "sample")
MAKERS = ("default_rng", "RandomState")


class _Masks:
    """The masks that are still to be drawn, and the functions of numpy that give them where their shape fits."""

    def __init__(self, masks: list[np.ndarray], dropout: float, columns: bool) -> None:
        self.all = [mask.T if columns else mask for mask in masks]
        self.left, self._ratio = list(self.all), 1 - dropout
        self._further = np.random.Generator(np.random.PCG64(0))

    def drawing(self, name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        """A drawing function of numpy with the next mask in its numbers, where they have a mask's shape."""

        def draw(*arguments: Any, **named: Any) -> Any:
            value = usual(*arguments, **named)
            fits = any(np.shape(value) in (mask.shape, mask.T.shape) for mask in (self.left or self.all)[:1])
            if not fits or isinstance(value, _Uniform):  # RandomState's rand calls its random_sample
                return value
            # what is drawn once more is another mask, but the same in every call
            kept = self.left.pop(0) if self.left else self._further.random(np.shape(value)) < self._ratio
            kept = kept if np.shape(value) == kept.shape else kept.T
            if name == "binomial":
                chance = float(named.get("p", arguments[1] if len(arguments) > 1 else 0.5))
                return _side(kept, self._ratio, chance).astype(np.int64)
            uniform = np.asarray(value).view(_Uniform)
            uniform.kept, uniform.ratio = kept, self._ratio
            return uniform

        return draw

    def making(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """What makes generators, of such as draw the masks: a class in the place of a class."""
        if not isinstance(usual, type):
            return lambda *arguments, **named: _Generator(usual(*arguments, **named), self)
        names = [name for name in DRAWS if hasattr(usual, name)]
        return type(usual.__name__, (usual,), {name: self._method(usual, name) for name in names})

    def _method(self, usual: type, name: str) -> Callable[..., Any]:
        def method(own: Any, *arguments: Any, **named: Any) -> Any:
            return self.drawing(name, partial(getattr(usual, name), own))(*arguments, **named)

        return method


class _Generator:
    """A generator of numpy that draws the masks."""

    def __init__(self, usual: Any, masks: _Masks) -> None:
        self._usual, self._masks = usual, masks

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._usual, name)
        return self._masks.drawing(name, found) if name in DRAWS else found


_GIVEN = list[_Masks]()  # what is drawn now


def again() -> None:
    """From here on the case's masks are drawn once more: another forward pass begins."""
    for given in _GIVEN:
        given.left = list(given.all)


@contextlib.contextmanager
def drawn(masks: list[np.ndarray], dropout: float, *, columns: bool = False) -> Iterator[None]:
    """What numpy.random draws in a hidden layer's shape makes the case's masks, one after the other.

    So a class that draws its own dropout mask has the case's, whether it fixes a seed or not, by numpy's functions
    or by a generator that it makes meanwhile. columns: examples are columns. Raises UserError if it has not drawn
    all of them.
    """
    if not masks:
        yield
        return
    given = _Masks(masks, dropout, columns)
    _GIVEN.append(given)
    usual = {name: getattr(np.random, name) for name in (*DRAWS, *MAKERS)}
    for name, function in usual.items():
        setattr(np.random, name, given.drawing(name, function) if name in DRAWS else given.making(function))
    try:
        yield
    finally:
        _GIVEN.remove(given)
        for name, function in usual.items():
            setattr(np.random, name, function)
    if given.left:
        raise UserError(
            "draws no masks by numpy.random.rand(...) < keep in the shape of its hidden layers, so that they "
            "are not known: draw them so, or check a function with an argument masks instead"
        )
