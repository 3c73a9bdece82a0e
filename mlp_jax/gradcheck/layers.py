"""Single layers: `affine_backward` beside its `affine_forward`, `softmax_loss(x, y)`, layer objects.

`forward(x, ..., options) -> (out, cache)` and `backward(dout, cache) -> gradients`, in the order of the arguments,
as in CS231n's layers.py. The forward pass is compared with the operation that the name says (`operations`), where
that is known; the gradient must be that of sum(out * dout) for the candidate's own forward pass.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import operations
from mlp_jax.gradcheck.answers import plain
from mlp_jax.gradcheck.candidates import quiet, where
from mlp_jax.gradcheck.layer_check import Layer, judge
from mlp_jax.gradcheck.layer_objects import Array, is_layer_class, layer_of
from mlp_jax.gradcheck.operations import LABELS
from mlp_jax.gradcheck.report import Report
from mlp_jax.text import table

BACKWARD = ("backward", "bwd", "backprop")
FORWARD = {"backward": "forward", "bwd": "fwd", "backprop": "forward"}
SUFFIXES = ("_alt", "_naive", "_vectorized", "_fast", "_im2col", "_strides", "_loop", "_quick", "_ok")


@dataclass(frozen=True, repr=False)
class ModuleReport(Report):
    """The reports of every layer of a file as one: a leaf is called layer.leaf.

    refused: (name, why) of the layers that could not be checked.
    """

    layers: tuple[Report, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        rows = [
            [layer.name, "RIGHT" if layer.passed else "WRONG", ", ".join([*layer.codes, *layer.remarks])]
            for layer in self.layers
        ] + [[name, "not checked", why] for name, why in self.refused]
        right = sum(layer.passed for layer in self.layers)
        heading = f"{self.name}: {right} of {len(self.layers)} layers right, {len(self.refused)} not checked"
        details = [str(layer) for layer in self.layers if layer.findings]
        in_table = {_not_checked(*each) for each in self.refused}
        details += [f"Note: {note}." for note in self.notes if note not in in_table]
        return "\n\n".join([heading, table(["layer", "verdict", ""], rows), *details])


def _not_checked(layer: str, why: str) -> str:
    return f"{layer} is not checked: {why}"


def _together(name: str, layers: Sequence[Report], refused: Sequence[tuple[str, str]]) -> ModuleReport:
    leaves = [replace(row, leaf=f"{r.name}.{row.leaf}") for r in layers for row in r.leaves]
    found = [
        f._replace(leaves=tuple(f"{r.name}.{leaf}" for leaf in f.leaves) or (r.name,))
        for r in layers
        for f in r.findings
    ]
    notes = [_not_checked(*each) for each in refused]
    cases = sum(r.cases for r in layers)
    return ModuleReport(
        name, tuple(leaves), tuple(found), tuple(notes), cases, layers=tuple(layers), refused=tuple(refused)
    )


def is_layer(name: str, module: ModuleType) -> bool:
    """Whether a name is one layer's: a backward beside its forward, a loss of scores, or a layer's class."""
    target = getattr(module, name, None)
    if inspect.isclass(target):
        return is_layer_class(target)
    return callable(target) and (_backward(name, module) is not None or _is_loss(name, target))


def _backward(name: str, module: ModuleType) -> str | None:
    """The backward function's name, from that of either function of a pair."""
    others = [name.replace(word, back) for back, word in FORWARD.items() if word in name]
    names = [name, *(other + suffix for other in others for suffix in ("", *SUFFIXES))]
    return next((n for n in names if hasattr(module, n) and forward_of(n, module) is not None), None)


def forward_of(name: str, module: ModuleType) -> Any:
    """The forward function beside a backward one, or None."""
    for word in BACKWARD:
        if word not in name.lower():
            continue
        start = name.lower().index(word)
        forward = FORWARD[word]
        forward = forward.capitalize() if name[start].isupper() else forward
        whole = name[:start] + forward + name[start + len(word) :]
        shorter = (whole.removesuffix(suffix) for suffix in SUFFIXES)
        bare = name[:start].rstrip("_") or name[start + len(word) :].lstrip("_")  # relu beside relu_backward
        for candidate in (whole, *shorter, *(f"{whole}{suffix}" for suffix in SUFFIXES), bare):
            if candidate != name and callable(getattr(module, candidate, None)):
                return getattr(module, candidate)
    return None


def _is_loss(name: str, target: Any) -> bool:
    """softmax_loss(x, y) -> (loss, dx); one with parameters or a penalty is a network."""
    names = [parameter.lower() for parameter in _parameters(target)]
    rest = names[2:] in ([], ["mask"], ["mask", "verbose"])
    return "loss" in name.lower() and len(names) > 1 and names[1] in LABELS and rest


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def check(name: str, module: ModuleType, seed: int = 0, objective: str = "auto") -> Report:
    """Checks one layer, or, without a name, every layer of a module.

    objective: "auto", or "report", which holds every gradient against the operation that the layer's name says.
    """
    strict = objective == "report"
    return check_layer(name, module, seed, strict=strict) if name else check_module(module, seed, strict=strict)


