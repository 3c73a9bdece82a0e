"""Single layers: `affine_backward` beside its `affine_forward`, `softmax_loss(x, y)`, layer objects.

`forward(x, ..., options) -> (out, cache)` and `backward(dout, cache) -> gradients`, in the order of the arguments,
as in CS231n's layers.py. The forward pass is compared with the operation that the name says (`operations`), where
that is known; the gradient must be that of sum(out * dout) for the candidate's own forward pass.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import operations, vjp
from mlp_jax.gradcheck.answers import plain
from mlp_jax.gradcheck.candidates import quiet, where
from mlp_jax.gradcheck.layer_objects import LABELS, Layer, is_layer_class, layer_of
from mlp_jax.gradcheck.report import Finding, Report
from mlp_jax.gradcheck.vjp import Array, Trial
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
        return "\n\n".join([heading, table(["layer", "verdict", ""], rows), *details])


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


def check(name: str, module: ModuleType, seed: int = 0) -> Report:
    """Checks one layer, or, without a name, every layer of a module."""
    return check_layer(name, module, seed) if name else check_module(module, seed)


def check_module(module: ModuleType, seed: int = 0, *, name: str = "") -> ModuleReport:
    """Checks every layer of a module. Raises UserError if it has none."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    names = [n for n in own if is_layer(n, module) and _backward(n, module) in (None, n)]
    if not names:
        raise UserError(
            f"{name or module.__name__} has no layer: write FILE.py:Name for a whole network, or put "
            "name_forward beside name_backward"
        )
    reports, refused = [], []
    for layer in names:
        try:
            reports.append(check_layer(layer, module, seed))
        except Exception as error:  # whatever one of them does, the others are to be checked
            refused.append((layer, where(error, getattr(module, layer))))
    if not reports:
        raise UserError(f"no layer of {name or module.__name__} can be checked: {refused[0][0]}: {refused[0][1]}")
    return _together(name or module.__name__, reports, refused)


def check_layer(name: str, module: ModuleType, seed: int = 0) -> Report:
    """Checks one layer. Raises UserError if it cannot be called."""
    target = getattr(module, name)
    with quiet():
        if inspect.isclass(target):
            return _judge(name, layer_of(target), seed)
        backward = _backward(name, module)
        if backward is None:
            return _judge(name, _Scores(name, target), seed)
        layer = _Pair(backward, forward_of(backward, module), getattr(module, backward))
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

    def _upstream(self, dout: Array, most: int) -> list[Array]:
        if len(self._shapes) == 1 or most < len(self._shapes):
            return [dout]
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(dout, ends), self._shapes, strict=True)]


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


def _judge(name: str, layer: Layer, seed: int) -> Report:
    layout = _layout(layer, seed)
    asked, problems, errors = list[_Asked](), dict[str, dict[str, None]](), list[str]()
    for number in range(len(operations.SIZES)):
        rng = np.random.default_rng(seed + 100 * number)
        try:
            leaves, options = layer.drawn(rng, number, layout)
            one, found = _ask(layer, leaves, options, rng, layout)
        except UserError:
            raise
        except Exception as error:
            errors.append(where(error, layer.source))
            continue
        asked.append(one)
        for code, detail in found:
            problems.setdefault(code, {})[detail] = None
    if not asked:
        raise UserError(errors[0])
    for code in _at_extremes(layer, seed, layout):
        problems[code] = {"": None}
    return _told(name, layer, asked, problems, errors, layout)


def _at_extremes(layer: Layer, seed: int, layout: int) -> list[str]:
    """What happens at scores of thousands, or at pre-activations of exactly 0."""
    leaves, options = layer.drawn(np.random.default_rng(seed), 0, layout)
    extremes = operations.extremes(layer.operation, leaves)
    if extremes is None:
        return []
    try:
        output, cache = layer.forward({name: value.copy() for name, value in extremes.items()}, options)
        found = layer.backward(np.ones_like(output), cache, extremes)
    except Exception:  # an overflow that Python's own floats raise
        return ["softmax_unstable"] if layer.operation.endswith("loss") else []
    gradient, x = (next(iter(values.values())) for values in (found, extremes))
    finite = np.isfinite(output).all() and np.isfinite(gradient).all()
    if layer.operation.endswith("loss"):
        return [] if finite else ["softmax_unstable"]
    if not finite:
        return ["non_finite"]
    return ["mask_at_zero"] if gradient.shape == x.shape and (gradient[x == 0] != 0).any() else []


