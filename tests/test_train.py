import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.data.dataset import Split
from mlp_jax.errors import UserError
from mlp_jax.nn import gradients
from mlp_jax.nn.config import NORM_FLAGS, MLPConfig, norm_options
from mlp_jax.nn.losses import accuracy, cross_entropy
from mlp_jax.nn.model import Layer, forward, init, init_stats
from mlp_jax.training import evaluate as evaluation
from mlp_jax.training import population
from mlp_jax.training import step as train
from mlp_jax.training.config import OPTIMIZERS, TrainConfig, hyper_from
from mlp_jax.training.evaluate import evaluate, evaluate_in_training_mode
from mlp_jax.training.optimizers import learning_rate
from mlp_jax.training.step import init_state, run_epoch
from tests.small import FAST, MODEL, bits, same_bits


@pytest.mark.parametrize("source", gradients.SOURCES)
@pytest.mark.usefixtures("x64")
def test_toy_case_100_full_batch_losses(toy, source):
    recipe = toy["train"]
    split = Split(np.array(toy["X"]), np.array(toy["y"], np.int32))
    config = TrainConfig(
        optimizer="sgd", learning_rate=recipe["lr"], l2=recipe["reg"], decay=recipe["decay_each_iter"],
        batch_size=5, epochs=100, gradient=source,
    )  # fmt: skip
    model = MLPConfig(hidden=(10,), inputs=4, classes=3, dtype="float64")
    layers = (
        Layer(jnp.asarray(toy["W1"]), jnp.asarray(toy["b1"])),
        Layer(jnp.asarray(toy["W2"]), jnp.asarray(toy["b2"])),
    )
    state = init_state(jax.random.key(0), model, config)._replace(params=layers)
    step = jax.jit(lambda s: run_epoch(s, split, hyper_from(config), model=model, config=config))
    losses = []
    for _ in range(recipe["iters"]):
        state, metrics = step(state)
        losses.append(float(metrics.loss[0]))
    np.testing.assert_allclose(losses, recipe["full_batch_losses"], rtol=0, atol=1e-10)
    assert abs(losses[-1] - 0.01563498761185671) < 1e-10


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.1), ("momentum", 0.02), ("adam", 0.003)])
def test_learns_and_repeats_bit_for_bit(splits, optimizer, rate):  # the others: test_optimization
    config = dataclasses.replace(FAST, optimizer=optimizer, epochs=4, learning_rate=rate)
    model = dataclasses.replace(MODEL, dropout=0.2, norm="batch", norm_place="after")
    first, second = (population.train(jax.random.key(1), splits, model, config) for _ in range(2))
    assert same_bits(first, second)
    other = population.train(jax.random.key(2), splits, model, config)
    assert bits(first.state.params) != bits(other.state.params)
    assert first.status == "finished"
    assert first.history.loss.shape == first.history.accuracy.shape == (4 * 17,)
    assert first.history.validation_accuracy[-1] > 0.3  # chance is 0.1


@pytest.mark.parametrize("batch_norm", NORM_FLAGS[1:])
def test_both_sources_of_gradients_train_alike(splits, batch_norm):  # without it: the test below
    model = dataclasses.replace(MODEL, **norm_options(batch_norm))
    runs = [
        population.train(jax.random.key(0), splits, model, dataclasses.replace(FAST, gradient=source))
        for source in gradients.SOURCES
    ]
    np.testing.assert_allclose(runs[0].history.loss[:20], runs[1].history.loss[:20], atol=1e-4)
    a, b = (run.history.validation_accuracy[-1] for run in runs)
    assert abs(a - b) <= 0.02  # of 130 images


@pytest.mark.optimized
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_relu_networks_train_bit_for_bit_the_same_with_both_sources(splits, optimizer):
    """A last bit that differs would grow until accuracies differ by more than the differences of interest."""
    model = dataclasses.replace(MODEL, hidden=(16, 16))
    config = dataclasses.replace(FAST, optimizer=optimizer, weight_decay=1e-3)
    a, b = (
        population.train(jax.random.key(0), splits, model, dataclasses.replace(config, gradient=source))
        for source in gradients.SOURCES
    )
    assert same_bits(a, b)


