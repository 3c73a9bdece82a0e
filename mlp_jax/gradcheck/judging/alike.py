"""Networks and losses whose last bias (or weights) has the candidate's gradient, where it returns no loss."""

from collections.abc import Callable
from functools import cache
from itertools import islice, product

import numpy as np

from mlp_jax.gradcheck.judging import variants
from mlp_jax.gradcheck.judging.evidence import Evidence
from mlp_jax.gradcheck.judging.nearest import nearest
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
    scores = variants.Scores(list(zip(evidence.cases, evidence.truths, strict=True)))
    by_scores = cache(
        lambda variant, i: _by_scores(variant.loss, scores.of_case(variant, i)[0], evidence.cases[i].y)
    )
    leaves = (_LastLeaf(evidence, field, scores, by_scores) for field in "bw")
    return next((found for leaf in leaves if (found := leaf.explained())), [])


class _LastLeaf:
    """This is the candidate's gradient of the last bias, or weights, beside those of other networks and losses."""

    def __init__(
        self,
        evidence: Evidence,
        field: str,
        scores: variants.Scores,
        by_scores: Callable[[Variant, int], np.ndarray],
    ) -> None:
        self.evidence, self.field, self.scores, self.by_scores = evidence, field, scores, by_scores
        observed = [leaves[-1] for leaves in evidence.observed]
        l2 = [case.l2 for case in evidence.cases]
        cases = [i for i in range(len(l2)) if i not in evidence.overflows and field in observed[i]]
        if field == "w" and evidence.asked.takes_l2:  # which has the penalty's derivative too
            cases = [i for i in cases if not l2[i]]
        # for both fields the same case is the first: it alone tells of nearly all that they are others
        self.observed = {i: observed[i][field] for i in sorted(cases, key=lambda i: bool(l2[i]))}
        self.tolerance = ALIKE if evidence.dtype == "float64" else 10 * LOSS_TOLERANCE[evidence.dtype]

    def explained(self) -> list[tuple[Variant, Fitted]]:
        """The networks and losses that have this gradient, nearest first."""
        if not self.observed:
            return []
        config = self.evidence.cases[0].config
        tried = [v._replace(loss=name) for v in variants.networks(config) for name in LOSSES]
        found = [(*self.off(variant, self.tolerance), variant) for variant in tried]
        # a number that is on no list is looked for where what is on the lists is not this to the last digits
        if self.evidence.dtype == "float64" and min(each[0] for each in found) > EXACTLY:
            near = nearest(lambda variant: self.off(variant, most=SEARCHED)[0], config)
            found += [] if near is None else [(*self.off(near, self.tolerance), near)]
        # another eps, or one inside the log, makes little difference
        close = list[tuple[float, Fitted, Variant]]()
        for each in found:
            if each[0] <= self.tolerance and not any(self.is_same(each[2], other) for *_, other in close):
                close.append(each)
        nearest_first = sorted(close, key=lambda each: max(each[0], ROUNDING))
        return [(variant, fitted) for _, fitted, variant in nearest_first]

    def off(self, variant: Variant, enough: float = np.inf, *, most: int | None = None) -> tuple[float, Fitted]:
        """How far off a variant's gradient is with the factor that suits, and that factor; inf where none can."""
        worst = dict.fromkeys(product(_factors(variant.loss), (True, False)), 0.0)
        for i, observed in islice(self.observed.items(), most):
            d, (_, inputs) = self.by_scores(variant, i), self.scores.of_case(variant, i)
            gradient, (n, c) = d.sum(axis=0) if self.field == "b" else inputs.T @ d, d.shape
            if enough < _off_direction(observed, gradient):
                return np.inf, Fitted()
            for (fitted, mean), before in list(worst.items()):
                true = gradient * fitted.data * float(c) ** fitted.classes * (1 if mean else n)
                distance = float(np.linalg.norm(observed - true)) / (float(np.linalg.norm(true)) or 1.0)
                worst[fitted, mean] = max(before, distance) if np.isfinite(distance) else np.inf
            if not min(worst.values()) <= enough:
                break
        (fitted, _), least = min(worst.items(), key=lambda pair: pair[1])
        return least, fitted

    def is_same(self, a: Variant, b: Variant) -> bool:
        """Whether two losses of one network are one, as several are of one output: differences show nothing."""
        if CLIPPED in a.loss or a.options != b.options:
            return False
        pairs = ((self.by_scores(a, i), self.by_scores(b, i)) for i in self.observed)
        return all(np.linalg.norm(c - d) <= SAME * max(1.0, float(np.linalg.norm(d))) for c, d in pairs)


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
