"""Single layers: `affine_backward` beside its `affine_forward`, `softmax_loss(x, y)`, layer objects.

`forward(x, ..., options) -> (out, cache)` and `backward(dout, cache) -> gradients`, in the order of the arguments,
as in CS231n's layers.py. The forward pass is compared with the operation that the name says (`operations`), where
that is known; the gradient must be that of sum(out * dout) for the candidate's own forward pass.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from mlp_jax import results
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import operations, vjp
from mlp_jax.gradcheck.answers import plain
from mlp_jax.gradcheck.candidates import quiet, where
from mlp_jax.gradcheck.layer_objects import Layer, is_layer_class, layer_of
from mlp_jax.gradcheck.report import Report
from mlp_jax.gradcheck.vjp import Array, Trial

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
        return "\n\n".join([heading, results.table(["layer", "verdict", ""], rows), *details])


def _together(name: str, layers: Sequence[Report], refused: Sequence[tuple[str, str]]) -> ModuleReport:
    leaves = [replace(row, leaf=f"{r.name}.{row.leaf}") for r in layers for row in r.leaves]
    found = [
        f._replace(leaves=tuple(f"{r.name}.{leaf}" for leaf in f.leaves) or (r.name,))
        for r in layers
        for f in r.findings
    ]
    notes = [f"{layer} is not checked: {why}" for layer, why in refused]
    cases = sum(r.cases for r in layers)
    return ModuleReport(
        name, tuple(leaves), tuple(found), tuple(notes), cases, layers=tuple(layers), refused=tuple(refused)
    )


def is_layer(name: str, module: ModuleType) -> bool:
    """Whether a name is one layer's: a backward beside its forward, a loss of scores, or a layer's class."""
    target = getattr(module, name, None)
    if inspect.isclass(target):
        return is_layer_class(target)
    return callable(target) and (forward_of(name, module) is not None or _is_loss(name, target))


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
    names = list(_parameters(target))
    return "loss" in name.lower() and len(names) == 2 and names[1].lower() in operations.LABELS


def _parameters(target: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def check(name: str, module: ModuleType, seed: int = 0) -> Report:
    """Checks one layer, or, without a name, every layer of a module."""
    return check_layer(name, module, seed) if name else check_module(module, seed)


def check_module(module: ModuleType, seed: int = 0, *, name: str = "") -> ModuleReport:
    """Checks every layer of a module. Raises UserError if it has none."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    names = [n for n in own if is_layer(n, module)]
    if not names:
        raise UserError(
            f"{name or module.__name__} has no layer: write FILE.py:Name for a whole network, or put "
            "name_forward beside name_backward"
        )
    reports, refused = [], []
    for layer in names:
        try:
            reports.append(check_layer(layer, module, seed))
        except UserError as error:
            refused.append((layer, str(error)))
    if not reports:
        raise UserError(f"no layer of {name or module.__name__} can be checked: {refused[0][0]}: {refused[0][1]}")
    return _together(name or module.__name__, reports, refused)


