"""Several processes as one job (`--distributed`): they meet, train together, watch each other and end together.

Process 0 listens at the coordinator's address until all have come, compares their options, and starts jax's own
coordinator at a free port. The connections stay: over them goes a sign of life every second, what process 0 has
read, and the word that the job is over, or lost. A thread of every process waits for that, because the main one
may be inside a collective operation that will never end: it prints one line and ends the process.

Exit statuses: 2 if the job cannot start or a user's mistake ends it, 3 if a process was lost on the way, 128 and
the signal's number if one ended it.
"""

import base64
import contextlib
import importlib.metadata
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing.connection import wait
from typing import Any, NoReturn

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.studies.gloo import start_jax
from mlp_jax.studies.meeting import Line, meet
from mlp_jax.studies.place import Place, place_of
from mlp_jax.studies.signals import Stopped

MISTAKE, LOST = 2, 3
BEAT = 1.0  # seconds between signs of life
SILENCE = 30.0  # seconds without one after which a process counts as lost
GRACE = 5.0  # seconds that a process which sees an error waits for the word that another one is lost
PART = 2**26  # bytes of an array in one message


class _Job:
    """This process among the others: process 0 has a line to each of them, they have one to process 0."""

    def __init__(self, place: Place, lines: dict[int, Line]) -> None:
        self.place, self.lines = place, lines
        self.leaving = False
        self._ending, self._over = threading.Lock(), threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def tell(self, **message: Any) -> None:
        """Sends a message on every line."""
        for line in self.lines.values():
            line.send(**message)

    def _watch(self) -> None:
        beat = 0.0
        while lines := {line.connection: number for number, line in self.lines.items() if not line.over.is_set()}:
            for connection in wait(list(lines), BEAT):
                self._hear(lines[connection])  # type: ignore[index]  # these are connections only
            if time.monotonic() >= beat:
                beat = time.monotonic() + BEAT
                self.tell()
            for number in lines.values():
                if time.monotonic() - self.lines[number].heard > SILENCE:
                    self._lost(number, f"has not been heard of for {SILENCE:g} s")

    def _hear(self, number: int) -> None:
        line = self.lines[number]
        try:
            message = line.receive()
        except (OSError, EOFError, ValueError):
            if not self.leaving:
                self._lost(number, "ended before the job did")
            line.over.set()
            return
        if "value" in message:
            line.values.put(message["value"])
        elif "bye" in message:
            line.over.set()
        elif "failed" in message:
            if message["status"] == MISTAKE:
                time.sleep(1)  # mostly it is process 0's mistake too, which then tells it as its own
            self.end(f"{self.place.name(number)}: {message['failed']}", message["status"])
        elif "end" in message:  # mistakes are told by process 0 alone
            self._leave(None if message["status"] == MISTAKE else message["end"], message["status"])

    def _lost(self, number: int, how: str) -> NoReturn:
        if self.place.process and number == 0:
            how += ", and it alone writes results"
        self.end(f"{self.place.name(number)} {how}: what was finished is kept, and --resume continues", LOST)

    def end(self, message: str, status: int, *, own: int | None = None, told: bool = False) -> NoReturn:
        """Ends the job: tells it here, unless it was `told`, and from process 0 to all others."""
        self._over.set()
        self._ending.acquire()  # for good: one thread alone ends the process
        if not told:
            _say(message)
        if self.place.process == 0:
            self.tell(end=message, status=status)
            limit = time.monotonic() + GRACE
            for line in self.lines.values():  # what is unread when a connection closes takes what was sent along
                with contextlib.suppress(OSError, EOFError, ValueError):
                    while line.connection.poll(max(0.0, limit - time.monotonic())):
                        line.receive()
        _exit(status if own is None else own)

    def _leave(self, message: str | None, status: int) -> NoReturn:
        self._over.set()
        self._ending.acquire()
        if message is not None:
            _say(message)
        _exit(status)

    def fail(self, message: str, status: int, *, own: int | None = None, told: bool = False) -> NoReturn:
        """Ends the job because of this process."""
        if self.place.process == 0:
            prefix = "" if status == MISTAKE else f"{self.place.name(0)}: "
            self.end(prefix + message, status, own=own, told=told)
        if told:
            self._ending.acquire()  # the status is this process's own
        self.tell(failed=message, status=status)
        self._over.wait(2 * GRACE)  # process 0 ends the job
        if told:
            _exit(status if own is None else own)
        time.sleep(GRACE)  # the watching thread is about to end this process
        self._leave(message, status)

    def finish(self) -> None:
        """The end of a job that went well: nobody leaves before all are done."""
        jax.distributed.shutdown()
        self.leaving = True
        self.tell(bye=True)
        for line in self.lines.values():
            line.over.wait()


