"""Where an object of somebody's class keeps its parameters and gradients, whatever they are called.

Names tell first: W1, w_1, weights1, bias2. Where they do not, shapes do, in a case whose dimensions all differ;
the places that were found there hold for the cases whose dimensions are equal, too.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from types import FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.answers import NAMES, fields_of
from mlp_jax.gradcheck.truth import Case

At = tuple[int, str]  # layer and field
Path = tuple[tuple[str, Any], ...]  # steps from the object: ("attribute", name), or ("item", key)
DEPTH = 4  # steps from an object to an array: net.layers[0].params["W"] has four
CLOSED = (str, bytes, type, ModuleType, FunctionType, MethodType, np.random.RandomState, np.random.Generator)
NUMBERED = re.compile(r"^(w|weights?|theta|b|bias(?:es)?|gamma|beta)_?(\d+)$", re.IGNORECASE)
FIELDS = {"w": "w", "t": "w", "b": "b", "gamma": "scale", "beta": "shift"}
GRADIENT = re.compile(r"^d_?(w|b|theta|gamma|beta)|grad|^g[wb]\d*$|nabla|delta", re.IGNORECASE)
OTHER = re.compile(r"^(v|m|s|vel|mom|cache|prev|old|best|adam|h|opt)(_|\d|[wWbB]|$)|veloc|moment|cache|best|optim|prev", re.IGNORECASE)  # fmt: skip  # noqa: E501
GRADIENT_NAMES = ("d{}", "d_{}", "grad_{}", "{}_grad", "grad{}", "{}_gradient", "{}_gradients", "{}grad", "g{}")
GRADIENT_HOLDERS = ("grads", "gradients", "grad", "gradient", "params_grad", "grad_params", "dparams", "_grads")


class Places(NamedTuple):
    """Where the leaves are kept: a path for each, and those whose weights are (out, in)."""

    paths: dict[At, Path]
    turned: frozenset[At]


def is_array(value: Any) -> bool:
    """Whether it is an array of numpy, jax or torch."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type)


def arrays(root: Any) -> Iterator[tuple[Path, Any]]:
    """Every array that can be reached from an object in a few steps, with its path."""
    yield from _arrays(root, (), set())


