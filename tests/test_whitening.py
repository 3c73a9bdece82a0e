"""Whole images whitened: decorrelated, still images, and a network of them is one of pixels."""

import jax
import numpy as np
import pytest

from mlp_jax import data
from mlp_jax.data.whitening import white_rows, whitening
from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import forward, init, init_stats
from mlp_jax.training.augment import Augmentation, augment
from mlp_jax.training.inputs import Inputs
from mlp_jax.training.recipes import RECIPES, Recipe, fitted, network_inputs

RNG = np.random.default_rng(0)
SHAPE = (4, 6, 3)
SMOOTH = np.cumsum(RNG.normal(0, 20, (400, *SHAPE)), axis=2)
PICTURES = np.clip(SMOOTH + 128, 0, 255).astype(np.uint8)


def test_whitened_images_and_their_mirror_images_have_no_correlations():
    by = whitening(PICTURES, 0.0)
    both = np.concatenate([PICTURES, PICTURES[:, :, ::-1]])
    white = white_rows(both, by, dtype=np.float64)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(72), atol=1e-3)


def test_the_map_is_symmetric_so_that_images_stay_images_and_flatness_holds_it_back():
    some, much = (whitening(PICTURES, flatness) for flatness in (1.0, 1e6))
    np.testing.assert_allclose(some.matrix, some.matrix.T, atol=1e-5)
    np.testing.assert_allclose(much.matrix, much.matrix[0, 0] * np.eye(72), atol=1e-4 * much.matrix[0, 0])
    assert np.square(white_rows(PICTURES, some)).mean() == pytest.approx(1, rel=0.05)


def test_a_mirrored_image_whitened_is_the_whitened_image_mirrored():
    inputs = Inputs(flatness=0.5)
    by = inputs.learned(PICTURES)
    white = inputs.rows(PICTURES, by, training=True)
    mirrored = inputs.rows(PICTURES[:, :, ::-1], by)
    how = Augmentation(flip=True, image=SHAPE)
    made = np.asarray(augment(jax.random.key(0), white, how))
    assert 100 < sum(np.allclose(*pair, atol=1e-4) for pair in zip(made, mirrored, strict=True)) < 300
    for one, still, turned in zip(made, white, mirrored, strict=True):
        assert np.allclose(one, still, atol=1e-4) or np.allclose(one, turned, atol=1e-4)


def test_a_network_of_whitened_images_is_one_of_pixels():
    inputs = Inputs(flatness=2.0)
    by = inputs.learned(PICTURES)
    config = MLPConfig(hidden=(7, 7), norm="batch", init="he", inputs=72)
    params, stats = init(jax.random.key(1), config), init_stats(config)
    pixels, of_pixels, scaling = inputs.of_pixels(config, params, by)
    here = forward(params, inputs.rows(PICTURES, by), config, stats=stats)
    there = forward(of_pixels, data.rows(PICTURES, scaling), pixels, stats=stats)
    np.testing.assert_allclose(here, there, atol=1e-4)


def test_constant_images_are_no_division_by_zero():
    same = np.full((5, *SHAPE), 7, np.uint8)
    assert not white_rows(same, whitening(same, 0.0)).any()


def test_a_recipe_has_one_or_the_other_and_says_so_in_its_digest():
    speedrun = RECIPES["speedrun"]
    recipes = [Recipe("white", speedrun.model, speedrun.training, flatness=f) for f in (None, 1.0, 100.0)]
    assert len({recipe.digest for recipe in recipes}) == 3
    assert network_inputs(recipes[1], SHAPE) == Inputs(flatness=1.0)
    model, training = fitted(recipes[1], SHAPE, 10, 400)
    assert model.inputs == 72
    assert training.augmentation == Augmentation(flip=True, image=SHAPE)
    with pytest.raises(UserError, match="flatness"):
        Recipe("both", speedrun.model, speedrun.training, spectrum=speedrun.spectrum, flatness=1.0)
    with pytest.raises(UserError, match="flatness"):
        Inputs(flatness=-1.0)
