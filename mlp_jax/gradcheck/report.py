"""What a check found: one row per leaf, one finding per mistake, and the text that shows them.

`telling` makes the report on a network, `layers.report` that on a single layer or any function.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from typing import Any, NamedTuple

import numpy as np

from mlp_jax import text
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import html
from mlp_jax.gradcheck.mistakes.table import CODES, MISTAKES

AUTODIFF = "jax.grad in float64"
HEADER = ["leaf", "equation", "error", "at", "yours", "should be", "cosine", "verdict", ""]


@dataclass(frozen=True)
class LeafRow:
    """This is one leaf of the gradient over all cases.

    verdict: PASS or FAIL. codes: the mistakes made at this leaf or layer. follows: the mistakes above that spoil
    it too. relative_error: the worst case's |yours - true| over its size (Euclidean norms; `truth.Truth.size`),
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


@dataclass(frozen=True)
class WorstCase:
    """The inputs of the case in which a leaf is furthest off, and the leaf there.

    params: by the candidate's own names; x (N, D), y (N,), l2 (lambda), masks: per layer with dropout, (N, H).
    index: the worst element of `yours` and `true`. upstream: of a layer or a function, the gradient dout of its
    output; all its inputs are `params`, x is the first of them, and there are no labels.
    """

    description: str
    params: Mapping[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    l2: float
    masks: tuple[np.ndarray, ...]
    yours: np.ndarray
    true: np.ndarray
    index: tuple[int, ...]
    upstream: np.ndarray | None = None


class Finding(NamedTuple):
    """One mistake: its code, the equation and the leaves where it is made, and what to tell a student."""

    code: str
    equation: str
    leaves: tuple[str, ...]
    sentence: str
    remark: bool

    @property
    def title(self) -> str:
        """What it is called above its sentence."""
        at = f", at {' and '.join(self.leaves)}" if self.leaves else ""
        return f"{self.code}: equation {self.equation}{at}{' (a remark, not a failure)' * self.remark}"


@dataclass(frozen=True, repr=False)
class Report:
    """The outcome for one candidate; `str(report)` is the text for people, and what a notebook shows is that too.

    about: what the candidate's loss is, if the gradient was judged by that and it is not J~.
    """

    name: str
    leaves: tuple[LeafRow, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    cases: int
    about: str = ""
    against: str = AUTODIFF
    examples: Mapping[str, WorstCase] = dataclass_field(default_factory=dict, compare=False)

    @property
    def codes(self) -> list[str]:
        """The codes of what is wrong, in the documented order."""
        return self._codes(remark=False)

    @property
    def remarks(self) -> list[str]:
        """The codes of what is no failure, in the documented order."""
        return self._codes(remark=True)

    def _codes(self, *, remark: bool) -> list[str]:
        return list(in_order(finding.code for finding in self.findings if finding.remark == remark))

    @property
    def passed(self) -> bool:
        """Whether the gradient is right: remarks do not count."""
        return all(finding.remark for finding in self.findings)

    def case(self, leaf: str) -> WorstCase:
        """The inputs of the case in which a leaf is furthest off, to compute that case by hand.

        Raises UserError if there is no such leaf, or nothing to compare in it.
        """
        if leaf not in self.examples:
            raise UserError(f"there is no case for {leaf!r}: choose one of {', '.join(self.examples) or 'none'}")
        return self.examples[leaf]

    def headline(self) -> str:
        """Returns the outcome in one line."""
        number = len([f for f in self.findings if not f.remark])
        right = f"RIGHT for your own loss, which is not J~: {self.about}" if self.about else "RIGHT"
        outcome = right if self.passed else f"WRONG: {number} mistake{'s' * (number != 1)}"
        return f"{self.name}: {outcome} ({self.cases} case{'s' * (self.cases != 1)}, against {self.against})"

    def __str__(self) -> str:
        lines = [*_wrapped(self.headline(), ""), "", self.leaf_table()]
        for finding in self.findings:
            lines += ["", finding.title, *_wrapped(finding.sentence)]
        return "\n".join([*lines, *("\n".join(["", *_wrapped(f"Note: {note}.", "")]) for note in self.notes)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: a heading, the table of leaves, an element that opens per finding."""
        findings = [(each.title, each.sentence, "remark" if each.remark else "FAIL") for each in self.findings]
        heading = html.coloured(self.headline(), "PASS" if self.passed else "FAIL")
        return html.report(heading, HEADER, [_cells(row) for row in self.leaves], findings, self.notes)

    def leaf_table(self) -> str:
        """Returns one line per leaf, as a Markdown table."""
        return text.table(HEADER, [_cells(row) for row in self.leaves])


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


def finding(
    code: str,
    equation: str,
    leaves: Sequence[str] = (),
    detail: str = "",
    *,
    remark: bool | None = None,
    of_layer: bool = False,
    mend: str = "",
) -> Finding:
    """The finding for a code, with its sentence; of a layer in the words for layers, where there are any.

    mend: how to mend it, where that is not what the row says.
    """
    row = MISTAKES[code]
    place = f"At {' and '.join(leaves)} the code" if leaves else "The code"
    detail = f" ({detail})" if detail else ""
    says, usual = row.layer if of_layer and row.layer[0] else (row.says, row.mend)
    sentence = f"{place} {row.does}{detail}. {says[0].upper()}{says[1:]}. To mend it: {mend or usual}."
    return Finding(code, equation, tuple(leaves), sentence, row.remark if remark is None else remark)


def with_the_call(rows: Sequence[LeafRow], findings: Sequence[Finding]) -> tuple[LeafRow, ...]:
    """The rows, and one more for each failure that is of no leaf: nothing is wrong while every row passes."""
    told = {code for row in rows for code in (*row.codes, *row.follows)}
    rest = [each for each in findings if not each.remark and each.code not in told]
    names = [" ".join(each.leaves) or "the call" for each in rest]
    more = zip(names, rest, strict=True)
    return (*rows, *(LeafRow(name, each.equation, "FAIL", (each.code,), ()) for name, each in more))


def worst_element(mine: np.ndarray, true: np.ndarray) -> tuple[int, ...]:
    """The index where both differ most; NaN in `true` is what is not known."""
    difference = np.nan_to_num(np.abs(mine - true), nan=-1)
    return tuple(map(int, np.unravel_index(int(np.argmax(difference)), true.shape)))


def with_numbers(
    row: LeafRow, mine: np.ndarray, true: np.ndarray, error: float, tolerance: float, case: str
) -> LeafRow:
    """The row with what its worst case says: the leaf as it is there and as it should be."""
    index, known = worst_element(mine, true), ~np.isnan(true)
    norms = float(np.linalg.norm(mine[known]) * np.linalg.norm(true[known]))
    yours, right = (float(a[index]) if np.isfinite(a[index]) else None for a in (mine, true))
    return replace(
        row,
        relative_error=error if np.isfinite(error) else None,
        tolerance=tolerance,
        index=index,
        yours=yours,
        true=right,
        cosine=float((mine[known] * true[known]).sum()) / norms if np.isfinite(norms) and norms > 0 else None,
        case=case,
    )


def in_order(codes: Iterable[str]) -> tuple[str, ...]:
    """Returns codes in the documented order."""
    found = set(codes)
    return tuple(code for code in CODES if code in found)


def as_row(row: LeafRow) -> dict[str, Any]:
    """Returns a leaf as a row of results.json."""
    return {**asdict(row), "index": list(row.index), "codes": list(row.codes), "follows": list(row.follows)}
