"""How fast is a plain network at a stated test accuracy, from the start of its process?

In the manner of the CIFAR-10 speed records: the recipe (its number of epochs too) was fixed on validation images,
a run trains on all training images and looks at the test images once, at its end, and what counts is the mean
accuracy over runs. A run is a fresh process; the clock is its parent's and runs from before the process is started
until it has told its accuracy, so that Python, jax, reading the data, compilation, training and evaluation are all
in it. The parent has read the data before, so that they are decoded and in memory. Every seed runs twice: compiled
anew, with an empty compilation cache, and with the programs that the first left there; both must give the same
parameters, bit for bit. The evaluation's program is compiled when it is needed, in "evaluation"; what passes until
the worker's first line runs, which is Python's own start, is in the whole time alone.

  TFDS_DATA_DIR=... python -m experiments.speedrun --dataset=cifar10 [--recipe=speedrun_60] [--seeds=5]

The machine should be otherwise idle. Seconds of one machine differ from hour to hour: its rate of matrix products,
measured after the runs, stands beside them. Expected on CIFAR-10 and two cores: what mlp_jax/training/recipes.py
says. Exit status 1 if the mean accuracy is below the target, or the two runs of a seed differ.
"""

import math
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlp_jax import data
from mlp_jax.benchmark import turns
from mlp_jax.benchmark.timed_run import PARTS, Job, measure
from mlp_jax.fields import option
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.studies import command, options, results, statistics
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.study import shape_of
from mlp_jax.studies.tables import measured, of_rows
from mlp_jax.training.recipes import RECIPES, Recipe, fitted
from mlp_jax.training.written import as_written

COMPILATIONS = ("anew", "cached")
"""Every seed runs so, one after the other: the second finds the programs that the first has left."""
PEAK_REPEATS = 3


@dataclass(frozen=True)
class Config(options.Basic):
    """These are the options of the speedrun."""

    recipe: str = option("speedrun", "a recipe of mlp_jax/training/recipes.py", choices=RECIPES)
    target: float | None = option(
        None, "mean test accuracy to be reached, a fraction; default on cifar10: the recipe's own", low=0, high=1
    )
    seeds: int = option(5, "number of seeds, each of which runs twice", low=1, high=options.MOST_RUNS)
    epochs: int | None = option(None, "epochs of each run; default the recipe's", low=1)
    gradient: str = option("manual", "gradients: manual (hand-written) or autodiff (jax.grad)", choices=SOURCES)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_seeds(self.seeds)
        chosen(self)

    @property
    def goal(self) -> float | None:
        """Gives the accuracy to be reached."""
        own = RECIPES[self.recipe].target if self.dataset == "cifar10" else None
        return own if self.target is None else self.target


def chosen(config: Config) -> Recipe:
    """Gives the recipe, as long as --epochs says. Raises UserError for a number of epochs that cannot be."""
    return RECIPES[config.recipe].with_options(config.gradient, config.epochs)


def run(config: Config) -> bool:
    """Runs every seed twice, prints the table, writes results.json; True if the target is reached."""
    study = ResultsFolder("speedrun", config)
    dataset = config.load()  # the images are decoded now, if they were not
    study.use(dataset)
    told = timed(config)
    same = len({tuple(run["parameters"] for run in runs) for runs in told.values()}) == 1
    for compilation, runs in told.items():
        study.add({**_row(config, compilation, runs, dataset), "same_parameters": same})
    with tempfile.TemporaryDirectory() as folder:
        machine, _ = turns.peaks((), Path(folder), PEAK_REPEATS)
    path = study.finish(machine=machine)
    content = {"rows": study.rows, "machine": machine}
    print(table(content))
    print(finding(content))
    if config.dataset == "cifar10" and config.epochs is None:
        print(f"{config.recipe}: {RECIPES[config.recipe].expected or 'not measured yet'}")
    print(f"{config.dataset}, {config.seeds} seeds, mean ± standard deviation; {path}")
    return succeeded(study.rows)


