"""The scripts as users run them; most in this process, because starting jax takes longer than the jobs."""

import json
import os
import re
import signal
import time

import jax
import numpy as np
import pytest
from scipy import stats

from experiments import depth_study, gradient_check
from mlp_jax import files
from mlp_jax.data.digits import synthetic
from mlp_jax.gradcheck import seeded_mistakes
from mlp_jax.nn import activations
from mlp_jax.nn.activations import Activation
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import command, own_gradients, results, signals, statistics
from mlp_jax.training.checkpoint import Checkpoints
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.history import History, Result
from mlp_jax.training.step import init_state
from tests.commands import python
from tests.small import LEAST
from tests.studies import results_of, without_times

SMALL = ("--dataset=synthetic", "--layers=1,2", "--hidden=8", "--epochs=1", "--seeds=2")
FAST = (*SMALL, "--learning_rate=0.02")


def depth(folder, *arguments):
    """Exit status of `python -m experiments.depth_study --results_dir=FOLDER ...`."""
    return depth_study.main([f"--results_dir={folder}", *arguments])


def test_true_processes(tmp_path):
    """Success and --help, through the real command line; a user's mistake is in test_bad_input.py."""

    done = python("-m", "experiments.depth_study", *LEAST, f"--results_dir={tmp_path}")
    assert (done.status, done.err) == (0, "")
    environment = results_of(tmp_path)["environment"]
    assert environment["command"].startswith("python -m experiments.depth_study --dataset=synthetic")
    done = python("-X", "importtime", "-m", "experiments.reproduce", "--help")
    assert "--dataset" in done.out
    assert "--layers" not in done.out
    assert done.status == 0
    imported = {line.split()[-1] for line in done.err.splitlines()}
    assert "jax" in imported
    assert not imported & {"matplotlib", "scipy.stats"}  # each would make every start half as long again


@pytest.mark.parametrize(("protocol", "batch_norm"), [("published", "after"), ("clean", "none")])
def test_depth_study(protocol, batch_norm, capsys, tmp_path):
    began = time.monotonic()
    assert depth(tmp_path, *SMALL, f"--protocol={protocol}", f"--batch_norm={batch_norm}") == 0
    content = results_of(tmp_path)
    rows_took = sum(row["seconds"] for row in content["rows"])
    assert 0 < rows_took <= content["environment"]["wall_seconds"] <= time.monotonic() - began
    parts = {"study", "config", "environment", "rows", "comparisons", "figures", "correct", "seal"}
    assert content.keys() == parts
    assert content["environment"].keys() >= {"versions", "device", "commit", "dirty", "wall_seconds"}
    assert [row["layers"] for row in content["rows"]] == [1, 2]
    for row in content["rows"]:
        for name in ("validation_accuracy", "test_accuracy"):
            quantity = row[name]
            assert quantity["n"] == len(quantity["values"]) == 2
            assert quantity["mean"] == pytest.approx(np.mean(quantity["values"]))
            assert quantity["std"] == pytest.approx(np.std(quantity["values"], ddof=1))
            assert all(0 <= value <= 1 for value in quantity["values"])
        assert (row["status"], row["protocol"]) == ("finished", protocol)
        assert row["data_fingerprint"] == synthetic().fingerprint
        assert len(row["first_losses"]) == 20
        best = max(row["choice"], key=lambda choice: choice["validation_accuracy"])
        assert row["recipe"]["learning_rate"] == best["learning_rate"]
        assert row["validation_accuracy"]["values"][0] == best["validation_accuracy"]
    assert capsys.readouterr().out.count("finished") == 2


