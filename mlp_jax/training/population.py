"""Many runs as one program, on one device or many: `step.run_epoch` mapped over seeds and hyperparameters.

Runs of one shape (the same after `config.program`, and equally long) are one program. They are laid out in blocks:
the runs of a block have one seed, so one order of minibatches, and with `wide` their first layers are one wide
product; blocks are shared out among the devices. A device of a GPU or TPU works on its blocks at once, one of a
CPU on one after the other.

Between epochs the host shows progress and drops runs whose loss is not finite; it never looks inside an epoch.
"""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mlp_jax.data.dataset import Split, Splits
from mlp_jax.errors import UserError, in_range, whole_number
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.matmul import platform
from mlp_jax.nn.model import Params
from mlp_jax.training import memory
from mlp_jax.training.augment import check_order
from mlp_jax.training.blocks import Blocks, Run, Watch, key_data
from mlp_jax.training.config import TrainConfig, program, steps_per_epoch
from mlp_jax.training.epoch import mesh_of
from mlp_jax.training.evaluate import Evaluation, check_labels
from mlp_jax.training.history import Observed, Result
from mlp_jax.training.step import Metrics

__all__ = ["MOST_GB", "Run", "compile_ahead", "plan", "train", "train_population"]

MOST_GB = 1e6  # that a device may be said to have


def train_population(
    runs: Sequence[Run],
    splits: Splits,
    *,
    max_memory_gb: float | None = None,
    data_parallel: int = 1,
    wide: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
    reached: Mapping[int, Result] = MappingProxyType({}),
    on_epoch: Callable[[int, int, Metrics, Evaluation], None] | None = None,
    observe: Callable[[int, int, Params], Observed] | None = None,
    between_epochs: Callable[[Callable[[], dict[int, Result]]], None] | None = None,
    on_end: Callable[[int, Result], None] | None = None,
) -> list[Result]:
    """Trains all runs; results in their order, each as `train` gives it.

    Without `wide` on a CPU, bit for bit; else rounding differs in the last bits, since XLA then sums in another
    order. A run that diverges ends there, and no other run notices. `wide=None` is False on a CPU.

    After each epoch `on_epoch(number of the run, epochs so far, Metrics of shape (steps,), validation)` is called
    for every run that has not diverged; `observe(number of the run, epochs so far, its parameters on the host)`
    too, and before the first epoch as well: what it gives is kept in the run's result. Without it they stay on
    the devices. `on_end(number, result)` is called for every run soon after it has ended, also for those of
    `reached` that have.

    between_epochs: is called with a function that gives where every run stands that has begun, by its number.
    That, as `reached`, makes another call go on from there, to the same results: bit for bit on any number of CPU
    devices; elsewhere where the same runs are trained together, since a product's width changes its rounding.
    An exception that it raises ends the training.

    max_memory_gb, per device, limits how many runs are trained at once (default: `memory.available`).
    data_parallel: number of devices that share each minibatch. devices: all, if not given.

    Raises UserError, before any training, if a batch is larger than the training split, if the data do not fit a
    model, if batch normalisation would meet a batch of 1, if one run alone does not fit the memory, or if
    data_parallel does not divide the number of devices and the batch size.
    """
    results = {number: result for number, result in reached.items() if result.status != "unfinished"}
    going = {number: result for number, result in reached.items() if result.status == "unfinished"}
    with _computing_on(devices):
        plans = plan(
            runs,
            splits,
            max_memory_gb=max_memory_gb,
            data_parallel=data_parallel,
            wide=wide,
            devices=devices,
            reached=reached,
        )
        for number, result in results.items():
            if on_end is not None:
                on_end(number, result)
        for chunks in plans:  # after all that can be refused: a mistake in the last run costs no training
            data, validation = (chunks[0].everywhere_on_device(part) for part in splits[:2])
            for blocks in chunks:
                watch = Watch(on_epoch, observe, _with(results, between_epochs))
                found = blocks.train(data, validation, {n: going[n] for n in blocks.numbers if n in going}, watch)
                results |= found
                for number, result in found.items():
                    if on_end is not None:
                        on_end(number, result)
    return [results[number] for number in range(len(runs))]


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

    def report(index: int, epoch: int, metrics: Metrics, validation: Evaluation) -> None:
        if on_epoch is not None:
            on_epoch(epoch, metrics, validation)

    return train_population([Run(key, model, config)], splits, on_epoch=report)[0]


