"""Named recipes: that they are what they say, that `best_model`, `ablation` and `speedrun` train just them."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jax
import numpy as np
import psutil
import pytest

from experiments import ablation, best_model, speedrun
from mlp_jax import data
from mlp_jax.benchmark import timed_run
from mlp_jax.data.digits import synthetic
from mlp_jax.errors import UserError
from mlp_jax.studies.study import Shape, shape_of
from mlp_jax.training import population, saved_model
from mlp_jax.training import step as train
from mlp_jax.training.evaluate import evaluate
from mlp_jax.training.recipes import RECIPES, fitted, network_inputs
from mlp_jax.training.written import as_written
from tests.commands import ROOT, python
from tests.studies import results_of

SMALL = {"dataset": "synthetic", "epochs": 2}


def inputs_of(recipe, validation=200):
    """The synthetic data, and what the recipe's network sees of its splits."""
    dataset = synthetic()
    inputs = network_inputs(recipe, dataset.train_images.shape[1:])
    return dataset, inputs, inputs.of(data.split(dataset, validation=validation))


def test_the_names_that_were_asked_for_and_what_sets_them_apart():
    assert {"report", "plain", "augmented", "bottleneck", "speedrun"} <= RECIPES.keys()
    report = RECIPES["report"].model
    best = best_model.network(best_model.Config(), Shape())
    same = ("hidden", "activation", "negative_slope", "norm", "norm_place", "dropout", "block")
    assert all(getattr(report, name) == getattr(best, name) for name in same)
    assert (report.precision, best.precision) == ("bf16", "float32")
    assert RECIPES["plain"].training.augmentation is None
    assert RECIPES["augmented"].training.augmentation is not None
    assert RECIPES["bottleneck"].model.block == "bottleneck"
    for recipe in RECIPES.values():
        assert (recipe.model.inputs, recipe.model.classes) == (3072, 10)
        assert recipe.training.gradient == "manual"
        saved_model.check_size(recipe.model)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_every_data_set(name):
    for dataset in (synthetic(), data.digits()):
        model, training = fitted(RECIPES[name], *shape_of(dataset, 100))
        shape = dataset.train_images.shape[1:]
        inputs = network_inputs(RECIPES[name], shape)
        assert model.inputs == inputs.count(shape) <= np.prod(shape)
        assert (model.inputs == np.prod(shape)) == (RECIPES[name].spectrum is None or np.prod(shape) == 64)
        assert training.batch_size <= 100
        if training.augmentation is not None:
            assert training.augmentation.image == shape
            assert training.augmentation.spectrum == inputs.spectrum
        assert replace(model, inputs=3072) == RECIPES[name].model


@pytest.fixture(scope="module")
def recipe_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    assert best_model.STUDY.run(best_model.Config(**SMALL, recipe="speedrun_65", seeds=1, results_dir=str(folder)))
    return folder


def test_best_model_trains_the_recipe(recipe_run):
    (row,) = results_of(recipe_run, "best_model")["rows"]
    recipe = RECIPES["speedrun_65"].with_options("manual", 2)
    dataset, inputs, splits = inputs_of(recipe)
    model, training = fitted(recipe, *shape_of(dataset, len(splits.train.y)))
    assert training.augmentation is not None
    result = population.train(jax.random.key(0), splits, model, training)
    accuracy = evaluate(*train.network(result.state), splits.test, model).accuracy
    params, stats = train.network(result.state)
    images = data.split(dataset, validation=200)
    pixel_model, params, scaling = inputs.of_pixels(model, params, inputs.learned(images.train.x))
    test = data.Split(data.rows(images.test.x, scaling), images.test.y)
    views = evaluate(params, stats, test, pixel_model, image=training.augmentation.image).accuracy
    assert row["test_accuracy"]["values"] == [accuracy]
    assert row["test_accuracy_over_views"]["values"] == [views]
    assert (row["name"], row["network"]) == ("speedrun_65", json.loads(json.dumps(as_written(model))))
    assert row["recipe"]["augmentation"]["crop"] == training.augmentation.crop
    assert "6 views" in str(best_model.table({"rows": [row]}))
    assert "the recipe speedrun_65 reaches" in best_model.finding(results_of(recipe_run, "best_model"))


def test_its_model_is_saved(recipe_run):
    (row,) = results_of(recipe_run, "best_model")["rows"]
    model = saved_model.load(recipe_run / "best_model" / "model.safetensors")
    dataset = synthetic()
    right = model.logits(dataset.test_images).argmax(axis=1) == dataset.test_labels
    assert model.about.test_accuracy == right.mean() == row["test_accuracy"]["values"][0]


# The ablation


@pytest.fixture(scope="module")
def ablated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    config = ablation.Config(**SMALL, seeds=2, recipe="speedrun", variations="no_flips", results_dir=str(folder))
    assert ablation.STUDY.run(config)
    return folder / "ablation", results_of(folder, "ablation")


