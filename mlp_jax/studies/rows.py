"""A row of a study's results tells of the runs of one setting; it is written and read here."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.data.dataset import Splits
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import correctness, results, statistics
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.options import Training
from mlp_jax.training.config import TrainConfig, steps_per_epoch
from mlp_jax.training.evaluate import evaluate, evaluate_each
from mlp_jax.training.history import Result
from mlp_jax.training.inputs import Inputs
from mlp_jax.training.step import network
from mlp_jax.training.written import as_written

FIRST_LOSSES = 20
NOT_OF_A_SEARCH = ("test_accuracy", "correct", "curves", "first_losses", "images")
"""The row of a searched setting leaves these out."""


class Setting(NamedTuple):
    """A setting becomes one row of a study.

    label: what sets it apart from the study's other settings; the row starts with it.
    recipes: what to choose from on validation (first seed), usually learning rates; equally long. The first of
      equally good ones is taken.
    report: what the report states of this setting, if it does, by the names of the row's quantities.
    inputs: how it turns the study's uint8 images into network inputs; None: they are inputs already.
    searched: whether it is one of many that are tried: with the first seed alone, and no look at test images.
    """

    label: dict[str, Any]
    model: MLPConfig
    recipes: tuple[TrainConfig, ...]
    report: dict[str, float] | None = None
    inputs: Inputs | None = None
    searched: bool = False

    def title(self) -> str:
        """The progress bar shows this."""
        return ", ".join(str(value) for value in self.label.values())

    def epochs(self, examples: int) -> int:
        """Counts the epochs of one run; the last one may be cut."""
        recipe = self.recipes[0]
        if recipe.steps is None:
            return recipe.epochs
        return math.ceil(recipe.steps / (examples // recipe.batch_size))


def find(rows: Iterable[results.Row], label: dict[str, Any]) -> results.Row | None:
    """Gives the row with this label, if there is one."""
    return next((row for row in rows if all(row.get(k) == v for k, v in label.items())), None)


def families(
    pairs: Iterable[tuple[results.Row, results.Row, results.Row]],
    correct: Store | None = None,
    quantities: Sequence[str] = ("test_accuracy", "validation_accuracy"),
) -> list[results.Row]:
    """Compares pairs, those of each quantity as one family: each has its label, and ours minus the base.

    pairs: (label, ours, base). correct: which test images the rows' runs get right, by which intervals are for
    other images too.
    """
    pairs, found = list(pairs), []
    for quantity in quantities:
        compared = ((label, statistics.paired(ours, base, quantity, correct or {})) for label, ours, base in pairs)
        found += statistics.family([{**label, "quantity": quantity, **paired} for label, paired in compared])
    return found


def validation_accuracy(result: Result, model: MLPConfig, splits: Splits) -> float:
    """Gives the accuracy after the last epoch; of the initial network if there was none."""
    if len(result.history.validation_accuracy):
        return float(result.history.validation_accuracy[-1])
    return evaluate(*network(result.state), splits.validation, model).accuracy


def row_of(
    config: Training, setting: Setting, recipe: TrainConfig, runs: Sequence[Result], splits: Splits, correct: Store
) -> results.Row:
    """Tells of a setting that was trained with this recipe, seed by seed; its bits go to `correct`.

    Accuracies, the loss of the last epoch, and curves by epoch are those of the runs that finished.
    """
    model, per_epoch = setting.model, steps_per_epoch(splits.train, recipe)
    finished = {config.seed + i: run for i, run in enumerate(runs) if run.status == "finished"}
    curves = [epoch_means(run, per_epoch) for run in finished.values()]
    tests = [evaluate_each(*network(r.state), splits.test, model) for r in finished.values()]
    first = runs[0].history.loss[:FIRST_LOSSES]
    return {
        **setting.label,
        "protocol": config.protocol,
        "data_fingerprint": config.fingerprint,
        "recipe": as_written(recipe),
        "status": "finished" if len(finished) == len(runs) else "diverged",
        "diverged": len(runs) - len(finished),
        "seeds": list(finished),
        "parameters": [results.digest(run.state.params) for run in finished.values()],
        "validation_accuracy": statistics.measured(
            [validation_accuracy(r, model, splits) for r in finished.values()]
        ),
        "test_accuracy": statistics.measured([found.accuracy for found, _ in tests]),
        "train_loss": statistics.measured([curve["loss"][-1] for curve in curves if curve["loss"]]),
        "correct": correctness.add(correct, np.stack([right for _, right in tests])) if tests else None,
        "images": {name: len(split.y) for name, split in zip(splits._fields, splits, strict=True)},
        "curves": {name: [curve[name] for curve in curves] for name in CURVES},
        "first_losses": [float(v) if math.isfinite(v) else None for v in first],
        "report": setting.report,
    }


def edge_notes(rows: Iterable[results.Row]) -> list[str]:
    """Gives a line for each row whose best learning rate is the smallest or the largest of three or more.

    None where all rates did equally well: a network that does not learn shows no direction.
    """
    notes = []
    for row in rows:
        tried = {choice["learning_rate"]: choice["validation_accuracy"] for choice in row.get("choice", [])}
        best = row["recipe"]["learning_rate"]
        if len(tried) > 2 and len({*tried.values()}) > 1 and best in (min(tried), max(tried)):
            name = results.label_of(row)
            notes.append(f"note: {name} did best at the edge of --learning_rates: try beyond {best:g}")
    return notes


def reported(config: Training, accuracies: tuple[float, float] | None) -> dict[str, float] | None:
    """Gives a row's validation and test accuracy in the report, as fractions; that is about CIFAR-10."""
    if accuracies is None or config.dataset != "cifar10":
        return None
    return dict(zip(("validation_accuracy", "test_accuracy"), accuracies, strict=True))


