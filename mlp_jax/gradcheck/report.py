"""What a check found: one row per leaf, one finding per mistake, and the text that shows them."""

import textwrap
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from mlp_jax import results
from mlp_jax.gradcheck.battery import OVERFLOW
from mlp_jax.gradcheck.evidence import TOLERANCE, At, Evidence, explained_by_remarks
from mlp_jax.gradcheck.judgement import Judgement
from mlp_jax.gradcheck.mistakes import CODES, MISTAKES
from mlp_jax.gradcheck.objective import FULL, HALF, Purpose, gradient, j_tilde
from mlp_jax.gradcheck.search import Mistake

_OUTPUT = {"delta": "4", "all": "4", "w": "7", "b": "9"}
_HIDDEN = {"delta": "12, 13", "w": "12", "b": "13"}
FIELDS = ("w", "b", "scale", "shift", "delta", "all")
_SLOPE = ("mask_missing", "mask_without_bias", "mask_wrong_tensor", "mask_at_zero")


@dataclass(frozen=True)
class LeafRow:
    """One leaf of the gradient over all cases.

    verdict: PASS or FAIL. codes: the mistakes made at this leaf or layer. follows: the mistakes above that spoil
    it too. relative_error: the worst case's |yours - true| over its size (Euclidean norms; `battery.Truth.size`),
    None where it is not finite or nothing could be compared. index, yours, true: that case's worst element.
    cosine: of the angle between both in that case; None if one is 0.
    """

    leaf: str
    equation: str
    verdict: str
    codes: tuple[str, ...]
    follows: tuple[str, ...]
    relative_error: float | None = None
    tolerance: float | None = None
    index: tuple[int, ...] = ()
    yours: float | None = None
    true: float | None = None
    cosine: float | None = None
    case: str = ""


class Finding(NamedTuple):
    """One mistake: its code, the equation and the leaves where it is made, and what to tell a student."""

    code: str
    equation: str
    leaves: tuple[str, ...]
    sentence: str
    remark: bool


