"""Networks are evaluated by loss and accuracy on a whole split, the last partial batch included."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray
from numpy.typing import NDArray

from mlp_jax.data.dataset import Split
from mlp_jax.data.spectrum import Image
from mlp_jax.errors import UserError, whole_number
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.losses import correct, cross_entropy
from mlp_jax.nn.model import Params, Stats, forward, trace, update_stats
from mlp_jax.training.augment import check_order, views
from mlp_jax.training.config import drawn


class Evaluation(NamedTuple):
    """It has the mean cross-entropy (no L2 term) in nats, and the accuracy as a fraction, over a whole split."""

    loss: float
    accuracy: float


def on_device(split: Split, model: MLPConfig) -> Split:
    """Returns the split in the model's dtype, as device arrays. Raises UserError as `check_labels` does."""
    check_labels([split], model)
    return Split(jnp.asarray(split.x, model.dtype), jax.device_put(split.y))


def check_labels(splits: Iterable[Split], model: MLPConfig) -> None:
    """Raises UserError if a label is not one of the model's classes."""
    for labels in (np.asarray(split.y) for split in splits):
        if labels.size and not 0 <= labels.min() <= labels.max() < model.classes:
            raise UserError(
                f"labels go from {labels.min()} to {labels.max()}: this network takes 0 to {model.classes - 1}"
            )


def evaluate(params: Params, stats: Stats, split: Split, model: MLPConfig, **options: Any) -> Evaluation:
    """Returns loss without the L2 term, and accuracy, on every example of a split, in evaluation mode.

    Options and errors are those of `evaluate_each`.
    """
    return evaluate_each(params, stats, split, model, **options)[0]


def evaluate_each(
    params: Params,
    stats: Stats,
    split: Split,
    model: MLPConfig,
    *,
    batch_size: int = 1000,
    image: Image | None = None,
) -> tuple[Evaluation, NDArray[np.bool_]]:
    """Returns what `evaluate` does, and which examples were got right, shape (examples,), from the same pass.

    With the shape of an `image`, both are of the mean probabilities over its `augment.views` (test-time
    augmentation). So many examples as `batch_size`, at most, go through the network at once.

    Raises UserError for a batch_size below 1, or for views of rows in channel-first order.
    """
    whole_number("batch_size", batch_size, 1)
    if image is not None:
        check_order(split)
    data = on_device(split, model)
    known = replace(drawn(model), dropout=0.0)  # so that networks which differ in these alone share a program
    losses, hits = _each(params, stats, data, model=known, batch_size=batch_size, image=image)
    examples, batches = len(data.y), np.asarray(hits)
    last = examples - (len(batches) - 1) * batches.shape[1]
    right = np.concatenate([batches[:-1].ravel(), batches[-1, -last:]])
    return Evaluation(float(losses.sum()) / examples, int(right.sum()) / examples), right


class Sums(NamedTuple):
    """On the device, these are the sum of the cross-entropy over a split, in nats, and the number of hits."""

    loss: jax.Array
    hits: jax.Array

    def over(self, examples: int) -> Evaluation:
        """Returns the means over so many examples."""
        return Evaluation(float(self.loss) / examples, int(self.hits) / examples)


def sums(params: Params, stats: Stats, data: Split, *, model: MLPConfig) -> Sums:
    """Evaluates as `evaluate` does, as part of a program."""
    losses, hits = each(params, stats, data, model=model)
    return Sums(losses.sum(), hits.sum())


def each(
    params: Params,
    stats: Stats,
    data: Split,
    *,
    model: MLPConfig,
    batch_size: int = 1000,
    image: Image | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns each batch's sum of losses, (batches,), and its hits, (batches, batch_size), as part of a program.

    The last batch is moved back to end with the split, and what it shares with the one before counts once: so
    one shape serves all batches and no example is dropped.
    """
    examples = data.y.shape[0]
    batch_size = min(batch_size, examples)

    def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jnp.minimum(start, examples - batch_size)
        x = jax.lax.dynamic_slice_in_dim(data.x, first, batch_size)
        y = jax.lax.dynamic_slice_in_dim(data.y, first, batch_size)
        new = first + jnp.arange(batch_size) >= start
        if image is None:
            logits = forward(params, x, model, stats=stats)
        else:
            seen = jnp.stack([forward(params, view, model, stats=stats) for view in views(x, image)])
            logits = jax.nn.logsumexp(jax.nn.log_softmax(seen), axis=0)  # cross-entropy takes constants out again
        return jnp.where(new, cross_entropy(logits, y), 0).sum(), new & correct(logits, y)

    found: tuple[jax.Array, jax.Array] = jax.lax.map(batch, jnp.arange(0, examples, batch_size))
    return found


_each = jax.jit(each, static_argnames=("model", "batch_size", "image"))


def evaluate_in_training_mode(
    key: PRNGKeyArray, params: Params, stats: Stats, split: Split, model: MLPConfig, *, batch_size: int
) -> tuple[Stats, Evaluation]:
    """Evaluates as the report's Question 4 validates: consecutive batches in training mode.

    Returns the running statistics as these batches have moved them. The last, smaller batch is included; one
    that is left with a single example under batch normalisation raises UserError (`model.trace`).
    """
    data = on_device(split, model)
    stats, found = _sums_in_training_mode(key, params, stats, data, model=model, batch_size=batch_size)
    return stats, Sums(*found).over(len(data.y))


def sums_in_training_mode(
    key: PRNGKeyArray,
    params: Params,
    stats: Stats,
    data: Split,
    *,
    model: MLPConfig,
    batch_size: int,
    dropout: ArrayLike | None = None,
) -> tuple[Stats, Sums]:
    """Does `evaluate_in_training_mode` as part of a program; `dropout` is as for `model.trace`."""

    def batch_sums(stats: Stats, index: jax.Array, x: jax.Array, y: jax.Array) -> tuple[Stats, Sums]:
        traced = trace(params, x, model, key=jax.random.fold_in(key, index), dropout=dropout)
        found = Sums(cross_entropy(traced.logits, y).sum(), correct(traced.logits, y).sum())
        return update_stats(stats, traced, model), found

    whole, rest = divmod(data.y.shape[0], batch_size)
    x, y = (v[: whole * batch_size].reshape(whole, batch_size, *v.shape[1:]) for v in data)
    stats, found = jax.lax.scan(lambda stats, batch: batch_sums(stats, *batch), stats, (jnp.arange(whole), x, y))
    total = Sums(*(values.sum() for values in found))
    if rest:
        stats, last = batch_sums(stats, jnp.asarray(whole), data.x[-rest:], data.y[-rest:])
        total = Sums(*(a + b for a, b in zip(total, last, strict=True)))
    return stats, total


_sums_in_training_mode = jax.jit(sums_in_training_mode, static_argnames=("model", "batch_size"))
