"""Networks and losses whose last bias (or weights) has the candidate's gradient, where it returns no loss."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

import numpy as np

from mlp_jax.gradcheck.judging import variants
from mlp_jax.gradcheck.judging.evidence import Evidence
from mlp_jax.gradcheck.judging.own_loss import Fitted, Own
from mlp_jax.gradcheck.judging.variants import Variant
from mlp_jax.gradcheck.objective import LOSS_TOLERANCE
from mlp_jax.gradcheck.other_losses import CLIPPED, LOSSES, PLAIN, behind
from mlp_jax.gradcheck.softmax import softmax

OF_CLASSES = ("squared error", "absolute error", "binary cross-entropy of the sigmoid")
EXACTLY = 1e-10
ROUNDING = 1e-9  # of differences: what is nearer than this is as near as another
SEARCHED = 3  # the cases that a slope or eps is looked for in; what is found is held against all
SAME = 1e-10  # how far the derivatives of two losses may be apart, if they are one
ALIKE = 1e-6  # how far a bias's gradient may be from that of a network that explains it


def alike(evidence: Evidence) -> list[tuple[Variant, Fitted]]:
    """Networks and losses whose derivative by the last bias is the candidate's in every case; nearest first.

    Where there are none it is that by the last weights. The loss may be the sum over the examples as well, and
    may have a factor that people write before it.
    """
    held = variants.Scores(list(zip(evidence.cases, evidence.truths, strict=True)))

    @cache
    def derivatives(variant: Variant, i: int) -> np.ndarray:
        return _by_scores(variant.loss, held.with_inputs(variant, i)[0], evidence.cases[i].y)

    return _alike(evidence, "b", held, derivatives) or _alike(evidence, "w", held, derivatives)


def _alike(
    evidence: Evidence, field: str, held: variants.Scores, derivatives: Callable[[Variant, int], np.ndarray]
) -> list[tuple[Variant, Fitted]]:
    top = len(evidence.cases[0].params) - 1
    chosen = [i for i in range(len(evidence.cases)) if i not in evidence.overflows]
    chosen = [i for i in chosen if field in evidence.observed[i][top]]
    if field == "w" and evidence.asked.takes_l2:  # which has the penalty's derivative too
        chosen = [i for i in chosen if not evidence.cases[i].l2]
    if not chosen:
        return []
    chosen.sort(key=lambda i: bool(evidence.cases[i].l2))  # for both fields the same is the first
    tolerance = ALIKE if evidence.dtype == "float64" else 10 * LOSS_TOLERANCE[evidence.dtype]

    def nearest(variant: Variant, enough: float, among: Sequence[int]) -> tuple[float, Fitted]:
        """How far off it is with the factor that suits, and that factor; inf where none can."""
        worst = dict.fromkeys(product(_factors(variant.loss), (True, False)), 0.0)
        for i in among:
            d, (_, inputs) = derivatives(variant, i), held.with_inputs(variant, i)
            gradient, (n, c) = d.sum(axis=0) if field == "b" else inputs.T @ d, d.shape
            observed = evidence.observed[i][top][field]
            if enough < _off_direction(observed, gradient):
                return np.inf, Fitted()
            for (fitted, mean), before in list(worst.items()):
                true = gradient * fitted.data * float(c) ** fitted.classes * (1 if mean else n)
                distance = float(np.linalg.norm(observed - true))
                off_by = distance / (float(np.linalg.norm(true)) or 1.0)
                worst[fitted, mean] = max(before, off_by) if np.isfinite(off_by) else np.inf
            if not min(worst.values()) <= enough:
                break
        (fitted, _), least = min(worst.items(), key=lambda pair: pair[1])
        return least, fitted

    def off(variant: Variant) -> float:
        return nearest(variant, np.inf, chosen[:SEARCHED])[0]

    def is_same(a: Variant, b: Variant) -> bool:
        """Whether two losses of one network are one, as several are of one output: differences show nothing."""
        pairs = ((derivatives(a, i), derivatives(b, i)) for i in chosen)
        return (
            CLIPPED not in a.loss
            and a.options == b.options
            and all(np.linalg.norm(c - d) <= SAME * max(1.0, float(np.linalg.norm(d))) for c, d in pairs)
        )

    config = evidence.cases[0].config
    tried = [v._replace(loss=name) for v in variants.networks(config) for name in LOSSES]
    found = [(*nearest(variant, tolerance, chosen), variant) for variant in tried]
    # a number that is on no list is looked for where those on the lists are not the candidate's to the last digits
    if evidence.dtype == "float64" and min(each[0] for each in found) > EXACTLY:
        near = variants.nearest(off, config)
        found += [] if near is None else [(*nearest(near, tolerance, chosen), near)]
    # another eps, or one inside the log, makes little difference
    close = list[tuple[float, Fitted, Variant]]()
    for each in found:
        if each[0] <= tolerance and not any(is_same(each[2], other) for *_, other in close):
            close.append(each)
    nearest_first = sorted(close, key=lambda each: max(each[0], ROUNDING))
    return [(variant, fitted) for _, fitted, variant in nearest_first]


def _off_direction(observed: np.ndarray, gradient: np.ndarray) -> float:
    """Returns how far `observed` is off the nearest positive multiple of a gradient, or 0 where that is little.

    Rounding hides angles below 1e-8 from a cosine.
    """
    sizes = float(np.linalg.norm(observed) * np.linalg.norm(gradient))
    cosine = float((observed * gradient).sum()) / sizes if sizes else 1.0
    sine = float(np.sqrt(max(1 - cosine**2, 0))) if cosine > 0 else np.inf
    return sine if sine > 1e-6 else 0.0


def of_another_penalty(evidence: Evidence) -> str:
    """The penalty in words, of those that courses have, with which a gradient without a loss is right; or ""."""
    for factor, over_n in ((0.5, False), (0.5, True), (1.0, True)):
        fitted = Fitted(weights=(factor,) * len(evidence.cases[0].params), over_n=over_n)
        if not evidence.wrong(evidence.errors(Own(Variant(), fitted).purpose(evidence.cases))):
            return fitted.penalty_text().replace("0.5 lambda", "lambda/2").replace("lambda/2/N", "lambda/(2N)")
    return ""


def _factors(loss: str) -> list[Fitted]:
    """What people write before a loss, the likeliest first: half a square, and a mean over the classes too."""
    numbers = {"squared error": (1.0, 0.5)}.get(behind(loss)[0], (1.0,))
    of_classes = (0, -1) if behind(loss)[0] in OF_CLASSES else (0,)
    return [Fitted(data=number, classes=power) for power in of_classes for number in numbers]


def _by_scores(name: str, scores: np.ndarray, y: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Returns the derivative of the mean loss by the scores, (N, C), exact to some 1e-9."""
    loss, (n, c) = LOSSES[name], scores.shape
    if name == PLAIN and c > 1:
        return np.asarray((softmax(scores) - np.eye(c)[y]) / n)
    moved = scores + step * np.stack([np.eye(c), -np.eye(c)])[:, :, None]  # up and down, by class
    with np.errstate(all="ignore"):
        up, down = loss(np, moved.reshape(-1, c), np.tile(y, 2 * c)).reshape(2, c, n)
        return np.asarray((up - down).T / (2 * step * n))
