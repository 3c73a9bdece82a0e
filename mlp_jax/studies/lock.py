"""A results folder belongs to one process at a time; the system takes the lock from a process that has died."""

import fcntl
import os
import socket
from pathlib import Path

from mlp_jax.errors import UserError
from mlp_jax.files import check_regular
from mlp_jax.text import note

NAME = ".lock"
_taken: dict[Path, int] = {}


def take(folder: Path) -> None:
    """Locks it for this process until `release` or its end. Raises UserError if another one has the folder."""
    path = folder.resolve() / NAME
    if path in _taken and _is_there(path):
        return
    release(folder)
    try:
        check_regular(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:  # it may be somebody else's
        raise UserError(
            f"cannot lock {folder}: {NAME} there: {error.strerror}; move it away, or choose another --results_dir"
        ) from error
    _lock(handle, folder)
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    _taken[path] = handle


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 200).decode(errors="replace").strip() or "a process"
        os.close(handle)
        raise UserError(
            f"{owner} is at work in {folder}: wait until it has ended, or choose another --results_dir"
        ) from None
    except OSError as error:  # some network file systems have no locks
        note(f"{folder} cannot be locked ({error.strerror}): start no other study there")


def _is_there(path: Path) -> bool:
    """Tells whether the file that is locked is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(_taken[path]), path.stat())
    except OSError:
        return False


def release(folder: Path) -> None:
    """Lets others in. The file stays: removing it could take the lock from under the next."""
    handle = _taken.pop(folder.resolve() / NAME, None)
    if handle is not None:
        os.close(handle)
