"""The leaky slope, or the eps of normalisation, that a candidate may have meant: a number that is on no list."""

from collections.abc import Callable

import numpy as np

from mlp_jax.gradcheck.judging.variants import ROUGHLY, Variant, variant_of
from mlp_jax.nn.config import MLPConfig

HOPELESS_AFTER, HOPELESS = 20, 1e-2
"""After so many golden sections the number is known to 1e-5, and what is right is off by much less than this."""


def nearest(off: Callable[[Variant], float], config: MLPConfig) -> Variant | None:
    """The leaky slope, or the eps of normalisation, for which `off` is least; None where there is neither.

    The least of a few values, then golden sections around it, which end early where they lead to none that is
    right. As many digits are kept as are needed.
    """
    slopes, exponents = np.linspace(-1, 1, 41), np.linspace(-9, 0, 28)
    kinds: list[tuple[Callable[[float], Variant], np.ndarray]] = []
    if any(unit.active for unit in config.units):
        kinds.append((lambda slope: variant_of({"activation": "leaky_relu", "negative_slope": slope}), slopes))
    if any(unit.norm != "none" for unit in config.units):
        kinds.append((lambda exponent: variant_of({"norm_eps": 10**exponent}), exponents))
        kinds.append((lambda exponent: variant_of({"norm_eps": 10**exponent, "eps_place": ROUGHLY}), exponents))
    found = [kind(_least(kind, off, grid)) for kind, grid in kinds]
    return _rounded(min(found, key=off), off) if found else None


def _least(kind: Callable[[float], Variant], off: Callable[[Variant], float], grid: np.ndarray) -> float:
    values = [off(kind(float(t))) for t in grid]
    at = int(np.argmin(values))
    low, high = float(grid[max(at - 1, 0)]), float(grid[min(at + 1, len(grid) - 1)])
    golden = (5**0.5 - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = off(kind(a)), off(kind(b))
    for section in range(60):
        if section == HOPELESS_AFTER and min(at_a, at_b) > HOPELESS:
            break
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = off(kind(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = off(kind(b))
    return (low + high) / 2


def _rounded(variant: Variant, off: Callable[[Variant], float]) -> Variant:
    """With the fewest digits that are as near."""
    options = dict(variant.options)
    name = "norm_eps" if "norm_eps" in options else "negative_slope"
    limit = max(10 * off(variant), 1e-11)
    for digits in range(1, 12):
        shorter = variant._replace(options=tuple((options | {name: float(f"{options[name]:.{digits}g}")}).items()))
        if off(shorter) <= limit:
            return shorter
    return variant
