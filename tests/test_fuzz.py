"""All examples of the fuzz targets that once were findings; the slow tests draw many more, always the same ones.

`pytest tests/test_fuzz.py -m slow -k NAME --hypothesis-profile=nightly
--hypothesis-show-statistics` is a long run with other examples each time, which tells how they ended.
"""

import base64
import contextlib
import importlib
import json
import os
import pickle
import re
import signal

import hypothesis
import pytest
from hypothesis import HealthCheck, settings

from tests import commands
from tests.fuzz import TARGETS

MODULES = {name: importlib.import_module(f"tests.fuzz.{name}") for name in TARGETS}
KEPT = [
    pytest.param(name, example, id=f"{name} {number}")
    for name, target in MODULES.items()
    for number, example in enumerate(target.KEPT)
]


@pytest.fixture(scope="module")
def holds(server, tmp_path_factory):
    """Asserts that an example of a target ends as it should, in a process of its own."""
    root = tmp_path_factory.mktemp("fuzz")
    one_core = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
    own = {"XDG_CACHE_HOME": str(root / "cache"), "PYTHONPATH": str(commands.ROOT), **one_core}
    left_out = ("TFDS_DATA_DIR", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | own

    def ends_well(name, example):
        folder = root / name
        if not folder.is_dir():
            folder.mkdir()
            ends_well(name, "prepare")
        (folder / "answer").unlink(missing_ok=True)
        arguments = (name, str(folder), base64.b64encode(pickle.dumps(example)).decode())
        process = server.start("tests.fuzz.__main__", *arguments, folder=folder, environment=environment)
        process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        assert (folder / "answer").exists(), f"{name}, {example!r}: ended by {process.returncode}"
        kind, told = json.loads((folder / "answer").read_text())
        assert kind in ("ok", "refused"), f"{name}, {example!r}:\n{told}"
        return f"{kind}: {re.sub(r'[0-9.]+|/[^ ]*', '*', told)[:90]}"

    return ends_well


@pytest.mark.parametrize("name", TARGETS)
def test_many_examples(name, holds):
    @settings(deadline=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(MODULES[name].examples())
    def every(example):
        hypothesis.event(holds(name, example))

    every()


@pytest.mark.parametrize(("name", "example"), KEPT)
def test_what_was_found_once(name, example, holds):
    holds(name, example)


def test_what_goes_wrong_is_told(holds):
    with pytest.raises(AssertionError, match="KeyError: 'no such picture'"):
        holds("pictures", ("picture", "no such picture", [], False, 1))
