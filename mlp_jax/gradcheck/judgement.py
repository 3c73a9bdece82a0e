"""The reading of a candidate's answers that leaves the least to explain: which objective, and which mistakes."""

from typing import NamedTuple

from mlp_jax.gradcheck import objective
from mlp_jax.gradcheck.evidence import Evidence, explained_by_remarks
from mlp_jax.gradcheck.mistakes import MISTAKES
from mlp_jax.gradcheck.objective import Purpose
from mlp_jax.gradcheck.search import Mistake, Situation, cost, diagnose

FIT_TOLERANCE = {"float64": 1e-7, "float32": 2e-3, "float16": 1e-1, "bfloat16": 3e-1}
MASKS = ("mask_missing", "mask_wrong_tensor", "mask_without_bias")


class Judgement(NamedTuple):
    """The mistakes in a gradient, if it was meant for a purpose.

    wrong: it is not the purpose's gradient. mismatch: the candidate returns a loss, and that is not J~.
    own: the gradient is right for the candidate's own loss.
    """

    evidence: Evidence
    purpose: Purpose
    mistakes: frozenset[Mistake]
    wrong: bool
    mismatch: bool
    own: bool

    @property
    def price(self) -> float:
        """How much it leaves to explain."""
        return cost(self.mistakes) + self.mismatch


def judge(evidence: Evidence, convention: str) -> Judgement:
    """The cheapest reading, also of the arguments as the candidate left them if it changed them."""
    best = min(_readings(evidence, convention), key=lambda j: j.price)
    left = evidence.with_inputs_as_left() if best.price else None
    if left is None:
        return best
    return min(best, *_readings(left, convention), key=lambda j: j.price)


def _readings(evidence: Evidence, convention: str) -> list[Judgement]:
    """Under every purpose that the candidate's loss allows, the likeliest first."""
    chosen = "full" if convention == "auto" else convention
    base = objective.j_tilde(evidence.cases, chosen)
    if evidence.has_state:  # then nothing else is certain
        everywhere = Mistake("state_between_calls", len(evidence.cases[0].params) - 1, "all")
        return [Judgement(evidence, base, frozenset({everywhere}), True, False, False)]
    other = objective.j_tilde(evidence.cases, "half" if chosen == "full" else "full")
    for purpose in (base, other):
        evidence.settle_dtype(evidence.errors(purpose))
    losses = evidence.losses()
    matches = losses is None or _agrees(evidence, base, losses)
    # where the penalty is too small to show in the losses, they agree with both
    if convention == "auto" and losses is not None and _agrees(evidence, other, losses):
        second = _reading(evidence, other, mismatch=False)
        if not second.wrong and not matches:
            return [second]
        return [_reading(evidence, base, mismatch=not matches), second]
    first = _reading(evidence, base, mismatch=not matches)
    if matches or losses is None or _agrees(evidence, other, losses):
        return [first]
    own = objective.fit([(evidence.cases[i], evidence.truths[i], loss) for i, loss in losses], evidence.dtype)
    if own is not None:
        purpose = Purpose(tuple(own.at(case) for case in evidence.cases), own.text())
        second = _reading(evidence, purpose, mismatch=True)
        return [first, second._replace(own=not second.wrong)]
    if first.wrong and evidence.own_slope_is_right():
        return [first._replace(mistakes=frozenset(), own=True)]
    return [first]


def _agrees(evidence: Evidence, purpose: Purpose, losses: list[tuple[int, float]]) -> bool:
    return all(
        objective.agrees(evidence.cases[i], evidence.truths[i], purpose.objectives[i], loss, evidence.dtype)
        for i, loss in losses
    )


def _reading(evidence: Evidence, purpose: Purpose, *, mismatch: bool) -> Judgement:
    wrong = evidence.wrong(evidence.errors(purpose))
    if not wrong:
        return Judgement(evidence, purpose, frozenset(), False, mismatch, False)
    used = [i for i in range(len(evidence.cases)) if i not in evidence.overflows]
    situations = [
        Situation(
            evidence.cases[i],
            evidence.truths[i],
            evidence.observed[i],
            purpose.objectives[i],
            evidence.rounding(i),
        )
        for i in used
    ]
    # coarsely first, for what a mistake does to rounding; a small mistake shows only beside rounding alone
    found = _told(diagnose(situations, FIT_TOLERANCE[evidence.dtype]) or diagnose(situations, 0.0))
    codes = [mistake.code for mistake in found]
    if all(MISTAKES[code].remark for code in codes):
        # what a remark does not excuse is too far off for rounding, and too close for any mistake on the list
        rest = [at for at in wrong if not explained_by_remarks(evidence.cases[at[0]], codes)]
        closely = _told(diagnose(situations, 0.0)) if rest else found
        if all(m.code != "unknown" for m in closely):
            found = closely
        else:
            found |= {Mistake("unknown", *max(rest, key=lambda at: at[1])[1:])}
    return Judgement(evidence, purpose, found, True, mismatch, False)


def _told(mistakes: frozenset[Mistake]) -> frozenset[Mistake]:
    """Without what says nothing: layers below one that is unexplained, and what a wrong mask is at 0."""
    unknown = {(m.layer, m.place) for m in mistakes if m.code == "unknown"}
    lowest = max((k for k, place in unknown if place == "b" and (k, "w") in unknown), default=0)
    kept = [m for m in mistakes if m.layer >= lowest]
    wrong_masks = {m.layer for m in kept if m.code in MASKS}
    return frozenset(m for m in kept if m.code != "mask_at_zero" or m.layer not in wrong_masks)
