"""What users read beside the results: notes, and standard output that outlives its reader (`| head -1`)."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from mlp_jax.errors import UserError

CLOSED = 128 + 13
"""Exit status of a job that went well although its reader left: what a shell gives for SIGPIPE."""


def note(what: str) -> None:
    """A line on standard error about what the user may want to know, and need not act upon."""
    print(f"note: {' '.join(what.split())}", file=sys.stderr)


class Output:
    """A text stream; the first error of writing to it is kept, and what follows is written to nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failed: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failed = error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # also for what the stream still holds
            os.close(nowhere)

    def write(self, text: str) -> int:
        """All of the text, or none of it once the reader has gone."""
        with self._kept():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As `write`."""
        with self._kept():
            self._stream.flush()


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Within the block, standard output is an `Output`; then the exit status tells what became of it.

    A reader that left makes status 0 `CLOSED`. Raises UserError if what was printed could not be written for
    another reason.
    """
    stream = open(os.devnull, "w") if sys.stdout is None else sys.stdout  # noqa: SIM115  # closed by the shell
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    with contextlib.redirect_stdout(cast(TextIO, Output(stream))):
        try:
            yield
        except SystemExit as ended:
            failed = _flushed()
            if failed is None or ended.code:
                raise
            if isinstance(failed, BrokenPipeError):
                sys.exit(CLOSED)
            raise UserError(f"cannot write to standard output: {failed.strerror}") from failed


def _flushed() -> OSError | None:
    sys.stdout.flush()
    return getattr(sys.stdout, "failed", None)
