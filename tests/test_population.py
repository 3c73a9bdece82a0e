"""Many runs as one program: the same numbers as single runs, on one device or eight."""

import dataclasses
import os
from types import SimpleNamespace

import jax
import numpy as np
import psutil
import pytest

from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training import epoch as programs
from mlp_jax.training import layout, population
from mlp_jax.training.config import OPTIMIZERS, Run
from mlp_jax.training.step import init_state
from tests.small import FAST, MODEL, same_bits


def settings(model=MODEL, **varied):
    """The product of seeds 0 and 1 with one run for each value."""
    ((name, values),) = varied.items()
    of_model = name in MLPConfig.__dataclass_fields__
    return [
        Run(
            jax.random.key(seed),
            dataclasses.replace(model, **({name: value} if of_model else {})),
            dataclasses.replace(FAST, **({} if of_model else {name: value})),
        )
        for seed in (0, 1)
        for value in values
    ]  # fmt: skip


def close(a, b, rtol):
    for u, v in zip(a, b, strict=True):
        assert u.status == v.status
        np.testing.assert_allclose(u.history.loss, v.history.loss, rtol=rtol)
        np.testing.assert_allclose(u.history.validation_accuracy, v.history.validation_accuracy, atol=0.005)
        for p, q in zip(jax.tree.leaves(u.state.params), jax.tree.leaves(v.state.params), strict=True):
            np.testing.assert_allclose(p, q, rtol=rtol, atol=rtol)


def one_by_one(runs, splits):
    return [population.train(run.key, splits, run.model, run.config) for run in runs]


VARIED = {
    "learning_rate": (0.01, 0.03), "l2": (0.0, 1e-1), "momentum": (0.0, 0.5), "weight_decay": (1e-4, 1e-2),
    "dropout": (0.1, 0.5), "init_scale": (0.1, 2.0),
}  # fmt: skip


@pytest.mark.usefixtures("both_ways")
def test_a_population_is_its_single_runs_bit_for_bit(splits):
    """Whatever its runs differ in."""
    dropped = dataclasses.replace(MODEL, dropout=0.3)
    runs = [run for name, values in VARIED.items() for run in settings(dropped, **{name: values})]
    together = population.train_population(runs, splits)
    for a, b in zip(together, one_by_one(runs, splits), strict=True):
        assert same_bits(a, b)
    losses = {result.history.loss.tobytes() for result in together}
    assert len(losses) == len(runs)  # every value and every seed makes a difference


def test_wide_blocks_agree_to_rounding(splits):
    runs = settings(learning_rate=(0.01, 0.02, 0.03))
    close(
        population.train_population(runs, splits, wide=True, devices=jax.devices()[:1]),
        one_by_one(runs, splits),
        1e-5,
    )
    close(population.train_population(runs, splits, wide=True), one_by_one(runs, splits), 1e-5)


@pytest.mark.optimized
def test_eight_devices_give_the_bits_of_one(splits):
    assert jax.device_count() == 8
    model = dataclasses.replace(MODEL, norm="batch", norm_place="after", dropout=0.2)
    runs = [Run(jax.random.key(seed), model, FAST) for seed in range(11)]  # not a multiple of 8
    on_one = population.train_population(runs, splits, devices=jax.devices()[:1])
    for a, b in zip(on_one, population.train_population(runs, splits), strict=True):
        assert same_bits(a, b)


def test_a_minibatch_shared_by_four_devices_of_eight(splits):
    model = dataclasses.replace(MODEL, hidden=(32, 32), norm="batch", norm_place="after", dropout=0.2)
    config = dataclasses.replace(FAST, batch_size=40, optimizer="adam", learning_rate=1e-3)
    runs = [Run(jax.random.key(seed), model, config) for seed in range(3)]
    shared = population.train_population(runs, splits, data_parallel=4)
    for a, b in zip(shared, one_by_one(runs, splits), strict=True):
        np.testing.assert_allclose(a.history.loss, b.history.loss, rtol=1e-4)
        np.testing.assert_allclose(a.history.validation_accuracy, b.history.validation_accuracy, atol=0.02)
        assert not same_bits(a, b)  # other sums: the work was shared indeed


