"""Single numbers among a function's arguments that are learnt: its backward pass returns a gradient of them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers.kept import FIXED, LEARNT, is_number
from mlp_jax.gradcheck.reading.holders import names_of_gradient
from mlp_jax.gradcheck.reading.paths import is_array

Array = np.ndarray
Learnt = dict[str, Any]  # by name, the shape of the first gradient that was returned


def ordered(answer: Any, leaves: Mapping[str, Array], parameters: Sequence[inspect.Parameter]) -> Any:
    """The gradients of the leaves first: of a tuple with None for what has none, those at the leaves' places."""
    if isinstance(answer, (tuple, list)) and len(answer) == len(parameters) > len(leaves):
        of = {p.name: value for p, value in zip(parameters, answer, strict=True)}
        return [*(of.pop(name) for name in leaves), *of.values()]
    return answer


def learnt(
    answer: Any, leaves: Mapping[str, Array], parameters: Sequence[inspect.Parameter], options: Mapping[str, Any]
) -> Learnt:
    """The numbers among the arguments of which `answer` has a gradient, beside the leaves.

    Raises UserError if there are more gradients than such numbers.
    """
    found = [p.name for p in parameters if p.name not in leaves and _may_be(p, options.get(p.name, p.default))]
    if isinstance(answer, Mapping):
        keys = {name: next((k for k in names_of_gradient(name)[1:] if k in answer), None) for name in found}
        return {name: np.shape(answer[key]) for name, key in keys.items() if key is not None}
    if not isinstance(answer, (tuple, list)):
        return {}
    more = [value for value in answer[len(leaves) :] if is_number(value) or is_array(value)]
    if len(more) > len(found):
        raise UserError(
            f"it returns {len(answer)} gradients, and of which arguments those behind {', '.join(leaves)} are "
            "cannot be told: use mlp_jax.gradcheck.check_vjp(f, backward, *args)"
        )
    return {name: np.shape(value) for name, value in zip(found, more, strict=False)}


def _may_be(p: inspect.Parameter, value: Any) -> bool:
    """Whether an argument may be a number that is learnt, rather than a size or a constant."""
    name = p.name.lower()
    return is_number(value) and name not in FIXED and (isinstance(value, float) or name in LEARNT)


def shape_of(p: inspect.Parameter, gradient: tuple[int, ...], x: Array) -> tuple[int, ...]:
    """The shape of a number that is learnt: one for each feature, if its gradient is so and it has no default."""
    if is_number(p.default) or int(np.prod(gradient)) == 1:
        return () if is_number(p.default) else gradient
    return {1: x.shape[-1:], 2: (1, *x.shape[-1:])}.get(len(gradient), ()) if gradient != x.shape else ()
