"""CIFAR-10 is read by tensorflow-datasets, without TensorFlow, decoded once into a cache, and prepared if missing.

The prepared data set (`DATA_DIR/cifar10/3.0.2`) is the source of truth, with checksums if it was prepared here.
The cache holds its decoded arrays and the digests of the files that they came from. Whatever is cut or altered is
a UserError of one line.
"""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import Image
from tqdm import tqdm

from mlp_jax.data.cifar10_prepare import Sources, changed, damaged, prepare, verified
from mlp_jax.data.dataset import Dataset, Images, Labels
from mlp_jax.errors import UserError, one_line, user_path
from mlp_jax.files import cache_folder, open_regular, sha256, sha256_of_file, sweep, writing

VERSION = "3.0.2"
"""This version of tfds' `cifar10` is read and prepared."""

_SHAPE = (32, 32, 3)
_TFDS_FEATURES = "tensorflow_datasets.core.features."
_ABANDONED = 3600  # after so many seconds a cache that is not whole has no writer any more: it takes some
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_CACHE_FORMAT = 1  # every change of what a cache holds raises it; older ones are then left alone


def load(
    *, data_dir: str | Path | None = None, archive: str | Path | None = None, cache_dir: str | Path | None = None
) -> Dataset:
    """Load CIFAR-10 with images sorted by their id, preparing it first if `data_dir` does not have it.

    Args:
        data_dir: where tfds keeps its data sets; else the TFDS_DATA_DIR variable, else ~/tensorflow_datasets.
        archive: a local path or an http(s) address of cifar-10-binary.tar.gz, to prepare from; the default is
            the address that tfds knows. Not read if the data set is prepared already.
        cache_dir: for the decoded arrays; else $XDG_CACHE_HOME/mlp_jax, else ~/.cache/mlp_jax.

    Raises:
        UserError: not prepared and no archive within reach, or an archive, data set or cache that is damaged.
    """
    root = user_path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").absolute()
    directory = root / "cifar10" / VERSION
    cache = _cache_file(directory, cache_dir)
    if not os.path.isdir(directory):
        prepare(directory, archive)
        with contextlib.suppress(OSError):
            cache.unlink()  # it was decoded from a data set that was here before
    elif archive:
        logging.info("CIFAR-10 is prepared in %s already: %s is not needed", directory, archive)
    sources = verified(directory)
    dataset = _read_cache(cache, directory, sources)
    if dataset is None:
        dataset = _decode(directory)
        _write_cache(cache, dataset, sources)
    return dataset


# The prepared data set


def _decode(directory: Path) -> Dataset:
    import tensorflow_datasets as tfds  # it takes most of a second, which a cached start does not spend

    try:
        text = (directory / "features.json").read_text(encoding="utf-8")
        json.loads(text, object_pairs_hook=_check_features)
        builder = tfds.builder_from_directory(directory)
        arrays = (*_decode_split(builder, "train"), *_decode_split(builder, "test"))
        classes = tuple(builder.info.features["label"].names)
        if builder.info.features["image"].shape != _SHAPE or len(classes) != 10:
            raise ValueError("features.json does not describe CIFAR-10")
        return Dataset("cifar10", *arrays, classes)
    except NotImplementedError as error:  # tfds raises it for its default format, tfrecord
        raise UserError(
            f"{directory} is not in the array_record format, the one that can be read without TensorFlow: "
            "give another --data_dir, and CIFAR-10 will be prepared there"
        ) from error
    except Exception as error:  # tfds, protobuf, array_record and Pillow each raise types of their own
        raise damaged(directory, one_line(error)) from error


def _check_features(entries: list[tuple[str, Any]]) -> None:
    """Refuse classes that are not tfds' own: it imports the module of whatever class an object names."""
    for key, value in entries:
        named = key.lower().replace("_", "") in ("pythonclassname", "type")
        if named and not str(value).startswith(_TFDS_FEATURES):
            raise ValueError(f"features.json names {str(value)[:100]!r}, which is no feature of tfds")


