"""One training run as pure functions: its start from a key, a step, an epoch as one loop on the device.

`population` maps them over runs, and holds the host's loop over epochs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Integer, PRNGKeyArray

from mlp_jax.activations import Array
from mlp_jax.data import Split, Splits
from mlp_jax.errors import UserError, float32, in_range, one_of, whole_number
from mlp_jax.evaluation import Evaluation
from mlp_jax.gradients import SOURCES
from mlp_jax.losses import correct
from mlp_jax.model import MLPConfig, Params, Stats, init, init_stats, update_stats

OPTIMIZERS = ("sgd", "momentum", "adam")
MOST_EPOCHS, MOST_STEPS = 10**6, 2**31 - 1  # steps are counted in int32


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
        whole_number("epochs", self.epochs, 0, MOST_EPOCHS)
        if self.steps is not None:
            whole_number("steps", self.steps, 0, MOST_STEPS)
        for name in ("learning_rate", "l2", "weight_decay"):
            float32(name, getattr(self, name))


class Hyper(NamedTuple):
    """The traced hyperparameters: runs that differ only in them share one compiled program.

    dropout and init_scale are the network's; None takes those of the configuration that a function is given.
    """

    learning_rate: jax.Array | float
    l2: jax.Array | float
    momentum: jax.Array | float
    weight_decay: jax.Array | float
    dropout: jax.Array | float | None = None
    init_scale: jax.Array | float | None = None


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


Observed = tuple[np.ndarray, ...]
"""What `population.train`'s `observe` gives for one epoch of one run."""


class Result(NamedTuple):
    """The state that was reached, what was recorded on the way, and "finished", "diverged" or "unfinished".

    An unfinished one stands between two epochs, after `len(history.validation_loss)` of them.
    """

    state: TrainState
    history: History
    status: str
    observed: tuple[Observed, ...] = ()


def hyper_from(config: TrainConfig, model: MLPConfig | None = None) -> Hyper:
    """The traced part of a configuration, and of a network's if it is given."""
    traced = {name: getattr(config, name) for name in Hyper._fields if hasattr(config, name)}
    if model is not None:
        scale = model.init_scale * (model.init_std if model.init == "normal" else 1.0)
        traced |= {"dropout": model.dropout, "init_scale": scale}
    return Hyper(**traced)


def program(model: MLPConfig, config: TrainConfig) -> tuple[MLPConfig, TrainConfig]:
    """What is compiled: both configurations, all that `Hyper` and the length of the run cover set to one value.

    Whether there is dropout at all stays: without it, no mask is drawn.
    """
    model = replace(model, dropout=0.5 if model.dropout else 0.0, init_std=1.0, init_scale=1.0)
    defaults = TrainConfig()
    names = [name for name in (*Hyper._fields, "epochs", "steps") if hasattr(defaults, name)]
    return model, replace(config, **{name: getattr(defaults, name) for name in names})


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


def init_state(
    key: PRNGKeyArray,
    model: MLPConfig,
    config: TrainConfig,
    hyper: Hyper | None = None,
    params: Params | None = None,
) -> TrainState:
    """State before the first step; the key is split once, into initialisation, minibatch order and dropout.

    params: what `init_params` gives for the key, if that is at hand.
    """
    _, order_key, dropout_key = jax.random.split(key, 3)
    traced = hyper_from(config) if hyper is None else hyper
    if params is None:
        params = init_params(key, model, traced)
    opt_state = _optimizer(config, traced, traced.learning_rate).init(params)
    return TrainState(params, opt_state, init_stats(model), order_key, dropout_key, jnp.zeros((), jnp.int32))


def bare(state: TrainState) -> TrainState:
    """The state with the bits of its keys in their place: plain numbers alone, for the host and for files."""
    keys = jax.random.key_data(state.order_key), jax.random.key_data(state.dropout_key)
    return state._replace(order_key=keys[0], dropout_key=keys[1])


def with_keys(state: TrainState) -> TrainState:
    """The inverse of `bare`."""
    keys = jax.random.wrap_key_data(state.order_key), jax.random.wrap_key_data(state.dropout_key)
    return state._replace(order_key=keys[0], dropout_key=keys[1])


