"""How often our intervals hold what they should, in simulated studies: `python -m tests.intervals`.

Those of `crossed` should hold the true difference, those of `further_run` the report's single run.

An image is got right if easiness + the setting's effect on it + the seed's effect + noise is above 0, all of them
normal. With the noise at 1 and the easiness at 1.33 two runs of one setting disagree on 28 % of the images, as
networks do that are right on half of CIFAR-10.
"""

import math
import sys
from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from mlp_jax.studies import crossed, statistics
from mlp_jax.studies.further_run import further_run
from mlp_jax.studies.verdicts import NOT_REPRODUCED, judge_number

EASINESS, MIDDLE = 1.33, 0.1


class World(NamedTuple):
    """What two settings differ in: a shift of all images, of each image (sd), of each seed's run (sd)."""

    shift: float
    by_image: float
    by_seed: float

    def truth(self):
        """The difference of the two settings' expected accuracies."""
        spread = math.sqrt(1 + EASINESS**2 + self.by_image**2 + self.by_seed**2)
        return norm.cdf((MIDDLE + self.shift) / spread) - norm.cdf(MIDDLE / spread)

    def study(self, rng, seeds, images):
        """Which images the runs of both settings get right, (2, seeds, images); a seed is shared by half."""
        easiness = rng.standard_normal((2, 1, images), np.float32) * self.by_image
        easiness += rng.standard_normal(images, np.float32) * EASINESS + MIDDLE
        easiness[0] += self.shift
        runs = rng.standard_normal((2, seeds, 1), np.float32) + rng.standard_normal((1, seeds, 1), np.float32)
        runs *= self.by_seed / math.sqrt(2)
        return rng.standard_normal((2, seeds, images), np.float32) + easiness + runs > 0


WORLDS = {
    "one setting twice": World(0, 0, 0),
    "no difference, seeds matter": World(0, 0.3, 0.05),
    "small difference": World(0.03, 0.3, 0.015),
    "small difference, hardly any seed variance": World(0.03, 0.3, 0.002),
    "small difference, large seed variance": World(0.03, 0.3, 0.15),
}


def coverage(world, seeds, images, studies, seed=0):
    """The share of the simulated studies whose 95 % interval holds the truth."""
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(studies):
        low, high = crossed.mean_difference(*world.study(rng, seeds, images)).interval()
        hits += low <= world.truth() <= high
    return hits / studies


SETS = {
    "the same 1,000 images": (1000, 1000, 1000),
    "1,000 of our 10,000 images": (10_000, 1000, 1000),
    "1,000 images, 100 of our 1,000": (1000, 1000, 100),
}
"""How many images are ours, how many the report's, and how many are in both."""
SPREAD, SEED_SPREAD = 2.4, 0.015
"""Of the images and the seeds, so that two runs disagree on 17 % of the images (`further_run.CHANCE`)."""


def verdicts(ours, theirs, shared, runs, studies, worse=0.0, seed=0):
    """The share of the simulated studies that have each verdict, where the report's single run was one of the same
    procedure, or of one that is so much worse."""
    rng, told = np.random.default_rng(seed), Counter[str]()
    for _ in range(studies):
        easiness = rng.standard_normal(ours + theirs - shared, np.float32) * SPREAD + MIDDLE
        right = _run(rng, easiness[:ours], runs).mean(axis=1)
        report = float(_run(rng, easiness[ours - shared :] - _shift(worse), 1).mean())
        measured = statistics.measured(right)
        predicted = further_run(measured, ours, theirs, shared)
        told[judge_number(measured, report, predicted)] += 1 / studies
    return told


def _run(rng, easiness, runs):
    noise = rng.standard_normal((runs, len(easiness)), np.float32)
    return noise + easiness + rng.standard_normal((runs, 1), np.float32) * SEED_SPREAD > 0


def _shift(worse):
    """By how much all images are harder for an accuracy that is lower by so much."""
    spread = math.sqrt(1 + SPREAD**2 + SEED_SPREAD**2)
    return MIDDLE - spread * norm.ppf(norm.cdf(MIDDLE / spread) - worse)


def main():
    """A line per size and world; status 1 if one covers less than 93 % or more than 97 %."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    return int(_of_differences(studies) + _of_further_runs(studies) > 0)


def _of_differences(studies):
    outside = 0
    for seeds, images in ((3, 300), (16, 300), (3, 10_000), (16, 10_000)):
        for name, world in WORLDS.items():
            found = coverage(world, seeds, images, studies)
            outside += not 0.93 <= found <= 0.97
            print(f"{seeds:2} seeds, {images:5} images, {name}: {100 * found:.1f} % of {studies}", flush=True)
    return outside


def _of_further_runs(studies):
    outside = 0
    for name, sizes in SETS.items():
        for runs in (4, 8, 16):
            same, worse = (verdicts(*sizes, runs, studies, less) for less in (0, 0.05))
            outside += not 0.93 <= 1 - same[NOT_REPRODUCED] <= 0.97
            print(
                f"{runs:2} seeds, the report on {name}: {_shares(same)}; 5 points worse: {_shares(worse)}",
                flush=True,
            )
    return outside


def _shares(told):
    return ", ".join(f"{name} {100 * told[name]:.1f} %" for name in sorted(told))


if __name__ == "__main__":
    sys.exit(main())
