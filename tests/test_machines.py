"""Several processes as one job: true ones, over gloo on loopback, and how they meet."""

import itertools
import json
import os
import signal
import socket
import threading
import time

import jax
import numpy as np
import pytest

from experiments import depth_study
from mlp_jax.errors import UserError
from mlp_jax.studies import meeting
from mlp_jax.studies.place import Place
from mlp_jax.training import population
from tests import machines
from tests.test_experiments import rows_of, start, without_times

STUDYING = "experiments.depth_study"
STUDY = {"dataset": "synthetic", "hidden": 4, "epochs": 1, "seeds": 2, "learning_rate": 0.02}
# before the same command line: a process counts as lost sooner, and the data may be what `data` says
IMPATIENT = """
from mlp_jax.studies import machines
from mlp_jax import data
machines.SILENCE = 5.0
def other(*arguments, **options):
    {data}
data.load = other
"""
PLAIN = "return data.synthetic()"
HANG = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


given: set[int] = set()


def free_port():
    """None twice: one that its process has not opened yet is still free."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        if port not in given:
            given.add(port)
            return port


@pytest.fixture
def process(server):
    """Starts a process as the server does, with this number of devices and these variables."""

    def start(module, *arguments, devices=1, first="", **variables):
        environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), **variables}
        return server.start(module, *arguments, environment=environment, first=first)

    return start


def study(folder, layers, *more):
    options = {**STUDY, "layers": layers, "results_dir": folder}
    return [f"--{name}={value}" for name, value in options.items()] + list(more)


@pytest.fixture
def pair(process):
    """Starts the two processes of a study."""

    def start(folder, layers, *more, data=(PLAIN, PLAIN)):
        place = ["--distributed", f"--coordinator=localhost:{free_port()}", "--num_processes=2", *more]
        lines = [study(folder, layers, *place, f"--process_id={i}") for i in (0, 1)]
        return [process(STUDYING, *lines[i], first=IMPATIENT.format(data=data[i])) for i in (0, 1)]

    return start


def ended(processes, *, hanging=False):
    """(status, stdout, stderr) of each; if the last is `hanging`, it is killed when the first has ended."""
    found = []
    try:
        for p in processes:
            out, err = p.communicate(timeout=200)
            found.append((p.returncode, out, err))
            if hanging:
                processes[-1].kill()
    finally:
        for p in processes:
            p.kill()
    return found


def alone(folder, layers):
    depth_study.STUDY.run(depth_study.Config(**STUDY, layers=layers, results_dir=str(folder)))
    return without_times(rows_of(folder))


@pytest.mark.optimized
def test_populations_on_two_processes_of_two_devices(process):
    """The bits of one process; a minibatch shared inside a process, and by both."""
    place = (f"localhost:{free_port()}", "2")
    jobs = [process("tests.machines", *place, str(i), devices=2) for i in (0, 1)]
    here = population.train_population(machines.seven_runs(), machines.splits(), devices=jax.devices()[:1])
    assert [result.status for result in here] == ["finished"] * 6 + ["diverged"]
    (status, out, err), other = ended(jobs)
    assert (status, err, other) == (0, "", (0, "", ""))
    told, found = out.splitlines()
    assert told == "2 processes, 4 devices"
    found = json.loads(found)
    assert found["digests"] == [machines.digest(result) for result in here]
    for number in (2, 4):
        losses = [result.history.loss for result in here[:3]]
        np.testing.assert_allclose(found[f"shared by {number}"], losses, rtol=1e-4)
    assert found["memory"] < 1e7  # process 1's


@pytest.mark.optimized
def test_four_processes_on_slurm_give_the_rows_of_one(process, tmp_path):
    """And `jax` finds out about Slurm by itself."""
    slurm = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "4"}
    slurm |= {"SLURM_STEP_NUM_NODES": "1", "JAX_COORDINATOR_PORT": str(free_port())}
    command = [STUDYING, *study(tmp_path / "four", "2", "--distributed")]
    jobs = [process(*command, SLURM_PROCID=str(i), SLURM_LOCALID=str(i), **slurm) for i in range(4)]
    expected = alone(tmp_path / "one", "2")
    (status, out, err), *others = ended(jobs)
    assert (status, err) == (0, "")
    assert others == [(0, "", "")] * 3
    assert out.startswith("| layers |")
    assert without_times(rows_of(tmp_path / "four")) == expected
    assert sorted(os.listdir(tmp_path / "four" / "depth_study")) == [
        ".lock", "accuracy.svg", "correct.safetensors", "results.json",
    ]  # fmt: skip


def test_a_killed_process_ends_the_job_and_resume_continues(pair, tmp_path):
    """Each time a row more is kept; the last ones come from one process alone."""
    partial = tmp_path / "depth_study" / "partial.json"
    kept: list[dict[str, object]] = []
    for lost, words in [
        (1, "process 1 of 2 ended before the job did: what was finished is kept"),
        (0, "process 0 of 2 ended before the job did, and it alone writes results: what was finished is kept"),
    ]:
        jobs = pair(tmp_path, "1,2,3,4", "--resume")
        while all(p.poll() is None for p in jobs):
            if partial.exists() and len(json.loads(partial.read_text())["rows"]) > len(kept):
                break
            time.sleep(0.01)
        jobs[lost].kill()
        found = ended(jobs)[1 - lost]
        assert found == (3, "", f"error: {words}, and --resume continues\n")
        rows = json.loads(partial.read_text())["rows"]
        assert rows[: len(kept)] == kept
        kept = rows
    depth_study.STUDY.run(depth_study.Config(**STUDY, layers="1,2,3,4", results_dir=str(tmp_path), resume=True))
    rows = rows_of(tmp_path)
    assert rows[: len(kept)] == kept
    assert without_times(rows) == alone(tmp_path / "one", "1,2,3,4")


def test_a_signal_to_one_process_stops_all_with_a_checkpoint(pair, tmp_path):
    """Two processes go on from it, where only process 0 can read it, and then one alone; the bits are the same."""
    longer = ("--epochs=40", "--checkpoint_minutes=0")
    checkpoints = tmp_path / "depth_study" / "checkpoints"
    last = 0
    for _ in range(2):
        jobs = pair(tmp_path, "2", "--resume", *longer)
        while all(p.poll() is None for p in jobs):
            numbers = [int(path.stem) for path in checkpoints.glob("*.safetensors")]
            if numbers and max(numbers) > last + 2:
                last = max(numbers)
                break
            time.sleep(0.01)
        jobs[1].send_signal(signal.SIGTERM)
        found = ended(jobs)
        assert [status for status, *_ in found] == [128 + signal.SIGTERM] * 2
        assert found[0][2].startswith("stopped by SIGTERM: what is done is kept in ")
    options = {**STUDY, "epochs": 40, "layers": "2"}
    depth_study.STUDY.run(depth_study.Config(**options, results_dir=str(tmp_path), resume=True))
    depth_study.STUDY.run(depth_study.Config(**options, results_dir=str(tmp_path / "one")))
    assert without_times(rows_of(tmp_path)) == without_times(rows_of(tmp_path / "one"))


FAILURES = {
    # a mistake is told by process 0 alone
    "other data": (
        (PLAIN, "return data.synthetic(train=900)"), [2, 2], ["process 1 of 2 has another dataset", ""]
    ),
    "error": ((PLAIN, "raise KeyError('x')"), [3, 1], ["process 1 of 2: KeyError: 'x'\n", "Traceback"]),
    "hangs": (
        (PLAIN, HANG), [3, -9], ["process 1 of 2 has not been heard of for 5 s: what was finished is kept", ""]
    ),
    "killed": ((KILLED, PLAIN), [-9, 3], ["", "error: process 0 of 2 ended before the job did"]),
}  # fmt: skip


def test_a_process_that_fails_ends_the_others(pair, tmp_path):
    """Four jobs at the same time: most of it is waiting."""
    jobs = {name: pair(tmp_path / name, "1", data=data) for name, (data, _, _) in FAILURES.items()}
    try:
        found = {name: ended(job, hanging=name == "hangs") for name, job in jobs.items()}
    finally:
        for p in itertools.chain(*jobs.values()):
            p.kill()
    for name, (_, statuses, errors) in FAILURES.items():
        assert [status for status, *_ in found[name]] == statuses, name
        assert [out for _, out, _ in found[name]] == ["", ""], name
        for (_, _, err), words in zip(found[name], errors, strict=True):
            assert words in err, name
            assert bool(err) == bool(words), name
            assert "Traceback" in err or err.count("\n") == bool(err), name


def test_a_process_that_is_missing(process, tmp_path):
    """The others name it; nothing was done."""
    place = ["--distributed", f"--coordinator=localhost:{free_port()}", "--num_processes=3"]
    command = [STUDYING, *study(tmp_path, "1", *place)]
    patient = process(*command, "--process_id=1", "--start_timeout=200")
    found = ended([patient, process(*command, "--process_id=0", "--start_timeout=5")])
    for status, out, err in found:
        assert (status, out) == (2, "")
        assert err.startswith("error: process 2 of 3 did not start within 5 s: start all")
        assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []


MISTAKES = [
    ("", "no cluster found (Slurm, Open MPI, Cloud TPU; Kubernetes needs jax[k8s]): give --coordinator=HOST:PORT"),
    ("--coordinator=localhost:1", "--num_processes and --process_id must be given too"),
    ("--num_processes=2 --process_id=0", "--coordinator must be given too"),
    ("--coordinator=h:1 --num_processes=2 --process_id=2", "--process_id=2 must be less than --num_processes=2"),
    ("--coordinator=h:1 --num_processes=2 --process_id=-1", "--process_id must be a whole number of at least 0"),
    ("--coordinator=h:1 --num_processes=0 --process_id=0", "--num_processes must be a whole number of at least 1"),
    ("--coordinator=h --num_processes=2 --process_id=0", "--coordinator must be HOST:PORT"),
    ("--coordinator=h:99999 --num_processes=2 --process_id=0", "--coordinator must be HOST:PORT"),
    ("--start_timeout=0", "--start_timeout must be a whole number of at least 1"),
    ("--coordinator=localhost:{free} --num_processes=2 --process_id=0 --start_timeout=1",
     "process 1 of 2 did not start within 1 s: start all"),
    ("--coordinator=localhost:{free} --num_processes=2 --process_id=1 --start_timeout=1",
     "process 0 of 2 did not start within 1 s: nothing answers at localhost:{free} (Connection refused)"),
    ("--coordinator=no.such.host.invalid:1 --num_processes=2 --process_id=1 --start_timeout=1",
     "process 0 of 2 did not start within 1 s: nothing answers at no.such.host.invalid:1"),
    ("--coordinator=localhost:{taken} --num_processes=2 --process_id=0",
     "cannot listen at port {taken}: Address already in use: does another job use it?"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "message"), MISTAKES)
def test_a_mistake_is_one_line_before_any_work(flags, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = {"free": free_port(), "taken": server.getsockname()[1]}
        arguments = flags.format(**ports).split()
        assert start(monkeypatch, "depth_study", "--distributed", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message.format(**ports)}")
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_the_flags_are_for_distributed(monkeypatch, capsys):
    assert start(monkeypatch, "depth_study", "--process_id=0") == 2
    assert "--process_id are for --distributed: add it" in capsys.readouterr().err


def test_a_cluster_that_says_nonsense(monkeypatch, capsys):
    for name in ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID"):
        monkeypatch.setenv(f"SLURM_{name}", "x")
    assert start(monkeypatch, "depth_study", "--distributed") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: cannot tell this process's place in the cluster")
    assert err.count("\n") == 1


def met(*hellos, timeout=3):
    """What each process of a job got: the message that it was refused with, or the number of its lines."""
    port, found = free_port(), {}

    def one(position, process, processes, options):
        try:
            found[position] = len(meeting.meet(Place("localhost", port, processes, process), options, timeout)[1])
        except UserError as error:
            found[position] = str(error)

    threads = [threading.Thread(target=one, args=(i, *hello)) for i, hello in enumerate(hellos)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[i] for i in range(len(hellos))]


def test_meeting():
    assert met((2, 3, {}), (0, 3, {}), (1, 3, {})) == [1, 2, 1]
    refused = met((0, 2, {"l2": 0.0}), (1, 2, {"l2": 0.5}))
    assert refused == ["process 1 has other options: l2=0.5 there, 0.0 on process 0: give all the same"] * 2
    refused = met((0, 2, {}), (1, 4, {}))
    assert refused == ["process 1 has other options: num_processes=4 there, 2 on process 0: give all the same"] * 2
    found = met((0, 3, {}), (1, 3, {}), (1, 3, {}), timeout=2)
    assert sum("process 1 of 3 is there already" in str(message) for message in found) == 1
    assert sum("process 2 of 3 did not start" in str(message) for message in found) == 2


def test_a_stranger_does_not_matter():
    place = Place("localhost", free_port(), 2, 0)
    found = []
    zero = threading.Thread(target=lambda: found.append(meeting.meet(place, {}, 20)))
    zero.start()
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"", b"\0\0\0\2[]", b"\0\0\0\2{}", b"\0\0\0\5hello"):
        with meeting.connect("localhost", place.port, time.monotonic() + 20) as stranger:
            stranger.sendall(words)
    meeting.meet(Place("localhost", place.port, 2, 1), {}, 20)
    zero.join()
    assert list(found[0][1]) == [1]
