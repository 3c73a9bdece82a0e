"""What a leaf is made of: factor * (its part from the data) + coefficient * (the parameter).

The factors tell a missing 1/N, a doubled one, a flipped sign or a number; the coefficients what was made of the
penalty. Both are found by least squares in every case, and must then be one thing in all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from mlp_jax.gradcheck.mistakes.factors import LARGEST, Array, Codes, Sizes, name_factor
from mlp_jax.gradcheck.mistakes.leaf import Beside, Leaf, beside_of, centred, norm_of

CONSTANT = 1e-6  # how far apart a coefficient in two cases may be, relative to it
SMALLEST = 1e-30  # a tolerance
ROUGH = 1e-2
ZERO = 1e-3  # of a tolerance: what is smaller is nothing but rounding errors


class Fit(NamedTuple):
    """This is the factor in front of the data's part, in every case; its mistakes, and those of the rest."""

    factor: Array
    factor_codes: Codes
    rest: Codes


def fit(leaf: Leaf, sizes: Sizes, term: Callable[[int], Array]) -> Fit | None:
    """The factor and the penalty that make a leaf of the data's part; None if nothing on the list does.

    term: the data's part of the leaf in the leaf's case number j.
    """
    moments = _moments(leaf, term)
    found = None if moments is None else _named(leaf, sizes, moments)
    return _of_one_number(leaf, sizes, term) if found is None and leaf.number is not None else found


def _of_one_number(leaf: Leaf, sizes: Sizes, term: Callable[[int], Array]) -> Fit | None:
    """The data's part and a multiple of lambda times a single number, which has no penalty; None for another."""
    more = np.array([float((value - term(j)).sum()) for j, value in enumerate(leaf.values)])
    for scale in (sizes.l2[leaf.at], sizes.l2[leaf.at] / sizes.n[leaf.at]):
        penalty = scale * leaf.number
        times = float(more @ penalty) / (float(penalty @ penalty) or 1.0)
        if abs(times) > 1e-3 and _equal(more, times * penalty, leaf.tolerances + CONSTANT * np.abs(more)):
            return Fit(np.ones_like(sizes.n), (), (("l2_on_bias", ""),))
    return None


class _Moments(NamedTuple):
    """Per case, beside the parameter's direction: the factor of least distance, that, and the data part's norm.

    along_v, along_t: of the leaf and of its data part, in the parameter's direction; size: the parameter's norm.
    """

    factor: Array
    distance: Array
    norm: Array
    along_v: Array
    along_t: Array
    size: Array


def _of_case(beside: Beside, data: Array) -> tuple[float, ...]:
    along = float(beside.direction @ data)
    rest = data - along * beside.direction
    norm = norm_of(rest)
    factor = float(beside.values @ rest) / norm**2 if norm > 1e-14 * beside.norm else 0.0
    return factor, norm_of(beside.values - factor * rest), norm, beside.along, along, beside.size


def _is_far(beside: Beside, data: Array, tolerance: float, value: float) -> bool:
    """Whether products alone tell that nothing fits, as they do of nearly all hypotheses, far from rounding."""
    along, product = float(beside.direction @ data), float(beside.values @ data)
    square = float(data @ data) - along**2
    if not square > 1e-6 * along**2:
        return False
    distance = beside.norm**2 - product**2 / square
    return distance > 1e-6 * beside.norm**2 + 4 * _limit(tolerance, value, product / square) ** 2


