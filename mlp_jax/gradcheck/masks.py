"""Gives a class that draws its own dropout masks with numpy the masks of a case."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mlp_jax.errors import UserError


class _Uniform(np.ndarray):
    """Draws that compare with a threshold as the masks want it, whichever side of it a unit is kept on.

    `draw < t` is true with probability t, and `draw > t` with 1 - t: the side that is as likely as a kept unit.
    """

    kept: np.ndarray
    ratio: float

    def _side(self, probability: Any) -> np.ndarray:
        keeps = abs(float(probability) - self.ratio) <= abs(float(probability) - (1 - self.ratio))
        return np.array(self.kept if keeps else ~self.kept)

    def __lt__(self, other: Any) -> np.ndarray:
        return self._side(other)

    def __gt__(self, other: Any) -> np.ndarray:
        return self._side(1 - other)

    __le__, __ge__ = __lt__, __gt__


DRAWS = ("rand", "random", "random_sample", "uniform", "binomial", "ranf", "sample")


@contextlib.contextmanager
def drawn(masks: list[np.ndarray], dropout: float) -> Iterator[None]:
    """What numpy.random draws in a hidden layer's shape makes the case's masks, one after the other.

    So a class that draws its own dropout mask has the case's, whether it fixes a seed or not. Raises UserError
    if it has not drawn all of them.
    """
    if not masks:
        yield
        return
    left, usual = list(masks), {name: getattr(np.random, name) for name in DRAWS}

    def replaced(name: str) -> Callable[..., Any]:
        def draw(*arguments: Any, **named: Any) -> Any:
            value = usual[name](*arguments, **named)
            if not left or np.shape(value) not in (left[0].shape, left[0].T.shape):
                return value
            kept = left.pop(0)
            kept = kept if np.shape(value) == kept.shape else kept.T
            if name == "binomial":
                chance = float(named.get("p", arguments[1] if len(arguments) > 1 else 0.5))
                return (kept if abs(chance - (1 - dropout)) <= abs(chance - dropout) else ~kept).astype(np.int64)
            uniform = np.asarray(value).view(_Uniform)
            uniform.kept, uniform.ratio = kept, 1 - dropout
            return uniform

        return draw

    for name in DRAWS:
        setattr(np.random, name, replaced(name))
    try:
        yield
    finally:
        for name, function in usual.items():
            setattr(np.random, name, function)
    if left:
        raise UserError(
            "draws no masks by numpy.random.rand(...) < keep in the shape of its hidden layers, so that they "
            "are not known: draw them so, or check a function with an argument masks instead"
        )
