"""The report on a network's gradient, from what it was judged to be."""

from dataclasses import replace

import numpy as np

from mlp_jax.gradcheck.battery import OVERFLOW
from mlp_jax.gradcheck.judging.advice import detail_of, mend_of, penalty_is_wrong
from mlp_jax.gradcheck.judging.diagnosis import Judgement
from mlp_jax.gradcheck.judging.evidence import TOLERANCE, At, Evidence, explained_by_remarks
from mlp_jax.gradcheck.judging.numbering import equation, leaf_equation
from mlp_jax.gradcheck.judging.probes import fails_by_labels
from mlp_jax.gradcheck.mistakes.situation import Mistake
from mlp_jax.gradcheck.mistakes.table import MISTAKES
from mlp_jax.gradcheck.objective import FULL, HALF, gradient, value
from mlp_jax.gradcheck.report import (
    AUTODIFF,
    Finding,
    LeafRow,
    Report,
    WorstCase,
    finding,
    in_order,
    with_numbers,
    with_the_call,
)

FIELDS = ("w", "b", "scale", "shift", "delta", "all")


def tell(judgement: Judgement, convention: str) -> Report:
    """The report on what was found."""
    evidence = judgement.evidence
    shapeless = {(m.layer, m.place) for m in evidence.shapes if m.code == "wrong_shape"}
    # what has the right shape where all dimensions are equal may say more, or nothing
    mistakes = {m for m in judgement.mistakes if m.code != "unknown" or (m.layer, m.place) not in shapeless}
    named = {(m.layer, m.place) for m in mistakes}
    mistakes |= {m for m in evidence.shapes if m.code != "wrong_shape" or (m.layer, m.place) not in named}
    if any(mistake.code == "bias_over_classes" for mistake in mistakes):
        mistakes = {_as_at_others(mistake, evidence.shapes.get(mistake, "")) for mistake in mistakes}
    top = max((k for k, _ in evidence.non_finite), default=0)  # what that spoils further down is not told again
    mistakes |= {Mistake("non_finite", k, field) for k, field in evidence.non_finite if k == top}
    findings = _findings(judgement, mistakes)
    table = _Table(judgement, mistakes)
    rows, examples = zip(*(table.row(k, f) for k, f in evidence.leaves), strict=True)
    loss = [_loss_row(judgement)] if judgement.mismatch or not evidence.loss_is_finite else []
    return Report(
        evidence.asked.name,
        with_the_call((*rows, *loss), findings),
        tuple(findings),
        tuple(_notes(judgement, convention)),
        evidence.total if judgement.by_differences is None else len(evidence.cases),
        about=_about(judgement),
        against=AUTODIFF if judgement.by_differences is None else "central differences of your loss",
        examples={row.leaf: each for row, each in zip(rows, examples, strict=True) if each is not None},
    )


def _as_at_others(mistake: Mistake, shape: str) -> Mistake:
    """A bias's single number where another is the sum over all units: over all classes that is 0."""
    is_number = mistake.place == "b" and shape.startswith(("() in place", "(1,) in place", "(1, 1) in place"))
    return mistake._replace(code="bias_over_classes") if is_number else mistake


def _about(judgement: Judgement) -> str:
    """What the loss is that the gradient was judged by, if it is not J~."""
    if judgement.by_differences is not None:
        return "a function that is not known here"
    return judgement.purpose.text if judgement.about and judgement.purpose.text != FULL else ""


def _loss_row(judgement: Judgement) -> LeafRow:
    """The returned loss, where it is off most from J~ (or its convention)."""
    evidence = judgement.evidence
    code = "loss_mismatch" if judgement.mismatch else "non_finite"
    row = LeafRow("loss", "J~", "FAIL", (code,), ())
    compared = []
    for i, loss in evidence.losses() or ():
        should = value(evidence.cases[i], evidence.truths[i], judgement.purpose.objectives[i])
        compared.append((abs(loss - should) / (abs(should) or 1.0), loss, should, evidence.cases[i].describe()))
    if not compared:
        return row
    error, yours, true, case = max(compared)
    if not error > 0 or judgement.mismatch.startswith("right for your loss"):
        return row
    return replace(row, relative_error=error, yours=yours, true=true, case=case)


def _findings(judgement: Judgement, mistakes: set[Mistake]) -> list[Finding]:
    evidence = judgement.evidence
    findings = [finding("loss_mismatch", "J~", detail=judgement.mismatch)] if judgement.mismatch else []
    for code in dict.fromkeys(code for code, _ in judgement.about):  # first, for it is what the rest is judged by
        details = dict.fromkeys(detail for other, detail in judgement.about if other == code and detail)
        if code == "half_penalty" and penalty_is_wrong(judgement):
            details["what the gradient has is told below"] = None
        findings.append(finding(code, "J~", detail="; ".join(details)))
    for code in MISTAKES:
        places = sorted((m for m in mistakes if m.code == code), key=lambda m: (-m.layer, FIELDS.index(m.place)))
        if not places:
            continue
        where = dict.fromkeys(equation(m, len(evidence.cases[0].params)) for m in places)
        leaves = dict.fromkeys(name for m in places for name in _leaves_of(evidence, m))
        details = dict.fromkeys(detail for m in places if (detail := detail_of(judgement, m)))
        mend = mend_of(judgement, code, {m.place for m in places})
        findings.append(finding(code, ", ".join(where), tuple(leaves), "; ".join(details), mend=mend))
    if not evidence.loss_is_finite:
        findings.append(finding("non_finite", "J~", detail="in the loss"))
    if evidence.overflows or evidence.raises_overflow:
        findings.append(finding("softmax_unstable", "4"))
    changed = dict.fromkeys(name for answer in evidence.answers for name in answer.mutated)
    if changed:
        findings.append(finding("mutates_input", "-", detail=f"it changes {' and '.join(changed)}"))
    if evidence.failed and all(f.remark for f in findings):
        findings.append(_failure(evidence))
    return findings


