"""One training run is three pure functions: its start from a key, a step, and an epoch as one loop on the device.

`population` maps them over runs, and holds the host's loop over epochs.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Integer, PRNGKeyArray

from mlp_jax.data.dataset import Split
from mlp_jax.nn.activations import Array
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.draw import split
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.losses import correct
from mlp_jax.nn.model import Params, Stats, init, init_stats, update_stats
from mlp_jax.training.augment import Mirrored, alternating_flips, augment, mixup
from mlp_jax.training.config import Hyper, TrainConfig, hyper_from, steps_per_epoch
from mlp_jax.training.optimizers import Average, average, learning_rate, lookahead, optimizer


class TrainState(NamedTuple):
    """A run carries all this from step to step, as plain arrays.

    order_key and dropout_key are the bits, uint32 of shape (2,), of the keys of its minibatches' order and of its
    dropout masks. step counts the steps taken. average is there with `average_decay`, or is the slow network of
    `lookahead`.
    """

    params: Params
    opt_state: optax.OptState
    stats: Stats
    order_key: jax.Array
    dropout_key: jax.Array
    step: jax.Array
    average: Average | tuple[()] = ()


class Metrics(NamedTuple):
    """These are J~ in nats, and the accuracy as a fraction, of one minibatch before its update."""

    loss: Array
    accuracy: Array


def init_state(
    key: PRNGKeyArray,
    model: MLPConfig,
    config: TrainConfig,
    hyper: Hyper | None = None,
    params: Params | None = None,
) -> TrainState:
    """Returns the state before the first step; the key is split into initialisation, minibatch order and dropout.

    `params` are what `init_params` gives for the key, if that is at hand.
    """
    _, order_key, dropout_key = map(jax.random.key_data, split(key, 3))
    traced = hyper_from(config) if hyper is None else hyper
    if params is None:
        params = init_params(key, model, traced.init_scale)
    # every optimiser starts at zeros (tested), and numpy's need no program, where jnp's are one for each shape
    shapes = jax.eval_shape(optimizer(config, traced, 0.0).init, params)
    opt_state = jax.device_put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    stats, step = init_stats(model), jax.device_put(np.zeros((), np.int32))
    state = TrainState(params, opt_state, stats, order_key, dropout_key, step)
    if config.average_decay is None and config.lookahead is None:
        return state
    # it is a copy: an epoch's arguments are given away, which one array can be only once
    return state._replace(average=Average(*jax.tree.map(jnp.array, (params, stats))))


@lru_cache(maxsize=256)
def state_shape(model: MLPConfig, config: TrainConfig) -> TrainState:
    """Returns shapes and types of a run's state."""
    shape: TrainState = jax.eval_shape(lambda: init_state(jax.random.key(0), model, config))
    return shape


def network(state: TrainState) -> tuple[Params, Stats]:
    """Returns what is validated and tested: the average or slow network, if there is one, or the last."""
    return (state.average.params, state.average.stats) if state.average else (state.params, state.stats)


def step_key(state: TrainState) -> PRNGKeyArray:
    """Returns the key of the next step's dropout masks and augmentation."""
    return jax.random.fold_in(jax.random.wrap_key_data(state.dropout_key), state.step)


def init_params(key: PRNGKeyArray, model: MLPConfig, scale: jax.Array | float | None = None) -> Params:
    """Returns the initial parameters of the run with this key; `scale` is as for `model.init`."""
    return init(split(key, 3)[0], model, scale=scale)