def _layout(layer: Layer, seed: int) -> int:
    """The first arrangement of shapes that the forward pass takes."""
    first = ""
    for layout in range(operations.LAYOUTS):
        try:
            leaves, options = layer.drawn(np.random.default_rng(seed), 0, layout)
            output, _ = layer.forward({k: v.copy() for k, v in leaves.items()}, options)
        except UserError:
            raise
        except Exception as error:
            first = first or where(error, layer.source)
            continue
        if output.size and operations.plausible(layer.operation, leaves, output, layout):
            return layout
    raise UserError(f"it stops in every shape that was tried: {first or 'another output was expected'}")


class _Asked(NamedTuple):
    """A trial without its true gradients; the operation's own output and vjp; the candidate's own loss."""

    trial: Trial
    truth: tuple[Array, Callable[[Array], list[Array]]] | None
    value: Callable[[str, Array], float]


def _ask(layer: Layer, leaves: Any, options: Any, rng: Any, layout: int) -> tuple[_Asked, list[tuple[str, str]]]:
    problems: list[tuple[str, str]] = []
    answers, outputs = [], []
    dout = np.ones(())
    for call in range(2):
        mine = {name: value.copy() for name, value in leaves.items()}
        _seed(0)
        output, cache = layer.forward(mine, options)
        output = output.copy()
        if not call:
            dout = rng.normal(size=output.shape) if layer.upstream else np.ones(output.shape)
        upstream = dout.copy()
        _seed(1)
        answers.append(layer.backward(upstream, cache, leaves))
        outputs.append(output)
        changed = [name for name in leaves if not np.array_equal(mine[name], leaves[name])]
        problems += [("mutates_input", name) for name in changed]
        problems += [("upstream_changed", "dout")] if not np.array_equal(upstream, dout) else []
    repeats = np.array_equal(outputs[0], outputs[1], equal_nan=True)
    if not repeats and layer.operation != "dropout":
        raise UserError("its forward pass gives another output for the same inputs: fix its seed")
    state = any(n in answers[1] and vjp.distance(answers[1][n], answers[0][n]) > 1e-9 for n in answers[0])
    problems += [("state_between_calls", "")] if state and repeats else []

    def value(name: str, at: Array) -> float:
        _seed(0)
        out, _ = layer.forward({**{k: v.copy() for k, v in leaves.items()}, name: at.copy()}, options)
        return float((out * dout).sum())

    shapes = ", ".join(f"{name} {leaf.shape}" for name, leaf in leaves.items())
    sizes = operations.sizes(leaves, outputs[0], layout)
    tolerance = vjp.TOLERANCE if layer.upstream else LOSS_TOLERANCE
    if vjp.looks_single([outputs[0], *answers[0].values()]) and layer.operation not in ("relu", "embedding"):
        tolerance = vjp.SINGLE
    trial = Trial(leaves, outputs[0], dout, answers[0], {}, sizes, shapes, tolerance)
    return _Asked(
        trial, operations.truth(layer.operation, leaves, {k: v for k, v in options.items() if k}, layout), value
    ), problems


def _seed(number: int) -> None:
    np.random.seed(number)  # noqa: NPY002  # the candidate's masks come from it


def _own(one: _Asked) -> Trial:
    """With the gradients of the candidate's own forward pass."""
    leaves = one.trial.inputs
    single = one.trial.tolerance == vjp.SINGLE
    true = {name: vjp.differences(partial(one.value, name), leaf, single=single) for name, leaf in leaves.items()}
    return one.trial._replace(true=true)


def _named(one: _Asked) -> Trial:
    """With the gradients of the operation that the name says."""
    assert one.truth is not None
    true = dict(zip(one.trial.inputs, one.truth[1](one.trial.dout), strict=True))
    return one.trial._replace(true=true)


