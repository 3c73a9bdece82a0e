"""This measures activations and gradients layer by layer: root mean squares on one batch, by epoch and seed."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.data.dataset import Split
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.model import Params
from mlp_jax.studies import statistics
from mlp_jax.training.history import Observed, Result


class Norms(NamedTuple):
    """These are root mean squares, each of shape (layers,), first layer first.

    activation: of a layer's output, the logits for the last one. gradient: of the cross-entropy by the weights,
    without penalty or weight decay.
    """

    activation: np.ndarray
    gradient: np.ndarray


def root_mean_square(values: jax.Array) -> jax.Array:
    """Gives sqrt(mean of squares), scaled by the largest value, since the square of 1e-23 is 0 in float32."""
    largest = jnp.abs(values).max()
    scaled = values / jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.square(scaled).mean())


def norms(params: Params, batch: Split, model: MLPConfig, gradient: str = "manual") -> Norms:
    """Gives those of a network on one batch."""
    network = replace(model, init="uniform_fan_in", init_std=1.0)  # so all initialisations share a program
    return Norms(*map(np.asarray, _norms(params, batch, network, gradient)))


@functools.partial(jax.jit, static_argnums=(2, 3))
def _norms(params: Params, batch: Split, model: MLPConfig, gradient: str) -> tuple[jax.Array, jax.Array]:
    (_, traced), grads = SOURCES[gradient](params, batch.x, batch.y, model)
    outputs = [*(hidden.inputs for hidden in traced.hidden[1:]), traced.inputs, traced.logits]
    outputs = outputs[-len(params) :]  # without hidden layers, `traced.inputs` are the images
    return (
        jnp.stack([root_mean_square(values) for values in outputs]),
        jnp.stack([root_mean_square(layer.w) for layer in grads]),
    )


def observer(batch: Split, model: MLPConfig, gradient: str) -> Callable[[int, int, Params], Observed]:
    """Observes, for `population.Epoch.observe`, the norms of every epoch, and with the first ones the weights."""

    def observe(number: int, epoch: int, params: Params) -> Observed:
        found = norms(params, batch, model, gradient)
        return (*found, *(np.asarray(layer.w) for layer in params)) if epoch == 0 else tuple(found)

    return observe


def summary(runs: Sequence[Result]) -> dict[str, Any]:
    """Gives, of runs with an `observer`, each norm's geometric mean by epoch (0 is the start) and layer.

    spread: the geometric standard deviation (a factor) by layer, at the start and at the end. moved: how far
    training took each layer's weights, relative to their size at the start.
    """
    if not runs:
        return {"activation": None, "gradient": None, "moved": None}
    found: dict[str, Any] = {}
    for place, name in enumerate(Norms._fields):
        values = np.array([[epoch[place] for epoch in run.observed] for run in runs], float)
        statistics.finite(values.ravel())
        with np.errstate(divide="ignore", invalid="ignore"):  # the mean of a logarithm of 0 is 0 again
            logs = np.log(values)
            spread = np.exp(logs[:, [0, -1]].std(axis=0, ddof=1)) if len(runs) > 1 else None
        found[name] = {
            "mean": _short(np.exp(logs.mean(axis=0))),
            "spread": None if spread is None else _short(np.nan_to_num(spread, nan=1.0)),
        }
    return {**found, "moved": _short(np.mean([_moved(run) for run in runs], axis=0))}


def _moved(run: Result) -> list[float]:
    first = [np.asarray(w, float) for w in run.observed[0][len(Norms._fields) :]]
    last = [np.asarray(layer.w, float) for layer in run.state.params]
    return [float(np.linalg.norm(b - a) / np.linalg.norm(a)) for a, b in zip(first, last, strict=True)]


def _short(values: np.ndarray) -> Any:
    """Gives lists of 4 significant digits: they are for tables and figures."""
    if values.ndim:
        return [_short(part) for part in values]
    return float(f"{float(values):.4g}")
