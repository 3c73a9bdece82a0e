"""Preparing CIFAR-10 for tensorflow-datasets from its binary archive, downloaded or local, without TensorFlow."""

import contextlib
import gzip
import hashlib
import http.client
import io
import queue
import sys
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from absl import logging
from PIL import Image
from tqdm import tqdm

from mlp_jax.data import cifar10_files
from mlp_jax.data.dataset import Images
from mlp_jax.errors import UserError, user_path
from mlp_jax.files import open_regular

CONNECT_SECONDS = 7  # its host has been slow; after 10 a user shall have heard of it
STALL_SECONDS = 30
"""A download ends when its answer takes longer than the first, or when no byte comes for the second."""

_RECORD = 1 + 3072  # the binary archive: a label byte, then 32x32 red, green and blue
_MOST_RECORDS = 10_000  # in a batch; the same as in the official archive
_MOST_BYTES = 2**28  # unpacked; the official archive has 184 million
_FOLDER = "cifar-10-batches-bin/"
_BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_META = "batches.meta.txt"


def one_line(error: BaseException) -> str:
    """The type and the start of the message of an exception, for a UserError to quote."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


class _Archive(NamedTuple):
    """What tfds knows about the official archive."""

    url: str
    name: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.size} bytes, sha256 {self.sha256})"


def _official_archive() -> _Archive:
    from tensorflow_datasets.image_classification import Cifar10

    ((url, info),) = Cifar10.url_infos.items()
    return _Archive(url, info.filename, int(info.size), info.checksum)


def prepare(directory: Path, archive: str | Path | None) -> None:
    """Prepare `directory` (DATA_DIR/cifar10/VERSION) from an archive, a path or an address; None is tfds' own.

    Raises:
        UserError: the archive cannot be reached or is damaged, or the data set cannot be written.
    """
    official = _official_archive()
    source = str(archive or official.url)
    try:
        with _open_archive(source, directory.parent.parent) as file:
            warning = _check_official(file, source, official)
            classes, records = _parse(_read_members(file))
    except (OSError, EOFError, zlib.error, tarfile.TarError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise UserError(
            f"CIFAR-10 is not prepared in {directory} and {source} cannot be used ({one_line(error)}): "
            f"connect to the network, or get {official} and give --archive=PATH, or give the --data_dir "
            "of a prepared copy, or use --dataset=digits"
        ) from error
    _write_dataset(directory, classes, records)
    if warning:
        logging.warning("%s", warning)


@contextlib.contextmanager
def _open_archive(source: str, data_dir: Path) -> Iterator[io.BufferedIOBase]:
    """Open a local archive, or download one to an unnamed file in `data_dir`, where it will be needed.

    tfds' own download manager is not used: it retries for minutes, without a timeout on any of its reads.
    """
    if not source.startswith(("http://", "https://")):
        with open_regular(user_path(source)) as file:
            yield file
        return
    with _connect(source) as response:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir) as file:
            _download(response, file)
            yield cast(io.BufferedIOBase, file)


def _connect(url: str) -> http.client.HTTPResponse:
    """Open `url`, all within CONNECT_SECONDS; a thread waits, because looking up a name has no timeout."""
    answer: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()

    def connect() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        result = answer.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS} seconds") from None
    if isinstance(result, Exception):
        raise result
    return result


def _download(response: http.client.HTTPResponse, file: io.BufferedIOBase) -> None:
    size = int(response.headers.get("Content-Length", 0))
    with tqdm(total=size or None, desc="Downloading", unit="B", unit_scale=True, disable=None) as progress:
        while block := response.read(1 << 16):
            file.write(block)
            progress.update(len(block))
    if size and file.tell() != size:
        raise EOFError(f"the download ended after {file.tell()} of {size} bytes")


def _check_official(file: io.BufferedIOBase, source: str, official: _Archive) -> str:
    """Compare with tfds' checksum: an archive of the user's own may differ, with a warning; tfds' own may not."""
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    found = f"{file.tell()} bytes, sha256 {sha256}"
    file.seek(0)
    if sha256 == official.sha256:
        return ""
    if source == official.url:
        raise ValueError(f"it sent another file: {found}")
    return f"{source} ({found}) is not the official archive, {official}"


def _read_members(file: io.BufferedIOBase) -> dict[str, bytes]:
    """Read the archive's members that matter, straight from the stream, whatever their order.

    Nothing is unpacked to disk, so that a link or an upward path in a hostile archive has no effect.
    """
    wanted = {_FOLDER + name for name in (*_BATCHES["train"], *_BATCHES["test"], _META)}
    members = {}
    with gzip.open(file) as unpacked:
        stream = _Bounded(unpacked)
        with tarfile.open(fileobj=cast(io.BufferedIOBase, stream), mode="r|") as tar:
            for member in tar:
                if member.name in wanted and member.isfile():
                    content = cast(io.BufferedIOBase, tar.extractfile(member))
                    members[member.name.removeprefix(_FOLDER)] = content.read(_MOST_RECORDS * _RECORD + 1)
        while stream.read(1 << 20):
            pass  # the checksum of the compressed stream stands at its end
    return members


class _Bounded:
    """A stream that raises ValueError after `_MOST_BYTES`: a small archive can unpack to any size."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._left = stream, _MOST_BYTES

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {_MOST_BYTES} bytes")
        return content


def _parse(members: dict[str, bytes]) -> tuple[list[str], dict[str, Images]]:
    """Return class names, and per split the records (N, 3073) in the archive's order."""
    for name in (*_BATCHES["train"], *_BATCHES["test"], _META):
        if name not in members:
            raise ValueError(f"it has no file {_FOLDER}{name}")
    classes = [line for line in members[_META].decode().split("\n") if line]
    if len(classes) != 10:
        raise ValueError(f"{_META} names {len(classes)} classes, not 10")
    records = {
        split: np.concatenate([_parse_batch(name, members[name]) for name in names])
        for split, names in _BATCHES.items()
    }
    return classes, records


def _parse_batch(name: str, content: bytes) -> Images:
    count, rest = divmod(len(content), _RECORD)
    if rest or not 1 <= count <= _MOST_RECORDS:
        raise ValueError(f"{name} is not 1 to {_MOST_RECORDS} whole records of {_RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(count, _RECORD)
    wrong = np.flatnonzero(records[:, 0] > 9)
    if wrong.size:
        raise ValueError(f"the label of record {wrong[0]} in {name} is {records[wrong[0], 0]}, not 0 to 9")
    return records


def _write_dataset(directory: Path, classes: list[str], records: dict[str, Images]) -> None:
    """Let tfds write the prepared data set: in a folder beside it, and renamed when all has its checksums."""
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
            cifar10_files.record(prepared)
            prepared.rename(directory)
    except Exception as error:  # as in _decode
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