CURVES = ("loss", "accuracy", "validation_loss", "validation_accuracy")


def epoch_means(run: Result, per_epoch: int) -> dict[str, list[float]]:
    """Gives, by epoch, mean loss (with the L2 term) and accuracy of the minibatches, and validation's."""
    curves: dict[str, list[float]] = {}
    for name in CURVES:
        values, width = getattr(run.history, name), 1 if name.startswith("validation") else per_epoch
        parts = [values[start : start + width] for start in range(0, len(values), width)]
        curves[name] = [round(finite_mean(part), 6) for part in parts]
    return curves


def finite_mean(values: np.ndarray) -> float:
    """Gives the mean of a finished run's history in float64: a sum of large float32 losses would overflow."""
    return float(np.mean(statistics.finite(values)))


MIRROR = "8aeccfb5a228fe2f3c9d8c8ef9b8ccf10316305fb7c66d12be93ecf1ca7c3076"
"""This copy of CIFAR-10 has images that were re-encoded as JPEG, in an order of its own; it is its fingerprint."""
DRAWN_FROM = {"validation": 50_000, "test": 10_000}
"""A split is a part of so many images of CIFAR-10."""


def dataset_name(content: results.Row) -> str:
    """Gives what the rows of a results file were measured on, as texts state it."""
    name, fingerprint = content["config"]["dataset"], content["environment"]["data_fingerprint"]
    if name != "cifar10":
        return {"digits": "the embedded digits", "synthetic": "synthetic images"}[name]
    return "CIFAR-10 (JPEG mirror)" if fingerprint == MIRROR else "CIFAR-10"


def shared_images(row: results.Row, split: str, theirs: int) -> float:
    """Tells how many of so many images of a split, the report's, are among those that a row was counted on.

    In the order of the original files the smaller of the two sets is a part of the larger: tests are the first
    images, validation is the last ones. In the mirror's order the report's images lie anywhere, and this is how
    many of them are expected to be among ours.
    """
    ours: int = row["images"][split]
    if row.get("data_fingerprint") == MIRROR:
        return ours * theirs / DRAWN_FROM[split]
    return min(ours, theirs)
