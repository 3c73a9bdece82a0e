"""Trials of a hand-written backward pass: calls with random inputs and a random upstream gradient dout.

What is true is the gradient of sum(output * dout) by every input, from autodiff or from central differences.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Named = Mapping[str, Array]
STEP = 1e-4  # of a central difference, for inputs of size 1: rounding and curvature weigh about the same
TOLERANCE, SINGLE = 1e-6, 2e-3  # of float64, of float32
ZERO = 1e-6  # what is smaller, relative to `floor`, is what central differences leave of 0


class Trial(NamedTuple):
    """This is one call of forward and backward.

    inputs: the leaves by name. output, dout: arrays of one shape. found: the candidate's gradients, without those
    that it did not give. true: the right ones, NaN where an input lies at a kink. sizes: numbers that somebody may
    divide by, by name. about: dimensions in words. options: the forward pass's other arguments. penalty: what a
    regulariser of the layer's own adds to `true`. diagonal: the leaves whose gradient is dout times an array that
    no dout changes. increments: of the leaves that another call with the same inputs gives otherwise, by how much.
    of_sum: gives a leaf's gradient where all of dout is 1.
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
    diagonal: frozenset[str] = frozenset()
    increments: Mapping[str, Array] = {}
    of_sum: Callable[[str], Array] | None = None

    @property
    def x(self) -> Array:
        """The first input, which the layer transforms."""
        return next(iter(self.inputs.values()))


def differences(value: Callable[[Array], float], at: Array, *, single: bool = False) -> Array:
    """Returns the gradient of a scalar function by central differences, float64, in the shape of `at`.

    Two steps, h and h/2, are combined to the fourth order (Richardson). NaN marks an element where they do not
    agree, or where the slopes on both sides differ: there is a kink. single: the function is as exact as float32.
    """
    step, rounding, bent = (1e-2, 1e-6, 1e-2) if single else (STEP, 1e-12, 1e-5)
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
        curved = bent * scale
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


def apart(array: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The parts of these shapes that lie end to end in an array."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(array, ends), shapes, strict=True)]


def looks_single(leaves: Iterable[Array]) -> bool:
    """Whether all numbers are ones that float32 can hold."""
    return all(np.array_equal(leaf, leaf.astype(np.float32)) for leaf in leaves)


def floor(trial: Trial) -> float:
    """A thousandth of the norm of the largest leaf: smaller ones are measured against it.

    Where all of them are 0, as behind a normalisation of two examples, it is that of a linear layer's gradient.
    """
    leaves = [float(np.linalg.norm(np.nan_to_num(value))) for value in trial.true.values()]
    x, output, dout = (float(np.linalg.norm(array)) for array in (trial.x, trial.output, trial.dout))
    return 1e-3 * max(*leaves, 1e-3 * dout * output / x if x else 0.0)


def off(leaf: str, trial: Trial) -> float:
    """How far a leaf is off, measured against a thousandth of the largest leaf at least.

    A leaf that is truly 0, as a bias below a normalisation is, is measured against the whole of the largest.
    """
    least, true = floor(trial), np.nan_to_num(trial.true[leaf])
    return distance(
        trial.found[leaf], trial.true[leaf], 1e3 * least if np.linalg.norm(true) < ZERO * least else least
    )


def is_right(leaf: str, trial: Trial) -> bool:
    """Whether the candidate's gradient is the true one in a trial."""
    found = trial.found.get(leaf)
    return found is not None and found.shape == trial.true[leaf].shape and off(leaf, trial) <= trial.tolerance
