"""A search of hyperparameters tries every point of a grid, some of its points, or points drawn at random."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.studies.fields import Floats, Ints, written

NEAR = 0.1
"""So much of a range, in logarithms, counts as its edge."""


class Point(NamedTuple):
    """A point is one configuration."""

    hidden: int
    batch_size: int
    l2: float
    learning_rate: float


@dataclass(frozen=True)
class Space:
    """A space has the values of each dimension; with `ranges`, l2 and learning_rate have the ends of a range.

    Raises UserError for a range that is not the least and the greatest value.
    """

    hidden: Ints
    batch_size: Ints
    l2: Floats
    learning_rate: Floats
    ranges: bool = False

    def __post_init__(self) -> None:
        for name in ("l2", "learning_rate") if self.ranges else ():
            ends = getattr(self, name)
            if len(ends) != 2 or ends[0] >= ends[1]:
                raise UserError(f"--{name}_range must be two numbers, 0 < least < greatest, not {written(ends)}")

    def grid(self) -> list[Point]:
        """Gives all points, the last dimension varying fastest."""
        return list(itertools.starmap(Point, itertools.product(*(getattr(self, name) for name in Point._fields))))

    def subset(self, number: int | None, seed: int) -> list[Point]:
        """Draws so many different points of the grid at random, in the grid's order; None takes all.

        Raises UserError if it has fewer.
        """
        points = self.grid()
        if number is None:
            return points
        if number > len(points):
            raise UserError(
                f"--trials={number} is more than the {len(points)} points of the grid: choose at most "
                f"{len(points)}, list more values, or draw from ranges with --protocol=clean"
            )
        chosen = np.random.default_rng(seed).choice(len(points), number, replace=False)
        return [points[i] for i in sorted(chosen)]

    def draw(self, number: int, seed: int) -> list[Point]:
        """Draws so many points, log-uniform in the ranges; more of them begin with the same ones.

        Rounded to 4 digits, so that a table shows what was run.
        """
        rng = np.random.default_rng(seed)

        def between(low: float, high: float) -> float:
            return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.4g}")

        return [
            Point(
                int(rng.choice(self.hidden)),
                int(rng.choice(self.batch_size)),
                between(*self.l2),
                between(*self.learning_rate),
            )
            for _ in range(number)
        ]

    def edges(self, best: Point) -> list[dict[str, Any]]:
        """Tells where the best point lies at the end of what was tried, so that a better one may lie beyond."""
        found = []
        for name, value in best._asdict().items():
            low, high = min(getattr(self, name)), max(getattr(self, name))
            margin = NEAR * math.log(high / low) if self.ranges and name in ("l2", "learning_rate") else 0.0
            ends = {"smallest": value <= low * math.exp(margin), "largest": value >= high / math.exp(margin)}
            if low < high and any(ends.values()):
                end = next(name for name, there in ends.items() if there)
                found.append({"name": name, "value": value, "end": end, "low": low, "high": high})
        return found
