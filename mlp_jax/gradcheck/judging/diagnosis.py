"""One reading of a candidate's answers: the mistakes in its gradient, if it was meant for a purpose."""

from typing import NamedTuple

from mlp_jax.gradcheck.judging.evidence import Evidence, explained_by_remarks
from mlp_jax.gradcheck.mistakes.search import cost, diagnose
from mlp_jax.gradcheck.mistakes.situation import Mistake, Situation
from mlp_jax.gradcheck.mistakes.table import MISTAKES
from mlp_jax.gradcheck.objective import Purpose

FIT_TOLERANCE = {"float64": 1e-7, "float32": 2e-3, "float16": 1e-1, "bfloat16": 3e-1}
MASKS = ("mask_missing", "mask_wrong_tensor", "mask_without_bias")
Remarks = tuple[tuple[str, str], ...]


class Judgement(NamedTuple):
    """The mistakes in a gradient, if it was meant for a purpose.

    mistakes: also those that are only remarks. about: (code, detail) of everything in which
    the purpose is not J~, where that is no mistake. mismatch: why the returned loss is one, or "".
    by_differences: the leaves that are wrong by differences of the returned loss, where its purpose is not known.
    """

    evidence: Evidence
    purpose: Purpose
    mistakes: frozenset[Mistake]
    about: Remarks = ()
    mismatch: str = ""
    by_differences: frozenset[tuple[int, str]] | None = None

    @property
    def wrong(self) -> bool:
        """Whether the gradient is not the purpose's; remarks do not count."""
        return any(not MISTAKES[mistake.code].remark for mistake in self.mistakes)

    @property
    def price(self) -> float:
        """How much it leaves to explain."""
        return cost(self.mistakes) + bool(self.mismatch) + 0.1 * len(self.about)


def read(evidence: Evidence, purpose: Purpose, *, about: Remarks = (), mismatch: str = "") -> Judgement:
    """The mistakes in a gradient that was meant for a purpose; about, mismatch: as in `Judgement`."""
    wrong = evidence.wrong(evidence.errors(purpose))
    if not wrong:
        return Judgement(evidence, purpose, frozenset(), about, mismatch)
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
    return Judgement(evidence, purpose, found, about, mismatch)


def _told(mistakes: frozenset[Mistake]) -> frozenset[Mistake]:
    """Without what says nothing: layers below one that is unexplained, and what a wrong mask is at 0."""
    unknown = {(m.layer, m.place) for m in mistakes if m.code == "unknown"}
    lowest = max((k for k, place in unknown if place == "b" and (k, "w") in unknown), default=0)
    kept = [m for m in mistakes if m.layer >= lowest]
    wrong_masks = {m.layer for m in kept if m.code in MASKS}
    return frozenset(m for m in kept if m.code != "mask_at_zero" or m.layer not in wrong_masks)
