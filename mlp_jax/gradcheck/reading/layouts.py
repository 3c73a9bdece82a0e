"""How parameters, examples and labels are laid out in somebody's code: names, orientation, containers."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.answers import NAMES, At, places_of
from mlp_jax.gradcheck.truth import Case, one_hot

TREE = "layers"
FLAT = ("flat", "flat apart", "flat theta", "flat theta by columns")
VECTOR = "vector"  # of the weights of one output
ROWS = ("W+", "+W")
LISTED = ("list W+", "list +W", "list Theta+")
WITH_ROW = (*ROWS, *LISTED)  # whose shapes do not tell where the bias is
NAMINGS = ("W{}", "w{}", "W_{}", "w_{}", "W{}0", "w{}0", "Theta{}", "lists", "list", *FLAT, *WITH_ROW)
_LEAF = re.compile(r"^d?(theta|w|b|gamma|beta)_?(\d*)$", re.IGNORECASE)
_FIELDS = {"w": "w", "theta": "w", "b": "b", "gamma": "scale", "beta": "shift"}


class Layout(NamedTuple):
    """naming: how the parameters are named or held. columns: an example is a column, and weights are (out, in).

    TREE stands for this package's layers. one_hot: labels are (N, C). transposed: weights are (out, in) where an
    example is a row, or the other way round. Of the flat vectors "flat" is layer by layer, "flat apart" all
    weights before all biases, "flat theta" the matrices [b, W^T], which "Theta+" has in a dict, and "flat theta by
    columns" these column by column. "W+" has matrices whose last row is the bias, the first one in "+W"; lists of
    such matrices are "list W+" and its like. signs: labels, of one output, are -1 and +1.
    """

    naming: str = "W{}"
    columns: bool = False
    one_hot: bool = False
    transposed: bool = False
    signs: bool = False

    @property
    def turned(self) -> bool:
        """Whether weights are (out, in)."""
        return self.columns != self.transposed

    @property
    def recodes(self) -> bool:
        """Whether labels are not given as the numbers of the classes."""
        return self.one_hot or self.signs

    @property
    def joined(self) -> str:
        """How a matrix holds weights and bias: "W+", "+W", "Theta+"; "" if they are apart."""
        form = self.naming.removeprefix("list ")
        return form if form in (*ROWS, "Theta+") else ""

    def array(self, field: str, leaf: np.ndarray) -> np.ndarray:
        """A parameter as the code has it."""
        if field == "w":
            leaf = leaf.T if self.turned else leaf
            return leaf.ravel() if self.naming == VECTOR else leaf.copy()
        if self.naming == VECTOR:  # beside which the bias is a number
            return leaf.reshape(())
        return leaf[:, None].copy() if self.columns else leaf.copy()

    def examples(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        """x and y as the code has them."""
        y = one_hot(case) if self.one_hot else case.y.copy()
        y = 2 * y - 1 if self.signs else y
        return (case.x.T.copy(), y.T.copy()) if self.columns else (case.x.copy(), y)

    def leaf(self, field: str, found: Any) -> Any:
        """A gradient in the shape that its parameter has in the case, if it has the code's own."""
        shape = np.shape(found)
        if field == "w" and self.naming == VECTOR and len(shape) == 1:
            return found[:, None]
        if field == "w" and self.turned and len(shape) == 2:
            return found.T
        row = field != "w" and self.columns and len(shape) == 2 and 1 in shape
        return found.reshape(-1) if row else found

    def name(self, k: int, field: str) -> str:
        """A leaf's name in the code: W1, w_1, b0."""
        stem = NAMES[field]
        if self.naming == TREE:
            return f"layer{k + 1}.{field}"
        if self.naming in ("lists", "list", *FLAT):
            return f"{stem}{k + 1}"
        number = k if self.naming.endswith("0") else k + 1
        if self.joined in ROWS:
            return f"W{number}" + ("" if field == "w" else "[-1]" if self.joined == "W+" else "[0]")
        if (self.naming == "Theta{}" or self.joined) and field == "w":
            return f"Theta{number}"
        stem = stem.lower() if self.naming[0] == "w" else stem
        return f"{stem}{'_' if '_' in self.naming else ''}{number}"

    def hold(self, case: Case, convert: Callable[[np.ndarray], Any]) -> Any:
        """The case's parameters in the code's own container, each array as `convert` makes it."""
        return jax.tree.map(convert, self._hold(case))

    def _hold(self, case: Case) -> Any:
        layers = [{f: self.array(f, leaf) for f, leaf in layer._asdict().items()} for layer in case.params]
        if self.naming == TREE:
            return tuple(type(own)(**layer) for own, layer in zip(case.params, layers, strict=True))
        if self.naming == "lists":
            return {"weights": [layer["w"] for layer in layers], "biases": [layer["b"] for layer in layers]}
        if self.naming == "list":
            return [leaf for layer in layers for leaf in layer.values()]
        if self.naming in FLAT:
            return self._flat(layers)
        if self.joined:
            held = [_with_column(layer) if self.joined == "Theta+" else self._with_row(layer) for layer in layers]
            return held if self.naming in LISTED else {self.name(k, "w"): w for k, w in enumerate(held)}
        return {self.name(k, f): leaf for k, layer in enumerate(layers) for f, leaf in layer.items()}

    def _with_row(self, layer: Mapping[str, np.ndarray]) -> np.ndarray:
        """The weights (in, out) with the bias as their last row, or as their first."""
        rows = (layer["w"], layer["b"])
        return np.vstack(rows if self.joined == "W+" else rows[::-1])

    def _flat(self, layers: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """The parameters of all layers in one vector."""
        if self.naming == "flat apart":
            arrays = [layer[field] for field in layers[0] for layer in layers]
        elif self.naming == "flat":
            arrays = [leaf for layer in layers for leaf in layer.values()]
        else:
            arrays = [_with_column(layer) for layer in layers]
        order: Any = "F" if self.naming.endswith("by columns") else "C"
        return np.concatenate([leaf.ravel(order) for leaf in arrays])

    def read(self, held: Any, case: Case) -> Any:
        """Parameters in the code's container as the case's layers."""
        found = self.gradients(held, case)
        return tuple(
            type(layer)(*(found.get((k, f), np.zeros(0)) for f in layer._fields))
            for k, layer in enumerate(case.params)
        )

    def gradients(self, grads: Any, case: Case) -> dict[At, Any]:
        """Gradients by layer and field. Raises UserError where there are none of the case's."""
        wanted = places_of(case.config)
        pairs: list[tuple[At, Any]]
        if self.joined:
            pairs = _split(grads, self.joined)
        elif isinstance(grads, Mapping):
            pairs = self._mapped(grads)
        elif isinstance(grads, Sequence):
            pairs = _apart(grads, case) or _listed(grads, wanted, case)
        else:
            pairs = self._cut(grads, case, wanted)
        found = {at: self.leaf(at[1], leaf) for at, leaf in pairs if at in wanted and leaf is not None}
        if case.config.classes == 1:  # whose bias is a number
            found = {at: np.reshape(leaf, -1) if np.shape(leaf) == () else leaf for at, leaf in found.items()}
        if not found:
            names = ", ".join(self.name(*at) for at in wanted)
            raise UserError(f"returned gradients without {names}")
        return found

    def _mapped(self, grads: Mapping[Any, Any]) -> list[tuple[At, Any]]:
        for names in (("weights", "biases"), ("dweights", "dbiases"), ("W", "b"), ("dW", "db")):
            if all(isinstance(grads.get(name), (list, tuple)) for name in names):
                return [
                    ((k, f), leaf) for f, n in zip("wb", names, strict=True) for k, leaf in enumerate(grads[n])
                ]
        matches = [(_LEAF.match(str(key)), leaf) for key, leaf in grads.items()]
        first = 0 if self.naming.endswith("0") else 1
        return [((int(m[2] or first) - first, _FIELDS[m[1].lower()]), leaf) for m, leaf in matches if m]

    def _cut(self, flat: Any, case: Case, wanted: list[At]) -> list[tuple[At, Any]]:
        """The leaves in a vector: each number lies where its parameter lies in the vector of them."""
        if not hasattr(flat, "reshape"):
            raise UserError(f"returned {type(flat).__name__}, not gradients")
        flat, sizes = flat.reshape(-1), [getattr(case.params[k], f).size for k, f in wanted]
        if sum(sizes) != len(flat):
            raise UserError(f"returned {len(flat)} numbers, but the parameters are {sum(sizes)}")
        layers: list[dict[str, np.ndarray]] = [{} for _ in case.params]
        for (k, f), end, size in zip(wanted, np.cumsum(sizes), sizes, strict=True):
            layers[k][f] = np.arange(end - size, end).reshape(self.array(f, getattr(case.params[k], f)).shape)
        places = np.argsort(self._flat(layers))
        return [((k, f), flat[places[layers[k][f]]]) for k, f in wanted]


def _with_column(layer: Mapping[str, np.ndarray]) -> np.ndarray:
    """[b, W^T]: the weights (out, in) behind a column of biases."""
    return np.column_stack([layer["b"], layer["w"].T])


def _split(grads: Any, naming: str) -> list[tuple[At, Any]]:
    """Weights and biases of gradients of [b, W^T], or of matrices with a row for the bias, in their order."""
    held = list(grads.values()) if isinstance(grads, Mapping) else list(grads)
    if naming == "Theta+":
        held = [g.T for g in held]
    bias, rest = (-1, slice(-1)) if naming == "W+" else (0, slice(1, None))
    return [((k, f), g[rest] if f == "w" else g[bias]) for k, g in enumerate(held) for f in "wb"]


def _apart(grads: Sequence[Any], case: Case) -> list[tuple[At, Any]]:
    """(all weights, all biases), or the biases first, as their sizes tell; [] if it is neither."""
    if len(grads) != 2 or not all(isinstance(g, (list, tuple)) and len(g) == len(case.params) for g in grads):
        return []
    sizes = {f: [getattr(layer, f).size for layer in case.params] for f in "wb"}
    for order in ("wb", "bw"):
        groups = dict(zip(order, grads, strict=True))
        flat = all(np.ndim(leaf) < 2 for leaf in groups["b"])
        fit = {f: [np.size(leaf) for leaf in groups[f]] == sizes[f] for f in order}
        if fit["w"] and (flat or fit["b"]):
            return [((k, f), leaf) for f, group in zip(order, grads, strict=True) for k, leaf in enumerate(group)]
    return []


def _listed(grads: Sequence[Any], wanted: list[At], case: Case) -> list[tuple[At, Any]]:
    """[W1, b1, ...] or [(W1, b1), ...]."""
    layers = len(case.params)
    if len(grads) == 1 and isinstance(grads[0], Mapping):
        grads = list(grads[0].values())
    inside = (list(layer.values()) if isinstance(layer, Mapping) else layer for layer in grads)
    flat = [leaf for layer in inside for leaf in (layer if isinstance(layer, (tuple, list)) else [layer])]
    shapes = [{np.shape(layer.w), np.shape(layer.w.T)} for layer in case.params]
    if len(flat) == layers and all(np.shape(leaf) in fitting for leaf, fitting in zip(flat, shapes, strict=True)):
        return [((k, "w"), leaf) for k, leaf in enumerate(flat)]  # of a network without biases
    if len(flat) != len(wanted):
        raise UserError(f"returned {len(flat)} arrays, but there are {len(wanted)} parameters")
    turned = [wanted[i + 1 - 2 * (i % 2)] for i in range(len(wanted) - len(wanted) % 2)]  # b before w
    sizes = [np.size(leaf) for leaf in flat]
    fit = {
        order: [getattr(case.params[k], f).size for k, f in order] == sizes
        for order in map(tuple, (wanted, turned))
    }
    return list(zip(turned if list(fit.values()) == [False, True] else wanted, flat, strict=True))