@pytest.mark.usefixtures("both_ways")
def test_a_diverged_member_neither_stops_nor_taints_the_others(splits):
    rates = (0.02, 1e6, 0.01)
    runs = settings(learning_rate=rates)
    alone = one_by_one(runs, splits)
    for wide in (False, True):
        together = population.train_population(runs, splits, wide=wide, devices=jax.devices()[:1])
        assert [result.status for result in together] == ["finished", "diverged", "finished"] * 2
        if not wide:
            assert all(same_bits(a, b) for a, b in zip(together, alone, strict=True))
        close([r for r in together if r.status == "finished"], [r for r in alone if r.status == "finished"], 1e-5)


@pytest.mark.usefixtures("both_ways")
def test_a_mixed_list_keeps_its_order(splits):
    """Shapes, lengths and sources differ; runs of one shape are one program."""
    runs = [
        Run(jax.random.key(0), MODEL, FAST),
        Run(jax.random.key(1), dataclasses.replace(MODEL, hidden=(8, 8)), FAST),
        Run(jax.random.key(1), MODEL, dataclasses.replace(FAST, learning_rate=0.03)),
        Run(jax.random.key(0), MODEL, dataclasses.replace(FAST, steps=20)),
        Run(jax.random.key(2), MODEL, dataclasses.replace(FAST, gradient="autodiff")),
    ]
    for a, b in zip(population.train_population(runs, splits), one_by_one(runs, splits), strict=True):
        assert same_bits(a, b)


@pytest.mark.usefixtures("both_ways")
def test_chunks_give_the_same_results(splits):
    """A CPU takes one block at a time for each of its devices."""
    runs = settings(learning_rate=(0.01, 0.02, 0.03))
    found: list[dict[int, object]] = [{}, {}]
    for devices, size in ((1, 1), (2, 2)):
        for epoch in population.epochs(runs, splits, devices=jax.devices()[:devices]):
            if epoch.last:
                assert len(epoch.results()) == size
                found[devices - 1] |= epoch.results()
    for number in range(len(runs)):
        assert same_bits(found[0][number], found[1][number])


def test_a_network_that_does_not_fit_is_refused_before_training(splits):
    """Also if it is the last of a list whose others do fit."""
    runs = [Run(jax.random.key(0), dataclasses.replace(MODEL, hidden=(width,)), FAST) for width in (16, 100_000)]
    epochs = population.epochs(runs, splits, max_memory_gb=0.1)
    with pytest.raises(UserError, match=r"need about .* GB on a device.*max_memory_gb") as caught:
        next(epochs)
    assert "\n" not in str(caught.value)


@pytest.mark.optimized
@pytest.mark.parametrize(("hidden", "optimizer"), [((50,), "sgd"), ((50,), "adam"), ((400, 400, 400), "momentum")])
def test_the_estimate_of_memory_against_the_compiler(splits, hidden, optimizer):
    """Never below what XLA's program takes, and not many times as much."""
    model, config = (
        dataclasses.replace(MODEL, hidden=hidden),
        dataclasses.replace(FAST, optimizer=optimizer),
    )
    runs = [Run(jax.random.key(seed), model, config) for seed in range(4)]  # one after the other
    (epoch,) = population.compile_ahead(runs, splits, devices=jax.devices()[:1])
    needs = epoch.memory_analysis()
    assert needs is not None
    taken = needs.argument_size_in_bytes + needs.output_size_in_bytes + needs.temp_size_in_bytes
    fixed, block = layout.footprint(model, config, splits, 1)
    assert taken - needs.alias_size_in_bytes <= fixed + block <= 4 * taken


def test_progress_of_every_run(splits):
    epochs = population.epochs(settings(learning_rate=(0.02, 1e6)), splits)
    reports = {(number, epoch.number): report for epoch in epochs for number, report in epoch.reports.items()}
    assert list(reports) == [(0, 1), (2, 1), (0, 2), (2, 2)]
    assert reports[0, 1][0].loss.shape == (17,)


@pytest.mark.usefixtures("both_ways")
def test_a_run_that_was_stopped_before_its_first_epoch_goes_on_beside_one_that_has_not_begun(splits):
    runs = settings(momentum=(0.5,))
    start = next(population.epochs(runs[:1], splits)).results()
    assert (start[0].status, start[0].history.loss.shape) == ("unfinished", (0,))
    resumed = population.train_population(runs, splits, resume_from=start)
    for a, b in zip(resumed, population.train_population(runs, splits), strict=True):
        assert same_bits(a, b)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data_parallel": 3}, "data_parallel 3 does not divide the number of devices, 8"),
        ({"data_parallel": 4}, "data_parallel 4 does not divide batch_size 50"),
        ({"data_parallel": 0}, "data_parallel must be a whole number of at least 1"),
        ({"max_memory_gb": 0.0}, "max_memory_gb must be a number"),
        ({"max_memory_gb": float("nan")}, "max_memory_gb must be a number"),
    ],
)
def test_options_out_of_range(splits, options, words):
    with pytest.raises(UserError, match=words):
        population.train_population([Run(jax.random.key(0), MODEL, FAST)], splits, **options)


