"""A study trains settings, each over all seeds, with a learning rate chosen on validation; each gives a row."""

import dataclasses
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from mlp_jax.data.dataset import Splits
from mlp_jax.data.pixels import normalize
from mlp_jax.nn.model import Params
from mlp_jax.studies import ahead, options, results, signals
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.options import Common, Training
from mlp_jax.studies.rows import NOT_OF_A_SEARCH, Setting, find, row_of, validation_accuracy
from mlp_jax.training import epoch as programs
from mlp_jax.training import population
from mlp_jax.training.config import Run, TrainConfig, program, steps_per_epoch
from mlp_jax.training.history import Observed, Result
from mlp_jax.training.inputs import Inputs

Observe = Callable[[int, int, Params], Observed] | None
MakeRow = Callable[[Setting, Any], results.Row]


def ready(config: Common, folder: ResultsFolder, normalization: str | None) -> Splits:
    """Gives the protocol's splits, normalised and on the devices; the study states which data they are.

    Without a normalisation: uint8 images, of which every setting makes its own inputs (`Setting.inputs`).
    """
    programs.forget()
    _MADE.clear()
    dataset = config.load()
    folder.use(dataset)
    splits = config.split(dataset)
    return splits if normalization is None else _on_device(normalize(splits, normalization))


def _on_device(splits: Splits) -> Splits:
    placed: Splits = jax.device_put(splits)  # `jnp.asarray` would compile a program for every shape
    return placed


def inputs_of(setting: Setting, splits: Splits) -> Splits:
    """Gives what the setting's network sees of the splits; it is kept for settings that see the same."""
    if setting.inputs is None:
        return splits
    with _MAKING:
        found = next((made for inputs, of, made in _MADE if inputs == setting.inputs and of is splits), None)
        if found is None:
            found = _on_device(setting.inputs.of(splits))
            _MADE.append((setting.inputs, splits, found))
    return found


_MADE: deque[tuple[Inputs, Splits, Splits]] = deque(maxlen=2)
_MAKING = threading.Lock()  # programs are compiled ahead in threads, which need the inputs' shapes


def run_settings(
    config: Training, folder: ResultsFolder, settings: Sequence[Setting], splits: Splits, row: MakeRow
) -> None:
    """Adds a row for every setting that a resumed study does not have yet; a wrong one is refused before any.

    Searched settings come first; those of one program and length are trained together.
    row: makes the row of any other setting, and shows it on a progress bar.
    """
    missing = [s for s in settings if find(folder.rows, s.label) is None]
    for setting in missing:
        for recipe in setting.recipes:
            steps_per_epoch(splits.train, recipe)
    examples, first = len(splits.train.y), dataclasses.replace(config, seeds=1)
    searched = [s for s in missing if s.searched]
    others = [s for s in missing if not s.searched]
    total = sum((len(s.recipes) - 1 + config.seeds) * s.epochs(examples) for s in others)
    with options.progress(total + sum(s.epochs(examples) for s in searched), "epoch") as bar:
        for group in _compiled(first, _alike(searched), splits):
            folder.add(*measure_together(first, folder, group, splits, bar))
        for (setting,) in _compiled(config, [[setting] for setting in others], splits):
            folder.add(row(setting, bar))


def _alike(settings: Sequence[Setting]) -> list[list[Setting]]:
    """Gives the settings, those of one program and length together."""
    groups: dict[Any, list[Setting]] = {}
    for setting in settings:
        recipe = setting.recipes[0]
        key = (*program(setting.model, recipe), recipe.steps, recipe.epochs)
        groups.setdefault(key, []).append(setting)
    return list(groups.values())


def _compiled(
    config: Training, groups: Sequence[Sequence[Setting]], splits: Splits
) -> Iterator[Sequence[Setting]]:
    """Gives the groups of settings, each when the programs that it needs are compiled."""

    def task(jobs: list[_Job]) -> None:
        inputs = inputs_of(jobs[0].setting, splits)
        population.compile_ahead(_population(config, jobs), inputs, **_devices(config))

    def tasks(group: Sequence[Setting]) -> list[Callable[[], object]]:
        batches = [_jobs(config, group), *(_rest(config, setting, setting.recipes[0]) for setting in group)]
        return [functools.partial(task, jobs) for jobs in batches if jobs]

    return ahead.prepared(groups, tasks)


