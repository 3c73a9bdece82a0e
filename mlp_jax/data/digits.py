"""Two small data sets need no files: scikit-learn's handwritten digits, and a synthetic one."""

import numpy as np

from mlp_jax.data.dataset import Dataset


def digits() -> Dataset:
    """Return scikit-learn's handwritten digits: 1,497 training and 300 test images of 8x8x1, 10 classes.

    The original 0..16 is stretched to 0..255, and the order is a fixed permutation, because the source is
    grouped by writer. Source: `sklearn.datasets.load_digits` (test part of the UCI optical digits).
    """
    from sklearn.datasets import load_digits  # it takes most of a second

    source = load_digits()
    order = np.random.default_rng(0).permutation(len(source.target))
    images = np.rint(source.images[order, :, :, None] * (255 / 16)).astype(np.uint8)
    labels = source.target[order]
    classes = tuple(str(digit) for digit in source.target_names)
    return Dataset("digits", images[:-300], labels[:-300], images[-300:], labels[-300:], classes)


def synthetic(
    seed: int = 0, *, train: int = 1000, test: int = 200, size: int = 8, channels: int = 3, classes: int = 10
) -> Dataset:
    """Draw noisy copies of one random picture per class: `train` + `test` images of size x size x channels.

    The spread of the pictures (12 grey levels) is well below the noise (64), so that no pixel tells the
    class, while all of them together nearly do.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(train + test) % classes)
    centres = 128 + 12 * rng.standard_normal((classes, size, size, channels))
    pixels = centres[labels] + 64 * rng.standard_normal((train + test, size, size, channels))
    images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    names = tuple(f"class {index}" for index in range(classes))
    return Dataset("synthetic", images[:train], labels[:train], images[train:], labels[train:], names)
