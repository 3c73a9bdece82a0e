"""Hand-worked cases; critical values from a printed table of Student's t."""

import math

import numpy as np
import pytest

from mlp_jax.studies import crossed, statistics, verdicts
from mlp_jax.studies.statistics import CANNOT_TELL, measured
from mlp_jax.studies.verdicts import NOT_REPRODUCED, REPRODUCED, TIE


def row(values, seeds=None):
    return {"seeds": list(range(len(values))) if seeds is None else seeds, "test_accuracy": measured(values)}


def test_error_of_an_accuracy_by_hand():
    assert statistics.accuracy_error(0.5, 100) == 0.05
    assert 100 * statistics.accuracy_error(0.52, 1000) == pytest.approx(1.58, abs=0.005)


def test_paired_by_hand():
    # differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.464, and P(|T_2| > 3.464) = 0.0742
    found = statistics.paired(row([2.0, 4.0, 6.0]), row([1.0, 2.0, 3.0]))
    assert found["mean"] == 2.0
    assert found["high"] - 2 == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)
    assert 2 - found["low"] == pytest.approx(found["high"] - 2)
    assert found["p"] == pytest.approx(0.0742, abs=1e-4)
    assert (found["over"], found["images"]) == ("seeds", None)
    assert found["values"] == [1.0, 2.0, 3.0]


def test_pairs_are_of_one_seed():
    found = statistics.paired(row([0.5, 0.7], seeds=[0, 2]), row([0.1, 0.2, 0.3], seeds=[0, 1, 2]))
    assert found["values"] == pytest.approx([0.4, 0.4])
    assert found["n"] == 2
    swapped = statistics.paired(row([0.7, 0.5], seeds=[2, 0]), row([0.1, 0.2, 0.3], seeds=[0, 1, 2]))
    assert swapped["values"] == pytest.approx([0.4, 0.4])


def test_what_cannot_be_told_is_null():
    one = statistics.paired(row([0.5]), row([0.25]))
    assert (one["mean"], one["low"], one["high"], one["p"], one["p_equivalent"]) == (0.25, None, None, None, None)
    on_images = statistics.paired({**row([0.5]), "images": {"test": 300}}, row([0.25]))
    assert (on_images["low"], on_images["p"]) == (None, None)
    none = statistics.paired(row([0.5], seeds=[1]), row([0.25], seeds=[0]))
    assert (none["mean"], none["n"], none["low"]) == (None, 0, None)
    equal = statistics.paired(row([0.5, 0.75]), row([0.25, 0.5]))
    assert (equal["low"], equal["high"], equal["p"]) == (None, None, None)
    assert [told["verdict"] for told in statistics.family([one, none, equal])] == [CANNOT_TELL] * 3


def test_a_zero_spread_over_seeds_is_no_certainty():
    """The least that the images can do: one of 300 is told apart, or none (3 / N)."""
    ours, base = row([0.9, 0.8, 0.7]), row([0.9 - 1 / 300, 0.8 - 1 / 300, 0.7 - 1 / 300])
    ours["images"] = {"test": 300}
    found = statistics.paired(ours, base)
    error = math.sqrt(1 / 300 * 299 / 300 / 300)
    assert found["high"] == pytest.approx(1 / 300 + max(1.96 * error, 3 / 300), abs=1e-4)
    same = statistics.paired(ours, ours)
    assert (same["low"], same["high"]) == pytest.approx((-0.01, 0.01))
    assert same["p"] == 1


def test_seeds_and_images_where_the_bits_are_known():
    ours, base = row([0.5, 0.75, 0.75]), row([0.25, 0.5, 0.75])
    bits = {"a": np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]], bool)}
    bits["b"] = np.array([[1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1]], bool)
    for one, name in ((ours, "a"), (base, "b")):
        one["correct"] = {"quantity": "test_accuracy", "sha256": name}
    found = statistics.paired(ours, base, correct=bits)
    expected = crossed.mean_difference(bits["a"], bits["b"])
    assert (found["low"], found["high"]) == expected.interval()
    assert (found["p"], found["over"]) == (expected.p_value(), "seeds and images")
    assert statistics.paired(ours, base)["over"] == "seeds"
    assert statistics.paired(ours, base, correct={"a": bits["a"]})["over"] == "seeds"
    shorter = {"seeds": [2, 0], "test_accuracy": measured([0.75, 0.25]), "correct": {**base["correct"]}}
    found = statistics.paired(ours, shorter, correct={"a": bits["a"], "b": bits["b"][[2, 0]]})
    expected = crossed.mean_difference(bits["a"][[0, 2]], bits["b"][[0, 2]])
    assert (found["values"], found["high"]) == ([0.25, 0.0], expected.interval()[1])


