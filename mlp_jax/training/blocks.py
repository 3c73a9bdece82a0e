"""Blocks of runs that are trained at once: their state on the devices, and what each of them has shown so far."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PRNGKeyArray

from mlp_jax.data.dataset import Split, Splits
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params, init
from mlp_jax.training.config import Hyper, TrainConfig, hyper_from, steps_per_epoch
from mlp_jax.training.epoch import SPECS, compiled
from mlp_jax.training.evaluate import Evaluation, Sums, on_device
from mlp_jax.training.history import Book, Observed, Result
from mlp_jax.training.step import Metrics, TrainState, bare, with_keys


class Run(NamedTuple):
    """One run: runs with one key share initial draws, minibatches and dropout masks, whatever else differs."""

    key: PRNGKeyArray
    model: MLPConfig
    config: TrainConfig


class Watch(NamedTuple):
    """What is called between epochs, as `population.train_population` has it."""

    on_epoch: Callable[[int, int, Metrics, Evaluation], None] | None = None
    observe: Callable[[int, int, Params], Observed] | None = None
    between_epochs: Callable[[Callable[[], dict[int, Result]]], None] | None = None


def key_data(key: PRNGKeyArray) -> np.ndarray:
    """A key's bits, whether it is a typed one or not."""
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


class Blocks:
    """Blocks that are trained at once. Arrays have the leading axes (block, member)."""

    def __init__(
        self, runs: Sequence[Run], blocks: list[list[int]], model: MLPConfig, config: TrainConfig, mesh: Mesh
    ) -> None:
        self.runs, self.blocks, self.model, self.config = runs, blocks, model, runs[blocks[0][0]].config
        self.over_runs, self.everywhere = (NamedSharding(mesh, spec) for spec in SPECS)
        self.start, self.epoch = compiled(model, config, mesh)

    @property
    def numbers(self) -> set[int]:
        """Of the runs."""
        return {number for block in self.blocks for number in block}

    def _each(self, value: Callable[[int], Any]) -> Any:
        """value(number of the run) of every member, on the devices."""
        rows = [[value(number) for number in block] for block in self.blocks]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *[v for row in rows for v in row])
        shape = (len(rows), len(rows[0]))
        return _place(jax.tree.map(lambda a: a.reshape(shape + a.shape[1:]), stacked), self.over_runs)

    def train(
        self, data: Split, validation: Split, reached: Mapping[int, Result], watch: Watch
    ) -> dict[int, Result]:
        """The results by the number of the run; a repetition's are its original's.

        reached: where every run stands, all after equally many epochs, or nothing for runs from their start.
        """
        per_epoch = steps_per_epoch(data, self.config)
        total, stop = self._length(data)
        epochs = math.ceil(total / per_epoch)
        hyper = self._hyper()
        state = self._state(hyper, reached)
        books = {number: Book(reached.get(number)) for number in self.numbers}
        first = len(next(iter(books.values())).evaluations)
        if not first:
            self._observe(books, 0, state, watch)
        for epoch in range(first, epochs):
            alive = self._each(lambda number: np.bool_(not books[number].diverged))
            state, *found = self.epoch(state, alive, hyper, np.int32(epoch), stop, data, validation)
            self._record(books, epoch, total - epoch * per_epoch, found, len(validation.y), watch)
            self._observe(books, epoch + 1, state, watch)
            if watch.between_epochs is not None:
                watch.between_epochs(lambda state=state: self._results(state, books, epochs))  # type: ignore[misc]
            if all(book.diverged for book in books.values()):
                break
        return self._results(state, books, epochs)

    def compile(self, splits: Splits) -> jax.stages.Compiled:
        """Compiles the start and the epoch, where `train` finds them, and trains nothing; gives the epoch."""
        hyper, keys, alive = self._hyper(), self._keys(), self._each(lambda number: np.bool_(True))
        data, validation = (self._shape(part) for part in splits[:2])
        params = self._shapes(jax.eval_shape(lambda: init(jax.random.key(0), self.model)), keys.shape[:2])
        self.start.lower(keys, hyper, params).compile()
        state = self._shapes(jax.eval_shape(self.start, keys, hyper, params))
        stop = self._length(splits.train)[1]
        compiled: jax.stages.Compiled = self.epoch.lower(
            state, alive, hyper, np.int32(0), stop, data, validation
        ).compile()
        return compiled

    def _shapes(self, tree: Any, axes: tuple[int, ...] = ()) -> Any:
        """Shapes as arrays of the runs have them, with further leading axes."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(axes + leaf.shape, leaf.dtype, sharding=self.over_runs), tree
        )

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

    def _state(self, hyper: Hyper, reached: Mapping[int, Result]) -> TrainState:
        if not reached:
            return TrainState(*self.start(self._keys(), hyper, self._drawn()))
        state = self._each(lambda number: jax.tree.map(np.asarray, bare(reached[number].state)))
        return with_keys(TrainState(*state))

    def _drawn(self) -> Params:
        """Initial parameters. Runs with one key and one scale share a draw.

        It is no program of its own: draws of a layer's shape are compiled once for all networks that have it.
        """
        kinds = {number: self._draw_of(number) for number in self.numbers}
        rows = {kind: row for row, kind in enumerate(dict.fromkeys(kinds.values()))}
        keys = np.stack([np.frombuffer(key, np.uint32) for key, _ in rows])
        scales = np.array([scale for _, scale in rows], self.model.dtype)

        def draw(key: Any, scale: Any) -> Params:
            return init(jax.random.split(jax.random.wrap_key_data(key), 3)[0], self.model, scale=scale)

        drawn = jax.device_get(jax.vmap(draw)(keys, scales))
        params: Params = self._each(lambda number: jax.tree.map(lambda leaf: leaf[rows[kinds[number]]], drawn))
        return params

    def _draw_of(self, number: int) -> tuple[bytes, float]:
        run = self.runs[number]
        return key_data(run.key).tobytes(), float(hyper_from(run.config, run.model).init_scale or 0)

    def _keys(self) -> Any:
        return self._each(lambda number: key_data(self.runs[number].key))

    def _hyper(self) -> Hyper:
        dtype = np.dtype(self.runs[self.blocks[0][0]].model.dtype)

        def values(number: int) -> Hyper:
            return Hyper(*(dtype.type(v) for v in hyper_from(self.runs[number].config, self.runs[number].model)))

        return Hyper(*self._each(values))

    def _record(
        self,
        books: dict[int, "Book"],
        epoch: int,
        steps: int,
        found: list[Any],
        examples: int,
        watch: Watch,
    ) -> None:
        metrics, evaluated = (type(part)(*map(np.asarray, part)) for part in jax.device_get(found))
        for number, (b, m) in self._places().items():
            if not books[number].diverged:
                taken = Metrics(*(values[b, m, :steps] for values in metrics))
                books[number].add(taken, Sums(*(values[b, m] for values in evaluated)).over(examples))
                if watch.on_epoch is not None and not books[number].diverged:
                    watch.on_epoch(number, epoch + 1, taken, books[number].evaluations[-1])

    def _observe(self, books: dict[int, "Book"], epoch: int, state: TrainState, watch: Watch) -> None:
        if watch.observe is None:
            return
        params = self._on_host(state.params)
        for number, (b, m) in self._places().items():
            if not books[number].diverged:
                own = jax.tree.map(lambda values, b=b, m=m: values[b, m], params)
                books[number].observed.append(watch.observe(number, epoch, own))

    def _on_host(self, tree: Any) -> Any:
        """The whole of it as host arrays, in every process."""
        if not self.everywhere.is_fully_addressable:
            tree = multihost_utils.process_allgather(tree, tiled=True)
        return jax.device_get(tree)

    def _places(self) -> dict[int, tuple[int, int]]:
        """Where each run stands, without the repetitions."""
        return {n: (b, m) for b, block in enumerate(self.blocks) for m, n in enumerate(block)}

    def _results(self, state: TrainState, books: dict[int, "Book"], epochs: int) -> dict[int, Result]:
        host = self._on_host(bare(state))
        results = {}
        for number, (b, m) in self._places().items():
            own = jax.tree.map(lambda values, b=b, m=m: jnp.asarray(values[b, m]), host)
            results[number] = books[number].result(with_keys(own), epochs)
        return results
