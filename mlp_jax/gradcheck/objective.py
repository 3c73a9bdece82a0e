"""Which function is the returned loss? J~, J~ with half the penalty, or another that its values give away."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlp_jax.gradcheck.battery import Case, Leaves, Truth, one_hot, softmax
from mlp_jax.gradcheck.hypotheses import Objective

LOSS_TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-2}
CONVENTIONS = {"full": 1.0, "half": 0.5}


@dataclass(frozen=True)
class Purpose:
    """An objective for every case; `own`: it was read off the candidate's losses, and is not J~."""

    objectives: tuple[Objective, ...]
    own: bool
    text: str


def j_tilde(cases: Sequence[Case], convention: str) -> Purpose:
    """J~ with the penalty lambda ||W||^2 ("full") or lambda/2 ||W||^2 ("half")."""
    factor = CONVENTIONS[convention]
    objectives = [Objective(1.0, (factor * case.l2,) * len(case.params), 0.0) for case in cases]
    return Purpose(tuple(objectives), False, "J~" if convention == "full" else "J~ with lambda/2 ||W||^2")


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


def usable(case: Case, truth: Truth) -> bool:
    """Whether the loss can be compared: -log(psi) of a psi that underflows is another matter."""
    return float((softmax(truth.trace.logits) * one_hot(case)).sum(axis=1).min()) > 1e-30


def agrees(purpose: Purpose, cases: Sequence[Case], truths: Sequence[Truth], losses: Sequence[float], dtype: str) -> bool:
    """Whether the losses are the objective's values."""
    rows = zip(cases, truths, losses, purpose.objectives, strict=True)
    return all(
        abs(loss - value(case, truth, objective)) <= _limit(truth, dtype) * max(1e-3, abs(value(case, truth, objective)))
        for case, truth, loss, objective in rows
        if usable(case, truth)
    )


def _limit(truth: Truth, dtype: str) -> float:
    return LOSS_TOLERANCE[dtype] * max(1.0, 1e-6 * float(np.abs(truth.trace.logits).max()))


def fit(cases: Sequence[Case], truths: Sequence[Truth], losses: Sequence[float], dtype: str) -> Purpose | None:
    """The losses as a * N^p * cross-entropy + lambda sum_k c_k ||W_k||^2 + d ||W||^2 + lambda e ||b||^2, p = 0, 1, -1."""
    rows = [i for i, (case, truth) in enumerate(zip(cases, truths, strict=True)) if usable(case, truth)]
    if len(rows) < len(cases[0].params) + 5:
        return None
    y = np.array([losses[i] for i in rows])
    for power in (0, 1, -1):
        columns = np.array([_columns(cases[i], truths[i], power) for i in rows])
        size = np.linalg.norm(columns, axis=0)
        found = np.linalg.lstsq(columns / size, y, rcond=None)[0] / size
        if np.all(np.abs(columns @ found - y) <= LOSS_TOLERANCE[dtype] * np.maximum(1e-3, np.abs(y))):
            return Purpose(tuple(_objective(case, found, power) for case in cases), True, _text(found, power))
    return None


def _columns(case: Case, truth: Truth, power: int) -> list[float]:
    weights = [_square(layer.w) for layer in case.params]
    data = truth.data_loss * float(len(case.y)) ** power
    return [data, *(case.l2 * w for w in weights), sum(weights), case.l2 * _biases(case)]


def _objective(case: Case, found: np.ndarray, power: int) -> Objective:
    data, *weights, constant, biases = found.tolist()
    tiny = 1e-6 * max(1.0, abs(data))
    clean = [0.0 if abs(c) < tiny else c for c in (*weights, constant, biases)]
    *weights, constant, biases = clean
    factor = float(len(case.y)) ** power
    return Objective(data * factor, tuple(case.l2 * w + constant for w in weights), case.l2 * biases)


def _text(found: np.ndarray, power: int) -> str:
    data, *weights, constant, biases = (float(f"{number:.4g}") + 0.0 for number in found)
    kind = {0: "mean", 1: "sum", -1: "mean / N"}[power]
    parts = [f"{data:.4g} * {kind} of the cross-entropy" if abs(data - 1) > 1e-3 else f"the {kind} of the cross-entropy"]
    for k, weight in enumerate(weights, start=1):
        if abs(weight) > 1e-4:
            parts.append(f"{weight:.3g} lambda ||W{k}||^2")
    if abs(constant) > 1e-4:
        parts.append(f"{constant:.3g} ||W||^2 whatever lambda is")
    if abs(biases) > 1e-4:
        parts.append(f"{biases:.3g} lambda ||b||^2")
    return " + ".join(parts)


def _square(array: np.ndarray) -> float:
    return float((np.asarray(array) ** 2).sum())


def _biases(case: Case) -> float:
    return sum(_square(layer.b) for layer in case.params)
