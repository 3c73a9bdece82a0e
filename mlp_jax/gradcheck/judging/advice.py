"""What is said of a mistake beside its row: what a leaf was found to be made of, and how to mend it here."""

import numpy as np

from mlp_jax.gradcheck.judging.diagnosis import Judgement
from mlp_jax.gradcheck.mistakes.situation import Mistake


def mend_of(judgement: Judgement, code: str, places: set[str]) -> str:
    """How to mend a mistake, where that is not what its row says; else ""."""
    if code == "batch_mean_missing" and places <= {"w", "b"}:
        return "divide this sum over the examples by N = X.shape[0]"
    if code in ("l2_ignored", "l2_factor") and judgement.purpose.penalty:
        return f"add the derivative by W of your loss's penalty, {judgement.purpose.penalty}, once"
    return ""


def detail_of(judgement: Judgement, mistake: Mistake) -> str:
    """What a leaf was found to be made of, where that says more than the code."""
    evidence = judgement.evidence
    if mistake.detail == "0.5 times" and "squared error" in evidence.cases[0].loss:
        return "0.5 times: the derivative of a square has a 2"
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


def penalty_is_wrong(judgement: Judgement) -> bool:
    """Whether a mistake in the penalty is told."""
    return any(m.code.startswith(("l2", "penalty")) for m in judgement.mistakes)
