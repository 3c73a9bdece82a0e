"""The one exception type for mistakes that a user can mend, and the checks that every option needs."""

import difflib
import math
from collections.abc import Iterable


class UserError(ValueError):
    """A wrong option, file, shape or label; the message is one line that says what to do.

    The experiment scripts print it without a traceback and exit with status 2. Any other exception is a
    programming error and keeps its traceback.
    """


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
    value: float,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raises UserError unless `value` is a finite number in [low, high], or in (low, high) where open."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if number and (value > low if open_low else value >= low) and (value < high if open_high else value <= high):
        return
    left, right = "(" if open_low else "[", ")" if open_high or high == math.inf else "]"
    raise UserError(f"{what} must be a number in {left}{low:g}, {high:g}{right}, not {value!r}")


def whole_number(what: str, value: object, low: int) -> None:
    """Raises UserError unless `value` is an int of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UserError(f"{what} must be a whole number of at least {low}, not {value!r}")
