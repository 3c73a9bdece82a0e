"""Opening files that somebody names, or may have replaced by something else."""

import errno
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Opens a file for reading.

    Raises OSError if it cannot be opened or is no regular file: a pipe would be waited for without end, and a
    device may never end.
    """
    check_regular(path)
    return path.open("rb")


def check_regular(path: Path) -> None:
    """Raises OSError for a pipe, a device or a socket."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