def check_module(module: ModuleType, seed: int = 0, *, name: str = "", strict: bool = False) -> ModuleReport:
    """Checks every layer of a module. Raises UserError if it has none."""
    name = name or module.__name__.removeprefix("_target_package.")
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    names = [n for n in own if is_layer(n, module) and _backward(n, module) in (None, n)]
    if not names:
        raise UserError(
            f"{name} has no layer: write FILE.py:Name for a whole network, or put name_forward beside "
            "name_backward"
        )
    reports, refused = [], []
    for layer in names:
        try:
            reports.append(check_layer(layer, module, seed, strict=strict))
        except Exception as error:  # whatever one of them does, the others are to be checked
            refused.append((layer, where(error, getattr(module, layer))))
    if not reports:
        raise UserError(f"no layer of {name} can be checked: {refused[0][0]}: {refused[0][1]}")
    return _together(name, reports, refused)


def check_layer(name: str, module: ModuleType, seed: int = 0, *, strict: bool = False) -> Report:
    """Checks one layer. Raises UserError if it cannot be called."""
    target = getattr(module, name)
    with quiet():
        if inspect.isclass(target):
            return judge(name, layer_of(target), seed, strict=strict)
        backward = _backward(name, module)
        if backward is None:
            return judge(name, _Scores(name, target), seed, strict=strict)
        layer = _Pair(backward, forward_of(backward, module), getattr(module, backward))
        return judge(name, layer, seed, strict=strict)


class _Pair(Layer):
    """forward(...) -> (out, cache) and backward(dout, cache)."""

    def __init__(self, name: str, forward: Any, backward: Any) -> None:
        self.name, self._forward, self._backward = name, forward, backward
        self.operation = operations.named(name)
        self.parameters = list(_parameters(forward).values())

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Random leaves, and the arguments that have no gradient."""
        return operations.arguments(self.operation, self.parameters, rng, number, layout)

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """The output, several of them end to end; and the cache, or what stands for it."""
        given = {**leaves, **operations.fresh(options)}
        answer = self._forward(*(given[p.name] for p in self.parameters if p.name in given))
        self._options = options
        if not isinstance(answer, (tuple, list)):
            outputs, cache = [answer], None
        else:
            outputs, cache = list(answer[:-1]), answer[-1]
        if any(output is None for output in outputs):
            raise UserError(f"{self._forward.__name__} returns nothing: it is not written yet")
        arrays = [np.asarray(plain(output), np.float64) for output in outputs]
        self._shapes = [array.shape for array in arrays]
        out = arrays[0] if len(arrays) == 1 else np.concatenate([array.ravel() for array in arrays])
        return out, (cache, {**given, "out": out, "a": out, "output": out})

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients by the names of the leaves."""
        saved, given = cache
        names = list(_parameters(self._backward))
        upstream = self._upstream(dout, len(names) - 1)
        rest = names[len(upstream) :]
        known = {name.lower(): value for name, value in given.items()}
        if saved is not None and (len(rest) == 1 or rest[0].lower() not in known):
            more = [known[name.lower()] for name in rest[1:] if name.lower() in known]
            return matched(self._backward(*upstream, saved, *more), leaves)
        values = [known.get(name.lower(), next(iter(leaves.values()))) for name in rest]
        return matched(self._backward(*upstream, *values), leaves)

    def in_test_mode(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """The options of test mode after a call in training, if the backward pass asks for the mode."""
        given = operations.fresh(options)
        tested = operations.in_test_mode(given)
        if tested is None or not _asks_for_the_mode(self._backward):
            return None
        self._forward(*({**leaves, **given}[p.name] for p in self.parameters if p.name in (*leaves, *given)))
        return operations.in_test_mode(given)

    def _upstream(self, dout: Array, most: int) -> list[Array]:
        if len(self._shapes) == 1 or most < len(self._shapes):
            return [dout]
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(dout, ends), self._shapes, strict=True)]


def _asks_for_the_mode(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    words = (*code.co_consts, *code.co_names, *code.co_varnames) if code else ()
    return any(word in ("mode", "train", "training", "is_training") for word in words if isinstance(word, str))


class _Scores(Layer):
    """loss(x, y) -> (loss, dx)."""

    upstream = False

    def __init__(self, name: str, target: Any) -> None:
        self.name, self._target = name, target
        self.operation = operations.named(name)
        self.parameters = list(_parameters(target).values())

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Scores and labels."""
        return operations.arguments(self.operation, self.parameters, rng, number, layout)

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """The loss, and its gradient as the cache."""
        answer = self._target(*leaves.values(), *operations.fresh(options).values())
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise UserError("it must return (loss, dx)")
        if answer[0] is None:
            raise UserError("it returns no loss: it is not written yet")
        return np.asarray(plain(answer[0]), np.float64).reshape(()), answer[1]

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """What came with the loss."""
        return matched(cache, leaves)


def matched(answer: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
    """Gradients by the names of the leaves, from a dict (dx, dw) or in the order of the forward's arguments."""
    if isinstance(answer, Mapping):
        mine = {name.lower().replace("_", ""): value for name, value in answer.items()}
        keys = {leaf: (f"d{leaf}".lower().replace("_", ""), leaf.lower().replace("_", "")) for leaf in leaves}
        found = {leaf: next((mine[k] for k in keys[leaf] if k in mine), None) for leaf in leaves}
    else:
        values = list(answer) if isinstance(answer, (tuple, list)) else [answer]
        values += [None] * (len(leaves) - len(values))
        found = dict(zip(leaves, values, strict=False))
    if all(value is None for value in found.values()):
        raise UserError("its backward pass returns nothing: it is not written yet")
    return {leaf: np.array(plain(value), np.float64) for leaf, value in found.items() if value is not None}
