"""Several processes as one job: true ones, over gloo on loopback."""

import itertools
import os
import signal
import socket
import time

import numpy as np
import pytest

from experiments import depth_study
from mlp_jax import data
from mlp_jax.data.digits import synthetic
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training import layout
from mlp_jax.training.config import TrainConfig
from tests.studies import results_of, without_times

STUDY = {"dataset": "synthetic", "hidden": 4, "layers": "2", "epochs": 1, "seeds": 2, "batch_size": 20}
MANY = {"learning_rates": "0.01,0.02,0.03,0.05,1e30"}  # the last diverges
LONG = {"learning_rate": 0.02, "epochs": 40}
# before the command line: the data are what {data} says
OTHER_DATA = """
from mlp_jax import data
from mlp_jax.errors import UserError
def other(*arguments, **options):
    {data}
data.load = other
"""


@pytest.fixture
def job(server):
    """Starts the processes of a study, each with options and variables of its own, and ends them in any case."""
    started = []

    def start(folder, options, *processes, devices=1, data=(), place=True, **variables):
        """`place`: whether flags say which process is which; if so, `processes` are more flags of each."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        line = [f"--{name}={value}" for name, value in {**STUDY, **options, "results_dir": folder}.items()]
        found = []
        for number, more in enumerate(processes):
            flags = [f"--coordinator=localhost:{port}", f"--num_processes={len(processes)}", *more]
            flags = [*flags, f"--process_id={number}"] if place else []
            needed = {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_COORDINATOR_PORT": str(port)}
            environment = {**os.environ, **needed, **variables, **({} if place else more)}
            first = OTHER_DATA.format(data=data[number]) if data else ""
            arguments = [*line, "--distributed", *flags]
            found.append(server.start("experiments.depth_study", *arguments, environment=environment, first=first))
        started.extend(found)
        return found

    yield start
    for process in started:
        process.kill()


def ended(processes):
    """(status, stdout, stderr) of each."""
    return [(p.returncode, out, err) for p in processes for out, err in [p.communicate(timeout=200)]]


def alone(folder, options):
    depth_study.STUDY.run(depth_study.Config(**{**STUDY, **options}, results_dir=str(folder)))
    return without_times(results_of(folder)["rows"])


def little_memory():
    """The flag that leaves a device room for one run, and half of a second."""
    splits = data.split(synthetic(), validation=200)
    model, recipe = MLPConfig(hidden=(4,), inputs=192), TrainConfig(batch_size=20)
    fixed, run = layout.footprint(model, recipe, splits, 1)
    return f"--max_memory_gb={(fixed + 1.5 * run) / 1e9}"


@pytest.mark.optimized
def test_two_and_four_processes_give_the_rows_of_one(job, tmp_path):
    """In chunks that the process with the least memory dictates; Slurm's variables tell the four who they are."""
    slurm = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "4"}
    slurm |= {"SLURM_STEP_NUM_NODES": "1"}
    four = [{**slurm, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(4)]
    expected = alone(tmp_path / "one", MANY)
    assert [choice["status"] for choice in expected[0]["choice"]] == ["finished"] * 4 + ["diverged"]
    jobs = {
        "two": lambda: job(tmp_path / "two", MANY, [], [little_memory()], devices=2),
        "four": lambda: job(tmp_path / "four", MANY, *four, place=False),
        "shared": lambda: job(tmp_path / "shared", {**MANY, "data_parallel": 4}, [], [], devices=2),
    }
    for name, start in jobs.items():
        (status, out, err), *others = ended(start())
        assert (status, err) == (0, ""), name
        assert others == [(0, "", "")] * len(others), name
        assert out.startswith("| layers |"), name
        files = sorted(os.listdir(tmp_path / name / "depth_study"))
        assert files == [".lock", "accuracy.svg", "correct.safetensors", "results.json"], name
    assert without_times(results_of(tmp_path / "two")["rows"]) == expected
    assert without_times(results_of(tmp_path / "four")["rows"]) == expected
    losses = [row["train_loss"]["values"] for row in (*results_of(tmp_path / "shared")["rows"], *expected)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_what_a_killed_and_a_stopped_job_have_done_is_kept(job, tmp_path):
    """Two processes go on from a checkpoint that process 0 alone can read, then one does, to the same bits."""
    checkpoints = tmp_path / "depth_study" / "checkpoints"
    flags = ["--resume", "--checkpoint_minutes=0", "--heartbeat_timeout=60"]
    last, found = 0, []
    for number in (signal.SIGKILL, signal.SIGTERM):
        processes = job(tmp_path, LONG, flags, flags)
        while all(process.poll() is None for process in processes):
            newest = max((int(path.stem) for path in checkpoints.glob("*.safetensors")), default=0)
            if newest > last + 2:
                break
            time.sleep(0.01)
        last = newest
        processes[1].send_signal(number)
        found.append(ended(processes))
    (survivor, killed), stopped = found
    assert killed == (-signal.SIGKILL, "", "")
    assert survivor[0] in (1, -signal.SIGABRT)  # of Python's exception, or of jax's own end, whichever is sooner
    assert survivor[1:2] == ("",)
    assert [status for status, *_ in stopped] == [128 + signal.SIGTERM] * 2
    assert stopped[0][2].startswith("stopped by SIGTERM: what is done is kept in ")
    assert last < 40
    expected = alone(tmp_path / "one", LONG)
    assert alone(tmp_path, {**LONG, "resume": True}) == expected


PLAIN = "return data.synthetic()"
REFUSED = "raise UserError('no data')"
HANGS = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
LOST = (1, -signal.SIGABRT)  # as above
MISTAKE = "error: the processes of this job differ in {}: give all of them the same\n"
FAILURES = {
    # (data of each, flags of process 1, statuses of each, the whole standard error where it is ours)
    "other data": (
        (PLAIN, "return data.synthetic(train=900)"), [], [(2,)] * 2, [MISTAKE.format("the dataset")] * 2
    ),
    "other options": ((PLAIN, PLAIN), ["--l2=0.5"], [(2,)] * 2, [MISTAKE.format("--l2")] * 2),
    "mistake": ((PLAIN, REFUSED), [], [LOST, (2,)], [None, "error: no data\n"]),
    "the same mistake": ((REFUSED, REFUSED), [], [(2,), (*LOST, 2)], ["error: no data\n", None]),
    "process 0 is killed": ((KILLED, PLAIN), [], [(-signal.SIGKILL,), LOST], ["", None]),
    "hangs": ((PLAIN, HANGS), [], [LOST], [None]),
}  # fmt: skip


def test_a_process_that_fails_ends_the_others(job, tmp_path):
    """All jobs at the same time: most of it is waiting."""
    impatient = ["--heartbeat_timeout=15"]
    jobs = {
        name: job(tmp_path / name, {}, impatient, [*impatient, *flags], data=data)
        for name, (data, flags, _, _) in FAILURES.items()
    }
    for name, (_, _, statuses, errors) in FAILURES.items():
        found = ended(jobs[name][: len(statuses)])
        for (status, out, err), expected, words in zip(found, statuses, errors, strict=True):
            assert status in expected, (name, err)
            assert out == "", name
            assert err == words or words is None, name
    finished = list(itertools.chain(*(tmp_path.glob(f"*/depth_study/{name}") for name in ("*.json", "*.svg"))))
    assert finished == []


def test_a_mistake_before_jax_has_devices_is_one_line(job, tmp_path):
    for status, out, err in ended(job(tmp_path, {}, [], [], JAX_PLATFORMS="cuda")):
        assert (status, out) == (2, "")
        assert err.startswith("error: jax cannot start")
        assert err.count("\n") == 1


def test_a_process_that_is_missing_ends_the_job(job, tmp_path):
    (status, out, err), *_ = ended(job(tmp_path, {}, ["--initialization_timeout=2"], ["--seeds=0"])[:1])
    assert status == -signal.SIGABRT, err
    assert out == ""
    assert os.listdir(tmp_path) == []
