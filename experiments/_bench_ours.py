"""The benchmark's contenders of this package: the epochs of `train_population`, without evaluation."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import _bench_start
from experiments._bench_start import Start
from mlp_jax.data.dataset import Split, Splits
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training import layout, population
from mlp_jax.training.config import Run, TrainConfig, steps_per_epoch
from mlp_jax.training.epoch import compiled_epoch, shared
from mlp_jax.training.step import TrainState

VERSION = f"jax {jax.__version__}"


class _Group:
    """Runs that are trained at once, between two calls of their program."""

    def __init__(self, chunk: layout.Chunk, data: Split, validation: Split) -> None:
        self.chunk, self.data, self.validation = chunk, data, validation
        self.per_epoch = steps_per_epoch(data, chunk.config)
        self.program = compiled_epoch(shared(chunk.model), chunk.config, chunk.mesh)
        self.hyper = population.hyper_of(chunk)
        self.active = chunk.each(lambda run: np.bool_(True))
        self.step = self.epoch = 0
        self.state: TrainState | None = None

    def train(self, steps: int) -> dict[int, list[np.ndarray]]:
        """Trains on; the losses by number of the run. Reads what each epoch recorded, as `population` does.

        A call starts a new epoch, since an epoch's program takes its minibatches from the first on.
        """
        losses: dict[int, list[np.ndarray]] = {number: [] for number in self.chunk.places}
        if self.state is None:
            self.state = population.begin(self.chunk)
        while steps > 0:
            count = min(steps, self.per_epoch)
            numbers = np.int32(self.epoch), np.int32(self.step + count)
            arguments = (self.active, self.hyper, *numbers, self.data, self.validation)
            self.state, metrics, _ = self.program(self.state, *arguments)
            recorded = jax.device_get(metrics.loss)
            for number, (block, member) in self.chunk.places.items():
                losses[number].append(np.asarray(recorded[block, member, :count]))
            steps, self.step, self.epoch = steps - count, self.step + count, self.epoch + 1
        return losses


class Contender:
    """The networks of a workload as one population; the contender is named after its source of gradients."""

    def __init__(self, contender: str, start: Start) -> None:
        runs = []
        for net in start.nets:
            config = TrainConfig(**{**net.train, "gradient": contender})
            runs.append(Run(jax.random.key(net.seed), MLPConfig(**_tuples(net.model)), config))
        # an epoch's program ends with an evaluation: of two examples, it costs nothing
        tiny = Split(start.x[:2], start.y[:2])
        splits = Splits(Split(start.x, start.y), tiny, tiny)
        self.groups: list[_Group] = []
        placed: dict[Any, list[Split]] = {}  # one copy per device, however many shapes there are
        for chunks in layout.plan(runs, splits):
            for chunk in chunks:
                where = chunk.mesh
                if where not in placed:
                    placed[where] = [chunk.everywhere(part) for part in splits[:2]]
                self.groups.append(_Group(chunk, *placed[where]))

    def first_losses(self, steps: int) -> dict[int, list[float]]:
        """J~ of the first steps of every network, in nats."""
        found = {number: losses for group in self.groups for number, losses in group.train(steps).items()}
        return {number: np.concatenate(losses).astype(float).tolist() for number, losses in found.items()}

    def train(self, steps: int) -> float:
        """Seconds for so many steps of every network, from whole epochs of at least as many.

        An epoch draws a permutation and reads back its losses once: in part of one they would weigh too much.
        """
        total = 0.0
        for group in self.groups:
            taken = math.ceil(steps / group.per_epoch) * group.per_epoch
            begun = time.perf_counter()
            group.train(taken)
            total += (time.perf_counter() - begun) * steps / taken
        return total


def cannot(contender: str, start: Start) -> str | None:
    """Why a workload is not tried."""
    if jax.default_backend() == "cpu" and any(net.model["precision"] != "float32" for net in start.nets):
        return "needs a GPU"
    return None


def _tuples(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "hidden": tuple(options["hidden"])}


def peak_bytes() -> int | None:
    """The device's peak, where the device tells it."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def rates() -> dict[str, float]:
    """`_bench_start.rates` of jax."""
    gpu = jax.default_backend() != "cpu"
    long = jnp.ones(2**28 if gpu else 2**25, jnp.float32)
    product, triad = jax.jit(lambda a, b: a @ b), jax.jit(lambda a, b: a + 2 * b)

    def one(n: int, kind: str) -> Callable[[], Any]:
        a = jnp.ones((n, n), kind)
        return lambda: product(a, a).block_until_ready()

    other = long + 1
    return _bench_start.rates(one, lambda: triad(long, other).block_until_ready(), long.size, gpu)


CONTENDERS = {"manual": Contender, "autodiff": Contender}
