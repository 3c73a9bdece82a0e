"""What a check found: one row per leaf, one finding per mistake, and the text that shows them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from mlp_jax.gradcheck.diagnosis import Mistake
from mlp_jax.gradcheck.mistakes import CODES, MISTAKES
from mlp_jax.results import table

_OUTPUT = {"delta": "4", "all": "4", "w": "7", "b": "9"}
_HIDDEN = {"delta": "12, 13", "w": "12", "b": "13"}
_SLOPE = ("mask_missing", "mask_without_bias", "mask_wrong_tensor", "mask_at_zero")


class LeafRow(NamedTuple):
    """One leaf of the gradient over all cases.

    relative_error: the worst case's |yours - true| over its size (Euclidean norms; `battery.Truth.size`), None
    where it is not finite or has no value. index, yours, true: that case's worst element. cosine: of the angle
    between both in that case. verdict: PASS or FAIL. codes: the mistakes made at this leaf or layer.
    follows: the mistakes above that spoil it too.
    """

    leaf: str
    equation: str
    relative_error: float | None
    tolerance: float
    index: tuple[int, ...]
    yours: float | None
    true: float | None
    cosine: float | None
    case: str
    verdict: str
    codes: tuple[str, ...]
    follows: tuple[str, ...]


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
        lines = [f"{self.name}: {outcome} ({self.cases} cases, against jax.grad in float64)", "", self.leaf_table()]
        for finding in self.findings:
            at = f", at {' and '.join(finding.leaves)}" if finding.leaves else ""
            kind = " (a remark, not a failure)" if finding.remark else ""
            lines += ["", f"{finding.code}: equation {finding.equation}{at}{kind}", f"  {finding.sentence}"]
        return "\n".join([*lines, *(f"\nNote: {note}" for note in self.notes)])

    def leaf_table(self) -> str:
        """One line per leaf, as a Markdown table."""
        header = ["leaf", "equation", "error", "at", "yours", "should be", "cosine", "verdict", ""]
        return table(header, [_cells(row) for row in self.leaves])


def _cells(row: LeafRow) -> list[str]:
    why = ", ".join(row.codes) or (f"follows from {', '.join(row.follows)}" if row.follows else "")
    numbers = [_number(row.yours, ".6g"), _number(row.true, ".6g"), _number(row.cosine, ".4f")]
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


def finding(code: str, where: str, leaves: tuple[str, ...], detail: str = "") -> Finding:
    """The finding for a code, with its sentence."""
    text = MISTAKES[code]
    subject = " and ".join(leaves) or "The code"
    does = text.does if len(leaves) < 2 else _plural(text.does)
    says = f"{text.says[0].upper()}{text.says[1:]}"
    sentence = f"{subject} {does}{f' ({detail})' if detail else ''}. {says}. To mend it: {text.mend}."
    return Finding(code, where, leaves, sentence, text.remark)


def _plural(does: str) -> str:
    """"sums ..." for several leaves: "sum ..."."""
    verb, _, rest = does.partition(" ")
    known = {"has": "have", "misses": "miss", "multiplies": "multiply", "penalises": "penalise", "goes": "go"}
    return f"{known.get(verb, verb.removesuffix('s'))} {rest}"


def as_row(row: LeafRow) -> dict[str, Any]:
    """A leaf as a row of results.json."""
    return {**row._asdict(), "index": list(row.index), "codes": list(row.codes), "follows": list(row.follows)}
