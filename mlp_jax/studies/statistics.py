"""Seeds are summarised here, and compared in pairs with intervals; `verdicts` judges claims by that.

Everything takes and gives fractions; what is not finite is a ValueError: whose run that is has diverged, which a
row tells, and has no number in it. A run's seed fixes its initial weights, minibatches and dropout masks, so two
settings that were run with the same seeds are compared seed by seed. Source of the tests: `scipy.stats`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first named: `stats` takes longer than jax

from mlp_jax.studies.crossed import LEVEL, Correct, Estimate, mean_difference, unseen_error

Row = dict[str, Any]
MARGIN = 0.005
"""Accuracies that differ by less, half a point, are no different for our purposes."""
NO_BITS: Mapping[str, Correct] = MappingProxyType({})

SEEDS, SEEDS_AND_IMAGES = "seeds", "seeds and images"
BETTER, WORSE, NO_DIFFERENCE, CANNOT_TELL = "better", "worse", "no difference", "cannot tell"


def finite(values: Iterable[float]) -> list[float]:
    """Gives the values. Raises ValueError if one is not finite: it is no part of a mean or a figure."""
    numbers = [float(v) for v in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"not finite: {numbers}")
    return numbers


def measured(values: Sequence[float]) -> Row:
    """Gives {"mean", "std", "n", "values"} of one quantity over the seeds that finished.

    std is the sample one (n - 1), null for n < 2; the mean of none is null.
    """
    numbers = finite(values)
    mean = float(np.mean(numbers)) if numbers else None
    std = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return {"mean": mean, "std": std, "n": len(numbers), "values": numbers}


def accuracy_error(accuracy: float, images: int) -> float:
    """Gives the standard error of an accuracy that was counted on so many images: sqrt(p (1 - p) / N)."""
    finite([accuracy])
    return math.sqrt(accuracy * (1 - accuracy) / images)


def paired(ours: Row, base: Row, quantity: str = "test_accuracy", correct: Mapping[str, Correct] = NO_BITS) -> Row:
    """Compares ours - base, seed by seed, of a `measured` quantity of two rows, by their `seeds`.

    Gives {"mean", "low", "high" (95 % interval), "n", "values", "p" (of no difference), "p_equivalent" (of a
    difference of `MARGIN` or more, either way), "over", "images"}; interval and p values are null for fewer than
    two seeds. Seeds that only one of the two has (the other diverged) are left out.

    "over" is "seeds and images" where `correct` holds which images both got right, by the rows' digests
    (`correctness`): the interval of `crossed`. Elsewhere it is "seeds": Student's t alone, which says nothing of
    other images. A spread of 0 then counts as that of the fewest images that can give this mean.

    Raises ValueError if the rows come from different data or protocols.
    """
    _check_origin(ours, base)
    mine, theirs = (dict(zip(row["seeds"], row[quantity]["values"], strict=True)) for row in (ours, base))
    seeds = [seed for seed in mine if seed in theirs]
    differences = finite([mine[seed] - theirs[seed] for seed in seeds])
    images = ours.get("images", {}).get(quantity.split("_")[0])
    bits = _bits(ours, base, quantity, seeds, correct)
    estimate = None
    if len(seeds) > 1:
        estimate = _over_seeds(differences, images) if bits is None else mean_difference(*bits)
    low, high = estimate.interval() if estimate else (None, None)
    return {
        "mean": float(np.mean(differences)) if differences else None,
        "low": low,
        "high": high,
        "n": len(differences),
        "values": differences,
        "p": estimate and estimate.p_value(),
        "p_equivalent": estimate and estimate.p_equivalent(MARGIN),
        "over": SEEDS if bits is None else SEEDS_AND_IMAGES,
        "images": images,
    }


def _check_origin(ours: Row, base: Row) -> None:
    for name in ("data_fingerprint", "protocol"):
        first, second = ours.get(name), base.get(name)
        if first and second and first != second:
            raise ValueError(f"rows of {name} {first} and {second} cannot be compared")


def _bits(
    ours: Row, base: Row, quantity: str, seeds: Sequence[int], correct: Mapping[str, Correct]
) -> tuple[Correct, Correct] | None:
    """Tells which images both rows' runs of these seeds get right, (seeds, images); None if unknown."""
    found = []
    for row in (ours, base):
        about = row.get("correct") or {}
        if about.get("quantity") != quantity or about["sha256"] not in correct:
            return None
        found.append(correct[about["sha256"]][[row["seeds"].index(seed) for seed in seeds]])
    return found[0], found[1]


def _over_seeds(differences: Sequence[float], images: int | None) -> Estimate | None:
    """Gives Student's t over two or more seeds; None for equal differences on an unknown number of images."""
    mean, freedom = float(np.mean(differences)), len(differences) - 1
    if np.ptp(differences) > 1e-12:
        return Estimate(mean, float(scipy.stats.sem(differences)), freedom)
    if images is None:
        return None
    return Estimate(mean, max(accuracy_error(abs(mean), images), unseen_error(images)), math.inf)


def negated(difference: Row) -> Row:
    """Gives base - ours, of a difference ours - base that `paired` or `family` gave."""
    signs = {name: None if (value := difference[name]) is None else -value for name in ("mean", "low", "high")}
    values = [-value for value in difference["values"]]
    found = {**difference, **signs, "low": signs["high"], "high": signs["low"], "values": values}
    if "verdict" in found:
        found["verdict"] = {BETTER: WORSE, WORSE: BETTER}.get(found["verdict"], found["verdict"])
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Corrects the p values of one family by Holm's method (1979); null ones stay, and count for nothing.

    The smallest is multiplied by their number m, the next by m - 1, and so on; none gets smaller than the one
    before it, or greater than 1. The chance that any of the true hypotheses falls below 0.05 is then at most 5 %.
    """
    corrected = list(p_values)
    told = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    finite(p for p, _ in told)
    least = 0.0
    for rank, (p, place) in enumerate(told):
        least = max(least, min(1.0, (len(told) - rank) * p))
        corrected[place] = least
    return corrected


def family(differences: Sequence[Row]) -> list[Row]:
    """Gives the `paired` differences of one family, each with "p_holm", "p_equivalent_holm" and "verdict".

    The verdict is of ours against the base, at 5 % of the corrected p values: "better", "worse", "no difference"
    (not beyond `MARGIN`, by two one-sided tests), or "cannot tell".
    """
    corrected = [holm([row[name] for row in differences]) for name in ("p", "p_equivalent")]
    found = []
    for row, p, equivalent in zip(differences, *corrected, strict=True):
        more = {"p_holm": p, "p_equivalent_holm": equivalent}
        found.append({**row, **more, "verdict": _verdict(row["mean"], p, equivalent)})
    return found


def _verdict(mean: float | None, p: float | None, equivalent: float | None) -> str:
    if mean is None or p is None or equivalent is None:
        return CANNOT_TELL
    finite([mean, p, equivalent])
    if p <= 1 - LEVEL:
        return BETTER if mean > 0 else WORSE
    return NO_DIFFERENCE if equivalent <= 1 - LEVEL else CANNOT_TELL
