"""Loss and accuracy on a whole split, the last partial batch included."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from mlp_jax.data import Split
from mlp_jax.errors import UserError, whole_number
from mlp_jax.losses import correct, cross_entropy
from mlp_jax.model import MLPConfig, Params, Stats, forward, trace, update_stats


class Evaluation(NamedTuple):
    """Mean cross-entropy (no L2 term) in nats and accuracy as a fraction, over every example of a split."""

    loss: float
    accuracy: float


def on_device(split: Split, model: MLPConfig) -> Split:
    """The split in the model's dtype, as device arrays. Raises UserError if a label is not one of its classes."""
    labels = np.asarray(split.y)
    if labels.size and not 0 <= labels.min() <= labels.max() < model.classes:
        raise UserError(
            f"labels go from {labels.min()} to {labels.max()}: this network takes 0 to {model.classes - 1}"
        )
    return Split(jnp.asarray(split.x, model.dtype), jnp.asarray(split.y))


def evaluate(
    params: Params, stats: Stats, split: Split, model: MLPConfig, *, batch_size: int = 1000
) -> Evaluation:
    """Loss without the L2 term, and accuracy, on every example of a split, in evaluation mode."""
    whole_number("batch_size", batch_size, 1)
    data = on_device(split, model)
    loss, hits = _evaluate(params, stats, data, model=model, batch_size=min(batch_size, len(data.y)))
    return Evaluation(float(loss) / len(data.y), int(hits) / len(data.y))


@functools.partial(jax.jit, static_argnames=("model", "batch_size"))
def _evaluate(
    params: Params, stats: Stats, data: Split, *, model: MLPConfig, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """Sums over the split of the cross-entropy and of the hits, in batches.

    The last batch is moved back to end with the split, and what it shares with the one before counts once: so
    one shape serves all batches and no example is dropped.
    """
    examples = data.y.shape[0]

    def batch_sums(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jnp.minimum(start, examples - batch_size)
        x = jax.lax.dynamic_slice_in_dim(data.x, first, batch_size)
        y = jax.lax.dynamic_slice_in_dim(data.y, first, batch_size)
        new = first + jnp.arange(batch_size) >= start
        logits = forward(params, x, model, stats=stats)
        return jnp.where(new, cross_entropy(logits, y), 0).sum(), (new & correct(logits, y)).sum()

    losses, hits = jax.lax.map(batch_sums, jnp.arange(0, examples, batch_size))
    return losses.sum(), hits.sum()


def evaluate_in_training_mode(
    key: PRNGKeyArray, params: Params, stats: Stats, split: Split, model: MLPConfig, *, batch_size: int
) -> tuple[Stats, Evaluation]:
    """As the report's Question 4 validates: consecutive batches in training mode.

    Returns the running statistics as these batches have moved them. The last, smaller batch is included; one
    that is left with a single example under batch normalisation raises UserError (`model.trace`).
    """
    data = on_device(split, model)
    loss, hits = 0.0, 0
    for index, start in enumerate(range(0, len(data.y), batch_size)):
        x, y = data.x[start : start + batch_size], data.y[start : start + batch_size]
        traced = _trace(params, x, model, key=jax.random.fold_in(key, index))
        stats = update_stats(stats, traced, model)
        loss += float(cross_entropy(traced.logits, y).sum())
        hits += int(correct(traced.logits, y).sum())
    return stats, Evaluation(loss / len(data.y), hits / len(data.y))


_trace = jax.jit(trace, static_argnames=("config", "train"))
