"""Files are opened if they are regular, read up to a bound, written all at once, and sealed with a digest."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedIOBase, BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import UserError, user_path


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


def read_bounded(path: Path, most: int) -> bytes:
    """Returns the content of a regular file of 1 to `most` bytes. Raises UserError, one line, if it is not one."""
    shown = printable(str(path))
    try:
        if path.is_dir():
            raise UserError(f"{shown} is a folder, not a file")
        if path.exists() and not path.is_file():
            raise UserError(f"{shown} is not a regular file")
        with path.open("rb") as file:
            # its size comes first: what is too large is not read
            content = b"" if os.fstat(file.fileno()).st_size > most else file.read(most + 1)
            if len(content) > most or file.read(1):
                raise UserError(f"{shown} is larger than {most / 2**20:g} MiB")
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a text may be no path
        raise UserError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from error
    if not content:
        raise UserError(f"{shown} is empty")
    return content


def printable(text: str) -> str:
    """Returns a text that does nothing to a terminal or a table: control characters and | are escaped."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(shown).replace("|", "\\|")


def sha256(*parts: str | bytes | memoryview) -> str:
    """Returns the digest of all parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def sha256_of_file(file: Path | BufferedIOBase) -> str:
    """Returns the digest of a file's content, of an open one from where it stands to its end.

    Raises OSError as `open_regular` does.
    """
    if isinstance(file, Path):
        with open_regular(file) as opened:
            return sha256_of_file(opened)
    return hashlib.file_digest(file, "sha256").hexdigest()


def digest(arrays: Iterable[Any]) -> str:
    """Returns the sha256 of all numbers in the arrays, in their order, with their types and shapes."""
    found = hashlib.sha256()
    for each in arrays:
        array = np.asarray(each)
        found.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


UNFINISHED = ".mlp_jax-unfinished"
"""The temporary names of `writing` end so: no file of anybody else's is called like that."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BufferedRandom]:
    """Opens a file that is there all at once when the block ends; until then it has a temporary name beside that.

    A block that raises leaves nothing.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with unfinished.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write(path: Path, content: str | bytes) -> None:
    """Writes a file all at once."""
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sweep(folder: Path, seconds: float = 0) -> None:
    """Removes what a process that was killed inside `writing` has left, if it is so old that nobody writes it."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def as_json(content: Mapping[str, Any]) -> str:
    """Returns strict JSON, lists of numbers on one line. A NaN or an infinity is a ValueError."""
    text = json.dumps(content, indent=1, allow_nan=False)
    return re.sub(r'\[\n[^][{}"]*\]', lambda found: f"[{' '.join(found[0][1:-1].split())}]", text) + "\n"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content with a digest of itself, for files that are trusted when they are read again."""
    return {**content, "seal": _seal(content)}


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `sealed` was given. Raises UserError if it was altered."""
    if not isinstance(content, dict) or content.get("seal") != _seal(
        {k: v for k, v in content.items() if k != "seal"}
    ):
        raise UserError("it is altered")
    return {k: v for k, v in content.items() if k != "seal"}


def _seal(content: Mapping[str, Any]) -> str:
    try:
        return sha256(json.dumps(content, sort_keys=True))
    except RecursionError as error:  # reading it needed a little less depth
        raise UserError("it is nested too deeply") from error


def cache_folder() -> Path:
    """Returns the folder of files that cost only time if they are lost: $XDG_CACHE_HOME/mlp_jax, else in ~/.cache.

    Raises UserError if the variable names a home directory that is not known.
    """
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mlp_jax"
