"""Evidence on a network without biases: the same answers beside the truth about zero biases."""

import copy

import numpy as np

from mlp_jax.gradcheck.answers import DTYPES
from mlp_jax.gradcheck.battery import Case, evaluate
from mlp_jax.gradcheck.evidence import Evidence


def without_biases(evidence: Evidence) -> Evidence:
    """The evidence with every bias 0 and not among the leaves; the answers do not depend on the biases."""
    other = copy.copy(evidence)
    other.cases = [_unbiased(case) for case in evidence.cases]
    other.truths = evaluate(*other.cases)
    other.leaves = [(k, field) for k, field in evidence.leaves if field != "b"]
    other.dtype = min((evidence.dtypes[at] for at in other.leaves), key=DTYPES.index)
    other.observed = [[dict(layer) for layer in answer.leaves or []] for answer in other.answers]
    other.shapes = {mistake: note for at in other.leaves for mistake, note in other._shape(*at)}
    other.overflows, other.non_finite, other.loss_is_finite = other._numbers()
    return other


def _unbiased(case: Case) -> Case:
    return case._replace(params=tuple(layer._replace(b=np.zeros_like(layer.b)) for layer in case.params))