def test_the_comparisons_of_depths_and_initialisations(capsys, tmp_path):
    """And a network that the handed-out initialisation kills is a result, not a failure."""
    arguments = (
        "--dataset=synthetic", "--layers=3,1,2", "--hidden=8", "--epochs=1", "--seeds=3", "--learning_rate=0.02",
        "--init=uniform_fan_in,normal", "--init_std=1e-6",
    )  # fmt: skip
    assert depth(tmp_path, *arguments) == 0
    content = results_of(tmp_path)
    rows = {(row["init"], row["layers"]): row for row in content["rows"]}
    assert rows.keys() == {(init, layers) for init in ("uniform_fan_in", "normal") for layers in (1, 2, 3)}
    compared = content["comparisons"]
    assert [(c["deeper"], c["shallower"]) for c in compared] == [(2, 1), (3, 1), (3, 2)] * 4
    for found in compared:
        deeper, shallower = (rows[found["init"], found[end]] for end in ("deeper", "shallower"))
        x, y = (row[found["quantity"]]["values"] for row in (deeper, shallower))
        assert found["mean"] == pytest.approx(np.mean(x) - np.mean(y))
        on_test = found["quantity"] == "test_accuracy"
        assert found["over"] == ("seeds and images" if on_test else "seeds")
        if not on_test and np.ptp(np.subtract(x, y)) > 0:
            test = stats.ttest_rel(x, y)
            assert found["p"] == pytest.approx(test.pvalue)
            assert (found["low"], found["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert found["high"] > found["low"]
        assert found["p_holm"] >= found["p"]
        sure = {"better": found["mean"] > 0, "worse": found["mean"] < 0}
        assert sure.get(found["verdict"], found["p_holm"] > 0.05)
    dead = rows["normal", 3]
    assert dead["status"] == "finished"
    assert dead["test_accuracy"]["mean"] < 0.15  # of 10 classes
    svg = (tmp_path / "depth_study" / "accuracy.svg").read_text()
    assert all(words in svg for words in ("uniform_fan_in", "normal", "test accuracy [%]", "validation"))
    assert ">report<" not in svg
    assert "deeper is" in capsys.readouterr().out


def depth_row(layers, tests, init="uniform_fan_in", report=None):
    quantity = statistics.measured(tests)
    seeds = list(range(len(tests)))
    return {
        "layers": layers, "init": init, "seeds": seeds, "test_accuracy": quantity,
        "validation_accuracy": quantity, "report": report,
    }  # fmt: skip


def test_the_finding_and_the_figure_of_the_depth_study():
    reported = {"validation_accuracy": 0.504, "test_accuracy": 0.511}
    rows = [
        depth_row(2, [0.50, 0.51, 0.52], report=reported),
        depth_row(3, [0.52, 0.53, 0.541]),
        depth_row(5, [0.40, 0.41, 0.421]),
        depth_row(2, [], "normal"),
    ]
    content = {"rows": rows, "comparisons": depth_study.comparisons(rows)}
    assert depth_study.finding(content) == (
        "With uniform_fan_in, test accuracy is 51.0 % with 2 layers, 53.0 % with 3 layers, 41.0 % with 5 layers "
        "(3 layers do best); of 3 comparisons that test 'deeper is better', 1 are in favour, 1 against, "
        "0 find no difference beyond 0.5 points, and 1 cannot tell. With normal, every run diverged."
    )
    svg, caption = depth_study.figures(content)["accuracy.svg"]
    assert ">report<" in svg
    assert "Table 1" in caption
    one = {"rows": rows[:1], "comparisons": []}
    assert depth_study.finding(one) == "With uniform_fan_in, test accuracy is 51.0 % with 2 layers."


def test_manual_and_autodiff_and_a_repetition(tmp_path):
    rows = {}
    for name, source in {"a": "manual", "b": "manual", "c": "autodiff"}.items():
        folder = tmp_path / name
        assert depth(folder, *FAST, f"--gradient={source}") == 0
        rows[name] = without_times(results_of(folder)["rows"])
    assert rows["a"] == rows["b"]
    for a, c in zip(rows["a"], rows["c"], strict=True):
        np.testing.assert_allclose(a["first_losses"], c["first_losses"], atol=1e-4)
        assert abs(a["test_accuracy"]["mean"] - c["test_accuracy"]["mean"]) <= 0.005


def test_a_second_start_compiles_nothing_and_a_damaged_cache_does_no_harm(tmp_path):
    cache = tmp_path / "cache"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    line = ["-m", "experiments.depth_study", *FAST, "--layers=2"]
    rows, compiled = [], []
    for turn in range(3):
        folder = tmp_path / str(turn)
        done = python(*line, f"--results_dir={folder}", environment=environment)
        assert (done.status, done.err) == (0, "")
        rows.append(without_times(results_of(folder)["rows"]))
        content = results_of(folder)
        compiled.append(content["environment"]["compilation"])
        entries = list(cache.glob("mlp_jax/xla-*/*-cache"))
        if turn == 1:
            for entry in entries:
                entry.write_bytes(entry.read_bytes()[:-20])
    programs = compiled[0]["programs"]
    assert len(entries) == compiled[0]["compiled_anew"] > 10
    assert compiled[1] == {"programs": programs, "compiled_anew": 0}
    assert compiled[2] == {"programs": programs, "compiled_anew": programs}
    assert rows[0] == rows[1] == rows[2]


def test_precision_memory_and_devices(tmp_path):
    arguments = {
        "plain": (), "bounded": ("--max_memory_gb=0.03",), "shared": ("--data_parallel=4",),
        "bf16": ("--precision=bf16",),
    }  # fmt: skip
    rows = {}
    for name, more in arguments.items():
        assert depth(tmp_path / name, *FAST, "--layers=2", *more) == 0
        rows[name] = without_times(results_of(tmp_path / name)["rows"])
    assert rows["bounded"] == rows["plain"]
    for name, tolerance in {"shared": 1e-4, "bf16": 0.05}.items():
        for other, row in zip(rows[name], rows["plain"], strict=True):
            assert other["first_losses"] != row["first_losses"]
            np.testing.assert_allclose(other["first_losses"], row["first_losses"], rtol=tolerance)


def test_diverged_runs_keep_their_row_and_fail_the_job(capsys, tmp_path):
    assert depth(tmp_path, *SMALL, "--learning_rate=1e8", "--activation=softplus", "--l2=1") == 1
    for row in results_of(tmp_path)["rows"]:
        assert row["status"] == "diverged"
        assert row["test_accuracy"] == {"mean": None, "std": None, "n": 0, "values": []}
    assert "2 diverged" in capsys.readouterr().out


def test_resume_keeps_finished_rows(capsys, tmp_path):
    assert depth(tmp_path, *FAST) == 0
    whole = results_of(tmp_path)["rows"]
    folder = tmp_path / "depth_study"
    content = results.read_sealed(folder / "results.json")
    part = {**content, "rows": content["rows"][:1]}
    sealed = json.dumps(files.sealed(part))
    (folder / "partial.json").write_text(sealed)
    (folder / "results.json").unlink()
    assert depth(tmp_path, *FAST, "--resume") == 0
    resumed = results_of(tmp_path)["rows"]
    assert resumed[0] == whole[0]
    assert resumed[1]["test_accuracy"] == whole[1]["test_accuracy"]
    assert sorted(os.listdir(folder)) == [".lock", "accuracy.svg", "correct.safetensors", "results.json"]

    (folder / "partial.json").write_text(sealed)
    capsys.readouterr()
    assert depth(tmp_path, *FAST, "--resume", "--l2=0.5") == 2
    assert "l2=None then, 0.5 now" in capsys.readouterr().err
    other = {**part, "environment": {**part["environment"], "versions": {"mlp_jax": "0.0.1"}}}
    for number, (damaged, words) in enumerate(
        [
            ("{cut", "not a whole JSON file"),
            (sealed.replace('"layers": 1', '"layers": 9'), "is altered"),
            (json.dumps(files.sealed(other)), "written by version 0.0.1 of mlp_jax"),
        ],
        start=1,
    ):
        (folder / "partial.json").write_text(damaged)
        assert depth(tmp_path, *FAST, "--resume") == 0
        err = capsys.readouterr().err
        assert words in err
        assert f"it is kept as partial.unusable-{number}.json, and the study runs again" in err
        assert err.count("\n") == 1
        assert (folder / f"partial.unusable-{number}.json").read_text() == damaged
        assert results_of(tmp_path)["rows"][1]["test_accuracy"] == whole[1]["test_accuracy"]


def test_checkpoints_of_another_version_are_set_aside(capsys, tmp_path):
    folder = tmp_path / "depth_study"
    folder.mkdir()
    about = {"study": "depth_study", "config": {}, "environment": {"versions": {"mlp_jax": "0.0.1"}}}
    model = MLPConfig(hidden=(8,), inputs=192)
    run = Result(init_state(jax.random.key(0), model, TrainConfig()), History(*[np.zeros(1)] * 4), "unfinished")
    Checkpoints(folder / "checkpoints").save({"a": run}, {**about, "row_seconds": 1.0})
    assert depth(tmp_path, *FAST, "--resume") == 0
    err = capsys.readouterr().err
    assert "cannot be used: it was written by version 0.0.1 of mlp_jax" in err
    assert err.endswith("it is kept as checkpoints.unusable-1, and the study runs again\n")
    assert err.count("\n") == 1
    assert (folder / "checkpoints.unusable-1" / "1.safetensors").exists()
    assert not (folder / "checkpoints").exists()


def test_a_signal_before_the_options_are_read(monkeypatch, capsys, tmp_path):
    def stopped(*arguments):
        raise signals.Stopped(signal.SIGTERM)

    monkeypatch.setattr(command, "configured", stopped)
    assert depth(tmp_path) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped by SIGTERM\n"


@pytest.fixture
def few(monkeypatch):
    """The gradient check has one network, and three changes to look for."""
    one = {"2 layers": own_gradients.architectures(192, 10)["2 layers, as in Question 2"]}
    monkeypatch.setattr(own_gradients, "architectures", lambda inputs, classes: one)
    monkeypatch.setattr(seeded_mistakes, "SEEDS", seeded_mistakes.SEEDS[:3])


@pytest.mark.usefixtures("few")
def test_gradient_check_passes(capsys, tmp_path):
    config = gradient_check.Config(dataset="synthetic", seeds=1, results_dir=str(tmp_path))
    assert gradient_check.STUDY.run(config)
    content = results_of(tmp_path, "gradient_check")
    assert content["environment"]["data_fingerprint"] == synthetic().fingerprint
    rows = content["rows"]
    assert {row["verdict"] for row in rows} == {"PASS"}
    assert [row["found"] for row in rows if "seeded" in row] == [[], [], ["batch_mean_missing"]]
    rows = [row for row in rows if "leaf" in row]
    assert {row["leaf"] for row in rows if row["case"].startswith("equations")} == {f"eq{n}" for n in range(1, 14)}
    assert {row["dtype"] for row in rows} == {"float32", "float64"}
    assert re.search(r"^PASS: manual gradients", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.usefixtures("few")
def test_gradient_check_fails_on_a_broken_derivative(monkeypatch, capsys, tmp_path):
    row = activations.ACTIVATIONS["relu"]
    broken = Activation(row.function, lambda z: 1.001 * row.derivative(z))
    monkeypatch.setitem(activations.ACTIVATIONS, "relu", broken)
    monkeypatch.setattr(seeded_mistakes, "SEEDS", ())
    arguments = {"dataset": "synthetic", "results_dir": str(tmp_path)}

    def failed(**seeds):
        assert not gradient_check.STUDY.run(gradient_check.Config(**arguments, **seeds))
        rows = [row for row in results_of(tmp_path, "gradient_check")["rows"] if row["verdict"] == "FAIL"]
        assert {row["leaf"] for row in rows} == {"layer1.w", "layer1.b"}
        return rows

    alone = [failed(seed=seed, seeds=1) for seed in (3, 4)]
    for first, second, told in zip(*alone, failed(seed=3, seeds=2), strict=True):
        assert told in (first, second)
        assert told["relative_error"] == max(row["relative_error"] for row in (first, second))
    assert {row["seed"] for rows in alone for row in rows} == {3, 4}
    assert "FAIL" in capsys.readouterr().out
    assert gradient_check.STUDY.run(gradient_check.Config(gradient="autodiff", seeds=1, **arguments))
