"""Parameters in containers of a function's own keys: dicts of dicts, lists of dicts, objects with attributes.

Which keys there are is learnt from the function itself: it is given a container that is empty, and tells by what
it asks for, and by whether it multiplies by that or adds it, where its weights and its biases are.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from mlp_jax.gradcheck.reading.answers import At
from mlp_jax.gradcheck.reading.holders import Places
from mlp_jax.gradcheck.reading.paths import Path
from mlp_jax.gradcheck.truth import Case

WEIGHT = re.compile(r"^(w|kernel|theta)", re.IGNORECASE)
BIAS = re.compile(r"^(b|offset)", re.IGNORECASE)
MULTIPLIED = ("T", "dot", "mm", "t", "matmul")
PRODUCTS = ("dot", "einsum", "tensordot", "inner", "transpose")
OF_ARRAYS = (
    *MULTIPLIED, "shape", "ndim", "size", "dtype", "sum", "mean", "copy", "astype", "reshape", "transpose",
    "ravel", "flatten", "squeeze",
)  # fmt: skip


class Used(BaseException):
    """A part of the container is used as an array; `kind` is "w", "b", or "" if the use does not tell."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(path)
        self.path, self.kind = path, kind


def _use(kind: str) -> Callable[..., NoReturn]:
    """A method that says for what its object is used."""

    def use(node: "_Node", *_: Any, **__: Any) -> NoReturn:
        raise Used(node._path, kind)

    return use


class _Node:
    """A part of the container that is not known yet."""

    def __init__(self, path: Path, known: dict[Path, Any], layers: int) -> None:
        self.__dict__ |= {"_path": path, "_known": known, "_layers": layers}

    def _at(self, kind: str, key: Any) -> Any:
        path = (*self._path, (kind, key))
        return self._known[path] if path in self._known else _Node(path, self._known, self._layers)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self._at("item", i) for i in range(len(self))[key]]
        if isinstance(key, tuple):  # b[:, None]
            raise Used(self._path, "")
        return self._at("item", key + len(self) if isinstance(key, int) and key < 0 else key)

    def __getattr__(self, name: str) -> Any:
        if name in OF_ARRAYS:
            raise Used(self._path, "w" if name in MULTIPLIED else "")
        if name.startswith("__"):
            raise AttributeError(name)
        return self._at("attribute", name)

    def __len__(self) -> int:
        key = str(self._path[-1][1]) if self._path else ""
        return 2 if key[-1:].isdigit() else self._layers  # weights and biases of one layer; all layers of "W"

    def __iter__(self) -> Iterator[Any]:
        return (self._at("item", i) for i in range(len(self)))

    def __array_function__(self, function: Any, *_: Any) -> NoReturn:
        raise Used(self._path, "w" if function.__name__ in PRODUCTS else "")

    def __array_ufunc__(self, ufunc: Any, *_: Any, **__: Any) -> NoReturn:
        raise Used(self._path, "w" if ufunc is np.matmul else "b" if ufunc is np.add else "")

    __matmul__ = __rmatmul__ = _use("w")
    __add__ = __radd__ = _use("b")
    __array__ = __jax_array__ = __pow__ = __mul__ = __rmul__ = __torch_function__ = _use("")


def learnt(
    ask: Callable[[Any], Any], case: Case, convert: Callable[[np.ndarray], Any], *, turned: str
) -> Places | None:
    """Where a function wants its parameters, from what it asks of a container; None if that does not tell.

    ask: calls the function with a container, and raises what it raises. turned: the fields that it wants so.
    """
    layers = len(case.params)
    tree = Places({}, frozenset((k, field) for k in range(layers) for field in turned))
    for _ in range(2 * layers + 1):
        known = {path: convert(leaf) for path, leaf in tree.parameters(case)}
        try:
            ask(_Node((), known, layers))
        except Used as used:
            at = _next(used, tree)
            if at is None or at[0] >= layers:
                return None
            tree.paths[at] = used.path
        except Exception:  # the function's own, as it would be in a container of another kind
            return None
        else:
            fields = [field for _, field in tree.paths]
            return tree if fields.count("w") == layers and fields.count("b") in (0, layers) else None
    return None


def _next(used: Used, tree: Places) -> At | None:
    """The parameter that is used now: layers come one after the other, and in each the weights before the bias."""
    key = next((key for _, key in reversed(used.path) if isinstance(key, str)), "")
    by_name = "w" if WEIGHT.match(key) else "b" if BIAS.match(key) else ""
    fields = [field for _, field in tree.paths]
    in_turn = "" if key else "wb"[fields.count("w") > fields.count("b")]
    kind = used.kind or by_name or in_turn  # block1_W is no bias
    return (fields.count(kind), kind) if used.path and kind else None
