"""Parameters are moved by optax's optimisers and schedules, chosen by name, and averaged over a run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Integer

from mlp_jax.nn.activations import Array
from mlp_jax.nn.model import Params, Stats
from mlp_jax.training import muon
from mlp_jax.training.config import Hyper, TrainConfig


def optimizer(
    config: TrainConfig, hyper: Hyper, rate: jax.Array | float, steps_per_epoch: int = 1
) -> optax.GradientTransformation:
    """Returns the chosen optimiser with this learning rate; the length of an epoch tells when the batch rises."""
    rule = _rule(config, hyper, rate)
    if config.accumulate == 1:
        return rule
    # until then there are as many updates as steps
    start = int(config.accumulate_from * config.total_steps(steps_per_epoch)) if config.accumulate_from else 0
    rising = optax.MultiSteps(
        rule,
        lambda updates: jnp.where(updates < start, 1, config.accumulate),
        accumulator_dtype=jnp.result_type(float),
    )
    return rising.gradient_transformation()


def _rule(config: TrainConfig, hyper: Hyper, rate: jax.Array | float) -> optax.GradientTransformation:
    rule = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, momentum=hyper.momentum),
        "adam": lambda: optax.adam(rate, b2=config.beta2),
        "adamw": lambda: optax.adamw(rate, b2=config.beta2, weight_decay=hyper.weight_decay, mask=_weights),
        "lion": lambda: optax.lion(rate, weight_decay=hyper.weight_decay, mask=_weights),
        "muon": lambda: _muon(config, hyper, rate),
    }[config.optimizer]()
    if not config.decoupled:
        rule = optax.chain(optax.add_decayed_weights(hyper.weight_decay), rule)
    if config.bias_rate == config.last_layer_rate == 1:
        return rule
    return optax.chain(rule, optax.stateless(lambda updates, _: _by_group(updates, config)))


def _by_group(updates: Params, config: TrainConfig) -> Params:
    """Multiplies updates, in which the learning rate is a factor, by the factor of each one's group."""

    def times(layer: Any, rate: float) -> Any:
        return jax.tree.map(lambda leaf: leaf * (rate if leaf.ndim == 2 else rate * config.bias_rate), layer)

    return (*(times(layer, 1.0) for layer in updates[:-1]), times(updates[-1], config.last_layer_rate))


def _muon(config: TrainConfig, hyper: Hyper, rate: jax.Array | float) -> optax.GradientTransformation:
    """Returns Muon for the matrices that the configuration names, AdamW with Nesterov's momentum for the rest."""
    iterations = muon.coefficients(config.muon_coefficients, config.muon_steps)
    schatten = config.muon_coefficients != "standard"

    def label(number: int, leaf: jax.Array, last: int) -> str:
        hidden = config.muon_layers == "all" or 0 < number < last
        return "muon" if leaf.ndim == 2 and hidden else "adamw"

    def labels(params: Params) -> Any:
        layers = enumerate(params)
        return tuple(jax.tree.map(lambda leaf, n=n: label(n, leaf, len(params) - 1), layer) for n, layer in layers)

    rules = {
        "muon": optax.chain(
            muon.scale_by_muon(iterations, hyper.momentum, schatten=schatten, every=config.muon_every),
            optax.add_decayed_weights(hyper.weight_decay),
            optax.scale_by_learning_rate(rate),
        ),
        "adamw": optax.adamw(rate, b2=config.beta2, weight_decay=hyper.weight_decay, mask=_weights, nesterov=True),
    }
    return optax.partition(rules, labels)


def _weights(params: Params) -> Params:
    """Tells matrices from all else."""
    found: Params = jax.tree.map(lambda leaf: leaf.ndim == 2, params)
    return found


def learning_rate(
    step: Integer[Array, ""], rate: jax.Array | float, config: TrainConfig, steps_per_epoch: int
) -> jax.Array:
    """Returns the rate of step 0, 1, ...; with the schedule "decay", rate * decay^floor(step / steps_per_epoch).

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
    # the rate goes up to its peak and down to nothing, without optax's third phase
    return optax.linear_onecycle_schedule(total, 1.0, pct_start=config.warmup, pct_final=1.0)


class Average(NamedTuple):
    """It is the average of parameters and running statistics over the steps of a run."""

    params: Params
    stats: Stats


def lookahead(
    slow: Average, fast: Average, step: Integer[Array, ""], config: TrainConfig
) -> tuple[Average, Average]:
    """Returns the slow and the fast network after step 0, 1, ...: each `lookahead` steps both are the slow one."""
    assert config.lookahead is not None
    pulled: Average = optax.incremental_update(fast, slow, config.lookahead_rate)
    now = (step + 1) % config.lookahead == 0
    after = (jax.tree.map(lambda new, old: jnp.where(now, new, old), pulled, before) for before in (slow, fast))
    return next(after), next(after)


def average(
    old: Average, new: Average, step: Integer[Array, ""], config: TrainConfig, steps_per_epoch: int
) -> Average:
    """Returns the average after this step, 0, 1, ...: old + weight * (new - old).

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
