"""What is made anew beside what is committed: the same, but for what another numpy may round otherwise."""

import math
import re
from decimal import Decimal

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")


def alike(made, committed):
    """Whether both are the same: floats to 9 digits, numbers in a text to one unit of their last digit.

    A mean of a few accuracies often lies half-way between two printed digits, where the last bit decides.
    """
    if isinstance(made, dict) and isinstance(committed, dict):
        return made.keys() == committed.keys() and all(alike(made[key], committed[key]) for key in made)
    if isinstance(made, list | tuple) and isinstance(committed, list | tuple):
        return len(made) == len(committed) and all(map(alike, made, committed))
    if isinstance(made, float) and isinstance(committed, float):
        return math.isclose(made, committed, rel_tol=1e-9) or made != made != committed
    if isinstance(made, str) and isinstance(committed, str):
        return NUMBER.sub("#", made) == NUMBER.sub("#", committed) and all(
            map(_close, NUMBER.findall(made), NUMBER.findall(committed))
        )
    return type(made) is type(committed) and made == committed


def _close(made, committed):
    a, b = Decimal(made), Decimal(committed)
    if "." not in made:
        return a == b  # a count
    return a.as_tuple().exponent == b.as_tuple().exponent and abs(a - b) <= Decimal(1).scaleb(
        a.as_tuple().exponent
    )
