"""How parameters are moved: optax's optimisers and schedules by name, and the average over a run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Integer

from mlp_jax.nn.activations import Array
from mlp_jax.nn.model import Params, Stats
from mlp_jax.training.config import Hyper, TrainConfig

MUON_RMS = 0.2
"""Muon's updates are scaled to the size that Adam's have, so that one rate serves both (Liu et al. 2025)."""


def optimizer(config: TrainConfig, hyper: Hyper, rate: jax.Array | float) -> optax.GradientTransformation:
    """The chosen optimiser with this learning rate."""
    rule = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, momentum=hyper.momentum),
        "adam": lambda: optax.adam(rate, b2=config.beta2),
        "adamw": lambda: optax.adamw(rate, b2=config.beta2, weight_decay=hyper.weight_decay, mask=_weights),
        "lion": lambda: optax.lion(rate, weight_decay=hyper.weight_decay, mask=_weights),
        "muon": lambda: optax.contrib.muon(
            rate,
            **_orthogonal(config),
            beta=hyper.momentum,
            weight_decay=hyper.weight_decay,
            consistent_rms=MUON_RMS,
            adam_b2=config.beta2,
        ),
    }[config.optimizer]()
    return rule if config.decoupled else optax.chain(optax.add_decayed_weights(hyper.weight_decay), rule)


POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845749493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
"""Coefficients of the iterations of Amsel et al. (2025, The Polar Express, algorithm 1); the last one goes on."""


def _orthogonal(config: TrainConfig) -> dict[str, Any]:
    """Which weights optax's Muon makes orthogonal, and how."""
    found: dict[str, Any] = {"ns_steps": config.muon_steps}
    if config.muon_coefficients == "polar_express":
        last = len(POLAR_EXPRESS) - 1
        steps = tuple(POLAR_EXPRESS[min(step, last)] for step in range(config.muon_steps))
        found |= {"ns_coeffs": steps, "preconditioning": "schatten"}
    if config.muon_layers == "hidden":
        found["muon_weight_dimension_numbers"] = _hidden_weights
    return found


def _hidden_weights(params: Params) -> Any:
    """Muon's axes for the matrices between first and last layer; None where a parameter goes to AdamW."""
    axes = optax.contrib.MuonDimensionNumbers()
    ends = (0, len(params) - 1)
    return tuple(
        jax.tree.map(lambda leaf, number=number: axes if leaf.ndim == 2 and number not in ends else None, layer)
        for number, layer in enumerate(params)
    )


def _weights(params: Params) -> Params:
    """True for the matrices."""
    found: Params = jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    return found


def learning_rate(
    step: Integer[Array, ""], rate: jax.Array | float, config: TrainConfig, steps_per_epoch: int
) -> jax.Array:
    """Rate of step 0, 1, ...; of the schedule "decay", rate * decay^floor(step / steps_per_epoch).

    With decay_after_first_step the exponent is ceil(step / steps_per_epoch): one decay more from step 1 on. The
    other schedules are optax's, over the whole run, with `rate` as their largest.
    """
    shift = steps_per_epoch - 1 if config.decay_after_first_step else 0
    count = jnp.asarray(step + shift, jnp.result_type(float))  # optax would count in float32, whatever the model
    return rate * jnp.asarray(_schedule(config, steps_per_epoch)(count))


def _schedule(config: TrainConfig, steps_per_epoch: int) -> optax.Schedule:
    if config.schedule == "decay":
        return optax.exponential_decay(1.0, steps_per_epoch, config.decay, staircase=True)
    total = max(config.total_steps(steps_per_epoch), 1)
    warmup = int(config.warmup * total)
    if config.schedule == "cosine":
        if warmup == 0:
            return optax.cosine_decay_schedule(1.0, total)
        return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, total)
    # up to the peak and down to nothing, without optax's third phase
    return optax.linear_onecycle_schedule(total, 1.0, pct_start=config.warmup, pct_final=1.0)


class Average(NamedTuple):
    """Of parameters and running statistics over the steps of a run."""

    params: Params
    stats: Stats


def average(
    old: Average, new: Average, step: Integer[Array, ""], config: TrainConfig, steps_per_epoch: int
) -> Average:
    """The average after this step, 0, 1, ...: old + weight * (new - old).

    The weight is 1 - average_decay, an exponential average, but at first 1 / (steps averaged so far), a plain
    mean: so the start has no more weight than any other step. With a decay of 1 it stays a plain mean, stochastic
    weight averaging (Izmailov et al. 2018). Before `average_start` of the run the average is the newest.
    """
    assert config.average_decay is not None
    start = int(config.average_start * config.total_steps(steps_per_epoch)) if config.average_start else 0
    dtype = jax.tree.leaves(new)[0].dtype
    averaged = jnp.maximum(step - start, 0).astype(dtype)
    weight = jnp.maximum(1 - config.average_decay, 1 / (1 + averaged)).astype(dtype)
    mixed: Average = optax.incremental_update(new, old, weight)
    return mixed
