"""What a study trains: settings, each over all seeds, the learning rate chosen on validation; one row each."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from experiments import _ahead, _common, _stop, _study
from mlp_jax import data, population, programs, results, statistics
from mlp_jax.data import Splits
from mlp_jax.evaluation import Evaluation, evaluate, on_device
from mlp_jax.model import MLPConfig, Params
from mlp_jax.train import Metrics, Observed, Result, TrainConfig, steps_per_epoch

T = TypeVar("T")
Observe = Callable[[int, int, Params], Observed]
FIRST_LOSSES = 20


class Setting(NamedTuple):
    """One row of a study.

    label: what sets it apart from the study's other settings; the row starts with it.
    recipes: what to choose from on validation (first seed), usually learning rates; equally long. The first of
      equally good ones is taken.
    report: what the report states of this setting, if it does, by the names of the row's quantities.
    """

    label: dict[str, Any]
    model: MLPConfig
    recipes: tuple[TrainConfig, ...]
    report: dict[str, float] | None = None

    def title(self) -> str:
        """For the progress bar."""
        return ", ".join(str(value) for value in self.label.values())

    def epochs(self, examples: int) -> int:
        """Epochs of one run, the last one perhaps in part."""
        recipe = self.recipes[0]
        if recipe.steps is None:
            return recipe.epochs
        return math.ceil(recipe.steps / (examples // recipe.batch_size))


def ready(config: _common.Common, study: _study.Study, normalization: str) -> Splits:
    """The protocol's splits, normalised and on the devices; the study states which data they are."""
    programs.forget()
    dataset = config.load()
    study.use(dataset)
    splits = data.normalize(config.split(dataset), normalization)
    model = MLPConfig(inputs=splits.train.x.shape[1], classes=len(dataset.classes))
    return Splits(*(on_device(split, model) for split in splits))


def run_settings(
    config: _common.Training, study: _study.Study, settings: Sequence[Setting], splits: Splits
) -> None:
    """Adds a row for every setting that a resumed study does not have yet; a wrong one is refused before any."""
    missing = [s for s in settings if find(study.rows, s.label) is None]
    for setting in missing:
        for recipe in setting.recipes:
            steps_per_epoch(splits.train, recipe)
    examples = len(splits.train.y)
    total = sum((len(s.recipes) - 1 + config.seeds) * s.epochs(examples) for s in missing)
    with _common.progress(total, "epoch") as bar:
        for setting in compiled(config, missing, splits):
            row, _ = measure(config, study, setting, splits, bar)
            study.add(row)


def compiled(config: _common.Training, settings: Sequence[Setting], splits: Splits) -> Iterator[Setting]:
    """The settings, each when the programs that `measure` needs for it are compiled."""

    def batches(setting: Setting) -> list[list[_Job]]:
        return [_jobs(config, setting), _rest(config, setting, setting.recipes[0])]

    return _compiled(config, settings, batches, splits)


def compiled_together(
    config: _common.Training, groups: Sequence[Sequence[Setting]], splits: Splits
) -> Iterator[Sequence[Setting]]:
    """The groups of settings, each when the programs that `measure_together` needs for it are compiled."""
    return _compiled(config, groups, lambda group: [_all_jobs(config, group)], splits)


def _compiled(
    config: _common.Training, items: Sequence[T], batches: Callable[[T], list[list["_Job"]]], splits: Splits
) -> Iterator[T]:
    def tasks(item: T) -> list[Callable[[], None]]:
        populations = [_population(config, jobs) for jobs in batches(item) if jobs]
        return [
            functools.partial(population.compile_ahead, runs, splits, **_devices(config)) for runs in populations
        ]

    return _ahead.prepared(items, tasks)


def find(rows: Iterable[results.Row], label: dict[str, Any]) -> results.Row | None:
    """The row with this label, if there is one."""
    return next((row for row in rows if all(row.get(k) == v for k, v in label.items())), None)


