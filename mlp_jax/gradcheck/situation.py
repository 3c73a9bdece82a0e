"""What the search for mistakes is about: situations, mistakes, and ways through a network."""

from typing import NamedTuple

from mlp_jax.gradcheck.battery import Case, Leaves, Truth
from mlp_jax.gradcheck.deviations import Alternative
from mlp_jax.gradcheck.factors import Array, Codes
from mlp_jax.gradcheck.objective import Objective

Values = list[Array]  # one array per situation


class Situation(NamedTuple):
    """This is one case: the truth, the candidate's leaves (a missing one left out), and the objective.

    rounding: per leaf, the norm of an error that rounding may cause.
    """

    case: Case
    truth: Truth
    observed: Leaves
    objective: Objective
    rounding: list[dict[str, float]]

    @property
    def n(self) -> int:
        """Returns the number of examples in the batch."""
        return len(self.case.y)


class Mistake(NamedTuple):
    """A code, the layer (0 is the first), its place there, and what the code alone does not say, or "".

    place: a leaf's field; "delta" for all that hangs on the layer's step back; "all" for the whole gradient.
    """

    code: str
    layer: int
    place: str
    detail: str = ""


class State(NamedTuple):
    """A way of going down to a product: the mistakes on it, the cotangent that arrives, and those over skips."""

    mistakes: frozenset[Mistake]
    cotangent: Values
    pending: list[dict[int, Array]]


class Change(NamedTuple):
    """This is an alternative to the step back of operation `at` of a segment, and the codes of its mistakes."""

    codes: tuple[str, ...]
    at: int
    alternative: Alternative


class Delta(NamedTuple):
    """One way through a segment: what arrives at every operation with leaves, and at the end."""

    changes: tuple[Change, ...]
    entering: dict[int, Values]
    pending: list[dict[int, Array]]

    @property
    def codes(self) -> Codes:
        """Returns the mistakes on it."""
        return tuple((code, change.alternative.detail) for change in self.changes for code in change.codes)
