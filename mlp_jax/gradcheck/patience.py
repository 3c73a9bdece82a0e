"""Stops code that takes too long, where a library is not just being imported."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

AGAIN = 1.0  # seconds until the next look, while a library is being imported


class TooLong(BaseException):
    """Raised in code that ran too long; no Exception, which the code itself may catch."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TooLong in the block when it has run for so long, where the platform has signals for it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, frame: FrameType | None) -> None:
        if _imports_a_library(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            raise TooLong(f"it still runs after {seconds:g} seconds")

    before: Any = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
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
