"""A contender's process starts from this, and contenders share it. It imports no jax, since peers do without."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Parameters = list[np.ndarray]
"""These are w, b, [scale, shift,] w, b, ...: the leaves of `nn.model.Params`, in float32."""

NORM = 1e-5, 0.1
"""Batch normalisation has this epsilon and momentum."""


class Cannot(Exception):
    """This is raised where a workload is beyond a contender, or is not tried with it, for the reason given."""


class Net(NamedTuple):
    """A net has the options of a `workloads.Network`, its first parameters and its first minibatches."""

    model: dict[str, Any]
    train: dict[str, Any]
    start: Parameters
    order: np.ndarray  # (steps, batch): indices of examples
    seed: int

    @property
    def layers(self) -> list[slice]:
        """Tells where each layer's leaves stand among the parameters."""
        width = 4 if self.model["norm"] != "none" else 2
        hidden = [slice(width * i, width * (i + 1)) for i in range(len(self.model["hidden"]))]
        end = width * len(hidden)
        return [*hidden, slice(end, end + 2)]

    @property
    def slope(self) -> float:
        """Gives the activation's slope below 0."""
        return {"relu": 0.0, "leaky_relu": 0.1}[self.model["activation"]]


class Start(NamedTuple):
    """A start has data (float32 rows, labels) and networks; `shapes`: numbers of those that cost the same."""

    x: np.ndarray
    y: np.ndarray
    nets: list[Net]
    shapes: list[list[int]]

    @property
    def half(self) -> bool:
        """Tells whether products are to be in bfloat16."""
        return any(net.model["precision"] != "float32" for net in self.nets)


def write(folder: Path, name: str, nets: list[Net], shapes: list[list[int]]) -> None:
    """Writes a workload's networks for its workers, beside the data of `workloads.write_data`."""
    leaves = {f"{number}.{i}": leaf for number, net in enumerate(nets) for i, leaf in enumerate(net.start)}
    orders = {f"{number}.order": net.order for number, net in enumerate(nets)}
    told = [(net.model, net.train, len(net.start), net.seed) for net in nets]
    about = json.dumps({"nets": told, "shapes": shapes})
    np.savez(folder / f"{name}.npz", about=np.array(about), **leaves, **orders)  # type: ignore[arg-type]


def read(folder: Path, name: str) -> Start:
    """Gives a workload's data and networks, as they were written."""
    nets = []
    with np.load(folder / f"{name}.npz") as arrays:
        about = json.loads(str(arrays["about"]))
        for number, (model, train, leaves, seed) in enumerate(about["nets"]):
            start = [arrays[f"{number}.{i}"] for i in range(leaves)]
            nets.append(Net(model, train, start, arrays[f"{number}.order"], seed))
    return Start(np.load(folder / "x.npy"), np.load(folder / "y.npy"), nets, about["shapes"])


def minibatches(net: Net, examples: int) -> Iterator[np.ndarray]:
    """Gives the indices of one minibatch after the other: the file's first, then permutations of its own."""
    yield from net.order
    rng, batch = np.random.default_rng(net.seed), net.train["batch_size"]
    while True:
        order = rng.permutation(examples)
        yield from order[: examples // batch * batch].reshape(-1, batch)


class Sequential:
    """A contender without populations times one network of each shape, which stands for all of its shape.

    make: gives a network that has `losses(steps)`, J~ before each step that it takes, and `train(steps)`, which
    waits for the end of the last.
    """

    def __init__(self, start: Start, make: Callable[[Net], Any]) -> None:
        self.shapes = start.shapes
        self.networks = {numbers[0]: make(start.nets[numbers[0]]) for numbers in start.shapes}

    def first_losses(self, steps: int) -> dict[int, list[float]]:
        """Gives J~ of one network of each shape."""
        return {number: network.losses(steps) for number, network in self.networks.items()}

    def train(self, steps: int) -> float:
        """Gives the seconds of so many steps of all networks."""
        total = 0.0
        for numbers in self.shapes:
            begun = time.perf_counter()
            self.networks[numbers[0]].train(steps)
            total += len(numbers) * (time.perf_counter() - begun)
        return total


def rates(product: Callable[[int, str], Callable[[], Any]], gpu: bool) -> dict[str, float]:
    """Measures the machine by a library: FLOP/s by type of operands, best over sizes.

    product(n, type) gives a call that multiplies two n x n matrices and waits.
    """
    sizes, types = ((4096, 8192), ("float32", "bfloat16")) if gpu else ((512, 1024, 2048), ("float32",))
    return {kind: max(2 * n**3 / _seconds(product(n, kind)) for n in sizes) for kind in types}


def _seconds(call: Callable[[], Any]) -> float:
    """Gives the least time of three calls, after a first that compiles."""
    call()
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)
