"""Runs somebody's code quietly, stops it when it takes too long, and says in one line where it failed."""

import contextlib
import inspect
import os
import random
import signal
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from mlp_jax.errors import UserError

OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
"""The checker's own files."""
PYTHON = sysconfig.get_path("stdlib") + os.sep


def begin_anew() -> None:
    """Seeds the global generators: what is asked again draws the same numbers."""
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


_quiet = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a candidate prints, warns of, or draws from global generators stays its own; these begin anew.

    Inside another such block their states are not kept once more, which takes longer than all else here.
    """
    global _quiet
    states = None if _quiet else (np.random.get_state(), random.getstate())  # noqa: NPY002
    before, _quiet = _quiet, True
    begin_anew()
    nowhere = open(os.devnull, "w")  # noqa: SIM115  # the candidate may close what is below it
    try:
        with (
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            np.errstate(all="ignore"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        _quiet = before
        if states is not None:
            np.random.set_state(states[0])  # noqa: NPY002
            random.setstate(states[1])
        with contextlib.suppress(OSError):
            nowhere.close()


def _files(target: Any) -> set[str]:
    """The files in which a function, or the methods of a class, were written, also where a program made them."""
    functions = [target, *(vars(target).values() if inspect.isclass(target) else ())]
    codes = [getattr(inspect.unwrap(f), "__code__", None) for f in functions if callable(f)]
    return {code.co_filename for code in codes if code is not None}


def _is_library(file: str) -> bool:
    """Whether a file is the checker's own, Python's, or an installed library's."""
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return file.startswith((OURS, PYTHON, "<frozen ")) or bool(installed)


def where(error: BaseException, target: Any) -> str:
    """`file.py:31: ValueError: message`, with the last line that lies in the candidate's own file."""
    if isinstance(error, UserError):
        return str(error)
    # `traceback.extract_tb` reads the source files too
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    files = _files(target)
    own = [each for each in frames if each[0] in files and not each[0].startswith(OURS)]
    own = own or [each for each in frames if not _is_library(each[0])]
    if not own and frames and not frames[-1][0].startswith(OURS):
        own = frames[-1:]  # no line of this package is the user's
    what = " ".join(str(error).split()) or "no message"
    place = f"{own[-1][0].rpartition('/')[2]}:{own[-1][1]}: " if own else ""
    return f"{place}{type(error).__name__}: {what}"


def line(message: str) -> float:
    """How far an attempt came: to a line of the candidate's, or to where a sentence says what is missing."""
    start, _, rest = message.partition(":")
    number = rest.partition(":")[0]
    return int(number) if number.isdigit() else 0 if start.endswith(("Error", "Exit")) else np.inf


LOOK = 0.5  # seconds from one look to the next


class TooLong(BaseException):
    """Raised in code that ran too long; no Exception, which the code itself may catch."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TooLong in the block when it has run for so long, where the platform has signals for it.

    The time that libraries take to be imported does not count.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    left = seconds

    def look(_: int, frame: FrameType | None) -> None:
        nonlocal left
        left -= 0 if _imports_a_library(frame) else LOOK
        if left <= 0:
            raise TooLong(f"it still runs after {seconds:g} seconds")

    before: Any = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _imports_a_library(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "<module>" and "site-packages" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
