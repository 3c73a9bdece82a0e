"""One process of a job of several, for test_machines: populations on all devices, and the digest of their bits.

python -m tests.machines COORDINATOR PROCESSES PROCESS
"""

import hashlib
import json
import sys
from dataclasses import dataclass, replace

import jax
import numpy as np

from experiments import _machines
from mlp_jax import data
from mlp_jax.data.digits import synthetic
from mlp_jax.data.pixels import normalize
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training import layout, population
from mlp_jax.training.config import Run, TrainConfig

MODEL = MLPConfig(hidden=(16,), inputs=192)
FAST = TrainConfig(learning_rate=0.02, batch_size=40, epochs=2)


@dataclass(frozen=True)
class Flags:
    """What `_machines.job` asks for."""

    coordinator: str
    num_processes: int
    process_id: int
    distributed: bool = True
    start_timeout: int = 100


def digest(result):
    """Of all bits of a result."""
    leaves = jax.tree.leaves((result.state, result.history))
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()


def seven_runs():
    """Of which one diverges."""
    runs = [Run(jax.random.key(seed), MODEL, FAST) for seed in range(6)]
    return [*runs, Run(jax.random.key(6), MODEL, replace(FAST, learning_rate=1e30))]


def splits():
    """The data."""
    return normalize(data.split(synthetic(), validation=130), "standardize")


if __name__ == "__main__":
    flags = Flags(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    with _machines.job(flags, {}):
        fixed, block = layout.footprint(MODEL, FAST, data.split(synthetic(), validation=130), 1)
        layout.available = lambda devices: fixed + (1.5 if flags.process_id else 100) * block
        print(f"{jax.process_count()} processes, {jax.device_count()} devices")
        found = {
            # in chunks that the process with the least memory dictates
            "digests": [digest(result) for result in population.train_population(seven_runs(), splits())],
            "memory": layout.least(layout.available(jax.devices()), jax.devices()),
        }
        for number in (2, 4):  # inside a process, and across
            shared = population.train_population(seven_runs()[:3], splits(), data_parallel=number)
            found[f"shared by {number}"] = [result.history.loss.tolist() for result in shared]
        _machines.agree("results", found)
        if _machines.is_writer():
            print(json.dumps(found))
