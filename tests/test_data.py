import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlp_jax.data import load
from mlp_jax.data.dataset import Dataset, Split, Splits, split
from mlp_jax.data.digits import synthetic
from mlp_jax.data.pixels import NORMALIZATIONS, normalize
from mlp_jax.errors import UserError

LAYOUTS = {"mean_image": "HWC", "unit_range": "CHW", "standardize": "HWC"}


def arrays(train=6, test=3, classes=("a", "b")):
    rng = np.random.default_rng(1)
    return {
        "name": "toy", "train_images": rng.integers(0, 256, (train, 2, 3, 3), dtype=np.uint8),
        "train_labels": np.arange(train, dtype=np.int32) % 2,
        "test_images": rng.integers(0, 256, (test, 2, 3, 3), dtype=np.uint8),
        "test_labels": np.arange(test, dtype=np.int32) % 2, "classes": classes,
    }  # fmt: skip


def test_load_names_the_valid_names():
    with pytest.raises(UserError, match="digits, cifar10, synthetic") as caught:
        load("cifar-10")
    assert "'cifar10'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int32])
def test_labels_become_int32(dtype):
    dataset = Dataset(**{**arrays(), "train_labels": np.array([0, 1, 0, 1, 0, 1], dtype)})
    assert dataset.train_labels.dtype == np.int32
    assert dataset.fingerprint == Dataset(**arrays()).fingerprint


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("train_images", np.zeros((6, 2, 3, 3), np.float32), "float32"),
        ("train_images", np.zeros((6, 18), np.uint8), r"\(6, 18\)"),
        ("train_images", [[0]], "list"),
        ("train_images", np.zeros((6, 2, 3, 1), np.uint8), "differ in shape"),
        ("test_images", np.zeros((0, 2, 3, 3), np.uint8), "no pixels"),
        ("train_labels", np.zeros(6, np.float32), "float32"),
        ("train_labels", np.zeros(6, bool), "bool"),
        ("train_labels", np.zeros((6, 1), np.int32), r"\(6, 1\)"),
        ("test_labels", np.zeros(4, np.int32), r"shape \(3,\), found int32 of shape \(4,\)"),
        ("train_labels", np.array([0, 1, 0, 2, 3, 0]), r"train_labels\[3\] is 2: .* 0\.\.1"),
        ("test_labels", np.array([0, -1, 0]), r"test_labels\[1\] is -1"),
        ("test_labels", np.array([0, 255, 0], np.uint8), r"test_labels\[1\] is 255"),
    ],
)
def test_dataset_rejects(field, value, words):
    with pytest.raises(UserError, match=words) as caught:
        Dataset(**{**arrays(), field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["train_images", "train_labels", "test_images", "test_labels"])
def test_fingerprint_sees_every_array(field):
    changed = arrays()
    changed[field] = changed[field].copy()
    changed[field][0] = 1 - changed[field][0] % 2
    assert Dataset(**changed).fingerprint != Dataset(**arrays()).fingerprint
    assert Dataset(**arrays(classes=("b", "a"))).fingerprint != Dataset(**arrays()).fingerprint


def test_digits_are_the_same_on_every_machine():
    digits = load("digits")
    assert digits.train_images.shape == (1497, 8, 8, 1)
    assert digits.test_images.shape == (300, 8, 8, 1)
    assert digits.train_images.max() == 255
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))
    assert digits.fingerprint == "7699f2fcf714db75cf6f737e6d4d13ec1f6c43516e8450e94f4386a8ff7afc0b"


def test_synthetic_is_learnable_but_not_trivial():
    dataset = load("synthetic")
    rows = normalize(split(dataset, validation=100), "standardize")
    model = LogisticRegression(C=1e-3).fit(rows.train.x, rows.train.y)
    assert 0.6 < model.score(rows.test.x, rows.test.y) < 0.95
    assert np.bincount(dataset.train_labels).min() > 80


def test_synthetic_depends_on_its_seed_alone():
    assert synthetic(3).fingerprint == synthetic(3).fingerprint != synthetic(4).fingerprint
    small = synthetic(train=7, test=2, size=4, channels=1, classes=2)
    assert small.train_images.shape == (7, 4, 4, 1)
    assert small.test_labels.shape == (2,)