_job: _Job | None = None


def is_writer() -> bool:
    """Whether this process writes and shows progress: process 0, or the only one."""
    return _job is None or _job.place.process == 0


def share(value: Any) -> Any:
    """Process 0's value, in every process: strict JSON."""
    if _job is None or is_writer():
        if _job is not None:
            _job.tell(value=value)
        return value
    return _job.lines[0].values.get()


def agree(what: str, value: Any) -> None:
    """Raises UserError, in process 0, which ends the job, if a process holds another value (JSON) than it."""
    if _job is None:
        return
    if not is_writer():
        _job.tell(value=value)
        return
    for number, line in _job.lines.items():
        if line.values.get() != value:
            raise UserError(f"{_job.place.name(number)} has another {what} than process 0: give all the same")


def gather(value: Any) -> list[Any]:
    """Every process's value (JSON), in process 0; elsewhere nothing."""
    if _job is None:
        return [value]
    if not is_writer():
        _job.tell(value=value)
        return []
    return [value, *(line.values.get() for line in _job.lines.values())]


def share_array(array: np.ndarray | None) -> np.ndarray:
    """Process 0's array, in every process."""
    if _job is None:
        assert array is not None
        return array
    content = None if array is None else array.tobytes()
    dtype, shape = share(None if array is None else (array.dtype.str, array.shape))
    size = math.prod(shape) * np.dtype(dtype).itemsize
    received = []
    for start in range(0, size, PART):
        part = content and base64.b64encode(content[start : start + PART]).decode()
        received.append(base64.b64decode(share(part)))
    return np.frombuffer(b"".join(received), dtype).reshape(shape)


@contextlib.contextmanager
def job(config: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Makes this process part of the job that the flags describe, until the block ends; without --distributed,
    nothing.

    `options` must be the same (as JSON) in every process. Raises UserError if the flags are wrong, nothing is
    known of a cluster, the port is taken, or a process is missing or has other options. A failure inside the block
    does not return: it ends this process, and the others with one line.
    """
    global _job
    place = place_of(config)
    if place is None or place.processes == 1:
        yield
        return
    port, lines = meet(place, {"program": _program(), **options}, config.start_timeout)
    _job = _Job(place, lines)
    try:
        _quiet(place.process == 0)
        start_jax(place, port, SILENCE)
        yield
    except UserError as error:
        _job.fail(" ".join(str(error).split()), MISTAKE)
    except Stopped as stop:
        if not stop.together:
            _job.fail(str(stop), stop.status)
        _job.finish()
        raise
    except Exception as error:
        time.sleep(
            GRACE
        )  # a lost process shows as an error of a collective first: the watching thread knows which
        traceback.print_exc()
        _job.fail(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500], LOST, own=1, told=True)
    _job.finish()


def _program() -> str:
    main = getattr(sys.modules["__main__"], "__spec__", None)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib")]
    return " ".join([main.name if main else "", *versions])


def _quiet(writer: bool) -> None:
    """Standard output belongs to process 0, and to Python: gloo writes to its file descriptor."""
    sys.stdout.flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    if writer:
        own = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
        sys.stdout = own
    os.dup2(nothing, 1)


def _say(message: str) -> None:
    start = "\n" if sys.stderr.isatty() else ""  # a progress bar may stand there
    sys.stderr.write(f"{start}error: {message}\n")


def _exit(status: int) -> NoReturn:
    """Ends the process at once, whatever its other threads do."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
