"""Where somebody's code keeps parameters and gradients, whatever they are called.

Names tell first: W1, w_1, weights1, bias2. Where they do not, shapes do, in a case whose dimensions all differ;
the places that were found there hold for the cases whose dimensions are equal, too.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.answers import NAMES, At, places_of
from mlp_jax.gradcheck.reading.names import PARAMETER_DATA, SCALES
from mlp_jax.gradcheck.reading.paths import NUMBERED, Path, arrays, exists, get, is_there, nested, put, words
from mlp_jax.gradcheck.truth import Case

FIELDS = {"w": "w", "t": "w", "b": "b", "gamma": "scale", "beta": "shift"}
GRADIENT = re.compile(r"^(d[ljec]_?)?d_?(w|b|theta|gamma|beta)|grad|^g[wb]\d*$|nabla|delta", re.IGNORECASE)
OTHER = re.compile(r"^(v|m|s|vel|mom|cache|prev|old|best|adam|h|opt)(_|\d|[wWbB]|$)|veloc|moment|cache|best|optim|prev", re.IGNORECASE)  # fmt: skip  # noqa: E501
GRADIENT_NAMES = ("d{}", "d_{}", "grad_{}", "{}_grad", "grad{}", "{}_gradient", "{}_gradients", "{}grad", "g{}",
                  "{}_grads", "grads_{}", "gradient_{}", "delta_{}", "{}_delta", "nabla_{}", "d{}_",
                  *(f"d{loss}{_}d{{}}" for loss in "LJEC" for _ in ("", "_")))  # fmt: skip
GRADIENT_HOLDERS = ("grads", "gradients", "grad", "gradient", "params_grad", "grad_params", "dparams", "_grads")


class Places(NamedTuple):
    """Where the leaves are kept: a path for each, and those that are kept in another arrangement.

    turned: weights that are (out, in), and other leaves that are a row or a column.
    """

    paths: dict[At, Path]
    turned: frozenset[At] = frozenset()

    def arranged(self, at: At, leaf: Any) -> Any:
        """A leaf, or its gradient, in the case's arrangement."""
        if at not in self.turned or np.ndim(leaf) != 2:
            return leaf
        return leaf.T if at[1] == "w" else leaf.reshape(-1) if 1 in leaf.shape else leaf

    def parameters(self, case: Case) -> Iterator[tuple[Path, np.ndarray]]:
        """The case's parameters as they are kept, each with its path."""
        for at, path in self.paths.items():
            leaf = getattr(case.params[at[0]], at[1])
            yield path, (np.atleast_2d(leaf).T if at in self.turned else leaf).copy()

    def hold(self, case: Case, convert: Callable[[np.ndarray], Any]) -> Any:
        """The case's parameters in a container of their own."""
        return nested({path: convert(leaf) for path, leaf in self.parameters(case)})

    def put(self, root: Any, case: Case) -> None:
        """Writes the case's parameters into an object."""
        for path, leaf in self.parameters(case):
            put(root, path, leaf)

    def leaves(self, root: Any) -> dict[At, Any]:
        """What lies at the places in an object or container, in the case's arrangement."""
        return {at: self.arranged(at, get(root, path)) for at, path in self.paths.items()}

    def read(self, root: Any, case: Case) -> Any:
        """The parameters in an object or container as the case's layers; those that it has not stay."""
        leaves = self.leaves(root)
        return tuple(
            layer._replace(
                **{f: _like(leaves[k, f], leaf) for f, leaf in layer._asdict().items() if (k, f) in leaves}
            )
            for k, layer in enumerate(case.params)
        )

    def gradients(self, grads: Any, case: Case) -> dict[At, Any]:
        """Gradients by leaf, from a container of the same keys, or those with a d before them."""
        paths = by_name(grads, self.paths) or by_shape(list(arrays(grads)), self.paths, case)
        if not paths:
            raise UserError("returned gradients without the keys of its parameters")
        return self._replace(paths=paths).leaves(grads)

    def name(self, k: int, field: str) -> str:
        """The name of a leaf: the keys on the way to it."""
        return ".".join(str(key) for _, key in self.paths.get((k, field), ())) or f"{NAMES[field]}{k + 1}"


def _like(leaf: Any, parameter: np.ndarray) -> Any:
    """A leaf that is kept with fewer axes, a vector of weights or a single number, with the parameter's."""
    fewer = np.ndim(leaf) < parameter.ndim and np.size(leaf) == parameter.size
    return np.reshape(leaf, parameter.shape) if fewer else leaf


