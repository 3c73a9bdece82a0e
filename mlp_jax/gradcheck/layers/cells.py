"""Recurrent layers that are objects: cells, with forward(x, h_prev), and those of sequences, with forward(xs)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import kept, operations, shapes
from mlp_jax.gradcheck.layers.losses import Array, OfClass, forward_of, inputs_of
from mlp_jax.gradcheck.layers.trials import apart
from mlp_jax.gradcheck.reading.answers import double
from mlp_jax.gradcheck.reading.names import plainly, size_of
from mlp_jax.gradcheck.reading.paths import arrays, get, in_double, put
from mlp_jax.gradcheck.reading.signatures import needed, positions_of

STATE = re.compile(r"(prev)?[hc](t?1?|prev|0|init|next)|(prev)?(hidden|state|cell)(prev|state)?")


def is_cell(target: type) -> bool:
    """Whether it has forward(x, h_prev), with a cell's state too, or forward(xs), and a known constructor."""
    names = [plainly(name) for name in inputs_of(target)]
    upstream = needed(positions_of(getattr(target, "backward", None)))
    states = len(names) > 1 and not STATE.fullmatch(names[0]) and all(map(STATE.fullmatch, names[1:]))
    made = positions_of(target.__init__)  # type: ignore[misc]  # without any it has no matrices
    called = (made and states and 0 < len(upstream) <= len(names) - 1) or _over_time(target)
    return called and _given(target, _shapes(target, 0)) is not None


def _over_time(target: type) -> bool:
    """Whether a class goes through whole sequences, with forward(xs) alone: TimeRNN(Wx, Wh, b)."""
    methods = [forward_of(target), getattr(target, "backward", None)]
    taken = [len(needed(positions_of(method))) for method in methods]
    recurrent = any(word in target.__name__.lower() for word in ("rnn", "lstm", "gru"))
    arrays_given = any(isinstance(v, tuple) for v in (_given(target, _shapes(target, 0)) or {}).values())
    return taken == [1, 1] and recurrent and arrays_given


def _shapes(target: type, number: int) -> shapes.Shapes:
    kind = next((word for word in ("lstm", "gru") if word in target.__name__.lower()), "rnn")
    return shapes.Shapes(kind + "_step" * (len(inputs_of(target)) > 1), *operations.SIZES[number], shapes.PLAIN)


def _given(target: type, of: shapes.Shapes) -> dict[str, Any] | None:
    """The shapes of the constructor's arrays, and its sizes, by name; None if an argument is neither."""
    given: dict[str, Any] = {}
    for p in positions_of(target.__init__):  # type: ignore[misc]
        size = {"input": of.d, "hidden": of.m, "classes": of.m}.get(str(size_of(p.name)))
        value = of.of(p.name.lower()) if size is None else size
        if value is None and p.default is p.empty:
            return None
        if value is not None and not isinstance(p.default, (bool, float, int)):
            given[p.name] = value
    return given


class Cell(OfClass):
    """This is a class with forward(x[, h_prev[, c_prev]]), whose backward returns a gradient of each of these."""

    def __init__(self, target: type) -> None:
        super().__init__(target)
        self._inputs = inputs_of(target)

    def layouts(self) -> Sequence[int]:
        """There is but one."""
        return (0,)

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """The inputs, and the arrays of which the object keeps a gradient; option "": the object."""
        of = _shapes(self._target, number)
        given = _given(self._target, of) or {}
        made = in_double(
            self._target(**{n: rng.normal(size=v) if isinstance(v, tuple) else v for n, v in given.items()})
        )
        inputs: dict[str, Array] = {}
        for name in self._inputs:
            state = STATE.fullmatch(plainly(name))
            inputs[name] = rng.normal(size=(of.n, of.m) if state else of.of("x"))
        own = kept.own_arrays(made)
        out = self._call(made, list(inputs.values()))
        self._back(made, rng.normal(size=out.shape))
        held = kept.kept(made, own, {})
        if not held and any(np.ndim(array) == 2 for _, array in arrays(made)):
            raise UserError(
                "backward leaves no gradients that are called as its parameters are: leave grads beside params"
            )
        parameters = {name: rng.normal(size=np.shape(get(made, path))) for name, (path, _) in held.items()}
        return {**inputs, **parameters}, {"": (made, held)}

    def _call(self, made: Any, inputs: Sequence[Array]) -> Array:
        answer = forward_of(self._target)(made, *map(self.array, inputs))
        outputs = [double(each) for each in _listed(answer)]
        self._outputs = [output.shape for output in outputs]
        return np.concatenate([output.ravel() for output in outputs])

    def _back(self, made: Any, dout: Array) -> list[Array]:
        answer = _listed(made.backward(*map(self.array, apart(dout, self._outputs))))
        if len(answer) < len(self._inputs):
            raise UserError(f"backward returns {len(answer)} gradients, of {len(self._inputs)} inputs")
        return [double(each) for each in answer[: len(self._inputs)]]

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """With the object's own arrays replaced by the leaves; several outputs end to end."""
        made, held = options[""]
        for name, (path, _) in held.items():
            put(made, path, leaves[name])
        return self._call(made, [leaves[name] for name in self._inputs]), options[""]

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """What is returned, and what is left in the object."""
        made, held = cache
        found = dict(zip(self._inputs, self._back(made, dout), strict=True))
        return found | {name: kept.value_of(made, gradient) for name, (_, gradient) in held.items()}


def _listed(answer: Any) -> list[Any]:
    return list(answer) if isinstance(answer, (tuple, list)) else [answer]
