"""One segment of a network, from one product to the next below: the ways through it, and what its leaves say.

Every alternative of the table (`mistakes.ROWS`) to a step back is a way; `search` looks for the cheapest.
"""

from collections import ChainMap
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck import fits, ops
from mlp_jax.gradcheck.battery import Case, Leaves, Truth
from mlp_jax.gradcheck.deviations import Alternative, Back, LeafAlternative, step
from mlp_jax.gradcheck.fits import Array, Codes, Leaf, Sizes
from mlp_jax.gradcheck.mistakes import ROWS
from mlp_jax.gradcheck.objective import Objective

MOST_TRIED = 5  # examples in a batch of which every dropout mask is tried

Values = list[Array]  # one array per situation


class Situation(NamedTuple):
    """One case: the truth, the candidate's leaves (a missing one left out), and the objective.

    rounding: per leaf, the norm of an error that rounding may cause.
    """

    case: Case
    truth: Truth
    observed: Leaves
    objective: Objective
    rounding: list[dict[str, float]]

    @property
    def n(self) -> int:
        """Examples in the batch."""
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
    """An alternative to the step back of operation `at` of a segment, and the codes of its mistakes."""

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
        """The mistakes on it."""
        return tuple((code, change.alternative.detail) for change in self.changes for code in change.codes)


Way = tuple[fits.Fit, Codes, Codes]  # the factor; the mistakes in the leaf's own product; those of the penalty