def test_holm_by_hand():
    # 0.01 x 3; 0.02 x 2, 0.03 x 1 may not be below it
    assert statistics.holm([0.03, None, 0.01, 0.02]) == pytest.approx([0.04, None, 0.03, 0.04], nan_ok=False)
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def estimated(mean, error, freedom=20):
    found = crossed.Estimate(mean, error, freedom)
    low, high = found.interval()
    return {
        "mean": mean, "low": low, "high": high, "p": found.p_value(), "p_equivalent": found.p_equivalent(0.005),
    }  # fmt: skip


def test_verdicts_of_a_family():
    family = [estimated(0.01, 0.001), estimated(-0.01, 0.001), estimated(0.0005, 0.001), estimated(0.003, 0.004)]
    told = statistics.family(family)
    assert [one["verdict"] for one in told] == ["better", "worse", "no difference", "cannot tell"]
    assert [verdicts.judge_difference(one) for one in told] == [REPRODUCED, NOT_REPRODUCED, TIE, CANNOT_TELL]
    alone = estimated(0.022, 0.01)  # p = 0.04: better alone, not in the company of three more
    assert statistics.family([alone])[0]["verdict"] == "better"
    crowd = statistics.family([alone, *[estimated(0.003, 0.004)] * 3])
    assert crowd[0]["verdict"] == "cannot tell"
    assert crowd[0]["p_holm"] == pytest.approx(4 * alone["p"])


def test_equivalence_is_two_one_sided_tests():
    # the 90 % interval lies within the margin just if p is below 0.05
    inside, outside = (crossed.Estimate(0.002, 0.003 / 1.725 * scale, 20) for scale in (0.999, 1.001))
    for found, expected in ((inside, True), (outside, False)):
        low, high = found.interval(0.9)
        assert (-0.005 < low < high < 0.005) == (found.p_equivalent(0.005) < 0.05) == expected


def test_no_improvement_is_decided():
    worse, same, better = estimated(-0.02, 0.002), estimated(0.0, 0.001), estimated(0.02, 0.002)
    below = estimated(-0.004, 0.003)  # worse or no different: which of the two cannot be told
    assert statistics.family([below])[0]["verdict"] == "cannot tell"
    assert verdicts.judge_no_better([worse, same, below]) == REPRODUCED
    assert verdicts.judge_no_better([worse, better]) == NOT_REPRODUCED
    assert verdicts.judge_no_better([worse, estimated(0.0, 0.01)]) == CANNOT_TELL
    assert verdicts.judge_best([better, same]) == TIE
    assert verdicts.judge_best([better, same, worse]) == NOT_REPRODUCED


def difference(*values):
    return statistics.paired(row(values), row([0.0] * len(values)))


def test_a_difference_is_judged_by_the_side_of_its_interval():
    up, down, open_ = difference(0.01, 0.011, 0.012), difference(-0.01, -0.011, -0.012), difference(0.01, -0.01)
    assert verdicts.judge_difference(up) == REPRODUCED
    assert verdicts.judge_difference(down) == NOT_REPRODUCED
    assert verdicts.judge_difference(open_) == CANNOT_TELL
    assert verdicts.judge_difference(difference(0.5)) == CANNOT_TELL
    assert verdicts.judge_difference(up, "not greater") == NOT_REPRODUCED
    assert verdicts.judge_difference(down, "not greater") == REPRODUCED
    assert verdicts.judge_best([up, up]) == REPRODUCED
    assert verdicts.judge_best([up, open_]) == CANNOT_TELL
    assert verdicts.judge_best([up, open_, down]) == NOT_REPRODUCED
    assert verdicts.judge_best([]) == CANNOT_TELL


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
        lambda: statistics.paired(broken, row([0.5, 0.5])),
        lambda: statistics.paired(row([0.5, 0.5]), broken),
        lambda: statistics.accuracy_error(value, 100),
        lambda: verdicts.judge_loss({"mean": value}, 1.0, 0.1),
        lambda: verdicts.judge_number({"mean": value}, 0.5, crossed.Estimate(value, 0.01, 3)),
        lambda: verdicts.judge_above({"mean": value, "n": 1, "values": [value]}, 100, 0.5),
        lambda: statistics.holm([0.5, value]),
        lambda: statistics.family([{"mean": value, "p": 0.1, "p_equivalent": 0.1}]),
    ):
        with pytest.raises(ValueError, match="not finite"):
            call()
