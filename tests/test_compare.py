"""The comparison of two sources of gradients: what differs, and from which step on."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from mlp_jax.data.digits import synthetic
from mlp_jax.data.pixels import normalize
from mlp_jax.errors import UserError
from mlp_jax.files import as_json, write
from mlp_jax.nn import activations
from mlp_jax.nn.activations import Activation
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.losses import loss
from mlp_jax.studies import options, two_sources
from mlp_jax.training import population
from mlp_jax.training import step as train
from mlp_jax.training.config import TrainConfig

PAIR = ("autodiff", "manual")
CONFIG = options.Common(dataset="synthetic", seeds=2, seed=5)
MODEL = MLPConfig(hidden=(16,), inputs=192)
# with 20 examples in a minibatch, XLA sums the loss itself in another order
RECIPE = TrainConfig(learning_rate=0.02, l2=1e-3, batch_size=50, epochs=2)
STEPS = 32


@pytest.fixture(scope="module")
def splits():
    return normalize(CONFIG.split(synthetic()), "standardize")


@pytest.fixture(scope="module")
def relu(splits, both_ways):
    return two_sources.compare(CONFIG, splits, MODEL, RECIPE, PAIR)


def of_kind(rows, kind):
    return [row for row in rows if row["kind"] == kind]


def errors(rows, when):
    return {row["leaf"]: row["relative_error"] for row in of_kind(rows, "leaf") if row["when"] == when}


@pytest.mark.parametrize("text", ["autodiff,manual", "manual,autodiff"])
def test_two_sources_in_either_order(text):
    assert two_sources.sources(text) == tuple(text.split(","))


@pytest.mark.parametrize(
    "text", ["", ",", "manual", "manual,manual", "manual,numeric", "manual,autodiff,manual", "manual, autodiff"]
)
def test_anything_else_is_one_clear_line(text):
    with pytest.raises(UserError, match=r"^--compare must be two of manual, autodiff with a comma.*, not ") as e:
        two_sources.sources(text)
    assert repr(text) in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "there is no step to compare"),
        ({"steps": 0}, "there is no step to compare"),
        ({"batch_size": 801}, "batch_size 801 is larger than the training split of 800"),
    ],
)
def test_a_mistake_is_found_before_any_training(change, message, splits, monkeypatch):
    monkeypatch.setattr(population, "train", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(UserError, match=message):
        two_sources.compare(CONFIG, splits, MODEL, dataclasses.replace(RECIPE, **change), PAIR)


def test_parting():
    curve = np.linspace(1, 2, 8, dtype=np.float32)
    never = {"any bit": None, "1e-6": None, "1e-3": None}
    assert two_sources.parting(curve, curve) == {"parted_at": never, "difference": 0, "relative_difference": 0}
    other = curve.copy()
    other[2] = np.nextafter(other[2], np.float32(9))
    assert two_sources.parting(curve, other)["parted_at"] == {**never, "any bit": 2}
    other[4:] *= np.float32(1.0001)
    assert two_sources.parting(other, curve)["parted_at"] == {"any bit": 2, "1e-6": 4, "1e-3": None}
    other[6] = 4 * curve[6]
    found = two_sources.parting(curve, other)
    assert found["parted_at"] == {"any bit": 2, "1e-6": 4, "1e-3": 6}
    assert found["difference"] == pytest.approx(3 * curve[6], rel=1e-2)
    assert found["relative_difference"] == pytest.approx(0.75)


def test_parting_where_a_curve_is_not_finite_or_ends():
    curve = np.linspace(1, 2, 8)
    for value in (np.nan, np.inf):
        other = curve.copy()
        other[3] = value
        found = two_sources.parting(curve, other)
        assert set(found["parted_at"].values()) == {3}
        assert found["relative_difference"] is None
        assert set(two_sources.parting(other, other)["parted_at"].values()) == {None}
    assert set(two_sources.parting(curve, curve[:5])["parted_at"].values()) == {5}


def test_rows_of_a_relu_network(relu, tmp_path):
    assert [row["kind"] for row in relu] == ["leaf"] * 8 + ["training"] * 2
    write(tmp_path / "rows.json", as_json({"rows": relu}))
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == relu
    for when in ("start", "end"):
        found = errors(relu, when)
        assert list(found) == ["layer1.w", "layer1.b", "layer2.w", "layer2.b"]
        assert max(found.values()) < 1e-6


def test_leaf_values_are_the_gradient_before_and_after_training(relu, splits):
    start = train.init_state(jax.random.key(5), MODEL, RECIPE)
    states = {"start": start, "end": population.train(jax.random.key(5), splits, MODEL, RECIPE).state}
    x, y = (values[:50] for values in splits.train)
    true = jax.jit(jax.grad(lambda params: loss(params, x, y, MODEL, l2=RECIPE.l2)))
    for when, state in states.items():
        grads = true(state.params)
        rows = [row for row in of_kind(relu, "leaf") if row["when"] == when]
        for row, leaf in zip(rows, jax.tree.leaves(grads), strict=True):
            assert row["values"] == pytest.approx(dict.fromkeys(PAIR, float(leaf[tuple(row["index"])])), rel=1e-4)


def test_a_relu_network_never_parts(relu, splits):
    for row, seed in zip(of_kind(relu, "training"), (5, 6), strict=True):
        result = population.train(jax.random.key(seed), splits, MODEL, RECIPE)
        assert row["seed"] == seed
        assert set(row["parted_at"].values()) == {None}
        assert row["same_parameters"]
        assert row["steps"] == STEPS
        for name in PAIR:
            assert row["validation_accuracy"][name] == result.history.validation_accuracy[-1]


def test_the_tables_say_that_a_relu_network_never_parts(relu):
    text = two_sources.tables(relu)
    assert f"are the same bit for bit through all {STEPS} steps, for 2 of 2 seeds" in text
    assert "the final parameters are the same bit for bit for 2." in text
    assert text.count("\n\n") == 2


def test_tables_of_what_is_null(relu):
    rows = json.loads(json.dumps(relu))
    rows[0]["relative_error"] = rows[-1]["validation_accuracy"]["manual"] = None
    text = two_sources.tables(rows)
    assert re.search(r"^\| layer1.w +\| start +\| - ", text, re.MULTILINE)
    assert re.search(r"^\| 6 +\| 0\.\d+ +\| - ", text, re.MULTILINE)


@pytest.mark.optimized
def test_a_normalised_tanh_network_parts(splits):
    model = dataclasses.replace(MODEL, activation="tanh", norm="batch", norm_place="after")
    config = dataclasses.replace(CONFIG, seeds=1)
    rows = two_sources.compare(config, splits, model, RECIPE, PAIR)
    (row,) = of_kind(rows, "training")
    assert 0 < row["parted_at"]["any bit"] < STEPS
    assert not row["same_parameters"]
    assert 0 < max(errors(rows, "start").values()) < 1e-5
    text = two_sources.tables(rows)
    assert f"part at step {row['parted_at']['any bit']} of {STEPS} at the earliest, for 1 of 1 seeds" in text


def test_a_broken_derivative_shows_in_its_leaves_and_parts_the_curves(splits, monkeypatch):
    row = activations.ACTIVATIONS["relu"]
    broken = Activation(row.function, lambda z: 1.1 * row.derivative(z))
    monkeypatch.setitem(activations.ACTIVATIONS, "relu", broken)
    model = dataclasses.replace(MODEL, norm_eps=1e-3)  # unused, but no other test may find this program compiled
    config = dataclasses.replace(CONFIG, seeds=1)
    rows = two_sources.compare(config, splits, model, dataclasses.replace(RECIPE, l2=0), PAIR)
    found = errors(rows, "start")
    assert found["layer1.w"] == pytest.approx(0.1, rel=1e-3)
    assert found["layer1.b"] == pytest.approx(0.1, rel=1e-3)
    assert max(found["layer2.w"], found["layer2.b"]) < 1e-6
    parted = of_kind(rows, "training")[0]["parted_at"]
    assert parted["any bit"] == 1
    assert 1 <= parted["1e-6"] <= parted["1e-3"] < STEPS


def test_a_diverged_run_keeps_its_row(splits, tmp_path):
    config, wild = dataclasses.replace(CONFIG, seeds=1), dataclasses.replace(RECIPE, learning_rate=1e8)
    rows = two_sources.compare(config, splits, MODEL, wild, PAIR)
    write(tmp_path / "rows.json", as_json({"rows": rows}))
    (row,) = of_kind(rows, "training")
    assert row["status"] == "diverged"
    assert row["validation_accuracy"] == {"autodiff": None, "manual": None}
    assert re.search(r"^\| 5 +\| - +\| - +\| ", two_sources.tables(rows), re.MULTILINE)
