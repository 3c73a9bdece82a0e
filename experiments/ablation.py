"""What is each ingredient of a recipe worth? One change at a time, seed by seed, on validation images.

Hypothesis: flips and crops are worth most of what a modern recipe gains; what regularises further (mixup, cutout,
dropout, weight decay) costs accuracy as long as training is short; the optimisers differ little.

The recipe (--recipe, one of mlp_jax/training/recipes.py) is the base. Every variation changes one ingredient:
takes it away, puts another in its place, or adds one; learning rates are the base's, except where the name tells
another (with a weight decay of its size for momentum and Lion) and for `whole_images_whitened_more`, 0.002. Both
are trained on the same seeds, so differences are paired. On CIFAR-10 the split is 45,000/5,000, the one on which
the recipes were chosen; no test image is looked at.

  TFDS_DATA_DIR=... python -m experiments.ablation --dataset=cifar10 --seeds=5

Expected: the table in experiments/results/README.md. On the digits, which are not to be mirrored, it only shows
that everything works.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlp_jax import data
from mlp_jax.errors import UserError
from mlp_jax.fields import Names, option
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, plotted, statistics
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.results import Row, percent
from mlp_jax.studies.rows import Setting, families
from mlp_jax.studies.study import Shape, Study, Trained
from mlp_jax.studies.tables import Columns, Table, difference, measured
from mlp_jax.text import counted
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.recipes import RECIPES, Recipe, fitted, network_inputs
from mlp_jax.training.written import as_written

BASE = "base"
QUANTITY = "validation_accuracy"
MUON = {"optimizer": "muon", "momentum": 0.95}
POLAR = {**MUON, "muon_coefficients": "polar_express"}
RISING = {"accumulate": 2, "accumulate_from": 0.5}
BETA = {"beta2": TrainConfig.beta2}  # which these optimisers have no use for
WHITENED = {"spectrum": None, "flatness": 100.0}
NO_NORM = {"norm": "none", "norm_place": "before"}
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "without": {
        "no_augmentation": {"training": {"augmentation": None}},
        "no_flips": {"training": {"augmentation": {"flip": False, "alternating": False}}},
        "no_crops": {"training": {"augmentation": {"crop": 0}}},
        "no_label_smoothing": {"training": {"label_smoothing": 0.0}},
        "no_normalisation": {"model": NO_NORM},
        "constant_rate": {"training": {"schedule": "decay", "decay": 1.0, "warmup": 0.0}},
        "no_warm_up": {"training": {"warmup": 0.0}},
        "pixels": {"spectrum": None},
        "pixels_rate_0.002": {"training": {"learning_rate": 2e-3}, "spectrum": None},
        "no_weight_decay": {"training": {"weight_decay": 0.0}},
        "no_mixup": {"training": {"augmentation": {"mixup": 0.0}}},
        "no_dropout": {"model": {"dropout": 0.0}},
    },
    "instead": {
        "whole_images_whitened": WHITENED,
        "whole_images_whitened_rate_0.002": {**WHITENED, "training": {"learning_rate": 2e-3}},
        "whole_images_whitened_more": {**WHITENED, "training": {"learning_rate": 2e-3}, "flatness": 1.0},
        "batch_normalisation_before": {"model": {"norm": "batch", "norm_place": "before"}},
        "layer_normalisation_before": {"model": {"norm": "layer", "norm_place": "before"}},
        "bottleneck_blocks": {"model": {**NO_NORM, "block": "bottleneck", "expansion": 2}},
        "residual_blocks": {"model": {"block": "residual"}},
        "relu": {"model": {"activation": "relu", "negative_slope": None}},
        "gelu": {"model": {"activation": "gelu_tanh", "negative_slope": None}},
        "leaky_relu": {"model": {"activation": "leaky_relu", "negative_slope": 0.1}},
        "cosine": {"training": {"schedule": "cosine"}},
        "momentum_rate_0.6": {
            "training": {**BETA, "optimizer": "momentum", "learning_rate": 0.6, "weight_decay": 5e-4}
        },
        "lion_rate_0.002": {"training": {**BETA, "optimizer": "lion", "learning_rate": 2e-3, "weight_decay": 0.4}},
        "muon": {"training": MUON},
        "muon_of_3_steps": {"training": {**MUON, "muon_steps": 3}},
        "muon_polar_express_2": {"training": {**POLAR, "muon_steps": 2}},
        "muon_polar_express_1": {"training": {**POLAR, "muon_steps": 1}},
        "muon_hidden_layers": {"training": {**MUON, "muon_layers": "hidden"}},
        "muon_every_2": {"training": {**MUON, "muon_every": 2}},
        "muon_every_4": {"training": {**MUON, "muon_every": 4}},
        "muon_batch_1000": {"training": {**MUON, "batch_size": 1000}},
        "beta2_0.999": {"training": {"beta2": 0.999}},
        "label_smoothing_0.2": {"training": {"label_smoothing": 0.2}},
        "float32": {"model": {"precision": "float32"}},
        "rate_0.004": {"training": {"learning_rate": 4e-3}},
        "batch_250": {"training": {"batch_size": 250}},
        "150_frequencies": {"spectrum": {"lowest": (130, 15, 5)}},
        "600_frequencies": {"spectrum": {"lowest": (520, 60, 20)}},
        "whitened": {"spectrum": {"flatness": 0.1}},
        "not_flattened": {"spectrum": {"flatness": 1000.0}},
        "crops_of_1": {"training": {"augmentation": {"crop": 1}}},
        "crops_of_2": {"training": {"augmentation": {"crop": 2}}},
        "crops_of_4": {"training": {"augmentation": {"crop": 4}}},
        "batch_rising_from_250": {"training": {"batch_size": 250, **RISING}},
    },
    "added": {
        "alternating_flips": {"training": {"augmentation": {"alternating": True}}},
        "rate_of_biases_times_4": {"training": {"bias_rate": 4.0}},
        "rate_of_the_last_layer_times_0.3": {"training": {"last_layer_rate": 0.3}},
        "logits_times_0.3": {"model": {"logit_scale": 0.3}},
        "logits_times_3": {"model": {"logit_scale": 3.0}},
        "lookahead_of_5": {"training": {"lookahead": 5}},
        "batch_rising_to_1000": {"training": RISING},
        "cutout_of_8": {"training": {"augmentation": {"cutout": 8}}},
        "mixup_0.2": {"training": {"augmentation": {"mixup": 0.2}}},
        "dropout_0.1": {"model": {"dropout": 0.1}},
        "weight_decay_0.3": {"training": {"weight_decay": 0.3}},
        "exponential_average": {"training": {"average_decay": 0.995}},
        "average_of_the_last_quarter": {"training": {"average_decay": 1.0, "average_start": 0.75}},
    },
}
"""By kind and name, these are new values of a recipe's fields, or of those of its parts."""
VARIATIONS = {name: (kind, changes) for kind, own in CHANGES.items() for name, changes in own.items()}
"""A variation that changes nothing about a recipe is left out there."""


