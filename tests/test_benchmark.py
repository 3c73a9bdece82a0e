"""The benchmark: what it counts, that its contenders do the same work, and what it says of those that do not."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import _bench_measure, _bench_numpy, _bench_start, _bench_worker, _workloads, benchmark
from mlp_jax import data
from mlp_jax.data.pixels import normalize
from mlp_jax.errors import UserError
from mlp_jax.nn import gradients
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.step import init_state

ROOT = Path(__file__).resolve().parent.parent
TORCH = importlib.util.find_spec("torch") is not None
COLUMNS = {
    "workload", "contender", "status", "networks", "networks_timed", "milliseconds_per_step",
    "networks_steps_per_second", "gflops", "fraction_of_peak", "peak_memory_mb", "compile_seconds",
    "start_seconds", "faster_than", "loss_difference", "flops_per_step", "bytes_per_step",
}  # fmt: skip


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", *arguments],
        cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_flops_of_a_case_worked_by_hand():
    # batch 2, 3-4-5: forward 2*2*3*4 = 48 and 2*2*4*5 = 80; the same for the weights; back through the second, 80
    assert _workloads.step_flops((3, 4, 5), 2) == 48 + 80 + 48 + 80 + 80


def test_flops_are_those_of_the_gradient_products_that_jax_traces():
    model = MLPConfig(hidden=(6, 7), inputs=5, classes=4)
    params = init_state(jax.random.key(0), model, TrainConfig()).params
    x, y = np.zeros((8, 5), np.float32), np.zeros(8, np.int32)
    trace = jax.make_jaxpr(lambda p: gradients.manual(p, x, y, model)[1])(params)
    products = [e for e in trace.jaxpr.eqns if e.primitive.name == "dot_general"]
    total = 0
    for product in products:
        (contracted, _), _ = product.params["dimension_numbers"]
        inner = np.prod([product.invars[0].aval.shape[axis] for axis in contracted])
        total += 2 * inner * np.prod(product.outvars[0].aval.shape)
    assert total == _workloads.step_flops(model.sizes, 8)


def test_bytes_of_a_case_worked_by_hand():
    # 2 x 3 inputs; 3*4 + 4 + 4*5 + 5 parameters, read and written, with both moments
    assert _workloads.step_bytes((3, 4, 5), 2, "adam") == 4 * (6 + 2 * 3 * 41)


def test_the_workloads_are_the_reports():
    def load(name):
        return _workloads.workload(name, 3072, 10, 0)

    assert load("default").networks[0].model.sizes == (3072, 50, 10)
    assert load("deep").networks[0].model.sizes == (3072, 50, 50, 50, 50, 10)
    assert load("normalized").networks[0].model.sizes == (3072, 400, 400, 400, 10)
    assert (len(load("grid").networks), len(load("grid").shapes)) == (36, 9)
    assert len({(n.model.hidden, n.train) for n in load("grid").networks}) == 36
    assert (len(load("table1").networks), len(load("table1").shapes)) == (64, 4)
    assert len(load("population-32").networks) == 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data and starts of the digits, as workers find them."""
    folder = tmp_path_factory.mktemp("bench")
    split = normalize(data.split(data.load("digits"), validation=200), "standardize").train
    _workloads.write_data(folder, split)
    for name in (*_workloads.SINGLE, "population-2"):
        _workloads.write_start(folder, _workloads.workload(name, 64, 10, 3), len(split.y))
    return folder


@pytest.mark.parametrize("name", _workloads.SINGLE)
def test_numpy_has_our_gradients(name, folder):
    start = _bench_start.read(folder, name)
    net = start.nets[0]
    index = net.order[0]
    x, y = start.x[index], start.y[index].astype(np.int32)
    model = _workloads.workload(name, 64, 10, 3).networks[0].model
    params = init_state(jax.random.key(3), model, TrainConfig()).params
    peer = _bench_numpy.Network(net)
    peer.gradients(x, y)
    ours = jax.tree.leaves(gradients.gradients(params, x, y, model))
    assert len(ours) == len(peer.grads)
    for mine, theirs in zip(ours, peer.grads, strict=True):
        np.testing.assert_allclose(theirs, mine, atol=2e-6 * float(np.abs(mine).max()) + 1e-7)


