"""Other losses of scores (N, C) and labels (N,) than the report's: each gives one number per example."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = Any  # of numpy or jax
PerExample = Callable[[Any, Array, Array], Array]
PLAIN = "cross_entropy"
CLIPS = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15)
CLIPPED = " inside the log"


def _both(xp: Any, s: Array) -> Array:
    """The scores of both classes, of which one output has the second alone: that of the first is 0."""
    return xp.concatenate([0 * s, s], axis=1) if s.shape[1] == 1 else s


def _psi(xp: Any, s: Array) -> Array:
    exp = xp.exp(s - s.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def _one_hot(xp: Any, s: Array, y: Array) -> Array:
    return y[:, None].astype(s.dtype) if s.shape[1] == 1 else xp.eye(s.shape[1], dtype=s.dtype)[y]


def _log_likelihood(xp: Any, s: Array, y: Array) -> Array:
    s = _both(xp, s)
    shifted = s - s.max(axis=1, keepdims=True)
    return xp.log(xp.exp(shifted).sum(axis=1)) - (shifted * _one_hot(xp, s, y)).sum(axis=1)


def _squared(xp: Any, s: Array, y: Array) -> Array:
    return ((s - _one_hot(xp, s, y)) ** 2).sum(axis=1)


def _absolute(xp: Any, s: Array, y: Array) -> Array:
    return abs(s - _one_hot(xp, s, y)).sum(axis=1)


def _binary(xp: Any, s: Array, y: Array) -> Array:
    return (xp.logaddexp(0 * s, s) - s * _one_hot(xp, s, y)).sum(axis=1)


def _binary_of_softmax(xp: Any, s: Array, y: Array) -> Array:
    psi, one_hot = _psi(xp, s), _one_hot(xp, s, y)
    others = xp.where(one_hot > 0, 0 * psi, psi)
    return _log_likelihood(xp, s, y) - xp.log(1 - others).sum(axis=1)


def _others_of_softmax(xp: Any, s: Array, y: Array) -> Array:
    return (_psi(xp, s) * _one_hot(xp, s, y)).sum(axis=1) * -1


def _margins(xp: Any, s: Array, y: Array, margin: float) -> Array:
    one_hot = _one_hot(xp, s, y)
    over = s - (s * one_hot).sum(axis=1, keepdims=True) + margin
    return xp.where(one_hot > 0, 0 * s, xp.maximum(over, 0))


def _hinge(xp: Any, s: Array, y: Array, *, margin: float = 1.0, power: int = 1) -> Array:
    return (_margins(xp, s, y, margin) ** power).sum(axis=1)


def _hinge_with_own(xp: Any, s: Array, y: Array) -> Array:
    return _hinge(xp, s, y) + 1


def _largest_margin(xp: Any, s: Array, y: Array) -> Array:
    return _margins(xp, s, y, 1.0).max(axis=1)


def _one_against_rest(xp: Any, s: Array, y: Array, *, power: int = 1) -> Array:
    return (xp.maximum(1 - s * (2 * _one_hot(xp, s, y) - 1), 0) ** power).sum(axis=1)


def _clipped(xp: Any, s: Array, y: Array, *, eps: float) -> Array:
    s = _both(xp, s)
    return -xp.log((_psi(xp, s) * _one_hot(xp, s, y)).sum(axis=1) + eps)


def _of(loss: PerExample, activation: Callable[[Any, Array], Array], xp: Any, s: Array, y: Array) -> Array:
    return loss(xp, activation(xp, s), y)


ON_SCORES: dict[str, Callable[[Any, Array], Array]] = {
    "relu": lambda xp, s: xp.where(s > 0, s, 0 * s),
    "softmax": _psi,
    "sigmoid": lambda xp, s: 1 / (1 + xp.exp(-s)),
    "tanh": lambda xp, s: xp.tanh(s),
    "leaky_relu": lambda xp, s: xp.where(s >= 0, s, 0.01 * s),
    "leaky_relu(0.1)": lambda xp, s: xp.where(s >= 0, s, 0.1 * s),
    "leaky_relu(0.2)": lambda xp, s: xp.where(s >= 0, s, 0.2 * s),
    "elu": lambda xp, s: xp.where(s > 0, s, xp.exp(xp.minimum(s, 0)) - 1),
    "softplus": lambda xp, s: xp.logaddexp(0 * s, s),
}
_SINGLE: dict[str, PerExample] = {
    PLAIN: _log_likelihood,
    "squared error": _squared,
    "binary cross-entropy of the sigmoid": _binary,
    "hinge loss (SVM)": _hinge,
    "squared hinge loss (SVM)": functools.partial(_hinge, power=2),
    "hinge loss (SVM) with the true class's own margin": _hinge_with_own,
    "hinge loss (SVM) of the largest margin": _largest_margin,
    "hinge loss (SVM) of each class against the rest": _one_against_rest,
    "squared hinge loss (SVM) of each class against the rest": functools.partial(_one_against_rest, power=2),
    "absolute error": _absolute,
    "binary cross-entropy of softmax": _binary_of_softmax,
    "minus the true class's probability": _others_of_softmax,
    **{
        f"hinge loss (SVM) with the margin {margin:g}": functools.partial(_hinge, margin=margin)
        for margin in (0.1, 0.2, 0.5, 2.0, 5.0, 10.0, 100.0)
    },
}
_BEHIND = (PLAIN, "squared error", "absolute error", "binary cross-entropy of the sigmoid", "hinge loss (SVM)")
LOSSES: dict[str, PerExample] = {
    **_SINGLE,
    **{
        f"{name} behind {activation}": functools.partial(_of, _SINGLE[name], function)
        for activation, function in ON_SCORES.items()
        for name in _BEHIND
    },
    **{f"cross-entropy with {eps:g}{CLIPPED}": functools.partial(_clipped, eps=eps) for eps in CLIPS},
}


def behind(loss: str) -> tuple[str, str]:
    """Splits "squared error behind relu" into ("squared error", "relu"); without an activation that is ""."""
    name, _, activation = loss.partition(" behind ")
    return name, activation


_HINGE = re.compile(r"(squared )?hinge loss \(SVM\)(?: with (?:the true class's own margin|the margin (.+)))?")


def hinge_of(loss: str) -> tuple[float, int] | None:
    """Margin and power of a hinge loss of every wrong class; None of another loss."""
    found = _HINGE.fullmatch(loss)
    return None if found is None else (float(found[2] or 1), 2 if found[1] else 1)


def mean_loss(name: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns the mean over the examples of scores (N, C) and labels (N,), in jax."""
    return lambda scores, y: LOSSES[name](jnp, scores, y).mean()
