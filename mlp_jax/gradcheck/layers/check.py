"""One layer is asked, and judged by the operation that its name says or by its own forward pass."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import by_values, derivatives, elementwise, operations, references, shapes, windows
from mlp_jax.gradcheck.layers.arrangements import ASKED_BY_VALUE, layout_of
from mlp_jax.gradcheck.layers.asking import Asked, Layer, Problems, ask, at_extremes
from mlp_jax.gradcheck.layers.forward import describe
from mlp_jax.gradcheck.layers.network import LayerNetwork, network_of
from mlp_jax.gradcheck.layers.report import finding, judged
from mlp_jax.gradcheck.layers.trials import SINGLE, Array, Trial, differences, distance, is_right
from mlp_jax.gradcheck.reading.running import where
from mlp_jax.gradcheck.report import Finding, Report

OWN = "central differences of its own forward pass in float64"
NAMED = "jax.vjp of the operation in float64"
SHARED = (
    "the gradients of all parameters are divided by the number of examples: right where dout is the derivative of "
    "each example's own loss, and once too often where dout is divided by it already"
)
HANDED_ON = "dout as it is, since a loss beside it gives the derivative by the scores"
NO_PADDING = "without padding it is wrong, as dx[:, :, p:-p, p:-p] is, which is empty where p is 0"
COLUMNS = "its columns are taken for the examples, as its output tells: where rows are meant, it is wrong"
SAID = ("mutates_input", "state_between_calls", "softmax_unstable", "mask_at_zero", "pool_ties", "non_finite")


def _layout_of(layer: Layer, seed: int) -> int:
    """The arrangement of its shapes; a file may import torch for something else, and compute with numpy here."""
    try:
        return layout_of(layer, seed)
    except UserError as error:
        if layer.library != "torch":
            raise
        layer.library = ""
        try:
            return layout_of(layer, seed)
        except UserError:
            raise error from None


def judge(name: str, layer: Layer, seed: int, *, strict: bool = False) -> Report:
    """Returns the report on a layer.

    strict: the gradient is held against the operation that the name says, whatever the forward pass computes.
    Raises UserError if the layer cannot be asked.
    """
    layout = _layout_of(layer, seed)
    asked, problems, errors = list[Asked](), list[tuple[str, str]](), list[str]()
    for number in range(len(operations.SIZES)):
        wide = number == elementwise.WIDE and bool(asked) and _is_elementwise(asked[0])
        try:
            one, found = _tried(layer, layout, number, seed, wide=wide)
        except UserError:
            raise
        except Exception as error:
            # many take no such windows, and some no such numbers
            if not (wide or windows.overlap(layer.operation or name, number)):
                errors.append(where(error, layer.source))
            continue
        if wide and not np.isfinite(one.trial.output).all():
            continue
        asked.append(one)
        problems += found
    if not asked:
        raise UserError(errors[0])
    problems += [(code, "") for code in at_extremes(layer, seed, layout)]
    problems += [("output_form_at_z", derivatives.OF_OUTPUT)] * layer.of_output
    report = _told(name, layer, asked, problems, layout, strict=strict)
    notes = [f"in another shape it stops: {error}" for error in errors[:1]]
    padded = [one for one in asked if not windows.is_unpadded(one.trial.options)]
    if not report.passed and 0 < len(padded) < len(asked):
        other = _told(name, layer, padded, problems, layout, strict=strict)
        report, notes = (other, [*notes, NO_PADDING]) if _rank(other) < _rank(report) else (report, notes)
    if layer.operation in shapes.PICTURES and layout == shapes.OUT_IN:
        notes.append("it was given square pictures, because it does not take others")
    if layer.operation in ASKED_BY_VALUE and layout in shapes.IN_COLUMNS:
        notes.append(COLUMNS)
    return replace(report, notes=(*notes, *layer.notes, *report.notes))


def _tried(layer: Layer, layout: int, number: int, seed: int, *, wide: bool) -> tuple[Asked, Problems]:
    """One trial; wide: with inputs far from 0 too. They are positive where it wants that, as log does."""
    rng = np.random.default_rng(seed + 100 * number)
    leaves, options = layer.drawn(rng, number, layout)
    first, x = next(iter(leaves.items()))
    x = elementwise.spread(x, rng) if wide else x
    found = ask(layer, {**leaves, first: x}, options, rng, layout)
    if layer.upstream and not np.isfinite(found[0].trial.output).all():
        found = ask(layer, {**leaves, first: np.abs(x) + 0.1}, options, rng, layout)
    return found


def _is_elementwise(one: Asked) -> bool:
    """Whether every output hangs on one element of the first leaf, and the others are single numbers."""
    first, *others = one.trial.inputs
    single = one.trial.dout.ndim > 0 and all(one.trial.inputs[other].size == 1 for other in others)
    return single and elementwise.is_elementwise(partial(one.moved, first), one.trial.x)


def _own(one: Asked) -> Trial:
    """Returns the trial with the gradients of the candidate's own forward pass."""
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


