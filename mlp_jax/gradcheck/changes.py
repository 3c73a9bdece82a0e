"""Questions with something changed, and what the answers to them tell of how a candidate is to be asked."""

import numpy as np

from mlp_jax.gradcheck.answers import Answer, Question
from mlp_jax.gradcheck.battery import Case


def with_other_biases(question: Question) -> Question:
    """The same network with other biases, which one without any does not see."""
    layers = tuple(layer._replace(b=layer.b + 1.5) for layer in question.case.params)
    return question._replace(case=question.case._replace(params=layers))


def with_units_changed(question: Question) -> Question:
    """The same network, with the units of its first hidden layer in another order."""
    first, second, *rest = question.case.params
    first = first._replace(**{f: np.roll(leaf, 1, axis=-1) for f, leaf in first._asdict().items()})
    params = (first, second._replace(w=np.roll(second.w, 1, axis=0)), *rest)
    return question._replace(case=question.case._replace(params=params))


def equal(a: Answer, b: Answer) -> bool:
    """Whether two answers are the same: then the network has nothing of what was changed between them."""
    pairs_of = zip(a.leaves or [], b.leaves or [], strict=False)
    return (
        b.error is None
        and a.loss == b.loss
        and all(np.array_equal(leaf, y.get(f, np.nan)) for x, y in pairs_of for f, leaf in x.items())
    )


def fits(answer: Answer, case: Case) -> bool:
    """Whether each weight's gradient that there is has the weight's shape."""
    pairs = [
        (leaf, np.shape(case.params[k].w))
        for k, layer in enumerate(answer.leaves or [])
        if (leaf := layer.get("w")) is not None
    ]
    return all(leaf.shape == shape for leaf, shape in pairs)
