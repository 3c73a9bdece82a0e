"""Mistakes that a user can mend have one exception type; here are it and the checks that every option needs."""

import difflib
import math
import numbers
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class UserError(ValueError):
    """An option, file, shape or label is wrong; the message is one line that says what to do.

    The experiment scripts print it without a traceback and exit with status 2. Any other exception is a
    programming error and keeps its traceback.
    """


def one_line(error: BaseException) -> str:
    """Returns the type and the start of the message of an exception, for a UserError to quote."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def one_of(what: str, value: object, valid: Iterable[str]) -> None:
    """Raises UserError, with the valid names and the nearest of them, unless `value` is one of `valid`."""
    names = list(valid)
    if value in names:
        return
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(f"unknown {what} {value!r}: choose one of {', '.join(names)}.{hint}")


def in_range(
    what: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raises UserError unless `value` is a finite number in [low, high], or in (low, high) where open."""
    number: Any = value if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if above and below and -math.inf < number < math.inf:
        return
    left, right = "(" if open_low else "[", ")" if open_high or high == math.inf else "]"
    raise UserError(f"{what} must be a number in {left}{low:g}, {high:g}{right}, not {value!r}")


def whole_number(what: str, value: object, low: int, high: int | None = None) -> None:
    """Raises UserError unless `value` is an int of at least `low`, and of at most `high` if that is given."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
        raise UserError(f"{what} must be a whole number of at least {low}, not {value!r}")
    if high is not None and int(value) > high:
        raise UserError(f"{what} must be a whole number of at most {high}, not {value!r}")


def float32(what: str, value: float | None) -> None:
    """Raises UserError if the number becomes 0 or infinity in float32, in which networks are trained."""
    if value and not LEAST <= abs(value) <= LARGEST:
        raise UserError(f"{what} {value:g} cannot be held in float32: choose a size of {LEAST:g} to {LARGEST:g}")


LEAST, LARGEST = 1.2e-38, 3.4e38
"""These are the smallest and the largest size of a normal float32 number."""


def user_path(path: str | Path) -> Path:
    """Returns a path as a user writes it, with ~. Raises UserError if it starts with ~ and names nobody."""
    if "\0" in str(path):
        raise UserError(f"{str(path)!r} has a NUL byte, which no path can have: take it out")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{str(path)!r} names a home directory that is not known: write the path in full"
        ) from error