def _right(trials: Sequence[Trial]) -> bool:
    return all(is_right(leaf, trial) for trial in trials for leaf in trial.true)


def _off(report: Report) -> int:
    return sum(row.verdict == "FAIL" for row in report.leaves)


def _has_several(trial: Trial) -> bool:
    """Whether a layer has several parameters, or a matrix: of a single scale over N nothing is known."""
    parameters = list(trial.inputs.values())[1:]
    return len(parameters) > 1 or any(each.ndim == 2 for each in parameters)


def _undivided(trial: Trial) -> Trial:
    first = next(iter(trial.inputs))
    found = {k: v if k == first else v * trial.sizes["N"] for k, v in trial.found.items()}
    return trial._replace(found=found)


def _by_scores(of_softmax: bool, trial: Trial) -> Trial:
    """With the true gradient by the scores of the softmax, or sigmoid, that a loss's inputs come from."""
    ((name, p),) = trial.inputs.items()
    g = trial.true[name]
    axis = next((axis for axis in range(p.ndim) if of_softmax and np.allclose(p.sum(axis), 1)), None)
    mean = g * p if axis is None else (g * p).sum(axis, keepdims=True)  # of the sigmoid: p (1 - p)
    return trial._replace(true={name: p * (g - mean)})


def _rank(report: Report) -> tuple[bool, bool, int, int]:
    """How much is left wrong and unexplained."""
    return not report.passed, "unknown" in report.codes, len(report.codes), _off(report)


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
    if "output_form_at_z" in details:
        findings.append(
            finding("output_form_at_z", "of the chain rule", (), *details["output_form_at_z"], remark=True)
        )
    if "upstream_changed" in details:
        findings.append(finding("mutates_input", "-", (), "it changes dout, which others may need", remark=True))
    return findings


def _told(
    name: str, layer: Layer, asked: Sequence[Asked], problems: Problems, layout: int, *, strict: bool
) -> Report:
    trials, against, findings = _true(layer, asked, layout, strict=strict)
    findings += _behaviour(problems)
    formulas = dict(zip(trials[0].inputs, operations.FORMULAS.get(layer.operation, {}).values(), strict=False))
    named = cache(lambda: _network(layer, asked, trials, layout))

    def network(leaf: str) -> LayerNetwork | None:
        return named() or (by_values.network_of(layout, trials, leaf) if layer.upstream else None)

    told = partial(judged, name, formulas=formulas, network=network, findings=findings, against=against)
    report = told(trials)
    if layer.of_probabilities and "unknown" in report.codes:
        remark = finding("derivative_by_scores", "of the chain rule", tuple(trials[0].inputs), remark=True)
        by_scores = ([_by_scores(of_softmax, t) for t in trials] for of_softmax in (True, False))
        return min(report, *(told(each, findings=[*findings, remark]) for each in by_scores), key=_rank)
    if report.codes == ["softmax_derivative_missing"] and layer.loss_by_scores():
        return told([t._replace(true=dict.fromkeys(t.true, t.dout)) for t in trials], against=HANDED_ON)
    if report.passed or layer.only_inputs or not _has_several(trials[0]):
        return report
    # The gradients of all parameters over N are those of a mean loss whose dout has no 1/N in it yet, for a layer
    # cannot know where its network divides. One of them alone over N is wrong in any network.
    shared = told([_undivided(t) for t in trials], notes=[SHARED])
    return min(report, shared, key=_rank)


def _network(layer: Layer, asked: Sequence[Asked], trials: Sequence[Trial], layout: int) -> LayerNetwork | None:
    """The operations that the layer's name says, or that it is elementwise; None if they are not known."""
    network = network_of(layer.name, layer.mistakes_of or layer.operation, layout, trials)
    if network is not None or not layer.upstream:
        return network
    name_of_x, *more = trials[0].inputs
    if not more:
        functions = [partial(one.moved, name_of_x) for one in asked]
        network = elementwise.network_of(name_of_x, functions, trials)
    return network


def _true(
    layer: Layer, asked: Sequence[Asked], layout: int, *, strict: bool
) -> tuple[list[Trial], str, list[Finding]]:
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
    detail = describe(layer.operation, layout, [(t, true) for t, (_, true) in zip(own, pairs, strict=False)])
    if not belongs and all(trial.output.shape == true.shape for trial, true in pairs):
        named = [_named(one) for one in known]
        if strict or _right(named):
            return named, NAMED, [finding("forward_mismatch", "of the forward pass", ("out",), detail)]
    of_eps = detail.startswith("eps")
    remark = (belongs or of_eps) and not strict
    code = "bn_eps" if remark and of_eps else "forward_mismatch"
    return own, OWN, [finding(code, "of the forward pass", ("out",), detail, remark=remark)]