def init_params(key: PRNGKeyArray, model: MLPConfig, hyper: Hyper) -> Params:
    """The initial parameters of the run with this key."""
    return init(jax.random.split(key, 3)[0], model, scale=hyper.init_scale)


def train_step(
    state: TrainState,
    batch: Split,
    hyper: Hyper,
    *,
    model: MLPConfig,
    config: TrainConfig,
    steps_per_epoch: int,
    held: Callable[[Any], Any] = lambda tree: tree,
) -> tuple[TrainState, Metrics]:
    """One update from one minibatch; the gradient comes from the source that `config.gradient` names.

    `held` is how parameters and optimiser state are held, as a function of the tree that is its own inverse.
    """
    key = jax.random.fold_in(state.dropout_key, state.step)
    source = SOURCES[config.gradient]
    options = {"l2": hyper.l2, "key": key, "dropout": hyper.dropout}
    (loss, traced), grads = source(held(state.params), batch.x, batch.y, model, **options)
    rate = learning_rate(state.step, hyper.learning_rate, config, steps_per_epoch).astype(loss.dtype)
    # optax works element by element: any layout will do
    updates, opt_state = _optimizer(config, hyper, rate).update(held(grads), state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    stats = update_stats(state.stats, traced, model)
    metrics = Metrics(loss, correct(traced.logits, batch.y).mean(dtype=loss.dtype))
    return state._replace(params=params, opt_state=opt_state, stats=stats, step=state.step + 1), metrics


def minibatches(
    order_key: PRNGKeyArray, epoch: Integer[Array, ""] | int, examples: int, batch_size: int
) -> Integer[Array, "steps batch"]:
    """Indices of the minibatches of epoch 0, 1, ...: a fresh permutation, without replacement."""
    steps = examples // batch_size
    order = jax.random.permutation(jax.random.fold_in(order_key, epoch), examples)
    return order[: steps * batch_size].reshape(steps, batch_size)


def run_epoch(
    state: TrainState,
    data: Split,
    hyper: Hyper,
    *,
    model: MLPConfig,
    config: TrainConfig,
    stop: Integer[Array, ""] | int | None = None,
    order: Integer[Array, "steps batch"] | None = None,
    place: Callable[[Split], Split] = lambda batch: batch,
) -> tuple[TrainState, Metrics]:
    """One epoch as one loop on the device, over `order`, or else the run's own minibatches of this epoch.

    `place` may say where a minibatch belongs (`population`: how it is shared out among devices).

    With `stop`, the epoch ends at that number of the run's steps, and the metrics beyond are NaN.
    """
    per_epoch = steps_per_epoch(data, config)
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    if order is None:
        order = minibatches(state.order_key, state.step // per_epoch, y.shape[0], config.batch_size)
    count = per_epoch if stop is None else jnp.clip(jnp.asarray(stop) - state.step, 0, per_epoch)
    metrics = Metrics(*jnp.full((2, per_epoch), jnp.nan, model.dtype))

    def body(i: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = carry
        batch = place(Split(x[order[i]], y[order[i]]))
        options: dict[str, Any] = {"model": model, "config": config, "steps_per_epoch": per_epoch}
        state, new = train_step(state, batch, hyper, **options, held=_transposed)
        return state, Metrics(*(jnp.asarray(m).at[i].set(v) for m, v in zip(metrics, new, strict=True)))

    state, metrics = jax.lax.fori_loop(0, count, body, (_hold_transposed(state), metrics))
    return _hold_transposed(state), metrics


def _transposed(tree: Any) -> Any:
    return jax.tree.map(jnp.transpose, tree)


def _hold_transposed(state: TrainState) -> TrainState:
    """Weights as (outputs, inputs) inside the loop, where `products` wants them so; there and back."""
    return state._replace(params=_transposed(state.params), opt_state=_transposed(state.opt_state))


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
    from mlp_jax import population  # upwards, on purpose: one run is a population of one

    def report(index: int, epoch: int, metrics: Metrics, validation: Evaluation) -> None:
        if on_epoch is not None:
            on_epoch(epoch, metrics, validation)

    return population.train([population.Run(key, model, config)], splits, on_epoch=report)[0]
