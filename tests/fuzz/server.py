"""Forks a process for an example, or for many, and says how it ended: `python -m tests.fuzz.server`.

It has imported what the targets need, but never runs any of it, so that it has no threads, which a fork would
lose. Requests come on standard input, answers go to standard output, both pickled.
"""

import contextlib
import ctypes
import importlib
import os
import pickle
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from mlp_jax.errors import UserError

OK, REFUSED, FAILED = "ok", "refused", "FAILED"
ROOT = Path(__file__).resolve().parents[2]
PREPARE_SECONDS = 300.0
ADDRESS_SPACE = 16 * 2**30
"""Beyond it, an allocation fails; so that an example that asks for all memory does not get it."""


class Outcome(NamedTuple):
    """kind: OK, REFUSED or FAILED; text: in a few words, or what went wrong; where: tells findings apart."""

    kind: str
    text: str
    where: str = ""
    megabytes: float = 0.0
    seconds: float = 0.0


class Client:
    """The server's other side; a context manager, which ends the server and removes what targets wrote."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True)
        here = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": self._folder.name, "JAX_PLATFORMS": "cpu"}
        one_core = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **here, **one_core, "OPENBLAS_NUM_THREADS": "1"}
        for name in ("TFDS_DATA_DIR", "JAX_COMPILATION_CACHE_DIR"):
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.server", self._folder.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT,
        )  # fmt: skip

    def run(self, target: str, example: Any) -> Outcome:
        """How the example ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((target, example), self._process.stdin)
        self._process.stdin.flush()
        return Outcome(*pickle.load(self._process.stdout))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()
        self._folder.cleanup()


class _Child:
    """A forked process that answers requests about one target until its pipe is closed."""

    def __init__(self, target: Any, folder: Path) -> None:
        ours, theirs = _pipe(), _pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            _serve(target, folder, os.fdopen(ours[0], "rb"), os.fdopen(theirs[1], "wb"))
        os.close(ours[0])
        os.close(theirs[1])
        self._to, self._from = os.fdopen(ours[1], "wb"), os.fdopen(theirs[0], "rb")

    def ask(self, request: Any, seconds: float) -> Outcome | None:
        """None if it is not ready to answer another."""
        pickle.dump(request, self._to)
        self._to.flush()
        ready, _, _ = select.select([self._from], [], [], seconds)
        if not ready:
            self.end()
            return Outcome(FAILED, f"no answer within {seconds:g} s", "hang")
        try:
            return Outcome(*pickle.load(self._from))
        except (EOFError, pickle.UnpicklingError):
            return Outcome(FAILED, f"the process ended: {_how(self.end())}", "crash")

    def end(self) -> int:
        """Ends it and the processes that it started; gives its status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()
        return status


def _pipe() -> tuple[int, int]:
    """Above the numbers that an example might close."""
    numbers = os.pipe()
    high = tuple(os.dup(number + 0) if number > 50 else _raised(number) for number in numbers)
    for number in numbers:
        os.close(number)
    return high[0], high[1]


def _raised(number: int) -> int:
    import fcntl

    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 200)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"


def _serve(target: Any, folder: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not longer than the server
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    while True:
        try:
            example = pickle.load(requests)
        except EOFError:
            os._exit(0)
        pickle.dump(tuple(_answer(target, folder, example)), answers)
        answers.flush()


def _answer(target: Any, folder: Path, example: Any) -> Outcome:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts anew
    started, before = time.monotonic(), _peak_megabytes()
    kind, text, where = _tried(target, folder, example)
    taken = max(0.0, _peak_megabytes() - before)
    if kind != FAILED and taken > target.MEGABYTES:
        kind, text, where = FAILED, f"it took {taken:.0f} MB", "memory"
    return Outcome(kind, text, where, taken, time.monotonic() - started)


def _tried(target: Any, folder: Path, example: Any) -> tuple[str, str, str]:
    place = Path(tempfile.mkdtemp(dir=folder))
    os.chdir(place)
    try:
        if example == "prepare":
            target.prepare(folder)
            return OK, "prepared", ""
        return OK, target.check(folder, place, example), ""
    except UserError as error:
        message = " ".join(str(error).split())  # as `launch` prints it
        if not message:
            return FAILED, "a UserError that says nothing", "message"
        return REFUSED, message, ""
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if f.filename.startswith(str(ROOT)) and "/tests/" not in f.filename] or frames
        where = f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].name}"
        return FAILED, "".join(traceback.format_exception(error))[-3000:], where
    finally:
        os.chdir(folder)
        shutil.rmtree(place, ignore_errors=True)


def _peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main(folder: Path, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until there are no more."""
    children: dict[str, _Child] = {}
    prepared: set[str] = set()
    while True:
        try:
            name, example = pickle.load(requests)
        except EOFError:
            break
        target = importlib.import_module(f"tests.fuzz.{name}")
        own = folder / name
        if name not in prepared:
            own.mkdir()
            child = _Child(target, own)
            outcome = child.ask("prepare", PREPARE_SECONDS)
            if outcome is not None and outcome.where not in ("hang", "crash"):
                child.end()
            if outcome is None or outcome.kind != OK:
                raise RuntimeError(f"cannot prepare {name}: {outcome}")
            prepared.add(name)
        child = children.pop(name, None) or _Child(target, own)
        outcome = child.ask(example, target.SECONDS)
        if outcome is not None and outcome.where not in ("hang", "crash"):
            if target.FRESH:
                child.end()
            else:
                children[name] = child
        pickle.dump(tuple(outcome or ()), answers)
        answers.flush()
    for child in children.values():
        child.end()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    main(Path(sys.argv[1]), sys.stdin.buffer, answers)
