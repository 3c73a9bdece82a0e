"""Opening files that somebody names, or may have replaced by something else."""

import errno
import hashlib
import os
import secrets
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Opens a file for reading.

    Raises OSError if it cannot be opened or is no regular file: a pipe would be waited for without end, and a
    device may never end.
    """
    check_regular(path)
    return path.open("rb")


def sha256(path: Path) -> str:
    """The digest of a file's content. Raises OSError as `open_regular` does."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path) -> None:
    """Raises OSError for a pipe, a device or a socket."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


UNFINISHED = ".mlp_jax-unfinished"
"""How the temporary names of `write` end: no file of anybody else's is called so."""


def write(path: Path, content: str | bytes) -> None:
    """Writes a file all at once: to a temporary name in the same folder, flushed, then renamed."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