# manual would be compared with itself; torch-compile takes half a minute per shape
@pytest.mark.parametrize("contender", sorted(_bench_worker.MODULES.keys() - {"manual", "torch-compile"}))
def test_contenders_train_the_same_networks(contender, folder):
    if contender.startswith("torch") and not TORCH:
        pytest.skip(f"NOT TESTED: {contender}, because torch is not installed")
    for name in ("default", "deep", "normalized", "population-2"):
        found = []
        for who in ("numpy" if contender != "numpy" else "manual", contender):
            _, peer = _bench_worker.contender_of(who, name, folder)
            if isinstance(peer, str):
                break
            found.append(peer.first_losses(8)[0])
        else:
            np.testing.assert_allclose(*found, rtol=5e-3 if name == "normalized" else 1e-5)
            assert abs(found[0][-1] - found[0][0]) > 1e-3  # steps that move nothing would show nothing
            assert peer.train(2) > 0


@pytest.mark.parametrize("contender", ["numpy", "sklearn"])
def test_a_peers_process_does_not_import_jax(contender, folder):
    """It would pay for it in time and memory, which are compared."""
    line = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "experiments._bench_worker",
        contender,
        "default",
        str(folder),
    ]
    done = subprocess.run(line, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, '"ready"' in done.stdout) == (0, True), done.stderr[-2000:]
    imported = {entry.rpartition("|")[2].strip() for entry in done.stderr.splitlines()}
    assert {"numpy", "experiments"} <= imported
    assert not {"jax", "jaxlib", "optax"} & imported


class Liar:
    """A contender that leaves out the penalty."""

    def __init__(self, contender, load, folder):
        self.version, self.start_seconds, self.factor = "1", 0.0, {"manual": 1.0, "numpy": 0.999}[contender]

    def ask(self, **request):
        answer = {"0": [2.0 * self.factor, 1.0 * self.factor]} if "losses" in request else 0.5 / self.factor
        return {"answer": answer, "wall": 0.01}

    def close(self):
        pass


def measured(monkeypatch, contenders, worker=Liar):
    monkeypatch.setattr(_bench_measure, "Worker", worker)
    monkeypatch.setattr(_bench_measure, "REST", 0)
    return _bench_measure.measure(_workloads.workload("default", 64, 10, 0), contenders, Path(), 3, 0.1)


def test_different_work_is_refused(monkeypatch):
    ours, peer = measured(monkeypatch, ("manual", "numpy"))
    assert ours["status"] == "measured"
    assert peer["status"] == "different work: its first losses differ by 0.001 from those of manual"
    assert peer["milliseconds_per_step"] is None


def test_losses_that_are_not_numbers_are_different_work(monkeypatch):
    class Broken(Liar):
        def __init__(self, contender, load, folder):
            super().__init__(contender, load, folder)
            self.factor = 1.0 if contender == "manual" else float("nan")

    assert measured(monkeypatch, ("manual", "numpy"), Broken)[1]["status"].startswith("different work")


