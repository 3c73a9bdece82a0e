"""Which function is the returned loss? J~, J~ with half the penalty, or another that its values give away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlp_jax.gradcheck.battery import Case, Leaves, Truth, one_hot, softmax

LOSS_TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-2}
DIGITS = {"float64": 9, "float32": 3, "float16": 1, "bfloat16": 1}
CONVENTIONS = {"full": 1.0, "half": 0.5}
FULL, HALF = "J~", "J~ with lambda/2 ||W||^2"
SMALL = 1e-3  # losses below this are compared absolutely


class Objective(NamedTuple):
    """data * cross-entropy + sum_k weights[k] ||W_k||^2 + biases ||b||^2, in one case.

    J~ has data = 1, weights[k] = lambda and biases = 0.
    """

    data: float
    weights: tuple[float, ...]
    biases: float


class Purpose(NamedTuple):
    """What a gradient may be meant for: an objective for every case, and its name."""

    objectives: tuple[Objective, ...]
    text: str


def j_tilde(cases: Sequence[Case], convention: str) -> Purpose:
    """J~ with the penalty lambda ||W||^2 ("full") or lambda/2 ||W||^2 ("half")."""
    factor = CONVENTIONS[convention]
    objectives = [Objective(1.0, (factor * case.l2,) * len(case.params), 0.0) for case in cases]
    return Purpose(tuple(objectives), FULL if convention == "full" else HALF)


def value(case: Case, truth: Truth, objective: Objective) -> float:
    """The objective's value in a case."""
    weights = sum(c * _square(layer.w) for c, layer in zip(objective.weights, case.params, strict=True))
    return objective.data * truth.data_loss + weights + objective.biases * _biases(case)


def gradient(case: Case, truth: Truth, objective: Objective) -> Leaves:
    """The objective's gradient in a case, from that of J~."""
    leaves: Leaves = []
    for layer, grads, weight in zip(case.params, truth.grads, objective.weights, strict=True):
        scaled = {field: objective.data * leaf for field, leaf in grads.items()}
        scaled["w"] = objective.data * (grads["w"] - 2 * case.l2 * layer.w) + 2 * weight * layer.w
        scaled["b"] = scaled["b"] + 2 * objective.biases * layer.b
        leaves.append(scaled)
    return leaves


def agrees(case: Case, truth: Truth, objective: Objective, loss: float, dtype: str) -> bool:
    """Whether a loss is the objective's value."""
    expected = value(case, truth, objective)
    return abs(loss - expected) <= _limit(truth, dtype) * max(SMALL, abs(expected))


def tells(case: Case, truth: Truth) -> bool:
    """Whether the loss can be compared: -log(psi) of a psi that underflows is another matter."""
    return float((softmax(truth.trace.logits) * one_hot(case)).sum(axis=1).min()) > 1e-30


def _limit(truth: Truth, dtype: str) -> float:
    return LOSS_TOLERANCE[dtype] * max(1.0, 1e-6 * float(np.abs(truth.trace.logits).max()))


@dataclass(frozen=True)
class Fitted:
    """a N^power * cross-entropy + lambda sum_k weights[k] ||W_k||^2 + constant ||W||^2 + lambda biases ||b||^2."""

    power: int
    data: float
    weights: tuple[float, ...]
    constant: float
    biases: float

    def at(self, case: Case) -> Objective:
        """The objective in a case."""
        weights = tuple(case.l2 * weight + self.constant for weight in self.weights)
        return Objective(self.data * float(len(case.y)) ** self.power, weights, case.l2 * self.biases)

    def text(self) -> str:
        """The function in words."""
        kind = {0: "mean", 1: "sum", -1: "mean / N"}[self.power]
        parts = [(self.data, f"{kind} of the cross-entropy")]
        parts += [(weight, f"lambda ||W{k}||^2") for k, weight in enumerate(self.weights, start=1)]
        parts += [(self.constant, "||W||^2 whatever lambda is"), (self.biases, "lambda ||b||^2")]
        return " + ".join(f"{factor:.3g} {what}" for factor, what in parts if factor)


def fit(losses: Sequence[tuple[Case, Truth, float]], dtype: str) -> Fitted | None:
    """The function that the losses are the values of; None if it is not of that kind, or cases are too few."""
    if len(losses) < len(losses[0][0].params) + 5:
        return None
    y = np.array([loss for _, _, loss in losses])
    for power in (0, 1, -1):
        columns = np.array([_columns(case, truth, power) for case, truth, _ in losses])
        size = np.linalg.norm(columns, axis=0)
        found = np.linalg.lstsq(columns / size, y, rcond=None)[0] / size
        if np.all(np.abs(columns @ found - y) <= LOSS_TOLERANCE[dtype] * np.maximum(SMALL, np.abs(y))):
            kept = np.where(np.abs(found) < 1e-6 * abs(found[0]), 0, found)
            # the coefficients that somebody wrote, without the fit's own rounding
            data, *weights, constant, biases = (float(f"{c:.{DIGITS[dtype]}g}") for c in kept)
            return Fitted(power, data, tuple(weights), constant, biases)
    return None


def _columns(case: Case, truth: Truth, power: int) -> list[float]:
    weights = [_square(layer.w) for layer in case.params]
    data = truth.data_loss * float(len(case.y)) ** power
    return [data, *(case.l2 * w for w in weights), sum(weights), case.l2 * _biases(case)]


def _square(array: np.ndarray) -> float:
    return float((np.asarray(array) ** 2).sum())


def _biases(case: Case) -> float:
    return sum(_square(layer.b) for layer in case.params)
