"""A gradient beside a loss that nothing here is like: it is held against central differences of that loss."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from mlp_jax.gradcheck.judging.diagnosis import Judgement, Remarks, read
from mlp_jax.gradcheck.judging.evidence import EPSILON, ORDINARY, ROUNDING, Evidence
from mlp_jax.gradcheck.layers.diagnosis import mistakes_at
from mlp_jax.gradcheck.layers.trials import TOLERANCE, Trial, differences
from mlp_jax.gradcheck.mistakes.factors import Codes
from mlp_jax.gradcheck.mistakes.situation import Mistake, sizes_of
from mlp_jax.gradcheck.objective import Purpose, j_tilde
from mlp_jax.gradcheck.reading.answers import Question
from mlp_jax.gradcheck.truth import Truth

DIRECTIONS = 6  # that are tried for two that cross no kink
COMPARED = ("plain", "equal dimensions")  # a wrong leaf is, number by number
MOST = 500  # numbers in such a leaf: each takes four losses
Places = frozenset[tuple[int, str]]  # leaves by layer and field
DETAIL = "it is none of the losses and networks that are known here; {} central differences of it, in float64"


def read_by_differences(evidence: Evidence, purposes: list[Purpose], *, strict: bool) -> Judgement | None:
    """The reading by central differences of the candidate's own loss; None if the gradient is not of that.

    It is of that if every leaf is, or one that is of no purpose. A leaf counts as right by random directions in
    one ordinary case; one that is wrong is compared number by number.
    """
    wrong = _wrong(evidence)
    if wrong is None:
        return None
    right = frozenset(evidence.leaves) - wrong
    missed = [{at[1:] for at in evidence.wrong(evidence.errors(purpose))} for purpose in purposes]
    if wrong and not right.intersection(*missed):
        return None
    detail = DETAIL.format("each leaf is held against" if wrong else "the gradient is right by")
    about: Remarks = (("other_loss", detail),)
    mismatch = ""
    if strict:
        about, mismatch = (), f"{'' if wrong else 'right for your loss, but '}your loss is not J~: {detail}"
    compared, mistakes = _compared(evidence, wrong)
    return Judgement(compared, j_tilde(compared.cases, "full"), mistakes, about, mismatch, by_differences=wrong)


def _wrong(evidence: Evidence) -> Places | None:
    """The leaves that are not the derivative of the candidate's own loss; None if that cannot be told.

    The error allowed is a hundred times what truncation and rounding leave. Where two steps disagree, a kink is
    crossed, and another direction is taken.
    """
    i = _ordinary(evidence)
    if i is None or any(field not in evidence.observed[i][k] for k, field in evidence.leaves):
        return None
    rng = np.random.default_rng(0)
    told = {at: _slope_is_right(evidence, i, *at, rng) for at in evidence.leaves}
    return None if None in told.values() else frozenset(at for at, is_right in told.items() if not is_right)


def _ordinary(evidence: Evidence) -> int | None:
    return next((i for i, case in enumerate(evidence.cases) if case.name in ORDINARY), None)


def _slope_is_right(evidence: Evidence, i: int, k: int, field: str, rng: np.random.Generator) -> bool | None:
    step = EPSILON[evidence.dtype] ** (1 / 3)
    leaf = getattr(evidence.cases[i].params[k], field)
    verdicts = []
    for _ in range(DIRECTIONS):
        direction = rng.normal(size=leaf.shape) * max(float(np.abs(leaf).mean()), 1e-3)
        losses = [_loss(evidence, i, k, field, leaf + s * step * direction) for s in (1, -1, 2, -2)]
        slope, coarse = (losses[0] - losses[1]) / (2 * step), (losses[2] - losses[3]) / (4 * step)
        allowed = 100 * step**2 * max(abs(losses[0]), abs(slope))
        if not abs(slope - coarse) <= allowed:
            continue
        verdicts.append(abs(slope - float((evidence.observed[i][k][field] * direction).sum())) <= 2 * allowed)
        if len(verdicts) == 2:
            break
    return all(verdicts) if verdicts else None


def _loss(evidence: Evidence, i: int, k: int, field: str, leaf: np.ndarray) -> float:
    """The candidate's loss in a case with another leaf."""
    case = evidence.cases[i]
    layer = case.params[k]._replace(**{field: leaf})
    moved = case._replace(params=(*case.params[:k], layer, *case.params[k + 1 :]))
    (answer,) = evidence.asked.ask([Question(moved, evidence.truths[i].masks)])
    return np.nan if answer.loss is None else answer.loss


