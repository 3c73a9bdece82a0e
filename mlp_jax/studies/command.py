"""An experiment's command line makes flags of its options, runs the job, and turns its end into an exit status."""

import contextlib
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from absl import logging

from mlp_jax import flags
from mlp_jax.errors import UserError, user_path
from mlp_jax.fields import Field
from mlp_jax.flags import fail
from mlp_jax.studies import compilation, processes, signals
from mlp_jax.studies.options import BATCHES, Basic, Places, Training
from mlp_jax.studies.origin import of_job, plain
from mlp_jax.training import layout

C = TypeVar("C")
CLOSED = 128 + 13
"""A job whose reader left has this exit status, that of a shell for SIGPIPE."""
UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)
"""The system says so where standard output does not take what is printed."""


Main = Callable[..., int]
"""A script's entry turns its arguments, by default those of this process, into an exit status."""


def main_of(config_class: type[C], run: Callable[[C], bool], doc: str | None) -> Main:
    """Gives the script's `main(argv) -> int`: flags from the dataclass, then `run`; 0 if that is True, else 1.

    `argv` are the arguments without the script's name, by default those of this process. A user's mistake is one
    line on standard error and status 2; a signal that stopped training is 128 and its number. `--help` shows
    `doc`, the script's docstring, and every flag.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        arguments = list(sys.argv[1:] if argv is None else argv)
        return processes.exit_status(lambda: status_of(lambda: _job(config_class, run, doc or "", arguments)))

    return main


def status_of(job: Callable[[], int]) -> int:
    """Gives the exit status of a job that may make a user's mistake, or print to where nobody reads."""
    with _printable():
        try:
            status = job()
            sys.stdout.flush()
            return status
        except UserError as error:
            return fail(str(error))
        except OSError as error:
            if error.filename is not None or error.errno not in UNWRITTEN:  # it is about another file
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # for what the stream still holds
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                return CLOSED
            return fail(f"cannot write to standard output: {error.strerror}")


def _job(config_class: type[C], run: Callable[[C], bool], doc: str, arguments: list[str]) -> int:
    config: C | None = None
    logging.set_verbosity(logging.WARNING)
    compilation.set_up()
    signals.listen()
    try:
        config = configured(config_class, doc, arguments)
        if config is None:  # --help was all that was asked
            return 0
        _start(config)
        ok = run(config)
        processes.finish()
        return 0 if ok else 1
    except signals.Stopped as stop:
        told = str(stop)
        if isinstance(config, Training):
            again = "the same command" if config.resume else "the same command with --resume"
            told += f": what is done is kept in {user_path(config.results_dir)}, and {again} goes on from there"
        print(told, file=sys.stderr)
        return stop.status


def _start(config: Any) -> None:
    """Starts jax, with the other processes of the job if there are any."""
    if isinstance(config, Training) and config.distributed:
        processes.initialize(config)
    try:
        devices = compilation.devices()
    except UserError:
        if isinstance(config, Training) and config.process_id == 0:
            time.sleep(processes.GRACE)  # exit_status cannot: without devices jax does not know its own number
        raise
    if isinstance(config, Training):
        processes.join(of_job(config))
        layout.check_devices(devices, config.data_parallel)


def configured(config_class: type[C], doc: str, arguments: Sequence[str]) -> C | None:
    """Gives the options that the arguments name; None, after the help is printed, if they ask for it.

    Raises UserError for a flag that does not exist, or a value that it cannot have.
    """
    usual = getattr(config_class, "USUAL", {})
    found = flags.read(config_class, doc, arguments, lambda field: _described(field, usual))
    if found is None:
        return None
    values, given = found
    if issubclass(config_class, Basic):
        config_class.refuse_ignored({name: value for name, value in values.items() if name in given})
    return config_class(**values)


WHERE = {"cifar10": "on cifar10", "else": "elsewhere", "published": "if published", "clean": "if clean"}


def _described(field: Field, usual: Places) -> str:
    """Gives the help text, with what is usual where, and without which option this one is useless."""
    default = ""
    by_place = {where: plain(v[field.name]) for p in (BATCHES, usual) for where, v in p.items() if field.name in v}
    if by_place and field.default is None:
        defaults = (
            f"{value} {' '.join(WHERE[word] for word in where.split())}" for where, value in by_place.items()
        )
        default = f"; default {', '.join(defaults)}"
    told, needs = flags.described(field, default), field.metadata["needs"]
    return f"{told}; for --{needs}" if needs else told


@contextlib.contextmanager
def _printable() -> Iterator[None]:
    """Within the block there is a standard output, and it takes every path, whatever its bytes."""
    stream = open(os.devnull, "w") if sys.stdout is None else sys.stdout  # noqa: SIM115  # closed by the shell
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    with contextlib.redirect_stdout(stream):
        yield