@pytest.mark.optimized
def test_a_lower_precision_learns_and_differs(splits):
    """As users compile it: what XLA makes of a product in bfloat16 depends on that, and on the processor."""
    plain_run = population.train(jax.random.key(0), splits, MODEL, FAST)
    for precision, source in (("tf32", "manual"), ("bf16", "manual"), ("bf16", "autodiff")):
        model = dataclasses.replace(MODEL, precision=precision)
        run = population.train(jax.random.key(0), splits, model, dataclasses.replace(FAST, gradient=source))
        assert not np.array_equal(run.history.loss, plain_run.history.loss)
        np.testing.assert_allclose(run.history.loss, plain_run.history.loss, rtol=5e-2)


def test_programs_are_forgotten_when_there_are_many(splits, traces):
    """And jax traces them anew, to the same bits."""
    programs.forget()
    run, one = Run(jax.random.key(0), MODEL, FAST), jax.devices()[:1]
    mesh = layout.plan([run], splits, devices=one)[0][0].mesh
    programs.compiled_epoch.cache_clear()
    before = population.train_population([run], splits, devices=one)[0]
    traced = len(traces)
    for width in range(1, programs.MOST):
        assert not programs.forget()
        population.train_population([run], splits, devices=one)
        assert len(traces) == traced
        programs.compiled_epoch(dataclasses.replace(MODEL, hidden=(width, 3)), FAST, mesh)  # and not compiled
    assert programs.forget()
    after = population.train_population([run], splits, devices=one)[0]
    assert len(traces) > traced
    assert same_bits(before, after)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_estimate_knows_what_an_optimiser_holds(splits, optimizer):
    """A run holds its state twice, and so what an optimiser and an average add to it."""

    def state_and_block(**options):
        config = dataclasses.replace(FAST, **options)
        state = init_state(jax.random.key(0), MODEL, config)
        return sum(leaf.nbytes for leaf in jax.tree.leaves(state)), layout.footprint(MODEL, config, splits, 1)[1]

    small, least = state_and_block(optimizer="sgd", average_decay=None)
    large, most = state_and_block(optimizer=optimizer, average_decay=0.9)
    assert large > small
    assert most - least == 2 * (large - small)


@pytest.mark.parametrize("width", [1, 3])
def test_the_estimate_by_hand(splits, width):
    """Pixels, labels and order; of each run three sets of parameters, and five arrays of what each layer gives.

    A run also holds its state and the epoch's 17 losses and accuracies, twice.
    """
    rows, parameters = max(FAST.batch_size, min(layout.EVALUATED_AT_ONCE, 130)), 192 * 16 + 16 + 16 * 10 + 10
    images = (870 + 130) * (192 * 4 + 8) + 870 * 8
    state = jax.tree.leaves(init_state(jax.random.key(0), MODEL, FAST))
    held = 2 * (sum(leaf.nbytes for leaf in state) + 17 * 4)
    run = 4 * (3 * parameters + 5 * rows * (16 + 10)) + held
    assert layout.footprint(MODEL, FAST, splits, width) == (images, width * run + rows * 192 * 4)


def test_a_quarter_of_the_free_memory_is_left():
    gpu = SimpleNamespace(process_index=0, memory_stats=lambda: {"bytes_limit": 10_000, "bytes_in_use": 2_000})
    assert layout.available([gpu]) == 6_000
    assert layout.available(jax.devices()) == pytest.approx(0.75 * psutil.virtual_memory().available / 8, rel=0.1)


def test_training_asks_no_system_for_what_only_linux_has(splits, monkeypatch):
    """macOS has no SC_AVPHYS_PAGES."""
    asked = os.sysconf

    def sysconf(name):
        if name == "SC_AVPHYS_PAGES":
            raise ValueError("unrecognized configuration name")
        return asked(name)

    monkeypatch.setattr(os, "sysconf", sysconf)
    result = population.train(jax.random.key(0), splits, MODEL, dataclasses.replace(FAST, steps=1))
    assert result.status == "finished"