def _compared(evidence: Evidence, wrong: Places) -> tuple[Evidence, frozenset[Mistake]]:
    """The cases that are compared, whose truth is differences at the wrong leaves, and what is wrong in these."""
    if not wrong:
        return evidence.restricted(cases=[_ordinary(evidence) or 0]), frozenset()
    there = evidence.restricted(cases=[i for i, case in enumerate(evidence.cases) if case.name in COMPARED])
    plain, known = list(there.truths), dict[tuple[int, str], bool]()
    for at in wrong:
        known[at] = sum(leaves[at[0]][at[1]].size for leaves in there.observed) <= MOST
        for j in range(len(there.cases)):
            there.truths[j] = _with_differences(there, j, *at, known=known[at])
    told = {at: _codes(there, *at) if known[at] else (("unknown", ""),) for at in sorted(wrong)}
    mistakes = frozenset(Mistake(code, *at, detail) for at, codes in told.items() for code, detail in codes)
    if any(mistake.code == "unknown" for mistake in mistakes) and all(known.values()):
        beside = _as_of_j(there, plain, wrong)
        found = read(beside, j_tilde(beside.cases, "full")).mistakes
        mistakes = mistakes if any(mistake.code == "unknown" for mistake in found) else found
    return there, mistakes


def _with_differences(evidence: Evidence, i: int, k: int, field: str, *, known: bool) -> Truth:
    """The truth about a case with central differences as one leaf, to their own precision; NaN if not known."""
    truth, leaf = evidence.truths[i], getattr(evidence.cases[i].params[k], field)
    true = np.full(leaf.shape, np.nan)
    if known:
        found = differences(partial(_loss, evidence, i, k, field), leaf, single=evidence.dtype != "float64")
        true = np.where(np.isnan(found), evidence.observed[i][k][field], found)  # at a kink nothing is told
    norm = float(np.linalg.norm(true))
    drift = TOLERANCE * norm / (ROUNDING * EPSILON[evidence.dtype])
    parts: list[Any] = [[dict(layer) for layer in part] for part in (truth.grads, truth.size, truth.drift)]
    for part, value in zip(parts, (true, norm, drift), strict=True):
        part[k][field] = value
    return truth._replace(grads=parts[0], size=parts[1], drift=parts[2])


def _codes(evidence: Evidence, k: int, field: str) -> Codes:
    """The mistakes that the leaf alone shows: a factor, a sign, a transpose."""
    trials = [
        Trial(
            {field: np.asarray(getattr(case.params[k], field))},
            np.array(answer.loss),
            np.array(1.0),
            {field: observed[k][field]},
            {field: truth.grads[k][field]},
            {"N": float(len(case.y)), **sizes_of(case.config)},
            case.describe(),
        )
        for case, truth, answer, observed in zip(
            evidence.cases, evidence.truths, evidence.answers, evidence.observed, strict=True
        )
    ]
    return mistakes_at(field, trials, lambda leaf: None)


def _as_of_j(evidence: Evidence, plain: Sequence[Truth], wrong: Places) -> Evidence:
    """What is left of the answers without what the loss has beside J~, a penalty of another kind, say."""
    other = copy.copy(evidence)
    other.truths, other.dtype = list(plain), "float32"  # differences are not exact
    other.dtypes = {(k, field): "float32" for k, layer in enumerate(plain[0].size) for field in layer}
    other.observed = [[dict(layer) for layer in truth.grads] for truth in plain]
    for mine, observed, truth in zip(other.observed, evidence.observed, evidence.truths, strict=True):
        for k, field in wrong:
            mine[k][field] = mine[k][field] + observed[k][field] - truth.grads[k][field]
    return other
