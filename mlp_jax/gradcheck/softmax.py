"""Probabilities of scores, in numpy: what a wrong gradient is compared with is made of these."""

import numpy as np

Array = np.ndarray


def softmax(logits: Array) -> Array:
    """Returns psi, the softmax over each row of logits (N, C)."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def probabilities(logits: Array) -> Array:
    """Returns the softmax over each row, or the sigmoid of one output (N, 1)."""
    return sigmoid(logits) if logits.shape[1] == 1 else softmax(logits)


def sigmoid(z: Array) -> Array:
    """Returns 1 / (1 + exp(-z))."""
    return np.asarray(np.exp(-np.logaddexp(0, -z)))


def through_softmax(psi: Array, g: Array) -> Array:
    """Returns the softmax's Jacobian times g, (N, C): psi (g - sum(g psi)) in each row (equation 3)."""
    return np.asarray(psi * (g - (g * psi).sum(axis=1, keepdims=True)))


def slope_of_sigmoid(z: Array) -> Array:
    """Returns the derivative of the sigmoid at z; of tanh it is 4 times that at 2z."""
    return np.asarray(sigmoid(z) * sigmoid(-z))
