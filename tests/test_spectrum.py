"""Amplitudes of low frequencies as network inputs: a linear map of the pixels, moved and mirrored exactly."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from mlp_jax import data
from mlp_jax.data.digits import synthetic
from mlp_jax.data.spectrum import Spectrum, amplitudes, folded, movable_rows, rows
from mlp_jax.errors import UserError
from mlp_jax.nn.model import forward, init, init_stats
from mlp_jax.training.augment import Augmentation, augment
from mlp_jax.training.inputs import Inputs
from mlp_jax.training.recipes import RECIPES, fitted, network_inputs

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (40, 12, 10, 3), dtype=np.uint8)
FEW = Spectrum(lowest=(30, 9, 5), flatness=2.0, image=(12, 10, 3))
ALL = Spectrum(lowest=(120, 120, 120), flatness=0.5, image=(12, 10, 3))


def test_all_frequencies_are_the_orthonormal_cosine_transform():
    by = amplitudes(PICTURES, ALL)
    whole = scipy.fft.dctn(PICTURES - by.mean, axes=(1, 2, 3), norm="ortho")
    u, v, component = ALL.places.T
    expected = whole[:, u, v, component] / by.scale
    np.testing.assert_allclose(rows(PICTURES, ALL, by, dtype=np.float64), expected, atol=1e-10)
    assert sorted(map(tuple, ALL.places)) == [(u, v, c) for u in range(12) for v in range(10) for c in range(3)]


@pytest.mark.parametrize("flatness", [0.0, 10.0])
def test_inputs_have_a_mean_square_of_one_and_with_no_flatness_each_of_them(flatness):
    spectrum = replace(FEW, flatness=flatness)
    squares = np.square(rows(PICTURES, spectrum, amplitudes(PICTURES, spectrum))).mean(axis=0)
    assert squares.mean() == pytest.approx(1, rel=1e-5)
    assert (np.ptp(squares) < 1e-4) == (flatness == 0)


def test_constant_images_are_no_division_by_zero():
    same = np.full((5, 12, 10, 3), 7, np.uint8)
    assert not rows(same, FEW, amplitudes(same, FEW)).any()


@pytest.mark.parametrize("image", [(8, 8, 1), (32, 32, 3), (5, 9, 2)])
def test_images_of_any_shape_and_no_more_frequencies_than_they_have(image):
    spectrum = Spectrum(lowest=(1000, 4), image=image)
    images = RNG.integers(0, 256, (7, *image), dtype=np.uint8)
    by = amplitudes(images, spectrum)
    assert spectrum.inputs == min(1000, image[0] * image[1]) + (4 if image[2] > 1 else 0)
    assert rows(images, spectrum, by).shape == (7, spectrum.inputs)
    movable = movable_rows(images, spectrum, by)
    assert movable.shape == (7, 4 * spectrum.inputs)
    np.testing.assert_allclose(movable[:, : spectrum.inputs], rows(images, spectrum, by), atol=1e-5)


def test_the_default_is_for_cifar10s_images():
    images = RNG.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    by = amplitudes(images, Spectrum())
    assert rows(images, Spectrum(), by).shape == (7, 300)
    assert by.scale.shape == (300,)


def test_a_network_of_frequencies_is_one_of_pixels():
    inputs = Inputs(FEW)
    by = inputs.learned(PICTURES)
    for other in ({}, {"block": "bottleneck", "norm": "none"}):
        config = replace(RECIPES["speedrun_65"].model, hidden=(7, 7), inputs=FEW.inputs, **other)
        config = replace(config, precision="float32")
        params, stats = init(jax.random.key(1), config), init_stats(config)
        pixels, of_pixels, scaling = inputs.of_pixels(config, params, by)
        assert pixels == replace(config, inputs=360)
        here = forward(params, inputs.rows(PICTURES, by), config, stats=stats)
        there = forward(of_pixels, data.rows(PICTURES, scaling), pixels, stats=stats)
        np.testing.assert_allclose(here, there, atol=1e-4)


def test_folded_weights_see_nothing_but_their_frequencies():
    by = amplitudes(PICTURES, FEW)
    weights = folded(RNG.normal(size=(FEW.inputs, 4)), FEW, by)
    amplitude = scipy.fft.dctn(weights.reshape(12, 10, 3, 4), axes=(0, 1, 2), norm="ortho")
    amplitude[tuple(FEW.places.T)] = 0
    np.testing.assert_allclose(amplitude, 0, atol=1e-12)


def one_by_one(movable, how, tries=60):
    """All that a crop and a flip make of the first image, in many tries."""
    made = augment(jax.random.key(3), jnp.tile(movable[:1], (tries, 1)), how)
    return np.unique(np.asarray(made).round(3), axis=0)


def test_a_moved_and_mirrored_image_is_what_the_transform_of_the_moved_image_is():
    """Two pixels of the mean around it: then nothing leaves the image, and moving it is exact."""
    by = amplitudes(PICTURES, FEW)
    picture = np.broadcast_to(by.mean, (1, 12, 10, 3)).copy()
    picture[:, 2:-2, 2:-2] = RNG.uniform(0, 255, (1, 8, 6, 3))
    moved = [
        np.roll(image, (down, right), axis=(1, 2)) + by.mean
        for image in (picture - by.mean, (picture - by.mean)[:, :, ::-1])
        for down in range(-2, 3)
        for right in range(-2, 3)
    ]
    expected = rows(np.concatenate(moved), FEW, by)
    assert len(one_by_one(movable_rows(picture, FEW, by), Augmentation(image=FEW.image, spectrum=FEW))) == 1
    how = Augmentation(crop=2, flip=True, image=FEW.image, spectrum=FEW)
    made = one_by_one(movable_rows(picture, FEW, by), how, 1000)
    assert len(made) == len(moved)
    distances = np.abs(made[:, None] - expected[None]).max(axis=2)
    assert (distances.min(axis=1) < 2e-3).all()
    assert len(set(distances.argmin(axis=1))) == len(moved)


def test_every_image_moves_in_its_own_way_and_the_same_again():
    by = amplitudes(PICTURES, FEW)
    movable = movable_rows(PICTURES, FEW, by)
    how = Augmentation(crop=2, flip=True, image=FEW.image, spectrum=FEW)
    one, again = (augment(jax.random.key(key), movable, how) for key in (5, 5))
    assert (one == again).all()
    assert (one != augment(jax.random.key(6), movable, how)).any()
    assert one.shape == (40, FEW.inputs)


def test_mistakes_say_what_to_do():
    with pytest.raises(UserError, match="cutout"):
        Augmentation(cutout=2, spectrum=FEW)
    with pytest.raises(UserError, match="flatness"):
        Spectrum(flatness=-1.0)
    with pytest.raises(UserError, match="frequencies"):
        Spectrum(lowest=())
    with pytest.raises(UserError, match="movable rows of 44"):
        augment(jax.random.key(0), jnp.zeros((3, 44)), Augmentation(crop=1, image=FEW.image, spectrum=FEW))


def test_splits_see_the_training_images_alone_and_only_training_rows_move():
    splits = data.split(synthetic(), validation=100)
    model, training = fitted(RECIPES["speedrun_65"], splits.train.x.shape[1:], 10, len(splits.train.y))
    inputs = network_inputs(RECIPES["speedrun_65"], splits.train.x.shape[1:])
    made = inputs.of(splits)
    assert made.train.x.shape[1] == 4 * model.inputs
    assert made.validation.x.shape[1] == made.test.x.shape[1] == model.inputs
    assert training.augmentation is not None
    assert training.augmentation.spectrum == inputs.spectrum
    other = inputs.of(splits._replace(test=splits.test._replace(x=255 - splits.test.x)))
    assert (other.train.x == made.train.x).all()
    assert (other.test.x != made.test.x).any()
