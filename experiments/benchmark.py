"""How fast is this package beside NumPy, PyTorch and scikit-learn, for one network and for many?

Hypothesis: on small networks the loop on the device beats step-by-step calls from Python, most of all for
populations; hand-written gradients cost what autodiff's do.

  TFDS_DATA_DIR=... python -m experiments.benchmark --dataset=cifar10

Every contender is a process of its own and trains the same networks from the same initial parameters on the same
minibatches in float32; one whose first losses differ is refused. Then they take turns. A contender without
populations trains the networks one after the other: one network of each shape is timed and multiplied. Peers do
not compute the penalty's value while they are timed, this package does. Peers that are not installed are named.
The table has medians over repeats; ratios are medians of each repeat's, with the least and the largest.

Exit status 1 if a contender does different work or fails. The machine must be otherwise idle: PyTorch's threads
wait for each other in a loop, and beside other processes a step takes it up to fifty times as long; a note under
the table tells. The default options take about half an hour on CIFAR-10 and two cores, much of it torch.compile;
expected figures: experiments/results/README.md.
"""

import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlp_jax import data
from mlp_jax.benchmark import turns
from mlp_jax.benchmark.worker import CONTENDERS
from mlp_jax.benchmark.workloads import MOST_NETWORKS, USUAL, Workload, workload, write_data, write_start
from mlp_jax.data.pixels import normalize
from mlp_jax.errors import UserError
from mlp_jax.fields import Ints, Names, option
from mlp_jax.studies import command, options
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.results import Row
from mlp_jax.studies.tables import Columns, Table

VALIDATION = {"cifar10": 1000, "digits": 200, "synthetic": 200}  # these stay out of training, as in the report
MOST_REPEATS = 10_000


@dataclass(frozen=True)
class Config(options.Basic):
    """These are the options of the benchmark."""

    workloads: Names = option(USUAL, "what to train (large is for a GPU); empty for none", empty=True)
    population_sizes: Ints = option(
        (1, 2, 4, 8, 16, 32), "numbers of default networks, as more workloads; empty for none",
        low=1, high=MOST_NETWORKS, empty=True,
    )  # fmt: skip
    contenders: Names = option(tuple(CONTENDERS), "who trains; the first is the reference", choices=CONTENDERS)
    repeats: int = option(5, "how often each contender is timed, in turns", low=1, high=MOST_REPEATS)
    seconds: float = option(1.0, "time of one measurement; its steps are found by trial", above=0, high=3600)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.workloads:
            workload(name, 1, 2, self.seed)
        if not self.all_workloads:
            raise UserError("there is nothing to measure: name at least one workload")

    @property
    def all_workloads(self) -> tuple[str, ...]:
        """Gives the workloads of both options, each once."""
        sizes = (f"population-{size}" for size in self.population_sizes)
        return tuple(dict.fromkeys((*self.workloads, *sizes)))


def run(config: Config) -> bool:
    """Measures all, prints the table, writes results.json; True if nobody failed or did other work."""
    study = ResultsFolder("benchmark", config)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # this process shares a GPU's memory with its workers
    dataset = config.load()
    study.use(dataset)
    train = normalize(data.split(dataset, validation=VALIDATION[config.dataset]), "standardize").train
    loads = all_loads(config, train, len(dataset.classes))
    with tempfile.TemporaryDirectory() as name, options.progress(len(loads), "workload") as bar:
        folder = Path(name)
        write_data(folder, train)
        machine, busy = turns.peaks(config.contenders, folder, config.repeats)
        for load in loads:
            bar.set_description(load.name)
            write_start(folder, load, len(train.y))
            for row in turns.measure(load, config.contenders, folder, config.repeats, config.seconds):
                study.add({**with_peak(row, load, machine), "data_fingerprint": dataset.fingerprint})
            bar.update()
    path = study.finish(machine=machine)
    print(f"{table(study.rows)}\n{sentences(study.rows, machine, busy)}")
    print(f"{config.dataset}, {config.repeats} repeats; {path}")
    return not any(row["status"].startswith(("different", "failed")) for row in study.rows)


def all_loads(config: Config, train: data.Split, classes: int) -> list[Workload]:
    """Gives the workloads of both options. Raises UserError for one whose minibatches the data cannot fill."""
    examples, inputs = train.x.shape
    loads = [workload(name, inputs, classes, config.seed) for name in config.all_workloads]
    largest = max(network.train.batch_size for load in loads for network in load.networks)
    if largest > examples:
        raise UserError(
            f"a workload has batches of {largest}, and {config.dataset} only {examples} images: leave it out"
        )
    return loads


def with_peak(row: Row, load: Workload, machine: Row) -> Row:
    """Gives the row with its share of the measured matrix peak, of the type of its operands."""
    half = all(network.model.precision == "bf16" for network in load.networks)
    peak = machine.get("bfloat16" if half else "float32")
    share = None if row["gflops"] is None or peak is None else 1e9 * row["gflops"] / peak["median"]
    return {**row, "fraction_of_peak": share}


def number(value: float | None) -> str:
    """Writes a number to three digits, and "-" for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def against_torch(row: Row) -> str:
    """Tells how often faster than torch, with the range over repeats."""
    ratio = (row["faster_than"] or {}).get("torch")
    if row["contender"] == "torch" and row["faster_than"] is not None:
        ratio = {"median": 1, "min": 1, "max": 1}
    return "-" if ratio is None else f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"


COLUMNS: Columns = {
    "workload": "workload",
    "contender": "contender",
    "ms per step": lambda row: number((row["milliseconds_per_step"] or {}).get("median")),
    "networks x steps/s": lambda row: number(row["networks_steps_per_second"]),
    "GFLOP/s": lambda row: number(row["gflops"]),
    "of peak": lambda row: "-" if row["fraction_of_peak"] is None else f"{100 * row['fraction_of_peak']:.0f} %",
    "faster than torch": against_torch,
    "memory [MB]": lambda row: number(row["peak_memory_mb"]),
    "compile [s]": lambda row: number(row["compile_seconds"]),
    "start [s]": lambda row: number(row["start_seconds"]),
    "status": "status",
}


def table(rows: list[Row]) -> Table:
    """Gives a line per workload and contender."""
    return Table.of(COLUMNS, rows)


def sentences(rows: list[Row], machine: Row, busy: list[float]) -> str:
    """Tells the machine's rates, how hand-written gradients compare, and whether others used the machine."""
    rates = ", ".join(f"{name} {1e-9 * rate['median']:.4g}" for name, rate in machine.items())
    lines = [f"machine, GFLOP/s: {rates} (the larger of jax's and torch's medians)"]
    pairs: list[tuple[str, Any]] = [
        (row["workload"], row["faster_than"]["autodiff"])
        for row in rows
        if row["contender"] == "manual" and "autodiff" in (row["faster_than"] or {})
    ]
    if pairs:
        costs = (f"{name} {1 / p['median']:.3f} ({1 / p['max']:.3f} to {1 / p['min']:.3f})" for name, p in pairs)
        lines.append(f"time per step, hand-written / autodiff: {', '.join(costs)}")
    others = [*busy, *(row["others_busy_cores"] for row in rows)]
    if max(others) > 0.2:
        lines.append(f"note: other processes kept up to {max(others):.1f} cores busy: do not trust these times")
    return "\n".join(lines)


main = command.main_of(Config, run, __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
