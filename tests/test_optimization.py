import dataclasses
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import data
from mlp_jax.data.dataset import Split
from mlp_jax.data.digits import synthetic
from mlp_jax.data.pixels import normalize
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer
from mlp_jax.training import population
from mlp_jax.training import step as train
from mlp_jax.training.augment import Augmentation
from mlp_jax.training.config import OPTIMIZERS, Run, TrainConfig, hyper_from, program
from mlp_jax.training.evaluate import evaluate
from mlp_jax.training.optimizers import Average, average, learning_rate, optimizer
from mlp_jax.training.step import init_state, run_epoch

MODEL = MLPConfig(hidden=(6,), inputs=192)
STEPS = 40


@pytest.fixture(scope="module")
def splits():
    return normalize(data.split(synthetic(), train=800, validation=100), "standardize")


def rates(**options):
    config = TrainConfig(learning_rate=2.0, epochs=4, **options)
    return np.array([float(learning_rate(jnp.asarray(step), 2.0, config, STEPS // 4)) for step in range(STEPS)])


def test_cosine_goes_up_in_the_warmup_and_down_to_nothing():
    step = np.arange(STEPS)
    down = 1 + np.cos(np.pi * (step - 10) / 30)
    np.testing.assert_allclose(
        rates(schedule="cosine", warmup=0.25), np.where(step < 10, step / 5, down), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(rates(schedule="cosine"), 1 + np.cos(np.pi * step / STEPS), atol=1e-6)
    after_one = np.where(step < 1, 0, 1 + np.cos(np.pi * (step - 1) / 39))  # a warm-up of one step
    np.testing.assert_allclose(rates(schedule="cosine", warmup=0.025), after_one, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_one_cycle_goes_up_and_down_in_straight_lines(warmup):
    expected = np.interp(np.arange(STEPS), [warmup * STEPS, STEPS], [2, 2e-4])
    if warmup:
        expected[:10] = np.interp(np.arange(10), [0, 10], [2 / 25, 2])
    np.testing.assert_allclose(rates(schedule="one_cycle", warmup=warmup), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["adamw", "lion", "muon"])
def test_decoupled_weight_decay_is_of_the_weights_alone(name):
    config = TrainConfig(optimizer=name, learning_rate=0.1, weight_decay=0.5)
    params = (Layer(jnp.ones((3, 2)), jnp.ones(2)),)
    rule = optimizer(config, hyper_from(config), 0.1)
    nothing = jax.tree.map(jnp.zeros_like, params)
    (moved,), _ = rule.update(nothing, rule.init(params), params)
    np.testing.assert_allclose(moved.w, -0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(moved.b, 0)


def test_muon_moves_weights_by_a_matrix_whose_singular_values_are_nearly_equal():
    config = TrainConfig(optimizer="muon", learning_rate=0.1)
    rng = np.random.default_rng(0)
    params = (Layer(jnp.zeros((8, 3)), jnp.zeros(3)),)
    grads = (Layer(jnp.asarray(rng.normal(size=(8, 3)), "float32"), jnp.asarray([2.0, 0.5, -1])),)
    rule = optimizer(config, hyper_from(config), 0.1)
    (moved,), _ = rule.update(grads, rule.init(params), params)
    sizes = np.linalg.svd(moved.w, compute_uv=False) / (0.1 * 0.2 * np.sqrt(8))
    assert ((sizes > 0.5) & (sizes < 1.5)).all()
    assert (moved.w * grads[0].w).sum() < 0
    np.testing.assert_allclose(np.abs(moved.b), np.abs(moved.b[0]), rtol=1e-3)  # Adam's first step: signs
    np.testing.assert_array_equal(np.sign(moved.b), -np.sign(grads[0].b))
    transposed = jax.tree.map(jnp.transpose, (params, grads))
    (other,), _ = rule.update(transposed[1], rule.init(transposed[0]), transposed[0])
    np.testing.assert_allclose(other.w.T, moved.w, rtol=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"accumulate": 3, "accumulate_from": 0.5}, {"bias_rate": 2.0}, {"lookahead": 5}]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_starts_with_the_state_that_its_optimiser_asks_for(name, options):
    config = TrainConfig(optimizer=name, **options)
    state = init_state(jax.random.key(0), MODEL, config)
    asked = optimizer(config, hyper_from(config), 0.1).init(state.params)
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(asked)
    for ours, theirs in zip(jax.tree.leaves(state.opt_state), jax.tree.leaves(asked), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_move_as_with_their_own_learning_rates(name):
    rng = np.random.default_rng(0)
    drawn = [(Layer(*(jnp.asarray(rng.normal(size=s), "float32") for s in ((3, 3), 3))),) * 3 for _ in range(4)]

    def moved(rate, **groups):
        config = TrainConfig(optimizer=name, learning_rate=rate, weight_decay=0.1, **groups)
        rule = optimizer(config, hyper_from(config), rate)
        state = rule.init(drawn[0])
        for grads in drawn[1:]:
            updates, state = rule.update(grads, state, drawn[0])
        return updates

    found = moved(0.1, bias_rate=3.0, last_layer_rate=0.5)
    for number, rate in ((0, 0.1), (1, 0.1), (2, 0.05)):
        np.testing.assert_allclose(found[number].w, moved(rate)[number].w, rtol=1e-5)
        np.testing.assert_allclose(found[number].b, moved(3 * rate)[number].b, rtol=1e-5)


def singular_values(number, **options):
    """Of what Muon's first step moves this layer's weights by, over those of an orthogonal matrix."""
    config = TrainConfig(optimizer="muon", learning_rate=0.1, **options)
    rng = np.random.default_rng(0)
    params = tuple(Layer(jnp.zeros(shape), jnp.zeros(shape[1])) for shape in ((20, 16), (16, 16), (16, 4)))
    grads = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), "float32"), params)
    rule = optimizer(config, hyper_from(config), 0.1)
    moved, _ = rule.update(grads, rule.init(params), params)
    return np.linalg.svd(moved[number].w, compute_uv=False) / (0.1 * 0.2 * np.sqrt(max(moved[number].w.shape)))


def test_muon_comes_to_an_orthogonal_matrix_with_better_coefficients():
    assert np.ptp(singular_values(1, muon_steps=9)) > 0.2
    # the last of seven coefficients go on
    np.testing.assert_allclose(singular_values(1, muon_steps=9, muon_coefficients="polar_express"), 1, rtol=0.02)


def test_muon_of_the_hidden_layers_leaves_first_and_last_to_adam():
    for layer, is_adam in ((0, True), (1, False), (2, True)):
        everywhere, hidden = singular_values(layer), singular_values(layer, muon_layers="hidden")
        assert (np.abs(everywhere - hidden).max() > 0.1) == is_adam


@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.02), ("lion", 0.004), ("muon", 0.02)])
def test_learns_and_gives_the_same_bits_again_and_in_a_population(splits, name, rate):
    config = TrainConfig(
        optimizer=name, learning_rate=rate, batch_size=100, epochs=4, weight_decay=0.1, label_smoothing=0.1,
        schedule="one_cycle", warmup=0.25, average_decay=0.9,
        augmentation=Augmentation(cutout=2, mixup=0.1, image=(8, 8, 3)),
    )  # fmt: skip
    model = dataclasses.replace(MODEL, hidden=(16,), norm="layer")
    runs = [Run(jax.random.key(seed), model, config) for seed in (0, 1)]
    both = population.train_population(runs, splits)
    for run, together in zip(runs, both, strict=True):
        alone = population.train(run.key, splits, model, config)
        jax.tree.map(np.testing.assert_array_equal, alone.state, together.state)
        assert alone.history.validation_accuracy[-1] > 0.3  # chance is 0.1


def test_muon_of_few_steps_trains_a_network(splits):
    config = TrainConfig(
        optimizer="muon", learning_rate=0.02, batch_size=50, epochs=2, muon_steps=2, muon_every=3,
        muon_coefficients="polar_express", muon_layers="hidden",
    )  # fmt: skip
    model = dataclasses.replace(MODEL, hidden=(16, 16))
    assert population.train(jax.random.key(0), splits, model, config).history.validation_accuracy[-1] > 0.3


def test_minibatches_that_devices_share_are_augmented_alike(splits):
    augmentation = Augmentation(crop=1, flip=True, alternating=True, cutout=2, mixup=0.1, image=(8, 8, 3))
    config = TrainConfig(batch_size=200, epochs=1, augmentation=augmentation)
    runs = [Run(jax.random.key(0), MODEL, config)]
    alone, shared = (
        population.train_population(runs, splits, data_parallel=n, devices=jax.devices()[:n])[0] for n in (1, 2)
    )
    np.testing.assert_allclose(shared.history.loss, alone.history.loss, rtol=1e-5)


def test_schedules_of_different_lengths_are_different_programs_and_others_share_one():
    def programs(**options):
        return {program(MODEL, TrainConfig(epochs=epochs, **options)) for epochs in (1, 2)}

    assert len(programs()) == len(programs(average_decay=0.9)) == 1
    assert len(programs(schedule="cosine")) == len(programs(average_decay=1.0, average_start=0.5)) == 2


def means(values, weights):
    found, at = [], np.zeros_like(values[0])
    for value, weight in zip(values, weights, strict=True):
        at = at + weight * (value - at)
        found.append(at)
    return np.array(found)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"average_decay": 1.0}, 1 / np.arange(1, 13)),
        ({"average_decay": 1.0, "average_start": 0.5}, [1] * 6 + [1, *(1 / np.arange(2, 7))]),
        ({"average_decay": 0.75}, np.maximum(0.25, 1 / np.arange(1, 13))),
        ({"average_decay": 0.0}, np.ones(12)),
    ],
    ids=["plain mean", "plain mean of the second half", "exponential", "the newest"],
)
def test_average(options, weights):
    values = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
    config, found = TrainConfig(epochs=3, **options), []
    at = Average((Layer(jnp.full((2, 2), 9.0), jnp.full(4, 9.0)),), ())
    for step, value in enumerate(values):
        new = Average((Layer(jnp.asarray(value.reshape(2, 2)), jnp.asarray(value)),), ())
        at = average(at, new, jnp.asarray(step), config, 4)
        np.testing.assert_array_equal(at.params[0].w.ravel(), at.params[0].b)
        found.append(np.asarray(at.params[0].b))
    np.testing.assert_allclose(found, means(values, weights), rtol=1e-4, atol=1e-6)


