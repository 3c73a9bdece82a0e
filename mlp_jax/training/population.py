"""The host's loop over epochs is an iterator: who asks for the next epoch shows, saves or stops in between.

    for epoch in epochs(runs, splits):
        for number, (metrics, validation) in epoch.reports.items():
            print(number, epoch.number, validation.accuracy)

From here downwards: `epoch` has all that is compiled, `step` one run. `layout` says which runs are trained where.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mlp_jax.data.dataset import Split, Splits
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params
from mlp_jax.training.config import Hyper, Run, TrainConfig, drawn, hyper_from, key_data, steps_per_epoch
from mlp_jax.training.epoch import EVERYWHERE, RUNS, compiled_epoch, compiled_order
from mlp_jax.training.evaluate import Evaluation, Sums
from mlp_jax.training.history import Book, Observed, Result
from mlp_jax.training.layout import Chunk, plan
from mlp_jax.training.step import Metrics, TrainState, init_params, init_state, state_shape, transposed

__all__ = ["Epoch", "Run", "compile_ahead", "epochs", "train", "train_population"]


def train(key: PRNGKeyArray, splits: Splits, model: MLPConfig, config: TrainConfig) -> Result:
    """Trains one network: the same key gives the same result, bit for bit, on the same machine and software.

    After each epoch the validation split is evaluated. A minibatch's or the validation loss that is not finite
    ends the run as "diverged" at the end of its epoch; the history is kept, without that epoch's validation.

    Raises UserError, before any training, if the batch is larger than the training split, if the data do not fit
    the model, or if batch normalisation would meet a batch of 1.
    """
    return train_population([Run(key, model, config)], splits)[0]


def train_population(
    runs: Sequence[Run],
    splits: Splits,
    *,
    resume_from: Mapping[int, Result] = MappingProxyType({}),
    **options: Any,
) -> list[Result]:
    """Trains all runs; results in their order, each as `train` gives it. Arguments and errors as of `epochs`."""
    results = dict(resume_from)
    for epoch in epochs(runs, splits, resume_from=resume_from, **options):
        if epoch.last:
            results |= epoch.results()
    return [results[number] for number in range(len(runs))]


def epochs(
    runs: Sequence[Run],
    splits: Splits,
    *,
    max_memory_gb: float | None = None,
    data_parallel: int = 1,
    wide: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
    resume_from: Mapping[int, Result] = MappingProxyType({}),
) -> Iterator["Epoch"]:
    """Trains all runs, those of one shape together: gives each chunk before the first epoch and after every one.

    Without `wide`, on a CPU, each has the bits that it has alone; else the last bits differ, as XLA then sums in
    another order. A run that diverges ends there, and no other run notices. `wide=None` is False on a CPU.
    max_memory_gb, per device, limits how many runs are trained at once (default: `layout.available`).
    data_parallel: number of devices that share each minibatch. devices: all, if not given.
    resume_from: where runs stand, by their number: what an `Epoch.results` gave, for another call to go on from
    there, to the same results: bit for bit on any number of CPU devices; elsewhere where the same runs are trained
    together, since a product's width changes its rounding. Runs that have ended are not trained.

    Raises UserError, before any training, if a batch is larger than the training split, if the data do not fit a
    model, if batch normalisation would meet a batch of 1, if one run alone does not fit the memory, or if
    data_parallel does not divide the number of devices and the batch size.
    """
    plans = plan(
        runs,
        splits,
        max_memory_gb=max_memory_gb,
        data_parallel=data_parallel,
        wide=wide,
        devices=devices,
        resume_from=resume_from,
    )
    for chunks in plans:  # all that can be refused was: a mistake in the last run costs no training
        data, validation = (chunks[0].everywhere(part) for part in splits[:2])
        for chunk in chunks:
            yield from _epochs_of(chunk, data, validation, resume_from)


@dataclass(frozen=True, eq=False)
class Epoch:
    """The runs of a chunk stand here between two epochs; it is to be used before the next one is asked for.

    `number` counts the epochs so far. `trained` tells whether one was just trained, which is not so where a chunk
    begins or goes on, `last` whether all its runs have ended. `reports` has, by number of the run, the epoch's
    Metrics of shape (steps,) and the validation, of those that have not diverged.
    """

    number: int
    trained: bool
    last: bool
    reports: Mapping[int, tuple[Metrics, Evaluation]]
    _chunk: Chunk
    _state: TrainState
    _books: Mapping[int, Book]

    def results(self) -> dict[int, Result]:
        """Returns where each run stands, by its number."""
        states = self._chunk.states(self._state)
        return {number: self._books[number].result(jax.device_put(state)) for number, state in states.items()}

    def observe(self, look: Callable[[int, int, Params], Observed]) -> None:
        """Keeps look(number of the run, epochs so far, its parameters as numpy arrays) in the runs' results.

        Runs that have diverged are left out, and so are those that brought this epoch's with them, resumed.
        """
        seen = self._state._replace(opt_state=(), average=())  # as large as the parameters, and not asked for
        for number, state in self._chunk.states(seen).items():
            book = self._books[number]
            if not book.diverged and len(book.observed) <= self.number:
                book.observed.append(look(number, self.number, state.params))


def _epochs_of(chunk: Chunk, data: Split, validation: Split, resume_from: Mapping[int, Result]) -> Iterator[Epoch]:
    """Trains one chunk, all of whose runs stand after equally many epochs."""
    per_epoch = steps_per_epoch(data, chunk.config)
    total, stop = _length(chunk, data)
    length = math.ceil(total / per_epoch)
    books = {number: Book(length, resume_from.get(number)) for number in chunk.places}
    number, hyper, state = next(iter(books.values())).epochs, hyper_of(chunk), begin(chunk, resume_from)
    program = _program(chunk)
    order = compiled_order(len(data.y), chunk.config.batch_size, chunk.mesh)
    trained, reports = False, dict[int, tuple[Metrics, Evaluation]]()
    while True:
        last = number == length or all(book.diverged for book in books.values())
        yield Epoch(number, trained, last, reports, chunk, state, books)
        if last:
            return
        with chunk.computing():
            minibatches = order(state.order_key, np.int32(number))
            state, *recorded = program(state, hyper, minibatches, stop, data, validation)
        reports = _recorded(chunk, books, jax.device_get(recorded), total - number * per_epoch, len(validation.y))
        _keep_diverged(chunk, books, state)
        number, trained = number + 1, True


def _recorded(
    chunk: Chunk, books: Mapping[int, Book], recorded: Any, steps: int, examples: int
) -> dict[int, tuple[Metrics, Evaluation]]:
    """Takes in what an epoch of so many steps recorded; gives what it tells of the runs that go on."""
    reports, (metrics, evaluated) = {}, recorded
    for number, place in chunk.places.items():
        if not books[number].diverged:
            taken = Metrics(*(np.asarray(values)[place][:steps] for values in metrics))
            found = Sums(*(np.asarray(values)[place] for values in evaluated)).over(examples)
            if books[number].add(taken, found):
                reports[number] = taken, found
    return reports


def _keep_diverged(chunk: Chunk, books: Mapping[int, Book], state: TrainState) -> None:
    """Keeps the states of runs that have just diverged: their programs go on, for others that run in them."""
    if any(book.diverged and book.end is None for book in books.values()):
        for number, reached in chunk.states(state).items():
            if books[number].diverged and books[number].end is None:
                books[number].end = reached


def _length(chunk: Chunk, data: Split) -> tuple[int, int | None]:
    """Returns the steps of each run, and again if they end inside an epoch: one program serves all epochs."""
    per_epoch = steps_per_epoch(data, chunk.config)
    total = chunk.runs[chunk.blocks[0][0]].config.total_steps(per_epoch)
    return total, None if total % per_epoch == 0 else total


def _program(chunk: Chunk) -> Any:
    """Returns the compiled epoch of a chunk."""
    return compiled_epoch(drawn(chunk.model), chunk.config, chunk.mesh)


def hyper_of(chunk: Chunk) -> Hyper:
    """Returns the traced hyperparameters of a chunk's runs, on the devices."""
    return Hyper(*chunk.each(lambda number: _hyper(chunk, number)))