def _failure(evidence: Evidence) -> Finding:
    """What it fails with, and whether that is where a class is missing among the labels."""
    why = ", because a class is missing from the labels of the batch" if fails_by_labels(evidence) else ""
    return finding("fails", "-", detail=f"{evidence.failed[0][1]}{why}")


def _leaves_of(evidence: Evidence, mistake: Mistake) -> list[str]:
    """The names of the leaves that hang on a mistake directly."""
    if mistake.place in ("w", "b", "scale", "shift"):
        return [evidence.asked.leaf_name(mistake.layer, mistake.place)]
    return [
        evidence.asked.leaf_name(k, field)
        for k, field in evidence.leaves
        if mistake.place == "all" or (k == mistake.layer and field in ("w", "b"))
    ]


class _Table:
    """The rows: each leaf's worst case, relative to its limit; cases that a remark explains do not count."""

    def __init__(self, judgement: Judgement, mistakes: set[Mistake]) -> None:
        self.judgement, self.evidence, self.purpose = judgement, judgement.evidence, judgement.purpose
        self.mistakes = mistakes
        self.codes = tuple({m.code for m in mistakes})
        compared = self.evidence.leaves if judgement.by_differences is None else judgement.by_differences
        self.errors = {
            at: error
            for at, error in self.evidence.errors(self.purpose).items()
            if at[1:] in compared and not explained_by_remarks(self.evidence.cases[at[0]], self.codes)
        }
        self.over = set(self.evidence.wrong(self.errors))

    def row(self, k: int, field: str) -> tuple[LeafRow, WorstCase | None]:
        """Returns one leaf's row, and its worst case with the inputs."""
        evidence = self.evidence
        counted = [at for at in self.errors if at[1:] == (k, field)]
        over = (k, field) in evidence.non_finite or any(at in self.over for at in counted)
        # what goes wrong in a normalisation's way back stands below its scale and shift
        places = (field, "all", "delta") if over or field in ("w", "b") else (field, "all")
        here = {m.code for m in self.mistakes if m.layer == k and m.place in places}
        above = {m.code for m in self.mistakes if m.layer > k and m.place in ("delta", "all")}
        bad = over or any(not MISTAKES[code].remark for code in here)
        follows = {code for code in above if bad and not MISTAKES[code].remark}
        if bad and not here | follows and self.judgement.mismatch:
            follows = {"loss_mismatch"}
        row = LeafRow(
            leaf=evidence.asked.leaf_name(k, field),
            equation=leaf_equation(k, field, len(evidence.cases[0].params)),
            verdict="FAIL" if bad else "PASS",
            codes=in_order(here),
            follows=in_order(follows - here),
        )
        at = self._worst(counted)
        if at is None:
            return row, None
        mine, true = self._compared(at)
        about = evidence.cases[at[0]].describe()
        row = with_numbers(row, mine, true, self.errors[at], evidence.limit(*at), about)
        return row, self._example(at[0], mine, true, row.index)

    def _example(self, i: int, mine: np.ndarray, true: np.ndarray, index: tuple[int, ...]) -> WorstCase:
        evidence, case = self.evidence, self.evidence.cases[i]
        params = {evidence.asked.leaf_name(k, f): np.array(getattr(case.params[k], f)) for k, f in evidence.leaves}
        masks = tuple(evidence.truths[i].masks)
        return WorstCase(case.describe(), params, np.array(case.x), case.y, case.l2, masks, mine, true, index)

    def _worst(self, counted: list[At]) -> At | None:
        # large logits last: their errors are as large as they are
        cases = self.evidence.cases
        ranked = {
            at: (at in self.over, cases[at[0]].name != OVERFLOW, self.errors[at] / self.evidence.limit(*at))
            for at in counted
        }
        return max(ranked, key=ranked.__getitem__) if ranked else None

    def _compared(self, at: At) -> tuple[np.ndarray, np.ndarray]:
        """A leaf as it is and as it should be."""
        i, k, field = at
        true = gradient(self.evidence.cases[i], self.evidence.truths[i], self.purpose.objectives[i])[k][field]
        return self.evidence.observed[i][k][field], true


def _notes(judgement: Judgement, convention: str) -> list[str]:
    evidence, notes = judgement.evidence, []
    if evidence.labels_from_1:
        notes.append("it takes the label 1 for the first class, as where labels are 1 to C")
    if evidence.float32_inside:
        notes.append("its results are float64, but only as exact as float32, and are judged as such")
    if evidence.dtype != "float64":
        notes.append(f"{evidence.dtype}: relative errors up to {TOLERANCE[evidence.dtype]:.0e} count as rounding")
    agree = not judgement.mismatch and not penalty_is_wrong(judgement)
    if judgement.purpose.text == HALF and convention == "auto" and agree:
        notes.append("loss and gradient agree on the penalty lambda/2 ||W||^2: a convention, not a mistake")
    return [*notes, *_failures(evidence)]


def _failures(evidence: Evidence) -> list[str]:
    """A note on every place that it fails at, with the first case that does."""
    places: dict[str, list[str]] = {}
    for case, error in evidence.failed:
        place = ":".join(error.split(":", 3)[:3])  # the file, the line and the kind of error
        places.setdefault(place, []).append(f"{case.describe()}: {error}")
    first = [(told[0], len(told) - 1) for told in places.values()]
    return [f"it fails in the case {told}" + f" (and {n} more there)" * bool(n) for told, n in first]
