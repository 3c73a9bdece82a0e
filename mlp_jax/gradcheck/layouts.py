"""How parameters, examples and labels are laid out in somebody's code: names, orientation, containers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.answers import fields_of
from mlp_jax.gradcheck.battery import Case

NAMINGS = ("W{}", "w{}", "W_{}", "w_{}", "W{}0", "w{}0", "Theta{}", "lists", "list", "flat")
_LEAF = re.compile(r"^d?(theta|w|b|gamma|beta)_?(\d+)$", re.IGNORECASE)
_FIELDS = {"w": "w", "theta": "w", "b": "b", "gamma": "scale", "beta": "shift"}


class Layout(NamedTuple):
    """naming: how the parameters are named or held. columns: an example is a column, and weights are (out, in).

    one_hot: labels are (N, C). transposed: weights are (out, in), though an example is a row.
    """

    naming: str = "W{}"
    columns: bool = False
    one_hot: bool = False
    transposed: bool = False

    def array(self, field: str, leaf: np.ndarray) -> np.ndarray:
        """A parameter as the code has it."""
        if field == "w":
            return leaf.T.copy() if self.columns or self.transposed else leaf.copy()
        return leaf[:, None].copy() if self.columns else leaf.copy()

    def examples(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """x and y as the code has them."""
        y = np.eye(case.config.classes)[case.y] if self.one_hot else case.y.copy()
        return (case.x.T.copy(), y.T.copy()) if self.columns else (case.x.copy(), y)

    def leaf(self, field: str, found: Any) -> Any:
        """A gradient in the shape that its parameter has in the case, if it has the code's own."""
        shape = np.shape(found)
        if field == "w" and (self.columns or self.transposed) and len(shape) == 2:
            return found.T
        return found.reshape(-1) if self.columns and len(shape) == 2 and 1 in shape else found

    def name(self, k: int, field: str) -> str:
        """A leaf's name in the code: W1, w_1, b0."""
        stem = {"w": "W", "b": "b", "scale": "gamma", "shift": "beta"}[field]
        if self.naming in ("lists", "list", "flat"):
            return f"{stem}{k + 1}"
        number = k if self.naming.endswith("0") else k + 1
        if self.naming == "Theta{}" and field == "w":
            return f"Theta{number}"
        stem = stem.lower() if self.naming[0] == "w" else stem
        return f"{stem}{'_' if '_' in self.naming else ''}{number}"

    def hold(self, case: Case) -> Any:
        """The parameters in the code's own container."""
        layers = [{f: self.array(f, leaf) for f, leaf in layer._asdict().items()} for layer in case.params]
        if self.naming == "lists":
            return {"weights": [layer["w"] for layer in layers], "biases": [layer["b"] for layer in layers]}
        arrays = [leaf for layer in layers for leaf in layer.values()]
        if self.naming == "list":
            return arrays
        if self.naming == "flat":
            return np.concatenate([leaf.ravel() for leaf in arrays])
        return {self.name(k, f): leaf for k, layer in enumerate(layers) for f, leaf in layer.items()}

    def tree(self, held: Any, case: Case) -> Any:
        """Parameters in the code's container as the case's layers."""
        found = self.leaves(held, case)
        return tuple(
            type(layer)(*(found.get((k, f), np.zeros(0)) for f in layer._fields))
            for k, layer in enumerate(case.params)
        )

    def leaves(self, grads: Any, case: Case) -> dict[tuple[int, str], Any]:
        """Gradients by layer and field. Raises UserError where there are none of the case's."""
        wanted = [(k, f) for k, layer in enumerate(fields_of(case.config)) for f in layer]
        pairs: list[tuple[tuple[int, str], Any]]
        if isinstance(grads, Mapping):
            pairs = self._mapped(grads)
        elif isinstance(grads, Sequence):
            pairs = _listed(grads, wanted)
        else:
            pairs = self._cut(grads, case, wanted)
        found = {at: self.leaf(at[1], leaf) for at, leaf in pairs if at in wanted and leaf is not None}
        if not found:
            names = ", ".join(self.name(*at) for at in wanted)
            raise UserError(f"returned gradients without {names}")
        return found

    def _mapped(self, grads: Mapping[Any, Any]) -> list[tuple[tuple[int, str], Any]]:
        for names in (("weights", "biases"), ("dweights", "dbiases"), ("W", "b"), ("dW", "db")):
            if all(isinstance(grads.get(name), (list, tuple)) for name in names):
                return [
                    ((k, f), leaf) for f, n in zip("wb", names, strict=True) for k, leaf in enumerate(grads[n])
                ]
        matches = [(_LEAF.match(str(key)), leaf) for key, leaf in grads.items()]
        first = 0 if self.naming.endswith("0") else 1
        return [((int(m[2]) - first, _FIELDS[m[1].lower()]), leaf) for m, leaf in matches if m]

    def _cut(self, flat: Any, case: Case, wanted: list[tuple[int, str]]) -> list[tuple[tuple[int, str], Any]]:
        pairs, at = [], 0
        flat = flat.reshape(-1)
        for k, f in wanted:
            shape = self.array(f, getattr(case.params[k], f)).shape
            size = int(np.prod(shape))
            pairs.append(((k, f), flat[at : at + size].reshape(shape)))
            at += size
        if at != len(flat):
            raise UserError(f"returned {len(flat)} numbers, but the parameters are {at}")
        return pairs


def _listed(grads: Sequence[Any], wanted: list[tuple[int, str]]) -> list[tuple[tuple[int, str], Any]]:
    """[W1, b1, ...], [(W1, b1), ...], or (all weights, all biases), which are told by their dimensions."""
    layers = 1 + max(k for k, _ in wanted)
    if len(grads) == 1 and isinstance(grads[0], Mapping):
        grads = list(grads[0].values())
    if len(grads) == 2 and all(isinstance(g, (list, tuple)) and len(g) == layers for g in grads):
        ranks = [[np.ndim(leaf) for leaf in group] for group in grads]
        if min(ranks[0]) == 2 and max(ranks[1]) < 2:
            return [((k, f), leaf) for f, group in zip("wb", grads, strict=True) for k, leaf in enumerate(group)]
    flat = [
        leaf
        for layer in grads
        for leaf in (
            layer.values()
            if isinstance(layer, Mapping)
            else layer
            if isinstance(layer, (tuple, list))
            else [layer]
        )
    ]
    if len(flat) != len(wanted):
        raise UserError(f"returned {len(flat)} arrays, but there are {len(wanted)} parameters")
    return list(zip(wanted, flat, strict=True))
