"""What users get wrong: one line on standard error that says what to do, exit status 2, and nothing lost.

`messages.txt` has the commands, and beside each the line that it prints; `wrong_options` makes more of them.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mlp_jax.gradcheck.witness import trusted_witness
from tests import messages, wrong_options
from tests.commands import A_READER_LEAVES, ROOT, SCRIPTS, python
from tests.messages import FILES, FLAGS, GENERATED
from tests.small import LEAST

TOLD = messages.told()
NAMELESS = {
    "compare_results": "give two results files",
    "predict": "name the pictures",
    "depth_study --flagfile={binary_flags}": "codec can't decode",
    "depth_study --flagfile={nul_flags}": "NUL byte",
    "depth_study --hidden=1000000000000000000000000000000": "choose widths",
    "activation_study --width=1000000000000000000000000000000": "choose widths",
    "best_model --hidden=30000,30000": "the network would take 4.0 GB",
}
"""What is said where no flag and no file is named: what a command without words lacks; of sizes, the sum."""
VARIABLES = [
    ("XLA_FLAGS=--xla_nonsense=3", "Unknown flag in XLA_FLAGS: --xla_nonsense=3", False),
    ("XLA_FLAGS=nonsense", 'Could not open file "nonsense"', False),
    ("XLA_FLAGS=--xla_force_host_platform_device_count=-1", "XLA cannot use XLA_FLAGS=", False),
    ("TFDS_DATA_DIR=~nobody-of-this-name/x", "names a home directory that is not known", False),
    ("TFDS_DATA_DIR=/dev/null", "CIFAR-10 is not prepared in /dev/null/cifar10/3.0.2", False),
    ("XDG_CACHE_HOME=~nobody-of-this-name/x", "names a home directory that is not known", True),
    ("JAX_PLATFORMS=nonsense", "correct JAX_PLATFORMS=nonsense", True),
    ("JAX_ENABLE_X64=maybe", "invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'", True),
]
"""Variables of the environment. True: jax reads it when it is imported, so that a whole new process is needed."""


@pytest.fixture
def place(tmp_path):
    return messages.place(tmp_path)


def everything(folder):
    """What lies below the folder: files with what they hold, others by their kind.

    What remembers in the cache that jax.grad was right is left out.
    """

    def held(path):
        if not path.is_file():
            return path.lstat().st_mode
        return path.read_bytes() if path.stat().st_size < 2**24 else (path.stat().st_size, path.stat().st_mtime_ns)

    names = {path: str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {
        name: held(path)
        for path, name in names.items()
        if "witness-" not in name and name not in ("cache", "cache/mlp_jax")
    }


def started(folder):
    """Variables of a process that starts in this folder."""
    return {**messages.environment(folder), "PYTHONPATH": str(ROOT)}


def assert_refused(done, *named):
    """Status 2, one printable line, and in it one of these words: the flag, or the file."""
    assert re.fullmatch(r"error: .*\n", done.err), done.err
    assert done.err[:-1].isprintable()
    assert (done.status, done.out) == (2, "")
    assert any(word in done.err for word in named), f"{done.err!r} names none of {named}"


def named_by(command):
    """Words of the command of which a message about it must have one: flags, values, names of files."""
    for argument in shlex.split(command)[1:]:
        flag, _, value = argument.partition("=")
        name = flag.lstrip("-")
        yield from (name, re.sub("ies$", "y", name).removesuffix("s"), Path(value).name.strip("{}"), value[:9])


@pytest.fixture
def here(place, monkeypatch):
    """This process is in that place, as if just started there, and knows that jax.grad is right."""
    trusted_witness()
    monkeypatch.chdir(place)
    monkeypatch.setenv("TFDS_DATA_DIR", str(place / "nowhere"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_wrong_value_of_an_option(script, place, here):
    before = everything(place)
    sentences = set(TOLD[GENERATED].values())
    for option, value, command in wrong_options.commands():
        if command.split()[0] == script:
            done = messages.here(shlex.split(command))
            one = re.sub("ies$", "y", option).removesuffix("s")
            assert_refused(done, option, one, *([value] if value else []))
            assert messages.sentence(option, value, done.err) in sentences, f"python -m tests.messages: {command}"
    assert everything(place) == before


@pytest.mark.parametrize("command", TOLD[FLAGS])
def test_a_flag(command, server, place, here):
    """Found before anything is read, made or computed; unless the command says otherwise, without a data set."""
    words = messages.words(command, place)
    before = everything(place)
    alone = "--distributed" in words  # jax has started here, and cannot be one of several processes any more
    done = messages.run(server, messages.without_data(*words), place) if alone else messages.here(words)
    assert_refused(done, *([NAMELESS[command]] if command in NAMELESS else named_by(command)))
    assert messages.own_words(done.err, place) == TOLD[FLAGS][command]
    assert everything(place) == before


@pytest.mark.parametrize("command", TOLD[FILES])
def test_a_file(command, server, place):
    """A file that the command reads is wrong, or one is where it wants to write."""
    words = messages.words(command, place)
    before = everything(place)
    done = messages.run(server, words, place)
    assert_refused(done, *named_by(shlex.join(words)))
    assert messages.own_words(done.err, place) == TOLD[FILES][command]
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
        done = python("-m", "experiments.depth_study", folder=place, environment=variables)
    else:
        arguments = ["--dataset=cifar10", "--archive=none.tar.gz"]
        done = server.run("depth_study", *arguments, folder=place, environment=variables)
    assert_refused(done, message)
    assert {name: everything(place).get(name) for name in before} == before


# Standard output that cannot be written to

A_FULL_DISK = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"


def test_a_reader_that_leaves(server, place):
    """The results are written in full, and the status tells."""
    where = {"folder": place, "environment": started(place), "first": A_READER_LEAVES}
    assert server.run("depth_study", *LEAST, **where) == (141, "", "")
    content = json.loads((place / "results" / "depth_study" / "results.json").read_text())
    assert [row["status"] for row in content["rows"]] == ["finished"]
    assert (place / "results" / "depth_study" / "accuracy.svg").exists()
    assert server.run("best_model", "--help", **where) == (141, "", "")


def test_a_full_disk_and_no_standard_output(server, place):
    """/dev/full is as a disk that is full; a shell's >&- leaves no standard output at all."""
    where = {"folder": place, "environment": started(place), "first": A_FULL_DISK}
    full = "error: cannot write to standard output: No space left on device\n"
    assert server.run("depth_study", "--help", **where) == (2, "", full)
    line = f"{sys.executable} -m experiments.depth_study --layers=x >&-"
    done = subprocess.run(line, shell=True, cwd=place, env=started(place), capture_output=True, text=True)
    told = "error: --layers must be whole numbers with commas between them, not 'x'\n"
    assert (done.returncode, done.stderr) == (2, told)


def test_a_start_of_its_own_says_the_same_as_a_fork(server, place):
    before = everything(place)
    variables = started(place)
    done = python("-m", "experiments.reproduce", "--seeds=0", folder=place, environment=variables)
    assert_refused(done, "seeds must be")
    assert done == server.run("reproduce", "--seeds=0", folder=place, environment=variables)
    assert everything(place) == before


def test_a_folder_that_may_not_be_written(server, place):
    """By a user who is not root: nobody, if root runs the tests."""
    (place / "locked").mkdir(mode=0o555)
    before, where = everything(place), {"folder": place, "environment": messages.environment(place)}
    user = 65534 if os.geteuid() == 0 else None
    done = server.run("depth_study", "--results_dir=locked", **where, user=user)
    assert_refused(done, "cannot write results to locked/depth_study: Permission denied")
    assert everything(place) == before


def test_there_is_a_mistake_for_every_script():
    assert {command.split()[0] for part in TOLD.values() for command in part} == {*SCRIPTS}
