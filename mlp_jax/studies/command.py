"""An experiment's command line: flags from its options, then the job, and what becomes of it as an exit status."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn, TypeVar

from absl import app, flags, logging

from mlp_jax.errors import UserError, user_path
from mlp_jax.studies import compilation, machines, output, signals
from mlp_jax.studies.options import Basic, Field, Training, kind, plain_number, written
from mlp_jax.studies.origin import of_job
from mlp_jax.training import population

flags.disclaim_key_flags()  # so that --help lists the flags as the script's own

C = TypeVar("C", bound=Basic)


def launch(config_class: type[C], run: Callable[[C], bool]) -> None:
    """The script's `main`: flags from the dataclass, then `run`; exit 0 if it returns True, 1 if False.

    A user's mistake is one line on standard error and exit status 2.
    """
    for field in flag_fields(config_class):
        _define(field)

    config: C | None = None

    def main(arguments: Sequence[str]) -> None:
        nonlocal config
        try:
            values = _values(config_class, arguments[1:])
            config_class.refuse_ignored({n: v for n, v in values.items() if flags.FLAGS[n].present})
            config = config_class(**values)
            with machines.job(config, of_job(config)) if isinstance(config, Training) else nullcontext():
                devices = compilation.devices()
                if isinstance(config, Training):
                    population.check_devices(devices, config.data_parallel)
                ok = run(config)
        except UserError as error:
            fail(str(error))
        sys.exit(0 if ok else 1)

    logging.set_verbosity(logging.WARNING)
    try:
        with output.kept():
            compilation.set_up()
            signals.listen()
            app.run(main, flags_parser=parse)
    except UserError as error:
        fail(str(error))
    except signals.Stopped as stop:
        print(f"{stop}{_how_to_go_on(config)}", file=sys.stderr)
        sys.exit(stop.status)


def flag_fields(config_class: type[Basic]) -> list[Field]:
    """The options that are flags: all but the one that takes the plain arguments."""
    arguments = getattr(config_class, "ARGUMENTS", None)
    return [field for field in dataclasses.fields(config_class) if field.name != arguments]


def _how_to_go_on(config: Basic | None) -> str:
    if not isinstance(config, Training):
        return ""
    more = "" if config.resume else " with --resume"
    return (
        f": what is done is kept in {user_path(config.results_dir)}, and the same command{more} goes on from there"
    )


def _define(field: Field) -> None:
    one, many = kind(field)
    default, told = field.default, _described(field)
    if many or one is str:
        flags.DEFINE_string(field.name, written(default) if isinstance(default, tuple) else default, told)
    elif one is bool:
        flags.DEFINE_boolean(field.name, default, told)
    else:
        parser = _plain(flags.IntegerParser() if one is int else flags.FloatParser())
        flags.DEFINE(parser, field.name, default, told, serializer=flags.ArgumentSerializer())


def _described(field: Field) -> str:
    """The help text, with the names to choose from and the least and the largest value."""
    choices, limits = field.metadata["choices"], field.metadata["limits"]
    told: str = field.metadata["help"]
    if not callable(choices) and choices and not all(name in told for name in choices):
        told += f"; of {', '.join(choices)}"
    if limits["low"] is not None:
        told += f"; {'above' if limits['open_low'] else 'at least'} {limits['low']:g}"
    if limits["high"] is not None:
        told += f"; {'below' if limits['open_high'] else 'at most'} {limits['high']:g}"
    return told


def _plain(parser: flags.ArgumentParser) -> flags.ArgumentParser:
    """The parser, which takes numbers in plain digits alone."""
    convert = parser.convert
    parser.convert = lambda text: convert(plain_number(text) if isinstance(text, str) else text)
    return parser


def _values(config_class: type[Basic], others: Sequence[str]) -> dict[str, Any]:
    """The options by name; the arguments that are no flags go to the field that takes them, if there is one."""
    if others and not hasattr(config_class, "ARGUMENTS"):
        raise UserError(f"unexpected argument {others[0]!r}: options are written --name=value")
    values = {field.name: flags.FLAGS[field.name].value for field in flag_fields(config_class)}
    if hasattr(config_class, "ARGUMENTS"):
        values[config_class.ARGUMENTS] = tuple(others)
    return values


def parse(arguments: Sequence[str]) -> list[str]:
    """What is left when absl has taken its flags; a wrong one ends the process with status 2."""
    flags.FLAGS.set_gnu_getopt()  # flags may follow other arguments
    try:
        return list(flags.FLAGS(list(arguments)))
    except (flags.Error, ValueError, OSError) as error:  # absl's own flags, and what --flagfile names
        fail(f"{error} (--help lists the options)")
    except SystemExit as ended:
        # absl ends --help with status 1, although it did what was asked
        sys.exit(0 if ended.code == 1 else ended.code)


def fail(message: str) -> NoReturn:
    """Ends the process with status 2 and the message as one line."""
    # a file's name, say, shall do nothing to the terminal
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)
