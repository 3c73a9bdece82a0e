"""What further questions to a candidate tell: its precision, its derivative of relu at 0, and its penalty."""

import itertools
from collections.abc import Sequence

import numpy as np

from mlp_jax.gradcheck.battery import KINK
from mlp_jax.gradcheck.judging.evidence import ORDINARY, At, Evidence
from mlp_jax.gradcheck.judging.own_loss import Fitted
from mlp_jax.gradcheck.objective import LOSS_TOLERANCE, square, square_of_biases
from mlp_jax.gradcheck.reading.answers import Question
from mlp_jax.gradcheck.truth import Case, Leaves, evaluate, moved

STEP = 1e-7  # by which units are moved off the kink
CLOSE = 1e-5
MOST_LAYERS = 4  # hidden ones: each doubles the questions
KNOWN = (0.0, 0.5, 1.0)  # which the table of mistakes has a remark for


# -- are numbers in float64 only as exact as float32?


def settle_dtype(evidence: Evidence, errors: dict[At, float]) -> None:
    """float64 results that are only as exact as float32, nearly all of them, were computed in float32."""
    # at a kink the derivative may be another, whatever the arithmetic
    errors = {at: error for at, error in errors.items() if evidence.cases[at[0]].name != KINK}
    if evidence.dtype != "float64" or not evidence.wrong(errors) or evidence.wrong(errors, "float32"):
        return
    inexact = {(k, field) for (_, k, field), error in errors.items() if error > 1e-12}
    if len(inexact) >= 0.75 * len(evidence.leaves) and _is_noise(evidence):
        evidence.dtype, evidence.float32_inside = "float32", True


def _is_noise(evidence: Evidence, step: float = 1e-9) -> bool:
    """Whether the leaves do not follow a change of the inputs that float64 shows and float32 does not."""
    i = next((i for i, case in enumerate(evidence.cases) if case.name in ORDINARY), 0)
    rng = np.random.default_rng(0)
    case = evidence.cases[i]
    params, x = moved(case, rng, step)
    there = case._replace(params=params, x=x)
    answer, truth = evidence.asked.ask([Question(there, evidence.truths[i].masks)])[0], evaluate(there)[0]
    off = []
    for k, field in evidence.leaves:
        mine, before = (answer.leaves or evidence.observed[i])[k].get(field), evidence.observed[i][k].get(field)
        if mine is not None and before is not None and mine.size == before.size:
            should = truth.grads[k][field] - evidence.truths[i].grads[k][field]
            off.append(np.linalg.norm(mine.reshape(before.shape) - before - should) > 0.5 * np.linalg.norm(should))
    return bool(sum(off) >= 0.75 * len(off))


# -- the derivative of relu at exactly 0: any number from 0 to 1 is one that autodiff may use, too


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
    sizes = [evidence.observed[number][k][field].size for k, field in evidence.leaves]
    of_last = np.repeat([k == len(config.hidden) - 1 for k, _ in evidence.leaves], sizes)
    value = _mixed_by(found, np.array(corners), sides, of_last)
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


def _mixed_by(
    found: np.ndarray, corners: np.ndarray, sides: list[tuple[int, ...]], of_last: np.ndarray
) -> float | None:
    """The number from 0 to 1 that mixes the corners to what was found; the last hidden layer's leaves tell it.

    They are linear in it, because nothing but the derivative of their own layer stands between them and the loss.
    """
    difference = np.where(of_last, corners[1] - corners[0], 0.0)  # these two differ in the last hidden layer
    at = int(np.abs(difference).argmax())
    if not np.isfinite(found).all() or abs(difference[at]) < CLOSE:
        return None
    value = float((found[at] - corners[0][at]) / difference[at])
    weights = [np.prod([value if sign > 0 else 1 - value for sign in side]) for side in sides]
    off = float(np.linalg.norm(np.array(weights) @ corners - found))
    return value if -CLOSE <= value <= 1 + CLOSE and off <= CLOSE * float(np.linalg.norm(found)) else None


# -- what stops without some class may compute another loss where it does not stop


def _lacks_classes(evidence: Evidence) -> bool:
    """Whether it fails where a class is missing from the labels, and nowhere else."""
    counts = [(len(set(case.y)), case.config.classes) for case, _ in evidence.failed]
    return bool(counts) and all(n < classes for n, classes in counts)


def fails_by_labels(evidence: Evidence) -> bool:
    """Whether it fails because a class is missing from the labels; of one example, another label tells."""
    has_all = any(len(set(case.y)) == case.config.classes for case in evidence.cases)
    if not (_lacks_classes(evidence) and has_all):
        return False
    case = max((case for case, _ in evidence.failed), key=lambda each: len(each.y))
    if len(case.y) > 1:
        return True
    other = case._replace(y=np.full_like(case.y, case.config.classes - 1))
    return evidence.asked.ask([Question(other, evaluate(other)[0].masks)])[0].error is None


def with_every_class(evidence: Evidence) -> Evidence | None:
    """The answers where every class is among the labels; None unless it fails only where one is missing."""
    if not _lacks_classes(evidence):
        return None
    every = [*(case for case, _ in evidence.failed), *evidence.cases]
    cases = [
        case._replace(y=np.arange(len(case.y)) % case.config.classes)
        for case in every
        if len(case.y) >= case.config.classes
    ]
    truths = evaluate(*cases)
    pairs = zip(cases, truths, strict=True)
    answers = evidence.asked.ask([Question(case, truth.masks) for case, truth in pairs])
    return None if any(answer.leaves is None for answer in answers) else evidence.of(cases, truths, answers)


# -- the penalty in a loss that is not known: another lambda changes nothing else


def penalty(evidence: Evidence) -> Fitted | None:
    """The penalty in the candidate's losses; None if they are of none that is known here."""
    used = [i for i, case in enumerate(evidence.cases) if case.l2 and i not in evidence.overflows]
    cases = [evidence.cases[i] for i in used]
    twice = [
        Question(evidence.cases[i]._replace(l2=2 * evidence.cases[i].l2), evidence.truths[i].masks) for i in used
    ]
    pairs = [
        (evidence.answers[i].loss, answer.loss) for i, answer in zip(used, evidence.asked.ask(twice), strict=True)
    ]
    if not pairs or any(loss is None or not np.isfinite(loss) for pair in pairs for loss in pair):
        return None
    rise = np.array(
        [((after or 0) - (before or 0)) / case.l2 for (before, after), case in zip(pairs, cases, strict=True)]
    )
    size = max(abs(before or 0) / case.l2 for (before, _), case in zip(pairs, cases, strict=True))
    squares = np.array([[*(square(layer.w) for layer in case.params), square_of_biases(case)] for case in cases])
    for over_n in (False, True):
        columns = squares / (np.array([[float(len(case.y))] for case in cases]) if over_n else 1.0)
        found = np.linalg.lstsq(columns, rise, rcond=None)[0]
        if np.abs(columns @ found - rise).max() <= LOSS_TOLERANCE[evidence.dtype] * size:
            *weights, biases = (0.0 if abs(number) < CLOSE else round(float(number), 6) for number in found)
            return Fitted(weights=tuple(weights), biases=biases, over_n=over_n)
    return None