def timed(config: Config) -> dict[str, list[results.Row]]:
    """Gives the runs of all seeds, in their order, by how they found their programs."""
    given = {name: getattr(config, name) for name in Job._fields}
    told: dict[str, list[results.Row]] = {compilation: [] for compilation in COMPILATIONS}
    with options.progress(len(told) * config.seeds, "run") as bar:
        for seed in range(config.seed, config.seed + config.seeds):
            with tempfile.TemporaryDirectory() as cache:
                for compilation, runs in told.items():
                    bar.set_description(f"seed {seed}, compiled {compilation}")
                    runs.append(measure(Job(**{**given, "seed": seed}), Path(cache)))
                    bar.update()
    return told


def succeeded(rows: list[results.Row]) -> bool:
    """Tells whether every run finished, the two of a seed were alike, and the target, if any, is reached."""
    return all(
        row["status"] == "finished" and row["same_parameters"] and row["reached"] is not False for row in rows
    )


def _row(config: Config, compilation: str, runs: list[results.Row], dataset: data.Dataset) -> results.Row:
    model, training = fitted(chosen(config), *shape_of(dataset))
    finished = [(seed, run) for seed, run in enumerate(runs, start=config.seed) if math.isfinite(run["loss"])]
    accuracy = statistics.measured([run["accuracy"] for _, run in finished])
    goal = config.goal
    return {
        "compilation": compilation,
        "name": config.recipe,
        "data_fingerprint": dataset.fingerprint,
        "recipe": as_written(training),
        "network": as_written(model),
        "status": "finished" if len(finished) == len(runs) else "diverged",
        "diverged": len(runs) - len(finished),
        "seeds": [seed for seed, _ in finished],
        "parameters": [run["parameters"] for _, run in finished],
        "train_loss": statistics.measured([run["loss"] for _, run in finished]),
        "test_accuracy": accuracy,
        "target": goal,
        "reached": None if goal is None else accuracy["mean"] is not None and accuracy["mean"] >= goal,
        "seconds_from_process_start": statistics.measured([run["total"] for _, run in finished]),
        "seconds_of": {p: statistics.measured([run["seconds"][p] for _, run in finished]) for p in PARTS},
    }


def seconds(measured: results.Row) -> str:
    """Writes mean and standard deviation."""
    if measured["mean"] is None:
        return "-"
    spread = "" if measured["std"] is None else f" ± {measured['std']:.1f}"
    return f"{measured['mean']:.1f}{spread}"


def _part(row: results.Row, name: str) -> str:
    return seconds(row["seconds_of"][name])


table = of_rows({
    "compiled": "compilation",
    "n": lambda row: row["test_accuracy"]["n"],
    "test %": measured("test_accuracy"),
    "from process start [s]": lambda row: seconds(row["seconds_from_process_start"]),
    **{f"{part} [s]": partial(_part, name=part) for part in PARTS},
})  # fmt: skip


def finding(content: results.Row) -> str:
    """Tells what came out, in a sentence or two."""
    anew, cached = content["rows"]
    if anew["test_accuracy"]["mean"] is None:
        return f"No run of the recipe {anew['name']} finished: all diverged."
    text = (
        f"The recipe {anew['name']} reaches {results.percent(anew['test_accuracy'])} % on the test images in "
        f"{seconds(anew['seconds_from_process_start'])} s from process start, "
        f"{seconds(cached['seconds_from_process_start'])} s with its programs compiled before "
        f"({anew['test_accuracy']['n']} seeds), of which {seconds(anew['seconds_of']['training'])} s are training."
    )
    if anew["target"] is not None:
        text += f" The target, {100 * anew['target']:.1f} %, is {'reached' if anew['reached'] else 'MISSED'}."
    rate = content["machine"]["float32"]["median"] / 1e9
    text += f" The machine multiplies float32 matrices at {rate:.0f} GFLOP/s."
    if not anew["same_parameters"]:
        text += " The two runs of a seed DIFFER."
    return text


main = command.main_of(Config, run, __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