def measure(
    config: _common.Training,
    study: _study.Study,
    setting: Setting,
    splits: Splits,
    bar: Any,
    observe: Observe | None = None,
) -> tuple[results.Row, list[Result]]:
    """The row of a setting, and its runs' results, seed by seed, diverged ones too.

    The recipe is chosen on the first seed's validation accuracy, then the other seeds are trained with it. In the
    row, accuracies are fractions, losses nats, and what belongs to a run is listed in the order of `seeds`, which
    has the runs that finished. `observe`, of a setting with one recipe: as `population.train` has it.
    """
    study.unfinished.begin()
    recipes = setting.recipes
    found = _train(config, study, _jobs(config, setting), splits, bar, observe)
    tried = found[: len(recipes)]
    scores = [_validation(result, setting.model, splits) for result in tried]
    best = max(range(len(tried)), key=lambda i: (tried[i].status == "finished", scores[i]))
    rest = _rest(config, setting, recipes[best])
    runs = [tried[best], *found[len(tried) :], *_train(config, study, rest, splits, bar)]
    row = {
        **_row(config, setting, recipes[best], runs, splits),
        "choice": [
            {"learning_rate": recipe.learning_rate, "status": result.status, "validation_accuracy": score}
            for recipe, result, score in zip(recipes, tried, scores, strict=True)
        ],
        "seconds": study.unfinished.row_seconds(),
    }
    return row, runs


def measure_together(
    config: _common.Training, study: _study.Study, settings: Sequence[Setting], splits: Splits, bar: Any
) -> list[tuple[results.Row, list[Result]]]:
    """As `measure`, for settings of one recipe each, whose runs of all seeds are one population.

    Much faster than one by one where few seeds leave devices idle, and settings differ in what is not compiled.
    """
    study.unfinished.begin()
    found = _train(config, study, _all_jobs(config, settings), splits, bar)
    measured = []
    for number, setting in enumerate(settings):
        runs = found[number * config.seeds : (number + 1) * config.seeds]
        measured.append((_row(config, setting, setting.recipes[0], runs, splits), runs))
    share = round(study.unfinished.row_seconds() / len(settings), 3)
    return [({**row, "seconds": share}, runs) for row, runs in measured]


class _Job(NamedTuple):
    """One run; its seed counts from the study's first."""

    setting: Setting
    recipe: TrainConfig
    seed: int


def _jobs(config: _common.Training, setting: Setting) -> list[_Job]:
    """All seeds, or if there is a recipe to choose, the first seed with each."""
    seeds = range(config.seeds if len(setting.recipes) == 1 else 1)
    return [_Job(setting, recipe, seed) for seed in seeds for recipe in setting.recipes]


def _rest(config: _common.Training, setting: Setting, recipe: TrainConfig) -> list[_Job]:
    """The other seeds, with the recipe that was chosen."""
    return [_Job(setting, recipe, seed) for seed in range(1, config.seeds if len(setting.recipes) > 1 else 1)]


def _all_jobs(config: _common.Training, settings: Sequence[Setting]) -> list[_Job]:
    """Every setting with its one recipe, seed by seed."""
    return [_Job(setting, setting.recipes[0], seed) for setting in settings for seed in range(config.seeds)]


def _population(config: _common.Training, jobs: Sequence[_Job]) -> list[population.Run]:
    return [population.Run(config.key(job.seed), job.setting.model, job.recipe) for job in jobs]


def _devices(config: _common.Training) -> dict[str, Any]:
    return {"max_memory_gb": config.max_memory_gb, "data_parallel": config.data_parallel}


def _train(
    config: _common.Training,
    study: _study.Study,
    jobs: Sequence[_Job],
    splits: Splits,
    bar: Any,
    observe: Observe | None = None,
) -> list[Result]:
    """The jobs' runs, as one population, from where an interrupted study has left them."""

    def on_epoch(number: int, epoch: int, metrics: Metrics, validation: Evaluation) -> None:
        setting, recipe, seed = jobs[number]
        bar.set_description(f"{setting.title()}, rate {recipe.learning_rate:g}, seed {config.seed + seed}")
        bar.set_postfix_str(f"loss {metrics.loss.mean():.3f}, validation {validation.accuracy:.3f}", refresh=False)
        bar.update()

    runs = _population(config, jobs)

    def on_end(number: int, result: Result) -> None:
        setting, recipe, seed = jobs[number]
        study.unfinished.keep([(runs[number], result)])
        about = {**setting.label, "learning_rate": recipe.learning_rate, "seed": config.seed + seed}
        study.record(runs[number], result, **about, protocol=config.protocol)

    reached = study.unfinished.reached(runs)
    bar.update(sum(len(result.history.validation_accuracy) for result in reached.values()))
    with _stop.between_epochs_only():
        found = population.train(
            runs,
            splits,
            **_devices(config),
            reached=reached,
            on_epoch=on_epoch,
            observe=observe,
            between_epochs=study.unfinished.between_epochs(runs),
            on_end=on_end,
        )
    study.unfinished.stop_if_asked()
    # the epochs that diverged runs left out
    epochs = sum(job.setting.epochs(len(splits.train.y)) for job in jobs)
    bar.update(epochs - sum(len(result.history.validation_accuracy) for result in found))
    return found


