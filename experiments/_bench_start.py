"""What a worker reads at its start, without jax: a peer that imported jax would pay for it in time and memory."""

import json
from collections.abc import Iterator
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
    """What `_workloads.write_data` and `write_start` wrote."""
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
