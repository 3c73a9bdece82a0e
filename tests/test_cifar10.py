"""CIFAR-10 for real: small archives in the true binary format, a true server, and the true data set if present.

Tests of the true data set need TFDS_DATA_DIR. They share one decoded cache, which MLP_JAX_TEST_CACHE can keep
between runs.
"""

import contextlib
import gzip
import hashlib
import http.server
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from mlp_jax import data
from mlp_jax.data import cifar10, cifar10_prepare, load
from mlp_jax.errors import UserError
from mlp_jax.files import UNFINISHED
from tests.bad_files import cut, flip, flipped
from tests.commands import python

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-bin/"
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
SHARD = "cifar10-{}.array_record-00000-of-00001"


def members(records=20):
    """The files of an archive, in an order that is not theirs, as the official one has them."""
    rng = np.random.default_rng(0)
    files = {"batches.meta.txt": ("\n".join(CLASSES) + "\n\n").encode()}
    for name in (*reversed(TRAIN), "test_batch.bin"):
        batch = rng.integers(0, 256, (records, 3073), dtype=np.uint8)
        batch[:, 0] = rng.permutation(records) % 10
        files[name] = batch.tobytes()
    return files


def pack(files, links=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(FOLDER + name)
            entry.size = len(content)
            if name in links:
                entry.size, entry.type, entry.linkname = 0, tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def expected(files, names):
    records = np.concatenate([np.frombuffer(files[name], np.uint8).reshape(-1, 3073) for name in names])
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]


def assert_loaded(dataset, files):
    images, labels = expected(files, TRAIN)
    np.testing.assert_array_equal(dataset.train_images, images)
    np.testing.assert_array_equal(dataset.train_labels, labels)
    images, labels = expected(files, ["test_batch.bin"])
    np.testing.assert_array_equal(dataset.test_images, images)
    np.testing.assert_array_equal(dataset.test_labels, labels)
    assert dataset.classes == CLASSES


@contextlib.contextmanager
def user_error(*words):
    """Expect a UserError of one line that contains all these words."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def run(expression, **options):
    """Load in a process of its own, which prints the fingerprint and the heavy modules that it imported."""
    code = (
        f"import sys; from mlp_jax import data; print(({expression}).fingerprint);"
        "print({'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    )
    return python("-c", code, **options)


def call(data_dir, cache_dir, archive=None):
    named = {"data_dir": data_dir, "cache_dir": cache_dir, "archive": archive}
    options = {name: value and str(value) for name, value in named.items()}
    return f"data.load('cifar10', **{options!r})"


def kill_once_there(glob, pattern, code):
    """Run Python code in a process, and kill it as soon as there is a file of that name."""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        while not list(glob(pattern)) and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "cifar-10-binary.tar.gz"
    path.write_bytes(pack(members()))
    return path


@pytest.fixture(scope="module")
def prepared(archive, tmp_path_factory):
    """A prepared small data set; tests that change it work on a copy."""
    root = tmp_path_factory.mktemp("prepared")
    cifar10.load(data_dir=root, archive=archive, cache_dir=root / "cache")
    return root


@pytest.fixture
def ours(prepared, tmp_path):
    """Keyword arguments of `load` for a prepared data set of the test's own, not yet cached."""
    shutil.copytree(prepared / "cifar10", tmp_path / "data" / "cifar10")
    return {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}


@pytest.fixture
def copy(ours):
    """The same without our checksums, as tfds itself prepares it."""
    (folder(ours) / "checksums.json").unlink()
    return ours


def folder(options):
    return options["data_dir"] / "cifar10" / "3.0.2"


# Preparing from an archive


