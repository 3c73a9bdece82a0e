"""Data sets are read by name as arrays, cut into splits, and their pixels made network inputs.

Everything here is numpy on the host: uint8 pixels until `normalize`, which makes the float rows that a
network reads.
"""

from pathlib import Path

from mlp_jax.data import cifar10
from mlp_jax.data.dataset import SPLITS, ChannelFirst, Dataset, Images, Labels, Split, Splits, split
from mlp_jax.data.digits import digits, synthetic
from mlp_jax.data.pixels import NORMALIZATIONS, Scaling, normalize, rows, scaling
from mlp_jax.errors import one_of

__all__ = [
    "DATASETS", "NORMALIZATIONS", "SPLITS", "ChannelFirst", "Dataset", "Images", "Labels", "Scaling", "Split",
    "Splits", "digits", "load", "normalize", "rows", "scaling", "split", "synthetic",
]  # fmt: skip

DATASETS = ("digits", "cifar10", "synthetic")
"""`load` knows these names."""


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    archive: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """Load a data set by name; the options belong to `cifar10.load`, the other data sets need no files.

    Raises UserError if the name is not in `DATASETS`, or if the data cannot be read.
    """
    one_of("dataset", name, DATASETS)
    if name == "digits":
        return digits()
    if name == "synthetic":
        return synthetic()
    return cifar10.load(data_dir=data_dir, archive=archive, cache_dir=cache_dir)
