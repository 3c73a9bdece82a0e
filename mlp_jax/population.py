"""Many runs as one program, on one device or many: `train.run_epoch` mapped over seeds and hyperparameters.

Runs of one shape (the same after `train.program`, and equally long) are one program. They are laid out in blocks:
the runs of a block have one seed, so one order of minibatches, and with `wide` their first layers are one wide
product; blocks are shared out among the devices. A device of a GPU or TPU works on its blocks at once, one of a
CPU on one after the other.

Between epochs the host shows progress and drops runs whose loss is not finite; it never looks inside an epoch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PRNGKeyArray

from mlp_jax import memory
from mlp_jax.data import Split, Splits
from mlp_jax.errors import UserError, in_range, whole_number
from mlp_jax.evaluation import Evaluation, Sums, check_labels, on_device
from mlp_jax.model import MLPConfig, Params
from mlp_jax.programs import SPECS, compiled, mesh_of
from mlp_jax.train import (
    History,
    Hyper,
    Metrics,
    Result,
    TrainConfig,
    TrainState,
    hyper_from,
    program,
    steps_per_epoch,
)

OnEpoch = Callable[[int, int, Metrics, Evaluation], None]
OnParams = Callable[[int, int, Params], None]


class Run(NamedTuple):
    """One run: runs with one key share initial draws, minibatches and dropout masks, whatever else differs."""

    key: PRNGKeyArray
    model: MLPConfig
    config: TrainConfig


def train(
    runs: Sequence[Run],
    splits: Splits,
    *,
    max_memory_gb: float | None = None,
    data_parallel: int = 1,
    wide: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
    on_epoch: OnEpoch | None = None,
    on_params: OnParams | None = None,
) -> list[Result]:
    """Trains all runs; results in their order, each as `train.train` gives it.

    Without `wide` on a CPU, bit for bit; else rounding differs in the last bits, since XLA then sums in another
    order. A run that diverges ends there, and no other run notices. `wide=None` is False on a CPU.

    After each epoch `on_epoch(number of the run, epochs so far, Metrics of shape (steps,), validation)` is called
    for every run that has not diverged; `on_params(number of the run, epochs so far, its parameters on the host)`
    too, and before the first epoch as well. Without it they stay on the devices.

    max_memory_gb, per device, limits how many runs are trained at once (default: `memory.available`).
    data_parallel: number of devices that share each minibatch. devices: all, if not given.

    Raises UserError, before any training, if a batch is larger than the training split, if the data do not fit a
    model, if batch normalisation would meet a batch of 1, if one run alone does not fit the memory, or if
    data_parallel does not divide the number of devices and the batch size.
    """
    plans = plan(
        runs, splits, max_memory_gb=max_memory_gb, data_parallel=data_parallel, wide=wide, devices=devices
    )
    results: dict[int, Result] = {}
    for chunks in plans:  # after all that can be refused: a mistake in the last run costs no training
        data, validation = (chunks[0].everywhere_on_device(part) for part in splits[:2])
        for population in chunks:
            results |= population.train(data, validation, on_epoch, on_params)
    return [results[number] for number in range(len(runs))]


def compile_ahead(
    runs: Sequence[Run], splits: Splits, *, max_memory_gb: float | None = None, data_parallel: int = 1
) -> None:
    """Compiles what `train` with these arguments runs, and trains nothing; for another thread than `train`'s.

    Raises UserError as `train` does.
    """
    for chunks in plan(runs, splits, max_memory_gb=max_memory_gb, data_parallel=data_parallel):
        for population in chunks:
            population.lowered(splits).compile()


def plan(
    runs: Sequence[Run],
    splits: Splits,
    *,
    max_memory_gb: float | None = None,
    data_parallel: int = 1,
    wide: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> list[list["_Population"]]:
    """What `train` trains, for each shape of runs the populations that are trained one after the other."""
    if max_memory_gb is not None:
        in_range("max_memory_gb", max_memory_gb, 0, open_low=True)
    everything = jax.devices() if devices is None else devices
    check_devices(everything, data_parallel)
    groups: dict[Any, list[int]] = {}
    for number, run in enumerate(runs):
        steps_per_epoch(splits.train, run.config)
        check_batch(run.model, run.config, data_parallel)
        _check_validation(splits.validation, run.model, run.config)
        length = (run.config.epochs, run.config.steps)
        groups.setdefault((*program(run.model, run.config), length), []).append(number)
    wide = jax.default_backend() != "cpu" if wide is None else wide
    bound = memory.least(memory.available() if max_memory_gb is None else max_memory_gb * 1e9, everything)
    plans: list[list[_Population]] = []
    for (model, config, _), numbers in groups.items():
        grid = np.array(everything).reshape(-1, data_parallel)
        blocks = _blocks(runs, numbers, len(grid), wide)
        mesh = mesh_of(grid[: len(blocks)])
        check_labels(splits, model)
        at_once = memory.blocks_at_once(model, config, splits, len(blocks[0]), bound) * mesh.shape["runs"]
        chunks = [blocks[start : start + at_once] for start in range(0, len(blocks), at_once)]
        plans.append([_Population(runs, chunk, model, config, mesh) for chunk in chunks])
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
        seeds.setdefault(_key_data(runs[number].key).tobytes(), []).append(number)
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


def _key_data(key: PRNGKeyArray) -> np.ndarray:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if typed else key)


def _place(tree: Any, sharding: NamedSharding) -> Any:
    """Host arrays, the same in every process, as arrays on the devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def place(array: Any) -> jax.Array:
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place, tree)


