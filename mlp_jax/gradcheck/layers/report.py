"""The report on the trials of one layer, or of any function."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import report
from mlp_jax.gradcheck.layers.diagnosis import NetworkOf, mistakes_at
from mlp_jax.gradcheck.layers.trials import Trial, off
from mlp_jax.gradcheck.mistakes.factors import Codes
from mlp_jax.gradcheck.mistakes.table import MISTAKES
from mlp_jax.gradcheck.report import Finding, LeafRow, Report, WorstCase, with_numbers, worst_element

finding = partial(report.finding, of_layer=True)


def row(leaf: str, formula: str, told: Codes, trials: Sequence[Trial]) -> LeafRow:
    """Returns one line of the table: the worst case's worst element."""
    verdict = "FAIL" if any(not MISTAKES[code].remark for code, _ in told) else "PASS"
    codes = tuple(dict.fromkeys(code for code, _ in told))
    plain, worst = LeafRow(leaf, formula, verdict, codes, ()), _worst(leaf, trials)
    if worst is None:
        return plain
    return with_numbers(plain, worst.found[leaf], worst.true[leaf], off(leaf, worst), worst.tolerance, worst.about)


def _worst(leaf: str, trials: Sequence[Trial]) -> Trial | None:
    compared = [t for t in trials if leaf in t.found and t.found[leaf].shape == t.true[leaf].shape]
    return max(compared, key=lambda t: off(leaf, t), default=None)


def _examples(leaves: Sequence[str], trials: Sequence[Trial]) -> dict[str, WorstCase]:
    """Of each leaf that can be compared, the inputs of its worst case."""
    worst = {leaf: trial for leaf in leaves if (trial := _worst(leaf, trials)) is not None}
    return {
        leaf: WorstCase(
            t.about, t.inputs, next(iter(t.inputs.values())), np.zeros(0), 0.0, (), t.found[leaf], t.true[leaf],
            worst_element(t.found[leaf], t.true[leaf]), t.dout,
        )
        for leaf, t in worst.items()
    }  # fmt: skip


def judged(
    name: str,
    trials: Sequence[Trial],
    *,
    formulas: Mapping[str, str] | None = None,
    network: NetworkOf = lambda leaf: None,
    findings: Sequence[Finding] = (),
    notes: Sequence[str] = (),
    against: str = "jax.vjp in float64",
) -> Report:
    """Returns the report on the trials of one function; network: gives that of a leaf, where one is known."""
    formulas = formulas or {}
    leaves = list(trials[0].true)
    for leaf in leaves:
        if all(np.isnan(t.true[leaf]).all() and t.true[leaf].size for t in trials):
            raise UserError(
                f"nothing can be compared at {leaf}: wherever it was tried, the forward pass gives no number or "
                "has a kink"
            )
    told = {leaf: mistakes_at(leaf, trials, network) for leaf in leaves}
    rows = [row(leaf, formulas.get(leaf, "-"), told[leaf], trials) for leaf in leaves]
    at_leaves = {code for codes in told.values() for code, _ in codes}
    found = [each for each in findings if each.code not in at_leaves]
    for code in MISTAKES:
        at = [leaf for leaf in leaves if any(other == code for other, _ in told[leaf])]
        if at:
            details = dict.fromkeys(
                detail for leaf in at for other, detail in told[leaf] if other == code and detail
            )
            equation = ", ".join(dict.fromkeys(f"d{leaf} = {formulas[leaf]}" for leaf in at if leaf in formulas))
            text = "; ".join(details)
            found.append(finding(code, equation or "of the chain rule", at, text))
    if any(np.isnan(trial.true[leaf]).any() for trial in trials for leaf in leaves):
        notes = [*notes, "elements at a kink of the forward pass are left out of the comparison"]
    examples = _examples(leaves, trials)
    every = report.with_the_call(rows, found)
    return Report(name, every, tuple(found), tuple(notes), len(trials), against=against, examples=examples)
