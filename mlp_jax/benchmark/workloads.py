"""The benchmark trains these; what a step costs is counted by hand, and all contenders start from the same files.

A workload is one network or a population. A *step* of a workload is one minibatch for each of its networks, so
that milliseconds per step, and networks x steps per second, are defined for populations too.
"""

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlp_jax.benchmark.start import Net, write
from mlp_jax.data.dataset import Split
from mlp_jax.errors import UserError, whole_number
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.config import TrainConfig, hyper_from
from mlp_jax.training.step import init_state, minibatches

FIRST_STEPS = 20
"""The losses of so many steps are compared before anything is timed."""

SINGLE = ("default", "best", "deep", "normalized")
MOST_NETWORKS = 10_000
USUAL = (*SINGLE, "grid", "table1")
Options = dict[str, Any]
"""These are options of a network and of its training, and its seed, which counts from the first."""


@dataclass(frozen=True)
class Network:
    """This is a network of a workload; networks of one seed share initial draws and minibatches."""

    seed: int
    model: MLPConfig
    train: TrainConfig

    @property
    def shape(self) -> tuple[Any, ...]:
        """Gives what a step's time depends on: networks of one shape differ in seed, rates and penalty only."""
        m, train = self.model, self.train
        return m.sizes, m.activation, m.norm, m.norm_place, m.precision, train.batch_size, train.optimizer


@dataclass(frozen=True)
class Workload:
    """A workload has the networks that are trained side by side."""

    name: str
    networks: tuple[Network, ...]

    @property
    def shapes(self) -> dict[tuple[Any, ...], list[int]]:
        """Gives the numbers of the networks by shape."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, network in enumerate(self.networks):
            groups.setdefault(network.shape, []).append(number)
        return groups

    @property
    def flops(self) -> int:
        """Counts the floating-point operations of one step of all networks."""
        return sum(step_flops(n.model.sizes, n.train.batch_size) for n in self.networks)


def step_flops(sizes: tuple[int, ...], batch: int) -> int:
    """Counts a step's operations, matrix products only, a multiplication and an addition being two.

    A layer of D inputs and H outputs takes 2 B D H each for its product (forward), for its weights' gradient, and
    for the delta of the layer below; the first layer has no layer below. Element-wise work is not counted.
    """
    products = [2 * batch * fan_in * fan_out for fan_in, fan_out in itertools.pairwise(sizes)]
    return 3 * sum(products) - products[0]


ADAM: Options = {"optimizer": "adam", "learning_rate": 1e-3}
WIDE: Options = {"activation": "leaky_relu", "norm": "batch", "norm_place": "after"}
NETWORKS: dict[str, list[Options]] = {
    "default": [{"l2": 0.25}],
    "best": [{"hidden": (200,), "l2": 1e-2}],
    "deep": [{"hidden": (50,) * 4, **ADAM}],
    "normalized": [{"hidden": (400,) * 3, **WIDE, **ADAM}],
    "grid": [
        {"hidden": (hidden,), "batch_size": batch, "l2": l2, "learning_rate": rate}
        for hidden, batch, l2, rate in itertools.product(
            (50, 100, 200), (64, 128, 200), (1e-3, 1e-2), (1e-3, 1e-2)
        )
    ],
    "table1": [{"seed": seed, "hidden": (50,) * n, **ADAM} for n in (1, 2, 3, 4) for seed in range(16)],
    "large": [{"hidden": (4096, 4096), "batch_size": 4096, "precision": "bf16"}],
}
"""The report's shapes, optimisers and penalties. Rates are chosen so that FIRST_STEPS steps move the loss: at the
report's 1e-4 they would not show whether two contenders do the same work."""


def workload(name: str, inputs: int, classes: int, seed: int) -> Workload:
    """Gives the workload of this name: one of NETWORKS, or population-N. Raises UserError for another name."""
    if name.startswith("population-"):
        rates = np.geomspace(1e-3, 1e-2, size_of(name)).tolist()
        networks: list[Options] = [{"learning_rate": rate, "l2": 1e-3} for rate in rates]
    elif name in NETWORKS:
        networks = NETWORKS[name]
    else:
        raise UserError(f"unknown workload {name!r}: choose from {', '.join(NETWORKS)}, population-N")
    return Workload(name, tuple(_network(inputs, classes, seed, **options) for options in networks))


def _network(inputs: int, classes: int, first: int, seed: int = 0, **options: Any) -> Network:
    fields = {field.name for field in dataclasses.fields(MLPConfig)}
    model = {name: value for name, value in options.items() if name in fields}
    train = {name: value for name, value in options.items() if name not in fields}
    recipe = TrainConfig(**{"optimizer": "sgd", "learning_rate": 1e-2, "decay": 1.0, **train})
    return Network(first + seed, MLPConfig(inputs=inputs, classes=classes, **model), recipe)


def size_of(name: str) -> int:
    """Gives the 32 of population-32. Raises UserError if it is no such name."""
    digits = name.removeprefix("population-")
    if not digits.isdecimal() or len(digits) > 6:
        raise UserError(f"unknown workload {name!r}: a population is written population-32")
    whole_number("a population's size", int(digits), 1, MOST_NETWORKS)
    return int(digits)


def write_data(folder: Path, split: Split) -> None:
    """Writes the training images, in float32 rows, and labels for every worker."""
    np.save(folder / "x.npy", np.asarray(split.x, np.float32))
    np.save(folder / "y.npy", np.asarray(split.y, np.int64))


def write_start(folder: Path, load: Workload, examples: int) -> None:
    """Writes the networks of a workload, each with its start as `train.init_state` draws it.

    Contenders on other libraries read their initial parameters and the order of the first minibatches from here.
    """
    orders: dict[tuple[int, int], np.ndarray] = {}
    nets = []
    for seed, model, train in ((net.seed, net.model, net.train) for net in load.networks):
        state = init_state(jax.random.key(seed), model, train, hyper_from(train, model))
        same = seed, train.batch_size
        if same not in orders:
            epochs = range(-(-FIRST_STEPS // (examples // train.batch_size)))
            drawn = [minibatches(state.order_key, epoch, examples, train.batch_size) for epoch in epochs]
            orders[same] = np.concatenate(drawn).astype(np.int64)
        first = [np.asarray(leaf) for leaf in jax.tree.leaves(state.params)]
        nets.append(Net(dataclasses.asdict(model), dataclasses.asdict(train), first, orders[same], seed))
    write(folder, load.name, nets, list(load.shapes.values()))
