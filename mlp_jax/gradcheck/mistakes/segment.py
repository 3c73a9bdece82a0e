"""One segment of a network, from one product to the next below: the ways through it, and what its leaves say.

Every alternative of the `table` to a step back is a way; `search` looks for the cheapest.
"""

from collections import ChainMap
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck.mistakes import fits, fresh_mask, ops
from mlp_jax.gradcheck.mistakes.factors import Array, Codes
from mlp_jax.gradcheck.mistakes.leaf import Leaf
from mlp_jax.gradcheck.mistakes.row import Alternative, Back, LeafAlternative, Place, Row
from mlp_jax.gradcheck.mistakes.situation import Change, Delta, Problem, State, Values
from mlp_jax.gradcheck.mistakes.table import MISTAKES

Way = tuple[fits.Fit, Codes]  # what a leaf is made of, and the mistakes in its own product


class Effort(NamedTuple):
    """How much is tried in a segment.

    changes: how many steps back may be wrong. late: whether the table's late rows are tried. both: whether a leaf
    may be spoilt by a wrong step back and by a mistake in its own product.
    """

    changes: int = 1
    late: bool = False
    both: bool = True


class Segment:
    """These are the operations from one product (or the loss) down to the next product, in every case."""

    def __init__(self, problem: Problem, number: int) -> None:
        self.problem, self.sizes = problem, problem.sizes
        self.rows: list[tuple[Any, ...]] = list(zip(*problem.segments[number], strict=True))  # one in every case
        # where it hangs on the loss's product: what another product may have been given
        below_scores = number == 1 and len(problem.segments[0][0]) == 2
        self.loss = tuple(chain[0] for chain in problem.segments[0]) if below_scores else ()
        self.last = len(self.rows) - 1
        self.k = self.rows[self.last][0].layer
        self.leaves = [
            (at, problem.leaves[op.layer, field])
            for at in range(self.last, 0, -1)
            for op in (self.rows[at][0],)
            for field in op.fields
            if (op.layer, field) in problem.leaves
        ]
        self._changes: dict[bool, list[Change]] = {}
        self._of_leaves: dict[tuple[int, str], list[tuple[str, LeafAlternative]]] = {}

    # -- the ways through it

    def run(
        self,
        state: State,
        changes: tuple[Change, ...],
        prefix: "Delta | None" = None,
        *,
        cases: int | None = None,
    ) -> Delta:
        """Goes down through all operations but the last, with some steps changed, in all cases or the first ones.

        Raises ValueError for a change that does not conform.
        """
        by_place = {change.at: change for change in changes}
        first = min(by_place, default=0) if prefix is not None else 0
        entering = dict(prefix.entering) if prefix is not None else {0: state.cotangent}
        g = entering[first][:cases]
        passed_skip = any(isinstance(row[0], ops.Skip) for row in self.rows[:first])
        pending = prefix.pending if prefix is not None and passed_skip else state.pending
        for at in range(first, self.last):
            g, pending = self._step(at, g, state, pending, by_place.get(at))
            entering[at + 1] = g
        return Delta(changes, entering, pending)

    def _step(
        self, at: int, g: Values, state: State, pending: list[dict[int, Array]], change: Change | None
    ) -> tuple[Values, list[dict[int, Array]]]:
        """One operation further down; fewer values than cases are those of the first."""
        row = self.rows[at]
        given: list[Sequence[Any]] = [row, g]
        if change is not None and change.alternative.wants_above:
            given.append(state.cotangent)
        back = type(row[0]).back if change is None else change.alternative.back
        values = [np.asarray(back(*each)) for each in zip(*given, strict=False)]
        if not isinstance(row[0], ops.Skip):
            return values, pending
        pairs = zip(row, values, pending, strict=False)
        carried = [op.carried(value, waiting, added=change is None) for op, value, waiting in pairs]
        return [value for value, _ in carried], [waiting for _, waiting in carried]

    def changes(self, late: bool) -> list[Change]:
        """The alternatives of the table that are possible here."""
        if late not in self._changes:
            found = [
                Change((row.code,), at, alternative)
                for at in range(self.last)
                for row in MISTAKES.values()
                if row.late == late
                for alternative in self._ways(row, type(self.rows[at][0]), at)
            ]
            self._changes[late] = [*found, *_combined(found), *([] if late else self._handed_down())]
        return self._changes[late]

    def _ways(self, row: Row, place: Place, at: int) -> Iterator[Any]:
        return row.ways(place, self.rows[at], in_layer=self.problem.in_layer)

    def _handed_down(self) -> Iterator[Change]:
        """Below the scores: another derivative of the loss than the one that the scores' own leaves have."""
        losses = dict(zip(self.rows[0], self.loss, strict=True)) if self.loss else {}

        def of_scores(back: Back, op: Any, g: Array) -> Any:
            return op.back(np.asarray(back(losses[op], g)))

        for row in MISTAKES.values() if self.loss else ():
            for alternative in row.ways(type(self.loss[0]), self.loss):
                yield Change((row.code,), 0, alternative._replace(back=partial(of_scores, alternative.back)))

    def deltas(self, state: State, effort: Effort) -> Iterator[Delta]:
        """The right way, and the wrong ones, with changes of different operations.

        What no leaf may have been made from, as the first case tells, is left out where changes are tried by
        themselves, and where there are several.
        """
        right, late = self.run(state, ()), effort.late
        yield right
        single = self.changes(late)
        if late and effort.changes > 1:
            single = self.changes(False) + single
        if late and effort.changes == 1:
            yield from fresh_mask.ways(self, state, right)
        for number in range(1, effort.changes + 1):
            tried = single if number == 1 else [c for c in single if not c.alternative.alone]
            used = number > 1 or (not effort.both and bool(self.leaves))
            for chosen in combinations(tried, number):
                if len({change.at for change in chosen}) == number:
                    yield from self._wrong(state, chosen, right, used)

    def _wrong(self, state: State, chosen: tuple[Change, ...], right: Delta, used: bool) -> Iterator[Delta]:
        """The way with some steps changed, unless it does not conform or the first case rules it out."""
        with np.errstate(all="ignore"):
            try:
                first = self.run(state, chosen, right, cases=1)
                if any(change.alternative.extra is not None for change in chosen):
                    known = list(self._settled(state, chosen, right, first))
                elif used and not self._possible(first):
                    return
                else:
                    known = [chosen]
                for changes in known:
                    wrong = self.run(state, changes, right)
                    pairs = zip(wrong.entering[self.last], right.entering[self.last], strict=True)
                    if all(a.shape == b.shape for a, b in pairs):
                        yield wrong
            except ValueError:
                return

    def _possible(self, first: Delta) -> bool:
        """Whether the first case allows that a leaf was made from this way."""
        return any(
            leaf.at[0] == 0
            and first.entering[at][0].shape == self.rows[at][0].shape
            and fits.possible(leaf, self.rows[at][0].leaves(first.entering[at][0])[leaf.field])
            for at, leaf in self.leaves
        )

    def _settled(
        self, state: State, chosen: tuple[Change, ...], right: Delta, first: Delta
    ) -> Iterator[tuple[Change, ...]]:
        """The changes with the number in the one that has an open one, as the leaves tell it.

        In a network the weights' leaf tells it, and in a layer the one leaf that is looked at.
        """
        change, *others = sorted(chosen, key=lambda change: change.alternative.extra is None)
        alternative, extra = change.alternative, change.alternative.extra
        if extra is None or any(c.alternative.extra is not None for c in others):
            return
        along = change._replace(alternative=Alternative(extra))
        direction = self.run(state, (along, *others), right, cases=1)
        told = dict[str, float]()
        for at, leaf in self.leaves:
            if leaf.at[0] == 0 and (self.problem.in_layer or (at == self.last and leaf.field == "w")):
                ways = (self.rows[at][0].leaves(way.entering[at][0])[leaf.field] for way in (first, direction))
                number = fits.open_number(leaf, *ways)
                told |= {} if number is None else {f"{number:.6g}": number}
        for number in told.values():
            known = partial(_with_number, alternative.back, extra, number)
            yield (change._replace(alternative=Alternative(known, alternative.say(number))), *others)

    # -- what its leaves say

    def explain(self, place: tuple[int, Leaf], delta: Delta, *, both: bool = True) -> list[Way]:
        """The ways to make a leaf from what arrives at its operation, the cheapest first; [] if nothing fits.

        both: another mistake in the leaf itself is tried also where something changed on the way.
        """
        beside, (at, leaf) = int(both), place
        entering, ways = delta.entering[at], list[Way]()
        products = self._products(at, leaf)
        if len(delta.changes) > beside or not leaf.norms.any():  # exactly 0 is what nothing is computed for
            products = products[:1]
        for code, alternative in products:
            true = leaf.true if not code and not delta.changes else None

            def term(j: int, alternative: LeafAlternative = alternative, true: list[Array] | None = true) -> Array:
                i = leaf.at[j]
                return alternative.value(self.rows[at][i], entering[i]) if true is None else true[j]

            try:
                found = fits.fit(leaf, self.sizes, term)
                if found is None and leaf.penalised and len(delta.changes) + bool(code) <= beside:
                    found = fits.with_penalty_value(leaf, self.sizes, term, self.problem.squares)
            except ValueError:
                continue
            if found is not None:
                ways.append((found, ((code, alternative.detail),) if code else ()))
                if not code and not found.factor_codes and not found.rest:
                    return ways
        return ways

    def _products(self, at: int, leaf: Leaf) -> list[tuple[str, LeafAlternative]]:
        key = (at, leaf.field)
        if key not in self._of_leaves:
            right = LeafAlternative(lambda op, g: op.leaves(g)[leaf.field])
            place = (type(self.rows[at][0]), leaf.field)
            others = [(row.code, way) for row in MISTAKES.values() for way in self._ways(row, place, at)]
            self._of_leaves[key] = [("", right), *others]
        return self._of_leaves[key]


def _with_number(back: Back, extra: Back, number: float, op: Any, g: Array) -> Any:
    return back(op, g) + number * extra(op, g)


def _combined(found: list[Change]) -> list[Change]:
    """Leaves two or three parts out of one step back."""
    changes = []
    parts = [change for change in found if change.alternative.keywords]
    for chosen in (c for number in (2, 3) for c in combinations(parts, number)):
        if len({change.at for change in chosen}) == 1:
            keywords = dict(ChainMap(*(dict(change.alternative.keywords) for change in chosen)))
            alternative = Alternative(partial(ops.Norm.back, **keywords))
            changes.append(Change(tuple(change.codes[0] for change in chosen), chosen[0].at, alternative))
    return changes
