"""What the soak makes of its samples, and that it notices changed bits."""

import numpy as np
import pytest

from mlp_jax.files import as_json
from tests import soak


def test_the_slope_is_that_of_the_time_after_the_warm_up():
    """1,000 MB come in the first third of an hour, then 12 MB an hour."""
    series = [(10.0 * n, min(n, 120) / 120 * 1000 + 12 * max(0, n - 120) / 360) for n in range(361)]
    found = soak.report(series, series[::5], 60, {"depth_study": 7}, [])
    assert soak.slope(series[:2]) == 0.0
    assert found["warm_up_seconds"] == 1200
    assert found["megabytes_per_hour"] == pytest.approx(12, abs=0.01)
    assert (found["least_megabytes"], found["most_megabytes"]) == (1000, 1008)
    assert len(found["series"]["megabytes"]) == 361
    assert len(as_json(found)) < 20_000
    assert soak.figure(series, series[::5], 1200).count("<svg") == 1


def test_memory_is_measured():
    before = soak.resident()
    block = np.ones(25_000_000)
    assert 190 < soak.resident() - before < 210
    assert block.sum() == 25_000_000


def test_changed_bits_are_told():
    before, now = ({"rows": [{"loss": loss}], "config": {}, "environment": {}} for loss in (1.0, 1.5))
    assert soak.changes(before, before, "depth_study, seed 0") == []
    (told,) = soak.changes(before, now, "depth_study, seed 0")
    assert told.startswith("depth_study, seed 0: ")
    assert "loss" in told
