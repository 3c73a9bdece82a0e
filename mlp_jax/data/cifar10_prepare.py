"""CIFAR-10 is prepared for tensorflow-datasets, without TensorFlow, from its archive, downloaded or local.

Beside the files of a prepared data set stands `checksums.json`, their sizes and sha256 as they were written. One
that tfds itself prepared has none: array_record's own hashes guard images and labels until they are decoded.
"""

import contextlib
import gzip
import http.client
import io
import json
import sys
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import Image
from tqdm import tqdm

from mlp_jax.data.dataset import Images
from mlp_jax.errors import UserError, one_line, user_path
from mlp_jax.files import open_regular, read_bounded, sha256, sha256_of_file

CONNECT_SECONDS = 7  # an answer may take so long: its host has been slow; after 10 a user shall have heard of it
STALL_SECONDS = 30  # the next byte may take so long
CHECKSUMS = "checksums.json"
METADATA = ("dataset_info.json", "features.json", "label.labels.txt")

_RECORD = 1 + 3072  # a record of the archive is a label byte, then 32x32 red, green and blue
_MOST_RECORDS = 10_000  # a batch of the official archive has so many
_MOST_BYTES = 2**28  # a small archive can unpack to any size; the official one has 184 million
_FOLDER = "cifar-10-batches-bin/"
_BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_META = "batches.meta.txt"

WAYS_OUT = (
    "connect to the network, or get {} and give --archive=PATH, or give the --data_dir of a prepared copy, or use "
    "--dataset=digits"
)
"""What a user can do who has no data set, with the official archive in words."""

Files = Mapping[str, Any]
"""It has the open files of an archive, by name."""
Sources = Mapping[str, list[int | str]]
"""It has size in bytes and sha256 of every file of a prepared data set, by file name."""


def prepare(directory: Path, archive: str | Path | None) -> None:
    """Prepare `directory` (DATA_DIR/cifar10/VERSION) from an archive, a path or an address; None is tfds' own.

    Raises:
        UserError: the archive cannot be reached or is damaged, or the data set cannot be written.
    """
    from tensorflow_datasets.image_classification import Cifar10

    ((url, info),) = Cifar10.url_infos.items()
    official = f"{info.filename} ({int(info.size)} bytes, sha256 {info.checksum})"
    source = str(archive or url)
    try:
        content = _content(source)
        found, size = sha256(content), len(content)
        if found != info.checksum and source == url:
            raise ValueError(f"it sent another file: {size} bytes, sha256 {found}")
        classes, records = _parsed(content)
    except (OSError, EOFError, zlib.error, tarfile.TarError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        why = f"CIFAR-10 is not prepared in {directory} and {source} cannot be used ({one_line(error)})"
        raise UserError(f"{why}: {WAYS_OUT.format(official)}") from error
    _write(directory, classes, records)
    if found != info.checksum:
        logging.warning("%s (%s bytes, sha256 %s) is not the official archive, %s", source, size, found, official)


def _content(source: str) -> bytes:
    """Read a local archive, or download one.

    tfds' own download manager is not used: it retries for minutes, without a timeout on any of its reads.
    """
    if not source.startswith(("http://", "https://")):
        with open_regular(user_path(source)) as file:
            return _read(file)
    with _connected(source) as response:
        size = int(response.headers.get("Content-Length", 0))
        with tqdm.wrapattr(response, "read", size or None, desc="Downloading", disable=None) as body:
            content = _read(body)
    if size and len(content) != size:
        raise EOFError(f"the download ended after {len(content)} of {size} bytes")
    return content


def _read(file: Any) -> bytes:
    """Read a file to its end, unless that is farther than in any archive of CIFAR-10."""
    content = io.BytesIO()
    while block := file.read(2**16):
        if content.write(block) and content.tell() > _MOST_BYTES:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
    return content.getvalue()


def _connected(url: str) -> http.client.HTTPResponse:
    """Open `url`, all within CONNECT_SECONDS; a thread does it, because looking up a name has no timeout."""
    answer: Future[http.client.HTTPResponse] = Future()

    def connect() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()
    if not wait([answer], CONNECT_SECONDS).done:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS} seconds")
    return answer.result()


def _parsed(content: bytes) -> tuple[list[str], dict[str, Images]]:
    """Return the class names, and per split the records (N, 3073) in the archive's order.

    All is unpacked first, so that the checksum at its end has agreed. Nothing is unpacked to disk, so that a link
    or an upward path in a hostile archive has no effect.
    """
    with tarfile.open(fileobj=io.BytesIO(_read(gzip.open(io.BytesIO(content)))), mode="r:") as tar:
        files: Files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        batches = {split: [_batch(files, name) for name in names] for split, names in _BATCHES.items()}
        classes = [line for line in _member(files, _META).decode().split("\n") if line]
    if len(classes) != 10:
        raise ValueError(f"{_META} names {len(classes)} classes, not 10")
    return classes, {split: np.concatenate(parts) for split, parts in batches.items()}


