"""Files: opened if they are regular, written all at once, and sealed with a digest of what they hold."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax.errors import UserError


def open_regular(path: Path) -> BufferedReader:
    """Opens a file for reading.

    Raises OSError if it cannot be opened or is no regular file: a pipe would be waited for without end, and a
    device may never end.
    """
    check_regular(path)
    return path.open("rb")


def printable(text: str) -> str:
    """A file name, say, that does nothing to a terminal or a table: control characters and | are escaped."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(shown).replace("|", "\\|")


def read_bounded(path: Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes. Raises UserError if it is not one."""
    shown = printable(str(path))
    try:
        if path.is_dir():
            raise UserError(f"{shown} is a folder, not a file")
        if path.exists() and not path.is_file():  # a pipe would never end
            raise UserError(f"{shown} is not a regular file")
        if path.stat().st_size > most:
            raise UserError(f"{shown} is larger than {most / 2**20:g} MiB")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > most:  # it grows
        raise UserError(f"{shown} is larger than {most / 2**20:g} MiB")
    if not content:
        raise UserError(f"{shown} is empty")
    return content


def sha256(path: Path) -> str:
    """The digest of a file's content. Raises OSError as `open_regular` does."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(arrays: Iterable[Any]) -> str:
    """The sha256 of all numbers in the arrays, in their order, with their types and shapes."""
    found = hashlib.sha256()
    for each in arrays:
        array = np.asarray(each)
        found.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


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


def as_json(content: Mapping[str, Any]) -> str:
    """Strict JSON: a NaN or an infinity is a ValueError, not a file that others cannot read."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with a digest of itself, for files that are trusted when they are read again."""
    return {**content, "seal": _seal(content)}


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """What `sealed` was given. Raises UserError if it was altered."""
    if not isinstance(content, dict) or content.get("seal") != _seal(
        {k: v for k, v in content.items() if k != "seal"}
    ):
        raise UserError("it is altered")
    return {k: v for k, v in content.items() if k != "seal"}


def _seal(content: Mapping[str, Any]) -> str:
    try:
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except RecursionError as error:  # it could just be read
        raise UserError("it is nested too deeply") from error
