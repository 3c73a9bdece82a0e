"""What a row of the table of mistakes is, and the alternatives to an operation's way back that stand in it.

What stands in a row takes one operation in several cases, `ops`, and yields alternatives to its `back`, or to one
of its leaves. An alternative that does not conform in some case is none: it raises ValueError there, or gives
another shape, and `segment` drops it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Back = Callable[..., Any]


class Alternative(NamedTuple):
    """Another backward step takes an operation and the cotangent g of its output.

    detail: what a code alone does not say. extra: what is added to it, times a number that the candidate tells,
    put into words by `say`. keywords: of `ops.Norm.back`, where such parts may be combined. wants_above: the step
    is given the cotangent of the product above, too. alone: it is not tried together with another mistake, for
    there are too many of its kind.
    """

    back: Back
    detail: str = ""
    extra: Back | None = None
    say: Callable[[float], str] = "{:.3g}".format
    keywords: Mapping[str, Any] = {}
    wants_above: bool = False
    alone: bool = False


class LeafAlternative(NamedTuple):
    """Another way to a leaf takes an operation and the cotangent g of its output."""

    value: Callable[[Any, Array], Array]
    detail: str = ""


Ops = Sequence[Any]  # one operation in every case
Alternatives = Iterator[Alternative]
LeafAlternatives = Iterator[LeafAlternative]
Steps = Callable[[Ops], Alternatives]


def step(*values: Callable[[Any, Array], Any], detail: str = "") -> Steps:
    """Each function of the operation and its cotangent stands in place of the step back."""
    return lambda ops: (Alternative(value, detail) for value in values)


upstream_of_ones = step(lambda op, g: op.back(np.ones_like(g)))
"""The step back is computed as if the cotangent were 1."""


def leaf(*values: Callable[[Any, Array], Any]) -> Callable[[Ops], LeafAlternatives]:
    """Each function of the operation and its cotangent stands in place of a leaf."""
    return lambda ops: map(LeafAlternative, values)


def leaf_of_ones(field: str) -> Callable[[Ops], LeafAlternatives]:
    """The leaf is computed as if the cotangent were 1."""
    return leaf(lambda op, g: op.leaves(np.ones_like(g))[field])


Place = type | tuple[type, str]  # an operation's way back, or one of its leaves
Ways = Callable[[Ops], Iterator[Any]]


class Row(NamedTuple):
    """One mistake: what to say to a student, and where something else is computed, and what.

    does, says, mend: what the code does, what the equation says, how to mend it. example: a line of a right
    gradient, and that line with the mistake in it (`seeded_mistakes`). instead: by place, what is computed
    there instead (`deviations`); a mistake without any is told from the size of a leaf's parts (`fits`), or from
    how the candidate behaves. in_layers: the same for operations that networks have as well, but in single layers
    alone. remark: it is no failure. cost: what
    the search pays for it: more where a number of the candidate's own has to be assumed. late: tried only if
    nothing else explains. layer: `says` and `mend` of a single layer, or of any function, where no equation of the
    report's says them.
    """

    code: str
    does: str
    says: str
    mend: str
    example: tuple[str, str]
    instead: Mapping[Place, Ways] = {}
    remark: bool = False
    cost: float = 1.0
    late: bool = False
    layer: tuple[str, str] = ("", "")
    in_layers: Mapping[Place, Ways] = {}

    def ways(self, place: Place, ops: Ops, *, in_layer: bool = False) -> Iterator[Any]:
        """What is computed there instead; nothing where the mistake is not made."""
        for table in (self.instead, self.in_layers) if in_layer else (self.instead,):
            if place in table:
                yield from table[place](ops)
