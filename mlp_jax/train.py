"""One training run as a pure function of a key: optax SGD, an epoch as one `lax.scan` on the device.

Between epochs the host shows progress and stops on a loss that is not finite; it never looks inside an epoch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Integer, PRNGKeyArray

from mlp_jax.activations import Array
from mlp_jax.data import Split, Splits
from mlp_jax.errors import UserError, in_range, one_of, whole_number
from mlp_jax.evaluation import Evaluation, evaluate, evaluate_in_training_mode, on_device
from mlp_jax.gradients import SOURCES
from mlp_jax.losses import correct
from mlp_jax.model import MLPConfig, Params, Stats, init, init_stats, update_stats

OPTIMIZERS = ("sgd", "momentum", "adam")


@dataclass(frozen=True)
class TrainConfig:
    """How one network is trained.

    optimizer: optax's "sgd", "momentum" (sgd with heavy-ball `momentum`) or "adam".
    l2: lambda of J~. weight_decay: added to the gradient of every parameter, biases and normalisation too,
      before the optimiser sees it ("coupled", as in the report's Question 4).
    decay: the learning rate is multiplied by it after each epoch; with decay_after_first_step also after the
      very first step, as the report's scripts do.
    epochs, steps: length of the run; `steps`, if given, replaces `epochs` and may end inside an epoch. An epoch
      is the training split // batch_size steps: what is left over of its permutation is not seen in it.
    validate_in_training_mode: validation with the batch statistics and dropout of training, moving the running
      statistics, as the report's Question 4 scripts do.
    gradient: "manual" or "autodiff".

    Raises UserError for a value out of range.
    """

    optimizer: str = "momentum"
    learning_rate: float = 0.01
    l2: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 200
    epochs: int = 10
    steps: int | None = None
    decay: float = 0.95
    decay_after_first_step: bool = False
    validate_in_training_mode: bool = False
    gradient: str = "manual"

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("gradient", self.gradient, SOURCES)
        in_range("learning_rate", self.learning_rate, 0, open_low=True)
        in_range("l2", self.l2, 0)
        in_range("momentum", self.momentum, 0, 1, open_high=True)
        in_range("weight_decay", self.weight_decay, 0)
        in_range("decay", self.decay, 0, 1, open_low=True)
        whole_number("batch_size", self.batch_size, 1)
        whole_number("epochs", self.epochs, 0)
        if self.steps is not None:
            whole_number("steps", self.steps, 0)


class Hyper(NamedTuple):
    """The traced hyperparameters: runs that differ only in them share one compiled program."""

    learning_rate: jax.Array | float
    l2: jax.Array | float
    momentum: jax.Array | float
    weight_decay: jax.Array | float


class TrainState(NamedTuple):
    """Everything that a run carries from step to step."""

    params: Params
    opt_state: optax.OptState
    stats: Stats
    order_key: jax.Array
    dropout_key: jax.Array
    step: jax.Array  # steps taken so far


class Metrics(NamedTuple):
    """Of one minibatch, before its update: J~ in nats, and the accuracy as a fraction."""

    loss: Array
    accuracy: Array


class History(NamedTuple):
    """The minibatches' loss and accuracy, shape (steps,); the validation split's, shape (epochs,)."""

    loss: np.ndarray
    accuracy: np.ndarray
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray


class Result(NamedTuple):
    """The final state, what was recorded on the way, and "finished" or "diverged"."""

    state: TrainState
    history: History
    status: str


def hyper_from(config: TrainConfig) -> Hyper:
    """The traced part of a configuration."""
    return Hyper(*(getattr(config, name) for name in Hyper._fields))


def _program(config: TrainConfig) -> TrainConfig:
    """The configuration with everything that the compiled epoch does not depend on set to its default."""
    defaults = TrainConfig()
    names = (*Hyper._fields, "epochs", "steps", "validate_in_training_mode")
    return replace(config, **{name: getattr(defaults, name) for name in names})


def _optimizer(config: TrainConfig, hyper: Hyper, rate: jax.Array | float) -> optax.GradientTransformation:
    rule = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, momentum=hyper.momentum),
        "adam": lambda: optax.adam(rate),
    }[config.optimizer]()
    return optax.chain(optax.add_decayed_weights(hyper.weight_decay), rule)


def learning_rate(
    step: Integer[Array, ""], rate: jax.Array | float, config: TrainConfig, steps_per_epoch: int
) -> jax.Array:
    """Rate of step 0, 1, ...: rate * decay^floor(step / steps_per_epoch).

    With decay_after_first_step the exponent is ceil(step / steps_per_epoch): one decay more from step 1 on.
    """
    factor = optax.exponential_decay(1.0, steps_per_epoch, config.decay, staircase=True)
    shift = steps_per_epoch - 1 if config.decay_after_first_step else 0
    count = jnp.asarray(step + shift, jnp.result_type(float))  # optax would count in float32, whatever the model
    return rate * jnp.asarray(factor(count))


def init_state(key: PRNGKeyArray, model: MLPConfig, config: TrainConfig) -> TrainState:
    """State before the first step; the key is split once, into initialisation, minibatch order and dropout."""
    init_key, order_key, dropout_key = jax.random.split(key, 3)
    params = init(init_key, model)
    opt_state = _optimizer(config, hyper_from(config), config.learning_rate).init(params)
    return TrainState(params, opt_state, init_stats(model), order_key, dropout_key, jnp.zeros((), jnp.int32))


def train_step(
    state: TrainState,
    batch: Split,
    hyper: Hyper,
    *,
    model: MLPConfig,
    config: TrainConfig,
    steps_per_epoch: int,
) -> tuple[TrainState, Metrics]:
    """One update from one minibatch; the gradient comes from the source that `config.gradient` names."""
    key = jax.random.fold_in(state.dropout_key, state.step)
    source = SOURCES[config.gradient]
    (loss, traced), grads = source(state.params, batch.x, batch.y, model, l2=hyper.l2, key=key)
    rate = learning_rate(state.step, hyper.learning_rate, config, steps_per_epoch).astype(loss.dtype)
    updates, opt_state = _optimizer(config, hyper, rate).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    stats = update_stats(state.stats, traced, model)
    metrics = Metrics(loss, correct(traced.logits, batch.y).mean(dtype=loss.dtype))
    return state._replace(params=params, opt_state=opt_state, stats=stats, step=state.step + 1), metrics


def run_epoch(
    state: TrainState,
    data: Split,
    hyper: Hyper,
    *,
    model: MLPConfig,
    config: TrainConfig,
    stop: Integer[Array, ""] | int | None = None,
) -> tuple[TrainState, Metrics]:
    """One epoch as one scan over a fresh permutation, without replacement.

    With `stop`, the steps from that number of the run on change nothing, and their metrics are NaN.
    """
    per_epoch = steps_per_epoch(data, config)
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    key = jax.random.fold_in(state.order_key, state.step // per_epoch)
    order = jax.random.permutation(key, y.shape[0])[: per_epoch * config.batch_size]
    order = order.reshape(per_epoch, config.batch_size)

    def step(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
        batch = Split(x[index], y[index])
        return train_step(state, batch, hyper, model=model, config=config, steps_per_epoch=per_epoch)

    def skip(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
        return state, Metrics(*jnp.full(2, jnp.nan, model.dtype))

    def step_or_skip(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
        taken: tuple[TrainState, Metrics] = jax.lax.cond(state.step < jnp.asarray(stop), step, skip, state, index)
        return taken

    return jax.lax.scan(step if stop is None else step_or_skip, state, order)


_run_epoch = jax.jit(run_epoch, static_argnames=("model", "config"), donate_argnames=("state",))


def steps_per_epoch(data: Split, config: TrainConfig) -> int:
    """Full minibatches in a split. Raises UserError if there is none."""
    examples = data.y.shape[0]
    if config.batch_size > examples:
        raise UserError(
            f"batch_size {config.batch_size} is larger than the training split of {examples}: "
            f"choose at most {examples}"
        )
    return int(examples // config.batch_size)


def train(
    key: PRNGKeyArray,
    splits: Splits,
    model: MLPConfig,
    config: TrainConfig,
    *,
    on_epoch: Callable[[int, Metrics, Evaluation], None] | None = None,
) -> Result:
    """Trains one network: the same key gives the same result, bit for bit, on the same machine and software.

    After each epoch the validation split is evaluated and `on_epoch(epochs so far, the epoch's Metrics of shape
    (steps,), validation)` is called. A minibatch's or the validation loss that is not finite ends the run as
    "diverged" at the end of its epoch; the history is kept, without that epoch's validation.

    Raises UserError, before any training, if the batch is larger than the training split, if the data do not fit
    the model, or if batch normalisation would meet a batch of 1.
    """
    state, program, hyper = init_state(key, model, config), _program(config), hyper_from(config)
    data, validation = on_device(splits.train, model), on_device(splits.validation, model)
    per_epoch = steps_per_epoch(data, config)
    _check_normalization(validation, model, config)
    total = config.epochs * per_epoch if config.steps is None else config.steps
    # a run that ends inside an epoch: one program for its whole epochs and for the last
    stop = None if total % per_epoch == 0 else total
    metrics: list[Metrics] = []
    evaluations: list[Evaluation] = []
    status = "finished"
    for epoch in range(math.ceil(total / per_epoch)):
        state, epoch_metrics = _run_epoch(state, data, hyper, model=model, config=program, stop=stop)
        taken = slice(total - epoch * per_epoch)
        metrics.append(Metrics(*(values[taken] for values in jax.device_get(epoch_metrics))))
        evaluation = None
        if np.isfinite(metrics[-1].loss).all():
            state, evaluation = _validate(state, validation, model, config)
        # the last update of an epoch shows in the validation loss only
        if evaluation is None or not math.isfinite(evaluation.loss):
            status = "diverged"
            break
        evaluations.append(evaluation)
        if on_epoch is not None:
            on_epoch(epoch + 1, metrics[-1], evaluation)
    return Result(state, _history(metrics, evaluations), status)


def _check_normalization(validation: Split, model: MLPConfig, config: TrainConfig) -> None:
    if not (model.normalized and model.hidden):
        return
    if config.batch_size == 1:
        raise UserError("batch normalisation cannot train on batch_size 1: its variance is 0; choose 2 or more")
    if config.validate_in_training_mode and len(validation.y) % config.batch_size == 1:
        raise UserError(
            f"batch_size {config.batch_size} leaves 1 of {len(validation.y)} validation images to normalise in "
            "training mode: choose another batch_size"
        )


def _history(metrics: list[Metrics], evaluations: list[Evaluation]) -> History:
    def joined(parts: list[Array]) -> np.ndarray:
        return np.concatenate(parts) if parts else np.zeros(0)

    return History(
        joined([m.loss for m in metrics]),
        joined([m.accuracy for m in metrics]),
        np.array([e.loss for e in evaluations]),
        np.array([e.accuracy for e in evaluations]),
    )


def _validate(
    state: TrainState, validation: Split, model: MLPConfig, config: TrainConfig
) -> tuple[TrainState, Evaluation]:
    if not config.validate_in_training_mode:
        return state, evaluate(state.params, state.stats, validation, model)
    key = jax.random.fold_in(state.dropout_key, state.step)
    stats, evaluation = evaluate_in_training_mode(
        key, state.params, state.stats, validation, model, batch_size=config.batch_size
    )
    return state._replace(stats=stats), evaluation
