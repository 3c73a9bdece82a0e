"""The arrays that an object holds, and where it leaves their gradients."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck.reading.answers import plain

Array = np.ndarray


class Slot(NamedTuple):
    """An array of an object, and where its gradient is: attributes, or entries of `params` and `grads`.

    gradient_key: of `gradients`; or the name of its attribute, and the key in there.
    """

    name: str
    place: Any
    key: Any
    gradients: Any
    gradient_key: Any

    def get(self) -> Array:
        """The array itself."""
        return np.asarray(_item(self.place, self.key))

    def put(self, value: Array) -> None:
        """Into the array that is there, because others may hold it too; or in its place if it is not as exact."""
        now = self.get()
        if now.dtype == np.float64 and now.flags.writeable:
            now[...] = value
        elif isinstance(self.place, (dict, list)):
            self.place[self.key] = value
        else:
            setattr(self.place, self.key, value)

    def gradient(self) -> Array | None:
        """What backward left."""
        value = _item(self.gradients, self.gradient_key)
        return None if value is None else np.array(plain(value), np.float64)


def _item(place: Any, key: Any) -> Any:
    if isinstance(key, tuple):  # of a holder that may be made anew
        return _item(getattr(place, key[0]), key[1])
    return place[key] if isinstance(place, (dict, list)) else getattr(place, key)


def slots(made: Any) -> list[Slot]:
    """The arrays of an object that has been through forward and backward, with their gradients."""
    params, grads = getattr(made, "params", None), getattr(made, "grads", None)
    if isinstance(params, list) and isinstance(grads, list) and len(params) == len(grads):
        return [Slot(f"params[{i}]", params, i, made, ("grads", i)) for i in range(len(params))]
    if isinstance(params, dict) and isinstance(grads, dict):
        keys = [(k, next((g for g in (k, f"d{k}") if g in grads), None)) for k in params]
        return [Slot(str(k), params, k, made, ("grads", g)) for k, g in keys if g is not None]
    names = [n for n, v in vars(made).items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"]
    found = [(n, _gradient_name(made, n)) for n in names if n not in ("inputs", "input", "x", "X")]
    return [Slot(n, made, n, made, g) for n, g in found if g]


def _gradient_name(made: Any, name: str) -> str:
    return attribute(made, (f"d{name}", f"{name}_grad", f"grad_{name}", f"{name}_gradient"))


def attribute(made: Any, names: Sequence[str]) -> str:
    """The first of the names that an object has, with its own capitals and underscores; "" if it has none."""
    own = {name.lower().replace("_", ""): name for name in dir(made) if not name.startswith("__")}
    exact = [name for name in names if hasattr(made, name)]
    return next(iter([*exact, *(own[n] for n in (m.lower().replace("_", "") for m in names) if n in own)]), "")
