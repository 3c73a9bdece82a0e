"""The report on the trials of one layer, or of any function."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from mlp_jax.gradcheck import report
from mlp_jax.gradcheck.layers.diagnosis import mistakes_at
from mlp_jax.gradcheck.layers.network import LayerNetwork
from mlp_jax.gradcheck.layers.trials import Trial, off
from mlp_jax.gradcheck.mistakes.factors import Codes
from mlp_jax.gradcheck.mistakes.table import MISTAKES
from mlp_jax.gradcheck.report import Finding, LeafRow, Report, with_numbers

finding = partial(report.finding, of_layer=True)


def row(leaf: str, formula: str, told: Codes, trials: Sequence[Trial]) -> LeafRow:
    """Returns one line of the table: the worst case's worst element."""
    verdict = "FAIL" if any(not MISTAKES[code].remark for code, _ in told) else "PASS"
    codes = tuple(dict.fromkeys(code for code, _ in told))
    plain = LeafRow(leaf, formula, verdict, codes, ())
    compared = [t for t in trials if leaf in t.found and t.found[leaf].shape == t.true[leaf].shape]
    if not compared:
        return plain
    worst = max(compared, key=lambda t: off(leaf, t))
    return with_numbers(plain, worst.found[leaf], worst.true[leaf], off(leaf, worst), worst.tolerance, worst.about)


def judged(
    name: str,
    trials: Sequence[Trial],
    *,
    formulas: Mapping[str, str] | None = None,
    network: Callable[[str], LayerNetwork | None] = lambda leaf: None,
    findings: Sequence[Finding] = (),
    notes: Sequence[str] = (),
    against: str = "jax.vjp in float64",
) -> Report:
    """Returns the report on the trials of one function; network: that in which a leaf is, where one is known."""
    formulas = formulas or {}
    leaves = list(trials[0].true)
    told = {leaf: mistakes_at(leaf, trials, network(leaf)) for leaf in leaves}
    rows = [row(leaf, formulas.get(leaf, "-"), told[leaf], trials) for leaf in leaves]
    found = list(findings)
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
    return Report(name, tuple(rows), tuple(found), tuple(notes), len(trials), against=against)