class Segment:
    """The operations from one product (or the loss) down to the next product, in every situation."""

    def __init__(
        self,
        chains: list[list[ops.Op]],
        situations: list[Situation],
        sizes: Sizes,
        tolerance: float,
        loss: tuple[ops.Op, ...] = (),
    ) -> None:
        self.loss = loss  # where the segment hangs on the loss's product: what another product may have been given
        self.rows: list[tuple[Any, ...]] = list(zip(*chains, strict=True))  # one operation in every situation
        self.situations, self.sizes, self.tolerance = situations, sizes, tolerance
        self.k = chains[0][-1].layer
        self.last = len(self.rows) - 1
        self.leaves = [
            (at, leaf)
            for at in range(self.last, 0, -1)
            for field in ("w", "b", "scale", "shift")
            if (leaf := self._leaf(at, field)) is not None
        ]
        self._changes: dict[bool, list[Change]] = {}
        self._of_leaves: dict[tuple[int, str], list[tuple[str, LeafAlternative]]] = {}
        self._squares = [sum(float((p.w**2).sum()) for p in s.case.params) for s in situations]

    def _leaf(self, at: int, field: str) -> Leaf | None:
        """One leaf of the operation number `at`, if the operation has it and the candidate gave it."""
        op = self.rows[at][0]
        fields = {ops.Affine: ("w", "b"), ops.Norm: ("scale", "shift")}.get(type(op), ())
        given = [i for i, s in enumerate(self.situations) if field in s.observed[op.layer]]
        if field not in fields or not given:
            return None
        chosen = [self.situations[i] for i in given]
        values = [s.observed[op.layer][field] for s in chosen]
        norms = np.array([float(np.linalg.norm(value)) for value in values])
        limits = [
            max(self.tolerance * max(s.truth.size[op.layer][field], norm), s.rounding[op.layer][field])
            for s, norm in zip(chosen, norms, strict=True)
        ]
        parameters = [np.asarray(getattr(s.case.params[op.layer], field)) for s in chosen]
        expected = [
            2 * (s.objective.weights[op.layer] if field == "w" else s.objective.biases * (field == "b"))
            for s in chosen
        ]
        return Leaf(op.layer, field, given, values, norms, np.array(limits), parameters, np.array(expected))

    # -- the ways through it

    def run(
        self,
        state: State,
        changes: tuple[Change, ...],
        prefix: "Delta | None" = None,
        *,
        cases: int | None = None,
    ) -> Delta:
        """Down through all operations but the last, with some steps changed, in all cases or the first ones.

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
        """One operation further down; fewer values than situations are those of the first."""
        row = self.rows[at]
        back = None if change is None else change.alternative.back
        if isinstance(row[0], ops.Skip):
            carried = [
                op.carried(value if back is None else back(op, value, above), waiting, added=back is None)
                for op, value, above, waiting in zip(row, g, state.cotangent, pending, strict=False)
            ]
            return [value for value, _ in carried], [waiting for _, waiting in carried]
        if back is None:
            return [op.back(value) for op, value in zip(row, g, strict=False)], pending
        return [back(op, value, above) for op, value, above in zip(row, g, state.cotangent, strict=False)], pending

    def changes(self, late: bool) -> list[Change]:
        """The alternatives of the table that are possible here."""
        if late not in self._changes:
            found = [
                Change((row.code,), at, alternative)
                for at in range(self.last)
                for row in ROWS
                if row.late == late
                for alternative in row.instead.get(type(self.rows[at][0]), _none)(self.rows[at])
            ]
            self._changes[late] = [*found, *_combined(found), *([] if late else self._handed_down())]
        return self._changes[late]

    def _handed_down(self) -> Iterator[Change]:
        """Below the scores: another derivative of the loss than the one that the scores' own leaves have."""
        losses = dict(zip(self.rows[0], self.loss, strict=True)) if self.loss else {}

        def of_scores(back: Back, op: Any, g: Array, above: Array) -> Array:
            return np.asarray(op.back(back(losses[op], g, above)))

        for row in ROWS if self.loss else ():
            for alternative in row.instead.get(ops.Loss, _none)(self.loss):
                yield Change((row.code,), 0, alternative._replace(back=partial(of_scores, alternative.back)))

    def deltas(self, state: State, most: int, late: bool) -> Iterator[Delta]:
        """The right way, and every wrong one with at most `most` changes, of different operations."""
        right = self.run(state, ())
        yield right
        single = self.changes(late) if most == 1 else self.changes(False) + (self.changes(True) if late else [])
        if late and most == 1:
            yield from self._with_a_fresh_mask(state, right)
        for number in range(1, most + 1):
            for chosen in combinations(single, number):
                if len({change.at for change in chosen}) == number:
                    yield from self._wrong(state, chosen, right)

    def _wrong(self, state: State, chosen: tuple[Change, ...], right: Delta) -> Iterator[Delta]:
        """The way with some steps changed, unless it does not conform or the first case rules it out."""
        with np.errstate(all="ignore"):
            try:
                first = self.run(state, chosen, right, cases=1)
                if any(change.alternative.extra is not None for change in chosen):
                    chosen = self._settled(state, chosen, right, first)
                elif len(chosen) > 1 and not self._possible(first):
                    return
                if chosen:
                    wrong = self.run(state, chosen, right)
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

    def _settled(self, state: State, chosen: tuple[Change, ...], right: Delta, first: Delta) -> tuple[Change, ...]:
        """The changes with the number that the weights' leaf tells in the one that has an open one, or ()."""
        leaf = next((leaf for at, leaf in self.leaves if at == self.last and leaf.field == "w"), None)
        change, *others = sorted(chosen, key=lambda change: change.alternative.extra is None)
        alternative, extra = change.alternative, change.alternative.extra
        if (
            leaf is None
            or leaf.at[0] != 0
            or extra is None
            or any(c.alternative.extra is not None for c in others)
        ):
            return ()
        along = change._replace(alternative=Alternative(extra))
        direction = self.run(state, (along, *others), right, cases=1)
        op, end = self.rows[self.last][0], self.last
        number = fits.open_number(leaf, *(op.leaves(way.entering[end][0])["w"] for way in (first, direction)))
        if number is None:
            return ()

        def known(op: Any, g: Array, above: Array) -> Array:
            return np.asarray(alternative.back(op, g, above) + number * extra(op, g, above))

        return (change._replace(alternative=Alternative(known, alternative.say(number))), *others)

    def _with_a_fresh_mask(self, state: State, right: Delta) -> Iterator[Delta]:
        """With the dropout mask that the leaves tell; NaN in cases with too many examples to try all of them."""
        at = next((at for at, row in enumerate(self.rows) if isinstance(row[0], ops.Dropout)), None)
        if at is None or not self.leaves:
            return
        masked = [self._masked(at, j, g) for j, g in enumerate(right.entering[at])]
        small = [m is None for m, g in zip(masked, right.entering[at], strict=True) if len(g) <= MOST_TRIED]
        if small and not any(small):
            unknown = [np.full_like(g, np.nan) for g in right.entering[at]]
            values = [u if m is None else m for m, u in zip(masked, unknown, strict=True)]
            of = dict(zip(self.rows[at], values, strict=True))
            change = Change(("fresh_mask",), at, Alternative(lambda op, g, above: of[op]))
            yield self.run(state, (change,), right)

    def _masked(self, at: int, j: int, g: Array) -> Array | None:
        """g times the mask that makes the leaves of situation j, column by column: none depends on another."""
        if len(g) > MOST_TRIED:
            return None
        leaves = {(where, leaf.field): leaf for where, leaf in self.leaves if where > at and j in leaf.at}
        tried, off = list[Array](), list[Array]()
        for kept in product((0.0, 1.0), repeat=len(g)):
            tried.append(g * np.array(kept)[:, None] / (1 - self.rows[at][j].rate))
            off.append(self._off(leaves, at, j, tried[-1]))
        best, least = np.argmin(off, axis=0), np.min(off, axis=0)
        if not leaves or not least.max() <= 1:
            return None
        return np.stack([tried[index][:, column] for column, index in enumerate(best)], axis=1)

    def _off(self, leaves: dict[tuple[int, str], Leaf], at: int, j: int, g: Array) -> Array:
        """Per column, how far the leaves are from what g behind operation `at` makes them, in tolerances."""
        worst = np.zeros(g.shape[1])
        for where in range(at + 1, self.last + 1):
            made = self.rows[where][j].leaves(g)
            for field, leaf in ((field, leaves[where, field]) for field in made if (where, field) in leaves):
                i = leaf.at.index(j)
                rest = made[field] + leaf.expected[i] * leaf.parameters[i] - leaf.values[i]
                worst = np.maximum(
                    worst, np.sqrt((rest**2).sum(axis=0) if rest.ndim > 1 else rest**2) / leaf.tolerances[i]
                )
            g = self.rows[where][j].back(g) if where < self.last else g
        return worst

    # -- what its leaves say

    def explain(self, place: tuple[int, Leaf], delta: Delta) -> list[Way]:
        """The ways to make a leaf from what arrives at its operation, the cheapest first; [] if nothing fits."""
        at, leaf = place
        entering = delta.entering[at]
        ways: list[Way] = []
        products = self._products(at, leaf)
        for code, alternative in products if len(delta.changes) < 2 else products[:1]:

            def term(j: int, alternative: LeafAlternative = alternative) -> Array:
                return alternative.value(self.rows[at][leaf.at[j]], entering[leaf.at[j]])

            try:
                found = fits.fit(leaf, self.sizes, term)
                if found is None and leaf.field == "w" and len(delta.changes) + bool(code) < 2:
                    found = fits.with_penalty_value(leaf, self.sizes, term, self._squares)
            except ValueError:
                continue
            if found is not None:
                ways.append((found, ((code, alternative.detail),) if code else (), found.rest))
                if not code and not found.factor_codes and not found.rest:
                    return ways
        return ways

    def _products(self, at: int, leaf: Leaf) -> list[tuple[str, LeafAlternative]]:
        key = (at, leaf.field)
        if key not in self._of_leaves:
            row, kind = self.rows[at], type(self.rows[at][0])
            right = LeafAlternative(lambda op, g: op.leaves(g)[leaf.field])
            others = [
                (entry.code, alternative)
                for entry in ROWS
                for alternative in entry.instead.get((kind, leaf.field), _none)(row)
            ]
            self._of_leaves[key] = [("", right), *others]
        return self._of_leaves[key]


def _none(row: Sequence[Any]) -> Iterator[Any]:
    """The alternatives of a mistake that is not made there."""
    return iter(())


def _combined(found: list[Change]) -> list[Change]:
    """Two or three parts left out of one step back."""
    changes = []
    parts = [change for change in found if change.alternative.keywords]
    for chosen in (c for number in (2, 3) for c in combinations(parts, number)):
        if len({change.at for change in chosen}) == 1:
            keywords = dict(ChainMap(*(dict(change.alternative.keywords) for change in chosen)))
            (alternative,) = step(partial(ops.Norm.back, **keywords))(())
            changes.append(Change(tuple(change.codes[0] for change in chosen), chosen[0].at, alternative))
    return changes
