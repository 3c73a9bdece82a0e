"""All that is compiled for training stands here: an epoch, and its order of minibatches, for runs that share it.

The runs of a block have one seed, and so one order of minibatches; blocks are shared out among the devices of a
mesh with the axes "runs" and "batch". Arrays of runs have the leading axes (block, member).
"""

import contextlib
import ctypes
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlp_jax.data.dataset import Split
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Stats
from mlp_jax.training.config import Hyper, TrainConfig
from mlp_jax.training.evaluate import Sums, sums, sums_in_training_mode
from mlp_jax.training.step import (
    Metrics,
    TrainState,
    minibatches,
    network,
    run_transposed_epoch,
    step_key,
    transposed,
)

RUNS, EVERYWHERE = PartitionSpec("runs"), PartitionSpec()
"""An array with runs as leading axis lies in the first way, one that is everywhere the same in the second."""

MOST = 32
"""So many programs of a kind are kept."""

Recorded = tuple[TrainState, Metrics, Sums]


def one_epoch(
    state: TrainState,
    hyper: Hyper,
    order: Any,
    stop: Any,
    data: Split,
    validation: Split,
    *,
    model: MLPConfig,
    config: TrainConfig,
    place: Callable[[Split], Split],
) -> Recorded:
    """Trains one run for an epoch and validates it; its state is held `transposed`."""
    options: dict[str, Any] = {"model": model, "config": config, "stop": stop, "order": order, "place": place}
    state, metrics = run_transposed_epoch(state, data, hyper, **options)
    stats, evaluated = _validate(transposed(state), hyper, validation, model, config)
    return state._replace(stats=stats), metrics, evaluated


@lru_cache(maxsize=MOST)
def compiled_epoch(model: MLPConfig, config: TrainConfig, mesh: Mesh) -> Any:
    """Returns an epoch of many runs, compiled when it is first called.

    epoch(state, hyper, order, stop, training data, validation data) -> (state, Metrics, Sums). States are
    `transposed`, and the one that is given is given away; the order is what `compiled_order` gives. Networks that
    differ in their initialisation alone share it (`config.drawn`).
    """
    one_run: Any = partial(one_epoch, model=model, config=config, place=partial(_shard_batch, mesh=mesh))

    def one_device(state: TrainState, hyper: Hyper, order: Any, *everywhere: Any) -> Any:
        def one_block(runs: Any, order: Any) -> Any:
            return _over(lambda *run: one_run(*run, order, *everywhere), runs)

        return _over(one_block, ((state, hyper), order))

    def all_devices(*arguments: Any) -> Recorded:
        sharded = _over_devices(one_device, mesh, (RUNS,) * 3 + (EVERYWHERE,) * 3)
        state, metrics, evaluated = sharded(*arguments)
        # every process reads what was recorded
        return state, *jax.lax.with_sharding_constraint((metrics, evaluated), NamedSharding(mesh, EVERYWHERE))

    return jax.jit(all_devices, donate_argnums=0)


@lru_cache(maxsize=MOST)
def compiled_order(examples: int, batch_size: int, mesh: Mesh) -> Any:
    """Returns an epoch's minibatches for many runs, compiled when it is first called, for networks of all kinds.

    order(the order keys of the state, number of the epoch) -> the indices, of shape (block, steps, batch).
    """

    def one_device(keys: Any, number: Any) -> Any:
        return _over(lambda block: minibatches(block[0], number, examples, batch_size), (keys,))

    return jax.jit(_over_devices(one_device, mesh, (RUNS, EVERYWHERE)))


def _over(one: Callable[..., Any], stacked: Any) -> Any:
    """Maps over the first axis as one wide computation; what is alone keeps its own bits."""
    if jax.tree.leaves(stacked)[0].shape[0] > 1:
        return jax.vmap(one)(*stacked)
    found = one(*jax.tree.map(lambda leaf: leaf[0], stacked))
    return jax.tree.map(lambda leaf: leaf[None], found)


def _over_devices(one_device: Callable[..., Any], mesh: Mesh, in_specs: Any) -> Callable[..., Any]:
    """Maps over the devices along "runs"; the axis "batch" is left to the compiler (`_shard_batch`)."""
    options: dict[str, Any] = {"axis_names": {"runs"}, "check_vma": False}
    return jax.shard_map(one_device, mesh=mesh, in_specs=in_specs, out_specs=RUNS, **options)


def _shard_batch(batch: Split, *, mesh: Mesh) -> Split:
    if mesh.shape["batch"] == 1:
        return batch
    return Split(*(jax.lax.with_sharding_constraint(values, PartitionSpec("batch")) for values in batch))


def _validate(
    state: TrainState, hyper: Hyper, validation: Split, model: MLPConfig, config: TrainConfig
) -> tuple[Stats, Sums]:
    """Returns the running statistics, which validation in training mode moves, and the sums over the split."""
    if not config.validate_in_training_mode:
        return state.stats, sums(*network(state), validation, model=model)
    options: dict[str, Any] = {"batch_size": config.batch_size, "dropout": hyper.dropout}
    return sums_in_training_mode(step_key(state), state.params, state.stats, validation, model=model, **options)


def forget() -> bool:
    """Drops all programs if there are as many as are kept, and says so; to be called when a job begins.

    jax remembers much of a program that is not kept any longer: of each some MB, for ever, without this. And what
    compilers free in their threads, glibc keeps for itself unless it is told: the larger part.
    """
    if compiled_epoch.cache_info().currsize < MOST:
        return False
    for kept in (compiled_epoch, compiled_order):
        kept.cache_clear()
    jax.clear_caches()
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)
    return True