def train_step(
    state: TrainState,
    batch: Split,
    hyper: Hyper,
    *,
    model: MLPConfig,
    config: TrainConfig,
    steps_per_epoch: int,
    mirrored: Mirrored | None = None,
    held: Callable[[Any], Any] = lambda tree: tree,
) -> tuple[TrainState, Metrics]:
    """Makes one update from one minibatch; the gradient comes from the source that `config.gradient` names.

    The minibatch is augmented and its labels smoothed first, as the configuration says; the metrics are of that.
    `mirrored` is for `augment`. `held` is how parameters and optimiser state are held, as a function of the tree
    that is its own inverse.
    """
    key = step_key(state)
    source = SOURCES[config.gradient]
    options = {"l2": hyper.l2, "key": key, "dropout": hyper.dropout}
    x, y = prepared(jax.random.fold_in(key, AUGMENTATION), batch, model, config, mirrored)
    (loss, traced), grads = source(held(state.params), x, y, model, **options)
    rate = learning_rate(state.step, hyper.learning_rate, config, steps_per_epoch).astype(loss.dtype)
    # the layout may be any: optax works element by element, and Muon on a matrix or its transpose alike
    updates, opt_state = optimizer(config, hyper, rate, steps_per_epoch).update(
        held(grads), state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    stats = update_stats(state.stats, traced, model)
    metrics = Metrics(loss, correct(traced.logits, y).mean(dtype=loss.dtype))
    averaged, newest = state.average, Average(params, stats)
    if averaged and config.average_decay is not None:
        averaged = average(averaged, newest, state.step, config, steps_per_epoch)
    if averaged and config.lookahead is not None:
        averaged, newest = lookahead(averaged, newest, state.step, config)
    return state._replace(**newest._asdict(), opt_state=opt_state, step=state.step + 1, average=averaged), metrics


AUGMENTATION = 2**31 - 1
"""A step's key is folded with this for its augmentation, since `jax.random.split` gives what small numbers would,
and so is the order's key for the flips of a whole run, beside the numbers of epochs."""


def prepared(
    key: PRNGKeyArray, batch: Split, model: MLPConfig, config: TrainConfig, mirrored: Mirrored | None = None
) -> Split:
    """Returns the minibatch as it is learned: augmented, its labels smoothed and mixed, if that is asked for."""
    how, (x, y) = config.augmentation, batch
    mixed = how is not None and how.mixup > 0
    if mixed or config.label_smoothing:
        y = jax.nn.one_hot(y, model.classes, dtype=model.dtype)
        y = optax.smooth_labels(y, config.label_smoothing)
    if how is None:
        return Split(x, y)
    augment_key, mixup_key = jax.random.split(key)
    x = augment(augment_key, x, how, mirrored)
    return Split(*mixup(mixup_key, x, y, how.mixup)) if mixed else Split(x, y)


def minibatches(
    order_key: jax.Array, epoch: Integer[Array, ""] | int, examples: int, batch_size: int
) -> Integer[Array, "steps batch"]:
    """Returns the indices of the minibatches of epoch 0, 1, ...: a fresh permutation, without replacement.

    `order_key` is that of a `TrainState`.
    """
    steps = examples // batch_size
    order = jax.random.permutation(jax.random.fold_in(jax.random.wrap_key_data(order_key), epoch), examples)
    return order[: steps * batch_size].reshape(steps, batch_size)


def run_epoch(state: TrainState, data: Split, hyper: Hyper, **options: Any) -> tuple[TrainState, Metrics]:
    """Trains for one epoch, as `run_transposed_epoch` with these options does, from and to a state as it is."""
    state, metrics = run_transposed_epoch(transposed(state), data, hyper, **options)
    return transposed(state), metrics


def run_transposed_epoch(
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
    """Trains for one epoch, a loop on the device over `order`, or else over the run's own minibatches.

    The state that it takes and returns is `transposed`, as `matmul` wants weights. `place` may say where a
    minibatch belongs (`population`: how it is shared out among devices).

    With `stop`, the epoch ends at that number of the run's steps, and the metrics beyond are NaN.
    """
    per_epoch = steps_per_epoch(data, config)
    x, y = jnp.asarray(data.x), jnp.asarray(data.y)
    if order is None:
        order = minibatches(state.order_key, state.step // per_epoch, y.shape[0], config.batch_size)
    flips = _flips_of_run(state, y.shape[0], per_epoch, config)
    count = per_epoch if stop is None else jnp.clip(jnp.asarray(stop) - state.step, 0, per_epoch)
    metrics = Metrics(*jnp.full((2, per_epoch), jnp.nan, model.dtype))

    def body(i: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = carry
        batch = place(Split(x[order[i]], y[order[i]]))
        options: dict[str, Any] = {"model": model, "config": config, "steps_per_epoch": per_epoch}
        options["mirrored"] = None if flips is None else flips[order[i]]
        state, new = train_step(state, batch, hyper, **options, held=_transposed)
        return state, Metrics(*(jnp.asarray(m).at[i].set(v) for m, v in zip(metrics, new, strict=True)))

    found: tuple[TrainState, Metrics] = jax.lax.fori_loop(0, count, body, (state, metrics))
    return found


def _flips_of_run(state: TrainState, examples: int, per_epoch: int, config: TrainConfig) -> Mirrored | None:
    """Tells which of all examples are mirrored in this epoch, if that is not drawn step by step."""
    if config.augmentation is None or not config.augmentation.alternating:
        return None
    key = jax.random.fold_in(jax.random.wrap_key_data(state.order_key), AUGMENTATION)
    return alternating_flips(key, state.step // per_epoch, examples)


def _transposed(tree: Any) -> Any:
    """Transposes all that has the shape of a parameter; applied twice, it changes nothing."""
    return jax.tree.map(lambda leaf: leaf.T, tree)


def transposed(state: TrainState) -> TrainState:
    """Returns the state, of jax or numpy arrays, with weights as (outputs, inputs); twice, it is as it was."""
    names = ("params", "opt_state", "average")
    return state._replace(**{name: _transposed(getattr(state, name)) for name in names})
