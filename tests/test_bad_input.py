"""What users get wrong: one line on standard error that says what to do, exit status 2, and nothing lost.

The rows are in `bad_input`; each is run as a process of its own (`commands`).
"""

import os
import re
import shlex
import string

import pytest

from tests import bad_files
from tests.bad_input import FLAGS, WORDS
from tests.commands import Server


@pytest.fixture(scope="module")
def server():
    with Server() as started:
        yield started


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
    made = {name: WORDS[name] if name in WORDS else getattr(bad_files, name)(folder) for name in names}
    return shlex.split(command.format(**made))


def everything(folder):
    """What lies below the folder: files with what they hold, others by their kind."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else path.lstat().st_mode
        for path in folder.rglob("*")
    }


def environment(folder):
    """Of a command: data sets and caches are nowhere but in its folder."""
    return {**os.environ, "TFDS_DATA_DIR": str(folder / "nowhere"), "XDG_CACHE_HOME": str(folder / "cache")}


def assert_refused(done, message):
    assert message in done.err
    assert re.fullmatch(r"error: .*\n", done.err), done.err
    assert "Traceback" not in done.err + done.out
    assert done.status == 2
    assert done.out == ""


def without_data(script, *arguments):
    chosen = any(argument.startswith("--dataset") for argument in arguments)
    return [*arguments] if chosen else ["--dataset=cifar10", *arguments]


@pytest.mark.parametrize(("command", "message"), FLAGS, ids=[command for command, _ in FLAGS])
def test_a_flag(command, message, server, place):
    script, *arguments = words(command, place)
    before = everything(place)
    done = server.run(script, without_data(script, *arguments), place, environment(place))
    assert_refused(done, message)
    assert everything(place) == before
