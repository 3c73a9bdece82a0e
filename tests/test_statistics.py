"""Hand-worked cases; critical values from a printed table of Student's t."""

import math

import pytest

from mlp_jax.studies import statistics
from mlp_jax.studies.statistics import NOT_REPRODUCED, REPRODUCED, WITHIN_NOISE, measured


def row(values, seeds=None):
    return {"seeds": list(range(len(values))) if seeds is None else seeds, "test_accuracy": measured(values)}


def test_interval_by_hand():
    # sd of (1, 2, 3) is 1, its mean's error 1 / sqrt(3); t(0.975, 2) = 4.303
    assert statistics.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)
    assert statistics.half_width([1.0]) == math.inf
    assert statistics.half_width([]) == math.inf


def test_error_of_an_accuracy_by_hand():
    assert statistics.accuracy_error(0.5, 100) == 0.05
    assert 100 * statistics.accuracy_error(0.52, 1000) == pytest.approx(1.58, abs=0.005)


def test_paired_by_hand():
    # differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.464, and P(|T_2| > 3.464) = 0.0742; signed ranks: 2 / 2^3
    found = statistics.paired(row([2.0, 4.0, 6.0]), row([1.0, 2.0, 3.0]))
    assert found["mean"] == 2.0
    assert found["high"] - 2 == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)
    assert 2 - found["low"] == pytest.approx(found["high"] - 2)
    assert found["p_t"] == pytest.approx(0.0742, abs=1e-4)
    assert found["p_wilcoxon"] == pytest.approx(0.25)
    assert found["values"] == [1.0, 2.0, 3.0]


def test_pairs_are_of_one_seed():
    found = statistics.paired(row([0.5, 0.7], seeds=[0, 2]), row([0.1, 0.2, 0.3], seeds=[0, 1, 2]))
    assert found["values"] == pytest.approx([0.4, 0.4])
    assert found["n"] == 2
    swapped = statistics.paired(row([0.7, 0.5], seeds=[2, 0]), row([0.1, 0.2, 0.3], seeds=[0, 1, 2]))
    assert swapped["values"] == pytest.approx([0.4, 0.4])


def test_what_cannot_be_told_is_null():
    one = statistics.paired(row([0.5]), row([0.25]))
    assert (one["mean"], one["low"], one["high"], one["p_t"], one["p_wilcoxon"]) == (0.25, None, None, None, None)
    none = statistics.paired(row([0.5], seeds=[1]), row([0.25], seeds=[0]))
    assert (none["mean"], none["n"], none["low"]) == (None, 0, None)
    equal = statistics.paired(row([0.5, 0.75]), row([0.25, 0.5]))
    assert (equal["low"], equal["high"], equal["p_t"]) == (0.25, 0.25, None)


@pytest.mark.parametrize(
    ("values", "report", "verdict"),
    [
        ([0.520, 0.521, 0.522], 0.521, REPRODUCED),  # 0.521 +- 0.0025, within the report's +- 0.0158
        ([0.500, 0.521, 0.542], 0.521, WITHIN_NOISE),  # +- 0.052: not tight enough to say
        ([0.505, 0.506, 0.507], 0.521, WITHIN_NOISE),  # 0.015 off, whose error is 0.0224
        ([0.470, 0.471, 0.472], 0.521, NOT_REPRODUCED),  # 0.050 off: more than 2 x 0.0224
        ([0.521], 0.521, WITHIN_NOISE),
        ([], 0.521, NOT_REPRODUCED),
    ],
)
def test_a_number_is_judged_by_the_rule(values, report, verdict):
    assert statistics.judge_number(measured(values), 1000, report, 1000) == verdict


def test_more_images_tell_more():
    ours = measured([0.485, 0.486, 0.487])  # 0.035 off: 2 x 0.0224 with 1,000 images each, 2 x 0.0071 with 10,000
    assert statistics.judge_number(ours, 1000, 0.521, 1000) == WITHIN_NOISE
    assert statistics.judge_number(ours, 10_000, 0.521, 10_000) == NOT_REPRODUCED


def difference(*values):
    return statistics.paired(row(values), row([0.0] * len(values)))


def test_a_difference_is_judged_by_the_side_of_its_interval():
    up, down, open_ = difference(0.01, 0.011, 0.012), difference(-0.01, -0.011, -0.012), difference(0.01, -0.01)
    assert statistics.judge_difference(up) == REPRODUCED
    assert statistics.judge_difference(down) == NOT_REPRODUCED
    assert statistics.judge_difference(open_) == WITHIN_NOISE
    assert statistics.judge_difference(difference(0.5)) == WITHIN_NOISE
    assert statistics.judge_difference(up, "not greater") == NOT_REPRODUCED
    assert statistics.judge_difference(down, "not greater") == REPRODUCED
    assert statistics.judge_best([up, up]) == REPRODUCED
    assert statistics.judge_best([up, open_]) == WITHIN_NOISE
    assert statistics.judge_best([up, open_, down]) == NOT_REPRODUCED
    assert statistics.judge_best([]) == WITHIN_NOISE


@pytest.mark.parametrize("name", ["protocol", "data_fingerprint"])
def test_rows_of_different_origin_are_not_compared(name):
    with pytest.raises(ValueError, match=f"rows of {name} a and b cannot be compared"):
        statistics.paired({**row([0.5]), name: "a"}, {**row([0.25]), name: "b"})
    assert statistics.paired({**row([0.5]), name: "a"}, row([0.25]))["mean"] == 0.25


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_verdict_on_what_is_not_finite(value):
    """A comparison with NaN is false, and would look like an answer."""
    broken = {"seeds": [0, 1], "test_accuracy": {"values": [0.5, value]}}
    for call in (
        lambda: statistics.half_width([0.5, value]),
        lambda: statistics.paired(broken, row([0.5, 0.5])),
        lambda: statistics.paired(row([0.5, 0.5]), broken),
        lambda: statistics.accuracy_error(value, 100),
        lambda: statistics.judge_loss({"mean": value}, 1.0, 0.1),
        lambda: statistics.judge_number({"mean": value, "n": 1, "values": [value]}, 100, 0.5, 100),
        lambda: statistics.judge_above({"mean": value, "n": 1, "values": [value]}, 100, 0.5),
        lambda: statistics.judge_difference({"low": 0.1, "high": value}),
        lambda: statistics.judge_difference({"low": value, "high": 0.1}),
    ):
        with pytest.raises(ValueError, match="not finite"):
            call()
