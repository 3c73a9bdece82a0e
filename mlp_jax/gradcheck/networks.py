"""Of which networks a candidate gives a gradient, where it gives none of the usual one."""

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.battery import sample, square
from mlp_jax.gradcheck.reading.answers import Asked, Question, equal, fits
from mlp_jax.gradcheck.reading.standins import NOT_INSTALLED
from mlp_jax.nn.config import MLPConfig


def answers(asked: Asked, config: MLPConfig) -> bool:
    """Whether it gives any gradient: as it is asked in the cases, where dimensions differ or all are equal."""
    if config.dropout:  # which an ordinary case has no masks for
        return True
    in_a_square = sample(square(config))._replace(name="equal dimensions")
    try:
        found = asked.ask([Question(sample(config), []), Question(in_a_square, [])])
    except UserError:
        return False
    return any(answer.leaves is not None for answer in found)


def gives(asked: Asked, config: MLPConfig) -> bool:
    """Whether it gives gradients of all weights, in the parameters' shapes, in an ordinary case.

    That all are 0 tells nothing: a softmax of one class is a constant.
    """
    question = Question(sample(config), [])
    try:
        answer = asked.ask([question])[0]
    except UserError as error:
        if NOT_INSTALLED in str(error):  # which says more than why another network gives no gradient
            raise
        return False
    if answer.leaves is None or not fits(answer, question.case) or not all("w" in each for each in answer.leaves):
        return False
    if not any(leaf.any() for found in answer.leaves for leaf in found.values()):
        return False
    # one example at a time leaves a bias's gradient a column for each; summed over units it is a number for each
    pairs, n = zip(answer.leaves, question.case.params, strict=True), len(question.case.y)
    return all(
        leaf.size in (1, n, np.size(getattr(layer, f))) for found, layer in pairs for f, leaf in found.items()
    )


def others(asked: Asked, config: MLPConfig) -> list[MLPConfig]:
    """The other networks that it gives gradients of; last what says little, as softmax does of one output."""
    found = [other for other in asked.others(config) if gives(asked, other)]
    return sorted(found, key=lambda other: other.classes == 1 and _is_constant(asked, other))


def _is_constant(asked: Asked, config: MLPConfig) -> bool:
    """Whether the last bias changes nothing."""
    case = sample(config)
    moved = case.params[-1]._replace(b=case.params[-1].b + 1)
    other = case._replace(params=(*case.params[:-1], moved))
    return equal(*asked.ask([Question(case, []), Question(other, [])]))