def _validation(result: Result, model: MLPConfig, splits: Splits) -> float:
    """Accuracy after the last epoch; of the initial network if there was none."""
    if len(result.history.validation_accuracy):
        return float(result.history.validation_accuracy[-1])
    return evaluate(result.state.params, result.state.stats, splits.validation, model).accuracy


def _row(
    config: _common.Training, setting: Setting, recipe: TrainConfig, runs: Sequence[Result], splits: Splits
) -> results.Row:
    """What a row says of a setting that was trained with this recipe, seed by seed."""
    return {
        **setting.label,
        "protocol": config.protocol,
        "data_fingerprint": config.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        **_measured(config, runs, setting.model, splits, steps_per_epoch(splits.train, recipe)),
        "report": setting.report,
    }


def _measured(
    config: _common.Training, runs: Sequence[Result], model: MLPConfig, splits: Splits, per_epoch: int
) -> dict[str, Any]:
    """Of the runs that finished: accuracies, the loss of the last epoch, curves by epoch."""
    finished = {config.seed + i: run for i, run in enumerate(runs) if run.status == "finished"}
    curves = [epoch_means(run, per_epoch) for run in finished.values()]
    tests = [evaluate(r.state.params, r.state.stats, splits.test, model).accuracy for r in finished.values()]
    first = runs[0].history.loss[:FIRST_LOSSES]
    return {
        "status": "finished" if len(finished) == len(runs) else "diverged",
        "diverged": len(runs) - len(finished),
        "seeds": list(finished),
        "parameters": [results.digest(run.state.params) for run in finished.values()],
        "validation_accuracy": statistics.measured([_validation(r, model, splits) for r in finished.values()]),
        "test_accuracy": statistics.measured(tests),
        "train_loss": statistics.measured([curve["loss"][-1] for curve in curves if curve["loss"]]),
        "images": {name: len(split.y) for name, split in zip(splits._fields, splits, strict=True)},
        "curves": {name: [curve[name] for curve in curves] for name in CURVES},
        "first_losses": [float(v) if math.isfinite(v) else None for v in first],
    }


def edge_notes(rows: Iterable[results.Row], name: Callable[[results.Row], str]) -> list[str]:
    """A line for each row whose best learning rate is the smallest or the largest of three or more.

    None where all rates did equally well: a network that does not learn shows no direction.
    """
    notes = []
    for row in rows:
        rates = [choice["learning_rate"] for choice in row["choice"]]
        best = row["recipe"]["learning_rate"]
        told = len({choice["validation_accuracy"] for choice in row["choice"]}) > 1
        if len(rates) > 2 and told and best in (min(rates), max(rates)):
            notes.append(f"note: {name(row)} did best at the edge of --learning_rates: try beyond {best:g}")
    return notes


CURVES = ("loss", "accuracy", "validation_loss", "validation_accuracy")


def epoch_means(run: Result, per_epoch: int) -> dict[str, list[float]]:
    """Epoch by epoch: mean loss (with the L2 term) and accuracy of its minibatches, and the validation split's."""
    curves: dict[str, list[float]] = {}
    for name in CURVES:
        values, width = getattr(run.history, name), 1 if name.startswith("validation") else per_epoch
        parts = [values[start : start + width] for start in range(0, len(values), width)]
        curves[name] = [round(mean(part), 6) for part in parts]
    return curves


def mean(values: np.ndarray) -> float:
    """Of a finished run's history, in float64: a sum of large float32 losses would overflow."""
    return float(np.mean(statistics.finite(values)))