def _computing_on(devices: Sequence[jax.Device] | None) -> contextlib.AbstractContextManager[Any]:
    """Makes devices of another kind than jax's default the default, so that all is compiled as for them."""
    if devices is None or devices[0].platform == platform():
        return contextlib.nullcontext()
    own = next(device for device in devices if device.process_index == jax.process_index())
    computing: contextlib.AbstractContextManager[Any] = jax.default_device(own)
    return computing


def _with(
    done: Mapping[int, Result], between_epochs: Callable[[Callable[[], dict[int, Result]]], None] | None
) -> Callable[[Callable[[], dict[int, Result]]], None] | None:
    """`between_epochs` for blocks, beside which other runs are done."""
    if between_epochs is None:
        return None
    return lambda collect: between_epochs(lambda: {**done, **collect()})


def compile_ahead(
    runs: Sequence[Run], splits: Splits, *, max_memory_gb: float | None = None, data_parallel: int = 1
) -> None:
    """Compiles what `train` with these arguments runs, and trains nothing; for another thread than `train`'s.

    Raises UserError as `train` does.
    """
    for chunks in plan(runs, splits, max_memory_gb=max_memory_gb, data_parallel=data_parallel):
        for blocks in chunks:
            blocks.compile(splits)


def plan(
    runs: Sequence[Run],
    splits: Splits,
    *,
    max_memory_gb: float | None = None,
    data_parallel: int = 1,
    wide: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
    reached: Mapping[int, Result] = MappingProxyType({}),
) -> list[list[Blocks]]:
    """What `train` trains: for each shape of runs, what is trained one after the other.

    Runs that stand after different numbers of epochs are apart; those that have ended are left out.
    """
    if max_memory_gb is not None:
        in_range("max_memory_gb", max_memory_gb, 0, MOST_GB, open_low=True)
    everything = jax.devices() if devices is None else devices
    check_devices(everything, data_parallel)
    groups: dict[Any, list[int]] = {}
    for number, run in enumerate(runs):
        steps_per_epoch(splits.train, run.config)
        check_batch(run.model, run.config, data_parallel)
        if run.config.augmentation is not None and run.config.augmentation.moves_pixels:
            check_order(splits.train)
        _check_validation(splits.validation, run.model, run.config)
        length = (run.config.epochs, run.config.steps)
        if number not in reached:
            groups.setdefault((*program(run.model, run.config), length, 0), []).append(number)
        elif reached[number].status == "unfinished":
            epochs = len(reached[number].history.validation_loss)
            groups.setdefault((*program(run.model, run.config), length, epochs), []).append(number)
    wide = platform() != "cpu" if wide is None else wide
    bound = memory.least(memory.available() if max_memory_gb is None else max_memory_gb * 1e9, everything)
    plans: list[list[Blocks]] = []
    for (model, config, *_), numbers in groups.items():
        grid = np.array(everything).reshape(-1, data_parallel)
        blocks = _blocks(runs, numbers, len(grid), wide)
        mesh = mesh_of(grid[: len(blocks)])
        check_labels(splits, model)
        at_once = memory.blocks_at_once(model, config, splits, len(blocks[0]), bound) * mesh.shape["runs"]
        chunks = [blocks[start : start + at_once] for start in range(0, len(blocks), at_once)]
        plans.append([Blocks(runs, chunk, model, config, mesh) for chunk in chunks])
    return plans


def check_batch(model: MLPConfig, config: TrainConfig, data_parallel: int) -> None:
    """Raises UserError if minibatches of this size cannot be normalised, or shared among so many devices."""
    if model.normalized and model.hidden and config.batch_size == 1:
        raise UserError("batch normalisation cannot train on batch_size 1: its variance is 0; choose 2 or more")
    if config.batch_size % data_parallel:
        raise UserError(f"data_parallel {data_parallel} does not divide batch_size {config.batch_size}")


def check_devices(devices: Sequence[jax.Device], data_parallel: int) -> None:
    """Raises UserError if the devices are not whole groups of so many."""
    whole_number("data_parallel", data_parallel, 1)
    if len(devices) % data_parallel:
        raise UserError(f"data_parallel {data_parallel} does not divide the number of devices, {len(devices)}")


def _check_validation(validation: Split, model: MLPConfig, config: TrainConfig) -> None:
    if not (model.normalized and model.hidden):
        return
    if config.validate_in_training_mode and len(validation.y) % config.batch_size == 1:
        raise UserError(
            f"batch_size {config.batch_size} leaves 1 of {len(validation.y)} validation images to normalise in "
            "training mode: choose another batch_size"
        )


def _blocks(runs: Sequence[Run], numbers: Sequence[int], devices: int, wide: bool) -> list[list[int]]:
    """Numbers of the runs by block, all equally long: what is missing in the last block of a seed is a repetition.

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