def test_validation_and_tests_use_the_average(splits):
    model = dataclasses.replace(MODEL, norm="batch", norm_place="after")
    config = TrainConfig(batch_size=200, epochs=2, average_decay=1.0, learning_rate=0.1)
    result = population.train(jax.random.key(0), splits, model, config)
    averaged, last = (
        evaluate(*network, splits.validation, model)
        for network in (train.network(result.state), (result.state.params, result.state.stats))
    )
    assert result.history.validation_loss[-1] == pytest.approx(averaged.loss, rel=1e-6)
    assert averaged.loss != pytest.approx(last.loss, rel=1e-3)
    plain = population.train(jax.random.key(0), splits, model, dataclasses.replace(config, average_decay=None))
    jax.tree.map(np.testing.assert_array_equal, plain.state.params, result.state.params)
    assert train.network(plain.state) == (plain.state.params, plain.state.stats)


def test_lookahead_pulls_both_networks_together_in_every_third_step(splits):
    model = dataclasses.replace(MODEL, norm="batch", norm_place="after")
    plain = TrainConfig(optimizer="adam", learning_rate=0.01, batch_size=100)
    config = dataclasses.replace(plain, lookahead=3, lookahead_rate=0.25)
    step_of = jax.jit(train.train_step, static_argnames=("model", "config", "steps_per_epoch"))
    options = {"hyper": hyper_from(plain), "model": model, "steps_per_epoch": 8}
    fast, both = (init_state(jax.random.key(0), model, c) for c in (plain, config))
    slow = fast.params, fast.stats
    for step in range(8):
        batch = Split(*(part[100 * step : 100 * (step + 1)] for part in splits.train))
        fast, _ = step_of(fast, batch, config=plain, **options)
        both, _ = step_of(both, batch, config=config, **options)
        if step in (2, 5):
            slow = jax.tree.map(lambda a, b: a + 0.25 * (b - a), slow, (fast.params, fast.stats))
            fast = fast._replace(params=slow[0], stats=slow[1])
        for found, expected in (
            (train.network(both), slow),
            ((both.params, both.stats), (fast.params, fast.stats)),
        ):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
