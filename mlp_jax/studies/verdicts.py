"""Claims of the report get their verdicts here, by one rule."""

import math
from collections.abc import Sequence

import scipy  # its parts are imported when they are first named: `stats` takes longer than jax

from mlp_jax.studies.crossed import Estimate
from mlp_jax.studies.further_run import LEAST_RUNS, WIDEST
from mlp_jax.studies.statistics import (
    BETTER,
    CANNOT_TELL,
    MARGIN,
    NO_DIFFERENCE,
    WORSE,
    Row,
    accuracy_error,
    family,
    finite,
)  # fmt: skip

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
TIE = f"a tie: no difference beyond {100 * MARGIN:g} points"

RULE = (
    "An accuracy of the report is one run's. It is reproduced if it lies in the 95 % prediction interval of a "
    "further run of ours, and not reproduced if it lies outside. That interval is Student's t over seeds; the "
    "sampling of the report's images is added where they are others than ours, as its first 1,000 are in a copy "
    f"of CIFAR-10 with another order. With fewer than {LEAST_RUNS} seeds, or inside an interval of more than "
    f"{100 * WIDEST:g} points either way, it cannot be told. A comparison is made with the same seeds on the same "
    "images, and its interval is for other seeds and, where the images that each run gets right were kept, for "
    "other images too. "
    "Comparisons of one family are corrected by Holm's method: one is better or worse if its corrected p value is "
    "at most 5 %, and no difference if two one-sided tests at 5 % exclude half a point either way. A claim that "
    "something is better is reproduced if it is, not reproduced if it is worse, and a tie if there is no "
    "difference. 'Best' is such a comparison with every other. 'No improvement' is reproduced if the comparison "
    "is worse or no different, or its interval ends below half a point. The best of a grid that was run once is "
    "reproduced if it is ours too, and not reproduced if it trails our best by more than 2 standard errors of a "
    "difference. 'Above x' is decided by 2 standard errors of our images and seeds. A loss is reproduced to half "
    "a unit of its last digit, or to 5 % where it is 'about' so much, and not reproduced beyond twice that. What "
    "happens to runs, such as that they do not learn, is reproduced if it happens to all seeds, not reproduced if "
    "to none. An equation is reproduced if it agrees with jax.grad on every case. Whatever is left cannot be told."
)


def judge_number(ours: Row, report: float, predicted: Estimate | None) -> str:
    """Gives the verdict on an accuracy that the report states: `RULE`. predicted: `further_run` of ours."""
    if ours["mean"] is None:
        return NOT_REPRODUCED  # no run finished
    if predicted is None:
        return CANNOT_TELL
    low, high = finite(predicted.interval())
    if not low <= report <= high:
        return NOT_REPRODUCED
    return REPRODUCED if high - low <= 2 * WIDEST else CANNOT_TELL


def judge_above(ours: Row, images: int, bar: float) -> str:
    """Gives the verdict on "above the bar", of an accuracy: `RULE`."""
    if ours["mean"] is None:
        return NOT_REPRODUCED
    seeds = scipy.stats.sem(ours["values"]) if ours["n"] > 1 else 0.0
    margin = 2 * math.hypot(accuracy_error(ours["mean"], images), seeds)
    if abs(ours["mean"] - bar) <= margin:
        return CANNOT_TELL
    return REPRODUCED if ours["mean"] > bar else NOT_REPRODUCED


def judge_loss(ours: Row, report: float, tolerance: float) -> str:
    """Gives the verdict on a loss that the report states, or shows, to within `tolerance`: `RULE`."""
    if ours["mean"] is None:
        return NOT_REPRODUCED
    difference = abs(finite([ours["mean"]])[0] - report)
    if difference <= tolerance:
        return REPRODUCED
    return NOT_REPRODUCED if difference > 2 * tolerance else CANNOT_TELL


def judge_tried_best(claimed: float, best: float, images: int) -> str:
    """Judges "this configuration is the best of the grid", of accuracies of one run each: `RULE`."""
    if claimed >= best:
        return REPRODUCED
    spread = math.hypot(accuracy_error(claimed, images), accuracy_error(best, images))
    return NOT_REPRODUCED if best - claimed > 2 * spread else CANNOT_TELL


def judge_event(happened: int, runs: int) -> str:
    """Gives the verdict on "this happens", which it did in so many of the runs: `RULE`."""
    if happened == runs > 0:
        return REPRODUCED
    return NOT_REPRODUCED if happened == 0 else CANNOT_TELL


def _judged(differences: Sequence[Row]) -> Sequence[Row]:
    """Gives the differences as `family` gave them; those that no family has judged are one of their own."""
    return differences if all("p_holm" in row for row in differences) else family(differences)


def judge_difference(difference: Row, claim: str = "greater") -> str:
    """Judges "greater" or "not greater", of a difference that `family` or `paired` gave: `RULE`."""
    told = _judged([difference])[0]
    verdict, high = told["verdict"], told["high"]
    if claim == "greater":
        return {BETTER: REPRODUCED, WORSE: NOT_REPRODUCED, NO_DIFFERENCE: TIE, CANNOT_TELL: CANNOT_TELL}[verdict]
    if verdict == BETTER:
        return NOT_REPRODUCED
    small = high is not None and finite([high])[0] < MARGIN
    return REPRODUCED if small or verdict in (WORSE, NO_DIFFERENCE) else CANNOT_TELL


def judge_best(differences: Sequence[Row]) -> str:
    """Judges "better than each of the others", of the differences to all of them, which are one family.

    Reproduced if it is greater than every other, not reproduced if one other is greater, a tie if one other is
    no different.
    """
    verdicts = {judge_difference(difference) for difference in _judged(differences)}
    for verdict in (NOT_REPRODUCED, TIE):
        if verdict in verdicts:
            return verdict
    return REPRODUCED if verdicts == {REPRODUCED} else CANNOT_TELL


def judge_no_better(differences: Sequence[Row]) -> str:
    """Judges "none of these is an improvement", of their differences to the base, which are one family."""
    verdicts = {judge_difference(difference, "not greater") for difference in _judged(differences)}
    if NOT_REPRODUCED in verdicts:
        return NOT_REPRODUCED
    return REPRODUCED if verdicts == {REPRODUCED} else CANNOT_TELL