def _hyper(chunk: Chunk, number: int) -> Hyper:
    run, dtype = chunk.runs[number], np.dtype(chunk.model.dtype).type
    return Hyper(*map(dtype, hyper_from(run.config, run.model)))


def begin(chunk: Chunk, resume_from: Mapping[int, Result] = MappingProxyType({})) -> TrainState:
    """Returns the state of a chunk's runs, on the devices: where they stand, or at their start."""
    if chunk.blocks[0][0] in resume_from:
        state = chunk.each(lambda number: transposed(jax.tree.map(np.asarray, resume_from[number].state)))
        return TrainState(*state)
    draws: dict[tuple[bytes, bytes], Params] = {}

    def start(number: int) -> TrainState:
        """Runs operation by operation: a program for each network and optimiser would take longer to compile."""
        key, hyper = chunk.runs[number].key, Hyper(*map(jax.device_put, _hyper(chunk, number)))
        kind = (key_data(key).tobytes(), np.asarray(hyper.init_scale).tobytes())
        if kind not in draws:  # runs with one key and one scale share a draw
            draws[kind] = init_params(key, chunk.model, hyper.init_scale)
        return transposed(jax.device_get(init_state(key, chunk.model, chunk.config, hyper, draws[kind])))

    with chunk.computing():
        return TrainState(*chunk.each(start))


def compile_ahead(runs: Sequence[Run], splits: Splits, **options: Any) -> list[jax.stages.Compiled]:
    """Compiles what `epochs` with these arguments runs, where it finds it, and trains nothing; gives the epochs.

    It is for another thread than that of `epochs`. Raises UserError as that does.
    """
    plans = plan(runs, splits, **options)
    return [_compile(c, splits) for chunks in plans for c in {len(c.blocks): c for c in chunks}.values()]


def _compile(chunk: Chunk, splits: Splits) -> jax.stages.Compiled:
    runs, everywhere = (jax.NamedSharding(chunk.mesh, spec) for spec in (RUNS, EVERYWHERE))

    def shapes(tree: Any) -> Any:
        axes = (len(chunk.blocks), len(chunk.blocks[0]))
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(axes + a.shape, a.dtype, sharding=runs), tree)

    def shape_of(part: Split) -> Split:
        types = zip(part, (chunk.model.dtype, "int32"), strict=True)
        return Split(*(jax.ShapeDtypeStruct(v.shape, dtype, sharding=everywhere) for v, dtype in types))

    state, hyper = state_shape(chunk.model, chunk.config), hyper_of(chunk)
    state = shapes(jax.eval_shape(transposed, state))
    with chunk.computing():
        order = compiled_order(len(splits.train.y), chunk.config.batch_size, chunk.mesh)
        minibatches = order.lower(state.order_key, np.int32(0))
        minibatches.compile()
        found = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=runs), minibatches.out_info)
        _, stop = _length(chunk, splits.train)
        arguments = (found, stop, *map(shape_of, splits[:2]))
        compiled: jax.stages.Compiled = _program(chunk).lower(state, hyper, *arguments).compile()
    return compiled