def test_two_minibatches_before_an_update_are_one_of_twice_the_size(splits, optimizer):
    config = TrainConfig(optimizer=optimizer, batch_size=100, epochs=2, schedule="decay", decay=1.0)
    found, expected = (
        population.train(jax.random.key(0), splits, MODEL, c).state.params
        for c in (dataclasses.replace(config, accumulate=2), dataclasses.replace(config, batch_size=200))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)


def test_the_batch_rises_when_it_should(splits):
    plain = TrainConfig(batch_size=100, epochs=2, learning_rate=0.05)
    config = dataclasses.replace(plain, accumulate=4, accumulate_from=0.5)
    options: dict[str, Any] = {"model": MODEL}
    at, rising = (init_state(jax.random.key(0), MODEL, c) for c in (plain, config))
    steps = len(splits.train.y) // 100
    at, _ = run_epoch(at, splits.train, hyper_from(plain), config=plain, **options)
    rising, _ = run_epoch(rising, splits.train, hyper_from(plain), config=config, **options)
    jax.tree.map(np.testing.assert_array_equal, rising.params, at.params)
    seen = [rising.params[0].w]
    for stop in range(steps + 1, 2 * steps + 1):
        reached, _ = run_epoch(rising, splits.train, hyper_from(plain), config=config, stop=stop, **options)
        seen.append(reached.params[0].w)
    moved = [bool((after != before).any()) for before, after in pairwise(seen)]
    assert moved == [step % 4 == 0 for step in range(1, steps + 1)]


def test_validation_is_of_the_slow_network(splits):
    config = TrainConfig(batch_size=100, epochs=1, learning_rate=0.05, lookahead=5)
    result = population.train(jax.random.key(0), splits, MODEL, config)
    slow = evaluate(*train.network(result.state), splits.validation, MODEL)
    assert result.history.validation_loss[-1] == pytest.approx(slow.loss, rel=1e-6)
    last = evaluate(result.state.params, (), splits.validation, MODEL)
    assert slow.loss != pytest.approx(last.loss, rel=1e-3)


def test_the_average_is_of_every_step_of_an_epoch(splits):
    config = TrainConfig(batch_size=200, epochs=1, average_decay=1.0)
    state = init_state(jax.random.key(0), MODEL, config)
    options = {"model": MODEL, "config": config}
    seen = []
    for steps in range(1, 5):
        reached, _ = run_epoch(state, splits.train, hyper_from(config), stop=steps, **options)
        seen.append(np.asarray(reached.params[0].w))
    np.testing.assert_allclose(train.network(reached)[0][0].w, np.mean(seen, axis=0), rtol=1e-4, atol=1e-7)
