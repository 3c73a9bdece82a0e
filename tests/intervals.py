"""How often intervals of `crossed` hold the true difference, in simulated studies: `python -m tests.intervals`.

An image is got right if easiness + the setting's effect on it + the seed's effect + noise is above 0, all of them
normal. With the noise at 1 and the easiness at 1.33 two runs of one setting disagree on 28 % of the images, as
networks do that are right on half of CIFAR-10.
"""

import math
import sys
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from mlp_jax.studies import crossed

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


def main():
    """A line per size and world; status 1 if one covers less than 93 % or more than 97 %."""
    studies, outside = int(sys.argv[1]) if len(sys.argv) > 1 else 2000, 0
    for seeds, images in ((3, 300), (16, 300), (3, 10_000), (16, 10_000)):
        for name, world in WORLDS.items():
            found = coverage(world, seeds, images, studies)
            outside += not 0.93 <= found <= 0.97
            print(f"{seeds:2} seeds, {images:5} images, {name}: {100 * found:.1f} % of {studies}", flush=True)
    return int(outside > 0)


if __name__ == "__main__":
    sys.exit(main())
