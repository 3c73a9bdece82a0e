"""Is a gradient the derivative of the candidate's own loss? Central differences of that loss tell."""

import numpy as np

from mlp_jax.gradcheck.answers import Question
from mlp_jax.gradcheck.evidence import EPSILON, ORDINARY, Evidence

DIRECTIONS = 6  # that are tried for two that cross no kink


def own_slopes(evidence: Evidence) -> dict[tuple[int, str], bool]:
    """Per leaf, whether it is the derivative of the candidate's own loss; {} if that cannot be told.

    By central differences in random directions, in an ordinary case. The error allowed is a hundred times what
    truncation and rounding leave. Where two steps disagree, a kink is crossed, and another direction is taken.
    """
    i = next((i for i, case in enumerate(evidence.cases) if case.name in ORDINARY), None)
    if i is None or any(field not in evidence.observed[i][k] for k, field in evidence.leaves):
        return {}
    rng = np.random.default_rng(0)
    found = {(k, field): _slope_is_right(evidence, i, k, field, rng) for k, field in evidence.leaves}
    return {at: right for at, right in found.items() if right is not None} if None not in found.values() else {}


def _slope_is_right(evidence: Evidence, i: int, k: int, field: str, rng: np.random.Generator) -> bool | None:
    step = EPSILON[evidence.dtype] ** (1 / 3)
    leaf = getattr(evidence.cases[i].params[k], field)
    verdicts = []
    for _ in range(DIRECTIONS):
        direction = rng.normal(size=leaf.shape) * max(float(np.abs(leaf).mean()), 1e-3)
        losses = _moved_losses(evidence, i, k, field, [leaf + s * step * direction for s in (1, -1, 2, -2)])
        slope, coarse = (losses[0] - losses[1]) / (2 * step), (losses[2] - losses[3]) / (4 * step)
        allowed = 100 * step**2 * max(abs(losses[0]), abs(slope))
        if not abs(slope - coarse) <= allowed:
            continue
        verdicts.append(abs(slope - float((evidence.observed[i][k][field] * direction).sum())) <= 2 * allowed)
        if len(verdicts) == 2:
            break
    return all(verdicts) if verdicts else None


def _moved_losses(evidence: Evidence, i: int, k: int, field: str, leaves: list[np.ndarray]) -> list[float]:
    case, questions = evidence.cases[i], []
    for leaf in leaves:
        layer = case.params[k]._replace(**{field: leaf})
        moved = case._replace(params=(*case.params[:k], layer, *case.params[k + 1 :]))
        questions.append(Question(moved, evidence.truths[i].masks))
    return [np.nan if a.loss is None else a.loss for a in evidence.asked.ask(questions)]
