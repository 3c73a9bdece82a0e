"""Trials of a hand-written backward pass, and what is told of them, leaf by leaf.

A trial is one call with random inputs and a random upstream gradient dout: what is true is the gradient of
sum(output * dout) by every input, from autodiff or from central differences. `layer_report` tells the mistakes
that any function can have; guesses are those of an operation that is known.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Named = Mapping[str, Array]
STEP = 1e-4  # of a central difference, for inputs of size 1: rounding and curvature weigh about the same
TOLERANCE, SINGLE = 1e-6, 2e-3  # of float64, of float32


class Trial(NamedTuple):
    """This is one call of forward and backward.

    inputs: the leaves by name. output, dout: arrays of one shape. found: the candidate's gradients, without those
    that it did not give. true: the right ones, NaN where an input lies at a kink. sizes: numbers that somebody may
    divide by, by name. about: dimensions in words. options: the forward pass's other arguments. penalty: what a
    regulariser of the layer's own adds to `true`.
    """

    inputs: Named
    output: Array
    dout: Array
    found: Named
    true: Named
    sizes: Mapping[str, float]
    about: str
    tolerance: float = TOLERANCE
    options: Mapping[str, Any] = {}
    penalty: Mapping[str, Array] = {}


class Told(NamedTuple):
    """This is a mistake at one leaf."""

    code: str
    detail: str = ""


class Guess(NamedTuple):
    """What a mistake computes in place of a leaf, in every trial.

    extras: what is added, times one number that the candidate tells, put into words by `say`.
    """

    code: str
    values: Sequence[Array]
    detail: str = ""
    extras: Sequence[Array] | None = None
    say: Callable[[float], str] = "{:.3g}".format


Guesses = Callable[[str, Sequence[Trial]], Iterable[Guess]]  # at a leaf


def differences(value: Callable[[Array], float], at: Array, *, single: bool = False) -> Array:
    """Returns the gradient of a scalar function by central differences, float64, in the shape of `at`.

    Two steps, h and h/2, are combined to the fourth order (Richardson). NaN marks an element where they do not
    agree, or where the slopes on both sides differ: there is a kink. single: the function is as exact as float32.
    """
    step, rounding = (1e-2, 1e-6) if single else (STEP, 1e-12)
    gradient, centre = np.zeros(at.shape), value(at)
    for index in np.ndindex(at.shape):
        slopes, bends = [], []
        for h in (step, step / 2):
            up, down = at.copy(), at.copy()
            up[index] += h
            down[index] -= h
            right, left = value(up), value(down)
            slopes.append((right - left) / (2 * h))
            bends.append(abs(right - 2 * centre + left) / h)
        noise = rounding * max(1.0, abs(centre)) / step
        scale = max(1.0, abs(slopes[1]))
        curved = 1e-5 * (step / STEP) ** 2 * scale
        smooth = abs(slopes[1] - slopes[0]) <= curved + noise
        straight = bends[1] <= 0.75 * bends[0] + noise or bends[1] <= curved
        gradient[index] = (4 * slopes[1] - slopes[0]) / 3 if smooth and straight else np.nan
    return gradient


def distance(found: Array, true: Array, floor: float = 0.0) -> float:
    """|found - true| / |true| in Euclidean norms where `true` is known; infinite for another shape.

    floor: what to measure against where |true| is smaller: a gradient that is 0 leaves rounding errors.
    """
    if found.shape != true.shape:
        return np.inf
    known = ~np.isnan(true)
    size = float(np.linalg.norm(true[known]))
    error = float(np.linalg.norm(found[known] - true[known]))
    return error / max(size, floor, 1e-9) if np.isfinite(error) else np.inf


def looks_single(leaves: Iterable[Array]) -> bool:
    """Whether all numbers are ones that float32 can hold."""
    return all(np.array_equal(leaf, leaf.astype(np.float32)) for leaf in leaves)


def off(leaf: str, trial: Trial) -> float:
    """How far a leaf is off, measured against a thousandth of the largest leaf at least."""
    largest = max(float(np.linalg.norm(np.nan_to_num(value))) for value in trial.true.values())
    return distance(trial.found[leaf], trial.true[leaf], 1e-3 * largest)


def _agree(leaf: str, trials: Sequence[Trial], expected: Sequence[Array | None]) -> bool:
    """Whether the candidate's leaf is what is expected in every trial."""
    return all(
        value is not None and leaf in t.found and distance(t.found[leaf], value) <= max(10 * t.tolerance, 1e-5)
        for t, value in zip(trials, expected, strict=True)
    )


def _explains(leaf: str, trials: Sequence[Trial], guess: Guess) -> str | None:
    """The detail of a guess that explains a leaf, or None if it does not."""
    if guess.extras is None:
        return guess.detail if _agree(leaf, trials, guess.values) else None
    mine = [t.found.get(leaf, np.zeros(0)) for t in trials]
    tensors = list(zip(mine, guess.values, guess.extras, strict=True))
    if any(not found.shape == value.shape == extra.shape for found, value, extra in tensors):
        return None
    rest = np.concatenate([(found - value).ravel() for found, value, _ in tensors])
    extra = np.concatenate([value.ravel() for value in guess.extras])
    c = float(rest @ extra) / max(float(extra @ extra), 1e-300)
    moved = [v + c * e for v, e in zip(guess.values, guess.extras, strict=True)]
    return guess.say(c) if np.isfinite(c) and _agree(leaf, trials, moved) else None


