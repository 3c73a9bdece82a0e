"""Which number stands in front of a leaf: 1, N, 1/N, another size for N, or a number that is none of these."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Codes = tuple[tuple[str, str], ...]  # of mistakes, each with what its code alone does not say
LARGEST = 1e4  # a number that somebody may have written before a leaf


class Sizes(NamedTuple):
    """Of every case: the number of examples, lambda, and other numbers that somebody may divide by, by name.

    of_mean: whether what is differentiated is a mean over the examples, so that every leaf has 1/N in it.
    summed: of how many numbers of dout each number of the leaf is the sum, where it is one.
    """

    n: Array
    l2: Array
    others: dict[str, Array]
    of_mean: bool = True
    summed: Array | None = None


def name_factor(
    sizes: Sizes, agrees: Callable[[Array], Array], found: Callable[[Array], Array], *, of_sum: bool
) -> tuple[Array, Codes] | None:
    """The first factor that agrees with a leaf: 1, N, 1/N, one with another number for N, or c times one.

    agrees: of factors (K, cases), whether each agrees with the leaf, (K,). found: of the same, the number c that
    suits the leaf best before each, (K,). of_sum: the leaf is a sum over the examples, as a bias's is, so that
    1/N makes a mean of it.
    """
    known = _known_factors(sizes, "bias_mean" if of_sum else "batch_mean_twice")
    values = np.array([each for _, each in known])
    fits = agrees(np.concatenate([values, -values])).reshape(2, -1)
    if fits.any():
        k = int(np.argmax(fits.any(axis=0)))
        return (values[k], known[k][0]) if fits[0, k] else (-values[k], (*known[k][0], ("sign", "")))
    numbers = found(values)
    fits = (np.abs(numbers) > 1 / LARGEST) & (np.abs(numbers) < LARGEST) & agrees(numbers[:, None] * values)
    if not fits.any():
        return None
    k = int(np.argmax(fits))
    c, (codes, of) = float(numbers[k]), known[k]
    instead, sign_code = 1 / abs(c), (("sign", ""),) if c < 0 else ()
    is_whole = instead > 1.5 and abs(instead - round(instead)) < 1e-4 * instead
    if sizes.of_mean and of is sizes.n and is_whole:
        return c * of, (("mean_over_other", f"it divides by {instead:.6g} in place of N"), *sign_code)
    return c * of, (*codes, ("constant_factor", f"{_digits(abs(c))} times"), *sign_code)


def _known_factors(sizes: Sizes, twice: str) -> list[tuple[Codes, Array]]:
    known: list[tuple[Codes, Array]] = [
        ((), np.ones_like(sizes.n)),
        ((("batch_mean_missing", ""),), sizes.n),
        (((twice, ""),), 1 / sizes.n),
    ]
    if sizes.summed is not None:
        known.append(((("bias_mean", "over all numbers that it sums"),), 1 / sizes.summed))
    for name, size in sizes.others.items():
        if not sizes.of_mean:
            known.append(((("mean_over_other", f"it divides by {name}"),), 1 / size))
            known.append(((("constant_factor", f"{name} times"),), size))
            continue
        known.append(((("mean_over_other", f"it divides by {name} in place of N"),), sizes.n / size))
        known.append(((("mean_over_other", f"it divides by N and by {name}"),), 1 / size))
        known.append(((("mean_over_other", f"it does not divide by {name} too"),), size))
        known.append(((("batch_mean_missing", f"nor does it divide by {name}"),), sizes.n * size))
    return known


def _digits(value: float) -> str:
    """A number, with more digits where it is close to 1."""
    return f"1 {'+' if value > 1 else '-'} {abs(value - 1):.3g}" if abs(value - 1) < 1e-3 else f"{value:.4g}"
