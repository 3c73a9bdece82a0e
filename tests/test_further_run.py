"""The prediction interval of one further run, and the verdict that it gives: by hand, at its edges, simulated."""

import math

import pytest

from mlp_jax.studies.further_run import LEAST_RUNS, WIDEST, further_run
from mlp_jax.studies.rows import MIRROR, shared_images
from mlp_jax.studies.statistics import CANNOT_TELL, measured
from mlp_jax.studies.verdicts import NOT_REPRODUCED, REPRODUCED, judge_number
from tests.intervals import SETS, verdicts

OURS = measured([0.50, 0.51, 0.51, 0.52])  # mean 0.51, sd 0.01 sqrt(2/3)


def predicted(ours=OURS, images=1000, theirs=1000, shared=1000):
    found = further_run(ours, images, theirs, shared)
    assert found is not None
    return found


def test_on_the_same_images_it_is_seeds_alone():
    # t(0.975, 3) = 3.1824, sqrt(1 + 1/4) = 1.118
    low, high = predicted().interval()
    assert (low + high) / 2 == pytest.approx(0.51)
    assert (high - low) / 2 == pytest.approx(3.1824 * 0.01 * math.sqrt(2 / 3) * math.sqrt(5 / 4), rel=1e-4)


@pytest.mark.parametrize(
    ("images", "theirs", "shared", "sampling"),
    [
        (10_000, 1000, 1000, 1 / 1000 - 1 / 10_000),  # a part of ours
        (5000, 1000, 0, 1 / 1000 + 0.3 / 5000),  # none of ours; 1 - 2 * 0.35 is 0.3
        (1000, 1000, 100, 0.9 * 1.3 / 1000),
    ],
)
def test_the_sampling_of_images_by_hand(images, theirs, shared, sampling):
    by_run, by_image = 1e-4 * 2 / 3 * 5 / 4, 0.51 * 0.49 * sampling
    found = predicted(images=images, theirs=theirs, shared=shared)
    assert found.error == pytest.approx(math.sqrt(by_run + by_image))
    assert found.freedom == pytest.approx(3 * (by_run + by_image) / by_run)


@pytest.mark.parametrize(("step", "verdict"), [(-1e-6, REPRODUCED), (1e-6, NOT_REPRODUCED)])
def test_inside_is_reproduced_and_outside_is_not(step, verdict):
    low, high = predicted().interval()
    assert judge_number(OURS, high + step, predicted()) == verdict
    assert judge_number(OURS, low - step, predicted()) == verdict


def test_too_few_runs_cannot_tell():
    for count in range(1, LEAST_RUNS):
        few = measured([0.5] * count)
        assert further_run(few, 1000, 1000, 1000) is None
        assert judge_number(few, 0.9, None) == CANNOT_TELL
    assert judge_number(measured([]), 0.5, None) == NOT_REPRODUCED  # no run finished


@pytest.mark.parametrize(("step", "verdict"), [(-1e-6, REPRODUCED), (1e-6, CANNOT_TELL)])
def test_what_lies_inside_a_wide_interval_cannot_be_told(step, verdict):
    narrow = predicted()
    scale = (WIDEST + step) / (narrow.interval()[1] - narrow.mean)
    wide = narrow._replace(error=narrow.error * scale)
    assert judge_number(OURS, 0.51, wide) == verdict
    assert judge_number(OURS, 0.51 + 2 * WIDEST, wide) == NOT_REPRODUCED


def test_a_zero_spread_is_no_certainty():
    equal = measured([0.5] * 4)
    one_image = predicted(equal).interval()[1] - 0.5
    assert one_image == pytest.approx(3.1824 * 0.001 * math.sqrt(5 / 4), rel=1e-4)
    assert judge_number(equal, 0.503, predicted(equal)) == REPRODUCED


@pytest.mark.parametrize(
    ("split", "ours", "theirs", "shared"), [("test", 1000, 1000, 100), ("validation", 5000, 1000, 100)]
)
def test_the_mirror_has_another_order(split, ours, theirs, shared):
    row = {"images": {split: ours}, "data_fingerprint": MIRROR}
    assert shared_images(row, split, theirs) == shared
    assert shared_images({**row, "data_fingerprint": "of the original"}, split, theirs) == 1000


@pytest.mark.parametrize("runs", [4, 8, 16])
@pytest.mark.parametrize("images", SETS)
def test_a_run_of_the_same_procedure_is_told_so(images, runs):
    """In 95 % of the studies; half of the 2,000 of `tests.intervals` may miss its 93 to 97 % by chance."""
    found = verdicts(*SETS[images], runs, studies=1000)
    assert 0.925 <= 1 - found[NOT_REPRODUCED] <= 0.985
    assert found[CANNOT_TELL] < {4: 0.4, 8: 0.12, 16: 0.01}[runs]


@pytest.mark.parametrize(("runs", "least"), [(4, 0.6), (8, 0.88), (16, 0.93)])
def test_five_points_less_are_told(runs, least):
    found = verdicts(*SETS["the same 1,000 images"], runs, studies=500, worse=0.05)
    assert found[NOT_REPRODUCED] >= least
