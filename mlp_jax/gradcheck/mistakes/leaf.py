"""One leaf of a candidate's gradient, as the search for mistakes compares it with what a hypothesis makes."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mlp_jax.gradcheck.mistakes.factors import Array


def norm_of(array: Array) -> float:
    """Returns the root of the sum of squares."""
    return math.sqrt(np.vdot(array, array))


def centred(array: Array) -> Array:
    """Returns the array without its mean."""
    return np.asarray(array - array.mean())


class Beside(NamedTuple):
    """A leaf in one case, flat: what it is beside the direction of its parameter, of norm `size`, and along it."""

    values: Array
    norm: float
    direction: Array
    size: float
    along: float


def beside_of(value: Array, parameter: Array) -> Beside:
    """Splits a leaf's values into what lies along its parameter and what lies beside it."""
    value, size = value.ravel(), norm_of(parameter)
    direction = parameter.ravel() / (size or 1.0)
    along = float(direction @ value)
    rest = value - along * direction
    return Beside(rest, norm_of(rest), direction, size, along)


@dataclass(frozen=True, eq=False)
class Leaf:
    """One leaf in every case where the candidate gave it: which cases, and how closely it must fit there.

    norms: of its values. parameters: what the penalty is of, the parameter itself. expected: its coefficient,
    which is 2 lambda for weights. penalised, of_sum: whether it may have a penalty, and whether it is a sum over
    the examples, as a bias's is. true: its part from the data, where that is not what its operation says.
    number: the parameter in every case, where that is one number, of which everything is a multiple.
    """

    layer: int
    field: str
    at: list[int]
    values: list[Array]
    norms: Array
    tolerances: Array
    parameters: list[Array]
    expected: Array
    penalised: bool
    of_sum: bool
    true: list[Array] | None = None
    number: Array | None = None

    @cached_property
    def beside(self) -> list[Beside]:
        """What every hypothesis is compared with, per case."""
        return list(map(beside_of, self.values, self.parameters))

    @cached_property
    def centred(self) -> "Leaf":
        """The leaf without its means, to which no number that is added to all of its elements contributes."""
        values, parameters = ([centred(a) for a in arrays] for arrays in (self.values, self.parameters))
        return replace(self, values=values, parameters=parameters)
