"""What an object that is a layer keeps: its parameters, arrays or single numbers, and their gradients."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers.shapes import ARRAYS, RATES
from mlp_jax.gradcheck.reading.answers import double
from mlp_jax.gradcheck.reading.holders import beside, names_of_gradient
from mlp_jax.gradcheck.reading.names import PARAMETER_DATA
from mlp_jax.gradcheck.reading.paths import Path, arrays, attribute, get, is_array

Places = dict[str, tuple[Path, Path]]  # by name, where a parameter lies, and its gradient
FIXED = ("eps", "epsilon", "momentum", *RATES[:3], "step_size", "p", "rate")  # numbers that nobody learns
LEARNT = ("alpha", "beta", "gamma", "a", "slope", "negative_slope", "scale", "shift", "weight", "w", "bias", "b",
          "temperature", "theta", "k")  # fmt: skip


def is_number(value: Any) -> bool:
    """Whether it is a number of Python's, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_value(root: Any, path: Path) -> bool:
    """Whether an array or a number lies at a path."""
    try:
        value = get(root, path)
    except (AttributeError, KeyError, IndexError, TypeError):
        return False
    return is_array(value) or is_number(value)


def value_of(root: Any, path: Path) -> np.ndarray:
    """What lies at a path, as a numpy array in float64."""
    return double(get(root, path))


def rate(made: Any) -> float:
    """The learning rate that an object keeps; 0 without one."""
    kept = getattr(made, attribute(made, RATES) or "", None)
    return float(kept) if isinstance(kept, (int, float)) else 0.0


def attributes(made: Any) -> list[str]:
    """The names of an object's arrays."""
    return [n for n, v in vars(made).items() if _is_real(v)]


def own_arrays(made: Any) -> list[Path]:
    """The paths of all arrays that an object reaches."""
    return [path for path, array in arrays(made) if _is_real(array)]


def _is_real(value: Any) -> bool:
    """Whether it is an array, no single number, of numbers with a fraction."""
    return is_array(value) and np.ndim(value) > 0 and "float" in str(value.dtype)


def stepped(made: Any, singles: Iterable[Path]) -> list[Path]:
    """The paths of what a step of an object's own may change: its arrays and numbers, but no gradients."""
    paths = [*[(("attribute", name),) for name in attributes(made)], *_in_params(made), *singles]
    gradients = {name for path in paths for name in names_of_gradient(path[-1][1])[1:]}
    return [path for path in paths if path[-1][1] not in gradients]


def _in_params(made: Any) -> list[Path]:
    """The paths of the arrays in an object's container `params`."""
    return [(("attribute", "params"), *path) for path, _ in arrays(getattr(made, "params", None)) if path]


def numbers(made: Any) -> Iterator[Path]:
    """The paths of an object's single numbers: its own, and those in a dict or list `params`."""
    for name, value in vars(made).items():
        if is_number(value) or (is_array(value) and not np.ndim(value)):
            yield (("attribute", name),)
    params = getattr(made, "params", None)
    items = params.items() if isinstance(params, Mapping) else enumerate(params or ())
    yield from ((("attribute", "params"), ("item", key)) for key, value in items if is_number(value))


def kept(made: Any, own: Sequence[Path], singles: Mapping[Path, Any]) -> Places:
    """By name, where an object that has been through both passes keeps its parameters, and their gradients.

    own: where it kept arrays before; what an object without any keeps is of its passes, but for W and b. singles:
    the single numbers that it kept; what its passes change is no parameter.
    """
    held = {name_of(path): path for path in _in_params(made)}
    held |= {name_of(path): path for path in singles if len(path) > 1}
    pairs = {name: (path, gradient) for name, path in held.items() if (gradient := beside(made, path)) is not None}
    for path in (path for path in own if path[-1][1] in PARAMETER_DATA and len(path) > 1):
        gradient = beside(made, path)
        pairs |= {name_of(path): (path, gradient)} if gradient else {}
    if not pairs:
        names = [n for n in attributes(made) if (("attribute", n),) in own or (not own and n.lower() in ARRAYS)]
        for name in names:
            own_grad = (("attribute", name), ("attribute", "grad"))  # as tensors of torch have one
            ways = ((("attribute", attribute(made, names_of_gradient(name)[1:])),), own_grad)
            found = next((way for way in ways if is_value(made, way)), None)
            pairs |= {name: ((("attribute", name),), found)} if found else {}
    return {**pairs, **_single(made, singles)}


