"""One layer is asked, and judged by the operation that its name says or by its own forward pass."""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import layer_network, operations, references
from mlp_jax.gradcheck.candidates import where
from mlp_jax.gradcheck.report import Finding, Report
from mlp_jax.gradcheck.trials import (
    SINGLE,
    TOLERANCE,
    Array,
    Trial,
    differences,
    distance,
    finding,
    judged,
    looks_single,
    off,
)

LOSS_TOLERANCE = 1e-4  # log(psi + 1e-7) is as good
OWN = "central differences of its own forward pass in float64"
NAMED = "jax.vjp of the operation in float64"
SAID = ("mutates_input", "state_between_calls", "softmax_unstable", "mask_at_zero", "pool_ties", "non_finite")
Problems = list[tuple[str, str]]  # codes of how the candidate behaves, and details


class Layer:
    """A layer that can be asked: a pair of functions, a loss, or an object."""

    name = ""
    operation = ""
    mistakes_of = ""  # an operation whose mistakes it may have, where the truth is its own forward pass
    upstream = True
    source: Any = None

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Random leaves by name, and the arguments that have no gradient."""
        raise NotImplementedError

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """The output, and what backward needs."""
        raise NotImplementedError

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients by the names of the leaves."""
        raise NotImplementedError

    def penalties(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Array]:
        """By leaf, the gradient of what a regulariser of the layer's own adds to the loss."""
        return {}

    def in_test_mode(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """The options that make it test mode; None if the backward pass has none."""
        return None


class Asked(NamedTuple):
    """A trial without its true gradients; the operation's own output and gradients; the candidate's own loss."""

    trial: Trial
    truth: tuple[Array, list[Array]] | None
    value: Callable[[str, Array], float]


def judge(name: str, layer: Layer, seed: int, *, strict: bool = False) -> Report:
    """The report on a layer.

    strict: the gradient is held against the operation that the name says, whatever the forward pass computes.
    Raises UserError if the layer cannot be asked.
    """
    layout = _layout(layer, seed)
    asked, problems, errors = list[Asked](), list[tuple[str, str]](), list[str]()
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
        problems += found
    if not asked:
        raise UserError(errors[0])
    problems += [(code, "") for code in _at_extremes(layer, seed, layout)]
    report = _told(name, layer, asked, problems, layout, strict=strict)
    notes = [f"in another shape it stops: {error}" for error in errors[:1]]
    if layer.operation in operations.PICTURES and layout == operations.OUT_IN:
        notes.append("it was given square pictures, because it does not take others")
    return replace(report, notes=(*notes, *report.notes))


def _layout(layer: Layer, seed: int) -> int:
    """The first arrangement of shapes that both passes take, or, if none is, the forward pass."""
    first, forward = "", None
    for layout in range(operations.LAYOUTS):
        try:
            leaves, options = layer.drawn(np.random.default_rng(seed), 0, layout)
            output, cache = layer.forward(_copies(leaves), options)
            if not output.size or not operations.plausible(layer.operation, leaves, output, layout):
                continue
            forward = layout if forward is None else forward
            layer.backward(np.ones_like(output), cache, leaves)
        except UserError:
            raise
        except Exception as error:
            first = first or where(error, layer.source)
            continue
        return layout
    if forward is not None:
        return forward
    first = first or "another output was expected"
    hint = ": where Python 2 divided whole numbers with /, Python 3 does with //" * ("'float' object" in first)
    raise UserError(f"it stops in every shape that was tried: {first}{hint}")


def _copies(leaves: Mapping[str, Array]) -> dict[str, Array]:
    return {name: value.copy() for name, value in leaves.items()}


@contextlib.contextmanager
def _seeded(number: int) -> Iterator[None]:
    """Masks that a candidate draws without a seed of its own are the same every time."""
    np.random.seed(number)  # noqa: NPY002
    random.seed(number)
    made = np.random.default_rng
    np.random.default_rng = lambda seed=None: made(number if seed is None else seed)
    try:
        yield
    finally:
        np.random.default_rng = made


def _ask(layer: Layer, leaves: Any, options: Any, rng: Any, layout: int) -> tuple[Asked, Problems]:
    problems, answers, outputs = list[tuple[str, str]](), list[dict[str, Array]](), list[Array]()
    dout = np.ones(())
    for call in range(2):
        mine = _copies(leaves)
        with _seeded(0):
            output, cache = layer.forward(mine, options)
        outputs.append(output.copy())
        if not call:
            dout = rng.normal(size=output.shape) if layer.upstream else np.ones(output.shape)
        upstream = dout.copy()
        with _seeded(1):
            answers.append(layer.backward(upstream, cache, leaves))
        problems += [("mutates_input", n) for n in leaves if not np.array_equal(mine[n], leaves[n])]
        problems += [("upstream_changed", "dout")] if not np.array_equal(upstream, dout) else []
    repeats = np.array_equal(outputs[0], outputs[1], equal_nan=True)
    if not repeats and layer.operation != "dropout":
        raise UserError("its forward pass gives another output for the same inputs: fix its seed")
    state = any(n in answers[1] and distance(answers[1][n], answers[0][n]) > 1e-9 for n in answers[0])
    problems += [("state_between_calls", "")] if state and repeats else []
    value = partial(_value, layer, leaves, options, dout)
    problems += [("test_mode", name) for name in _wrong_in_test_mode(layer, leaves, options, rng)]
    shapes = ", ".join(f"{name} {leaf.shape}" for name, leaf in leaves.items())
    sizes = operations.sizes(leaves, outputs[0], layout)
    tolerance = TOLERANCE if layer.upstream else LOSS_TOLERANCE
    if looks_single([outputs[0], *answers[0].values()]) and layer.operation not in ("relu", "embedding"):
        tolerance = SINGLE
    named = {key: option for key, option in options.items() if key}
    trial = Trial(
        leaves, outputs[0], dout, answers[0], {}, sizes, shapes, tolerance, named, layer.penalties(leaves, options)
    )
    return Asked(trial, references.truth(layer.operation, leaves, named, layout, dout), value), problems


def _value(layer: Layer, leaves: Any, options: Any, dout: Array, name: str, at: Array) -> float:
    """sum(out * dout), with one leaf moved."""
    with _seeded(0):
        out, _ = layer.forward({**_copies(leaves), name: at.copy()}, options)
    return float((out * dout).sum())


def _wrong_in_test_mode(layer: Layer, leaves: Any, options: Any, rng: Any) -> list[str]:
    """The leaves that are wrong in test mode, where the backward pass knows that there is one."""
    try:
        tested = layer.in_test_mode(_copies(leaves), options)
        if tested is None:
            return []
        out, cache = layer.forward(_copies(leaves), tested)
        dout = rng.normal(size=out.shape)
        found = layer.backward(dout.copy(), cache, leaves)
    except Exception:  # it has no such mode, or keeps nothing for it
        return []
    true = {n: differences(partial(_value, layer, leaves, tested, dout, n), leaf) for n, leaf in leaves.items()}
    trial = Trial(leaves, out, dout, found, true, {}, "")
    return [name for name in true if not _is_right(name, trial)]


def _at_extremes(layer: Layer, seed: int, layout: int) -> list[str]:
    """What happens at scores of thousands, at pre-activations of exactly 0, or at equal maxima."""
    leaves, options = layer.drawn(np.random.default_rng(seed), 0, layout)
    extremes = operations.extremes(layer.operation, leaves)
    if extremes is None:
        return []
    try:
        output, cache = layer.forward(_copies(extremes), options)
        found = layer.backward(np.ones_like(output), cache, extremes)
    except Exception:  # an overflow that Python's own floats raise
        return ["softmax_unstable"] if layer.operation.endswith("loss") else []
    gradient, x = (next(iter(values.values())) for values in (found, extremes))
    finite = np.isfinite(output).all() and np.isfinite(gradient).all()
    if layer.operation.endswith("loss"):
        return [] if finite else ["softmax_unstable"]
    if not finite:
        return ["non_finite"]
    if layer.operation == "pool":
        return ["pool_ties"] if gradient.sum() > output.size + 1e-6 else []
    return ["mask_at_zero"] if gradient.shape == x.shape and (gradient[x == 0] != 0).any() else []


def _own(one: Asked) -> Trial:
    """With the gradients of the candidate's own forward pass."""
    leaves, single = one.trial.inputs, one.trial.tolerance == SINGLE
    true = {name: differences(partial(one.value, name), leaf, single=single) for name, leaf in leaves.items()}
    return _penalised(one.trial, true)


def _penalised(trial: Trial, true: dict[str, Array]) -> Trial:
    return trial._replace(true={name: value + trial.penalty.get(name, 0) for name, value in true.items()})


def _named(one: Asked) -> Trial:
    """With the gradients of the operation that the name says."""
    assert one.truth is not None
    return _penalised(one.trial, dict(zip(one.trial.inputs, one.truth[1], strict=True)))


def _dropped(one: Asked) -> Trial:
    """Dropout multiplies by its mask, which the output tells."""
    name = next(iter(one.trial.inputs))
    return one.trial._replace(true={name: one.trial.dout * references.mask_of(one.trial)})


def _is_right(leaf: str, trial: Trial) -> bool:
    found = trial.found.get(leaf)
    return found is not None and found.shape == trial.true[leaf].shape and off(leaf, trial) <= trial.tolerance


def _right(trials: Sequence[Trial]) -> bool:
    return all(_is_right(leaf, trial) for trial in trials for leaf in trial.true)


def _undivided(trial: Trial) -> Trial:
    first = next(iter(trial.inputs))
    found = {k: v if k == first else v * trial.sizes["N"] for k, v in trial.found.items()}
    return trial._replace(found=found)


def _behaviour(problems: Problems) -> list[Finding]:
    """The findings on how a candidate behaves."""
    details: dict[str, dict[str, None]] = {}
    for code, detail in problems:
        details.setdefault(code, {})[detail] = None
    findings = []
    for code in SAID:
        if code in details:
            detail = ", ".join(filter(None, details[code]))
            findings.append(finding(code, "-", (), f"it changes {detail}" if detail else ""))
    if "test_mode" in details:
        findings.append(finding("test_mode", "-", tuple(details["test_mode"])))
    if "upstream_changed" in details:
        findings.append(finding("mutates_input", "-", (), "it changes dout, which others may need", remark=True))
    return findings


def _told(
    name: str, layer: Layer, asked: Sequence[Asked], problems: Problems, layout: int, *, strict: bool
) -> Report:
    trials, against, findings = _true(layer, asked, strict=strict)
    findings += _behaviour(problems)
    notes = []
    leaf = next(iter(trials[0].inputs))
    if layer.operation == "dropout" and not _right(trials) and references.fresh_mask(leaf, trials):
        findings.append(finding("fresh_mask", "of the chain rule", (leaf,)))
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
    guesses = partial(layer_network.guesses, layer.name, layer.mistakes_of or layer.operation, layout)
    return judged(
        name, trials, formulas=formulas, guesses=guesses, findings=findings, notes=notes, against=against
    )


def _true(layer: Layer, asked: Sequence[Asked], *, strict: bool) -> tuple[list[Trial], str, list[Finding]]:
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
    if all(distance(trial.output, true) <= trial.tolerance for trial, true in pairs):
        return [_named(one) for one in known], NAMED, []
    own = [_own(one) for one in asked]
    belongs = _right(own)
    detail = references.describe(layer.operation, [(t, true) for t, (_, true) in zip(own, pairs, strict=False)])
    if (strict or not belongs) and all(trial.output.shape == true.shape for trial, true in pairs):
        named = [_named(one) for one in known]
        if strict or _right(named):
            return named, NAMED, [finding("forward_mismatch", "of the forward pass", ("out",), detail)]
    remark = belongs and not strict
    code = "bn_eps" if remark and detail.startswith("eps") else "forward_mismatch"
    return own, OWN, [finding(code, "of the forward pass", ("out",), detail, remark=remark)]
