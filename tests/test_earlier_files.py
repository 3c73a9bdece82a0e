"""Files that earlier versions wrote are still read: tests/data/earlier holds some."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies.unfinished import Unfinished
from mlp_jax.training import saved_model
from mlp_jax.training.checkpoint import Checkpoints
from mlp_jax.training.config import Run, TrainConfig
from mlp_jax.training.recipes import Recipe

EARLIER = Path(__file__).parent / "data" / "earlier"
SHAPE = {"hidden": (3, 2), "inputs": 12, "classes": 2}
BATCH, LAYER = MLPConfig(**SHAPE, norm="batch", norm_place="after"), MLPConfig(**SHAPE, norm="layer")


@pytest.mark.parametrize(("name", "config"), [("batch_norm", BATCH), ("layer_norm", LAYER)])
def test_a_model_is_read_and_is_the_same_file_when_it_is_saved_again(name, config):
    path = EARLIER / f"{name}.model"
    found = saved_model.load(path)
    assert found.config == config
    assert saved_model.as_bytes(found) == path.read_bytes()


def test_a_run_is_found_in_a_checkpoint(tmp_path):
    shutil.copy(EARLIER / "batch_norm.checkpoint", tmp_path / "1.safetensors")
    unfinished = Unfinished(tmp_path, 0, dict)
    run = Run(jax.random.key(0), BATCH, TrainConfig(batch_size=10, epochs=2, optimizer="sgd"))
    assert unfinished.restore() is not None
    reached = unfinished.reached([run._replace(model=LAYER), run])
    assert list(reached) == [1]
    assert int(reached[1].state.step) == 2
    assert [leaf.shape for leaf in reached[1].state.params[0]] == [(12, 3), (3,), (3,), (3,)]


def test_the_seconds_of_a_row_go_on_from_those_of_an_earlier_process(tmp_path):
    Checkpoints(tmp_path).save({}, {"row_seconds": 1000.0})
    unfinished = Unfinished(tmp_path, 0, dict)
    assert unfinished.restore() == {"row_seconds": 1000.0}
    assert 1000 <= unfinished.row_seconds() < 1060
    unfinished.forget()
    assert 0 <= unfinished.row_seconds() < 60


@pytest.mark.parametrize(
    ("model", "digest"),
    [
        (BATCH, "8a2500beb94f"),
        (LAYER, "2245972b6576"),
        (MLPConfig(hidden=(4, 4), block="bottleneck"), "89eca88be31c"),
    ],
)
def test_a_recipe_keeps_its_digest_by_which_results_are_known(model, digest):
    assert Recipe("a recipe", model, TrainConfig()).digest == digest


def test_an_option_that_came_later_is_in_the_digest_where_it_is_used():
    recipes = [(BATCH, TrainConfig()), (replace(BATCH, logit_scale=0.3), TrainConfig())]
    later = {"bias_rate": 2.0, "last_layer_rate": 2.0, "lookahead": 5, "accumulate": 2}
    recipes += [(BATCH, TrainConfig(**{name: value})) for name, value in later.items()]
    assert len({Recipe("a recipe", *recipe).digest for recipe in recipes}) == len(recipes)
