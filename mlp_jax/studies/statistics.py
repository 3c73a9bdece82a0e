"""Statistics over seeds: summaries, intervals, paired comparisons, and the verdict on a claim.

Everything takes and gives fractions; what is not finite is a ValueError: whose run that is has diverged, which a
row tells, and has no number in it. A run's seed fixes its initial weights, minibatches and dropout masks, so two
settings that were run with the same seeds are compared seed by seed. Source of the tests: `scipy.stats`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy  # its parts are imported when they are first named: `stats` takes longer than jax

Row = dict[str, Any]
LEVEL = 0.95

REPRODUCED, NOT_REPRODUCED, WITHIN_NOISE = "reproduced", "not reproduced", "within noise, n too small"

RULE = (
    "A number is reproduced if the 95 % interval of our mean (Student's t over seeds) lies within one standard "
    "error of the report's own figure, sqrt(p (1 - p) / N) for an accuracy p on N images; it is not reproduced if "
    "the two differ by more than 2 standard errors of the difference, which has three parts: the report's images, "
    "ours, and our seeds. A comparison is made seed by seed: it is reproduced if the 95 % interval of the mean "
    "difference lies on the claimed side of 0, and not reproduced if it lies on the other. 'Best' is such a "
    "comparison with every other. The best of a grid that was run once is reproduced if it is ours too, and not "
    "reproduced if it trails our best by more than 2 standard errors of a difference. 'Above x' is decided by 2 "
    "standard errors of our images and seeds. A loss is reproduced to half a unit of its last digit, or to 5 % "
    "where it is 'about' so much, and not reproduced beyond twice that. What happens to runs, such as that they "
    "do not learn, is reproduced if it happens to all seeds, not reproduced if to none. An equation is reproduced "
    "if it agrees with jax.grad on every case. Whatever is left is within noise."
)


def finite(values: Iterable[float]) -> list[float]:
    """The values. Raises ValueError if one is not finite: it can be no part of a mean, a median or a figure."""
    numbers = [float(v) for v in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"not finite: {numbers}")
    return numbers


def measured(values: Sequence[float]) -> Row:
    """{"mean", "std", "n", "values"} of one quantity over the seeds that finished.

    std is the sample one (n - 1), null for n < 2; the mean of none is null.
    """
    numbers = finite(values)
    mean = float(np.mean(numbers)) if numbers else None
    std = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return {"mean": mean, "std": std, "n": len(numbers), "values": numbers}


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean, Student's t with n - 1 degrees of freedom; infinite for n < 2."""
    if len(values) < 2:
        return math.inf
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * scipy.stats.sem(finite(values)))


