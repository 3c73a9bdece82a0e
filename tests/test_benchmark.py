"""The benchmark: what it counts, that its contenders do the same work, and what it says of those that do not."""

import importlib
import importlib.util
import os
from functools import partial

import jax
import numpy as np
import pytest

from mlp_jax import data
from mlp_jax.benchmark import remote, start, turns, with_numpy, worker, workloads
from mlp_jax.data.pixels import normalize
from mlp_jax.nn import gradients
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.step import init_state
from tests.commands import python
from tests.studies import results_of

TORCH = importlib.util.find_spec("torch") is not None
digits = partial(workloads.workload, inputs=64, classes=10, seed=3)


def wants_torch(contender):
    if contender.startswith("torch") and not TORCH:
        pytest.skip(f"NOT TESTED: {contender}, because torch is not installed")


def test_flops_of_a_case_worked_by_hand():
    # batch 2, 3-4-5: forward 2*2*3*4 = 48 and 2*2*4*5 = 80; the same for the weights; back through the second, 80
    assert workloads.step_flops((3, 4, 5), 2) == 48 + 80 + 48 + 80 + 80


def test_flops_are_those_of_the_gradient_products_that_jax_traces():
    model = MLPConfig(hidden=(6, 7), inputs=5, classes=4)
    params = init_state(jax.random.key(0), model, TrainConfig()).params
    x, y = np.zeros((8, 5), np.float32), np.zeros(8, np.int32)
    trace = jax.make_jaxpr(lambda p: gradients.manual(p, x, y, model)[1])(params)
    total = 0
    for product in (e for e in trace.jaxpr.eqns if e.primitive.name == "dot_general"):
        (contracted, _), _ = product.params["dimension_numbers"]
        inner = np.prod([product.invars[0].aval.shape[axis] for axis in contracted])
        total += 2 * inner * np.prod(product.outvars[0].aval.shape)
    assert total == workloads.step_flops(model.sizes, 8)


