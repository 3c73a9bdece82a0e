"""This tells how sure a mean difference is over seeds and test images at once: two crossed random effects.

Two settings are trained with the same S seeds and tested on the same N images. With seed s on image i their
answers differ by d[s, i], which is 1 if only the first setting is right, -1 if only the second is, else 0. Of

    d[s, i] = mean + a[s] + b[i] + e[s, i]

a[s] belongs to the seed, b[i] to the image, and e[s, i] to that run on that image. All are drawn anew in a study
with other seeds and other images, so the error of the grand mean has three parts:

    Var(grand mean) = Var(a) / S + Var(b) / N + Var(e) / (S N)

The mean squares of the two-way table (one observation per cell) have the expectations

    MS_seeds = N Var(a) + Var(e),    MS_images = S Var(b) + Var(e),    MS_rest = Var(e)

so that (MS_seeds + MS_images - MS_rest) / (S N) estimates the error without bias (Searle, Casella and McCulloch
1992, Variance Components, chapter 4). It stands under Clark's quasi F' (1973, Journal of Verbal Learning and
Verbal Behavior 12, 335-359). A negative Var(b) is taken as 0.

Degrees of freedom. Satterthwaite (1946, Biometrics Bulletin 2, 110-114) has 1 / nu = sum of w**2 / nu_k over the
sources, w being a source's share in the estimated error. Of few seeds the share is itself uncertain, and with it
squared the intervals of three seeds would cover as little as 92 %. We take the share as it is,

    1 / nu = w / (S - 1) + (1 - w) / (N - 1)    with w the share of MS_seeds,

which agrees with Satterthwaite where one source is all, and is more careful between. `python -m tests.intervals`
simulates what these intervals cover.

A zero spread is never certainty. The seeds' means scatter by MS_rest at least, so equal ones are luck. If MS_seeds
is so small that this happens less than once in 100 studies, it is not believed, and MS_rest stands in its place.
If no image tells the settings apart, the rule of three (Hanley and Lippman-Hand 1983, JAMA 249, 1743-1745) bounds
the share of images that would: 3 / N.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when they are first named: `stats` takes longer than jax
from numpy.typing import NDArray

LEVEL = 0.95
UNBELIEVED = 0.01
"""Seeds that agree as well as this share of studies by chance alone are not believed to agree."""

Correct = NDArray[np.bool_]


class Estimate(NamedTuple):
    """This is a mean difference as a fraction, its standard error, and the degrees of freedom of that error."""

    mean: float
    error: float
    freedom: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Gives the two ends of the interval, Student's t."""
        width = self.error * float(scipy.stats.t.ppf((1 + level) / 2, self.freedom))
        return self.mean - width, self.mean + width

    def p_value(self) -> float:
        """Gives the two-sided p value of a true difference of 0."""
        return float(2 * scipy.stats.t.sf(abs(self.mean) / self.error, self.freedom))

    def p_equivalent(self, margin: float) -> float:
        """Gives the p value of a difference of `margin` or more either way: the larger of two one-sided tests.

        Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15, 657-680.
        """
        return float(scipy.stats.t.sf((margin - abs(self.mean)) / self.error, self.freedom))


def mean_difference(ours: Correct, base: Correct) -> Estimate:
    """Estimates ours - base, of which images each run gets right: (seeds, images), both in the same order.

    Raises ValueError if the shapes differ, or for fewer than 2 seeds or images.
    """
    if ours.shape != base.shape or ours.ndim != 2 or min(ours.shape) < 2:
        raise ValueError(f"shapes {ours.shape} and {base.shape}: two or more seeds and images, the same of both")
    seeds, images = ours.shape
    by_seed = np.count_nonzero(ours, axis=1) - np.count_nonzero(base, axis=1)
    by_image = ours.sum(axis=0, dtype=np.int64) - base.sum(axis=0, dtype=np.int64)
    apart = int(np.count_nonzero(ours != base))  # the sum of d squared
    cells, total = seeds * images, int(by_seed.sum())
    middle = total**2 / cells
    from_seeds = int((by_seed**2).sum()) / images - middle
    from_images = int((by_image**2).sum()) / seeds - middle
    rest = max(apart - middle - from_seeds - from_images, 0.0)
    if apart == 0 or abs(total) == cells:
        return Estimate(total / cells, unseen_error(images), math.inf)
    of_seeds, of_images = from_seeds / (seeds - 1), from_images / (images - 1)
    of_rest = rest / ((seeds - 1) * (images - 1))
    if not believed(of_seeds, of_rest, seeds, images):
        of_seeds = of_rest
    variance = of_seeds + max(of_images - of_rest, 0.0)
    share = of_seeds / variance
    freedom = 1 / (share / (seeds - 1) + (1 - share) / (images - 1))
    return Estimate(total / cells, math.sqrt(variance / cells), freedom)


def believed(square: float, rest: float, seeds: int, images: int) -> bool:
    """Tells whether the seeds' mean square is not improbably small beside the rest's (F test, lower end)."""
    freedom = seeds - 1
    return bool(square >= rest * scipy.stats.f.ppf(UNBELIEVED, freedom, freedom * (images - 1)))


def unseen_error(images: int) -> float:
    """Gives the standard error whose 95 % interval is 3 / N either way: of what none of N images has shown."""
    return 3 / images / float(scipy.stats.norm.ppf((1 + LEVEL) / 2))
