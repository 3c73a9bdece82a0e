"""The report on the trials of one layer, or of any function."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from mlp_jax.gradcheck import report
from mlp_jax.gradcheck.mistakes import MISTAKES
from mlp_jax.gradcheck.report import Finding, LeafRow, Report, with_numbers
from mlp_jax.gradcheck.trials import Guesses, Told, Trial, mistakes_at, off

finding = partial(report.finding, of_layer=True)


def row(leaf: str, formula: str, told: Sequence[Told], trials: Sequence[Trial]) -> LeafRow:
    """Returns one line of the table: the worst case's worst element."""
    verdict = "FAIL" if any(not MISTAKES[t.code].remark for t in told) else "PASS"
    codes = tuple(dict.fromkeys(t.code for t in told))
    compared = [t for t in trials if leaf in t.found and t.found[leaf].shape == t.true[leaf].shape]
    if not compared:
        return LeafRow(leaf, formula, verdict, codes, ())
    worst = max(compared, key=lambda t: off(leaf, t))
    plain = LeafRow(leaf, formula, verdict, codes, ())
    return with_numbers(plain, worst.found[leaf], worst.true[leaf], off(leaf, worst), worst.tolerance, worst.about)


def judged(
    name: str,
    trials: Sequence[Trial],
    *,
    formulas: Mapping[str, str] | None = None,
    guesses: Guesses = lambda leaf, trials: (),
    findings: Sequence[Finding] = (),
    notes: Sequence[str] = (),
    against: str = "jax.vjp in float64",
) -> Report:
    """Returns the report on the trials of one function."""
    formulas = formulas or {}
    leaves = list(trials[0].true)
    told = {leaf: mistakes_at(leaf, trials, guesses, bias=_is_bias(leaf)) for leaf in leaves}
    rows = [row(leaf, formulas.get(leaf, "-"), told[leaf], trials) for leaf in leaves]
    found = list(findings)
    for code in MISTAKES:
        at = [leaf for leaf in leaves if any(t.code == code for t in told[leaf])]
        if at:
            details = dict.fromkeys(t.detail for leaf in at for t in told[leaf] if t.code == code and t.detail)
            equation = ", ".join(dict.fromkeys(f"d{leaf} = {formulas[leaf]}" for leaf in at if leaf in formulas))
            text = "; ".join(details)
            found.append(finding(code, equation or "of the chain rule", at, text))
    if any(np.isnan(trial.true[leaf]).any() for trial in trials for leaf in leaves):
        notes = [*notes, "elements at a kink of the forward pass are left out of the comparison"]
    return Report(name, tuple(rows), tuple(found), tuple(notes), len(trials), against=against)


def _is_bias(leaf: str) -> bool:
    return leaf.lower().lstrip("_") in ("b", "bias", "biases", "beta", "shift", "b1", "b2")