def is_zeroed_by_others(path: Path, gradient: Path) -> bool:
    """Whether a gradient lies beside the data that it is of: what adds up there, an optimiser sets to 0."""
    return bool(gradient) and path[-1][1] in PARAMETER_DATA and gradient[:-1] == path[:-1]


def name_of(path: Path) -> str:
    """The name of a parameter: its own attribute's or key's, or that of the object whose data it is."""
    key = path[-2][1] if path[-1][1] in PARAMETER_DATA and len(path) > 1 else path[-1][1]
    return key if isinstance(key, str) else f"params[{key}]"


def _single(made: Any, singles: Mapping[Path, Any]) -> Places:
    """The single numbers of which the object keeps a gradient."""
    found: Places = {}
    for path in (
        path for path, value in singles.items() if len(path) == 1 and np.array_equal(get(made, path), value)
    ):
        name = str(path[0][1])
        gradient = (("attribute", attribute(made, names_of_gradient(name)[1:])),)
        if is_value(made, gradient):
            found[name] = (path, gradient)
    return found


def refuse_unmatched(made: Any, held: Places, before: Mapping[str, Any]) -> None:
    """Raises UserError where backward leaves a gradient, one number, of a parameter that is not found."""
    taken = {gradient[0][1] for _, gradient in held.values() if gradient}
    names = {gradient for name in LEARNT for gradient in names_of_gradient(name)[1:]}
    single = (n for n, v in vars(made).items() if is_number(v) or (is_array(v) and np.size(v) == 1))
    unmatched = [n for n in single if n in names - taken]
    for name in (n for n in unmatched if n not in before or before[n] != vars(made)[n]):
        raise UserError(
            f"backward leaves {name}, and of which attribute that is the gradient cannot be told: call that so, "
            "without the d or grad"
        )


def returned_with(made: Any, own: Sequence[Path], singles: Mapping[Path, Any], answers: Sequence[Any]) -> Places:
    """The object's own parameters whose gradients are returned behind that of the inputs, in their order."""
    learnt = [path for path in singles if str(path[-1][1]).lower() not in FIXED]
    arrays_ = list({id(get(made, path)): path for path in reversed(own)}.values())[::-1]  # one may have two names
    for paths in (arrays_, learnt, [*arrays_, *learnt]):
        pairs = list(zip(paths, answers, strict=False))
        if len(paths) == len(answers) and all(_may_be_of(get(made, path), g) for path, g in pairs):
            return {name_of(path): (path, (("returned", i),)) for i, path in enumerate(paths)}
    return {}


def _may_be_of(parameter: Any, gradient: Any) -> bool:
    """Whether a gradient has the shape of a parameter; (1, M) and (M,) are one, and a number has any."""
    shapes = ([length for length in np.shape(each) if length > 1] for each in (parameter, gradient))
    return np.ndim(parameter) == 0 or len(set(map(tuple, shapes))) == 1


def refuse_unread(answers: Sequence[Any], held: Places) -> None:
    """Raises UserError where backward returns more gradients than parameters were found."""
    given = [answer for answer in answers if answer is not None]
    if len(given) > len(held):
        raise UserError(
            f"backward returns {len(given) + 1} gradients, and of which attributes the last are cannot be told: "
            "use mlp_jax.gradcheck.check_vjp(f, backward, *args)"
        )