def test_prepare_from_a_local_archive(archive, tmp_path):
    done = run(call(tmp_path, tmp_path / "cache", archive))
    dataset = cifar10.load(data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert done.out == f"{dataset.fingerprint}\n{{'tensorflow_datasets'}}\n"
    assert "is not the official archive" in done.err
    assert_loaded(dataset, members())


def test_a_killed_preparation_counts_for_nothing(tmp_path):
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(pack(members(records=500)))
    options = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache", "archive": archive}
    kill_once_there(
        (options["data_dir"] / "cifar10").glob,
        "incomplete*",
        f"from mlp_jax import data; {call(**options)}",
    )
    assert not folder(options).exists()
    assert_loaded(cifar10.load(**options), members(records=500))


def test_prepared_twice_is_the_same(prepared, archive, tmp_path):
    cifar10.load(data_dir=tmp_path, archive=archive, cache_dir=tmp_path)
    again = {path.name: path.read_bytes() for path in (tmp_path / "cifar10" / "3.0.2").iterdir()}
    assert again == {path.name: path.read_bytes() for path in (prepared / "cifar10" / "3.0.2").iterdir()}


def test_tfds_itself_reads_what_was_prepared(prepared):
    import tensorflow_datasets as tfds

    images, labels = expected(members(), TRAIN)
    for builder in (
        tfds.builder_from_directory(prepared / "cifar10" / "3.0.2"),
        tfds.builder("cifar10", data_dir=prepared, file_format="array_record"),
    ):
        examples = sorted(builder.as_data_source("train"), key=lambda example: example["id"])
        assert [example["id"] for example in examples] == [f"train_{i:05d}".encode() for i in range(100)]
        np.testing.assert_array_equal([example["image"] for example in examples], images)
        np.testing.assert_array_equal([example["label"] for example in examples], labels)
        assert builder.info.features["label"].names == list(CLASSES)


def test_an_archive_is_not_needed_once_prepared(prepared):
    dataset = load("cifar10", data_dir=prepared, archive="nowhere", cache_dir=prepared / "cache")
    assert_loaded(dataset, members())


def test_what_killed_writers_of_the_cache_have_left_is_removed(ours):
    """Not what may be another's who writes just now."""
    cifar10.load(**ours)
    (cache,) = Path(ours["cache_dir"]).glob("*.cache")
    cache.unlink()
    for name, age in (("old", 4000), ("new", 0)):
        left = cache.with_name(f".{cache.name}.{name}{UNFINISHED}")
        left.touch()
        os.utime(left, (time.time() - age,) * 2)
    cifar10.load(**ours)
    assert sorted(path.name for path in cache.parent.iterdir()) == [left.name, cache.name]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be used"),
        (b"<html>Not found</html>", "BadGzipFile"),
        (pack(members())[:100_000], "EOFError"),
        (pack(members())[:-4], "EOFError"),
        (pack(members())[:-8] + bytes(8), "BadGzipFile"),
        (gzip.compress(b"no tar"), "ReadError"),
        (pack({"batches.meta.txt": b""}), "it has no file cifar-10-batches-bin/data_batch_1.bin"),
        (pack(members(), links=["test_batch.bin"]), "it has no file cifar-10-batches-bin/test_batch.bin"),
        (pack(members() | {"batches.meta.txt": b"cat\ndog\n"}), "names 2 classes"),
        (pack(members() | {"data_batch_2.bin": b""}), "data_batch_2.bin is not 1 to 10000 whole records"),
        (pack(members() | {"data_batch_2.bin": bytes(3073 * 2 - 1)}), "data_batch_2.bin is not"),
        (pack(members() | {"data_batch_2.bin": bytes(3073 * 10_001)}), "data_batch_2.bin is not"),
        (
            pack(members() | {"test_batch.bin": bytes(3073) + b"\n" + bytes(3072)}),
            "record 1 in test_batch.bin is 10",
        ),
        *((flipped(pack(members()), offset), "cannot be used") for offset in (10, 50_000, 100_000)),
    ],
    ids=itertools.count(),  # not the content: gzip writes the time into it, and two workers must agree
)
def test_bad_archives(content, words, tmp_path):
    archive = tmp_path / "bad.tar.gz"
    archive.write_bytes(content)
    with user_error(archive, words, "170052171 bytes", "--dataset=digits"):
        cifar10.load(data_dir=tmp_path / "data", archive=archive, cache_dir=tmp_path)
    assert not (tmp_path / "data").exists()


