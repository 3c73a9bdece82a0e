"""Which dropout mask of its own a backward pass has drawn: the leaves tell it, column by column."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from mlp_jax.gradcheck.mistakes import ops
from mlp_jax.gradcheck.mistakes.factors import Array
from mlp_jax.gradcheck.mistakes.leaf import Leaf
from mlp_jax.gradcheck.mistakes.row import Alternative
from mlp_jax.gradcheck.mistakes.situation import Change, Delta, State

MOST_TRIED = 5  # examples in a batch of which every dropout mask is tried


def ways(segment: Any, state: State, right: Delta) -> Iterator[Delta]:
    """A way through a segment with the dropout mask that the leaves tell.

    It has NaN in cases with too many examples to try all masks.
    """
    at = next((at for at, row in enumerate(segment.rows) if isinstance(row[0], ops.Dropout)), None)
    if at is None or not segment.leaves:
        return
    masked = [_masked(segment, at, j, g) for j, g in enumerate(right.entering[at])]
    small = [m is None for m, g in zip(masked, right.entering[at], strict=True) if len(g) <= MOST_TRIED]
    if small and not any(small):
        unknown = [np.full_like(g, np.nan) for g in right.entering[at]]
        values = [u if m is None else m for m, u in zip(masked, unknown, strict=True)]
        of = dict(zip(segment.rows[at], values, strict=True))
        change = Change(("fresh_mask",), at, Alternative(lambda op, g: of[op]))
        yield segment.run(state, (change,), right)


def _masked(segment: Any, at: int, j: int, g: Array) -> Array | None:
    """g times the mask that makes the leaves of situation j, column by column: none depends on another."""
    if len(g) > MOST_TRIED:
        return None
    leaves = {(where, leaf.field): leaf for where, leaf in segment.leaves if where > at and j in leaf.at}
    for scale in (1 / (1 - segment.rows[at][j].rate), 1.0) if leaves else ():
        tried, off = list[Array](), list[Array]()
        for kept in product((0.0, scale), repeat=len(g)):
            tried.append(g * np.array(kept)[:, None])
            off.append(_off(segment, leaves, at, j, tried[-1]))
        best, least = np.argmin(off, axis=0), np.min(off, axis=0)
        if least.max() <= 1:
            return np.stack([tried[index][:, column] for column, index in enumerate(best)], axis=1)
    return None


def _off(segment: Any, leaves: dict[tuple[int, str], Leaf], at: int, j: int, g: Array) -> Array:
    """Per column, how far the leaves are from what g behind operation `at` makes them, in tolerances."""
    worst = np.zeros(g.shape[1])
    for where in range(at + 1, segment.last + 1):
        made = segment.rows[where][j].leaves(g)
        for field, leaf in ((field, leaves[where, field]) for field in made if (where, field) in leaves):
            i = leaf.at.index(j)
            rest = made[field] + leaf.expected[i] * leaf.parameters[i] - leaf.values[i]
            worst = np.maximum(
                worst, np.sqrt((rest**2).sum(axis=0) if rest.ndim > 1 else rest**2) / leaf.tolerances[i]
            )
        g = segment.rows[where][j].back(g) if where < segment.last else g
    return worst
