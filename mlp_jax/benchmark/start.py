"""What a worker reads at its start, without jax: a peer that imported jax would pay for it in time and memory."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Parameters = list[np.ndarray]  # w, b, [scale, shift,] w, b, ...: the leaves of `model.Params`


class Net(NamedTuple):
    """One network: its options as `Network` has them, initial parameters, order of its first minibatches."""

    model: dict[str, Any]
    train: dict[str, Any]
    start: Parameters
    order: np.ndarray  # (steps, batch)
    seed: int

    @property
    def layers(self) -> list[slice]:
        """Where each layer's leaves stand among the parameters."""
        width = 4 if self.model["batch_norm"] != "none" else 2
        hidden = [slice(width * i, width * (i + 1)) for i in range(len(self.model["hidden"]))]
        end = width * len(hidden)
        return [*hidden, slice(end, end + 2)]


class Start(NamedTuple):
    """Training data (float32 rows, labels) and networks; `shapes`: numbers of the networks that cost the same."""

    x: np.ndarray
    y: np.ndarray
    nets: list[Net]
    shapes: list[list[int]]


def read(folder: Path, name: str) -> Start:
    """What `workloads.write_data` and `write_start` wrote."""
    described = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    nets = []
    with np.load(folder / f"{name}.npz") as arrays:
        for number, one in enumerate(described["networks"]):
            leaves = sum(key.startswith(f"{number}.") for key in arrays.files)
            start = [arrays[f"{number}.{i}"] for i in range(leaves)]
            order = arrays[f"order.{one['seed']}.{one['train']['batch_size']}"]
            nets.append(Net(one["model"], one["train"], start, order, one["seed"]))
    return Start(np.load(folder / "x.npy"), np.load(folder / "y.npy"), nets, described["shapes"])


def minibatches(net: Net, examples: int) -> Iterator[np.ndarray]:
    """Indices of one minibatch after the other: those of the file first, then permutations of its own."""
    yield from net.order
    rng, batch = np.random.default_rng(net.seed), net.train["batch_size"]
    while True:
        order = rng.permutation(examples)
        yield from order[: examples // batch * batch].reshape(-1, batch)


def rates(
    one: Callable[[int, str], Callable[[], Any]], triad: Callable[[], Any], floats: int, gpu: bool
) -> dict[str, float]:
    """The machine as a library reaches it: FLOP/s by type of operands, best over sizes; bytes/s of a + 2 b.

    one(n, type) makes a call that multiplies two n x n matrices and waits; triad() works on so many floats.
    """
    sizes, types = ((4096, 8192), ("float32", "bfloat16")) if gpu else ((512, 1024, 2048), ("float32",))
    found = {kind: max(2 * n**3 / _seconds(one(n, kind)) for n in sizes) for kind in types}
    return {**found, "bytes": 12 * floats / _seconds(triad)}


def _seconds(call: Callable[[], Any]) -> float:
    """Of one call, the best of three after a first that compiles."""
    call()
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)
