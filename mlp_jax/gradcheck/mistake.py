"""What is known of a mistake: a row of the tables (`mistakes`)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mlp_jax.gradcheck.deviations import Ops

Place = type | tuple[type, str]  # an operation's way back, or one of its leaves
Ways = Callable[[Ops], Iterator[Any]]


class Row(NamedTuple):
    """One mistake: what to say to a student, and where something else is computed, and what.

    does, says, mend: what the code does, what the equation says, how to mend it. example: a line of a right
    gradient, and that line with the mistake in it (`seeded_mistakes`). instead: by place, what is computed
    there instead (`deviations`); a mistake without any is told from the size of a leaf's parts (`fits`), or from
    how the candidate behaves. in_layers: the same for single layers alone. remark: it is no failure. cost: what
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
