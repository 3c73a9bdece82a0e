"""An experiment's command line makes flags of its options, runs the job, and turns its end into an exit status."""

import contextlib
import dataclasses
import errno
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from absl import flags, logging

from mlp_jax.errors import UserError, user_path
from mlp_jax.studies import compilation, processes, signals
from mlp_jax.studies.fields import Field, kind, written
from mlp_jax.studies.options import BATCHES, Basic, Places, Training
from mlp_jax.studies.origin import of_job, plain
from mlp_jax.training import layout

C = TypeVar("C")
MISTAKE, CLOSED = 2, 128 + 13
"""A user's mistake has this exit status, and a job whose reader left that of a shell for SIGPIPE."""
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
    given = _flags(config_class)
    try:
        _, *others = given(["", *arguments])
    except (flags.Error, ValueError, OSError) as error:  # a file that --flagfile names, perhaps
        raise UserError(f"{error} (--help lists the options)") from error
    if given.help:
        print(f"{doc.strip()}\n\nflags:\n{given.module_help(MODULE)}")
        return None
    operands = getattr(config_class, "ARGUMENTS", None)
    if others and operands is None:
        raise UserError(f"unexpected argument {others[0]!r}: options are written --name=value")
    values = {field.name: given[field.name].value for field in flag_fields(config_class)}
    if operands is not None:
        values[operands] = tuple(others)
    if issubclass(config_class, Basic):
        config_class.refuse_ignored({name: value for name, value in values.items() if given[name].present})
    return config_class(**values)


def _flags(config_class: type[Any]) -> flags.FlagValues:
    given = flags.FlagValues()
    for field in flag_fields(config_class):
        _define(field, _described(field, getattr(config_class, "USUAL", {})), given)
    flags.DEFINE_boolean("help", False, "shows this help", flag_values=given, module_name=MODULE)
    given.set_gnu_getopt()  # flags may follow other arguments
    return given


MODULE = "the options"
"""absl takes this for the module that defines the flags."""


WHERE = {"cifar10": "on cifar10", "else": "elsewhere", "published": "if published", "clean": "if clean"}


def flag_fields(config_class: type[Any]) -> list[Field]:
    """Gives the options that are flags: all but the one that takes the plain arguments."""
    arguments = getattr(config_class, "ARGUMENTS", None)
    return [field for field in dataclasses.fields(config_class) if field.name != arguments]


def _define(field: Field, told: str, given: flags.FlagValues) -> None:
    """Defines a flag: its text is read as `fields.parsed` does."""
    where = {"flag_values": given, "module_name": MODULE}
    default = field.default
    if kind(field)[0] is bool:
        flags.DEFINE_boolean(field.name, default, told, **where)
    else:
        shown = default if default is None else written(default if isinstance(default, tuple) else (default,))
        flags.DEFINE_string(field.name, shown, told, **where)


def _described(field: Field, usual: Places) -> str:
    """Gives the help text, with what is usual where, the names to choose from, and the range."""
    choices, limits = field.metadata["choices"], field.metadata["limits"]
    told: str = field.metadata["help"]
    by_place = {where: plain(v[field.name]) for p in (BATCHES, usual) for where, v in p.items() if field.name in v}
    if by_place and field.default is None:
        defaults = (
            f"{value} {' '.join(WHERE[word] for word in where.split())}" for where, value in by_place.items()
        )
        told += f"; default {', '.join(defaults)}"
    if not callable(choices) and choices and not all(name in told for name in choices):
        told += f"; of {', '.join(choices)}"
    if kind(field)[1]:
        told += "; with commas between them"
    if limits["low"] is not None:
        told += f"; {'above' if limits['open_low'] else 'at least'} {limits['low']:g}"
    if limits["high"] is not None:
        told += f"; {'below' if limits['open_high'] else 'at most'} {limits['high']:g}"
    needs = field.metadata["needs"]
    return f"{told}; for --{needs}" if needs else told


def fail(message: str) -> int:
    """Prints a user's mistake as one line; gives the exit status for it."""
    # a file's name, say, shall do nothing to the terminal
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
    print(f"error: {line}", file=sys.stderr)
    return MISTAKE


@contextlib.contextmanager
def _printable() -> Iterator[None]:
    """Within the block there is a standard output, and it takes every path, whatever its bytes."""
    stream = open(os.devnull, "w") if sys.stdout is None else sys.stdout  # noqa: SIM115  # closed by the shell
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    with contextlib.redirect_stdout(stream):
        yield