@dataclass(frozen=True)
class Config(options.Training):
    """These are the options of the ablation."""

    PROTOCOLS = ("clean",)

    recipe: str = option("speedrun", "the base", choices=RECIPES)
    variations: Names | None = option(None, "which; default all that change the recipe", choices=VARIATIONS)
    epochs: int | None = option(None, "epochs of each run; default the recipe's", low=1)

    def split(self, dataset: data.Dataset) -> data.Splits:
        """Gives the split on which recipes are chosen; validation images stand where test images would."""
        splits = super().split(dataset)
        return splits._replace(test=splits.validation)


def recipes(config: Config) -> dict[str, Recipe]:
    """Gives what is trained, the base first. Raises UserError for a variation that this recipe cannot have."""
    base = RECIPES[config.recipe].with_options(config.gradient, config.epochs)
    if config.precision != Config.precision:
        base = replace(base, model=replace(base.model, precision=config.precision))
    found = {BASE: base}
    for name in VARIATIONS if config.variations is None else config.variations:
        try:
            found[name] = varied(base, name)
        except UserError as error:
            if config.variations is not None:
                raise UserError(f"{config.recipe} cannot have {name!r}: {error}") from error
    return found


def changed(part: Any, changes: Mapping[str, Any]) -> Any:
    """Gives a recipe, or a part of one, with these fields changed: all of a value, some of a part.

    Raises UserError for a part that this recipe does not have.
    """
    new = {}
    for name, value in changes.items():
        old, within = getattr(part, name), isinstance(value, Mapping)
        if old is None and (within or name == "spectrum"):
            raise UserError(f"it has no {name} to change")
        new[name] = changed(old, value) if within else value
    return replace(part, **new)


def varied(recipe: Recipe, name: str) -> Recipe:
    """Gives the recipe with a variation. Raises UserError if it has none such."""
    found: Recipe = changed(recipe, VARIATIONS[name][1])
    if found == recipe:
        raise UserError("it would change nothing, so leave it out")
    return found


def settings(config: Config, shape: Shape) -> list[Setting]:
    """Gives the base first, then every variation of it."""
    found = []
    for name, recipe in recipes(config).items():
        label = {"variation": name, "kind": BASE if name == BASE else VARIATIONS[name][0]}
        model, training = fitted(recipe, *shape)
        found.append(Setting(label, model, (training,), inputs=network_inputs(recipe, shape.image)))
    return found