def test_train_step_is_traced_once_for_all_runs_of_a_shape(splits, traces):
    shape = dataclasses.replace(MODEL, hidden=(17,))  # no other test has compiled this
    for rate, l2, epochs, dropout, scale in [(0.01, 0.0, 3, 0.1, 0.5), (0.02, 0.1, 2, 0.3, 1.0)]:
        model = dataclasses.replace(shape, dropout=dropout, init_scale=scale)
        config = dataclasses.replace(FAST, learning_rate=rate, l2=l2, epochs=epochs)
        population.train(jax.random.key(0), splits, model, config)
    assert len(traces) == 1
    population.train(jax.random.key(0), splits, model, dataclasses.replace(FAST, steps=40))  # 2 epochs and a part
    assert len(traces) == 2


def test_an_epoch_visits_every_example_at_most_once(monkeypatch):
    config = dataclasses.replace(FAST, batch_size=60)  # 870 = 14 * 60 + 30
    seen: list[list[np.ndarray]] = [[], []]

    def record(state, batch, hyper, **options):
        epoch = state.step // 14
        jax.debug.callback(lambda epoch, rows: seen[int(epoch)].append(np.asarray(rows)), epoch, batch.x[:, 0])
        return state._replace(step=state.step + 1), train.Metrics(batch.x.sum(), batch.x.sum())

    monkeypatch.setattr(train, "train_step", record)
    split = Split(np.arange(870.0, dtype=np.float32)[:, None], np.zeros(870, np.int32))
    state = init_state(jax.random.key(0), MODEL, config)
    for _ in range(2):
        state, _ = run_epoch(state, split, hyper_from(config), model=MODEL, config=config)
    jax.effects_barrier()
    assert [np.shape(epoch) for epoch in seen] == [(14, 60)] * 2
    assert [len(np.unique(epoch)) for epoch in seen] == [840, 840]
    assert not np.array_equal(*seen)


@pytest.mark.usefixtures("both_ways")
def test_steps_end_inside_an_epoch(splits):
    whole = population.train(jax.random.key(0), splits, MODEL, dataclasses.replace(FAST, epochs=2))
    part = population.train(jax.random.key(0), splits, MODEL, dataclasses.replace(FAST, steps=20))
    assert len(part.history.loss) == int(part.state.step) == 20
    np.testing.assert_array_equal(part.history.loss, whole.history.loss[:20])
    assert len(part.history.validation_accuracy) == 2
    assert np.isfinite(part.history.loss).all()
    shorter = population.train(jax.random.key(0), splits, MODEL, dataclasses.replace(FAST, steps=3))
    np.testing.assert_array_equal(shorter.history.loss, whole.history.loss[:3])


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("init", ["uniform_fan_in", "normal", "he"])
def test_no_epochs_is_the_initial_network(splits, init):
    model = dataclasses.replace(MODEL, init=init, init_std=0.03, init_scale=0.7)
    result = population.train(jax.random.key(0), splits, model, dataclasses.replace(FAST, epochs=0))
    assert result.history.loss.shape == result.history.validation_accuracy.shape == (0,)
    assert bits(result.state.params) == bits(init_state(jax.random.key(0), model, FAST).params)


@pytest.mark.parametrize("first", [False, True])
def test_learning_rate_decays_where_it_is_said(first):
    config = TrainConfig(decay=0.5, decay_after_first_step=first)
    found = [float(learning_rate(jnp.asarray(step), 0.8, config, 3)) for step in range(8)]
    plain = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]
    report = [0.8, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1]
    np.testing.assert_allclose(found, report if first else plain, rtol=1e-6)


