"""Somebody's gradient in a process of its own: what it prints, breaks or never finishes stays there.

A target is code and runs with the user's rights; the second process is there against accidents, not attacks.
"""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from mlp_jax.errors import UserError, user_path
from mlp_jax.gradcheck import layers
from mlp_jax.gradcheck.battery import evaluated
from mlp_jax.gradcheck.candidates import WIDTHS, Candidate
from mlp_jax.gradcheck.reading import pairs
from mlp_jax.gradcheck.reading.answers import Answer, Asked, Question
from mlp_jax.gradcheck.reading.loading import Loaded
from mlp_jax.gradcheck.reading.python2 import floored
from mlp_jax.gradcheck.reading.running import where
from mlp_jax.gradcheck.reading.standins import starred
from mlp_jax.gradcheck.report import Report
from mlp_jax.nn.config import MLPConfig

LAYER = "layer"  # what the second process answers where the target is no network
START_SECONDS = 120  # for python and jax themselves, before the target's own time begins


def foresee(config: MLPConfig | None, seed: int, scale: float) -> Callable[[], None]:
    """Returns what computes, and keeps, the truth that is likeliest asked for: while a target's process starts.

    config: the network of the options; without one it is the smallest that a class or function is checked with.
    """
    likely = replace(config or MLPConfig(hidden=WIDTHS[:1], inputs=7, classes=4), dtype="float64")

    def compute() -> None:
        with contextlib.suppress(Exception):  # what is wrong with the options, or with jax, the check tells
            evaluated(likely, seed=seed, scale=scale)

    return compute


def find(target: str) -> tuple[str, str]:
    """("path/to/file.py" or "package.module", "Name") from a --target.

    The name is "" for a file alone: every layer in it. Raises UserError if it is not one.
    """
    place, colon, name = target.rpartition(":")
    if target.endswith((".py", ".ipynb")):  # a file alone: every layer in it
        place, colon, name = target, ":", "layers"
    if not colon or not place or not name.isidentifier():
        raise UserError(f"target must be path/to/file.py:Name or package.module:Name, not {target!r}")
    if place.endswith((".py", ".ipynb")) or os.sep in place:
        path = user_path(place)
        if not _is_file(path):
            raise UserError(
                f"target {place} is not a file: name a Python file, then a colon and the class or function"
            )
        if path.suffix not in (".py", ".ipynb"):
            raise UserError(f"target {place} is not a Python file: its name must end in .py or .ipynb")
        return str(path.absolute()), "" if place == target else name
    return place, name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, say
        return False


def _serve(pipe: Connection, place: str, name: str, arrays: str) -> None:
    """The second process: answers lists of questions until the pipe is closed."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # also what is written past Python's own streams
        os.dup2(sink, stream)
    os.register_at_fork(after_in_child=pipe.close)  # a copy of this process must not answer too
    pipe.send("started")
    try:
        loaded = Loaded(place)
        network = pairs.joined(getattr(loaded.module, name, None)) is not None
        if not name or (layers.is_layer(name, loaded.module) and not network):
            pipe.send(LAYER)
            pipe.send(_layers(loaded, name, *pipe.recv()))
            return
        asked = Candidate(loaded.get(name), arrays)
        pipe.send((loaded.notes, asked.takes_l2, asked.drops, asked.default_configs()))
        while True:
            request = pipe.recv()
            try:
                pipe.send(_reply(asked, request))
            except UserError as error:
                pipe.send(UserError(_named(str(error))))
    except EOFError:
        return
    except UserError as error:
        pipe.send(UserError(_named(str(error))))
    except BaseException as error:
        pipe.send(UserError(_named(where(error, None))))


def _layers(loaded: Loaded, name: str, seed: int, objective: str) -> Report:
    """The report on one layer, or on all of a file, with what was left out of the file."""
    try:
        report = layers.check(name, loaded.module, seed, objective)
    except UserError as error:
        if not loaded.stopped:
            raise
        raise UserError(f"{error}; only what the file defines is known, for it stops: {loaded.stopped}") from error
    return replace(report, notes=(*loaded.notes, *report.notes))


def _reply(asked: Candidate, request: Any) -> Any:
    """What a target answers to questions, or to a network: others that it may be of."""
    if isinstance(request, MLPConfig):
        return asked.others(request)
    answers = [a._replace(error=a.error and _named(a.error)) for a in asked.ask(request)]
    return answers, asked.leaf_names(request[0].case.config), (*asked.notes, *floored), asked.unbiased


def _named(error: str) -> str:
    """An error, with the missing modules that what is not defined may come from."""
    if "NameError" not in error or not starred:
        return error
    return f"{error}, which may come from {' or '.join(starred)}: that is imported by *, and is not there"


class Target(Asked):
    """A candidate in a second process, which ends with this object's `with` block; see `reading.answers.Asked`.

    timeout: seconds that the target's own code may take, altogether. meanwhile: called while the process starts.
    """

    def __init__(
        self, target: str, arrays: str, timeout: float, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        self._place, self._symbol = find(target)
        self._meanwhile = meanwhile
        self._arrays, self._left, self._timeout = arrays, timeout, timeout
        self.name = f"{target}"

    def __enter__(self) -> "Target":
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self._place, self._symbol, self._arrays)
        self._process = context.Process(target=_serve, args=arguments)
        self._process.start()
        theirs.close()
        try:
            self._meanwhile()
            if self._wait(START_SECONDS) != "started":
                raise UserError("the second process did not start: run again")
            first = self._timed()
            if first == LAYER:
                self.layer = self._layer
            else:
                self._of_file, self.takes_l2, self.drops, self._configs = first
                self.notes = self._of_file
        except BaseException:  # without an entered `with` block, nothing else would end the process
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def _wait(self, seconds: float) -> Any:
        try:
            if not self._pipe.poll(seconds):
                raise UserError(
                    f"{self.name} took longer than {self._timeout:g} seconds and was ended: "
                    "mend an endless loop, or give it more with --timeout"
                )
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise UserError(
                f"{self.name} ended its process (exit code {self._process.exitcode}) instead of answering"
            ) from error
        if isinstance(answer, UserError):
            told = str(answer)
            raise UserError(told if os.path.basename(self._place) in told else f"{self.name}: {told}")
        return answer

    def _timed(self) -> Any:
        started = time.monotonic()
        answer = self._wait(max(self._left, 0))
        self._left -= time.monotonic() - started
        return answer

    def _layer(self, seed: int, objective: str) -> Report:
        if self._arrays not in ("auto", "numpy"):
            raise UserError(f"{self.name} is a layer, which is given numpy arrays: leave --arrays out")
        self._pipe.send((seed, objective))
        report = self._timed()
        assert isinstance(report, Report)
        return replace(report, name=self.name)

    def default_configs(self) -> list[MLPConfig]:
        """See `reading.answers.Asked`."""
        return list(self._configs)

    def others(self, config: MLPConfig) -> list[MLPConfig]:
        """See `reading.answers.Asked`."""
        self._pipe.send(config)
        return list(self._timed())

    def ask(self, questions: list[Question]) -> list[Answer]:
        """See `reading.answers.Asked`."""
        with contextlib.suppress(OSError):  # a process that has ended is told of below
            self._pipe.send(questions)
        answers, self._names, told, self.unbiased = self._timed()
        self.notes = tuple(dict.fromkeys((*self._of_file, *told)))
        return list(answers)

    def leaf_name(self, k: int, field: str) -> str:
        """See `reading.answers.Asked`."""
        return str(self._names[k, field])
