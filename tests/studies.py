"""A small study as a real process that can be stopped, and what is compared of two that have ended."""

import json
import os
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 12
# two rows of several runs, with all that a run carries from step to step
STUDY = (
    "--dataset=synthetic", "--layers=2,3", "--hidden=8", "--batch_norm=before", "--dropout=0.1",
    "--optimizer=adam", "--seeds=2", "--learning_rates=0.01,0.02", f"--epochs={EPOCHS}", "--checkpoint_minutes=0",
)  # fmt: skip


def start(server, folder, *more, **environment):
    """The study, by a fork of the commands' server."""
    arguments = (*STUDY, f"--results_dir={folder}", *more)
    return server.start("experiments.depth_study", *arguments, environment={**os.environ, **environment})


def finish(server, folder, *more, **environment):
    """Status and standard error of a process that nobody stops."""
    process = start(server, folder, *more, **environment)
    _, told = process.communicate()
    return process.returncode, told


def stop(process, number):
    """Sends the signal; gives what the process wrote to standard error until it ended."""
    process.send_signal(number)
    return process.communicate()[1]


def newest(folder):
    """Number of the last checkpoint; 0 if there is none."""
    found = (folder / "depth_study" / "checkpoints").glob("*.safetensors")
    return max((int(path.stem) for path in found), default=0)


def wait_for(process, condition):
    """Until the condition holds; the process must not end before that."""
    limit = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


def results_of(folder, study="depth_study"):
    """What the study's results file holds."""
    return json.loads((folder / study / "results.json").read_text())


def without_times(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def outcome(folder):
    """All that is to be the same, to the last bit: the rows, with digests of parameters, without times."""
    content = results_of(folder)
    return without_times(content["rows"]), content["comparisons"], content["config"]
