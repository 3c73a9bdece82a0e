"""Runs are laid out here: in groups of one shape, blocks of one seed, and chunks that fit the devices' memory.

Runs of one shape (the same after `config.program`, and equally long) are one program. They are laid out in blocks:
the runs of a block have one seed, so one order of minibatches, and with `wide` their first layers are one wide
product. Blocks are shared out among the devices; as many as fit the memory are a chunk, trained at once.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding

from mlp_jax.data.dataset import Split, Splits
from mlp_jax.errors import UserError, in_range, whole_number
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.matmul import platform
from mlp_jax.training.augment import check_order
from mlp_jax.training.config import Run, TrainConfig, key_data, program, steps_per_epoch
from mlp_jax.training.epoch import EVERYWHERE, RUNS
from mlp_jax.training.evaluate import check_labels, on_device
from mlp_jax.training.history import Result
from mlp_jax.training.step import TrainState, state_shape, transposed

MOST_GB = 1e6  # a device may be said to have so many
EVALUATED_AT_ONCE = 1000  # `evaluate.sums` takes so many examples, if there are


@dataclass(frozen=True, eq=False)
class Chunk:
    """A chunk is trained at once: blocks of numbers of `runs`, what is compiled for them, and on which devices."""

    runs: Sequence[Run]
    blocks: Sequence[Sequence[int]]
    model: MLPConfig
    config: TrainConfig
    mesh: Mesh

    @property
    def places(self) -> dict[int, tuple[int, int]]:
        """Returns block and member of each run, by its number: the last ones of a run that is repeated."""
        return {n: (b, m) for b, block in enumerate(self.blocks) for m, n in enumerate(block)}

    def each(self, value: Callable[[int], Any]) -> Any:
        """Puts the trees value(number of the run) on the devices, as one with the axes (block, member)."""
        rows = [[value(number) for number in block] for block in self.blocks]
        shape = (len(rows), len(rows[0]))
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[v for row in rows for v in row])
        return self._put(jax.tree.map(lambda a: a.reshape(shape + a.shape[1:]), stacked), RUNS)

    def everywhere(self, part: Split) -> Split:
        """Puts the whole of a split on every device."""
        return Split(*self._put(on_device(part, self.model), EVERYWHERE))

    def _put(self, tree: Any, spec: Any) -> Any:
        """Puts host arrays, which are the same in every process, on the devices."""
        sharding = NamedSharding(self.mesh, spec)
        if sharding.is_fully_addressable:
            return jax.device_put(tree, sharding)

        def place(array: Any) -> jax.Array:
            host = np.asarray(array)
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

        return jax.tree.map(place, tree)

    def states(self, held: TrainState) -> dict[int, TrainState]:
        """Returns each run's state, by its number, in numpy arrays, of what the devices hold `transposed`."""
        if not NamedSharding(self.mesh, RUNS).is_fully_addressable:
            held = multihost_utils.process_allgather(held, tiled=True)
        host = jax.device_get(held)
        own = {n: transposed(jax.tree.map(lambda a, at=at: a[at], host)) for n, at in self.places.items()}
        found: dict[int, TrainState] = jax.tree.map(partial(np.array, order="C"), own)
        return found

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context to trace and start programs in: products are then for this kind of device."""
        devices = self.mesh.devices.flat
        if devices[0].platform == platform():
            return contextlib.nullcontext()
        own = next(device for device in devices if device.process_index == jax.process_index())
        context: contextlib.AbstractContextManager[Any] = jax.default_device(own)
        return context


def plan(
    runs: Sequence[Run],
    splits: Splits,
    *,
    max_memory_gb: float | None = None,
    data_parallel: int = 1,
    wide: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
    resume_from: Mapping[int, Result] = MappingProxyType({}),
) -> list[list[Chunk]]:
    """Returns, for each shape of runs, the chunks to train in turn; arguments are those of `population.epochs`.

    Runs that stand after different numbers of epochs are apart; those that have ended are left out.
    """
    if max_memory_gb is not None:
        in_range("max_memory_gb", max_memory_gb, 0, MOST_GB, open_low=True)
    devices = jax.devices() if devices is None else devices
    check_devices(devices, data_parallel)
    for run in runs:
        _check_run(run, splits, data_parallel)
    grid = np.array(devices).reshape(-1, data_parallel)
    wide = devices[0].platform != "cpu" if wide is None else wide
    bound = least(available(devices) if max_memory_gb is None else max_memory_gb * 1e9, devices)
    plans = []
    for (model, config, *_), numbers in _groups(runs, resume_from).items():
        check_labels(splits, model)
        blocks = _blocks(runs, numbers, len(grid), wide)
        mesh = Mesh(grid[: len(blocks)], ("runs", "batch"), axis_types=(AxisType.Auto, AxisType.Auto))
        fitting = blocks_at_once(model, config, splits, len(blocks[0]), bound)
        # a core takes one block at a time: the thin batched products of more are slow, and one program serves all
        at_once = (1 if devices[0].platform == "cpu" else fitting) * mesh.shape["runs"]
        starts = range(0, len(blocks), at_once)
        plans.append([Chunk(runs, blocks[start : start + at_once], model, config, mesh) for start in starts])
    return plans


def _groups(runs: Sequence[Run], resume_from: Mapping[int, Result]) -> dict[Any, list[int]]:
    """Returns the numbers of the runs that have not ended, by what is compiled, length, and epochs so far."""
    groups: dict[Any, list[int]] = {}
    for number, run in enumerate(runs):
        reached = resume_from.get(number)
        if reached is None or reached.status == "unfinished":
            epochs = None if reached is None else len(reached.history.validation_loss)
            shape = (*program(run.model, run.config), run.config.epochs, run.config.steps, epochs)
            groups.setdefault(shape, []).append(number)
    return groups


def _blocks(runs: Sequence[Run], numbers: Sequence[int], devices: int, wide: bool) -> list[list[int]]:
    """Returns the runs' numbers by block, all equally long: the last run of a seed fills its last block.

    As many blocks as devices, or more, if there are so many runs. More than one per device: a multiple of their
    number, and in several processes always, because each of them has to take part.
    """
    seeds: dict[bytes, list[int]] = {}
    for number in numbers:
        seeds.setdefault(key_data(runs[number].key).tobytes(), []).append(number)
    blocks_per_seed = math.ceil(devices / len(seeds))
    width = max(math.ceil(len(members) / blocks_per_seed) for members in seeds.values()) if wide else 1
    blocks = [
        (members[start : start + width] + members[-1:] * width)[:width]
        for members in seeds.values()
        for start in range(0, len(members), width)
    ]
    if len(blocks) < devices and jax.process_count() == 1:
        return blocks
    return blocks + blocks[-1:] * (-len(blocks) % devices)


def _check_run(run: Run, splits: Splits, data_parallel: int) -> None:
    """Raises UserError if a run does not go with the data, or its minibatches not with the devices."""
    model, config, validation = run.model, run.config, len(splits.validation.y)
    steps_per_epoch(splits.train, config)
    check_batch(model, config, data_parallel)
    if config.augmentation is not None and config.augmentation.moves_pixels:
        check_order(splits.train)
    in_batches = model.has_running_stats and config.validate_in_training_mode
    if in_batches and validation % config.batch_size == 1:
        raise UserError(
            f"batch_size {config.batch_size} leaves 1 of {validation} validation images to normalise in "
            "training mode: choose another batch_size"
        )


def check_batch(model: MLPConfig, config: TrainConfig, data_parallel: int) -> None:
    """Raises UserError if minibatches of this size cannot be normalised, or shared among so many devices."""
    if model.has_running_stats and config.batch_size == 1:
        raise UserError("batch normalisation cannot train on batch_size 1: its variance is 0; choose 2 or more")
    if config.batch_size % data_parallel:
        raise UserError(f"data_parallel {data_parallel} does not divide batch_size {config.batch_size}")


def check_devices(devices: Sequence[jax.Device], data_parallel: int) -> None:
    """Raises UserError if the devices are not whole groups of so many."""
    whole_number("data_parallel", data_parallel, 1)
    if len(devices) % data_parallel:
        raise UserError(f"data_parallel {data_parallel} does not divide the number of devices, {len(devices)}")


# How much memory a chunk takes is estimated before it is trained.


def available(devices: Sequence[jax.Device]) -> float:
    """Returns bytes per local device: three quarters of a GPU's or TPU's free memory, or of a CPU's share.

    A CPU's is what programs can have without swapping, file caches included. The limit of a container is not
    seen: `max_memory_gb` states it.
    """
    local = [device for device in devices if device.process_index == jax.process_index()]
    stats = local[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return 0.75 * float(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return 0.75 * float(psutil.virtual_memory().available) / len(local)


def least(own: float, devices: Sequence[jax.Device]) -> float:
    """Returns the least `own` of the processes with these `devices`: all ask, and then lay out runs alike."""
    if all(device.process_index == jax.process_index() for device in devices):
        return own
    return float(multihost_utils.process_allgather(np.float32(own)).min())


def footprint(model: MLPConfig, config: TrainConfig, data: Splits, width: int) -> tuple[int, int]:
    """Returns bytes on one device: those that do not depend on the number of blocks, and those of a block.

    A block has `width` runs. From epoch to epoch a run holds its state twice, because XLA may keep an epoch's
    argument beside its result, and the metrics of an epoch. While it is trained, it needs gradients and updates,
    and for each layer five arrays of a minibatch's activations (product, activation, normalised, mask, delta).
    """
    size = np.dtype(model.dtype).itemsize
    examples = data.train.y.size
    state = state_shape(model, config)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    rows = max(config.batch_size, min(EVALUATED_AT_ONCE, len(data.validation.y)))
    held = 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    held += 2 * (examples // config.batch_size) * size
    used = size * (3 * parameters + 5 * rows * sum(model.sizes[1:]))
    batch = rows * model.inputs * size
    permutation = 8 * examples
    fixed = sum(part.x.size * size + 8 * part.y.size for part in data[:2]) + permutation
    return fixed, width * (held + used) + batch


def blocks_at_once(model: MLPConfig, config: TrainConfig, data: Splits, width: int, bound: float) -> int:
    """Returns how many blocks of `width` runs fit a device's `bound` bytes. Raises UserError if none does."""
    fixed, block = footprint(model, config, data, width)
    if fixed + block > bound:
        parameters = sum((a + 1) * b for a, b in zip(model.sizes[:-1], model.sizes[1:], strict=True))
        raise UserError(
            f"{width} network(s) of {parameters} weights and biases and the data need about "
            f"{(fixed + block) / 1e9:.2g} GB on a device, and {bound / 1e9:.2g} GB may be used: raise "
            "--max_memory_gb, or choose a smaller network or batch"
        )
    return int((bound - fixed) // block)