def accuracy_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy that was counted on so many images: sqrt(p (1 - p) / N)."""
    finite([accuracy])
    return math.sqrt(accuracy * (1 - accuracy) / images)


def paired(ours: Row, base: Row, quantity: str = "test_accuracy") -> Row:
    """ours - base, seed by seed, of a `measured` quantity of two rows, whose `seeds` say whose the values are.

    {"mean", "low", "high" (95 % interval), "n", "values", "p_t" (paired t), "p_wilcoxon" (signed ranks, exact
    where it can be)}, null where n or a spread of 0 does not allow them. Seeds that only one of the two has (the
    other diverged) are left out.

    Raises ValueError if the rows come from different data or protocols.
    """
    for name in ("data_fingerprint", "protocol"):
        first, second = ours.get(name), base.get(name)
        if first and second and first != second:
            raise ValueError(f"rows of {name} {first} and {second} cannot be compared")
    theirs = dict(zip(base["seeds"], base[quantity]["values"], strict=True))
    mine = zip(ours["seeds"], ours[quantity]["values"], strict=True)
    differences = finite([value - theirs[seed] for seed, value in mine if seed in theirs])
    mean, width = (float(np.mean(differences)) if differences else math.nan), half_width(differences)
    told = math.isfinite(width)
    return {
        "mean": mean if differences else None,
        "low": mean - width if told else None,
        "high": mean + width if told else None,
        "n": len(differences),
        "values": differences,
        "p_t": _p(lambda d: scipy.stats.ttest_1samp(d, 0.0), differences),
        "p_wilcoxon": _p(scipy.stats.wilcoxon, differences),
    }


def _p(test: Any, differences: list[float]) -> float | None:
    """Of a mean (or median) difference of 0; equal differences have no spread to judge by."""
    if len(differences) < 2 or np.ptp(differences) < 1e-12:
        return None
    return float(test(differences).pvalue)


def judge_number(ours: Row, images: int, report: float, report_images: int) -> str:
    """The verdict on an accuracy that the report states: `RULE`. `images` is what ours was counted on."""
    if ours["mean"] is None:
        return NOT_REPRODUCED  # no run finished
    difference, width = abs(ours["mean"] - report), half_width(ours["values"])
    theirs = accuracy_error(report, report_images)
    if difference + width <= theirs:
        return REPRODUCED
    seeds = scipy.stats.sem(ours["values"]) if ours["n"] > 1 else 0.0
    spread = math.hypot(theirs, accuracy_error(ours["mean"], images), seeds)
    return NOT_REPRODUCED if difference > 2 * spread else WITHIN_NOISE


def judge_above(ours: Row, images: int, bar: float) -> str:
    """The verdict on "above the bar", of an accuracy: `RULE`."""
    if ours["mean"] is None:
        return NOT_REPRODUCED
    seeds = scipy.stats.sem(ours["values"]) if ours["n"] > 1 else 0.0
    margin = 2 * math.hypot(accuracy_error(ours["mean"], images), seeds)
    if abs(ours["mean"] - bar) <= margin:
        return WITHIN_NOISE
    return REPRODUCED if ours["mean"] > bar else NOT_REPRODUCED


def judge_loss(ours: Row, report: float, tolerance: float) -> str:
    """The verdict on a loss that the report states, or shows, to within `tolerance`: `RULE`."""
    if ours["mean"] is None:
        return NOT_REPRODUCED
    difference = abs(finite([ours["mean"]])[0] - report)
    if difference <= tolerance:
        return REPRODUCED
    return NOT_REPRODUCED if difference > 2 * tolerance else WITHIN_NOISE


def judge_tried_best(claimed: float, best: float, images: int) -> str:
    """The verdict on "this configuration is the best of the grid", of accuracies of one run each: `RULE`."""
    if claimed >= best:
        return REPRODUCED
    spread = math.hypot(accuracy_error(claimed, images), accuracy_error(best, images))
    return NOT_REPRODUCED if best - claimed > 2 * spread else WITHIN_NOISE


def judge_event(happened: int, runs: int) -> str:
    """The verdict on "this happens", which it did in so many of the runs: `RULE`."""
    if happened == runs > 0:
        return REPRODUCED
    return NOT_REPRODUCED if happened == 0 else WITHIN_NOISE


def judge_difference(difference: Row, claim: str = "greater") -> str:
    """The verdict on "greater" or "not greater", of a `paired` difference: `RULE`."""
    low, high = difference["low"], difference["high"]
    if low is None:
        return WITHIN_NOISE
    finite([low, high])
    if low <= 0 <= high:
        return WITHIN_NOISE
    return REPRODUCED if (low > 0) == (claim == "greater") else NOT_REPRODUCED


def judge_best(differences: Sequence[Row]) -> str:
    """The verdict on "better than each of the others", of the `paired` differences to all of them.

    Reproduced if it is greater than every other, not reproduced if one other is greater.
    """
    verdicts = {judge_difference(difference) for difference in differences}
    if NOT_REPRODUCED in verdicts:
        return NOT_REPRODUCED
    return REPRODUCED if verdicts == {REPRODUCED} else WITHIN_NOISE
