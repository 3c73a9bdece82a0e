"""The prepared CIFAR-10 (array records, JSON, class names), and the binary archive that it is prepared from."""

import dataclasses
import gzip
import json
import logging
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import tensorflow_datasets
from hypothesis import strategies as st

from mlp_jax.data import cifar10
from mlp_jax.data.cifar10_prepare import CHECKSUMS
from tests.fuzz import mutations
from tests.test_cifar10 import CLASSES, FOLDER, assert_loaded, members, pack

SECONDS, MEGABYTES = 30.0, 700.0
FILES = 6  # three of metadata, two shards, the checksums of these
NAMES = ("batches.meta.txt", "data_batch_1.bin", "test_batch.bin")
ABSOLUTE = Path(tempfile.gettempdir()) / "mlp_jax-evil-fuzz"
EVIL = (
    "../evil", str(ABSOLUTE), "evil", FOLDER, FOLDER + "data_batch_1.bin", FOLDER + "../../evil", "x" * 300,
    "\udcff", FOLDER + "batches.meta.txt", "", "a/" * 200,
)  # fmt: skip
TYPES = (
    tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE,
    tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE,
    tarfile.XGLTYPE, b"Z",
)  # fmt: skip
SHARDS = ("cifar10-train.array_record-00001-of-00002", "x")
ZEROS = gzip.compress(bytes(2**24))
"""16 MiB in 16 kB; any number of them in a row is a gzip file too."""


def examples() -> Any:
    """A damaged prepared data set, or a damaged or hostile archive."""
    which = st.integers(0, FILES - 1)
    prepared = st.one_of(
        st.tuples(st.just("file"), which, mutations.BYTE_EDITS, st.booleans()),
        st.tuples(st.just("json"), st.integers(0, 2), mutations.JSON_EDITS, st.booleans()),
        st.tuples(st.just("odd"), which, st.sampled_from(mutations.ODD_FILES), st.booleans()),
        st.tuples(st.just("copy"), which, st.sampled_from(SHARDS), st.booleans()),
    )
    entry = st.tuples(
        st.sampled_from(TYPES), st.sampled_from(EVIL), st.sampled_from(EVIL), st.sampled_from([0, 5, 2**33, 9219]),
        st.binary(max_size=40),
    )  # fmt: skip
    archive = st.one_of(
        st.tuples(st.just("gzip"), mutations.BYTE_EDITS),
        st.tuples(st.just("tar"), mutations.BYTE_EDITS),
        st.tuples(st.just("member"), st.sampled_from(NAMES), mutations.BYTE_EDITS),
        st.tuples(st.just("entries"), st.lists(entry, min_size=1, max_size=3), st.booleans()),
        st.tuples(st.just("bomb"), st.sampled_from(TYPES), st.sampled_from(EVIL), st.sampled_from([4, 100, 2000])),
        st.tuples(st.just("odd archive"), st.sampled_from(mutations.ODD_FILES)),
    )
    return st.one_of(prepared, archive)


def prepare(folder: Path) -> None:
    """A small archive, and the data set prepared from it."""
    (folder / "archive").write_bytes(pack(members(3)))
    cifar10.load(data_dir=folder / "data", archive=folder / "archive", cache_dir=folder / "cache")
    assert len(list((folder / "data" / "cifar10" / cifar10.VERSION).iterdir())) == FILES


def check(folder: Path, place: Path, example: Any) -> str:
    """Loads what the example describes; what loads is what was there before the damage."""
    logging.disable()
    assert tensorflow_datasets
    if example[0] in ("file", "json", "odd", "copy"):
        return _prepared(folder, place, example)
    return _archive(folder, place, example)


def _prepared(folder: Path, place: Path, example: Any) -> str:
    shutil.copytree(folder / "data", place / "data")
    directory = place / "data" / "cifar10" / cifar10.VERSION
    paths = sorted(directory.iterdir())
    *example, own = example
    if own:  # as tfds prepares it: without checksums
        (directory / CHECKSUMS).unlink()
        paths = [path for path in paths if path.name != CHECKSUMS]
    match example:
        case ["file", which, edits]:
            path = paths[which % len(paths)]
            path.write_bytes(mutations.edited(path.read_bytes(), edits))
        case ["json", which, edits]:
            path = [path for path in paths if path.suffix == ".json"][which % (3 - own)]
            path.write_bytes(mutations.as_text(mutations.edited_json(json.loads(path.read_bytes()), edits)))
        case ["odd", which, odd]:
            path = paths[which % len(paths)]
            mutations.put(path, odd, path.read_bytes())
        case [_, which, name]:
            path = directory / name
            shutil.copy(paths[which % len(paths)], path)
    before = mutations.state(place)
    try:
        found = cifar10.load(data_dir=place / "data", cache_dir=place / "cache")
    finally:
        now = mutations.state(place)
        assert {name: now.get(name) for name in before} == before, "the data set was changed"
        assert all(name.startswith("cache") for name in now.keys() - before.keys())
    names = {"classes": CLASSES} if own and path.name == "label.labels.txt" else {}
    assert_loaded(dataclasses.replace(found, **names), members(3))
    return f"{example[0]}: loaded"


def _archive(folder: Path, place: Path, example: Any) -> str:
    good = (folder / "archive").read_bytes()
    path = place / "archive"
    match example:
        case ["gzip", edits]:
            path.write_bytes(mutations.edited(good, edits))
        case ["tar", edits]:
            path.write_bytes(gzip.compress(mutations.edited(gzip.decompress(good), edits), 1))
        case ["member", name, edits]:
            files = members(3)
            path.write_bytes(pack(files | {name: mutations.edited(files[name], edits)}))
        case ["entries", entries, first]:
            more, tar = b"".join(entry(*each) for each in entries), gzip.decompress(good)
            path.write_bytes(gzip.compress(more + tar if first else tar[:-1024] + more, 1))
        case ["bomb", kind, name, count]:
            head = entry(kind, name, name, 2**34, b"")
            path.write_bytes(gzip.compress(head) + ZEROS * count)
        case [_, odd]:
            mutations.put(path, odd, good)
    before = mutations.state(place)
    try:
        found = cifar10.load(data_dir=place / "data", archive=path, cache_dir=place / "cache")
    finally:
        now = mutations.state(place)
        assert {name: now.get(name) for name in before} == before, "the archive was changed"
        assert all(name.startswith(("cache", "data")) for name in now.keys() - before.keys())
        assert not ABSOLUTE.exists()
    if example[0] in ("gzip", "odd archive"):
        assert_loaded(found, members(3))
    return f"{example[0]}: prepared"


def entry(kind: bytes, name: str, link: str, size: int, content: bytes) -> bytes:
    """A member of a tar file, with a right checksum, whose header states this size."""
    info = tarfile.TarInfo()
    info.type, info.name, info.linkname, info.size = kind, name[:100], link[:100], size
    head = info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
    return head + content + bytes(-len(content) % 512)


KEPT: tuple[Any, ...] = (
    ("bomb", tarfile.XHDTYPE, "x", 40),
    ("odd archive", "pipe"),
    ("odd", 1, "pipe", True),
    ("odd", 0, "pipe", False),
)
