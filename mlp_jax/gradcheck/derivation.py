"""The gradient once more, in plain numpy and by another route than `gradients`: what `jax.grad` is held against.

Networks of ReLU layers, without normalisation or with one before each activation. Nothing here calls jax, and
nothing is shared with the hand-written backward pass. N examples, D inputs of a layer, H its outputs, C classes.
"""

from typing import NamedTuple

import numpy as np

from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer, NormLayer, Params


class _Hidden(NamedTuple):
    """What one hidden layer computed: its inputs (N, D); where it is active (N, H); if it is normalised, the
    products less their mean (N, H), and their variance plus epsilon, (1, H) or (N, 1).
    """

    inputs: np.ndarray
    active: np.ndarray
    centred: np.ndarray
    variance: np.ndarray


def gradient(params: Params, x: np.ndarray, y: np.ndarray, config: MLPConfig, l2: float) -> Params:
    """The derivative of `loss` by every parameter, of the parameters' shapes; arguments as for `loss`."""
    hidden, logarithms, last = _forward(params, x, config)
    delta = (np.exp(logarithms) - np.eye(config.classes)[y]) / len(y)
    grads: list[Layer | NormLayer] = [_of_layer(params[-1], last, delta, l2)]
    below_last = zip(params[-2::-1], params[:0:-1], hidden[::-1], config.units[::-1], strict=True)
    for layer, above, kept, unit in below_last:
        delta = (delta @ np.asarray(above.w).T) * kept.active
        if isinstance(layer, NormLayer):
            normalised = kept.centred / np.sqrt(kept.variance)
            norm = ((delta * normalised).sum(axis=0), delta.sum(axis=0))
            delta = _back_through_norm(delta * np.asarray(layer.scale), kept, unit.norm_axis)
            grads.append(NormLayer(*_of_layer(layer, kept.inputs, delta, l2), *norm))
        else:
            grads.append(_of_layer(layer, kept.inputs, delta, l2))
    return tuple(grads[::-1])


def loss(params: Params, x: np.ndarray, y: np.ndarray, config: MLPConfig, l2: float) -> np.ndarray:
    """J~ of the report, in nats: the mean cross-entropy of x (N, D) and labels y (N,), and l2 * sum of all w^2.

    Parameters may be complex, for a derivative by a complex step: no absolute value and no conjugate is taken.
    """
    penalty = sum((np.asarray(layer.w) ** 2).sum() for layer in params)
    return np.asarray(-log_softmax(params, x, config)[np.arange(len(y)), y].mean() + l2 * penalty)


def log_softmax(params: Params, x: np.ndarray, config: MLPConfig) -> np.ndarray:
    """The logarithms of the network's probabilities in training mode, of shape (N, C), for x of shape (N, D)."""
    return _forward(params, x, config)[1]


def _forward(params: Params, x: np.ndarray, config: MLPConfig) -> tuple[list[_Hidden], np.ndarray, np.ndarray]:
    """The hidden layers, the logarithms of the softmax (N, C), and the last layer's inputs."""
    hidden, a = [], x
    for layer, unit in zip(params[:-1], config.units, strict=True):
        z = a @ np.asarray(layer.w) + np.asarray(layer.b)
        centred = z - z.mean(axis=unit.norm_axis, keepdims=True)
        variance = (centred**2).mean(axis=unit.norm_axis, keepdims=True) + config.norm_eps
        if isinstance(layer, NormLayer):
            z = np.asarray(layer.scale) * centred / np.sqrt(variance) + np.asarray(layer.shift)
        hidden.append(_Hidden(a, z.real > 0, centred, variance))
        a = z * (z.real > 0)
    logits = a @ np.asarray(params[-1].w) + np.asarray(params[-1].b)
    logits = logits - logits.real.max(axis=1, keepdims=True)
    return hidden, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), a


def _of_layer(layer: Layer | NormLayer, inputs: np.ndarray, delta: np.ndarray, l2: float) -> Layer:
    """By w and b, from the derivative by the products (N, H)."""
    return Layer(inputs.T @ delta + 2 * l2 * np.asarray(layer.w), delta.sum(axis=0))


def _back_through_norm(delta: np.ndarray, hidden: _Hidden, axis: int) -> np.ndarray:
    """From the normalised products back to the products, by the variance and the mean one after the other.

    That is how Ioffe & Szegedy (2015, section 3) write it; `gradients.norm_backward` has all in one formula.
    """
    count, deviation = delta.shape[axis], np.sqrt(hidden.variance)
    by_variance = (delta * hidden.centred).sum(axis=axis, keepdims=True) * -0.5 / deviation**3
    by_centred = delta / deviation + by_variance * 2 * hidden.centred / count
    return np.asarray(by_centred - by_centred.sum(axis=axis, keepdims=True) / count)
