"""What users get wrong: one line on standard error that says what to do, exit status 2, and nothing lost.

The rows are in `bad_input`; each is run as a process of its own (`commands`).
"""

import json
import os
import re
import shlex
import string
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from tests import bad_data, bad_files
from tests.bad_input import FILES, FLAGS, VARIABLES, WORDS
from tests.commands import ROOT, SCRIPTS, Done

MAKERS = {**vars(bad_files), **vars(bad_data)}


@pytest.fixture
def place(tmp_path):
    """The folder in which a command starts, with earlier results in it."""
    folder = tmp_path / "place"
    for name in ("depth_study", "best_model"):
        (folder / "results" / name).mkdir(parents=True)
        (folder / "results" / name / "results.json").write_text('{"kept": "as it is"}')
    return folder


def words(command, folder):
    """The script and its arguments; files that the command names are made."""
    names = [name for _, name, *_ in string.Formatter().parse(command) if name]
    made = {name: WORDS[name] if name in WORDS else MAKERS[name](folder) for name in names}
    return shlex.split(command.format(**made))


def everything(folder):
    """What lies below the folder: files with what they hold, others by their kind.

    What remembers in the cache that jax.grad was right is left out.
    """

    def held(path):
        if not path.is_file():
            return path.lstat().st_mode
        return path.read_bytes() if path.stat().st_size < 2**24 else path.stat()

    names = {path: str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {
        name: held(path)
        for path, name in names.items()
        if "witness-" not in name and name not in ("cache", "cache/mlp_jax")
    }


def environment(folder):
    """Of a command: data sets and caches are nowhere but in its folder."""
    own = {"TFDS_DATA_DIR": str(folder / "nowhere"), "XDG_CACHE_HOME": str(folder / "cache")}
    inherited = {
        name: value for name, value in os.environ.items() if name != "XLA_FLAGS"
    }  # each start would try them
    return {**inherited, **own, "MPLCONFIGDIR": matplotlib.get_cachedir()}  # a new list of fonts takes a second


def at(folder):
    """Options of `server.run`."""
    return {"folder": folder, "environment": environment(folder)}


def started(folder):
    """The same for a start of its own."""
    return {**environment(folder), "PYTHONPATH": str(ROOT)}


def assert_refused(done, message):
    assert message in done.err
    assert re.fullmatch(r"error: .*\n", done.err), done.err
    assert "Traceback" not in done.err + done.out
    assert done.status == 2
    assert done.out == ""


def without_data(script, *arguments):
    chosen = script in ("predict", "compare_results") or any(
        argument.startswith("--dataset") for argument in arguments
    )
    return [*arguments] if chosen else ["--dataset=cifar10", *arguments]


@pytest.mark.parametrize(("command", "message"), FLAGS, ids=[command for command, _ in FLAGS])
def test_a_flag(command, message, server, place):
    script, *arguments = words(command, place)
    before = everything(place)
    done = server.run(script, *without_data(script, *arguments), **at(place))
    assert_refused(done, message)
    assert everything(place) == before


@pytest.mark.parametrize(("command", "message"), FILES, ids=[command for command, _ in FILES])
def test_a_file(command, message, server, place):
    script, *arguments = words(command, place)
    before = everything(place)
    done = server.run(script, *arguments, **at(place))
    assert_refused(done, message)
    after = everything(place)
    assert {name: after.get(name) for name in before} == before
    new = {name for name in after.keys() - before.keys() if not (place / name).is_dir()}
    assert {Path(name).name for name in new} <= {".lock"}  # it names its process, and holds nobody up


@pytest.mark.parametrize(("variable", "message", "anew"), VARIABLES, ids=[row[0] for row in VARIABLES])
def test_a_variable(variable, message, anew, server, place):
    name, _, value = variable.partition("=")
    variables = {**started(place), name: value}
    before = everything(place)
    if anew:
        del variables["JAX_COMPILATION_CACHE_DIR"]
        done = command("depth_study", place, variables)
    else:
        arguments = ["--dataset=cifar10", "--archive=none.tar.gz"]
        done = server.run("depth_study", *arguments, folder=place, environment=variables)
    assert_refused(done, message)
    assert {name: everything(place).get(name) for name in before} == before


def command(script, folder, variables, *arguments):
    """`python -m experiments.SCRIPT`, with nothing done beforehand."""
    line = [sys.executable, "-m", f"experiments.{script}", *arguments]
    done = subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)
    return Done(done.returncode, done.stdout, done.stderr)


# Standard output that cannot be written to: real processes and a real pipe


def unread(script, folder, *arguments):
    """Status and standard error of a command whose standard output is a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, "-m", f"experiments.{script}", *arguments]
    done = subprocess.run(line, cwd=folder, env=started(folder), stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    return done.returncode, done.stderr


STUDY = ("--dataset=synthetic", "--layers=1", "--epochs=1", "--seeds=1", "--learning_rate=0.1", "--hidden=4")


def test_a_reader_that_leaves(place):
    """The results are written in full, and the status tells."""
    assert unread("depth_study", place, *STUDY) == (141, "")
    content = json.loads((place / "results" / "depth_study" / "results.json").read_text())
    assert [row["status"] for row in content["rows"]] == ["finished"]
    assert (place / "results" / "depth_study" / "accuracy.svg").exists()
    assert unread("best_model", place, "--help") == (141, "")


def test_a_full_disk_and_no_standard_output(place):
    """/dev/full is as a disk that is full; a shell's >&- leaves no standard output at all."""
    command = f"{sys.executable} -m experiments.depth_study"
    for where, arguments, end in (
        (">/dev/full", "--help", (2, "error: cannot write to standard output: No space left on device\n")),
        (">&-", "--layers=x", (2, "error: --layers must be whole numbers with commas between them, not 'x'\n")),
    ):
        line = f"{command} {arguments} {where}"
        done = subprocess.run(line, shell=True, cwd=place, env=started(place), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == end


@pytest.mark.parametrize(
    ("script", "argument", "message"),
    [
        ("grid_search", "--layers=3", "Unknown command line flag 'layers'"),
        ("reproduce", "--seeds=0", "seeds must be"),
    ],
)
def test_a_start_of_its_own_says_the_same_as_a_fork(script, argument, message, server, place):
    before = everything(place)
    variables = started(place)
    done = command(script, place, variables, argument)
    assert_refused(done, message)
    assert done == server.run(script, argument, folder=place, environment=variables)
    assert everything(place) == before


def test_a_folder_that_may_not_be_written(server, place):
    """By a user who is not root: nobody, if root runs the tests."""
    (place / "locked").mkdir(mode=0o555)
    before = everything(place)
    user = 65534 if os.geteuid() == 0 else None
    done = server.run("depth_study", "--results_dir=locked", **at(place), user=user)
    assert_refused(done, "cannot write results to locked/depth_study: Permission denied")
    assert everything(place) == before


def test_the_table_covers_every_script_and_says_nothing_twice():
    rows = [*FLAGS, *FILES]
    assert len(set(rows)) == len(rows)
    assert {command.split()[0] for command, _ in rows} == {*SCRIPTS}