# Over the network


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a whole archive, and the ways in which a server disappoints."""

    content = pack(members())
    finished = threading.Event()

    def do_GET(self):
        status = {"/missing": 404, "/broken": 500}.get(self.path, 200)
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content if self.path == "/archive" else self.content[:50_000])
        if self.path == "/stall":
            self.finished.wait(10)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever).start()
        yield f"http://127.0.0.1:{running.server_port}"
        Handler.finished.set()
        running.shutdown()


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.usefixtures("no_proxy")
def test_prepare_over_http(server, tmp_path):
    dataset = load("cifar10", data_dir=tmp_path, archive=f"{server}/archive", cache_dir=tmp_path)
    assert_loaded(dataset, members())


@pytest.mark.parametrize(
    ("path", "words"),
    [("missing", "404"), ("broken", "500"), ("cut", "ended after 50000 of"), ("stall", "timed out")],
)
@pytest.mark.usefixtures("no_proxy")
def test_servers_that_fail(server, path, words, monkeypatch, tmp_path):
    monkeypatch.setattr(cifar10_prepare, "STALL_SECONDS", 0.5)
    with user_error(f"{server}/{path}", words, tmp_path, "cifar-10-binary.tar.gz", "--archive=PATH"):
        cifar10.load(data_dir=tmp_path, archive=f"{server}/{path}", cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*3.0.2*"))


@pytest.mark.usefixtures("no_proxy")
def test_another_archive_from_the_official_address_is_refused(server, monkeypatch, tmp_path):
    """Somebody stands between; a local archive, which the user names, may be any."""
    opened = urllib.request.urlopen
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, **options: opened(f"{server}/archive", **options))
    with user_error("it sent another file", *offline_words(tmp_path)):
        cifar10.load(data_dir=tmp_path, cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*3.0.2*"))


def offline_words(root):
    sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    ways_out = ("network", "--archive=PATH", "--dataset=digits", "--data_dir")
    return (root / "cifar10" / "3.0.2", "cifar-10-binary.tar.gz", "170052171", sha256, *ways_out)


def test_offline(tmp_path):
    """The official address, through a proxy that refuses every connection, in a process that has just started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    environment |= {"https_proxy": f"http://127.0.0.1:{port}", "TFDS_DATA_DIR": str(tmp_path)}
    start = time.monotonic()
    done = run("data.load('cifar10')", environment=environment)
    assert time.monotonic() - start < 10
    message = done.err.splitlines()[-1]
    for word in ("UserError", "refused", *offline_words(tmp_path)):
        assert str(word) in message
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_proxy")
def test_a_server_that_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        with user_error("no answer within 7 seconds", *offline_words(tmp_path)):
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/archive"
            cifar10.load(data_dir=tmp_path, archive=address, cache_dir=tmp_path)
        assert time.monotonic() - start < 10


# A damaged data set, without a cache and with one


TRAINING = SHARD.format("train")
DAMAGES = [
    *((name, Path.unlink, (), (name, "prepared again"))
      for name in ("dataset_info.json", "features.json", "label.labels.txt", SHARD.format("test"))),
    *((TRAINING, cut, (size,), ("damaged",)) for size in (0, 100_000, 458_751)),
    *((TRAINING, flip, (offset,), ("damaged",)) for offset in (64, 65_560, 225_117)),  # hashes are checked
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "more", "words"), DAMAGES)
def test_files_that_are_missing_cut_or_flipped(copy, name, damage, more, words):
    damage(folder(copy) / name, *more)
    with user_error(folder(copy), *words):
        cifar10.load(**copy)