def test_the_workloads_are_the_reports():
    loads = {name: workloads.workload(name, 3072, 10, 0) for name in (*workloads.USUAL, "population-32")}
    assert loads["default"].networks[0].model.sizes == (3072, 50, 10)
    assert loads["deep"].networks[0].model.sizes == (3072, 50, 50, 50, 50, 10)
    assert loads["normalized"].networks[0].model.sizes == (3072, 400, 400, 400, 10)
    assert [len(loads[name].networks) for name in ("grid", "table1", "population-32")] == [36, 64, 32]
    assert [len(loads[name].shapes) for name in ("grid", "table1", "population-32")] == [9, 4, 1]
    assert len({(n.model.hidden, n.train) for n in loads["grid"].networks}) == 36


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data and starts of the digits, as workers find them."""
    folder = tmp_path_factory.mktemp("bench")
    split = normalize(data.split(data.load("digits"), validation=200), "standardize").train
    workloads.write_data(folder, split)
    for name in (*workloads.SINGLE, "population-2"):
        workloads.write_start(folder, digits(name), len(split.y))
    return folder


@pytest.mark.parametrize("name", workloads.SINGLE)
def test_numpy_has_our_gradients(name, folder):
    given = start.read(folder, name)
    index = given.nets[0].order[0]
    x, y = given.x[index], given.y[index].astype(np.int32)
    model = digits(name).networks[0].model
    params = init_state(jax.random.key(3), model, TrainConfig()).params
    peer = with_numpy.Network(given.nets[0], given.x, given.y)
    peer.gradients(x, y)
    ours = jax.tree.leaves(gradients.gradients(params, x, y, model))
    assert len(ours) == len(peer.grads)
    for mine, theirs in zip(ours, peer.grads, strict=True):
        np.testing.assert_allclose(theirs, mine, atol=2e-6 * float(np.abs(mine).max()) + 1e-7)


def made(contender, name, folder):
    module = importlib.import_module(f"mlp_jax.benchmark.{worker.CONTENDERS[contender]}")
    return module.make(contender, start.read(folder, name))


@pytest.mark.parametrize("contender", sorted(worker.CONTENDERS.keys() - {"numpy", "torch-compile"}))
def test_contenders_train_the_same_networks(contender, folder):
    wants_torch(contender)
    ours = worker.CONTENDERS[contender] == "ours"  # other tests compare its two sources of gradients
    for name in ("normalized", "population-2", *(() if ours else ("default", "deep"))):
        try:
            peer = made(contender, name, folder)
        except start.Cannot:
            assert (contender, name) in {("sklearn", "deep"), ("sklearn", "normalized")}
            continue
        numpy, found = (who.first_losses(8)[0] for who in (made("numpy", name, folder), peer))
        np.testing.assert_allclose(found, numpy, rtol=5e-3 if name == "normalized" else 1e-5)
        assert abs(found[-1] - found[0]) > 1e-3  # steps that move nothing would show nothing
    assert made(contender, "population-2", folder).train(2) > 0


def test_torch_compile_takes_every_shape_of_the_grid(folder, monkeypatch):
    """Traced as ever, and run without the code that takes half a minute per shape to make."""
    wants_torch("torch-compile")
    torch = importlib.import_module("torch")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    workloads.write_start(folder, digits("grid"), 1297)
    numpy, found = (made(who, "grid", folder).first_losses(2) for who in ("numpy", "torch-compile"))
    assert len(found) == 9
    for number, losses in found.items():
        np.testing.assert_allclose(losses, numpy[number], rtol=1e-5)


@pytest.mark.parametrize("contender", ["numpy", "sklearn", "torch"])
def test_a_peers_process_does_not_import_jax(contender, folder):
    """It would pay for it in time and memory, which are compared."""
    wants_torch(contender)
    done = python("-X", "importtime", "-m", worker.__name__, contender, "default", folder)
    assert (done.status, '"ready"' in done.out) == (0, True), done.err[-2000:]
    imported = {entry.rpartition("|")[2].strip() for entry in done.err.splitlines()}
    assert {"numpy", "mlp_jax.benchmark"} <= imported
    assert not {"jax", "jaxlib", "optax"} & imported


def test_different_work_is_refused_and_not_timed(folder, tmp_path):
    """A real one: numpy starts from other parameters than those that our run draws from its key."""
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    given = start.read(folder, "default")
    (net,) = given.nets
    other = net._replace(start=[1.1 * net.start[0], *net.start[1:]])
    start.write(tmp_path, "default", [other], given.shapes)
    ours, peer = turns.measure(digits("default"), ("manual", "numpy"), tmp_path, 1, 0.001)
    assert (ours["status"], ours["loss_difference"], ours["faster_than"]) == ("measured", 0, {})
    assert peer["status"].startswith("different work: its first losses differ by 0.")
    assert peer["milliseconds_per_step"] is None


def test_how_alike_first_losses_must_be():
    def alike(mine, other, load="default"):
        return turns.compared(digits(load), {"0": mine}, {"0": other})[1]

    assert alike([2.0, 1.0], [2.0, 1.0])
    assert not alike([2.0, 1.0], [2.0, 1.001])
    assert alike([2.0, 1.0], [2.0, 1.001], "normalized")
    assert not alike([2.0, 1.0], [2.0, 1.1], "normalized")
    assert alike([1.0] * 6, [1.0] * 5 + [1.001])
    # one of many networks, in any place
    for order in (("0", "1"), ("1", "0")):
        losses = {"0": [1.0], "1": [float("nan")]}
        pair = {n: losses[n] for n in order}, {n: [1.0] for n in order}
        assert not turns.compared(digits("default"), *pair)[1]
        assert not turns.compared(digits("default"), *reversed(pair))[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_has_no_median(value):
    with pytest.raises(ValueError, match="not finite"):
        turns.spread([1.0, value])


def test_ratios_are_medians_of_each_repeats():
    found = turns.ratios([1.0, 2.0, 4.0], [3.0, 2.0, 40.0])
    assert found == {"median": 3.0, "min": 1.0, "max": 10.0, "values": [3.0, 1.0, 10.0]}


def test_the_command_line(tmp_path):
    flags = (
        "--workloads=deep", "--population_sizes=2", "--repeats=2", "--seconds=0.01",
        "--contenders=manual,numpy,torch,sklearn", f"--results_dir={tmp_path}",
    )  # fmt: skip
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(tmp_path)}
    done = python("-m", "experiments.benchmark", *flags, environment=environment)
    assert (done.status, done.err) == (0, "")
    content = results_of(tmp_path, "benchmark")
    rows = {(row["workload"], row["contender"]): row for row in content["rows"]}
    assert len(rows) == len(content["rows"]) == 8
    for load in ("deep", "population-2"):
        ours = rows[load, "manual"]
        assert ours["status"] == rows[load, "numpy"]["status"] == "measured"
        assert len(ours["milliseconds_per_step"]["values"]) == 2
        assert all(value is not None for value in ours.values())
        assert rows[load, "torch"]["status"] == "missing: torch is not installed"
        assert rows[load, "torch"].keys() == ours.keys()
    assert rows["deep", "sklearn"]["status"].startswith("cannot: ")
    assert [rows["population-2", who]["networks_timed"] for who in ("manual", "numpy", "sklearn")] == [2, 1, 1]
    assert content["machine"]["float32"]["median"] > 0


def test_a_worker_that_dies_is_a_failure(folder):
    killed = remote.Worker("numpy", "default", folder)
    killed.process.kill()
    with pytest.raises(remote.Refused, match="failed: the worker ended with status -9"):
        killed.ask(train=1)
