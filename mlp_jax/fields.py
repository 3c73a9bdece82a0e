"""Options are typed dataclass fields with ranges and choices, from which flags, checks and --help come."""

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlp_jax.errors import UserError, in_range, one_of, whole_number

Field = dataclasses.Field[Any]
Ints = tuple[int, ...]
Floats = tuple[float, ...]
Names = tuple[str, ...]


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Iterable[str] | Callable[[str], Any] = (),
    empty: bool = False,
    repeats: bool = False,
    needs: str = "",
) -> Any:
    """Makes a dataclass field that is also a flag with this help text.

    Its annotation is bool, int, float or str, or a tuple of one of the last three, which is written with commas;
    `| None` where the default depends on other options. A number lies in [low, high], or beyond `above` and
    `below`; a name is one of `choices`, or one that the function `choices` takes without an error. A list is
    not empty unless `empty` is true, and has no value twice unless `repeats` is. `needs` names another option, as
    it is written ("protocol=clean"), without which this one is refused.
    """
    if not callable(choices):
        choices = tuple(choices)
    ends = {"low": low if above is None else above, "high": high if below is None else below}
    limits = {**ends, "open_low": above is not None, "open_high": below is not None}
    more = {"limits": limits, "empty": empty, "repeats": repeats, "needs": needs}
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, **more})


def kind(field: Field) -> tuple[type, bool]:
    """Gives the type of the option's value, or of each of its values, and whether it takes several."""
    annotation: Any = field.type
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    return annotation, False


def parsed(field: Field, value: Any) -> Any:
    """Gives the option's value, which is itself or its text. Raises UserError if it cannot be one."""
    one, many = kind(field)
    if value is None or one is bool:
        return value
    flag = f"--{field.name}"
    if isinstance(value, str):
        value = _read(flag, one, value, many)
    values = tuple(value) if many else (value,)
    if not values and not field.metadata["empty"]:
        raise UserError(f"{flag} is empty: give at least one value, or leave it out")
    for entry in values:
        _check(field, entry)
    if len(set(values)) < len(values) and not field.metadata["repeats"]:
        raise UserError(f"{flag}={written(values)} names a value twice: leave one out")
    return values if many else value


WORDS = {(int, False): "a whole number", (float, False): "a number"}
WORDS |= {(int, True): "whole numbers with commas between them", (float, True): "numbers with commas between them"}


def _read(flag: str, one: type, text: str, many: bool) -> Any:
    parts = (text.split(",") if text else []) if many else [text]
    if one is str:
        return parts if many else text
    try:
        if one is int and not all(re.fullmatch("-?[0-9]+", part) for part in parts):
            raise ValueError("no plain digits")
        values = [one(plain_number(part)) for part in parts]
    except ValueError:
        raise UserError(f"{flag} must be {WORDS[one, many]}, not {text!r}") from None
    return values if many else values[0]


def check_needs(options: Any) -> None:
    """Raises UserError for an option that differs from its default, and would be ignored without another one."""
    for field in dataclasses.fields(options):
        needs = field.metadata["needs"]
        if needs and getattr(options, field.name) != field.default and not _has(options, needs):
            raise UserError(f"--{field.name} is for --{needs}: add that, or leave --{field.name} out")


def _has(options: Any, needs: str) -> bool:
    """Tells whether an option has this value ("protocol=clean"), or any ("distributed")."""
    name, _, value = needs.partition("=")
    here = getattr(options, name)
    return bool(value in (here if isinstance(here, tuple) else (here,)) if value else here)


def _check(field: Field, value: Any) -> None:
    one, many = kind(field)
    choices, limits = field.metadata["choices"], field.metadata["limits"]
    flag = f"--{field.name}"
    if callable(choices):
        choices(value)
    elif choices:
        one_of(_singular(field.name) if many else field.name, value, choices)
    if limits["low"] is None:
        return
    if one is int:
        whole_number(flag, value, limits["low"], limits["high"])
    else:
        high = float("inf") if limits["high"] is None else limits["high"]
        in_range(flag, value, **{**limits, "high": high})


def _singular(name: str) -> str:
    """Gives what one entry of a list is called: "activation" of --activations, "study" of --studies."""
    return re.sub("ies$", "y", name) if name.endswith("ies") else name.removesuffix("s")


def written(values: Sequence[Any]) -> str:
    """Gives a list as it is written on a command line: "2,3", "0,0.2"."""
    return ",".join(f"{value:.12g}" if isinstance(value, float) else str(value) for value in values)


def plain_number(text: str) -> str:
    """Gives the text. Raises ValueError for digits of other scripts, underscores or spaces in it."""
    if not re.fullmatch(r"[-+.a-zA-Z0-9]+", text):
        raise ValueError(f"{text!r} is not a number in plain digits")
    return text
