"""Where a step's time goes: `python -m experiments._profile [--workload=default]`, one of the benchmark's.

Trains the workload's networks on noise with `population.train` under jax's profiler for one epoch, and prints the
operations of the compiled program that took longest, in ms per step and network. Takes half a minute on two cores.
"""

import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import _common, _launch, _workloads
from experiments._common import option
from mlp_jax import population, results
from mlp_jax.data import Split, Splits

EXAMPLES, SHOWN = 20_000, 15
OURS = ("ThunkExecutor", "Pjit", "Execute", "SlinkyThreadPool", "jit", "trace", "lower", "compile", "from_hlo")
"""Beginnings of events that hold others, or are the host's."""


@dataclass(frozen=True)
class Config(_common.Basic):
    """Options of the profile."""

    workload: str = option("default", "which of the benchmark's workloads")


def run(config: Config) -> bool:
    """Profiles, prints a table."""
    load = _workloads.workload(config.workload, 3072, 10, config.seed)
    runs = [
        population.Run(jax.random.key(net.seed), net.model, replace(net.train, epochs=3)) for net in load.networks
    ]
    draw = np.random.default_rng(0)
    few = Split(draw.normal(size=(10, 3072)).astype(np.float32), np.arange(10))
    many = Split(draw.normal(size=(EXAMPLES, 3072)).astype(np.float32), draw.integers(0, 10, EXAMPLES))
    with tempfile.TemporaryDirectory() as folder:

        def on_epoch(number: int, epoch: int, *_: Any) -> None:
            if (number, epoch) == (0, 1):
                jax.profiler.start_trace(folder)
            if (number, epoch) == (0, 2):
                jax.profiler.stop_trace()

        population.train(runs, Splits(many, few, few), on_epoch=on_epoch)
        (file,) = Path(folder).rglob("*.xplane.pb")
        spent = operations(file)
    steps = EXAMPLES // runs[0].config.batch_size * len(runs)
    lines = [[name, f"{1e3 * spent[name] / steps:.3f}"] for name in sorted(spent, key=spent.__getitem__)[::-1]]
    print(results.table(["operation", "ms per step and network"], lines[:SHOWN]))
    return True


def operations(file: Path) -> dict[str, float]:
    """Seconds by the name of the operation."""
    spent: dict[str, float] = defaultdict(float)
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                if event.name.startswith(OURS) or not event.name[0].isalpha() or "(" in event.name:
                    continue
                spent[event.name] += event.duration_ns / 1e9
    return spent


if __name__ == "__main__":
    _launch.launch(Config, run)