def _decode_split(builder: Any, split: str) -> tuple[Images, Labels]:
    """Decode one split into rows sorted by id: `train_00017` is row 17, and every row must come once.

    Records come in chunks, which costs a third less than one by one; threads gain nothing, as most of the
    time is Python's. Pillow is called here, so that the pixels do not depend on OpenCV being installed.
    """
    import tensorflow_datasets as tfds
    from array_record.python.array_record_data_source import ArrayRecordDataSource  # tfds needs it, too

    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    held = len(ArrayRecordDataSource([os.fspath(path) for path in builder.info.splits[split].filepaths]))
    size = len(source)
    if size != held:  # too small a number would leave records out
        raise ValueError(f"dataset_info.json tells of {size} records of {split}, and there are {held}")
    images, labels = np.empty((size, *_SHAPE), np.uint8), np.full(size, -1, np.int32)
    row_of = {f"{split}_{row:05d}".encode(): row for row in range(size)}
    with tqdm(total=size, desc=f"Decoding CIFAR-10 {split}", leave=False, disable=None) as progress:
        for start in range(0, size, 1000):
            for example in source.__getitems__(range(start, min(start + 1000, size))):
                row = row_of.pop(example["id"], None)
                if row is None:
                    raise ValueError(f"id {example['id']!r} is not one of {size} or comes twice in {split}")
                images[row], labels[row] = _pixels(example["image"]), example["label"]
                progress.update()
    return images, labels


def _pixels(encoded: bytes) -> Images:
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        if image.size != _SHAPE[:2]:  # nothing is decoded yet
            raise ValueError(f"an image has {image.size[0]} x {image.size[1]} pixels, not 32 x 32")
        pixels = np.asarray(image)
    if pixels.shape != _SHAPE or pixels.dtype != np.uint8:
        raise ValueError(f"an image is {pixels.dtype} of shape {pixels.shape}, not uint8 of {_SHAPE}")
    return pixels


# The decoded cache is one file: a line with the digest of all that follows, a line of JSON, and four arrays.


def _cache_file(directory: Path, cache_dir: str | Path | None) -> Path:
    folder = user_path(cache_dir) if cache_dir else cache_folder()
    return folder / f"cifar10-{_CACHE_FORMAT}-{sha256(os.fsencode(directory.resolve()))[:16]}.cache"


def _read_cache(cache: Path, directory: Path, sources: Sources) -> Dataset | None:
    """Return what the cache holds, or None where there is none; nothing in it is used before its digest agrees.

    Raises:
        UserError: the cache is cut or altered, or the data set is not the one that it was decoded from.
    """
    try:
        with open_regular(cache) as file:
            header = file.readline(100)
            if header != _header(sha256_of_file(file)):
                raise UserError(f"the cache {cache} is cut or altered: delete it and it will be rebuilt")
            file.seek(len(header))
            record = json.loads(file.readline())
            if change := changed(record["sources"], sources, "decoded"):
                raise UserError(
                    f"{directory}/{change}; restore it, or if the change is meant, delete the cache {cache}"
                )
            arrays = {name: np.load(file, allow_pickle=False) for name in _ARRAYS}
        classes, fingerprint = tuple(map(str, record["classes"])), str(record["fingerprint"])
        return Dataset("cifar10", **arrays, classes=classes, fingerprint=fingerprint)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except UserError:
        raise
    except Exception as error:  # numpy raises many types for what `_write_cache` does not write
        message = f"cannot read the cache {cache} ({one_line(error)}): delete it and it will be rebuilt"
        raise UserError(message) from error


def _header(digest: str) -> bytes:
    return f"mlp_jax cifar10 cache {_CACHE_FORMAT} {digest}\n".encode()


def _write_cache(cache: Path, dataset: Dataset, sources: Sources) -> None:
    record = {"fingerprint": dataset.fingerprint, "classes": dataset.classes, "sources": sources}
    content = io.BytesIO(json.dumps(record).encode() + b"\n")
    content.seek(0, io.SEEK_END)
    for name in _ARRAYS:
        np.save(content, getattr(dataset, name), allow_pickle=False)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        sweep(cache.parent, _ABANDONED)
        with writing(cache) as file:
            file.write(_header(sha256(content.getbuffer())))
            file.write(content.getbuffer())
    except OSError as error:
        logging.warning("CIFAR-10 is decoded again at every start: cannot write the cache %s: %s", cache, error)
