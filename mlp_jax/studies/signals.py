"""SIGINT and SIGTERM: training ends after the epoch in flight and keeps where it stands, all else ends at once."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The user, or the machine, wants this process to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")

    @property
    def status(self) -> int:
        """Gives the exit status, as shells have it."""
        return 128 + self.number


_waiting = False
_asked = 0
_raised = 0  # an exception has answered this signal last


def listen() -> None:
    """From now on, both signals are answered here."""
    global _raised
    _raised = 0
    for number in SIGNALS:
        signal.signal(number, _answer)


def _answer(number: int, frame: FrameType | None) -> None:
    global _asked, _raised
    if not _waiting or _asked:
        _raised = number
        raise Stopped(number)
    _asked = number
    start = "\n" if sys.stderr.isatty() else ""  # a progress bar may stand there
    name = signal.Signals(number).name
    sys.stderr.write(f"{start}{name}: stopping after this epoch; once more stops at once, and loses it\n")


@contextlib.contextmanager
def between_epochs_only() -> Iterator[None]:
    """In this block a first signal only makes `asked` true: who trains looks at it between epochs.

    Raises Stopped where an earlier one was lost: Python ignores exceptions in callbacks of its garbage collector.
    """
    global _waiting, _asked
    if _raised:
        raise Stopped(_raised)
    _waiting, _asked = True, 0
    try:
        yield
    finally:
        _waiting = False


def asked() -> int:
    """Gives the signal that came inside the last block, or 0."""
    return _asked