@dataclass(frozen=True)
class Report:
    """The outcome for one candidate; `str(report)` is the text for people."""

    name: str
    leaves: tuple[LeafRow, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    cases: int

    @property
    def codes(self) -> list[str]:
        """The codes of all findings, remarks too, in the documented order."""
        found = {finding.code for finding in self.findings}
        return [code for code in CODES if code in found]

    @property
    def passed(self) -> bool:
        """Whether the gradient is right: remarks do not count."""
        return all(finding.remark for finding in self.findings)

    def __str__(self) -> str:
        mistakes = [f for f in self.findings if not f.remark]
        outcome = "RIGHT" if self.passed else f"WRONG: {len(mistakes)} mistake{'s' * (len(mistakes) != 1)}"
        lines = [
            f"{self.name}: {outcome} ({self.cases} cases, against jax.grad in float64)",
            "",
            self.leaf_table(),
        ]
        for finding in self.findings:
            at = f", at {' and '.join(finding.leaves)}" if finding.leaves else ""
            kind = " (a remark, not a failure)" if finding.remark else ""
            lines += ["", f"{finding.code}: equation {finding.equation}{at}{kind}", *_wrapped(finding.sentence)]
        return "\n".join([*lines, *("\n".join(["", *_wrapped(f"Note: {note}.", "")]) for note in self.notes)])

    def leaf_table(self) -> str:
        """One line per leaf, as a Markdown table."""
        header = ["leaf", "equation", "error", "at", "yours", "should be", "cosine", "verdict", ""]
        return results.table(header, [_cells(row) for row in self.leaves])


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(text, 110, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _cells(row: LeafRow) -> list[str]:
    why = ", ".join(row.codes) or (f"follows from {', '.join(row.follows)}" if row.follows else "")
    if row.verdict == "PASS" and row.tolerance is not None:  # where rounding is worst says nothing
        return [row.leaf, row.equation, f"< {row.tolerance:.0e}", "", "", "", "", "PASS", why]
    numbers = [_number(row.yours, ".5g"), _number(row.true, ".5g"), _number(row.cosine, ".3f")]
    index = str(list(row.index)) if row.index else "-"
    return [row.leaf, row.equation, _number(row.relative_error, ".1e"), index, *numbers, row.verdict, why]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def equation(mistake: Mistake, layers: int) -> str:
    """The report's equation number where a mistake is made; beyond two layers, with the layer it stands for."""
    if mistake.layer == layers - 1:
        number = _OUTPUT.get(mistake.place, "4")
    else:
        number = "11" if mistake.code in _SLOPE else _HIDDEN.get(mistake.place, "batch normalisation")
    return number if layers == 2 else f"{number} (layer {mistake.layer + 1})"


def leaf_equation(k: int, field: str, layers: int) -> str:
    """The equation of a leaf in the two-layer network; the layer in others."""
    return equation(Mistake("", k, field), layers) if layers == 2 else f"layer {k + 1}"


def finding(code: str, where: str, leaves: tuple[str, ...] = (), detail: str = "") -> Finding:
    """The finding for a code, with its sentence."""
    text = MISTAKES[code]
    place = f"At {' and '.join(leaves)} the code" if leaves else "The code"
    detail = f" ({detail})" if detail else ""
    sentence = f"{place} {text.does}{detail}. {text.says[0].upper()}{text.says[1:]}. To mend it: {text.mend}."
    return Finding(code, where, leaves, sentence, text.remark)


def tell(judgement: Judgement, convention: str) -> Report:
    """The report on what was found."""
    evidence = judgement.evidence
    shapeless = {(m.layer, m.place) for m in evidence.shapes if m.code == "wrong_shape"}
    # what has the right shape where all dimensions are equal may say more, or nothing
    mistakes = {m for m in judgement.mistakes if m.code != "unknown" or (m.layer, m.place) not in shapeless}
    named = {(m.layer, m.place) for m in mistakes}
    mistakes |= {m for m in evidence.shapes if m.code != "wrong_shape" or (m.layer, m.place) not in named}
    top = max((k for k, _ in evidence.non_finite), default=0)  # what that spoils further down is not told again
    mistakes |= {Mistake("non_finite", k, field) for k, field in evidence.non_finite if k == top}
    findings = _findings(judgement, mistakes)
    purpose = judgement.purpose
    if purpose.text not in (FULL, HALF):  # the table compares with J~ all the same
        purpose = j_tilde(evidence.cases, "half" if convention == "half" else "full")
    table = _Table(judgement, purpose, mistakes)
    rows = [table.row(k, field) for k, field in evidence.leaves]
    notes = _notes(judgement, convention)
    return Report(evidence.asked.name, tuple(rows), tuple(findings), tuple(notes), evidence.total)


def _findings(judgement: Judgement, mistakes: set[Mistake]) -> list[Finding]:
    evidence = judgement.evidence
    findings = [finding("loss_mismatch", "J~", detail=_about_the_loss(judgement))] if judgement.mismatch else []
    for code in MISTAKES:
        places = sorted((m for m in mistakes if m.code == code), key=lambda m: (-m.layer, FIELDS.index(m.place)))
        if not places:
            continue
        where = dict.fromkeys(equation(m, len(evidence.cases[0].params)) for m in places)
        leaves = dict.fromkeys(name for m in places for name in _leaves_of(evidence, m))
        details = dict.fromkeys(detail for m in places if (detail := _detail(judgement, m)))
        findings.append(finding(code, ", ".join(where), tuple(leaves), "; ".join(details)))
    if not evidence.loss_is_finite:
        findings.append(finding("non_finite", "J~", detail="in the loss"))
    if evidence.overflows:
        findings.append(finding("softmax_unstable", "4"))
    changed = dict.fromkeys(name for answer in evidence.answers for name in answer.mutated)
    if changed:
        findings.append(finding("mutates_input", "-", detail=f"it changes {' and '.join(changed)}"))
    if evidence.failed and all(f.remark for f in findings):
        findings.append(finding("unknown", "-", detail=f"it fails: {evidence.failed[0][1]}"))
    return findings


def _leaves_of(evidence: Evidence, mistake: Mistake) -> list[str]:
    """The names of the leaves that hang on a mistake directly."""
    if mistake.place in ("w", "b", "scale", "shift"):
        return [evidence.asked.leaf_name(mistake.layer, mistake.place)]
    return [
        evidence.asked.leaf_name(k, field)
        for k, field in evidence.leaves
        if mistake.place == "all" or (k == mistake.layer and field in ("w", "b"))
    ]


def _about_the_loss(judgement: Judgement) -> str:
    text = "" if judgement.purpose.text in (FULL, HALF) else f": it is {judgement.purpose.text}"
    if judgement.own:
        return f"right for your loss, but your loss is not J~{text}"
    if not judgement.wrong:
        return "the gradient is that of J~, so it is wrong for your own loss"
    return f"your loss is not J~{text}, and the gradient is wrong for your own loss too"


def _detail(judgement: Judgement, mistake: Mistake) -> str:
    """What a leaf was found to be made of, where that says more than the code."""
    evidence = judgement.evidence
    if mistake in evidence.shapes or mistake.detail:
        return mistake.detail or evidence.shapes[mistake]
    if mistake.code not in ("l2_factor", "l2_constant", "unknown") or mistake.place != "w":
        return ""
    k, name = mistake.layer, evidence.asked.leaf_name(mistake.layer, "w")
    i = next((i for i, case in enumerate(evidence.cases) if case.l2 and "w" in evidence.observed[i][k]), None)
    if i is None:
        return ""
    case, mine = evidence.cases[i], evidence.observed[i][k]["w"].ravel()
    data = (evidence.truths[i].grads[k]["w"] - 2 * case.l2 * case.params[k].w).ravel()
    columns = np.stack([data, case.l2 * case.params[k].w.ravel()], axis=1)
    found = np.linalg.lstsq(columns, mine, rcond=None)[0]
    if np.linalg.norm(columns @ found - mine) > 1e-3 * np.linalg.norm(mine):
        return ""
    return f"{name} is {found[0]:.3g} x its data term + {found[1]:.3g} lambda {name} where lambda is {case.l2:.3g}"


class _Table:
    """The rows: each leaf's worst case, relative to its limit; cases that a remark explains do not count."""

    def __init__(self, judgement: Judgement, purpose: Purpose, mistakes: set[Mistake]) -> None:
        self.judgement, self.evidence, self.purpose = judgement, judgement.evidence, purpose
        self.mistakes = mistakes
        self.codes = tuple({m.code for m in mistakes})
        self.errors = {
            at: error
            for at, error in self.evidence.errors(purpose).items()
            if not explained_by_remarks(self.evidence.cases[at[0]], self.codes)
        }
        self.over = set(self.evidence.wrong(self.errors))

    def row(self, k: int, field: str) -> LeafRow:
        """One leaf's row."""
        evidence = self.evidence
        here = {m.code for m in self.mistakes if m.layer == k and m.place in (field, "delta", "all")}
        above = {m.code for m in self.mistakes if m.layer > k and m.place in ("delta", "all")}
        counted = [at for at in self.errors if at[1:] == (k, field)]
        shape = any((m.layer, m.place) == (k, field) for m in evidence.shapes)
        bad = shape or (k, field) in evidence.non_finite or any(at in self.over for at in counted)
        follows = {code for code in above if bad and not MISTAKES[code].remark}
        if bad and not here | follows and self.judgement.mismatch:
            follows = {"loss_mismatch"}
        row = LeafRow(
            leaf=evidence.asked.leaf_name(k, field),
            equation=leaf_equation(k, field, len(evidence.cases[0].params)),
            verdict="FAIL" if bad else "PASS",
            codes=_in_order(here),
            follows=_in_order(follows - here),
        )
        return self._with_numbers(row, counted) if counted else row

    def _with_numbers(self, row: LeafRow, counted: list[At]) -> LeafRow:
        # large logits last: their errors are as large as they are
        cases = self.evidence.cases
        ranked = {
            at: (at in self.over, cases[at[0]].name != OVERFLOW, self.errors[at] / self.evidence.limit(*at))
            for at in counted
        }
        at = max(ranked, key=ranked.__getitem__)
        i, k, field = at
        case, truth = self.evidence.cases[i], self.evidence.truths[i]
        true, mine = (
            gradient(case, truth, self.purpose.objectives[i])[k][field],
            self.evidence.observed[i][k][field],
        )
        index = np.unravel_index(int(np.argmax(np.abs(mine - true))), true.shape)
        norms = float(np.linalg.norm(mine) * np.linalg.norm(true))
        return replace(
            row,
            relative_error=self.errors[at] if np.isfinite(self.errors[at]) else None,
            tolerance=self.evidence.limit(*at),
            index=tuple(map(int, index)),
            yours=float(mine[index]),
            true=float(true[index]),
            cosine=float((mine * true).sum()) / norms if norms else None,
            case=case.describe(),
        )


def _in_order(codes: set[str]) -> tuple[str, ...]:
    return tuple(code for code in CODES if code in codes)


def _notes(judgement: Judgement, convention: str) -> list[str]:
    evidence, notes = judgement.evidence, []
    if evidence.float32_inside:
        notes.append("its results are float64, but only as exact as float32, and are judged as such")
    if evidence.dtype != "float64":
        notes.append(f"{evidence.dtype}: relative errors up to {TOLERANCE[evidence.dtype]:.0e} count as rounding")
    if judgement.purpose.text == HALF and convention == "auto":
        notes.append("loss and gradient agree on the penalty lambda/2 ||W||^2: a convention, not a mistake")
    return [*notes, *(f"it fails in the case {case.describe()}: {error}" for case, error in evidence.failed)]


def as_row(row: LeafRow) -> dict[str, Any]:
    """A leaf as a row of results.json."""
    return {**asdict(row), "index": list(row.index), "codes": list(row.codes), "follows": list(row.follows)}
