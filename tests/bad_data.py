"""As `bad_files`: archives and prepared copies of CIFAR-10, results, targets, and lists of flags."""

import contextlib
import functools
import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

from experiments import depth_study
from mlp_jax.data import cifar10
from mlp_jax.files import sealed
from mlp_jax.studies.origin import of_result
from tests.bad_files import cut
from tests.test_cifar10 import SHARD, members, pack


def _archive(folder, content):
    path = folder / "cifar-10-binary.tar.gz"
    path.write_bytes(content)
    return path


@functools.cache
def _whole():
    return pack(members())


def archive(folder):
    """One that is in order."""
    return _archive(folder, _whole())


def bomb_archive(folder):
    """A few hundred kilobytes that unpack to more than anybody has asked for, in a header that is read whole."""
    data = io.BytesIO()
    with gzip.open(data, "wb", compresslevel=1) as file:
        header = tarfile.TarInfo("bomb")
        header.size, header.type = 2**30, tarfile.XHDTYPE
        file.write(header.tobuf())
        for _ in range(300):
            file.write(bytes(2**20))
    return _archive(folder, data.getvalue())


@functools.cache
def _prepared():
    """A small prepared copy, for the whole session."""
    home = tempfile.TemporaryDirectory()
    root = Path(home.name)
    with contextlib.redirect_stderr(io.StringIO()):
        cifar10.load(data_dir=root / "data", archive=archive(root), cache_dir=root / "cache")
    return root, home


def _copied(folder, cached=False):
    """The folder with version's files of a copy in `data`; with its cache, as it was decoded there."""
    shutil.copytree(_prepared()[0] / "data", folder / "data")
    if cached:
        cifar10.load(data_dir=folder / "data", cache_dir=folder / "cache" / "mlp_jax")
    return folder / "data" / "cifar10" / cifar10.VERSION


def cut_data(folder):
    shard = _copied(folder) / SHARD.format("train")
    cut(shard, shard.stat().st_size // 2)
    return folder / "data"


def nameless_data(folder):
    """Without the names of the classes."""
    (_copied(folder) / "label.labels.txt").unlink()
    return folder / "data"


def piped_data(folder):
    shard = _copied(folder) / SHARD.format("train")
    shard.unlink()
    os.mkfifo(shard)
    return folder / "data"


def _cache(folder):
    _copied(folder, cached=True)
    return next((folder / "cache" / "mlp_jax").glob("*.cache"))


def folder_cache_data(folder):
    """A folder has the cache's name."""
    cache = _cache(folder)
    cache.unlink()
    cache.mkdir()
    return folder / "data"


# Results


def _partial(folder, rows=(), **options):
    config = of_result(depth_study.Config(dataset="synthetic", **options))
    versions = {"mlp_jax": metadata.version("mlp_jax")}
    environment = {"versions": versions, "data_fingerprint": "another", "wall_seconds": 1.0}
    content = {"study": "depth_study", "config": config, "environment": environment, "rows": list(rows)}
    content = json.loads(json.dumps(content))
    text = json.dumps(sealed(content))
    (folder / "results" / "depth_study" / "partial.json").write_text(text)
    return folder / "results"


def other_options(folder):
    return _partial(folder, l2=0.25)


def other_data(folder):
    return _partial(folder, [{"layers": 2, "hidden": 50, "init": "uniform_fan_in"}])


def folder_results(folder):
    """A folder has the name of the results file."""
    for study in ("depth_study", "benchmark", "gradient_check"):
        (folder / "other" / study / "results.json").mkdir(parents=True)
    return folder / "other"


def folder_model(folder):
    """A folder has the name of the saved model."""
    (folder / "results" / "best_model" / "model.safetensors").mkdir()
    return folder / "results"


def folder_predictions(folder):
    (folder / "results" / "best_model" / "predictions.json").mkdir()
    return folder / "results"


# Targets, and flags


def _target(folder, text):
    (folder / "net.py").write_text(text)
    return folder / "net.py"


def cut_target(folder):
    return _target(folder, "class Net:\n    def loss(self, X, y, reg:\n")


def signature_target(folder):
    return _target(folder, "def f(weights):\n    return weights\n")


def folder_target(folder):
    (folder / "net.py").mkdir()
    return folder / "net.py"


def text_target(folder):
    (folder / "net.txt").write_text("class Net: pass\n")
    return folder / "net.txt"


def nul_flags(folder):
    (folder / "flags").write_bytes(b"--results_dir=a\0b\n")
    return folder / "flags"


def binary_flags(folder):
    (folder / "flags").write_bytes(bytes(range(128, 256)))
    return folder / "flags"