def _arrays(value: Any, path: Path, seen: set[int]) -> Iterator[tuple[Path, Any]]:
    if is_array(value) or (isinstance(value, (int, float)) and _bias(path)):
        yield path, value
        return
    if isinstance(value, CLOSED) or len(path) >= DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    steps: list[tuple[tuple[str, Any], Any]]
    if isinstance(value, Mapping):
        steps = [(("item", key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        steps = [(("item", i), item) for i, item in enumerate(value)]
    else:
        steps = [(("attribute", name), item) for name, item in getattr(value, "__dict__", {}).items()]
    for step, item in steps:
        yield from _arrays(item, (*path, step), seen)


def _bias(path: Path) -> bool:
    """Whether a name is a bias's: b1 = 0 stands for a row of zeros."""
    match = NUMBERED.match(str(path[-1][1])) if path else None
    return match is not None and match[1][0] in "bB" and match[1].lower() != "beta"


def get(root: Any, path: Path) -> Any:
    """What lies at a path."""
    for kind, key in path:
        root = getattr(root, key) if kind == "attribute" else root[key]
    return root


def put(root: Any, path: Path, value: np.ndarray) -> None:
    """Writes an array at a path, in the library of the one that is there, in float64.

    In place where that can be, for the object may hold the same array under other names too.
    """
    old = get(root, path)
    value = value.reshape(np.shape(old)) if np.ndim(old) else value
    if isinstance(old, np.ndarray) and old.dtype == np.float64 and old.flags.writeable:
        old[...] = value
        return
    _replace(root, path, _as_old(old, value))


def as_kept(kept: Any, value: np.ndarray) -> Any:
    """A copy of `value` as an array of the library of `kept`."""
    library = type(kept).__module__.partition(".")[0]
    if library == "torch":
        import torch  # type: ignore[import-not-found, unused-ignore]

        return torch.from_numpy(np.array(value))
    if library in ("jax", "jaxlib"):
        import jax.numpy as jnp

        return jnp.asarray(value)
    return np.array(value)


def _as_old(old: Any, value: np.ndarray) -> Any:
    new = as_kept(old, value)
    return new.to(old.dtype) if hasattr(new, "detach") else new


def _replace(root: Any, path: Path, value: Any) -> None:
    kind, key = path[-1]
    holder = get(root, path[:-1])
    if kind == "attribute":
        object.__setattr__(holder, key, value)
    elif isinstance(holder, (MutableMapping, list)):
        holder[key] = value
    elif isinstance(holder, tuple):  # which cannot be written to, so that its own holder gets another
        items = [value if i == key else item for i, item in enumerate(holder)]
        _replace(root, path[:-1], type(holder)(*items) if hasattr(holder, "_fields") else tuple(items))
    else:
        raise UserError(f"keeps its parameters in a {type(holder).__name__}, which cannot be written to")


def parameters(net: Any, case: Case) -> Places:
    """Where a new object keeps the parameters of the case's network.

    Raises UserError, with the names and shapes that are missing, if it has not all of them.
    """
    held = [
        (path, array) for path, array in arrays(net) if not _matches(path, GRADIENT) and not _matches(path, OTHER)
    ]
    found: dict[At, Path] = {}
    for at in _wanted(case):
        fitting = [path for path, array in held if _fits(np.shape(array), at, case)]
        named = [path for path in fitting if _numbered(path, held) == at]
        taken = set(found.values())
        rest = [path for path in fitting if path not in taken and _numbered(path, held) is None]
        choice = named or [path for path in rest if _field(path) == at[1]] or (rest if at[1] in "wb" else [])
        if choice:
            found[at] = choice[0]
        elif at[1] != "b":
            raise UserError(_missing(net, at, case))
    _refuse_more(net, found, held)
    without = [at for at in _wanted(case) if at not in found]
    if without and any(field == "b" for _, field in found):  # a network may have no biases at all
        raise UserError(_missing(net, without[0], case))
    return Places(found, _turned(net, found, case))


def _refuse_more(net: Any, found: Mapping[At, Path], held: list[tuple[Path, Any]]) -> None:
    """Raises UserError where the lists that the weights were found in have others: it is another network then."""
    lists = {path[:-1] for (_, field), path in found.items() if field == "w" and isinstance(path[-1][1], int)}
    weights = [path for path, array in held if path[:-1] in lists and np.ndim(array) == 2 and 1 not in array.shape]
    if set(weights) - set(found.values()):
        raise UserError(f"{type(net).__name__} has {len(weights)} layers of weights")


WORDS = {
    "w": "weights (in, out) or (out, in)",
    "b": "biases (out,), (1, out) or (out, 1)",
    "scale": "scale gamma (out,)",
    "shift": "shift beta (out,)",
}


def _missing(net: Any, at: At, case: Case) -> str:
    """A sentence on the leaf that an object has not."""
    names = {each: f"{NAMES[each[1]]}{each[0] + 1}" for each in _wanted(case)}
    held = getattr(net, "params", None)
    if isinstance(held, Mapping) and "W1" in held and names[at] not in held:
        return f"{type(net).__name__}.params has no {names[at]!r}: it needs {', '.join(names.values())}"
    return f"{type(net).__name__} has no parameter for layer {at[0] + 1}'s {WORDS[at[1]]}"


def gradients(net: Any, places: Places, case: Case) -> dict[At, Path]:
    """Where an object keeps the gradients of the parameters at `places`; {} if nothing is called so."""
    named = {at: path for at, own in places.paths.items() if (path := _beside(net, own)) is not None}
    if {k for k, field in named if field == "w"} == {k for k, field in places.paths if field == "w"}:
        return named
    return by_shape([(path, array) for path, array in arrays(net) if _matches(path, GRADIENT)], places.paths, case)


def by_name(grads: Any, places: Places) -> dict[At, Path]:
    """The gradients in a dict by the keys of their parameters: W0, dW0, weight1; {} if it has none of them.

    Small letters stand for large ones where no key is spelled exactly so.
    """
    found: dict[At, Path] = {}
    there = grads if isinstance(grads, Mapping) else {}
    small = {str(key).lower(): key for key in there}
    for at, own in places.paths.items():
        name = own[-1][1]
        keys = [name, *(form.format(name) for form in GRADIENT_NAMES)] if isinstance(name, str) else []
        keys += [small[key.lower()] for key in keys if key.lower() in small]
        present = [key for key in keys if there.get(key) is not None]
        if present:
            found[at] = (("item", present[0]),)
    names = {path[0][1] for path in found.values()}
    return found if len(names) == len(found) else {}


def by_shape(held: list[tuple[Path, Any]], wanted: Mapping[At, Any], case: Case) -> dict[At, Path]:
    """The leaves that are told by their numbers and shapes; {} if a layer's weights are not among them."""
    found: dict[At, Path] = {}
    for at in wanted:
        taken = set(found.values())
        fitting = [path for path, array in held if path not in taken and _fits(np.shape(array), at, case)]
        choice = [path for path in fitting if _numbered(path, held) == at] or fitting
        if choice:
            found[at] = choice[0]
    return found if all(at in found for at in wanted if at[1] == "w") else {}


def _beside(net: Any, own: Path) -> Path | None:
    """A gradient's place, from its parameter's: dW beside W, or the same key of a holder called grads."""
    kind, name = own[-1]
    for form in GRADIENT_NAMES if isinstance(name, str) else ():
        path = (*own[:-1], (kind, form.format(name)))
        if _is_there(net, path):
            return path
    for i, (step, container) in enumerate(own[:-1]):
        if not isinstance(container, str):
            continue
        names = (*GRADIENT_HOLDERS, *(form.format(container) for form in GRADIENT_NAMES))
        for holder in names:
            rest = own[i + 1 :]
            keys = [name, *(f.format(name) for f in GRADIENT_NAMES)] if isinstance(name, str) else [name]
            for key in keys:
                path = (*own[:i], (step, holder), *rest[:-1], (rest[-1][0], key))
                if _is_there(net, path):
                    return path
    return None


def _is_there(net: Any, path: Path) -> bool:
    try:
        return is_array(get(net, path))
    except (AttributeError, KeyError, IndexError, TypeError):
        return False


def _wanted(case: Case) -> list[At]:
    return [(k, field) for k, fields in enumerate(fields_of(case.config)) for field in fields]


def _fits(shape: tuple[int, ...], at: At, case: Case) -> bool:
    size = case.config.sizes[at[0]], case.config.sizes[at[0] + 1]
    if at[1] == "w":
        return shape in (size, size[::-1])
    return shape in ((size[1],), (1, size[1]), (size[1], 1)) or (at[1] == "b" and shape == ())


def _turned(net: Any, paths: dict[At, Path], case: Case) -> frozenset[At]:
    """Weights that are (out, in); those that are square are as the others."""
    weights = {at: np.shape(get(net, path)) for at, path in paths.items() if at[1] == "w"}
    told = {at for at, shape in weights.items() if len(set(shape)) > 1}
    turned = {at for at in told if weights[at][0] != case.config.sizes[at[0]]}
    return frozenset(weights if turned and turned == told else turned)


def _names(path: Path) -> list[str]:
    return [key for _, key in path if isinstance(key, str)]


def _matches(path: Path, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(name) for name in _names(path))


def _field(path: Path) -> str | None:
    """The field that the last name of a path tells: weights, b, gamma."""
    name = re.sub(r"^(d_?|grad_)", "", (_names(path) or [""])[-1].lower())
    return next((FIELDS[start] for start in ("gamma", "beta", "w", "t", "b") if name.startswith(start)), None)


def _numbered(path: Path, held: list[tuple[Path, Any]]) -> At | None:
    """Layer and field from a name that ends in a number, counted from the least that occurs there."""
    match = NUMBERED.match(re.sub(r"^(d_?|grad_)", "", (_names(path) or [""])[-1]))
    if match is None:
        return None
    numbers = [
        int(m[2])
        for other, _ in held
        if (m := NUMBERED.match(re.sub(r"^(d_?|grad_)", "", (_names(other) or [""])[-1])))
    ]
    return int(match[2]) - min(numbers), _field(path) or "w"
