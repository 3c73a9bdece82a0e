import json
import os
import platform
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mlp_jax import files, machine
from mlp_jax.errors import UserError
from mlp_jax.files import as_json, sweep, write
from mlp_jax.studies import results, statistics
from mlp_jax.studies.options import Common
from mlp_jax.studies.origin import differing, of_result
from mlp_jax.text import table


def test_measured_by_hand():
    assert statistics.measured([0.5, 0.7]) == {
        "mean": 0.6,
        "std": pytest.approx(0.02**0.5),  # sqrt((0.1^2 + 0.1^2) / (2 - 1))
        "n": 2,
        "values": [0.5, 0.7],
    }
    assert statistics.measured([0.5]) == {"mean": 0.5, "std": None, "n": 1, "values": [0.5]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_never_enters_a_mean(value):
    assert statistics.measured([]) == {"mean": None, "std": None, "n": 0, "values": []}
    with pytest.raises(ValueError, match="not finite"):
        statistics.measured([0.5, value])


def test_an_option_that_is_gone_had_no_effect_unless_it_was_given():
    then = of_result(Common())
    assert differing({**then, "gone": False}, Common()) == differing({**then, "gone": None}, Common()) == ""
    assert differing({**then, "gone": True}, Common()) == "gone=True then, None now"


def test_percent_and_table():
    assert results.percent(statistics.measured([0.5, 0.7])) == "60.0 ± 14.1"
    assert results.percent(statistics.measured([0.5])) == "50.0"
    assert results.percent(statistics.measured([])) == "-"
    assert table(["a", "long"], [["xyz", "1"]]) == "| a   | long |\n|-----|------|\n| xyz | 1    |"


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    write(path, as_json({"study": "s", "config": {}, "environment": {}, "rows": [1]}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(path, as_json({"rows": [float("nan")]}))
    assert results.read_json(path)["rows"] == [1]
    assert os.listdir(tmp_path) == ["results.json"]


def test_missing_results_file(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        results.read_json(tmp_path / "nothing.json")


def test_environment_says_what_a_result_depends_on():
    found = results.environment(wall_seconds=1.23456, command=["python", "x"], fingerprint="abc")
    assert found["versions"]["numpy"] == np.__version__
    assert found["device"]["count"] >= 1
    assert found["wall_seconds"] == 1.235
    assert json.dumps(found, allow_nan=False)
    assert (found["commit"] is None) == (found["dirty"] is None)


def test_environment_says_what_can_change_bits(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setenv("JAX_DEFAULT_PRNG_IMPL", "rbg")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/a/folder")
    found = results.environment(wall_seconds=1)
    assert found["settings"]["variables"]["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=false"
    assert found["settings"]["variables"]["JAX_DEFAULT_PRNG_IMPL"] == "rbg"
    assert "/a/folder" not in json.dumps(found)
    with jax.default_matmul_precision("tensorfloat32"):
        told = results.environment(wall_seconds=1)["settings"]["config"]
    assert told["default_matmul_precision"] == "tensorfloat32"
    assert None not in (told["enable_x64"], told["disable_most_optimizations"], told["default_prng_impl"])
    assert {"scipy", "numpy", "optax", "jaxlib"} <= found["versions"].keys()
    assert 1 <= found["device"]["usable_cores"] <= found["device"]["cores"]
    if platform.machine() == "x86_64" and Path("/proc/cpuinfo").exists():
        assert found["device"]["model"]
        assert set(found["device"]["vectors"].split()) == set(machine.VECTORS) & set(
            Path("/proc/cpuinfo").read_text().split()
        )


def test_command_line_is_what_the_user_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--a=1"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert results.command_line() == ["python", "x", "--a=1"]


def a_file(path, rows, fingerprint="a" * 8, protocol="clean", **config):
    content = {"study": "depth_study", "config": {"protocol": protocol, **config}, "rows": rows}
    path.parent.mkdir(exist_ok=True)
    path.write_text(as_json({**content, "environment": {"data_fingerprint": fingerprint}}))
    return path


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"protocol": "clean"}, {"protocol": "published"}], ("protocol 'published'", "'clean' in the same file")),
        ([{"protocol": "published"}], ("protocol 'published'", "'clean' in the same file")),
        ([{"data_fingerprint": "a" * 8}, {"data_fingerprint": "b" * 8}], ("'bbbbbbbb'", "'aaaaaaaa' in the same")),
        ([{"data_fingerprint": "b" * 8}], ("data_fingerprint 'bbbbbbbb'", "'aaaaaaaa' in the same file")),
    ],
)
def test_rows_of_two_origins_are_no_table(tmp_path, rows, words):
    """As when somebody has merged two files by hand."""
    path = a_file(tmp_path / "results.json", rows)
    with pytest.raises(UserError) as caught:
        results.read_json(path)
    for word in (str(path), "move one away", *words):
        assert word in str(caught.value)


def test_rows_of_one_origin(tmp_path):
    told = {"protocol": "clean", "data_fingerprint": "a" * 8}
    path = a_file(tmp_path / "results.json", [told, {}, told])
    assert len(results.read_json(path)["rows"]) == 3
    listed = a_file(tmp_path / "both.json", [{"protocol": "clean"}, {"protocol": "published"}], protocol="both")
    assert len(results.read_json(listed)["rows"]) == 2


def test_files_beside_one_another(tmp_path):
    one, two = a_file(tmp_path / "1.json", [{}]), a_file(tmp_path / "2.json", [{}], protocol="published")
    other = a_file(tmp_path / "3.json", [{}], fingerprint="b" * 8)
    results.unmixed({path: results.read_json(path) for path in (one, two)}, ["data_fingerprint"])
    with pytest.raises(UserError, match=r"2.json has protocol 'published', and 'clean' in .*1.json"):
        results.unmixed({path: results.read_json(path) for path in (one, two)})
    with pytest.raises(UserError, match=r"3.json has data_fingerprint 'bbbbbbbb', and 'aaaaaaaa' in .*1.json"):
        results.unmixed({path: results.read_json(path) for path in (one, other)})


KILLED = """
import os, sys
from pathlib import Path
from mlp_jax.files import write
os.replace = lambda *names: os.kill(os.getpid(), 9)
write(Path(sys.argv[1]) / "results.json", "{}")
"""


def test_what_a_killed_writer_has_left_is_removed_and_no_file_of_the_users(tmp_path, server):
    names = [".notes.settings", ".lock", "results.json", ".results.json.a_b3c4d5"]
    for name in names:
        (tmp_path / name).touch()
    assert server.code(KILLED, str(tmp_path)).status == -9
    assert len(list(tmp_path.iterdir())) == len(names) + 1
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_written_file_has_the_rights_that_the_user_wishes(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write(tmp_path / "results.json", "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "results.json").stat().st_mode & 0o777 == mode


def test_lists_of_numbers_take_one_line_and_nothing_is_lost():
    content = {"values": [1, 2.5, None], "text": "[1,\n 2]", "nested": [[1, 2], [3]], "names": ["a", "b"]}
    text = files.as_json(content)
    assert json.loads(text) == content
    assert ' "values": [1, 2.5, null],\n' in text
