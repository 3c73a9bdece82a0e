"""Cached files: the decoded CIFAR-10, and the programs that jax has compiled."""

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st
from jax._src import compilation_cache

from mlp_jax.data import cifar10
from mlp_jax.files import sha256
from mlp_jax.studies import compilation
from tests.fuzz import mutations
from tests.test_cifar10 import assert_loaded, members, pack

SECONDS, MEGABYTES = 20.0, 500.0
PROGRAMS = 2
NO_PIPES = tuple(odd for odd in mutations.ODD_FILES if odd != "pipe")
"""jax opens its entries itself, and would wait for a pipe; nothing makes one there."""


def examples() -> Any:
    """A damaged cache; one whose digest agrees all the same, as if another program had written it; odd files."""
    line = st.tuples(st.just("record"), mutations.JSON_EDITS)
    odd = st.tuples(st.sampled_from(["odd cache", "odd folder"]), st.sampled_from(mutations.ODD_FILES))
    edits = st.sampled_from(["bytes", "sealed"])
    compiled = st.tuples(st.just("compiled"), st.integers(0, PROGRAMS - 1), mutations.BYTE_EDITS)
    odd_compiled = st.tuples(st.just("odd compiled"), st.integers(0, PROGRAMS - 1), st.sampled_from(NO_PIPES))
    return st.one_of(st.tuples(edits, mutations.BYTE_EDITS), line, odd, compiled, odd_compiled)


def prepare(folder: Path) -> None:
    """A small prepared data set and its cache; jax's cache of a few programs."""
    archive = folder / "archive.tar.gz"
    archive.write_bytes(pack(members(3)))
    cifar10.load(data_dir=folder / "data", archive=archive, cache_dir=folder / "cache")
    _use(folder / "programs")
    for number in range(PROGRAMS):
        _run(number)
    assert len(_entries(folder / "programs")) >= PROGRAMS


def check(folder: Path, place: Path, example: Any) -> str:
    """Loads the data set with the damaged cache, or runs a program that the cache has."""
    match example:
        case ["compiled" | "odd compiled" as what, number, damage]:
            return _compiled(folder, what, number, damage)
        case [what, damage]:
            return _decoded(folder, place, what, damage)
    raise ValueError(example)


def _decoded(folder: Path, place: Path, what: str, damage: Any) -> str:
    (good,) = (folder / "cache").glob("*.cache")
    cache = place / "cache" / good.name
    cache.parent.mkdir()
    if what == "odd cache":
        mutations.put(cache, damage, good.read_bytes())
    elif what == "odd folder":
        cache.parent.rmdir()
        mutations.put(cache.parent, damage)
    else:
        cache.write_bytes(_damaged(good.read_bytes(), what, damage))
    before, sources = mutations.state(place), mutations.state(folder / "data")
    whole = cache.is_file() and cache.read_bytes() == good.read_bytes()
    try:
        found = cifar10.load(data_dir=folder / "data", cache_dir=place / "cache")
    finally:
        assert mutations.state(folder / "data") == sources, "the data set was changed"
        if before:
            assert {name: mutations.state(place).get(name) for name in before} == before, "the cache was changed"
    if what not in ("sealed", "record"):
        assert_loaded(found, members(3))
        assert found.fingerprint == cifar10.load(data_dir=folder / "data", cache_dir=folder / "cache").fingerprint
    return "read the whole cache" if whole else f"{what}: loaded"


def _damaged(good: bytes, what: str, damage: Any) -> bytes:
    if what == "bytes":
        return mutations.edited(good, damage)
    header, _, payload = good.partition(b"\n")
    if what == "sealed":
        payload = mutations.edited(payload, damage)
    else:
        line, _, arrays = payload.partition(b"\n")
        text = json.dumps(mutations.edited_json(json.loads(line), damage)).encode()
        payload = text + b"\n" + arrays
    return header[:-64] + sha256(payload).encode() + b"\n" + payload


# jax's cache


def _use(programs: Path) -> None:
    compilation.set_up()
    warnings.filterwarnings("ignore", message=r"Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(programs))
    compilation_cache.reset_cache()


def _entries(programs: Path) -> list[Path]:
    return sorted(path for path in programs.iterdir() if path.name.endswith("-cache"))


def _run(number: int) -> Any:
    jax.clear_caches()
    x = jax.device_put(np.arange(6.0, dtype=np.float32).reshape(2, 3))

    def program(x: jax.Array) -> jax.Array:
        return x @ x.T + number

    return np.asarray(jax.jit(program)(x))


def _compiled(folder: Path, what: str, number: int, damage: Any) -> str:
    programs, copy = folder / "programs", folder / "damaged programs"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(programs, copy)
    entries = _entries(copy)
    entry = entries[number % len(entries)]
    if what == "compiled":
        entry.write_bytes(mutations.edited(entry.read_bytes(), damage))
    else:
        mutations.put(entry, damage, entry.read_bytes())
    _use(copy)
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    for each in range(PROGRAMS):
        np.testing.assert_array_equal(_run(each), x @ x.T + each)
    os.chdir(folder)
    return f"{what}: ran"


KEPT: tuple[Any, ...] = (
    ("record", [("replace", [], 0)]),
    ("record", [("replace", [35, 12], 1000000)]),
    ("sealed", [("zero", -182, 304)]),
    ("sealed", [("flip", 0, 0)]),
    ("odd cache", "pipe"),
)