def _right(trials: Sequence[Trial]) -> bool:
    return all(
        leaf in t.found and t.found[leaf].shape == t.true[leaf].shape and vjp.off(leaf, t) <= t.tolerance
        for t in trials
        for leaf in t.true
    )


def _dropped(one: _Asked) -> Trial:
    """Dropout multiplies by its mask, which the output tells."""
    name = next(iter(one.trial.inputs))
    return one.trial._replace(true={name: one.trial.dout * operations.mask_of(one.trial)})


LOSS_TOLERANCE = 1e-4  # log(psi + 1e-7) is as good
OWN = "central differences of its own forward pass in float64"
NAMED = "jax.vjp of the operation in float64"


def _told(
    name: str, layer: Layer, asked: Sequence[_Asked], problems: Any, errors: list[str], layout: int
) -> Report:
    trials, against, findings = _true(layer, asked)
    notes = [f"in another shape it stops: {error}" for error in errors[:1]]
    for code in ("mutates_input", "state_between_calls", "softmax_unstable", "mask_at_zero", "non_finite"):
        if code in problems:
            detail = ", ".join(filter(None, problems[code]))
            findings.append(vjp.finding(code, "-", (), f"it changes {detail}" if detail else ""))
    if "upstream_changed" in problems:
        findings.append(
            vjp.finding("mutates_input", "-", (), "it changes dout, which others may need", remark=True)
        )
    leaf = next(iter(trials[0].inputs))
    if layer.operation == "dropout" and not _right(trials) and operations.fresh_mask(leaf, trials):
        findings.append(vjp.finding("fresh_mask", "of the chain rule", (leaf,)))
        trials = [t._replace(found={**t.found, leaf: t.true[leaf]}) for t in trials]
    if layout == operations.COLUMNS and not _right(trials):
        shared = [_undivided(t) for t in trials]
        if _right(shared):
            trials = shared
            notes.append(
                "the gradients of the parameters are divided by the number of examples, as is right where dout is "
                "the derivative of each example's own loss"
            )
    formulas = dict(zip(trials[0].inputs, operations.FORMULAS.get(layer.operation, {}).values(), strict=False))
    alternatives = partial(operations.alternatives, layer.operation)
    return vjp.judged(
        name, trials, formulas=formulas, alternatives=alternatives, findings=findings, notes=notes, against=against
    )


def _undivided(trial: Trial) -> Trial:
    first = next(iter(trial.inputs))
    found = {k: v if k == first else v * trial.sizes["N"] for k, v in trial.found.items()}
    return trial._replace(found=found)


def _true(layer: Layer, asked: Sequence[_Asked]) -> tuple[list[Trial], str, list[Finding]]:
    """The trials with their true gradients, what those are, and what is to be told of the forward pass.

    A forward pass that is not the operation's is a mistake, unless the backward pass belongs to it: then it is
    another operation, which is a remark.
    """
    if layer.operation == "dropout":
        return [_dropped(one) for one in asked], "the mask that the output tells", []
    known = [one for one in asked if one.truth is not None]
    if not known:
        return [_own(one) for one in asked], OWN, []
    pairs = [(one.trial, one.truth[0]) for one in known if one.truth is not None]
    if all(vjp.distance(trial.output, true) <= trial.tolerance for trial, true in pairs):
        return [_named(one) for one in known], NAMED, []
    own = [_own(one) for one in asked]
    detail = operations.describe(layer.operation, list(zip(own, (true for _, true in pairs), strict=True)))
    if not _right(own) and all(trial.output.shape == true.shape for trial, true in pairs):
        named = [_named(one) for one in known]
        if _right(named):
            return named, NAMED, [vjp.finding("forward_mismatch", "of the forward pass", ("out",), detail)]
    right = _right(own)
    code = "bn_eps" if right and detail.startswith("eps") else "forward_mismatch"
    return own, OWN, [vjp.finding(code, "of the forward pass", ("out",), detail, remark=right)]
