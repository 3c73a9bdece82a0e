"""What a network and a loss are called with is checked here, so that their modules hold the mathematics alone."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer, PRNGKeyArray

from mlp_jax.errors import UserError
from mlp_jax.nn.activations import Array
from mlp_jax.nn.config import MLPConfig

Inputs: TypeAlias = Float[Array, "batch features"]
"""Each example has its row of features."""

Labels: TypeAlias = Integer[Array, "batch"] | Float[Array, "batch classes"]
"""Each example has its class, or a probability for every class (soft labels: label smoothing, mixup)."""

SUM_TOLERANCE = 1e-3
"""The sum of a soft label may be so far from 1, for which its gradient takes it: bfloat16 has three digits."""


def check_call(
    params: Sequence[tuple[jax.Array, ...]],
    x: Inputs,
    config: MLPConfig,
    stats: Sequence[Any],
    train: bool,
    key: PRNGKeyArray | None,
) -> None:
    """Raises UserError unless the arguments of a forward pass, which `model.trace` describes, fit one another.

    It reads shapes only, so it costs nothing under `jit`.
    """
    found = tuple(layer[0].shape for layer in params)
    expected = tuple(zip(config.sizes[:-1], config.sizes[1:], strict=True))
    if found != expected:
        raise UserError(f"params have weights of shapes {found}, but the configuration says {expected}")
    units = zip(params[:-1], config.units, strict=True)
    if any((len(layer) == 4) != (unit.norm != "none") for layer, unit in units):
        raise UserError(
            f"params and norm={config.norm!r} of block={config.block!r} disagree: make them with init(key, config)"
        )
    if x.ndim != 2 or x.shape[1] != config.inputs:
        raise UserError(f"x has shape {x.shape}, but the network takes (batch, {config.inputs})")
    if train and config.has_running_stats and x.shape[0] < 2:
        raise UserError("batch normalisation cannot train on a batch of 1: its variance is 0")
    if train and config.dropout and config.hidden and key is None:
        raise UserError("dropout in training needs a random key: pass key=jax.random.key(...)")
    if not train and config.has_running_stats and len(stats) != len(config.hidden):
        raise UserError("evaluating batch normalisation needs its running statistics: pass stats=...")


def check_labels(logits: Float[Array, "batch classes"], labels: Labels) -> None:
    """Raises UserError unless `labels` fit `logits`; see `cross_entropy`."""
    soft = jnp.issubdtype(labels.dtype, jnp.floating)
    expected = logits.shape if soft else logits.shape[:1]
    if logits.ndim != 2 or labels.shape != expected:
        kind = "soft labels" if soft else "labels"
        raise UserError(f"logits of shape {logits.shape} need {kind} of shape {expected}, not {labels.shape}")
    if isinstance(labels, jax.core.Tracer):
        return
    if soft:
        rows = np.asarray(labels, np.float64)
        wrong = np.flatnonzero(~((rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) < SUM_TOLERANCE)))
        if wrong.size:
            raise UserError(f"soft labels are probabilities; row {wrong[0]} is {rows[wrong[0]]}")
        return
    values, classes = np.asarray(labels), logits.shape[1]
    wrong = np.flatnonzero((values < 0) | (values >= classes))
    if wrong.size:
        raise UserError(
            f"label {values[wrong[0]]} at index {wrong[0]} is out of range: labels are 0 to {classes - 1}"
        )