def _moments(leaf: Leaf, term: Callable[[int], Array]) -> _Moments | None:
    rows = list[tuple[float, ...]]()
    for j, value in enumerate(leaf.values):
        data, beside = term(j), leaf.beside[j]
        if data.shape != value.shape:
            return None
        data = data.ravel()
        if _is_far(beside, data, leaf.tolerances[j], leaf.norms[j]):
            return None
        if not np.isfinite(data).all():
            known = ~np.isnan(data)  # NaN is what cannot be known
            if not known.any():
                rows.append((0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
                continue
            data = data[known]
            if not np.isfinite(data).all():
                return None
            beside = beside_of(value.ravel()[known], leaf.parameters[j].ravel()[known])
        rows.append(_of_case(beside, data))
        if not rows[-1][1] <= _limit(leaf.tolerances[j], leaf.norms[j], rows[-1][0]):
            return None  # the first case alone rejects nearly every hypothesis
    return _Moments(*np.array(rows).T) if any(any(row) for row in rows) else None


def _limit(tolerance: float, value: float, factor: float) -> float:
    """How far off a leaf of the norm `value` may be where its data part is multiplied: rounding is, too."""
    return float(min(tolerance * min(max(abs(factor), 1.0), LARGEST), max(tolerance, ROUGH * value)))


def _limits(leaf: Leaf, factors: Array) -> Array:
    """`_limit` in every case."""
    most = np.maximum(leaf.tolerances, ROUGH * leaf.norms)
    return np.asarray(np.minimum(leaf.tolerances * np.clip(np.abs(factors), 1.0, LARGEST), most))


def possible(leaf: Leaf, data: Array) -> bool:
    """Whether the first case speaks for a factor times this, plus a coefficient times the parameter."""
    if not np.isfinite(data).all():
        return False
    factor, distance, norm, *_ = _of_case(leaf.beside[0], data.ravel())
    told = abs(factor) * norm > 10 * leaf.tolerances[0]  # a leaf that is 0 allows everything
    return told and bool(distance <= _limit(leaf.tolerances[0], leaf.norms[0], factor))


def open_number(leaf: Leaf, data: Array, direction: Array) -> float | None:
    """x in leaf = factor (data + x direction) + coefficient * parameter, by the first case; None without one."""
    value = leaf.values[0].ravel()
    matrix = np.stack([data.ravel(), direction.ravel(), leaf.parameters[0].ravel()], axis=1)
    if not np.isfinite(matrix).all():
        return None
    numbers, _, rank, _ = np.linalg.lstsq(matrix, value, rcond=None)
    factor, number, distance = float(numbers[0]), float(numbers[1]), norm_of(matrix @ numbers - value)
    if rank < 2 or not factor or not distance <= _limit(leaf.tolerances[0], leaf.norms[0], factor):
        return None
    return number / factor if abs(number) > 1e-6 * abs(factor) else None


def _named(leaf: Leaf, sizes: Sizes, m: _Moments) -> Fit | None:
    at = leaf.at

    def agrees(values: Array) -> Array:
        distance = np.hypot(m.distance, (m.factor - values[:, at]) * m.norm)
        return np.asarray(np.all(distance <= _limits(leaf, values[:, at]), axis=1))

    def found(values: Array) -> Array:
        unit, weight = values[:, at], (m.norm / np.maximum(leaf.tolerances, SMALLEST)) ** 2
        return np.asarray((weight * unit * m.factor).sum(axis=1) / (weight * unit**2).sum(axis=1))

    with np.errstate(all="ignore"):  # NaN is a number that agrees with nothing
        named = name_factor(sizes, agrees, found, of_sum=leaf.of_sum)
    if named is None and np.all(leaf.norms <= ZERO * leaf.tolerances):
        named = np.zeros_like(sizes.n), (("constant_factor", "0 times, as where nothing is computed"),)
    if named is None:
        return None
    factor, size = named[0][at], np.where(m.size > 0, m.size, 1.0)
    coefficients = np.where(m.size > 0, (m.along_v - factor * m.along_t) / size, 0.0)
    allowed = np.where(m.size > 0, 2 * _limits(leaf, factor) / size, np.inf)
    rest = _penalty(leaf, sizes, coefficients, allowed, factor)
    return None if rest is None else Fit(named[0], named[1], rest)


def _penalty(leaf: Leaf, sizes: Sizes, found: Array, limits: Array, factor: Array) -> Codes | None:
    """Which mistake the coefficients of the parameter are."""
    expected = leaf.expected
    if _equal(found, expected, limits):
        return ()
    if not leaf.penalised and not expected.any():
        return (("l2_on_bias", ""),)
    if (factor != 1).any() and _equal(found, expected * factor, limits):
        return ()  # the factor stands before the whole leaf
    wrong = np.abs(found - expected) > limits
    if _equal(found[wrong], 0 * expected[wrong], limits[wrong]):
        return (("l2_ignored", ""),)
    if _equal(found, -expected, limits + CONSTANT * np.abs(found)):
        return (("sign", "of the penalty's part"),)
    n, l2 = sizes.n[leaf.at], 2 * sizes.l2[leaf.at]
    for scale in (l2, l2 / n, l2 * n, l2**2):
        size = float(scale @ scale)
        times = float(found @ scale) / size if size else 0.0
        if size and _equal(found, times * scale, limits + CONSTANT * np.abs(found)):
            sign: Codes = (("sign", "of the penalty's part"),) if times < 0 else ()
            return (*sign, ("l2_factor", ""))
    constant = float(np.median(found))
    if _equal(found, np.full_like(found, constant), limits + CONSTANT * abs(constant)):
        return (("l2_constant", ""),)
    if not expected[wrong].all() or 2 * wrong.sum() < np.count_nonzero(expected):
        return None
    times = found[wrong] / expected[wrong]
    one = float(np.ptp(times)) <= CONSTANT * abs(times[0])
    return (("l2_factor", f"{times[0]:.3g} times the right one"),) if one else None


def _equal(found: Array, expected: Array, limits: Array) -> bool:
    return bool(np.all(np.abs(found - expected) <= limits))


def with_penalty_value(
    leaf: Leaf, sizes: Sizes, term: Callable[[int], Array], all_weights: Sequence[float]
) -> Fit | None:
    """A leaf to every element of which the penalty itself is added, of its own weights or of all, or their sum."""
    moments = _moments(leaf.centred, lambda j: centred(term(j)))
    if moments is None:
        return None
    for expected in (0 * leaf.expected, leaf.expected):
        found = _named(replace(leaf.centred, expected=expected), sizes, moments)
        if found is not None and not found.rest:
            break
    else:
        return None
    factor = found.factor[leaf.at]
    offsets = np.array(
        [
            (v - f * term(j) - e * p).mean()
            for j, (v, f, e, p) in enumerate(zip(leaf.values, factor, expected, leaf.parameters, strict=True))
        ]
    )
    sums = [([float((p**2).sum()) for p in leaf.parameters], ""), ([all_weights[i] for i in leaf.at], "")]
    sums.append(([float(p.sum()) for p in leaf.parameters], "a multiple of the sum of the weights"))
    for (each, detail), n in product(sums, (1.0, sizes.n[leaf.at])):
        scale = np.array(each) * sizes.l2[leaf.at] / n
        size = float(scale @ scale)
        times = float(offsets @ scale) / size if size else 0.0
        if abs(times) > 1e-3 and _equal(offsets, times * scale, leaf.tolerances + CONSTANT * np.abs(offsets)):
            return found._replace(rest=(("penalty_value", detail),))
    return None
