"""The benchmark's contenders of this package train by `training.population`, as anybody would."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from mlp_jax.benchmark import start as shared
from mlp_jax.benchmark.start import Cannot, Net, Start
from mlp_jax.data.dataset import Split, Splits
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.matmul import platform
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.population import Run, epochs, train_population

VERSION = f"jax {jax.__version__}"


def make(contender: str, start: Start) -> "Populations":
    """Makes a workload's networks; a contender is named after its source of gradients. Raises Cannot on a CPU."""
    if platform() == "cpu" and start.half:
        raise Cannot("needs a GPU")
    return Populations([_run(net, contender) for net in start.nets], start)


class Populations:
    """These are the networks of a workload; those of one shape are one population."""

    def __init__(self, runs: list[Run], start: Start) -> None:
        self.numbers = start.shapes
        self.populations = [[runs[number] for number in numbers] for numbers in start.shapes]
        data = Split(jnp.asarray(start.x), jnp.asarray(start.y))
        # an epoch's program ends with an evaluation: of two examples, it costs nothing
        tiny = Split(data.x[:2], data.y[:2])
        self.splits = Splits(data, tiny, tiny)

    def first_losses(self, steps: int) -> dict[int, list[float]]:
        """Gives J~ of every network."""
        found: dict[int, list[float]] = {}
        for numbers, runs in zip(self.numbers, self.populations, strict=True):
            results = train_population(_lasting(runs, steps=steps), self.splits)
            found |= {n: result.history.loss.tolist() for n, result in zip(numbers, results, strict=True)}
        return found

    def train(self, steps: int) -> float:
        """Gives the seconds of so many steps of all networks, from whole epochs of at least as many.

        An epoch draws a permutation and reads back its losses once: in part of one they would weigh too much. The
        time begins at the end of a first epoch, when all is compiled and the data are on the device.
        """
        return sum(self._seconds(runs, steps) for runs in self.populations)

    def _seconds(self, runs: list[Run], steps: int) -> float:
        per_epoch = len(self.splits.train.y) // runs[0].config.batch_size
        timed = math.ceil(steps / per_epoch)
        seconds, finished = 0.0, 0
        for epoch in epochs(_lasting(runs, epochs=1 + timed), self.splits):  # part by part, if memory is short
            if epoch.number == 1:
                seconds -= time.perf_counter()
            if epoch.last:
                seconds += time.perf_counter()
                finished += len(epoch.reports)
        if finished < len(runs):
            raise RuntimeError("a network diverged while it was timed")
        return seconds * steps / (timed * per_epoch)


def _lasting(runs: list[Run], **length: Any) -> list[Run]:
    """Gives the runs with another length."""
    return [run._replace(config=replace(run.config, **length)) for run in runs]


def _run(net: Net, gradient: str) -> Run:
    recipe = TrainConfig(**{**net.train, "gradient": gradient})
    model = MLPConfig(**{**net.model, "hidden": tuple(net.model["hidden"])})
    return Run(jax.random.key(net.seed), model, recipe)


def peak_bytes() -> int | None:
    """Gives the device's peak, where the device tells it."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def rates() -> dict[str, float]:
    """Gives `start.rates` of jax."""
    multiply = jax.jit(lambda a, b: a @ b)

    def product(n: int, kind: str) -> Callable[[], Any]:
        a = jnp.ones((n, n), kind)
        return lambda: multiply(a, a).block_until_ready()

    return shared.rates(product, platform() != "cpu")