def test_a_flip_in_the_padding_of_records_goes_unnoticed_and_is_harmless(copy):
    flip(folder(copy) / SHARD.format("train"), 458_751)
    assert_loaded(cifar10.load(**copy), members())


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("dataset_info.json", '"100"', '"99"', "tells of 99 records of train, and there are 100"),
        ("dataset_info.json", '"100"', '"101"', "damaged"),
        ("dataset_info.json", '"train"', '"tain"', "damaged"),
        ("dataset_info.json", "{", "", "ParseError"),
        ("dataset_info.json", '"array_record"', '"tfrecord"', "give another --data_dir"),
        ("features.json", '"32"', '"31"', "does not describe CIFAR-10"),
        ("features.json", '"image": {', '"picture": {', "damaged"),
        ("features.json", "{", "", "damaged"),
        ("label.labels.txt", "truck", "", "damaged"),
    ],
)
def test_altered_metadata(copy, name, old, new, words):
    path = folder(copy) / name
    path.write_text(path.read_text().replace(old, new))
    with user_error(folder(copy), words):
        cifar10.load(**copy)


def test_a_record_that_comes_twice(copy):
    path = str(folder(copy) / SHARD.format("train"))
    records = ArrayRecordDataSource([path]).__getitems__(range(100))
    writer = ArrayRecordWriter(path, "group_size:1")
    for record in [*records[:99], records[0]]:
        writer.write(record)
    writer.close()
    with user_error(folder(copy), "comes twice"):
        cifar10.load(**copy)


def test_a_record_of_another_split(copy):
    shutil.copy(folder(copy) / SHARD.format("train"), folder(copy) / SHARD.format("test"))
    info = folder(copy) / "dataset_info.json"
    info.write_text(info.read_text().replace('"20"', '"100"'))
    with user_error("id b'train_"):
        cifar10.load(**copy)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt", SHARD.format("train")])
def test_files_that_changed_since_they_were_decoded(copy, name):
    cifar10.load(**copy)
    path = folder(copy) / name
    before = path.read_bytes()
    flip(path, -1)
    with user_error(path, "changed since it was decoded", f"{len(before)} bytes", "delete the cache"):
        cifar10.load(**copy)
    path.write_bytes(before)
    assert_loaded(cifar10.load(**copy), members())


FILES = ("dataset_info.json", "features.json", "label.labels.txt", SHARD.format("train"), SHARD.format("test"))


def test_the_checksums_are_those_of_the_files(ours):
    recorded = json.loads((folder(ours) / "checksums.json").read_text())
    files = {name: (folder(ours) / name).read_bytes() for name in FILES}
    assert recorded == {name: [len(f), hashlib.sha256(f).hexdigest()] for name, f in files.items()}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", [*FILES, "checksums.json"])