def check_layer(name: str, module: ModuleType, seed: int = 0) -> Report:
    """Checks one layer. Raises UserError if it cannot be called."""
    target = getattr(module, name)
    with quiet():
        if inspect.isclass(target):
            return _judge(name, layer_of(target), seed)
        forward = forward_of(name, module)
        layer = _Pair(name, forward, target) if forward is not None else _Scores(name, target)
        return _judge(name, layer, seed)


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
        """The output, and the cache."""
        given = {**leaves, **operations.fresh(options)}
        names = [p.name for p in self.parameters if p.name in given]
        answer = self._forward(*(given[name] for name in names))
        if isinstance(answer, (tuple, list)) and len(answer) == 2:
            return np.asarray(plain(answer[0]), np.float64), answer[1]
        if isinstance(answer, (tuple, list)) or answer is None:
            raise UserError("forward must return (out, cache)")
        given_first = next(iter(leaves.values()))
        return np.asarray(plain(answer), np.float64), given_first

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients by the names of the leaves."""
        return matched(self._backward(dout, cache), leaves)


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
    return {leaf: np.array(plain(value), np.float64) for leaf, value in found.items() if value is not None}


def _judge(name: str, layer: Layer, seed: int) -> Report:
    layout = _layout(layer, seed)
    trials, problems, true_outputs = [], dict[str, dict[str, None]](), []
    errors = []
    for number in range(4):
        rng = np.random.default_rng(seed + 100 * number)
        leaves, options = layer.drawn(rng, number, layout)
        try:
            trial, found = _trial(layer, leaves, options, rng)
        except UserError:
            raise
        except Exception as error:
            errors.append(where(error, layer.source))
            continue
        trials.append(trial)
        for code, detail in found:
            problems.setdefault(code, {})[detail] = None
        true_outputs.append(operations.output(layer.operation, leaves, options))
    if not trials:
        raise UserError(errors[0])
    return _told(name, layer, trials, problems, true_outputs, errors)


def _layout(layer: Layer, seed: int) -> int:
    """The first arrangement of shapes that the forward pass takes."""
    first = ""
    for layout in range(operations.LAYOUTS):
        leaves, options = layer.drawn(np.random.default_rng(seed), 0, layout)
        try:
            output, _ = layer.forward({k: v.copy() for k, v in leaves.items()}, options)
        except UserError:
            raise
        except Exception as error:
            first = first or where(error, layer.source)
            continue
        if output.size and operations.plausible(layer.operation, leaves, output):
            return layout
    raise UserError(f"its forward pass takes none of the shapes tried: {first or 'another output was expected'}")


def _trial(layer: Layer, leaves: Any, options: Any, rng: Any) -> tuple[Trial, list[tuple[str, str]]]:
    problems: list[tuple[str, str]] = []
    answers = []
    dout = np.ones(())
    for call in range(2):
        mine = {name: value.copy() for name, value in leaves.items()}
        _seed(0)
        output, cache = layer.forward(mine, options)
        if not call:
            dout = rng.normal(size=output.shape) if layer.upstream else np.ones(output.shape)
        upstream = dout.copy()
        _seed(1)
        answers.append(layer.backward(upstream, cache, leaves))
        changed = [name for name in leaves if not np.array_equal(mine[name], leaves[name])]
        problems += [("mutates_input", name) for name in changed]
        problems += [("upstream_changed", "dout")] if not np.array_equal(upstream, dout) else []
    first, second = answers
    state = any(n in second and vjp.distance(second[n], first[n]) > 1e-9 for n in first)
    problems += [("state_between_calls", "")] if state else []

    def value(name: str, at: Array) -> float:
        _seed(0)
        out, _ = layer.forward({**{k: v.copy() for k, v in leaves.items()}, name: at.copy()}, options)
        return float((out * dout).sum())

    true = {name: vjp.differences(partial(value, name), leaf) for name, leaf in leaves.items()}
    shapes = ", ".join(f"{name} {leaf.shape}" for name, leaf in leaves.items())
    sizes = operations.sizes(leaves, output)
    return Trial(leaves, output, dout, first, true, sizes, shapes), problems


def _seed(number: int) -> None:
    np.random.seed(number)  # noqa: NPY002  # the candidate's masks come from it


def _told(
    name: str, layer: Layer, trials: Sequence[Trial], problems: Any, true_outputs: Any, errors: list[str]
) -> Report:
    findings, notes = [], []
    known = [(t, true) for t, true in zip(trials, true_outputs, strict=True) if true is not None]
    wrong = [t for t, true in known if vjp.distance(t.output, true) > 1e-6]
    if wrong and len(known):
        detail = operations.describe(layer.operation, [(t, true) for t, true in known])
        findings.append(vjp.finding("forward_mismatch", "of the forward pass", ("out",), detail))
        notes.append("the gradients below are compared with those of your own forward pass")
    for code in ("mutates_input", "state_between_calls"):
        if code in problems:
            detail = ", ".join(filter(None, problems[code]))
            findings.append(vjp.finding(code, "-", (), f"it changes {detail}" if detail else ""))
    if "upstream_changed" in problems:
        findings.append(
            vjp.finding("mutates_input", "-", (), "it changes dout, which others may need", remark=True)
        )
    if errors:
        notes.append(f"in another shape it stops: {errors[0]}")
    formulas = operations.FORMULAS.get(layer.operation, {})
    return vjp.judged(
        name, trials, formulas=_renamed(formulas, trials[0]), alternatives=_alternatives(layer.operation),
        findings=findings, notes=notes, against="central differences of its own forward pass in float64",
    )  # fmt: skip


def _renamed(formulas: Mapping[str, str], trial: Trial) -> dict[str, str]:
    return dict(zip(trial.inputs, formulas.values(), strict=False))


def _alternatives(operation: str) -> Callable[[str, Trial], Iterator[tuple[str, str, Array]]]:
    def alternatives(leaf: str, trial: Trial) -> Iterator[tuple[str, str, Array]]:
        yield from operations.alternatives(operation, leaf, trial)

    return alternatives
