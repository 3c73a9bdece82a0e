"""Long and large, short and small: what works, and what is refused with one clear line."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import depth_study
from mlp_jax import data
from mlp_jax.data.pixels import NORMALIZATIONS, normalize
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training import population
from mlp_jax.training import step as train
from mlp_jax.training.config import Run, TrainConfig
from tests.small import bits, same_bits

SMALL = MLPConfig(hidden=(4,), inputs=64)
RECIPE = TrainConfig(learning_rate=0.05, batch_size=100, epochs=1)


@pytest.fixture(scope="module")
def digits():
    return normalize(data.split(data.digits(), validation=200), "standardize")


@pytest.mark.optimized
def test_a_thousand_networks_at_once(digits):
    def run(number):
        rate = 0.01 * (1 + number % 7)
        return Run(jax.random.key(number), SMALL, dataclasses.replace(RECIPE, learning_rate=rate))

    found = population.train_population([run(number) for number in range(1000)], digits)
    assert {result.status for result in found} == {"finished"}
    assert len({bits(result.state.params)[0] for result in found}) == 1000
    for number in (0, 499, 999):
        one = run(number)
        assert same_bits(population.train(one.key, digits, one.model, one.config), found[number])


def test_sixteen_layers_one_of_them_4096_wide(digits):
    hidden = (4096, *[8] * 14)
    model = MLPConfig(hidden=hidden, inputs=64, init="he")
    result = population.train(jax.random.key(0), digits, model, dataclasses.replace(RECIPE, learning_rate=1e-3))
    assert result.status == "finished"
    assert [layer.w.shape[1] for layer in result.state.params] == [*hidden, 10]
    assert result.history.loss.shape == (12,)
    before = train.init_state(jax.random.key(0), model, RECIPE).params
    assert all((a.w != b.w).any() for a, b in zip(before, result.state.params, strict=True))


def one_per_class(classes=10):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (classes, 4, 4, 1), dtype=np.uint8), np.arange(classes)
    return data.Dataset("tiny", images, labels, images, labels, tuple("abcdefghij"[:classes]))


def test_one_image_per_class():
    parts = depth_study.Config().split(one_per_class())
    assert [len(part.y) for part in parts] == [5, 5, 10]
    splits = [normalize(parts, how) for how in NORMALIZATIONS]
    assert all(np.isfinite(part.x).all() for three in splits for part in three)
    model = MLPConfig(hidden=(4,), inputs=16, norm="batch", norm_place="after")
    config = TrainConfig(learning_rate=0.01, batch_size=5, epochs=2)
    result = population.train(jax.random.key(0), splits[-1], model, config)
    assert result.status == "finished"
