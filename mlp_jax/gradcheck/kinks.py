"""The derivative of relu at exactly 0: any number from 0 to 1 is one that autodiff may use, too."""

import itertools
from collections.abc import Sequence

import numpy as np

from mlp_jax.gradcheck.answers import Question
from mlp_jax.gradcheck.battery import KINK, Case, Leaves
from mlp_jax.gradcheck.evidence import Evidence

STEP = 1e-7  # by which units are moved off the kink
CLOSE = 1e-5
MOST_LAYERS = 4  # hidden ones: each doubles the questions
KNOWN = (0.0, 0.5, 1.0)  # which the table of mistakes has a remark for


def at_zero(evidence: Evidence) -> tuple[Evidence, float] | None:
    """The evidence without the case of kinks, and the candidate's derivative there; None if it is no such number.

    The gradient at a kink must be that of the units moved to either side, mixed by this number in every layer.
    A network of more than `MOST_LAYERS` hidden layers is not asked.
    """
    number = next((i for i, case in enumerate(evidence.cases) if case.name == KINK), None)
    if number is None or len(evidence.cases) == 1:
        return None
    config = evidence.cases[number].config
    if config.activation != "relu" or not 1 <= len(config.hidden) <= MOST_LAYERS:
        return None
    case, masks = evidence.cases[number], evidence.truths[number].masks
    sides = list(itertools.product((-1, 1), repeat=len(case.params) - 1))
    answers = evidence.asked.ask([Question(_moved(case, side), masks) for side in sides])
    if any(answer.leaves is None for answer in answers):
        return None
    found = _flat(evidence.observed[number], evidence.leaves)
    corners = [_flat(answer.leaves or [], evidence.leaves) for answer in answers]
    if found is None or any(corner is None or corner.shape != found.shape for corner in corners):
        return None
    value = _mixed_by(found, [corner for corner in corners if corner is not None], sides)
    if value is None or min(abs(value - known) for known in KNOWN) < CLOSE:
        return None
    others = [i for i in range(len(evidence.cases)) if i != number]
    return evidence.restricted(cases=others), value


def _moved(case: Case, side: Sequence[int]) -> Case:
    """The case with the units at the kink of every hidden layer moved to a side of it."""
    layers = list(case.params)
    for k, sign in enumerate(side):
        bias = layers[k].b.copy()
        bias[0] += sign * STEP
        layers[k] = layers[k]._replace(b=bias)
    return case._replace(params=tuple(layers))


def _flat(leaves: Leaves, wanted: Sequence[tuple[int, str]]) -> np.ndarray | None:
    if any(field not in leaves[k] for k, field in wanted):
        return None
    return np.concatenate([leaves[k][field].ravel() for k, field in wanted])


def _mixed_by(found: np.ndarray, corners: list[np.ndarray], sides: list[tuple[int, ...]]) -> float | None:
    """The number from 0 to 1 that mixes the corners to what was found, told by the last hidden layer alone."""
    low, high = corners[0], corners[1]  # they differ in the last hidden layer
    at = int(np.abs(high - low).argmax())
    if not np.isfinite(found).all() or abs(high[at] - low[at]) < CLOSE:
        return None
    for value in _roots(found[at], [corner[at] for corner in corners], sides):
        weights = [np.prod([value if sign > 0 else 1 - value for sign in side]) for side in sides]
        mixed = np.array(weights) @ np.array(corners)
        if float(np.linalg.norm(mixed - found)) <= CLOSE * float(np.linalg.norm(found)):
            return value
    return None


def _roots(found: float, corners: list[float], sides: list[tuple[int, ...]]) -> list[float]:
    """The numbers from 0 to 1 at which the mixture of one element is what was found."""
    polynomial = np.polynomial.Polynomial([-found])
    for corner, side in zip(corners, sides, strict=True):
        term = np.polynomial.Polynomial([corner])
        for sign in side:
            term = term * np.polynomial.Polynomial([0, 1] if sign > 0 else [1, -1])
        polynomial = polynomial + term
    roots = np.asarray(polynomial.trim(1e-12).roots(), complex)
    return [float(r.real) for r in roots if abs(r.imag) < CLOSE and -CLOSE <= float(r.real) <= 1 + CLOSE]
