"""A second process beside training: its answer, its words and its errors arrive, and it ends with the first."""

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest

from mlp_jax.errors import UserError
from mlp_jax.studies import aside
from tests.commands import ROOT


def told(number):
    print(f"said {number}")
    return {"square": number**2}


def mistaken():
    raise UserError("results_dir cannot be written")


def broken():
    return dict[str, int]()["no such key"]


def ended():
    os._exit(7)


def test_answers_words_and_errors_arrive(capfd):
    with contextlib.ExitStack() as stack:
        right, wrong, bug, gone = (
            stack.enter_context(aside.started(*job)) for job in ((told, 3), (mistaken,), (broken,), (ended,))
        )
        assert right() == {"square": 9}
        assert capfd.readouterr() == ("said 3\n", "")
        with pytest.raises(UserError, match="results_dir cannot be written"):
            wrong()
        with pytest.raises(RuntimeError, match=r"(?s)in broken\n.*KeyError: 'no such key'"):
            bug()
        with pytest.raises(RuntimeError, match="exit code 7"):
            gone()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_gradient_check_ends_with_the_main_job(tmp_path, number):
    if not aside.worthwhile():
        pytest.skip("there is one core, or a GPU: all is one process")
    options = ["--scale=smoke", "--studies=gradient_check,depth_study", f"--results_dir={tmp_path}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "experiments.reproduce", *options]
    with subprocess.Popen(command, cwd=ROOT, **pipes) as job:
        assert "gradient_check (1 of 3) runs in a second process" in job.stdout.readline()
        children = psutil.Process(job.pid).children(recursive=True)
        assert len(children) > 1
        job.send_signal(number)
        _, said = job.communicate()
        assert job.returncode == (-number if number == signal.SIGKILL else 128 + number)
        assert "Traceback" not in said
        assert not psutil.wait_procs(children, timeout=60)[1]
