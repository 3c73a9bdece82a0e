import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax import data
from mlp_jax.data.dataset import Split
from mlp_jax.data.digits import synthetic
from mlp_jax.data.pixels import normalize
from mlp_jax.data.spectrum import Spectrum
from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer
from mlp_jax.training import population
from mlp_jax.training.augment import Augmentation, augment, mixup, views
from mlp_jax.training.config import TrainConfig, hyper_from
from mlp_jax.training.evaluate import evaluate
from mlp_jax.training.step import init_state, prepared, run_epoch

IMAGE = (5, 4, 3)
BATCH = 60


@pytest.fixture(scope="module")
def x():
    """Rows whose values are all different, and none of them 0."""
    return jnp.arange(1.0, 1 + BATCH * 60).reshape(BATCH, 60)


def pictures(rows):
    return np.asarray(rows).reshape(-1, *IMAGE)


def moved(image, down, right):
    """The picture moved, with zeros where nothing comes from; numpy, pixel by pixel."""
    found = np.zeros_like(image)
    for row in range(IMAGE[0]):
        for column in range(IMAGE[1]):
            if 0 <= row - down < IMAGE[0] and 0 <= column - right < IMAGE[1]:
                found[row, column] = image[row - down, column - right]
    return found


def test_nothing_is_on_by_default(x):
    np.testing.assert_array_equal(augment(jax.random.key(0), x, Augmentation(image=IMAGE)), x)


def test_crops_are_all_moves_up_to_the_padding_and_independent(x):
    found = pictures(augment(jax.random.key(0), x, Augmentation(crop=1, image=IMAGE)))
    seen = []
    for image, cropped in zip(pictures(x), found, strict=True):
        match = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if (moved(image, down, right) == cropped).all()
        ]
        assert len(match) == 1
        seen += match
    assert len(set(seen)) == 9


def test_every_move_is_as_likely(x):
    """The value in the middle tells where it comes from."""
    how, corner = Augmentation(crop=1, image=IMAGE), pictures(x)[:, 0, 0, 0]
    came = [pictures(augment(jax.random.key(seed), x, how))[:, 2, 2, 0] - corner for seed in range(20)]
    _, counts = np.unique(came, return_counts=True)
    assert len(counts) == 9
    assert np.ptp(counts) < 100  # about 133 of 1,200 each, with a standard deviation of 11


def test_flips_half_of_the_images_left_to_right(x):
    found = pictures(augment(jax.random.key(0), x, Augmentation(flip=True, image=IMAGE)))
    same = [(a == b).all() for a, b in zip(found, pictures(x), strict=True)]
    mirrored = [(a == b[:, ::-1]).all() for a, b in zip(found, pictures(x), strict=True)]
    assert all(s != m for s, m in zip(same, mirrored, strict=True))
    assert 15 < sum(mirrored) < 45  # 4 standard deviations


def test_cutout_is_a_square_around_a_pixel_of_the_image(x):
    found = pictures(augment(jax.random.key(1), x, Augmentation(cutout=2, image=IMAGE)))
    shapes = set()
    for image, cut in zip(pictures(x), found, strict=True):
        hole = (cut == 0).all(axis=-1)
        np.testing.assert_array_equal(cut[~hole], image[~hole])
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        assert hole.sum() == len(rows) * len(columns)
        assert (np.diff(rows) == 1).all()
        assert (np.diff(columns) == 1).all()
        shapes.add((len(rows), len(columns)))
    assert shapes == {(1, 1), (1, 2), (2, 1), (2, 2)}  # cut off at the edges, where its centre may be


def test_mixup_mixes_images_and_labels_alike(x):
    labels = jax.nn.one_hot(jnp.arange(BATCH) % 10, 10)
    shares = []
    for seed in range(20):
        mixed, soft = mixup(jax.random.key(seed), x, labels, 0.3)
        share = float(soft[0, 0])
        np.testing.assert_allclose(mixed, share * x + (1 - share) * x[::-1], rtol=1e-4)
        np.testing.assert_allclose(soft, share * labels + (1 - share) * labels[::-1], atol=1e-6)
        shares.append(share)
    assert np.ptp(shares) > 0.5
    assert all(0 <= share <= 1 for share in shares)


def test_a_minibatch_is_prepared_as_configured_and_else_left_alone(x):
    batch = Split(x, jnp.arange(BATCH) % 10)
    model = MLPConfig(inputs=60)
    plain = prepared(jax.random.key(0), batch, model, TrainConfig())
    assert plain.x is batch.x
    assert plain.y is batch.y
    smoothed = prepared(jax.random.key(0), batch, model, TrainConfig(label_smoothing=0.2))
    np.testing.assert_array_equal(smoothed.x, x)
    np.testing.assert_allclose(smoothed.y[3], 0.02 + 0.8 * (np.arange(10) == 3), rtol=1e-6)
    how = Augmentation(crop=1, flip=True, mixup=1.0, image=IMAGE)
    mixed = prepared(jax.random.key(0), batch, model, TrainConfig(augmentation=how, label_smoothing=0.2))
    np.testing.assert_allclose(mixed.y.sum(axis=1), 1, rtol=1e-6)
    assert not np.array_equal(mixed.x, x)


