"""Arrays in containers and objects: the path to each, and how what lies at a path is read and written."""

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from types import FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.names import plainly

Path = tuple[tuple[str, Any], ...]  # steps from the object: ("attribute", name), or ("item", key)
DEPTH = 4  # steps from an object to an array: net.layers[0].params["W"] has four
CLOSED = (str, bytes, type, ModuleType, FunctionType, MethodType, np.random.RandomState, np.random.Generator)
NUMBERED = re.compile(r"^(w|weights?|theta|b|bias(?:es)?|gamma|beta)_?(\d+)$", re.IGNORECASE)


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
    name = str(path[-1][1]) if path else ""
    match = NUMBERED.match(name)
    return name in ("b", "bias") or (match is not None and match[1][0] in "bB" and match[1].lower() != "beta")


def one_for_two(results: tuple[Any, ...]) -> tuple[Any, ...]:
    """What was returned, with a dict of weights and one of biases as one dict, or as two lists for equal keys."""
    two = [part for part in results if isinstance(part, Mapping) and part and all(map(is_array, part.values()))]
    if len(two) != 2 or len(two[0]) != len(two[1]) or _has_matrix(two[0]) == _has_matrix(two[1]):
        return results
    rest = tuple(part for part in results if not any(part is each for each in two))
    if not two[0].keys() & two[1].keys():
        return *rest, {**two[0], **two[1]}
    return *rest, *([each[k] for k in sorted(each, key=lambda k: (len(str(k)), str(k)))] for each in two)


def _has_matrix(arrays_: Mapping[Any, Any]) -> bool:
    return any(np.size(array) > max(np.shape(array), default=1) for array in arrays_.values())


def words(path: Path) -> list[str]:
    """The names on the way, without numbers."""
    return [key for _, key in path if isinstance(key, str)]


def get(root: Any, path: Path) -> Any:
    """What lies at a path."""
    for kind, key in path:
        root = getattr(root, key) if kind == "attribute" else root[key]
    return root


def exists(root: Any, path: Path) -> bool:
    """Whether anything lies at a path."""
    try:
        get(root, path)
    except (AttributeError, KeyError, IndexError, TypeError):
        return False
    return True


def is_there(root: Any, path: Path) -> bool:
    """Whether an array lies at a path, or a list of numbers, as a bias's gradient may be."""
    try:
        value = get(root, path)
        return is_array(value) or (isinstance(value, list) and bool(value) and all(map(np.isscalar, value)))
    except (AttributeError, KeyError, IndexError, TypeError):
        return False


def attribute(root: Any, names: Sequence[str]) -> str:
    """The first of the names that an object has, with its own capitals and underscores; "" if it has none."""
    own = {plainly(name): name for name in dir(root) if not name.startswith("__")}
    exact = [name for name in names if hasattr(root, name)]
    return next(iter([*exact, *(own[plainly(name)] for name in names if plainly(name) in own)]), "")


def put(root: Any, path: Path, value: np.ndarray) -> None:
    """Writes an array at a path, in the library of the one that is there, in float64.

    In place where that can be, for the object may hold the same array under other names too.
    """
    old = get(root, path)
    value = value.reshape(np.shape(old)) if np.ndim(old) else value
    if isinstance(old, np.ndarray) and old.dtype == np.float64 and old.flags.writeable:
        old[...] = value
        return
    _replace(root, path, like_kept(old, value))


def exchange(root: Any, path: Path, value: np.ndarray) -> None:
    """Puts another array, of any shape, in the place of the one that is there, in that one's library."""
    _replace(root, path, like_kept(get(root, path), value))


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


def like_kept(kept: Any, value: np.ndarray) -> Any:
    """The same, where numbers with a fraction have torch's dtype of `kept`, for it multiplies no two dtypes."""
    new = as_kept(kept, value)
    return new.to(kept.dtype) if hasattr(new, "detach") and value.dtype.kind == "f" else new


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


def in_double(root: Any) -> Any:
    """The object itself, with float64 in the place of the float32 that torch has by default."""
    for path, kept in list(arrays(root)):
        if hasattr(kept, "detach") and kept.dtype.is_floating_point:
            _replace(root, path, kept.detach().double())
    return root


def nested(held: dict[Path, Any]) -> Any:
    """Containers for paths: objects for attributes, lists for numbers, dicts for other keys."""
    if () in held:
        return held[()]
    steps = list(dict.fromkeys(path[0] for path in held))
    inside = {step: nested({p[1:]: leaf for p, leaf in held.items() if p[0] == step}) for step in steps}
    if all(kind == "attribute" for kind, _ in steps):
        return SimpleNamespace(**{name: part for (_, name), part in inside.items()})
    if all(isinstance(key, int) for _, key in steps):
        return [inside["item", i] for i in range(len(steps))]
    return {key: part for (_, key), part in inside.items()}
