"""This predicts the accuracy of one further run of ours, so that a single run of the report's can be judged.

The report's figure is one run, which need not meet our mean: if its procedure is ours, it lies in the prediction
interval of a single further run in 95 % of all cases (Patil, Peng and Leek 2016, Perspectives on Psychological
Science 11, 539-544; Spence and Stanley 2016, PLoS ONE 11, e0162874).

Of n runs with standard deviation s on the same N images, a further run on these images differs from their mean by
its own chance and by that of the mean:

    s**2 (1 + 1 / n)

s is measured on fixed images, so it has all that changes from run to run (initial weights, minibatches, and with
them which of the uncertain images fall to the right side), but not which images were drawn. If the report counted
R images, of which c are among our N, their sampling is added, for an accuracy p of which q p (1 - p) is the run's
chance and (1 - q) p (1 - p) is images' being easy or hard:

    p (1 - p) ((1 / R) (1 - c / N) + (1 - 2 q) (1 / N) (1 - c / R))

It is 0 for the same images, and p (1 - p) (1/R - 1/N) for a part of ours: the variance of a random part of a
run's N answers about their mean. Where some of the report's images are none of ours, our own draw adds
(1 - q) / N, and s**2 has q / N too much, by counting a run's chance on N images beside that on the report's R.

The two variances have degrees of freedom as in `crossed`. `python -m tests.intervals` simulates what is told.
"""

import math
from collections.abc import Mapping
from typing import Any

from mlp_jax.studies.crossed import Estimate

LEAST_RUNS = 4
"""Of fewer runs the spread is hardly known: t is 4.3 for three and 12.7 for two."""
WIDEST = 0.05
"""What lies inside an interval of more than this either way is no news. The report's two gains are hardly larger
(Question 3: from 48 to 53.3 %, Question 4: from 51.1 to 56.4 %), so a tuned network could not be told from the one
at which the search began."""

CHANCE = 0.35
"""q: two runs of one setting disagree on 2 q p (1 - p) of the images. Those of `depth_study --dataset=cifar10
--layers=3 --seeds=4` do on 19 % of 1,000 (--protocol=published) and 16 % of 10,000, so q is 0.38 and 0.33."""


def further_run(ours: Mapping[str, Any], images: int, their_images: int, shared: float) -> Estimate | None:
    """Predicts a further run's accuracy on the report's images, with its error; None for too few runs.

    ours: a `measured` accuracy, a fraction, counted on so many images. shared: how many of the report's images are
    among them, which need not be whole where only its expectation is known. Runs that all agree count as if they
    had a spread of one image, since a zero spread is never certainty.
    """
    mean, runs = ours["mean"], ours["n"]
    if runs < LEAST_RUNS:
        return None
    by_run = max(ours["std"], 1 / images) ** 2 * (1 + 1 / runs)
    others = (1 - shared / images) / their_images + (1 - 2 * CHANCE) * (1 - shared / their_images) / images
    variance = by_run + mean * (1 - mean) * others
    return Estimate(mean, math.sqrt(variance), (runs - 1) * variance / by_run)
