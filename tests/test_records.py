"""runs.jsonl: a line for each run as it ends, and a word where the same run ends otherwise."""

import json

import jax
import numpy as np
import pytest

from experiments._records import Records
from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer
from mlp_jax.training.config import Run, TrainConfig
from mlp_jax.training.history import History, Result
from mlp_jax.training.step import init_state

MODEL = MLPConfig(hidden=(), inputs=3, classes=2)
THEN = {"versions": {"jax": "1"}, "command": "a", "wall_seconds": 1}
NOW = {"versions": {"jax": "2"}, "command": "b", "wall_seconds": 2}


def run(seed):
    return Run(jax.random.key(seed), MODEL, TrainConfig())


def result(weight=0.5, status="finished"):
    state = init_state(jax.random.key(0), MODEL, TrainConfig())
    params = (Layer(np.full((3, 2), weight, np.float32), np.zeros(2, np.float32)),)
    loss = np.array([1.5, np.nan] if status == "diverged" else [1.5, 1.25])
    return Result(state._replace(params=params), History(loss, loss, np.ones(1), np.full(1, 0.75)), status)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_run_is_there_as_soon_as_it_ends(tmp_path):
    path = tmp_path / "runs.jsonl"
    records = Records(path, lambda: THEN)
    assert not path.exists()
    records.add("data", run(0), result(), {"layers": 2, "seed": 0})
    records.add("data", run(1), result(status="diverged"), {"layers": 2, "seed": 1})
    head, first, second = lines(path)
    assert head["versions"] == THEN["versions"]
    told = {"layers": 2, "seed": 0, "status": "finished", "epochs": 1, "steps": 2, "last_loss": 1.25}
    assert told.items() <= first.items()
    assert (first["validation_accuracy"], first["data_fingerprint"]) == (0.75, "data")
    assert (second["status"], second["last_loss"]) == ("diverged", None)
    assert first["run"] != second["run"]
    assert first["parameters"] == second["parameters"]


def test_a_run_that_ends_again_with_the_same_bits_is_not_told_twice(tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    Records(path, lambda: THEN).add("data", run(0), result(), {"seed": 0})
    Records(path, lambda: NOW).add("data", run(0), result(), {"seed": 0})
    assert len(lines(path)) == 2
    Records(path, lambda: NOW).add("other data", run(0), result(0.25), {"seed": 0})  # it is another run
    assert len(lines(path)) == 4
    assert capsys.readouterr().err == ""


def test_other_bits_are_told_with_what_may_be_why(tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    Records(path, lambda: THEN).add("data", run(0), result(), {"layers": 2, "seed": 0})
    other = np.nextafter(np.float32(0.5), np.float32(1))
    Records(path, lambda: NOW).add("data", run(0), result(other), {"layers": 2, "seed": 0})
    assert capsys.readouterr().err == (
        "note: layers 2, seed 0 gave other bits than the same run did here before "
        "(environment: versions.jax: 1 | 2)\n"
    )
    assert len(lines(path)) == 4
    Records(path, lambda: NOW).add("data", run(0), result(), {"layers": 2, "seed": 0})
    assert "nothing that is recorded differs: is the machine at fault?" in capsys.readouterr().err


def test_a_line_that_was_cut_spoils_no_other(tmp_path):
    path = tmp_path / "runs.jsonl"
    Records(path, lambda: THEN).add("data", run(0), result(), {})
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[1][:40])
    records = Records(path, lambda: NOW)
    records.add("data", run(0), result(), {})
    records.add("data", run(1), result(), {})
    assert path.read_text().startswith(whole)
    assert len(path.read_text().splitlines()) == 5
    assert json.loads(path.read_text().splitlines()[-1])["run"] != json.loads(whole.splitlines()[1])["run"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*: No such file or directory; free the disk or change"):
        Records(tmp_path / "gone" / "runs.jsonl", lambda: THEN).add("data", run(0), result(), {})
