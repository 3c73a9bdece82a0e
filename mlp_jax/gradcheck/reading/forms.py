"""The forms of labels and vectors, told by what changes nothing: classes, or hidden units, that change places."""

from collections.abc import Callable

import jax
import numpy as np

from mlp_jax.gradcheck.reading import answers
from mlp_jax.gradcheck.reading.answers import Answer, Question
from mlp_jax.gradcheck.reading.conventions import Convention
from mlp_jax.gradcheck.truth import Leaves

Attempt = Callable[[Question, Convention], Answer]


def with_labels(
    attempt: Attempt, convention: Convention, question: Question, answer: Answer
) -> tuple[Convention, Question, Answer]:
    """The convention with the other form of labels, where classes may change places only with these.

    A label of each example may be subtracted from the scores of all classes, if examples are columns. Of one
    output labels are -1 and +1 where a label of 0 leaves nothing of the loss.
    """
    case, layout = question.case, convention.layout
    if case.name != "plain":
        return convention, question, answer
    if case.config.classes == 1:
        if _is_zero(answer) or not _are_signs(attempt, convention, question):
            return convention, question, answer
        other = convention._replace(layout=layout._replace(signs=True))
        return other, question, attempt(question, other)
    other = convention._replace(layout=layout._replace(one_hot=not layout.one_hot))
    if not may_change(attempt, convention, question, answer):
        found = attempt(question, other)
        if answers.fits(found, case) and may_change(attempt, other, question, found):
            return other, question, found
    return convention, question, answer


def may_change(attempt: Attempt, convention: Convention, question: Question, answer: Answer | None = None) -> bool:
    """Whether classes may change places: the loss, or else the gradients, stay but for their places."""
    answer = answer or attempt(question, convention)
    other = attempt(with_classes_changed(question), convention)
    return None not in (answer.leaves, other.leaves) and stays(answer, other, classes_changed)


def _are_signs(attempt: Attempt, convention: Convention, question: Question) -> bool:
    """Whether labels are -1 and +1: if all are 0, the gradient is, and no parameter changes the loss."""
    case = question.case._replace(y=0 * question.case.y, l2=0.0)
    elsewhere = case._replace(params=jax.tree.map(lambda leaf: leaf / 2, case.params))
    answer, other = (attempt(question._replace(case=each), convention) for each in (case, elsewhere))
    return answer.loss == other.loss and _is_zero(answer)


def _is_zero(answer: Answer) -> bool:
    found = [leaf for layer in answer.leaves or [] for leaf in layer.values()]
    return bool(found) and not any(leaf.any() for leaf in found)


def with_units_changed(question: Question) -> Question:
    """The same network, with the units of its first hidden layer in another order."""
    changed = units_changed([layer._asdict() for layer in question.case.params])
    params = tuple(layer._replace(**leaves) for layer, leaves in zip(question.case.params, changed, strict=True))
    return question._replace(case=question.case._replace(params=params))


def with_classes_changed(question: Question) -> Question:
    """The same network, with its classes in another order."""
    case = question.case
    last = case.params[-1]
    params = (*case.params[:-1], last._replace(w=np.roll(last.w, 1, axis=1), b=np.roll(last.b, 1)))
    return question._replace(case=case._replace(params=params, y=(case.y + 1) % case.config.classes))


def classes_changed(leaves: Leaves) -> Leaves:
    """Leaves with those of the classes in another order."""
    return [*leaves[:-1], {f: _rolled(leaf, -1) for f, leaf in leaves[-1].items()}]


def units_changed(leaves: Leaves) -> Leaves:
    """Leaves with those of the first hidden layer's units in another order."""
    first = {f: _rolled(leaf, -1) for f, leaf in leaves[0].items()}
    second = {f: _rolled(leaf, 0) if f == "w" else leaf for f, leaf in leaves[1].items()}
    return [first, second, *leaves[2:]]


def _rolled(leaf: np.ndarray, axis: int) -> np.ndarray:
    return np.roll(leaf, 1, axis) if leaf.ndim else leaf


def stays(answer: Answer, other: Answer, changed: Callable[[Leaves], Leaves]) -> bool:
    """Whether the loss, or else the gradients but for their places, are the same; True where nothing tells."""
    if answer.loss is not None and other.loss is not None:
        return bool(np.isfinite(other.loss) and np.isclose(answer.loss, other.loss, rtol=1e-6, atol=0))
    return answer.leaves is None or other.leaves is None or answers.alike(changed(answer.leaves), other.leaves)