def test_split_is_consecutive():
    dataset = Dataset(**arrays())
    parts = split(dataset, train=2, validation=3, test=1)
    for part, images, rows in zip(
        parts, ("train", "train", "test"), (slice(2), slice(2, 5), slice(1)), strict=True
    ):
        np.testing.assert_array_equal(part.x, getattr(dataset, f"{images}_images")[rows])
        np.testing.assert_array_equal(part.y, getattr(dataset, f"{images}_labels")[rows])
    assert [len(part.y) for part in split(dataset, validation=1)] == [5, 1, 3]


@pytest.mark.parametrize(
    "sizes",
    [
        {"validation": 0},
        {"validation": 6},
        {"validation": -1},
        {"train": 5, "validation": 2},
        {"train": 0, "validation": 2},
        {"validation": 1, "test": 4},
        {"validation": 1, "test": 0},
        {"validation": 1.5},
    ],
)
def test_split_rejects(sizes):
    with pytest.raises(UserError, match="validation="):
        split(Dataset(**arrays()), **sizes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_normalize_shapes_and_types(how, dtype):
    parts = split(synthetic(), validation=100)
    rows = normalize(parts, how, dtype=dtype)
    for part, before in zip(rows, parts, strict=True):
        assert part.x.shape == (len(before.x), 8 * 8 * 3)
        assert part.x.dtype == dtype
        assert part.x.flags.c_contiguous
        np.testing.assert_array_equal(part.y, before.y)
        assert before.x.dtype == np.uint8


def test_mean_image_is_centred_and_unscaled():
    parts = split(synthetic(), validation=100)
    rows = normalize(parts, "mean_image", dtype=np.float64)
    np.testing.assert_allclose(rows.train.x.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.ptp(rows.test.x, axis=0), np.ptp(parts.test.x, axis=0).reshape(-1), atol=1e-9)


def test_standardize_centres_and_scales_each_channel():
    parts = split(synthetic(), validation=100)
    channels = normalize(parts, "standardize", dtype=np.float64).train.x.reshape(-1, 3)
    np.testing.assert_allclose(channels.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(channels.std(axis=0), 1, atol=1e-12)


def test_unit_range_is_the_formula_of_question_4():
    images = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    part = Split(images, np.zeros(256, np.int32))
    (train, _, _) = normalize(Splits(part, part, part), "unit_range", dtype=np.float64)
    np.testing.assert_allclose(train.x[:, 0], (np.arange(256) / 255 - 0.5) / 0.5, atol=1e-15)
    assert (train.x.min(), train.x.max()) == (-1, 1)


@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_order_of_the_columns(how):
    """One bright value at row 1, column 0, channel 2 of a 2x3x3 image must come out where the layout says."""
    image = np.full((1, 2, 3, 3), 10, np.uint8)
    image[0, 1, 0, 2] = 200
    dark = Split(np.full((2, 2, 3, 3), [[[[9]]], [[[11]]]], np.uint8), np.zeros(2, np.int32))
    rows = normalize(Splits(dark, dark, Split(image, np.zeros(1, np.int32))), how)
    expected = (1 * 3 + 0) * 3 + 2 if LAYOUTS[how] == "HWC" else (2 * 2 + 1) * 3 + 0
    assert rows.test.x[0].argmax() == expected


@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_statistics_come_from_the_training_split_only(how):
    parts = split(synthetic(), validation=100)
    other = parts._replace(validation=Split(255 - parts.validation.x, parts.validation.y))
    np.testing.assert_array_equal(normalize(parts, how).train.x, normalize(other, how).train.x)
    np.testing.assert_array_equal(normalize(parts, how).test.x, normalize(other, how).test.x)


@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_constant_channels_stay_finite(how):
    dataset = dataclasses.replace(synthetic(), train_images=np.full((1000, 8, 8, 3), 7, np.uint8))
    assert all(np.isfinite(part.x).all() for part in normalize(split(dataset, validation=100), how))


def test_normalize_names_the_valid_names():
    with pytest.raises(UserError, match="mean_image, unit_range, standardize"):
        normalize(split(synthetic(), validation=100), "zscore")