class _Population:
    """Blocks that are trained at once. Arrays have the leading axes (block, member)."""

    def __init__(
        self, runs: Sequence[Run], blocks: list[list[int]], model: MLPConfig, config: TrainConfig, mesh: Mesh
    ) -> None:
        self.runs, self.blocks, self.config = runs, blocks, runs[blocks[0][0]].config
        self.over_runs, self.everywhere = (NamedSharding(mesh, spec) for spec in SPECS)
        self.start, self.epoch = compiled(model, config, mesh)

    def _each(self, value: Callable[[Run], Any]) -> Any:
        """value(run) of every member, on the devices."""
        rows = [[value(self.runs[number]) for number in block] for block in self.blocks]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[v for row in rows for v in row])
        shape = (len(rows), len(rows[0]))
        return _place(jax.tree.map(lambda a: a.reshape(shape + a.shape[1:]), stacked), self.over_runs)

    def train(
        self, data: Split, validation: Split, on_epoch: OnEpoch | None, on_params: OnParams | None
    ) -> dict[int, Result]:
        """The results by the number of the run; a repetition's are its original's."""
        per_epoch = steps_per_epoch(data, self.config)
        total, stop = self._length(data)
        hyper = self._hyper()
        state = self.start(self._keys(), hyper)
        books = {number: _Book() for block in self.blocks for number in block}
        self._hand_out(books, 0, state, on_params)
        for epoch in range(math.ceil(total / per_epoch)):
            alive = self._each(lambda run: np.bool_(True)) if epoch == 0 else self._alive(books)
            state, *found = self.epoch(state, alive, hyper, np.int32(epoch), stop, data, validation)
            self._record(books, epoch, total - epoch * per_epoch, found, len(validation.y), on_epoch)
            self._hand_out(books, epoch + 1, state, on_params)
            if all(book.diverged for book in books.values()):
                break
        return self._results(state, books)

    def lowered(self, splits: Splits) -> jax.stages.Lowered:
        """The epoch's program before it is compiled; once it is, `train` finds it."""
        hyper, alive = self._hyper(), self._each(lambda run: np.bool_(True))
        data, validation = (self._shape(part) for part in splits[:2])
        stop = self._length(splits.train)[1]
        state = self.start(self._keys(), hyper)
        lowered: jax.stages.Lowered = self.epoch.lower(state, alive, hyper, np.int32(0), stop, data, validation)
        return lowered

    def _shape(self, part: Split) -> Split:
        """What `everywhere_on_device` gives, without the values."""
        dtypes = Split(self.runs[self.blocks[0][0]].model.dtype, "int32")
        return Split(
            *(
                jax.ShapeDtypeStruct(values.shape, dtype, sharding=self.everywhere)
                for values, dtype in zip(part, dtypes, strict=True)
            )
        )

    def _length(self, data: Split) -> tuple[int, int | None]:
        """Steps in all; and the same again, if the run ends inside an epoch: one program for all its epochs."""
        per_epoch = steps_per_epoch(data, self.config)
        total = self.config.epochs * per_epoch if self.config.steps is None else self.config.steps
        return total, None if total % per_epoch == 0 else total

    def everywhere_on_device(self, part: Split) -> Split:
        """The whole of a split on every device of the mesh."""
        return Split(*_place(on_device(part, self.runs[self.blocks[0][0]].model), self.everywhere))

    def _keys(self) -> Any:
        return self._each(lambda run: _key_data(run.key))

    def _hyper(self) -> Hyper:
        dtype = np.dtype(self.runs[self.blocks[0][0]].model.dtype)
        return Hyper(*self._each(lambda run: Hyper(*(dtype.type(v) for v in hyper_from(run.config, run.model)))))

    def _alive(self, books: dict[int, "_Book"]) -> Any:
        alive = [[not books[number].diverged for number in block] for block in self.blocks]
        return _place(np.array(alive), self.over_runs)

    def _record(
        self,
        books: dict[int, "_Book"],
        epoch: int,
        steps: int,
        found: list[Any],
        examples: int,
        on_epoch: OnEpoch | None,
    ) -> None:
        metrics, evaluated = (type(part)(*map(np.asarray, part)) for part in jax.device_get(found))
        for number, (b, m) in self._places().items():
            if not books[number].diverged:
                taken = Metrics(*(values[b, m, :steps] for values in metrics))
                books[number].add(taken, Sums(*(values[b, m] for values in evaluated)).over(examples))
                if on_epoch is not None and not books[number].diverged:
                    on_epoch(number, epoch + 1, taken, books[number].evaluations[-1])

    def _hand_out(
        self, books: dict[int, "_Book"], epoch: int, state: TrainState, on_params: OnParams | None
    ) -> None:
        if on_params is None:
            return
        params = self._on_host(state.params)
        for number, (b, m) in self._places().items():
            if not books[number].diverged:
                on_params(number, epoch, jax.tree.map(lambda values, b=b, m=m: values[b, m], params))

    def _on_host(self, tree: Any) -> Any:
        """The whole of it as host arrays, in every process."""
        if not self.everywhere.is_fully_addressable:
            tree = jax.jit(lambda tree: tree, out_shardings=self.everywhere)(tree)
        return jax.device_get(tree)

    def _places(self) -> dict[int, tuple[int, int]]:
        """Where each run stands, without the repetitions."""
        return {n: (b, m) for b, block in enumerate(self.blocks) for m, n in enumerate(block)}

    def _results(self, state: TrainState, books: dict[int, "_Book"]) -> dict[int, Result]:
        keys = [jax.random.key_data(key) for key in (state.order_key, state.dropout_key)]
        bare = state._replace(order_key=keys[0], dropout_key=keys[1])
        host = self._on_host(bare)
        results = {}
        for number, (b, m) in self._places().items():
            leaves = jax.tree.map(lambda values, b=b, m=m: jnp.asarray(values[b, m]), host)
            keys = [jax.random.wrap_key_data(key) for key in (leaves.order_key, leaves.dropout_key)]
            own = leaves._replace(order_key=keys[0], dropout_key=keys[1])
            results[number] = Result(own, books[number].history(), books[number].status)
        return results


class _Book:
    """What one run has shown so far."""

    def __init__(self) -> None:
        self.metrics: list[Metrics] = []
        self.evaluations: list[Evaluation] = []
        self.diverged = False

    def add(self, metrics: Metrics, evaluation: Evaluation) -> None:
        self.metrics.append(metrics)
        # the last update of an epoch shows in the validation loss only
        self.diverged = not (np.isfinite(metrics.loss).all() and math.isfinite(evaluation.loss))
        if not self.diverged:
            self.evaluations.append(evaluation)

    @property
    def status(self) -> str:
        return "diverged" if self.diverged else "finished"

    def history(self) -> History:
        losses, accuracies = (
            np.concatenate([getattr(m, name) for m in self.metrics]) if self.metrics else np.zeros(0)
            for name in Metrics._fields
        )
        validation = (np.array([getattr(e, name) for e in self.evaluations]) for name in Evaluation._fields)
        return History(losses, accuracies, *validation)
