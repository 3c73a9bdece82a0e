"""A dataclass of options (`fields`) is a command line: here are its flags, its help, and what arguments name."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from mlp_jax.errors import UserError
from mlp_jax.fields import Field, kind, written

MISTAKE = 2
"""A user's mistake has this exit status."""
MODULE = "the options"
"""absl takes this for the module that defines the flags."""
Told = Callable[[Field], str]


def described(field: Field, default: str = "") -> str:
    """Gives the help text, with what is said of the default, the names to choose from, and the range."""
    choices, limits = field.metadata["choices"], field.metadata["limits"]
    told = f"{field.metadata['help']}{default}"
    if not callable(choices) and choices and not all(name in told for name in choices):
        told += f"; of {', '.join(choices)}"
    if kind(field)[1]:
        told += "; with commas between them"
    if limits["low"] is not None:
        told += f"; {'above' if limits['open_low'] else 'at least'} {limits['low']:g}"
    if limits["high"] is not None:
        told += f"; {'below' if limits['open_high'] else 'at most'} {limits['high']:g}"
    return told


def read(
    config_class: type[Any], doc: str, arguments: Sequence[str], told: Told = described
) -> tuple[dict[str, Any], set[str]] | None:
    """Gives the options' values by name, and which were given; None, after the help is printed, if asked for.

    The values are as they were written: `fields.parsed` reads them. Raises UserError for a flag that does not
    exist, and for an argument that is none unless the class takes it in its field ARGUMENTS.
    """
    given = _flags(config_class, told)
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
    names = [field.name for field in _flag_fields(config_class)]
    values = {name: given[name].value for name in names}
    if operands is not None:
        values[operands] = tuple(others)
    return values, {name for name in names if given[name].present}


def _flags(config_class: type[Any], told: Told) -> flags.FlagValues:
    given = flags.FlagValues()
    for field in _flag_fields(config_class):
        _define(field, told(field), given)
    flags.DEFINE_boolean("help", False, "shows this help", flag_values=given, module_name=MODULE)
    given.set_gnu_getopt()  # flags may follow other arguments
    return given


def _flag_fields(config_class: type[Any]) -> list[Field]:
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


def fail(message: str) -> int:
    """Prints a user's mistake as one line; gives the exit status for it."""
    # a file's name, say, shall do nothing to the terminal
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))
    print(f"error: {line}", file=sys.stderr)
    return MISTAKE
