"""Networks and losses whose last bias has the candidate's gradient, where it returns no loss."""

import numpy as np

from mlp_jax.gradcheck.judging import variants
from mlp_jax.gradcheck.judging.evidence import Evidence
from mlp_jax.gradcheck.judging.variants import Variant
from mlp_jax.gradcheck.mistakes.ops import softmax
from mlp_jax.gradcheck.objective import LOSS_TOLERANCE
from mlp_jax.gradcheck.other_losses import LOSSES, PLAIN

ALIKE = 1e-6  # how far a bias's gradient may be from that of a network that explains it


def alike(evidence: Evidence) -> list[Variant]:
    """Networks and losses whose derivative by the last bias is the candidate's in every case; nearest first.

    The loss may be the sum over the examples as well.
    """
    chosen = [i for i in range(len(evidence.cases)) if i not in evidence.overflows]
    top = len(evidence.cases[0].params) - 1
    chosen = [i for i in chosen if "b" in evidence.observed[i][top]]
    if not chosen:
        return []
    tolerance = ALIKE if evidence.dtype == "float64" else 10 * LOSS_TOLERANCE[evidence.dtype]
    held = variants.Scores([(evidence.cases[i], evidence.truths[i]) for i in chosen])

    def off(variant: Variant, enough: float = np.inf) -> float:
        return min(off_by(variant, enough, mean) for mean in (True, False))

    def off_by(variant: Variant, enough: float, mean: bool) -> float:
        worst = 0.0
        for i, scores in zip(chosen, held.of(variant), strict=True):
            true = _bias_gradient(variant.loss, scores, evidence.cases[i].y)
            true = true if mean else true * len(scores)
            distance = float(np.linalg.norm(evidence.observed[i][top]["b"] - true))
            worst = max(worst, distance / (float(np.linalg.norm(true)) or 1.0))
            if not worst <= enough:
                break
        return worst

    config = evidence.cases[0].config
    tried = [v._replace(loss=name) for v in variants.networks(config) for name in LOSSES]
    found = [variant for variant in tried if off(variant, tolerance) <= tolerance]
    if evidence.dtype == "float64" and (near := variants.nearest(off, config)) is not None:
        found += [near] if off(near) <= tolerance else []
    # another eps, or one inside the log, makes little difference
    return sorted(found, key=off)


def _bias_gradient(name: str, scores: np.ndarray, y: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Returns the derivative of the mean loss by the last bias, (C,), exact to some 1e-9."""
    loss = LOSSES[name]
    if name == PLAIN and scores.shape[1] > 1:
        return np.asarray((softmax(scores) - np.eye(scores.shape[1])[y]).mean(axis=0))
    with np.errstate(all="ignore"):
        return np.array(
            [
                float(np.mean(loss(np, scores + step * unit, y) - loss(np, scores - step * unit, y))) / (2 * step)
                for unit in np.eye(scores.shape[1])
            ]
        )
