"""The interval of seeds and images: hand-worked, degenerate, and simulated (`intervals`)."""

import math

import numpy as np
import pytest
from scipy.stats import t

from mlp_jax.studies import crossed
from tests.intervals import WORLDS, coverage


def test_error_by_hand():
    """d = ((1, 0), (1, 1)): sums of squares 1/4 by seed, 1/4 by image, 1/4 left; all of 1 degree of freedom."""
    found = crossed.mean_difference(np.array([[1, 0], [1, 1]], bool), np.zeros((2, 2), bool))
    assert found.mean == 0.75
    assert found.error == pytest.approx(math.sqrt((1 / 4 + 1 / 4 - 1 / 4) / 4))
    assert found.freedom == pytest.approx(1)
    assert found.interval()[1] == pytest.approx(0.75 + 12.706 * 0.25, rel=1e-4)
    assert found.p_value() == pytest.approx(2 * t.sf(3, 1))


def test_seeds_alone_if_all_images_are_alike():
    """Seeds that are right on all images or none: Student's t over seeds, whatever the number of images."""
    ours = np.repeat([[True], [True], [False], [True]], 100, axis=1)
    found = crossed.mean_difference(ours, np.zeros_like(ours))
    assert found.error == pytest.approx(0.25)  # sd 0.5 over sqrt(4)
    assert found.freedom == pytest.approx(3)


def test_images_alone_if_all_seeds_are_alike():
    """The same images in every seed: the t interval over images, as of one seed."""
    ours = np.tile(np.arange(300) < 30, (3, 1))
    found = crossed.mean_difference(ours, np.zeros_like(ours))
    assert found.error == pytest.approx(np.std(ours[0], ddof=1) / math.sqrt(300))
    assert found.freedom == pytest.approx(299)


@pytest.mark.parametrize("places", [(0, 0, 0), (0, 1, 2)])
def test_three_equal_differences_of_one_image_are_no_certainty(places):
    base = np.zeros((3, 300), bool)
    base[range(3), places] = True
    low, high = crossed.mean_difference(np.zeros_like(base), base).interval()
    assert low < -1 / 300 < 0 < high


def test_no_image_apart_is_no_certainty():
    same = np.arange(300).reshape(3, 100) % 7 > 2
    assert crossed.mean_difference(same, same).interval() == pytest.approx((-0.03, 0.03))
    assert crossed.mean_difference(same, same).p_value() == 1
    low, high = crossed.mean_difference(np.ones((3, 100), bool), np.zeros((3, 100), bool)).interval()
    assert (low, high) == pytest.approx((0.97, 1.03))


def test_the_other_way_round_is_the_negative():
    world = WORLDS["small difference"]
    ours, base = world.study(np.random.default_rng(5), 4, 1000)
    one, other = crossed.mean_difference(ours, base), crossed.mean_difference(base, ours)
    assert (one.mean, one.error, one.freedom) == (-other.mean, other.error, other.freedom)


@pytest.mark.parametrize("shapes", [((3, 5), (3, 4)), ((1, 5), (1, 5)), ((3, 1), (3, 1)), ((5,), (5,))])
def test_shapes_that_cannot_be_compared(shapes):
    with pytest.raises(ValueError, match="shapes"):
        crossed.mean_difference(*(np.zeros(shape, bool) for shape in shapes))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(("seeds", "images", "studies"), [(3, 300, 1000), (16, 300, 400)])
def test_intervals_cover_what_they_say(world, seeds, images, studies):
    """Within 93 to 97 %; what fewer studies than 2,000 may miss by chance is added for the fewer."""
    chance = 2 * math.sqrt(0.05 * 0.95) * (1 / math.sqrt(studies) - 1 / math.sqrt(2000))
    assert 0.93 - chance <= coverage(WORLDS[world], seeds, images, studies) <= 0.97 + chance
