"""All that is compiled for training stands here: runs' start, and their epoch, mapped over all that share it.

The runs of a block have one seed, and so one order of minibatches; blocks are shared out among the devices of a
mesh with the axes "runs" and "batch". Arrays of runs have the leading axes (block, member).
"""

import contextlib
import ctypes
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mlp_jax.data.dataset import Split
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params
from mlp_jax.training.config import Hyper, TrainConfig
from mlp_jax.training.evaluate import Sums, sums, sums_in_training_mode
from mlp_jax.training.step import Metrics, TrainState, init_state, minibatches, network, run_epoch, step_key

RUNS, EVERYWHERE = PartitionSpec("runs"), PartitionSpec()
"""An array with runs as leading axis lies in the first way, one that is everywhere the same in the second."""

MOST = 32
"""So many programs of a kind are kept."""

Recorded = tuple[TrainState, Metrics, Sums]


def one_epoch(
    state: TrainState,
    active: Any,
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
    """Trains one run for an epoch and validates it; a run that is not active stays as it is."""
    new, metrics = run_epoch(state, data, hyper, model=model, config=config, stop=stop, order=order, place=place)
    new, evaluated = _validate(new, hyper, validation, model, config)
    return jax.tree.map(partial(jnp.where, active), new, state), metrics, evaluated


@lru_cache(maxsize=MOST)
def compiled_epoch(model: MLPConfig, config: TrainConfig, mesh: Mesh) -> Any:
    """Returns an epoch of many runs, compiled when it is first called.

    epoch(state, active, hyper, number, stop, training data, validation data) -> (state, Metrics, Sums); the state
    that is given is given away. Networks that differ in their initialisation alone share it (`shared`).
    """
    one_run: Any = partial(one_epoch, model=model, config=config, place=partial(_shard_batch, mesh=mesh))

    def one_block(block: Any, number: Any, stop: Any, data: Split, validation: Split) -> Any:
        order = minibatches(block[0].order_key[0], number, data.y.shape[0], config.batch_size)
        return _over_members(lambda *run: one_run(*run, order, stop, data, validation), block)

    def one_device(state: TrainState, active: Any, hyper: Hyper, *everywhere: Any) -> Any:
        return _over_blocks(lambda block: one_block(block, *everywhere), (state, active, hyper), mesh)

    def all_devices(*arguments: Any) -> Recorded:
        sharded = _over_devices(one_device, mesh, (RUNS,) * 3 + (EVERYWHERE,) * 4)
        state, metrics, evaluated = sharded(*arguments)
        # every process reads what was recorded
        return state, *jax.lax.with_sharding_constraint((metrics, evaluated), NamedSharding(mesh, EVERYWHERE))

    return jax.jit(all_devices, donate_argnums=0)


@lru_cache(maxsize=MOST)
def compiled_start(model: MLPConfig, config: TrainConfig, mesh: Mesh) -> Any:
    """Returns the start of many runs, compiled at its first call: (keys' bits, hyper, parameters) -> state."""

    def one_run(key: jax.Array, hyper: Hyper, params: Params) -> TrainState:
        return init_state(jax.random.wrap_key_data(key), model, config, hyper, params)

    def one_device(*blocks: Any) -> Any:
        return _over_blocks(lambda block: _over_members(one_run, block), blocks, mesh)

    return jax.jit(_over_devices(one_device, mesh, (RUNS,) * 3))


def _over_members(one_run: Callable[..., Any], block: Any) -> Any:
    """Maps over a block's runs: their first layers are one wide product. One alone keeps its own bits."""
    if jax.tree.leaves(block)[0].shape[0] > 1:
        return jax.vmap(one_run)(*block)
    found = one_run(*jax.tree.map(lambda leaf: leaf[0], block))
    return jax.tree.map(lambda leaf: leaf[None], found)


def _over_blocks(one_block: Callable[..., Any], blocks: Any, mesh: Mesh) -> Any:
    """Maps over a device's blocks, on a CPU one by one: it is slow with the thin batched products of `vmap`."""
    if mesh.devices.flat[0].platform == "cpu":
        return jax.lax.map(one_block, blocks)
    return jax.vmap(one_block)(blocks)


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
) -> tuple[TrainState, Sums]:
    """Returns the sums over the validation split; in training mode they move the running statistics."""
    if not config.validate_in_training_mode:
        return state, sums(*network(state), validation, model=model)
    options: dict[str, Any] = {"batch_size": config.batch_size, "dropout": hyper.dropout}
    stats, found = sums_in_training_mode(
        step_key(state), state.params, state.stats, validation, model=model, **options
    )
    return state._replace(stats=stats), found


def shared(model: MLPConfig) -> MLPConfig:
    """Returns the network that an epoch's program is known by: once drawn, parameters are like any numbers."""
    return replace(model, init=MLPConfig.init)


def forget() -> bool:
    """Drops all programs if there are as many as are kept, and says so; to be called when a job begins.

    jax remembers much of a program that is not kept any longer: of each some MB, for ever, without this. And what
    compilers free in their threads, glibc keeps for itself unless it is told: the larger part.
    """
    if compiled_epoch.cache_info().currsize < MOST:
        return False
    for kept in (compiled_epoch, compiled_start):
        kept.cache_clear()
    jax.clear_caches()
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)
    return True