def test_test_time_augmentation_is_the_mean_probability_over_six_views(x):
    shown = views(x, IMAGE)
    for mirrored, first in ((False, 0), (True, 3)):
        for place, (down, right) in enumerate(((0, 0), (1, 1), (-1, -1))):
            expected = [moved(image[:, ::-1] if mirrored else image, down, right) for image in pictures(x)]
            np.testing.assert_array_equal(pictures(shown[first + place]), expected)
    model = MLPConfig(hidden=(), inputs=60, classes=4)
    layer = Layer(jax.random.normal(jax.random.key(0), (60, 4)) / 1e4, jnp.zeros(4))
    y = np.arange(BATCH) % 4
    probabilities = np.mean([jax.nn.softmax(view @ layer.w) for view in shown], axis=0)
    found = evaluate((layer,), (), Split(x, y), model, batch_size=25, image=IMAGE)
    np.testing.assert_allclose(found.loss, -np.log(probabilities[np.arange(BATCH), y]).mean(), rtol=1e-5)
    assert found.accuracy == (probabilities.argmax(axis=1) == y).mean()
    assert found != evaluate((layer,), (), Split(x, y), model)


def test_rows_that_are_no_such_images_are_refused(x):
    with pytest.raises(UserError, match=r"rows of 60 values are no images .* \(32, 32, 3\)"):
        augment(jax.random.key(0), x, Augmentation(flip=True))
    with pytest.raises(UserError, match="are no images"):
        views(x, (4, 4, 3))


def test_rows_in_channel_first_order_are_refused_where_it_matters():
    """A row does not show its order: cropped or mirrored, it would be scrambled in silence."""
    splits = normalize(data.split(synthetic(), validation=130), "unit_range")
    model = MLPConfig(hidden=(), inputs=192)

    def train_with(how):
        return population.train(jax.random.key(0), splits, model, TrainConfig(epochs=0, augmentation=how))

    image = (8, 8, 3)
    for how in ({"crop": 1}, {"flip": True}, {"cutout": 2}):
        with pytest.raises(UserError, match="channel-first"):
            train_with(Augmentation(**how, image=image))
    result = train_with(Augmentation(mixup=0.2, image=image))
    with pytest.raises(UserError, match="channel-first"):
        evaluate(result.state.params, (), splits.test, model, image=image)
    evaluate(result.state.params, (), splits.test, model)


@pytest.fixture(params=["pixels", "frequencies"])
def two_pixels(request):
    """Forty images of two pixels and as many classes; and how much of the first side a network's weights show."""
    image, labels = (1, 2, 1), np.arange(40, dtype=np.int32)
    if request.param == "pixels":
        return image, None, Split(np.tile(np.array([1, 0], "float32"), (40, 1)), labels), lambda w: w[0] - w[1]
    rows = np.tile(np.array([0, 1, 0, 0, 0, 0, 0, 0], "float32"), (40, 1))
    return image, Spectrum(lowest=(2,), image=image), Split(rows, labels), lambda w: w[1]


def seen(seed, case, epochs, **options):
    """By epoch and image: 1 where it was shown as it is, -1 where mirrored; each class has one image."""
    image, spectrum, split, first_side = case
    how = Augmentation(flip=True, image=image, spectrum=spectrum, **options)
    config = TrainConfig(optimizer="sgd", learning_rate=1e-3, batch_size=20, augmentation=how)
    model = MLPConfig(hidden=(), inputs=2, classes=40, init_scale=0.0)
    state, found = init_state(jax.random.key(seed), model, config), []
    for _ in range(epochs):
        before = np.asarray(state.params[0].w)
        state, _ = run_epoch(state, split, hyper_from(config), model=model, config=config)
        found.append(np.sign(first_side(np.asarray(state.params[0].w) - before)))
    return np.array(found)


def test_alternating_flips_are_drawn_once_and_then_change_from_epoch_to_epoch(two_pixels):
    first, second, third, fourth = seen(0, two_pixels, 4, alternating=True)
    assert 10 < (first > 0).sum() < 30
    np.testing.assert_array_equal(second, -first)
    np.testing.assert_array_equal(third, first)
    np.testing.assert_array_equal(fourth, second)
    (other,) = seen(1, two_pixels, 1, alternating=True)
    assert (other != first).any()
    drawn = seen(0, two_pixels, 2)
    assert (drawn[0] == drawn[1]).any()
