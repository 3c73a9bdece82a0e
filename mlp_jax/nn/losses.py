"""The loss J~ of the report is the mean cross-entropy and an L2 penalty; accuracy stands beside it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float
from jaxtyping import PRNGKeyArray as Key

from mlp_jax.nn.activations import Array
from mlp_jax.nn.checks import Inputs, Labels, check_labels
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params, Trace, trace


def cross_entropy(logits: Float[Array, "batch classes"], labels: Labels) -> Float[jax.Array, "batch"]:
    """Returns -log softmax(logits)[label] of each example, in nats, in [0, inf); the caller takes the mean.

    Soft labels give the sum over classes of -probability * log softmax(logits). Large logits do no harm, because
    the largest one of each row is subtracted first.

    Raises UserError if the shapes do not match, a label is not in 0..classes-1, or soft labels are no
    probabilities. Labels that are traced (inside `jit`, `grad` or `vmap` over them) have no values to check; there
    a label out of range gives NaN.
    """
    check_labels(logits, labels)
    log_softmax = jax.nn.log_softmax(logits, axis=-1)
    if labels.ndim == 2:
        return -(labels * log_softmax).sum(axis=-1)
    classes = logits.shape[-1]
    # take_along_axis would count a negative label from the end
    index = jnp.where((labels >= 0) & (labels < classes), labels, classes)
    return -jnp.take_along_axis(log_softmax, index[:, None], axis=-1, mode="fill")[:, 0]


def l2_penalty(params: Params) -> Float[jax.Array, ""]:
    """Returns the sum of the weights' squared Frobenius norms: no 1/2, no biases, no normalisation parameters."""
    # training holds the transposes, and XLA would transpose them just for this sum
    return sum((jnp.square(layer.w.T).sum() for layer in params), start=jnp.zeros((), params[0].w.dtype))


def accuracy(logits: Float[Array, "batch classes"], labels: Labels) -> Float[jax.Array, ""]:
    """Returns the fraction, in [0, 1], of the rows whose largest logit is the label's; one with a NaN is wrong.

    A soft label stands for its most probable class.
    """
    check_labels(logits, labels)
    return correct(logits, labels).mean(dtype=logits.dtype)


def correct(logits: Float[Array, "batch classes"], labels: Labels) -> jax.Array:
    """Tells of each row, shape (batch,), whether its largest logit is the label's; one with a NaN is wrong."""
    if labels.ndim == 2:
        labels = labels.argmax(axis=-1)
    return (jnp.argmax(logits, axis=-1) == labels) & ~jnp.isnan(logits).any(axis=-1)


class Objective(NamedTuple):
    """These are J~ of a batch, in nats, and the forward pass that it came from."""

    loss: jax.Array
    trace: Trace


def objective(
    params: Params,
    x: Inputs,
    y: Labels,
    config: MLPConfig,
    *,
    l2: ArrayLike = 0.0,
    key: Key | None = None,
    dropout: ArrayLike | None = None,
) -> Objective:
    """Returns J~ in training mode with the forward pass; arguments as of `loss`, `dropout` as of `model.trace`."""
    traced = trace(params, x, config, train=True, key=key, dropout=dropout)
    return Objective(cross_entropy(traced.logits, y).mean() + l2 * l2_penalty(params), traced)


def loss(
    params: Params, x: Inputs, y: Labels, config: MLPConfig, *, l2: ArrayLike = 0.0, key: Key | None = None
) -> Float[jax.Array, ""]:
    """Returns J~ of the report (Question 2): mean cross-entropy, in nats, + l2 * l2_penalty, in training mode.

    x has the shape (batch, inputs), y (batch,), or (batch, classes) for soft labels; l2 is at least 0. Batch
    normalisation uses the batch's own statistics; dropout needs a `key`.

    Raises UserError as `model.trace` and `cross_entropy` do.
    """
    return objective(params, x, y, config, l2=l2, key=key).loss