def test_weight_decay_is_coupled_and_reaches_every_parameter():
    """One step of sgd: w - rate * (gradient + weight_decay * w), as PyTorch's weight_decay, biases included."""
    split = Split(np.ones((2, 192), np.float32), np.zeros(2, np.int32))
    config = TrainConfig(optimizer="sgd", learning_rate=0.1, weight_decay=0.5, batch_size=2)
    model = dataclasses.replace(MODEL, norm="batch", norm_place="after")
    state = init_state(jax.random.key(0), model, config)
    step = jax.jit(functools.partial(train.train_step, model=model, config=config, steps_per_epoch=1))
    decayed, _ = step(state, split, hyper_from(config))
    plain, _ = step(state, split, hyper_from(dataclasses.replace(config, weight_decay=0.0)))
    for new, old, start in zip(*(jax.tree.leaves(s.params) for s in (decayed, plain, state)), strict=True):
        np.testing.assert_allclose(new, old - 0.05 * start, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gradient", gradients.SOURCES)
def test_a_diverged_run_stops_and_keeps_its_history(splits, gradient):
    config = dataclasses.replace(FAST, learning_rate=1e6, epochs=5, gradient=gradient)
    result = population.train(jax.random.key(0), splits, MODEL, config)
    assert result.status == "diverged"
    assert 17 <= len(result.history.loss) < 5 * 17
    assert len(result.history.loss) % 17 == 0
    assert np.isfinite(result.history.loss[0])
    assert not np.isfinite(result.history.loss).all()


def test_a_last_update_that_diverges_is_noticed(splits):
    """The minibatch losses come before each update; that of the last shows in the validation loss only."""
    config = TrainConfig(optimizer="sgd", epochs=1, batch_size=870, learning_rate=1e30)
    result = population.train(jax.random.key(0), splits, MODEL, config)
    assert result.status == "diverged"
    assert np.isfinite(result.history.loss).all()
    assert result.history.validation_accuracy.shape == (0,)


def test_labels_that_the_network_does_not_have(splits):
    model = dataclasses.replace(MODEL, classes=5)
    for call in (
        lambda: population.train(jax.random.key(0), splits, model, FAST),
        lambda: evaluate(init(jax.random.key(0), model), (), splits.test, model),
    ):
        with pytest.raises(UserError, match="labels go from 0 to 9: this network takes 0 to 4"):
            call()


def test_a_batch_of_1_under_normalisation_is_found_before_training(splits, monkeypatch):
    monkeypatch.setattr(train, "train_step", lambda *a, **k: pytest.fail("trained"))
    model = dataclasses.replace(MODEL, norm="batch", norm_place="after")
    with pytest.raises(UserError, match="batch_size 1"):
        population.train(jax.random.key(0), splits, model, dataclasses.replace(FAST, batch_size=1))
    config = dataclasses.replace(FAST, batch_size=43, validate_in_training_mode=True)  # 130 = 3 * 43 + 1
    with pytest.raises(UserError, match="leaves 1 of 130"):
        population.train(jax.random.key(0), splits, model, config)


def test_evaluation_counts_every_example_once(splits):
    params = init(jax.random.key(0), MODEL)
    split = splits.validation  # 130 examples
    logits = forward(params, split.x, MODEL)
    expected = (float(cross_entropy(logits, split.y).mean()), float(accuracy(logits, split.y)))
    for batch_size in (1, 7, 64, 130, 1000):
        found = evaluate(params, (), split, MODEL, batch_size=batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert found.accuracy * 130 == pytest.approx(round(found.accuracy * 130))


@pytest.mark.optimized
def test_validation_in_training_mode_moves_the_statistics(splits):
    model = dataclasses.replace(MODEL, norm="batch", norm_place="after")
    params, stats = init(jax.random.key(0), model), init_stats(model)
    key = jax.random.key(1)
    moved, found = evaluate_in_training_mode(key, params, stats, splits.validation, model, batch_size=50)
    assert bits(moved) != bits(stats)
    hits = 0
    for start in (0, 50, 100):
        x, y = (a[start : start + 50] for a in splits.validation)
        hits += int((np.argmax(forward(params, x, model, train=True), 1) == y).sum())
    assert found.accuracy == hits / 130
    config = dataclasses.replace(FAST, validate_in_training_mode=True)
    result = population.train(jax.random.key(0), splits, model, config)
    clean = population.train(jax.random.key(0), splits, model, FAST)
    assert bits(result.state.params) == bits(clean.state.params)
    assert bits(result.state.stats) != bits(clean.state.stats)


def test_progress_is_reported_after_each_epoch(splits):
    run = population.Run(jax.random.key(0), MODEL, FAST)
    seen = [(epoch.number, epoch.trained, epoch.last, epoch.reports) for epoch in population.epochs([run], splits)]
    assert [entry[:3] for entry in seen] == [(0, False, False), (1, True, False), (2, True, True)]
    assert seen[0][3] == {}
    (metrics, _), (_, validation) = (reports[0] for *_, reports in seen[1:])
    assert metrics.loss.shape == (17,)
    assert isinstance(validation, evaluation.Evaluation)


def test_batch_larger_than_the_split(splits):
    with pytest.raises(UserError, match="batch_size 871 is larger than the training split of 870"):
        population.train(jax.random.key(0), splits, MODEL, dataclasses.replace(FAST, batch_size=871))