def test_one_bit_of_a_file_that_we_prepared(ours, name, cached):
    if cached:
        cifar10.load(**ours)
    path = folder(ours) / name
    size = path.stat().st_size
    for offset, bit in ((0, 1), (size // 3, 4), (size // 2, 32), (size - 1, 128)):
        flip(path, offset, bit)
        with user_error(
            folder(ours), "damaged", "restore its files", *([] if name == "checksums.json" else [name])
        ):
            cifar10.load(**ours)
        flip(path, offset, bit)
    assert_loaded(cifar10.load(**ours), members())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"features.json": 3}', '{"features.json": [1]}', "\x00"])
def test_a_file_of_checksums_that_is_none(ours, content):
    (folder(ours) / "checksums.json").write_text(content)
    with user_error(folder(ours), "damaged"):
        cifar10.load(**ours)


def test_a_file_that_we_did_not_write(ours):
    shutil.copy(folder(ours) / SHARD.format("test"), folder(ours) / "cifar10-more.array_record-00000-of-00001")
    with user_error("cifar10-more", "it was missing"):
        cifar10.load(**ours)


# The cache


def cache_file(options):
    (path,) = options["cache_dir"].iterdir()
    return path


def test_a_cached_start_is_the_same_and_needs_no_tfds(copy):
    first = cifar10.load(**copy)
    assert run(call(**copy)).out == f"{first.fingerprint}\nset()\n"
    second = cifar10.load(**copy)
    assert_loaded(second, members())
    assert second.fingerprint == first.fingerprint


def test_two_data_sets_share_a_cache_directory(copy, prepared):
    cifar10.load(**copy)
    cifar10.load(data_dir=prepared, cache_dir=copy["cache_dir"])
    assert len(list(copy["cache_dir"].iterdir())) == 2


@pytest.mark.parametrize(
    ("damage", "place"), [*((flip, offset) for offset in (0, 80, 500, -1)), *((cut, size) for size in (0, 89, -1))]
)
def test_damaged_caches(copy, damage, place):
    cifar10.load(**copy)
    damage(cache_file(copy), place)
    with user_error(cache_file(copy), "delete it and it will be rebuilt"):
        cifar10.load(**copy)
    cache_file(copy).unlink()
    assert_loaded(cifar10.load(**copy), members())


def test_an_unwritable_cache_directory_is_only_a_warning(copy, caplog):
    copy["cache_dir"] = folder(copy) / "features.json"
    assert_loaded(cifar10.load(**copy), members())
    assert_loaded(cifar10.load(**copy), members())
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_where_the_cache_is(copy, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    cifar10.load(data_dir=copy["data_dir"])
    assert len(list((tmp_path / "xdg" / "mlp_jax").iterdir())) == 1


def test_preparing_again_replaces_the_cache(copy, tmp_path):
    cifar10.load(**copy)
    shutil.rmtree(folder(copy))
    other = tmp_path / "other.tar.gz"
    other.write_bytes(pack(members(records=1)))  # the fewest
    assert_loaded(cifar10.load(**copy, archive=other), members(records=1))


def test_writers_at_the_same_time(copy):
    command = [sys.executable, "-c", f"from mlp_jax import data; {call(**copy)}"]
    for process in [subprocess.Popen(command) for _ in range(2)]:
        assert process.wait() == 0
    assert_loaded(cifar10.load(**copy), members())
    cache_file(copy)


# The true data set


def test_the_true_counts_and_order(real):
    dataset = cifar10.load(**real)
    assert dataset.train_images.shape == (50_000, 32, 32, 3)
    assert dataset.test_images.shape == (10_000, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(dataset.train_labels), [5_000] * 10)
    np.testing.assert_array_equal(np.bincount(dataset.test_labels), [1_000] * 10)
    assert dataset.classes == CLASSES


def test_the_true_second_start(real):
    dataset = cifar10.load(**real)  # the first start, if no test before had it
    assert run(call(**real)).out == f"{dataset.fingerprint}\nset()\n"


def test_the_true_ids(real):
    """Row by row: the record of tfds with id train_16399 is row 16399."""
    import tensorflow_datasets as tfds

    dataset = cifar10.load(**real)
    builder = tfds.builder_from_directory(Path(real["data_dir"]) / "cifar10" / "3.0.2")
    source = builder.as_data_source("train")
    for example in (source[index] for index in range(20)):
        row = int(example["id"].decode().removeprefix("train_"))
        np.testing.assert_array_equal(dataset.train_images[row], example["image"])
        assert dataset.train_labels[row] == example["label"]


def test_the_fingerprint_of_the_cache_is_that_of_the_arrays(real):
    dataset = cifar10.load(**real)
    arrays = (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
    assert data.Dataset("cifar10", *arrays, dataset.classes).fingerprint == dataset.fingerprint


def test_an_info_file_of_the_small_data_set_is_that_of_tfds(prepared, real):
    """All but the sizes: what was prepared here says of itself what the true one says."""

    def info(directory):
        content = json.loads((Path(directory) / "cifar10" / "3.0.2" / "dataset_info.json").read_text())
        for split in content["splits"]:
            split["numBytes"] = split["shardLengths"] = None
        return content

    assert info(prepared) == info(real["data_dir"])