def parameters(net: Any, case: Case) -> Places:
    """Where a new object keeps the parameters of the case's network.

    Raises UserError, with the names and shapes that are missing, if it has not all of them.
    """
    held = own_arrays(net)
    found: dict[At, Path] = {}
    for at in places_of(case.config):
        fitting = [path for path, array in held if _fits(np.shape(array), at, case)]
        named = [path for path in fitting if _numbered(path, held) == at]
        rest = [path for path in fitting if path not in found.values() and _numbered(path, held) is None]
        choice = named or [path for path in rest if _field(path) == at[1]] or (rest if at[1] in "wb" else [])
        if choice:
            found[at] = choice[0]
        elif at[1] != "b":
            raise UserError(_missing(net, at, case))
    _refuse_more(net, found, held)
    without = [at for at in places_of(case.config) if at not in found]
    rest = [path for path, _ in held if path not in found.values() and not SCALES.fullmatch(str(path[-1][1]))]
    if without and rest and any(field == "b" for _, field in found):  # what else it has may be the bias
        raise UserError(_missing(net, without[0], case))
    return Places(found, _turned(net, found, case))


def own_arrays(net: Any) -> list[tuple[Path, Any]]:
    """An object's arrays that are called neither as gradients are nor as what an optimiser keeps."""
    return [(path, array) for path, array in arrays(net) if not _matches(path, GRADIENT, OTHER)]


def _refuse_more(net: Any, found: Mapping[At, Path], held: list[tuple[Path, Any]]) -> None:
    """Raises UserError where there are others beside the weights that were found: it is another network then."""
    own = {path for (_, field), path in found.items() if field == "w"}
    beside = [p for p, a in held if p[:-1] in {w[:-1] for w in own} and np.ndim(a) == 2 and 1 not in a.shape]
    told = {p for p in beside if _field(p) == "w" or (p[-1][0] == "item" and _field(p) != "b")}
    if told - {*found.values()}:
        raise UserError(f"{type(net).__name__} has {len(told | own)} layers of weights")


WORDS = {"w": "weights (in, out) or (out, in)", "b": "biases (out,), (1, out) or (out, 1)",
         "scale": "scale gamma (out,)", "shift": "shift beta (out,)"}  # fmt: skip


def _missing(net: Any, at: At, case: Case) -> str:
    """A sentence on the leaf that an object has not."""
    names = {each: f"{NAMES[each[1]]}{each[0] + 1}" for each in places_of(case.config)}
    held = getattr(net, "params", None)
    if isinstance(held, Mapping) and "W1" in held and names[at] not in held:
        return f"{type(net).__name__}.params has no {names[at]!r}: it needs {', '.join(names.values())}"
    return f"{type(net).__name__} has no parameter for layer {at[0] + 1}'s {WORDS[at[1]]}"


def gradients(net: Any, places: Places, case: Case) -> dict[At, Path]:
    """Where an object keeps the gradients of the parameters at `places`; {} if nothing is called so."""
    named = {at: path for at, own in places.paths.items() if (path := beside(net, own)) is not None}
    if {k for k, field in named if field == "w"} == {k for k, field in places.paths if field == "w"}:
        return named
    return by_shape([(path, array) for path, array in arrays(net) if _matches(path, GRADIENT)], places.paths, case)


def by_name(grads: Any, wanted: Mapping[At, Path]) -> dict[At, Path]:
    """The gradients in a container by the names of their parameters: W0, dW0, weight1; {} if it has none of them.

    They lie where their parameters lie, or in one dict, where a key spelled exactly so goes before other capitals.
    """
    found: dict[At, Path] = {}
    small = {str(key).lower(): key for key in grads} if isinstance(grads, Mapping) else {}
    for at, own in wanted.items():
        keys = names_of_gradient(own[-1][1]) if own else []
        ways: list[Path] = [(*own[:-1], (own[-1][0], key)) for key in keys]
        if small:
            ways += [(("item", key),) for key in keys if isinstance(key, str)]
            ways += [(("item", small[str(key).lower()]),) for key in keys if str(key).lower() in small]
        if (present := next((path for path in ways if is_there(grads, path)), None)) is not None:
            found[at] = present
    return found if len(set(found.values())) == len(found) else {}


def names_of_gradient(name: Any) -> list[Any]:
    """What the gradient of a parameter of this name may be called: of weight also as that of w."""
    if not isinstance(name, str):
        return [name]
    short = re.sub("^(weight|kernel)s?|^bias(es)?", lambda match: match[0][0].replace("k", "w"), name)
    words = dict.fromkeys((name, name.removesuffix("s"), name.removesuffix("es"), short))
    return [name, *(form.format(word) for word in words for form in GRADIENT_NAMES)]