def _batch(files: Files, name: str) -> Images:
    content = _member(files, name)
    count, rest = divmod(len(content), _RECORD)
    if rest or not 1 <= count <= _MOST_RECORDS:
        raise ValueError(f"{name} is not 1 to {_MOST_RECORDS} whole records of {_RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(count, _RECORD)
    wrong = np.flatnonzero(records[:, 0] > 9)
    if wrong.size:
        raise ValueError(f"the label of record {wrong[0]} in {name} is {records[wrong[0], 0]}, not 0 to 9")
    return records


def _member(files: Files, name: str) -> bytes:
    if _FOLDER + name not in files:
        raise ValueError(f"it has no file {_FOLDER}{name}")
    # a sparse file may unpack to any size
    content: bytes = files[_FOLDER + name].read(_MOST_RECORDS * _RECORD + 1)
    return content


def _write(directory: Path, classes: list[str], records: dict[str, Images]) -> None:
    """Let tfds write the prepared data set, in a folder beside it, which is renamed when all has its checksums."""
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix="incomplete.") as name:
            with contextlib.redirect_stdout(io.StringIO()):  # tfds prints, which is for a script to decide
                builder = _builder(Path(name), classes, records)
                builder.download_and_prepare()
            prepared = Path(builder.data_dir)
            (prepared / CHECKSUMS).write_text(json.dumps(_sources(prepared), indent=1) + "\n", encoding="utf-8")
            prepared.rename(directory)
    except Exception as error:  # tfds raises types of its own
        if not directory.exists():  # else another process prepared it meanwhile
            raise UserError(f"cannot prepare CIFAR-10 in {directory}: {one_line(error)}") from error


def _builder(data_dir: Path, classes: list[str], records: dict[str, Images]) -> Any:
    """Make tfds' own CIFAR-10 builder with only the reading of the archive replaced.

    The stock one reads files and encodes arrays with TensorFlow; PIL images it encodes with Pillow.
    """
    from tensorflow_datasets.core.registered import skip_registration
    from tensorflow_datasets.image_classification import Cifar10 as Stock

    with skip_registration():

        class Cifar10(Stock):  # type: ignore[misc]
            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                self.info.features["label"].names = classes
                return {split: self._generate_examples(split, rows) for split, rows in records.items()}

            def _generate_examples(self, split: str, rows: Images) -> Iterator[tuple[int, dict[str, Any]]]:
                for index, row in enumerate(rows):
                    image = Image.fromarray(row[1:].reshape(3, 32, 32).transpose(1, 2, 0))
                    yield index, {"id": f"{split}_{index:05d}", "image": image, "label": int(row[0])}

    Cifar10.__module__ = Stock.__module__  # it is recorded as the origin of the data set
    return Cifar10(data_dir=data_dir, file_format="array_record")


def verified(directory: Path) -> Sources:
    """Return the files as they are now. Raises UserError if one is missing, or is not the one that was written."""
    try:
        sources = _sources(directory)
    except OSError as error:
        raise UserError(f"cannot read the prepared data set: {error}") from error
    for name in METADATA:  # tfds would go on without label.labels.txt, and call the classes 0 to 9
        if name not in sources:
            raise damaged(directory, f"{name} is missing")
    if not (directory / CHECKSUMS).exists():
        return sources
    try:
        change = changed(json.loads(read_bounded(directory / CHECKSUMS, 2**20)), sources, "prepared")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(directory, f"{CHECKSUMS} cannot be read, {error}") from error
    if change:
        raise damaged(directory, change)
    return sources


def _sources(directory: Path) -> Sources:
    paths = sorted(path for pattern in (*METADATA, "cifar10-*") for path in directory.glob(pattern))
    return {path.name: [path.stat().st_size, sha256_of_file(path)] for path in paths}


def changed(then: Sources, now: Sources, how: str) -> str:
    """Tell the first file that is not what it was when it was prepared, say, and what it was and is."""
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            was, is_now = (
                "{} bytes, sha256 {}".format(*files[name]) if name in files else "missing" for files in (then, now)
            )
            return f"{name} changed since it was {how}: it was {was}, it is {is_now}"
    return ""


def damaged(directory: Path, reason: str) -> UserError:
    """Return what to say of a data set that cannot be used."""
    return UserError(
        f"the prepared data set {directory} is damaged ({reason}): restore its files, "
        "or delete that directory and it will be prepared again"
    )