def measure(
    config: Training, folder: ResultsFolder, setting: Setting, splits: Splits, bar: Any, observe: Observe = None
) -> tuple[results.Row, list[Result]]:
    """Gives the row of a setting, and its runs' results, seed by seed, diverged ones too.

    The recipe is chosen on the first seed's validation accuracy, then the other seeds are trained with it. In the
    row, accuracies are fractions, losses nats, and what belongs to a run is listed in the order of `seeds`, which
    has the runs that finished. `observe`, of a setting with one recipe: as `population.Epoch.observe` has it.
    """
    folder.unfinished.begin()
    splits, recipes = inputs_of(setting, splits), setting.recipes
    found = _train(config, folder, _jobs(config, [setting]), splits, bar, observe)
    tried = found[: len(recipes)]
    scores = [validation_accuracy(result, setting.model, splits) for result in tried]
    best = max(range(len(tried)), key=lambda i: (tried[i].status == "finished", scores[i]))
    rest = _rest(config, setting, recipes[best])
    runs = [tried[best], *found[len(tried) :], *_train(config, folder, rest, splits, bar, None)]
    row = {
        **row_of(config, setting, recipes[best], runs, splits, folder.correct),
        "choice": [
            {"learning_rate": recipe.learning_rate, "status": result.status, "validation_accuracy": score}
            for recipe, result, score in zip(recipes, tried, scores, strict=True)
        ],
        "seconds": folder.unfinished.row_seconds(),
    }
    return row, runs


def measure_together(
    config: Training, folder: ResultsFolder, settings: Sequence[Setting], splits: Splits, bar: Any
) -> list[results.Row]:
    """Gives the rows of searched settings, whose runs are one population.

    They see the same inputs, and have one recipe and one seed each. That is much faster than one by one, since a
    single run leaves devices idle.
    """
    folder.unfinished.begin()
    splits = inputs_of(settings[0], splits)
    runs = _train(config, folder, _jobs(config, settings), splits, bar, None)
    rows = [
        row_of(config, setting, setting.recipes[0], [run], splits, folder.correct)
        for setting, run in zip(settings, runs, strict=True)
    ]
    share = round(folder.unfinished.row_seconds() / len(settings), 3)
    return [{k: v for k, v in row.items() if k not in NOT_OF_A_SEARCH} | {"seconds": share} for row in rows]


class _Job(NamedTuple):
    """A job is one run; its seed counts from the study's first."""

    setting: Setting
    recipe: TrainConfig
    seed: int


def _jobs(config: Training, settings: Sequence[Setting]) -> list[_Job]:
    """Gives all seeds of every setting, or, where there is a recipe to choose, the first seed with each."""
    return [
        _Job(setting, recipe, seed)
        for setting in settings
        for seed in range(config.seeds if len(setting.recipes) == 1 else 1)
        for recipe in setting.recipes
    ]


def _rest(config: Training, setting: Setting, recipe: TrainConfig) -> list[_Job]:
    """Gives the other seeds, with the recipe that was chosen."""
    return [_Job(setting, recipe, seed) for seed in range(1, config.seeds if len(setting.recipes) > 1 else 1)]


def _population(config: Training, jobs: Sequence[_Job]) -> list[Run]:
    return [Run(config.key(job.seed), job.setting.model, job.recipe) for job in jobs]


def _devices(config: Training) -> dict[str, Any]:
    return {"max_memory_gb": config.max_memory_gb, "data_parallel": config.data_parallel}


def _show(epoch: population.Epoch, config: Training, jobs: Sequence[_Job], bar: Any) -> None:
    """Moves the bar on by each run that was trained in this epoch, and says how far the run has come."""
    for number, (metrics, validation) in epoch.reports.items():
        setting, recipe, seed = jobs[number]
        bar.set_description(f"{setting.title()}, rate {recipe.learning_rate:g}, seed {config.seed + seed}")
        bar.set_postfix_str(f"loss {metrics.loss.mean():.3f}, validation {validation.accuracy:.3f}", False)
        bar.update()


def _train(
    config: Training, folder: ResultsFolder, jobs: Sequence[_Job], splits: Splits, bar: Any, observe: Observe
) -> list[Result]:
    """Gives the jobs' runs, as one population, from where an interrupted study has left them."""
    runs = _population(config, jobs)
    found = folder.unfinished.reached(runs)
    bar.update(sum(len(result.history.validation_accuracy) for result in found.values()))
    with signals.between_epochs_only():
        for epoch in population.epochs(runs, splits, resume_from=dict(found), **_devices(config)):
            _show(epoch, config, jobs, bar)
            if observe is not None:
                epoch.observe(observe)
            folder.unfinished.between_epochs(runs, epoch)
            if epoch.last:
                ended = epoch.results()
                found |= ended
                folder.unfinished.keep((runs[number], result) for number, result in ended.items())
    folder.unfinished.stop_if_asked()
    # diverged runs have left epochs out
    results = [found[number] for number in range(len(jobs))]
    epochs = sum(job.setting.epochs(len(splits.train.y)) for job in jobs)
    bar.update(epochs - sum(len(result.history.validation_accuracy) for result in results))
    return results