def _factor(leaf: str, trials: Sequence[Trial]) -> list[float] | None:
    """The number in front of the true leaf in every case, where that is all that is wrong."""
    factors = []
    for trial in trials:
        found, true = trial.found.get(leaf), trial.true[leaf]
        if found is None or found.shape != true.shape:
            return None
        known = ~np.isnan(true)
        size = float((true[known] ** 2).sum())
        factor = float((found[known] * true[known]).sum()) / size if size > 0 else np.nan
        if not np.isfinite(factor) or distance(found, factor * true) > max(1e-5, 10 * trial.tolerance):
            return None
        factors.append(factor)
    return factors


def scaled(leaf: str, trials: Sequence[Trial], *, bias: bool = False) -> list[Told]:
    """Mistakes that are a number in front of the leaf: [] if it is another thing."""
    factors = _factor(leaf, trials)
    if factors is None:
        return []
    if max(map(abs, factors)) < 1e-9:
        return [Told("constant_factor", "0 times")]
    for exact in (True, False):
        for told, values in _named_factors(trials, bias=bias):
            ratio = np.array(factors) / values
            c = float(ratio[0])
            is_one = abs(abs(c) - 1) <= 1e-4
            if np.allclose(ratio, c, rtol=1e-4, atol=0) and (is_one or not exact):
                number = [] if is_one else [Told("constant_factor", f"{abs(c):.4g} times")]
                return [*told, *([Told("sign")] if c < 0 else []), *number]
    return []


def _named_factors(trials: Sequence[Trial], *, bias: bool) -> list[tuple[list[Told], Array]]:
    """Numbers that may stand in front of a leaf in every trial, with what they say."""
    named = [(list[Told](), np.ones(len(trials)))]
    names = set.intersection(*(set(trial.sizes) for trial in trials))
    for name in sorted(names, key=lambda n: (n != "N", n)):
        size = np.array([trial.sizes[name] for trial in trials])
        if name == "N":
            by = Told("bias_mean" if bias else "batch_mean_twice")
            named += [([by], 1 / size), ([Told("batch_mean_missing")], size)]
        else:
            by, times = Told("mean_over_other", f"it divides by {name}"), Told("constant_factor", f"{name} times")
            named += [([by], 1 / size), ([times], size)]
    return named


def _of_shape(leaf: str, trials: Sequence[Trial]) -> list[Told]:
    """What a leaf of another shape is."""
    pairs = [(trial.found.get(leaf), trial) for trial in trials]
    missing = [found is None for found, _ in pairs]
    if all(missing):
        return [Told("wrong_shape", "it gives nothing")]
    if _agree(leaf, trials, [t.true[leaf].T if t.true[leaf].ndim == 2 else None for t in trials]):
        return [Told("transpose", "the transposed gradient is right")]
    if _agree(leaf, trials, [_like(t.true[leaf], t.found[leaf]) if leaf in t.found else None for t in trials]):
        return [Told("bias_shape")]
    other = next(((f, t) for f, t in pairs if f is not None and f.shape != t.true[leaf].shape), None)
    return [Told("wrong_shape", f"{other[0].shape} in place of {other[1].true[leaf].shape}")] if other else []


def _like(true: Array, found: Array) -> Array | None:
    same = found.size == true.size and [n for n in found.shape if n > 1] == [n for n in true.shape if n > 1]
    return true.reshape(found.shape) if same else None


def _of_the_penalty(leaf: str, trials: Sequence[Trial]) -> Iterator[Guess]:
    """A regulariser of the layer's own is left out in one trial or in all, or has another factor there."""
    nothing = [np.zeros_like(trial.true[leaf]) for trial in trials]
    parts = [trial.penalty.get(leaf, zero) for trial, zero in zip(trials, nothing, strict=True)]
    penalised = [j for j, part in enumerate(parts) if part.any()]
    for some in (penalised, *([j] for j in penalised)):
        extras = [part if j in some else zero for j, (part, zero) in enumerate(zip(parts, nothing, strict=True))]
        values = [trial.true[leaf] - extra for trial, extra in zip(trials, extras, strict=True)]
        if some:
            yield Guess("l2_ignored", values)
            yield Guess("l2_factor", values, "", extras, "{:.3g} times the right one".format)


def _without_penalty(leaf: str, trial: Trial) -> Trial:
    """What is left of a leaf if the regulariser's part is right."""
    part = trial.penalty.get(leaf)
    if part is None or leaf not in trial.found or trial.found[leaf].shape != part.shape:
        return trial
    found, true = ({**named, leaf: named[leaf] - part} for named in (trial.found, trial.true))
    return trial._replace(found=found, true=true)


def mistakes_at(leaf: str, trials: Sequence[Trial], guesses: Guesses, *, bias: bool = False) -> list[Told]:
    """The mistakes at one leaf: [] if it is right."""
    if any(leaf in trial.found and not np.isfinite(trial.found[leaf]).all() for trial in trials):
        return [Told("non_finite")]
    shaped = [t for t in trials if leaf in t.found and t.found[leaf].shape == t.true[leaf].shape]
    if len(shaped) == len(trials) and all(off(leaf, t) <= t.tolerance for t in trials):
        return []
    # where all dimensions are equal a mistake may have the right shape, and a name says more than a shape
    compared = shaped or [trial for trial in trials if leaf in trial.found]
    for guess in _of_the_penalty(leaf, shaped):
        detail = _explains(leaf, shaped, guess)
        if detail is not None:
            return [Told(guess.code, detail)]
    trials, shaped, compared = ([_without_penalty(leaf, t) for t in some] for some in (trials, shaped, compared))
    for guess in guesses(leaf, compared) if compared else ():
        detail = _explains(leaf, compared, guess)
        if detail is not None:
            return [Told(guess.code, detail)]
    if len(shaped) < len(trials):
        return _of_shape(leaf, trials) or [Told("unknown")]
    return scaled(leaf, trials, bias=bias) or [Told("unknown")]