def test_an_ablation_compares_seed_by_seed_and_sees_no_test_image(ablated):
    folder, content = ablated
    base, *others = content["rows"]
    assert [row["variation"] for row in content["rows"]] == ["base", "no_flips"]
    assert not any("test_accuracy" in row or "test" in row["images"] for row in content["rows"])
    for row, found in zip(others, content["comparisons"], strict=True):
        differences = np.subtract(row["validation_accuracy"]["values"], base["validation_accuracy"]["values"])
        np.testing.assert_allclose(found["values"], differences)
        assert found["mean"] == pytest.approx(differences.mean())
        assert found["low"] <= found["mean"] <= found["high"]
        assert row["parameters"] != base["parameters"]
    assert [row["recipe"]["augmentation"]["flip"] for row in content["rows"]] == [True, False]
    figure = (folder / "differences.svg").read_text()
    assert all(word in figure for word in ("no_flips", "difference in validation accuracy, points"))
    table = str(ablation.table(content))
    assert all(row["variation"] in table for row in content["rows"])
    assert "Of 1 changes" in ablation.finding(content)


def test_every_variation_changes_something_in_some_recipe():
    found: set[str] = set()
    for name in RECIPES:
        recipes = ablation.recipes(ablation.Config(recipe=name))
        assert next(iter(recipes)) == ablation.BASE
        assert all(recipe != recipes[ablation.BASE] for key, recipe in recipes.items() if key != ablation.BASE)
        found |= recipes.keys()
    assert found == {ablation.BASE, *ablation.VARIATIONS}


# The speedrun


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speedrun")
    config = speedrun.Config(**SMALL, seeds=1, seed=3, target=0.0, results_dir=str(folder))
    begun = time.monotonic()
    assert speedrun.run(config)
    return results_of(folder, "speedrun"), time.monotonic() - begun


def test_a_speedrun_times_whole_processes(timed):
    content, outside = timed
    totals = [row["seconds_from_process_start"]["mean"] for row in content["rows"]]
    assert [row["compilation"] for row in content["rows"]] == ["anew", "cached"]
    assert sum(totals) < outside
    for row, total in zip(content["rows"], totals, strict=True):
        parts = [row["seconds_of"][part]["mean"] for part in timed_run.PARTS]
        assert min(parts) > 0
        assert sum(parts) < total  # Python's own start is in no part
        assert (row["seeds"], row["status"], row["reached"]) == ([3], "finished", True)
    assert "from process start" in speedrun.finding(content)
    assert "is reached" in speedrun.finding(content)
    assert f"{content['machine']['float32']['median'] / 1e9:.0f} GFLOP/s" in speedrun.finding(content)
    assert all(part in str(speedrun.table(content)) for part in timed_run.PARTS)


def test_the_clock_of_the_imports_starts_before_jax_is_imported():
    code = "import sys, mlp_jax.benchmark.timed_run; print({'jax', 'jaxlib', 'numpy'} & sys.modules.keys())"
    assert python("-c", code) == (0, "set()\n", "")


def test_a_speedrun_trains_on_all_training_images_and_its_accuracy_is_that_of_train(timed):
    """The same parameters as the library gives, from the same seed, on all 1,000 training images."""
    content, _ = timed
    dataset = synthetic()
    model, training = fitted(RECIPES["speedrun"].with_options("manual", 2), *shape_of(dataset))
    images = data.Split(dataset.train_images, dataset.train_labels)
    unseen = data.Split(dataset.test_images, dataset.test_labels)
    splits = network_inputs(RECIPES["speedrun"], dataset.train_images.shape[1:]).of(
        data.Splits(images, unseen, unseen)
    )
    result = population.train(jax.random.key(3), splits, model, training)
    losses = result.history.loss[-(1000 // training.batch_size) :]
    assert content["rows"][0]["train_loss"]["values"] == [pytest.approx(losses.mean(), rel=1e-3)]
    assert content["rows"][0]["parameters"] == content["rows"][1]["parameters"]
    assert content["rows"][0]["same_parameters"]
    accuracy = evaluate(*train.network(result.state), splits.test, model).accuracy
    # compiled by another process with other options: the last bits may differ
    assert content["rows"][0]["test_accuracy"]["values"] == [pytest.approx(accuracy, abs=0.02)]


def test_a_target_that_is_missed_is_a_failure():
    row = {"status": "finished", "same_parameters": True, "reached": False}
    assert not speedrun.succeeded([row, {**row, "reached": True}])
    assert not speedrun.succeeded([{**row, "reached": True, "same_parameters": False}])
    assert not speedrun.succeeded([{**row, "reached": None, "status": "diverged"}])
    assert speedrun.succeeded([{**row, "reached": None}, {**row, "reached": True}])


def test_the_recipes_target_is_for_cifar10():
    assert speedrun.Config(dataset="cifar10").goal == RECIPES["speedrun"].target == 0.564
    assert speedrun.Config().goal is None
    assert speedrun.Config(target=0.9).goal == 0.9
    with pytest.raises(UserError, match="target must be a number in"):
        speedrun.Config(target=1.1)


def workers(pid):
    """The processes that train for the one with this number."""
    return [p.pid for p in psutil.Process(pid).children() if "mlp_jax.benchmark.timed_run" in p.cmdline()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_speedrun_that_is_stopped_leaves_no_process(tmp_path, number):
    line = [sys.executable, "-m", "experiments.speedrun", "--epochs=100000", f"--results_dir={tmp_path}"]
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 60
        while not (child := workers(process.pid)):
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.05)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    expected = (128 + number, "stopped by SIGTERM") if number == signal.SIGTERM else (-number, "")
    assert (process.returncode, told.strip()) == expected
    limit = time.monotonic() + 10
    while psutil.pid_exists(child[0]):
        assert time.monotonic() < limit
        time.sleep(0.05)
