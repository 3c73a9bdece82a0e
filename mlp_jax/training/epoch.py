"""The compiled programs of a population: `step.run_epoch` and its evaluation, mapped over blocks and devices."""

import contextlib
import ctypes
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mlp_jax.data.dataset import Split
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params
from mlp_jax.training.config import Hyper, TrainConfig
from mlp_jax.training.evaluate import Sums, sums, sums_in_training_mode
from mlp_jax.training.step import Metrics, TrainState, init_state, minibatches, network, run_epoch

SPECS = PartitionSpec("runs"), PartitionSpec()
"""Where an array with runs as leading axis lies, and one that is everywhere the same."""


MOST = 32
"""How many programs of a kind are kept."""


def forget() -> bool:
    """Drops all programs if there are as many as are kept, and says so; to be called when a job begins.

    jax remembers much of a program that is not kept any longer: of each some MB, for ever, without this. And what
    compilers free in their threads, glibc keeps for itself unless it is told: the larger part.
    """
    if _epoch.cache_info().currsize < MOST:
        return False
    for kept in (compiled, _epoch):
        kept.cache_clear()
    jax.clear_caches()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    return True


def mesh_of(devices: Any) -> Mesh:
    """The mesh of an array of devices, (runs, data_parallel) or (runs,)."""
    grid = np.array(devices).reshape(len(devices), -1)
    return Mesh(grid, ("runs", "batch"), axis_types=(AxisType.Auto, AxisType.Auto))


@functools.lru_cache(maxsize=MOST)
def compiled(model: MLPConfig, config: TrainConfig, mesh: Mesh) -> tuple[Any, Any]:
    """Start and epoch of blocks of runs, sharded over the mesh; compiled when they are first called.

    start(key data (block, member, ...), hyper, initial parameters) -> state;
    epoch(state, alive, hyper, number, stop, training data, validation data) -> (state, Metrics, Sums), where
    members that are not alive stay as they are. All but the last four have the leading axes (block, member).
    """
    runs, _ = SPECS

    def start_one(key: jax.Array, hyper: Hyper, params: Params) -> TrainState:
        return init_state(jax.random.wrap_key_data(key), model, config, hyper, params)

    block = _mapped(_members(start_one), mesh=mesh)
    start = jax.jit(_sharded(block, mesh, in_specs=(runs,) * 3))
    # which initialisation it was does not matter any more: all share one epoch
    return start, _epoch(replace(model, init=MLPConfig.init), config, mesh)


@functools.lru_cache(maxsize=MOST)
def _epoch(model: MLPConfig, config: TrainConfig, mesh: Mesh) -> Any:
    runs, everywhere = SPECS
    mapped = functools.partial(_mapped, mesh=mesh)
    batch = functools.partial(_shard_batch, mesh=mesh)

    def epoch(
        state: TrainState, alive: Any, hyper: Hyper, number: Any, stop: Any, data: Split, validation: Split
    ) -> tuple[TrainState, Metrics, Sums]:
        def member(order: Any, state: TrainState, alive: Any, hyper: Hyper) -> tuple[TrainState, Metrics, Sums]:
            options: dict[str, Any] = {"model": model, "config": config, "stop": stop, "order": order}
            new, metrics = run_epoch(state, data, hyper, **options, place=batch)
            new, evaluated = _validate(new, hyper, validation, model, config)
            keep = functools.partial(jnp.where, alive)
            kept = {
                name: jax.tree.map(keep, getattr(new, name), getattr(state, name))
                for name in ("params", "opt_state", "stats", "step", "average")
            }
            return state._replace(**kept), metrics, evaluated

        def block(state: TrainState, alive: Any, hyper: Hyper) -> tuple[TrainState, Metrics, Sums]:
            order = minibatches(state.order_key[0], number, data.y.shape[0], config.batch_size)
            new, metrics, evaluated = _members(functools.partial(member, order))(state, alive, hyper)
            return new, metrics, evaluated

        new, metrics, evaluated = mapped(block)(state, alive, hyper)
        return new, metrics, evaluated

    def epoch_and_share(*arguments: Any) -> tuple[TrainState, Metrics, Sums]:
        """Every process reads what was recorded."""
        in_specs = (runs,) * 3 + (everywhere,) * 4
        state, metrics, evaluated = _sharded(epoch, mesh, in_specs=in_specs)(*arguments)
        return state, *jax.lax.with_sharding_constraint((metrics, evaluated), NamedSharding(mesh, everywhere))

    return jax.jit(epoch_and_share, donate_argnums=0)


def _sharded(block: Callable[..., Any], mesh: Mesh, in_specs: tuple[PartitionSpec, ...]) -> Callable[..., Any]:
    runs, _ = SPECS
    options: dict[str, Any] = {"axis_names": {"runs"}, "check_vma": False}
    return jax.shard_map(block, mesh=mesh, in_specs=in_specs, out_specs=runs, **options)


def _mapped(block: Callable[..., Any], *, mesh: Mesh) -> Callable[..., Any]:
    """Over the device's blocks: vmap would make thin batched products, for which CPU code is slow."""
    if mesh.devices.flat[0].platform == "cpu":
        return lambda *trees: jax.lax.map(lambda tree: block(*tree), trees)
    return jax.vmap(block)


def _members(one: Callable[..., Any]) -> Callable[..., Any]:
    """`one` over the members of a block; a block of one is left as it is, for the bits of a single run."""

    def over(*trees: Any) -> Any:
        if jax.tree.leaves(trees)[0].shape[0] > 1:
            return jax.vmap(one)(*trees)
        found = one(*jax.tree.map(lambda leaf: leaf[0], trees))
        return jax.tree.map(lambda leaf: leaf[None], found)

    return over


def _shard_batch(batch: Split, *, mesh: Mesh) -> Split:
    if mesh.shape["batch"] == 1:
        return batch
    return Split(*(jax.lax.with_sharding_constraint(values, PartitionSpec("batch")) for values in batch))


def _validate(
    state: TrainState, hyper: Hyper, validation: Split, model: MLPConfig, config: TrainConfig
) -> tuple[TrainState, Sums]:
    if not config.validate_in_training_mode:
        return state, sums(*network(state), validation, model=model)
    key = jax.random.fold_in(state.dropout_key, state.step)
    stats, found = sums_in_training_mode(
        key,
        state.params,
        state.stats,
        validation,
        model=model,
        batch_size=config.batch_size,
        dropout=hyper.dropout,
    )
    return state._replace(stats=stats), found
