"""What a gradient may be meant for: J~, or another function of the same parts, with its value and gradient."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlp_jax.gradcheck.softmax import probabilities
from mlp_jax.gradcheck.truth import Case, Leaves, Truth, one_hot

LOSS_TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-2}
CONVENTIONS = {"full": 1.0, "half": 0.5}
OBJECTIVES = ("auto", "report")
FULL, HALF = "J~", "J~ with lambda/2 ||W||^2"
SMALL = 1e-3  # losses below this are compared absolutely


class Objective(NamedTuple):
    """data * mean data loss + sum_k weights[k] ||W_k||^2 + biases ||b||^2, in one case.

    J~ has data = 1, weights[k] = lambda and biases = 0.
    """

    data: float
    weights: tuple[float, ...]
    biases: float


class Purpose(NamedTuple):
    """What a gradient may be meant for: an objective for every case, its name, and the weights' penalty in words.

    The latter is "" where that is the report's, of which the table of mistakes speaks.
    """

    objectives: tuple[Objective, ...]
    text: str
    penalty: str


def j_tilde(cases: Sequence[Case], convention: str) -> Purpose:
    """J~ with the penalty lambda ||W||^2 ("full") or lambda/2 ||W||^2 ("half")."""
    factor = CONVENTIONS[convention]
    objectives = [Objective(1.0, (factor * case.l2,) * len(case.params), 0.0) for case in cases]
    text, penalty = (FULL, "") if convention == "full" else (HALF, "lambda/2 ||W||^2")
    return Purpose(tuple(objectives), text, penalty)


def value(case: Case, truth: Truth, objective: Objective) -> float:
    """The objective's value in a case."""
    weights = sum(c * square(layer.w) for c, layer in zip(objective.weights, case.params, strict=True))
    return objective.data * truth.data_loss + weights + objective.biases * square_of_biases(case)


def gradient(case: Case, truth: Truth, objective: Objective) -> Leaves:
    """The objective's gradient in a case, from that of J~."""
    leaves: Leaves = []
    for layer, grads, weight in zip(case.params, truth.grads, objective.weights, strict=True):
        scaled = {field: objective.data * leaf for field, leaf in grads.items()}
        scaled["w"] = objective.data * (grads["w"] - 2 * case.l2 * layer.w) + 2 * weight * layer.w
        scaled["b"] = scaled["b"] + 2 * objective.biases * layer.b
        leaves.append(scaled)
    return leaves


def agrees(case: Case, truth: Truth, objective: Objective, loss: float, tolerance: float) -> bool:
    """Whether a loss is the objective's value, to a relative tolerance."""
    expected = value(case, truth, objective)
    return abs(loss - expected) <= tolerance * inexact(truth) * max(SMALL, abs(expected))


def tells(case: Case, truth: Truth) -> bool:
    """Whether the loss can be compared: -log(psi) of a psi that underflows is another matter."""
    psi, of_true = probabilities(truth.trace.logits), one_hot(case)
    if case.config.classes == 1:
        psi, of_true = np.hstack([psi, 1 - psi]), np.hstack([of_true, 1 - of_true])
    return float((psi * of_true).sum(axis=1).min()) > 1e-30


def inexact(truth: Truth) -> float:
    """How much less exact a loss is than its size, because it is a difference of large scores."""
    return max(1.0, 1e-6 * float(np.abs(truth.trace.logits).max()))


def square(array: np.ndarray) -> float:
    """Returns the sum of the squares."""
    return float((np.asarray(array) ** 2).sum())


def square_of_biases(case: Case) -> float:
    """Returns the sum of the squares of all biases."""
    return sum(square(layer.b) for layer in case.params)
