"""An experiment's command line: flags from its options, then the job, and what becomes of it as an exit status."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn, TypeVar

from absl import app, flags, logging

from experiments import _compilation, _machines, _output, _stop
from experiments._common import SEVERAL, Basic, Training, of_job, plain_number
from mlp_jax.errors import UserError, user_path
from mlp_jax.training import layout

flags.disclaim_key_flags()  # so that --help lists the flags as the script's own

C = TypeVar("C", bound=Basic)


def launch(config_class: type[C], run: Callable[[C], bool]) -> None:
    """The script's `main`: flags from the dataclass, then `run`; exit 0 if it returns True, 1 if False.

    A user's mistake is one line on standard error and exit status 2.
    """
    for field in dataclasses.fields(config_class):
        _define(field)

    config: C | None = None

    def main(arguments: Sequence[str]) -> None:
        nonlocal config
        try:
            values = _values(config_class, arguments[1:])
            config_class.refuse_ignored({n: v for n, v in values.items() if flags.FLAGS[n].present})
            config = config_class(**values)
            with _machines.job(config, of_job(config)) if isinstance(config, Training) else nullcontext():
                devices = _compilation.devices()
                if isinstance(config, Training):
                    layout.check_devices(devices, config.data_parallel)
                ok = run(config)
        except UserError as error:
            fail(str(error))
        sys.exit(0 if ok else 1)

    logging.set_verbosity(logging.WARNING)
    try:
        with _output.kept():
            _compilation.set_up()
            _stop.listen()
            app.run(main, flags_parser=parse)
    except UserError as error:
        fail(str(error))
    except _stop.Stopped as stop:
        print(f"{stop}{_how_to_go_on(config)}", file=sys.stderr)
        sys.exit(stop.status)


def _how_to_go_on(config: Basic | None) -> str:
    if not isinstance(config, Training):
        return ""
    more = "" if config.resume else " with --resume"
    return (
        f": what is done is kept in {user_path(config.results_dir)}, and the same command{more} goes on from there"
    )


def _define(field: "dataclasses.Field[Any]") -> None:
    kinds = {bool: flags.DEFINE_boolean, int: _define_integer, float: _define_float}
    if field.type == SEVERAL:
        flags.DEFINE_multi_string(field.name, [], field.metadata["help"])
        return
    kind = next((k for k in kinds if field.type in (k, k | None)), str)
    kinds.get(kind, flags.DEFINE_string)(field.name, field.default, field.metadata["help"])


def _plain(parser: flags.ArgumentParser) -> flags.ArgumentParser:
    """The parser, which takes numbers in plain digits alone."""
    convert = parser.convert
    parser.convert = lambda text: convert(plain_number(text) if isinstance(text, str) else text)
    return parser


def _define_integer(name: str, default: int | None, help: str) -> None:
    flags.DEFINE(_plain(flags.IntegerParser()), name, default, help, serializer=flags.ArgumentSerializer())


def _define_float(name: str, default: float | None, help: str) -> None:
    flags.DEFINE(_plain(flags.FloatParser()), name, default, help, serializer=flags.ArgumentSerializer())


def _values(config_class: type[Basic], others: Sequence[str]) -> dict[str, Any]:
    """The options by name; arguments that are no flags go to the option that takes several and was given."""
    values = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(config_class)}
    several = [field.name for field in dataclasses.fields(config_class) if field.type == SEVERAL]
    values |= {name: tuple(values[name]) for name in several}
    taking = next((name for name in several if values[name]), None)
    if others and taking is None:
        raise UserError(f"unexpected argument {others[0]!r}: options are written --name=value")
    if taking is not None:
        values[taking] = (*values[taking], *others)
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
