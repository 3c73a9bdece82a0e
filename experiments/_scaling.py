"""What a step costs on several processes, against the model of BUILD_NOTES.md: `python -m experiments._scaling`.

Starts one process, then two, on this machine, each with one device and one core of its own. About three minutes
on two cores; they should be idle, because a sum waits until the scheduler runs both processes.
"""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from experiments import _common, _compilation, _machines
from mlp_jax import memory, population
from mlp_jax.data import Split, Splits
from mlp_jax.model import MLPConfig, init
from mlp_jax.results import table
from mlp_jax.train import TrainConfig

WIDTHS, RUNS, BATCH, STEPS = (50, 400), (2, 4), 200, 4
RECIPE = TrainConfig(batch_size=BATCH, epochs=60)
BYTES = (4, 2**16, 2**20, 2**23)
Times = dict[str, float]


def network(width: int) -> MLPConfig:
    """Two hidden layers on CIFAR-10's inputs."""
    return MLPConfig(hidden=(width, width), inputs=3072)


def fake(batch: int) -> Splits:
    """Noise, STEPS minibatches of it, and as good as nothing to validate."""
    draw = np.random.default_rng(0)
    sizes = (batch * STEPS, 10, 10)
    return Splits(*(Split(draw.normal(size=(n, 3072)).astype(np.float32), np.arange(n) % 10) for n in sizes))


def step(width: int, runs: int, batch: int, shared: int) -> float:
    """Seconds of a step of all runs together: the fastest epoch's."""
    ends: list[float] = []
    all_runs = [
        population.Run(jax.random.key(k), network(width), replace(RECIPE, batch_size=batch)) for k in range(runs)
    ]
    population.train(
        all_runs, fake(batch), data_parallel=shared, wide=False,
        on_epoch=lambda number, *_: ends.append(time.perf_counter()) if number == 0 else None,
    )  # fmt: skip
    return min(b - a for a, b in itertools.pairwise(ends)) / STEPS


def reduction(arrays: Any) -> float:
    """Seconds to sum such arrays over all devices."""
    mesh, times, repeats = Mesh(np.array(jax.devices()), ("d",)), [], 5

    def sums(x: Any) -> Any:
        def halves(_: Any, y: Any) -> Any:
            return jax.tree.map(lambda v: v / 2, jax.lax.psum(y, "d"))

        return jax.lax.fori_loop(0, repeats, halves, x)

    everywhere = PartitionSpec()
    compiled = jax.jit(jax.shard_map(sums, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False))
    for _ in range(60):
        start = time.perf_counter()
        jax.block_until_ready(compiled(arrays))
        times.append((time.perf_counter() - start) / repeats)
    return min(times[1:])


def measure(processes: int) -> Times:
    """All timings with this many processes."""
    found: Times = {}
    for width in WIDTHS:
        for runs in (1, *RUNS) if processes == 1 else RUNS:
            found[f"step {width} {runs}"] = step(width, runs, BATCH, 1)
        # half a minibatch alone is what each of two has to do
        shared = (BATCH // 2, 1) if processes == 1 else (BATCH, processes)
        found[f"half {width}"] = step(width, 1, *shared)
        if processes > 1:
            found[f"sum {width}"] = reduction(init(jax.random.key(0), network(width)))
    if processes > 1:
        found |= {f"bytes {size}": reduction(jnp.ones(size // 4)) for size in BYTES}
    return found


def start(processes: int) -> Times:
    """`measure` in that many new processes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "experiments._scaling", str(port), str(processes), str(i)],
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
        )
        for i in range(processes)
    ]
    text, *_ = [job.communicate()[0] for job in jobs]
    return dict(json.loads(text))


def report(one: Times, two: Times) -> str:
    """Measured beside the model, in ms per step."""
    rows = []
    for width in WIDTHS:
        for runs in RUNS:
            rows.append(
                (
                    width,
                    f"{runs} runs, half of them each",
                    one[f"step {width} 1"] * runs / 2,
                    f"step {width} {runs}",
                )
            )
        size = f"{4e-6 * memory.parameters(network(width)):.2f} MB"
        model = one[f"half {width}"] + two[f"sum {width}"]
        alone = (
            f"half of the minibatch alone {1e3 * one[f'half {width}']:.2f}, sums {1e3 * two[f'sum {width}']:.2f}"
        )
        rows.append((width, f"1 run, minibatch shared, {size} ({alone})", model, f"half {width}"))
    cells = [[str(w), what, f"{1e3 * model:.2f}", f"{1e3 * two[key]:.2f}"] for w, what, model, key in rows]
    single = [[str(w), "1 run on one process", "", f"{1e3 * one[f'step {w} 1']:.2f}"] for w in WIDTHS]
    links = ", ".join(f"{size} bytes {1e3 * two[f'bytes {size}']:.3f} ms" for size in BYTES)
    return (
        table(["width", "work", "model", "measured"], single + cells)
        + f"\n\nsum of one array over two processes: {links}"
    )


if __name__ == "__main__":
    _compilation.set_up_devices()
    if sys.argv[1:]:
        port, processes, process = map(int, sys.argv[1:])
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[process % len(cores)]})  # before jax counts them
        place = {"coordinator": f"localhost:{port}", "num_processes": processes, "process_id": process}
        with _machines.job(_common.Training(distributed=True, **place), {}):  # type: ignore[arg-type]
            print(json.dumps(measure(processes)))
    else:
        print(report(start(1), start(2)))
