"""A function that works element by element, or is a softmax: an operation, whose mistakes have names."""

from collections.abc import Callable, Sequence

import numpy as np

from mlp_jax.gradcheck.layers.network import LayerNetwork
from mlp_jax.gradcheck.layers.trials import Array, Trial, distance
from mlp_jax.gradcheck.mistakes.layer_ops import LogSoftmax, Softmax
from mlp_jax.gradcheck.mistakes.ops import Op, Slope
from mlp_jax.gradcheck.mistakes.slopes import values_of
from mlp_jax.gradcheck.softmax import softmax
from mlp_jax.nn import activations

OfOne = Callable[[Array], Array]
STEP = 1e-5  # of a central difference
CLOSE = 1e-6  # outputs that may have been computed in float32
WIDE = 3  # the number of a trial in which a function of each element is asked far from 0 too
FAR = 9.0  # beyond 6, where a ReLU6 has its second kink


def network_of(leaf: str, functions: Sequence[OfOne], trials: Sequence[Trial]) -> LayerNetwork | None:
    """The leaf as the input of an activation, or of a softmax over rows; None if the function is neither.

    functions: of the leaf alone, from and to numpy arrays, one for every trial.
    """
    xs, outputs = [trial.inputs[leaf] for trial in trials], [trial.output for trial in trials]
    chains: list[list[Op]]
    if all(x.ndim == 2 and same(a, softmax(x)) for x, a in zip(xs, outputs, strict=True)):
        chains = [[Softmax(0, a)] for a in outputs]
    elif all(x.ndim == 2 and same(np.exp(a), softmax(x)) for x, a in zip(xs, outputs, strict=True)):
        chains = [[LogSoftmax(0, np.exp(a))] for a in outputs]
    elif all(is_elementwise(f, x) for f, x in zip(functions, xs, strict=True)):
        name, low = named(xs, outputs)
        chains = [[_slope(f, trial, leaf, name, low)] for f, trial in zip(functions, trials, strict=True)]
    else:
        return None
    return LayerNetwork(chains, [trial.dout for trial in trials], {leaf: (2, "x")}, lambda _, array, __: array)


def is_elementwise(function: OfOne, x: Array) -> bool:
    """Whether every element of the output hangs on the same element of x alone."""
    even, other = np.indices(x.shape).sum(axis=0) % 2 == 0, 0.7 * x + 0.1  # in every row, and every column
    try:
        out, *outputs = (function(at) for at in (x, np.where(even, x, other), np.where(even, other, x)))
    except (ArithmeticError, ValueError):  # it is not defined there
        return False
    moved = zip((even, ~even), outputs, strict=True)
    return out.shape == x.shape and all(np.allclose(m[kept], out[kept], rtol=1e-12) for kept, m in moved)


def spread(x: Array, rng: np.random.Generator) -> Array:
    """Returns numbers in the order of x, one in each of as many equal parts of [-FAR, FAR]."""
    ranks = x.ravel().argsort().argsort()
    return np.asarray(FAR * (2 * (ranks + rng.random(x.size)) / x.size - 1)).reshape(x.shape)


def _slope(function: OfOne, trial: Trial, leaf: str, name: str, low: float | None) -> Slope:
    x, a = trial.inputs[leaf], trial.output

    def derivative(at: Array) -> Array:
        try:
            slope = np.asarray((function(at + STEP) - function(at - STEP)) / (2 * STEP))
        except (ArithmeticError, ValueError):  # as math's functions raise outside of their domain
            return np.full_like(at, np.inf)
        return np.where(np.isnan(slope), np.inf, slope)  # no answer that is a number was computed so

    slope = trial.true[leaf] / trial.dout
    return Slope(0, x, a, slope, name, low, derivative=None if name else derivative)


def named(xs: Sequence[Array], outputs: Sequence[Array]) -> tuple[str, float | None]:
    """The activation that outputs are of, and a leaky ReLU's slope; ("", None) if it is not known.

    Raises ValueError if the shapes of an output and its input differ.
    """
    if any(x.shape != a.shape for x, a in zip(xs, outputs, strict=True)):
        raise ValueError("shapes differ")
    x, a = (np.concatenate([array.ravel() for array in arrays]) for arrays in (xs, outputs))
    names = [name for name in activations.ACTIVATIONS if name != "leaky_relu"]
    for name, value in zip(names, values_of(tuple(names), x), strict=True):
        if same(a, value):
            return name, None
    left = x < 0
    low = float(np.median(a[left] / x[left])) if left.any() else 0.0
    return ("leaky_relu", low) if same(a, np.where(left, low * x, x)) else ("", None)


def same(found: Array, true: Array) -> bool:
    """Whether two outputs are one, as far as float32 tells."""
    return distance(found, true) < CLOSE