def named(trained: Trained[Config]) -> Row:
    """Gives the recipe's name and the network; a row's test images are validation's, and left out."""
    images = {name: count for name, count in trained.row["images"].items() if name != "test"}
    return {"images": images, "name": trained.options.recipe, "network": as_written(trained.setting.model)}


def comparisons(rows: Sequence[Row], correct: Store | None = None) -> list[Row]:
    """Compares every variation with the base; all comparisons are one family."""
    named = [{**r, "correct": {**r["correct"], "quantity": QUANTITY}} if r.get("correct") else r for r in rows]
    pairs = [({"variation": row["variation"], "kind": row["kind"]}, row, named[0]) for row in named[1:]]
    return families(pairs, correct, [QUANTITY])


def figures(content: Row) -> dict[str, draw.Figure]:
    """Draws the differences with their intervals, by what is changed, the worst first."""
    found, many = sorted(content["comparisons"], key=_size), content["config"]["seeds"]
    if not found:
        return {}
    titles = {"without": "taken away", "instead": "in its place", "added": "added"}
    groups = {title: {c["variation"]: c for c in found if c["kind"] == kind} for kind, title in titles.items()}
    caption = (
        f"What each change does to the validation accuracy of the recipe {content['config']['recipe']}: mean "
        f"paired difference over {counted(many, 'seed')} and its 95 % interval."
    )
    return {"differences.svg": draw.Figure(plotted.differences(groups, "validation accuracy"), caption)}


def _size(comparison: Row) -> float:
    return float("-inf") if comparison["mean"] is None else float(comparison["mean"])


def finding(content: Row) -> str:
    """Tells what came out, in one or two sentences."""
    base, found = content["rows"][0], STUDY.compared(content)
    text = f"The recipe {base['name']} reaches {percent(base[QUANTITY])} % on validation"
    told = sorted((c for c in found if c["low"] is not None), key=_size)
    if not told:
        return f"{text}; {len(found)} changes, too few seeds to tell what they are worth."
    words = (statistics.WORSE, statistics.BETTER, statistics.NO_DIFFERENCE)
    worse, better, same = ([c for c in told if c["verdict"] == word] for word in words)
    text += f". Of {len(told)} changes {len(worse)} make it worse, {len(better)} better, and {len(same)} no "
    text += f"difference beyond {100 * statistics.MARGIN:g} points (p values corrected by Holm's method)"
    ends = [f"worst: {_named(c)}" for c in worse[:1]] + [f"best: {_named(c)}" for c in better[-1:]]
    return "; ".join([text, *ends]) + "."


def _named(comparison: Row) -> str:
    return f"{comparison['variation']}, {100 * comparison['mean']:+.1f} points"


def table(content: Row) -> Table:
    """Gives a line per variation: accuracy, the paired difference in points, and seconds, compilation included."""
    compared = {c["variation"]: c for c in STUDY.compared(content)}
    told = difference(digits=1)
    columns: Columns = {
        "change": "variation",
        "kind": "kind",
        "n": lambda row: row[QUANTITY]["n"],
        "validation %": measured(QUANTITY),
        **{name: told[name] for name in ("difference", "95 % interval", "p", "p (Holm)")},
        "it is": "verdict",
        "s per run": lambda row: f"{row['seconds'] / max(row[QUANTITY]['n'], 1):.1f}",
    }
    base = {**dict.fromkeys(("mean", "low", "high", "p", "p_holm")), "verdict": "-"}
    return Table.of(columns, [{**row, **compared.get(row["variation"], base)} for row in content["rows"]])


STUDY = Study(
    name="ablation",
    title="Past the report: what each ingredient of a recipe is worth",
    caveat=(
        "Ingredients are changed one at a time around one recipe, of one length, whose learning rate is not tuned "
        "anew: what is worth nothing here can be worth something in a longer run, or beside others. Most of "
        "these images were trained on when the recipe was chosen, and some were looked at. Intervals are not "
        "corrected, so one in twenty leaves out 0 by chance."
    ),
    doc=__doc__,
    options=Config,
    normalization={"clean": None},
    settings=settings,
    table=table,
    finding=finding,
    figures=figures,
    comparisons=comparisons,
    more=named,
    left_out=("test_accuracy", "curves", "first_losses", "choice", "report"),
    scales={
        "smoke": {"variations": "no_augmentation", "epochs": 3},
        "smoke cifar10": {"epochs": 1},
        "standard cifar10": {"seeds": 5},
        "standard else": {"variations": "no_augmentation,no_flips,no_normalisation"},
    },
)
main = STUDY.main

if __name__ == "__main__":
    raise SystemExit(main())