def test_one_of_many_networks_that_is_not_a_number_is_different_work():
    losses = {"manual": {"0": [1.0], "1": [1.0]}, "numpy": {"0": [1.0], "1": [float("nan")]}}
    for order in (("0", "1"), ("1", "0")):
        told = {name: {network: found[network] for network in order} for name, found in losses.items()}
        rows: dict[str, Any] = {"manual": {}, "numpy": {}}
        assert _bench_measure._different(_workloads.workload("default", 64, 10, 0), told, rows) == ["numpy"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_has_no_median(value):
    with pytest.raises(ValueError, match="not finite"):
        _bench_measure.spread([1.0, value])


def test_ratios_are_medians_of_each_repeats(monkeypatch):
    times = {"manual": [1.0, 2.0, 4.0], "numpy": [3.0, 2.0, 40.0]}

    class Clock(Liar):
        def __init__(self, contender, load, folder):
            super().__init__(contender, load, folder)
            self.factor, self.left = 1.0, [1.0, *times[contender]]

        def ask(self, **request):
            return {"answer": self.left.pop(0), "wall": 1.0} if "train" in request else super().ask(**request)

    row = measured(monkeypatch, ("manual", "numpy"), Clock)[0]
    assert row["faster_than"]["numpy"] | {"values": 0} == {"median": 3.0, "min": 1.0, "max": 10.0, "values": 0}


def test_the_command_line(tmp_path):
    arguments = ("--workloads=default", "--population_sizes=2", "--repeats=2", "--seconds=0.01")
    contenders = "--contenders=manual,numpy,torch-graphs,torch-vmap,sklearn"
    done = command(*arguments, contenders, f"--results_dir={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "benchmark" / "results.json").read_text())
    assert {"study", "config", "environment", "rows", "machine"} <= found.keys()
    rows = {(row["workload"], row["contender"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 10
    assert all(row.keys() >= COLUMNS for row in rows.values())
    for load in ("default", "population-2"):
        ours = rows[load, "manual"]
        assert ours["status"] == rows[load, "numpy"]["status"] == rows[load, "sklearn"]["status"] == "measured"
        assert len(ours["milliseconds_per_step"]["values"]) == 2
        assert all(ours[column] is not None for column in COLUMNS)
        missing = "cannot: needs a GPU" if TORCH else "missing: torch is not installed"
        assert rows[load, "torch-graphs"]["status"] == missing
        assert missing in done.stdout
    assert rows["population-2", "numpy"]["networks_timed"] == 1
    assert rows["population-2", "manual"]["networks_timed"] == 2
    for figure in ("roofline", "throughput"):
        text = (tmp_path / "benchmark" / f"{figure}.svg").read_text()
        assert text.startswith("<?xml")
        assert len(text) < 200_000
    assert (tmp_path / "benchmark" / "results.json").stat().st_size < 200_000
    drawn = benchmark.figures(found["rows"], found["machine"])
    assert {name.removesuffix(".svg"): figure.content for name, figure in drawn.items()} == {
        name: (tmp_path / "benchmark" / f"{name}.svg").read_text() for name in ("roofline", "throughput")
    }


def test_a_peer_that_is_not_installed_is_named(monkeypatch, folder):
    (folder / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with pytest.raises(_bench_measure.Refused, match="missing: torch is not installed"):
        _bench_measure.Worker("torch", "default", folder)


def test_a_worker_that_dies_is_a_failure(folder):
    worker = _bench_measure.Worker("numpy", "default", folder)
    worker.process.kill()
    with pytest.raises(_bench_measure.Refused, match="failed: the worker ended with status -9"):
        worker.ask(train=1)


MISTAKES = [
    ({"workloads": "defualt"}, "unknown workload 'defualt'"),
    ({"workloads": "population-x"}, "a population is written population-32"),
    ({"workloads": "default,default"}, "names a value twice"),
    ({"contenders": "tensorflow"}, "unknown contender 'tensorflow'"),
    ({"contenders": ""}, "nothing to measure"),
    ({"workloads": "", "population_sizes": ""}, "nothing to measure"),
    ({"population_sizes": "0"}, "--population_sizes must be a whole number of at least 1"),
    ({"repeats": 0}, "repeats must be a whole number of at least 1"),
    ({"seconds": 0.0}, "seconds must be a number in (0, 3600]"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[str(m[0]) for m in MISTAKES])
def test_mistakes_are_found_before_any_work(options, message):
    with pytest.raises(UserError) as raised:
        benchmark.Config(**options)
    assert message in str(raised.value)


def test_a_mistake_is_one_line_and_status_2(tmp_path):
    done = command("--contenders=tensorflow", f"--results_dir={tmp_path}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert not list(tmp_path.iterdir())


def test_a_batch_larger_than_the_data_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="batches of 4096, and digits only 1297"):
        benchmark.run(benchmark.Config(workloads="large", population_sizes="", results_dir=str(tmp_path)))


def test_figures_tell_the_rows():
    rows = [
        {"workload": "population-2", "contender": "manual", "networks": 2, "gflops": 5.0, "flops_per_step": 10,
         "bytes_per_step": 2, "milliseconds_per_step": {"median": 1.0, "min": 0.5, "max": 2.0}},
    ]  # fmt: skip
    for text in (benchmark.throughput(rows), benchmark.roofline(rows, 1e10, 1e9)):
        assert "manual" in text
    assert "networks trained side by side" in benchmark.throughput(rows)