def by_shape(held: list[tuple[Path, Any]], wanted: Mapping[At, Any], case: Case) -> dict[At, Path]:
    """The leaves that are told by their numbers and shapes; {} if a layer's weights are not among them."""
    found: dict[At, Path] = {}
    shapes, sizes = {path: np.shape(array) for path, array in held}, case.config.sizes
    for at in sorted(wanted, key=lambda at: at[1] != "w"):  # those of one output look like biases
        fitting = [path for path, s in shapes.items() if path not in found.values() and _fits(s, at, case)]
        turned = (0, "w") in found and shapes[found[0, "w"]] != sizes[:2]  # then weights of one output are, too
        likely = sizes[at[0] : at[0] + 2][:: -1 if turned else 1]
        named = [path for path in fitting if _numbered(path, held) == at]
        if choice := named or [path for path in fitting if shapes[path] == likely] or fitting:
            found[at] = choice[0]
    return found if all(at in found for at in wanted if at[1] == "w") else {}


def beside(net: Any, own: Path) -> Path | None:
    """A gradient's place, from its parameter's: dW beside W, the same key in grads, W.grad, grad beside data."""
    kind, name = own[-1]
    keys = names_of_gradient(name)
    ways: list[Path] = [(*own[:-1], (kind, key)) for key in keys if key != name]
    for i, (step, container) in enumerate(own[:-1]):
        if isinstance(container, str):
            held = [(*own[:i], (step, h)) for h in (*GRADIENT_HOLDERS, *names_of_gradient(container)[1:])]
            ways += [(*h, *own[i + 1 : -1], (kind, key)) for h in held if exists(net, h) for key in keys]
    ways += [(*own, ("attribute", "grad")), *([(*own[:-1], (kind, "grad"))] if name in PARAMETER_DATA else [])]
    return next((path for path in ways if is_there(net, path)), None)


def _fits(shape: tuple[int, ...], at: At, case: Case) -> bool:
    size = case.config.sizes[at[0]], case.config.sizes[at[0] + 1]
    if at[1] == "w":
        return shape in (size, size[::-1]) or (size[1] == 1 and shape == size[:1])
    return shape in ((size[1],), (1, size[1]), (size[1], 1)) or (at[1] == "b" and shape == ())


def _turned(net: Any, paths: dict[At, Path], case: Case) -> frozenset[At]:
    """Weights that are (out, in), where those that are square are as the others; what else has two dimensions."""
    shapes = {at: np.shape(get(net, path)) for at, path in paths.items()}
    weights = {at: shape for at, shape in shapes.items() if at[1] == "w"}
    lines = {at for at, shape in shapes.items() if at[1] != "w" and len(shape) == 2}
    told = {at for at, shape in weights.items() if len(set(shape)) > 1}
    turned = {at for at in told if weights[at][0] != case.config.sizes[at[0]]}
    return frozenset(lines | (set(weights) if turned and turned == told else turned))


def _matches(path: Path, *patterns: re.Pattern[str]) -> bool:
    """Whether a name on the way to an array is of one of these forms."""
    return any(pattern.search(name) for pattern in patterns for name in words(path))


def _field(path: Path) -> str | None:
    """The field that the last name of a path tells: weights, b, gamma."""
    name = _stem(path).lower()
    return next((FIELDS[start] for start in ("gamma", "beta", "w", "t", "b") if name.startswith(start)), None)


def _stem(path: Path) -> str:
    """The last name of a path, without what makes it a gradient's."""
    return re.sub(r"^(d_?|grad_)", "", (words(path) or [""])[-1], flags=re.IGNORECASE)


def _numbered(path: Path, held: list[tuple[Path, Any]]) -> At | None:
    """Layer and field from a name that ends in a number, counted from the least that occurs there.

    Before a 2 comes what has the same name without a number: W, b, W2, b2.
    """
    stem, stems = _stem(path), [_stem(other) for other, _ in held]
    matches = [match for each in stems if (match := NUMBERED.match(each))]
    least = min((int(match[2]) for match in matches), default=0)
    without = least == 2 and any(match[1] in stems for match in matches)
    match = NUMBERED.match(stem)
    if match is None and not (without and f"{stem}2" in stems):
        return None
    return (0 if match is None else int(match[2]) - least + without), _field(path) or "w"
