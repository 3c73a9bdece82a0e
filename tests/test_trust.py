"""What mlp_jax/studies says of trust: files are data, an archive stays in its place, and a target is code."""

import ast
import io
import json
import os
import sys
import tarfile

import pytest
from PIL import UnidentifiedImageError

from mlp_jax.data import cifar10
from mlp_jax.errors import UserError
from mlp_jax.studies import results
from tests import bad_data, bad_files
from tests.commands import ROOT
from tests.test_cifar10 import FOLDER, assert_loaded, members

SOURCES = sorted(path for folder in ("mlp_jax", "experiments") for path in (ROOT / folder).rglob("*.py"))
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def test_no_source_unpickles_or_extracts():
    assert len(SOURCES) > 50
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                assert not {name.partition(".")[0] for name in names} & UNPICKLING, path
            if isinstance(node, ast.Call):
                assert getattr(node.func, "attr", "") not in ("extract", "extractall", "unpack_archive"), path
                allowed = [word.value for word in node.keywords if word.arg == "allow_pickle"]
                assert all(isinstance(value, ast.Constant) and value.value is False for value in allowed), path


def hostile_archive():
    """In order, but for members that want to be elsewhere, and links to elsewhere under names that are read."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:

        def add(name, content=b"hacked", kind=tarfile.REGTYPE, link=""):
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(content) if kind == tarfile.REGTYPE else 0, kind, link
            tar.addfile(entry, io.BytesIO(content))

        for name in ("../../hacked", "hacked", FOLDER + "../hacked"):
            add(name)
        add(FOLDER + "out", kind=tarfile.SYMTYPE, link="..")
        add(FOLDER + "out/hacked")
        add(FOLDER + "hard", kind=tarfile.LNKTYPE, link="/etc/passwd")
        add("hacked_pipe", kind=tarfile.FIFOTYPE)
        for name, content in members().items():
            add(FOLDER + name, content)
    return data.getvalue()


def test_a_hostile_archive_leaves_nothing_behind(tmp_path, monkeypatch):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    (inner / "archive").write_bytes(hostile_archive())
    assert_loaded(cifar10.load(data_dir="data", archive="archive", cache_dir="cache"), members())
    assert not list(tmp_path.rglob("*hacked*"))
    assert {path.name for path in inner.iterdir()} == {"archive", "data", "cache"}


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type", "python\\u0043lassName"])
def test_a_data_set_cannot_name_a_module_to_import(key, tmp_path, monkeypatch):
    (tmp_path / "hacking.py").write_text("raise SystemExit('hacked')\n")
    monkeypatch.syspath_prepend(tmp_path)
    features = bad_data._copied(tmp_path) / "features.json"
    (features.parent / "checksums.json").unlink()  # as a copy that was prepared elsewhere, by somebody else
    text = features.read_text()
    name = json.loads(text)["pythonClassName"]
    features.write_text(text.replace(f'"pythonClassName": "{name}"', f'"{key}": "hacking.Feature"'))
    with pytest.raises(UserError, match=r"features\.json names 'hacking\.Feature'"):
        cifar10.load(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert "hacking" not in sys.modules


def test_a_picture_in_a_data_set_is_small_and_of_two_formats():
    assert cifar10._pixels(bad_files.picture(size=(32, 32))).shape == (32, 32, 3)
    with pytest.raises(ValueError, match="an image has 9000 x 9000 pixels"):
        cifar10._pixels(bad_files.promising(9000, 9000))
    with pytest.raises(UnidentifiedImageError):
        cifar10._pixels(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n")


def test_a_results_file_is_bounded_and_a_regular_one(tmp_path):
    (tmp_path / "long").touch()
    os.truncate(tmp_path / "long", results.MOST_BYTES + 1)
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("long", "is larger than 256 MiB"), ("pipe", "is not a regular file")):
        with pytest.raises(UserError, match=message):
            results.read_json(tmp_path / name)
