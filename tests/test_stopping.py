"""Real studies in real processes that are killed, told to stop, started twice, and short of disk."""

import json
import os
import signal

from mlp_jax.studies import correctness
from tests import studies
from tests.fuzz import mutations

ONE_DEVICE = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}


def test_killed_stopped_and_resumed_it_ends_with_the_same_bits(server, tmp_path_factory, tmp_path):
    """A second process is told to wait."""
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    assert studies.finish(server, undisturbed) == (0, "")
    process = studies.start(server, tmp_path)
    studies.wait_for(process, lambda: studies.newest(tmp_path) > 3)
    status, told = studies.finish(server, tmp_path)
    assert status == 2
    assert told.startswith(f"error: process {process.pid} on ")
    assert told.endswith("wait until it has ended, or choose another --results_dir\n")
    assert studies.stop(process, signal.SIGKILL) == ""
    stop_twice(server, tmp_path)

    assert studies.finish(server, tmp_path, "--resume") == (0, "")  # the dead one's lock is no hindrance
    assert studies.outcome(tmp_path) == studies.outcome(undisturbed)
    bits = [(folder / "depth_study" / correctness.FILE).read_bytes() for folder in (tmp_path, undisturbed)]
    assert bits[0] == bits[1]
    names = [".lock", "accuracy.svg", correctness.FILE, "results.json"]
    assert sorted(os.listdir(tmp_path / "depth_study")) == names


def stop_twice(server, folder):
    """By SIGTERM on one device, then by SIGINT in the second row."""
    reached = studies.newest(folder)
    process = studies.start(server, folder, "--resume", **ONE_DEVICE)
    studies.wait_for(process, lambda: studies.newest(folder) > reached + 3)
    assert studies.stop(process, signal.SIGTERM) == (
        "SIGTERM: stopping after this epoch; once more stops at once, and loses it\n"
        f"stopped by SIGTERM: what is done is kept in {folder}, and the same command goes on from there\n"
    )
    assert process.returncode == 128 + signal.SIGTERM

    reached = studies.newest(folder)
    process = studies.start(server, folder, "--resume")
    rows = folder / "depth_study" / "partial.json"
    studies.wait_for(process, lambda: rows.exists() and studies.newest(folder) > reached)
    studies.stop(process, signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT
    assert len(json.loads(rows.read_text())["rows"]) == 1


def contents(folder):
    found = mutations.state(folder).items()
    return {name: held for name, held in found if isinstance(held, bytes) and not name.endswith(".lock")}


def test_an_interrupted_study_under_other_options(server, tmp_path):
    """--resume refuses them; without it, what there is is set aside."""
    process = studies.start(server, tmp_path)
    rows = tmp_path / "depth_study" / "partial.json"
    studies.wait_for(process, lambda: rows.exists() and studies.newest(tmp_path) > 2 * studies.EPOCHS + 3)
    studies.stop(process, signal.SIGKILL)
    before = contents(tmp_path)
    status, told = studies.finish(server, tmp_path, "--resume", f"--epochs={studies.EPOCHS - 1}", "--l2=0.5")
    assert status == 2
    epochs = f"epochs={studies.EPOCHS} then, {studies.EPOCHS - 1} now"
    assert f"l2=None then, 0.5 now; {epochs}: repeat the options or drop --resume" in told
    assert told.count("\n") == 1
    assert contents(tmp_path) == before
    status, told = studies.finish(server, tmp_path, "--epochs=0")
    assert status == 0
    assert told.count("which --resume would have continued; it is kept as ") == 2
    after = contents(tmp_path / "depth_study")
    assert after["partial.earlier-1.json"] == before["depth_study/partial.json"]
    earlier = [content for name, content in after.items() if name.startswith("checkpoints.earlier-1/")]
    assert earlier == [content for name, content in before.items() if "/checkpoints/" in name]


def test_a_folder_that_vanishes(server, tmp_path):
    """What was there stays as it was, and can be continued where it is now."""
    process = studies.start(server, tmp_path / "here")
    rows = tmp_path / "here" / "depth_study" / "partial.json"
    studies.wait_for(process, rows.exists)
    (tmp_path / "here").rename(tmp_path / "there")
    before = json.loads((tmp_path / "there" / "depth_study" / "partial.json").read_text())
    told = process.communicate()[1].splitlines()
    assert process.returncode == 2
    assert told[-1].startswith(f"error: cannot write {tmp_path}/here/depth_study/")
    assert told[-1].endswith(": No such file or directory; free the disk or change --results_dir")
    assert all(line.startswith("note: no checkpoint could be written to ") for line in told[:-1])
    assert studies.finish(server, tmp_path / "there", "--resume") == (0, "")
    assert studies.outcome(tmp_path / "there")[0][0] == {
        k: v for k, v in before["rows"][0].items() if k != "seconds"
    }


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"


def on_a_full_disk(server, folder, size):
    """The system refuses files of more than `size` KiB, as a full disk refuses them."""
    options = [part for part in studies.STUDY if not part.startswith("--learning_rates")]
    options += ["--hidden=300", "--epochs=2", "--seeds=1", "--learning_rate=0.01", f"--results_dir={folder}"]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    limits = {"first": LIMITED.format(1024 * size), "environment": environment}
    done = server.run("depth_study", *options, **limits)
    return done.status, done.err


def test_a_disk_that_takes_no_checkpoint(server, tmp_path):
    """A note each time, and the study goes on."""
    folder = tmp_path / "depth_study" / "checkpoints"
    note = f"note: no checkpoint could be written to {folder}: File too large; free the disk, training goes on\n"
    assert on_a_full_disk(server, tmp_path, 60) == (0, 4 * note)
    assert len(studies.outcome(tmp_path)[0]) == 2


def test_a_disk_that_takes_no_results(server, tmp_path):
    """One line, exit status 2, and the earlier results are what they were."""
    earlier = tmp_path / "depth_study" / "results.json"
    earlier.parent.mkdir()
    earlier.write_text("earlier")
    status, told = on_a_full_disk(server, tmp_path, 2)
    assert status == 2
    assert told.splitlines()[-1].startswith(f"error: cannot write {tmp_path}/depth_study/")
    assert told.splitlines()[-1].endswith(": File too large; free the disk or change --results_dir")
    assert "Traceback" not in told
    assert earlier.read_text() == "earlier"


LOST = """
import gc, signal
from mlp_jax.studies import signals
signals.listen()
gc.callbacks.append(lambda phase, info: signal.raise_signal(signal.SIGTERM) if phase == "start" else None)
gc.collect()  # Python prints that it ignores the exception, and goes on
gc.callbacks.clear()
try:
    with signals.between_epochs_only():
        print("it goes on")
except signals.Stopped as stopped:
    raise SystemExit(stopped.status)
"""


def test_a_signal_that_came_while_python_collects_garbage_is_not_lost(server):
    done = server.code(LOST)
    assert (done.status, done.out) == (143, ""), done.err
