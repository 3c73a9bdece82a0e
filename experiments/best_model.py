"""How good is the best network of the report (Question 4), [400, 400, 400], LeakyReLU(0.1), normalisation after?

Hypothesis: the report's 56.1 % on validation and 56.4 % on test come from one seed, 1,000 test images and a
validation in training mode; on all 10,000 test images the same recipe gives less.

Published protocol: Adam 1e-3, times 0.95 per epoch, 10 epochs, coupled weight decay 1e-3, the report's
45,000/5,000 split and its first 1,000 test images, validation in training mode; what evaluation mode and all test
images give is measured beside it. Clean protocol: learning rate chosen on 5,000 validation images (first seed),
all 10,000 test images used once per run.

  TFDS_DATA_DIR=... python -m experiments.best_model --dataset=cifar10 --seeds=5 [--protocol=published]

With 4 seeds it takes 1 minute (published) or 2 (clean) on two cores. Expected: about 54 % on all test images
(published), 55 to 56 % on validation and test (clean). On the digits, the default, it takes 10 to 20 seconds, with
98 to 99 % on test.

With --recipe=NAME the protocol's network and training are replaced by one of `mlp_jax.training.recipes`, which
also says what to expect of it; --epochs may shorten or lengthen it:

  TFDS_DATA_DIR=... python -m experiments.best_model --dataset=cifar10 --recipe=augmented

The seed with the best validation accuracy is shown (training curves, confusion matrix, first-layer weights, the
most confident mistakes) and saved as RESULTS_DIR/best_model/model.safetensors, with which `experiments.predict`
classifies your own pictures.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mlp_jax import data
from mlp_jax.data import pixels
from mlp_jax.data.dataset import Splits
from mlp_jax.errors import UserError
from mlp_jax.files import read_bounded, sha256
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params, Stats
from mlp_jax.studies import figures as draw
from mlp_jax.studies import learned, options, processes, results, statistics
from mlp_jax.studies.claims import Claim, Judge, against
from mlp_jax.studies.folder import Figure, ResultsFolder
from mlp_jax.studies.options import option
from mlp_jax.studies.results import Row, percent
from mlp_jax.studies.rows import Setting, dataset_name, edge_notes
from mlp_jax.studies.runs import compiled, measure, ready
from mlp_jax.studies.study import NORMALIZATION, Shape, Study, shape_of
from mlp_jax.studies.tables import Table
from mlp_jax.training import saved_model
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.evaluate import evaluate, on_device
from mlp_jax.training.recipes import HELD_OUT, RECIPES, Recipe, fitted, network_inputs
from mlp_jax.training.step import TrainState
from mlp_jax.training.step import network as trained

FILE = "model.safetensors"
RATES = {"adam": (3e-4, 1e-3, 3e-3), "momentum": (0.01, 0.03, 0.1), "sgd": (0.03, 0.1, 0.3)}
OF_RECIPES = (
    "hidden", "dropout", "optimizer", "learning_rate", "learning_rates", "l2", "decay", "batch_size", "precision",
)  # fmt: skip
"""What a recipe decides; --epochs may replace its own."""


@dataclass(frozen=True)
class Config(options.Tuned):
    """Options of the best model; None takes the protocol's value."""

    recipe: str | None = option(
        None,
        "a whole network and its training (in training/recipes.py), for cifar10",
        choices=RECIPES,
    )
    hidden: tuple[int, ...] = option(
        (400, 400, 400), "width of each hidden layer, with commas", low=1, repeats=True
    )
    dropout: float = option(0.0, "probability that a hidden unit is dropped, in [0, 1)")
    optimizer: str = option("adam", "how parameters are updated", choices=("sgd", "momentum", "adam"))
    learning_rates: tuple[float, ...] | None = option(
        None, "clean: the candidates to choose from on validation; default three, by optimizer"
    )
    l2: float | None = option(None, "lambda of the penalty; default 0 if published, 0.001 if clean")
    epochs: int | None = option(None, "epochs of each run; default 10 if published, 12 if clean")
    decay: float | None = option(
        None, "learning rate times this per epoch; default 0.95 if published, 0.75 if clean"
    )
    batch_size: int | None = option(None, "examples in a minibatch; default 200 on cifar10, else 20", low=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe is not None:
            self._check_recipe(self.recipe)

    def _check_recipe(self, name: str) -> None:
        """An option that would be ignored is a mistake too."""
        if self.protocol != "clean":
            raise UserError(f"--recipe is for the clean protocol, not {self.protocol}: leave one of them out")
        self.refuse_ignored(
            {f.name: v for f in dataclasses.fields(self) if (v := getattr(self, f.name)) != f.default}
        )

    @classmethod
    def refuse_ignored(cls, given: Mapping[str, Any]) -> None:
        """Raises UserError for an option that a recipe decides."""
        for name in OF_RECIPES:
            if given.get("recipe") is not None and name in given:
                raise UserError(f"--{name} is what --recipe={given['recipe']} decides: leave one of them out")

    @property
    def chosen(self) -> Recipe | None:
        """The recipe that --recipe names, as long as --epochs says."""
        if self.recipe is None:
            return None
        return RECIPES[self.recipe].with_options(self.gradient, self.epochs)

    def split(self, dataset: data.Dataset) -> Splits:
        """As the protocol's, but the report's best model was validated on 5,000 images; a recipe says how many."""
        splits = super().split(dataset)
        if self.dataset != "cifar10":
            return splits
        validation = data.SPLITS["45000/5000"][1] if self.recipe is None else HELD_OUT
        validation = min(validation, len(dataset.train_labels) // 2)
        return data.split(dataset, validation=validation, test=len(splits.test.y))


def settings(config: Config, shape: Shape) -> list[Setting]:
    """What is trained: the recipe that is named, or the protocol's, with each of its learning rates.

    Raises UserError if the network is too large to be saved.
    """
    label: dict[str, Any]
    if config.chosen is not None:
        model, *recipes = fitted(config.chosen, *shape)
        label = {"name": config.recipe}
    else:
        model = network(config, shape)
        recipes = [recipe(config, rate) for rate in config.candidates(RATES[config.optimizer])]
        label = {"hidden": list(model.hidden), "activation": model.activation, "batch_norm": model.batch_norm}
    saved_model.check_size(model)
    inputs = None if config.chosen is None else network_inputs(config.chosen, shape.image)
    return [Setting(label, model, tuple(recipes), report(config), inputs)]


def network(config: Config, shape: Shape) -> MLPConfig:
    """The report's best network, with these widths."""
    return MLPConfig(
        hidden=config.hidden,
        activation="leaky_relu",
        negative_slope=0.1,
        batch_norm="after",
        dropout=config.dropout,
        precision=config.precision,
        **shape.sizes,
    )


def recipe(config: Config, learning_rate: float) -> TrainConfig:
    """How the protocol trains."""
    published = config.protocol == "published"
    return TrainConfig(
        optimizer=config.optimizer,
        learning_rate=learning_rate,
        l2=config.l2 if config.l2 is not None else 0.0 if published else 1e-3,
        weight_decay=1e-3 if published else 0.0,
        batch_size=config.batch_size or options.BATCH_SIZE[config.dataset],
        epochs=config.epochs if config.epochs is not None else 10 if published else 12,
        decay=config.decay if config.decay is not None else 0.95 if published else 0.75,
        validate_in_training_mode=published,
        gradient=config.gradient,
    )


def report(config: Config) -> dict[str, float] | None:
    """What the report has for this network on CIFAR-10, as fractions."""
    same = (config.dataset, config.hidden, config.dropout) == ("cifar10", (400, 400, 400), 0.0)
    return dict(REPORT) if same and config.recipe in (None, "report") else None


def run(config: Config) -> bool:
    """Trains, shows and saves the model; True if no run diverged."""
    STUDY.check(config)
    folder = ResultsFolder(STUDY.name, config)
    results.refuse_folder(folder.path / FILE)
    splits = ready(config, folder, None if config.recipe else NORMALIZATION[config.protocol])
    dataset = config.load()  # every process, as they wait for one another
    if not kept(folder):
        (setting,) = settings(config, shape_of(dataset, len(splits.train.y)))
        train(config, folder, setting, splits, dataset)
    shown: dict[str, Figure] = {}
    more: dict[str, Any] = {}
    if folder.writes and folder.rows[0]["model"] is not None:
        more, shown = learned.shown(dataset, saved_model.load(folder.path / FILE))
    return STUDY.finish(config, folder, drawn=shown, **more)


def kept(folder: ResultsFolder) -> bool:
    """Whether a resumed study has its row, and the model that belongs to it; a row without it is dropped."""
    found = bool(folder.rows)
    if found and folder.writes and (saved := folder.rows[0]["model"]) is not None:
        try:
            content = read_bounded(folder.path / FILE, saved_model.MOST_BYTES)
            found = sha256(content) == saved["sha256"]
        except UserError:
            found = False
    found = bool(processes.share(found))
    if not found:
        folder.rows.clear()
    return found


def train(config: Config, folder: ResultsFolder, setting: Setting, splits: Splits, dataset: data.Dataset) -> None:
    """The study's one row, and the best seed's network as a file."""
    epochs = setting.epochs(len(splits.train.y))
    with options.progress((len(setting.recipes) - 1 + config.seeds) * epochs, "epoch") as bar:
        for one in compiled(config, [setting], splits):
            row, runs = measure(config, folder, one, splits, bar)
    states = [runs[seed - config.seed].state for seed in row["seeds"]]
    if config.protocol == "published":
        row |= in_evaluation_mode(config, row, states, setting.model, splits, dataset)
    if config.recipe is not None:
        row["network"] = dataclasses.asdict(setting.model)
        row |= over_views(config, states, setting, dataset)
    row["model"] = None
    if row["seeds"]:
        values = row["validation_accuracy"]["values"]
        seed = row["seeds"][values.index(max(values))]
        model = _model(config, setting, runs[seed - config.seed].state, seed, dataset)
        row["model"] = {"file": FILE, "seed": seed, "test_accuracy": model.about.test_accuracy}
        if folder.writes:
            content = _save(folder.path / FILE, model)
            row["model"] |= {"sha256": sha256(content), "bytes": len(content)}
    folder.add(row)


def _save(path: Path, model: saved_model.Model) -> bytes:
    try:
        return saved_model.save(path, model)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free the disk or change --results_dir") from error


def in_evaluation_mode(
    config: Config,
    row: Row,
    states: list[TrainState],
    model: MLPConfig,
    splits: Splits,
    dataset: data.Dataset,
) -> Row:
    """What the report's script does not measure: validation in evaluation mode, and all test images."""
    scaling = pixels.scaling(config.split(dataset).train.x, NORMALIZATION[config.protocol])
    test = on_device(data.Split(pixels.rows(dataset.test_images, scaling), dataset.test_labels), model)
    found = {"validation_accuracy_evaluation_mode": splits.validation, "test_accuracy_all_images": test}
    measured = {
        name: statistics.measured([evaluate(*trained(s), split, model).accuracy for s in states])
        for name, split in found.items()
    }
    return {**measured, "images": {**row["images"], "all_test": len(test.y)}}


def over_views(config: Config, states: list[TrainState], setting: Setting, dataset: data.Dataset) -> Row:
    """Test-time augmentation, beside the plain accuracy, of a network that was trained on moved images."""
    augmentation = setting.recipes[0].augmentation
    if augmentation is None or not (augmentation.crop and augmentation.flip):
        return {}
    test = config.split(dataset).test
    found = []
    for state in states:
        network, params, stats, scaling = _of_pixels(config, setting, state, dataset)
        split = data.Split(pixels.rows(test.x, scaling), test.y)
        found.append(evaluate(params, stats, split, network, image=augmentation.image).accuracy)
    return {"test_accuracy_over_views": statistics.measured(found)}


def _of_pixels(
    config: Config, setting: Setting, state: TrainState, dataset: data.Dataset
) -> tuple[MLPConfig, Params, Stats, pixels.Scaling]:
    """A run's network as one of pixels, and how these are scaled."""
    params, stats = trained(state)
    images = config.split(dataset).train.x
    if setting.inputs is None:
        scaling = pixels.scaling(images, NORMALIZATION[config.protocol])
        return setting.model, params, stats, scaling
    network, params, scaling = setting.inputs.of_pixels(setting.model, params, setting.inputs.learned(images))
    return network, params, stats, scaling


def _model(
    config: Config, setting: Setting, state: TrainState, seed: int, dataset: data.Dataset
) -> saved_model.Model:
    """A run's network, and its accuracy on all test images."""
    network, params, stats, scaling = _of_pixels(config, setting, state, dataset)
    about = saved_model.About(
        dataset=dataset.name,
        data_fingerprint=dataset.fingerprint,
        protocol=config.protocol,
        seed=seed,
        test_accuracy=0.0,
        test_images=len(dataset.test_labels),
        package_version=metadata.version("mlp_jax"),
    )
    height, width, channels = dataset.test_images.shape[1:]
    model = saved_model.Model(network, params, stats, scaling, (height, width, channels), dataset.classes, about)
    hits = model.logits(dataset.test_images).argmax(axis=1) == dataset.test_labels
    return dataclasses.replace(model, about=dataclasses.replace(about, test_accuracy=float(hits.mean())))


REPORT = {"validation_accuracy": 0.561, "test_accuracy": 0.564}
REPORT_IMAGES = {"validation_accuracy": 5000, "test_accuracy": 1000}


def training_curves(row: results.Row) -> str:
    """Loss and accuracy against epoch: the minibatches' and the validation split's, a band over seeds."""
    curves, stated = row["curves"], row["report"]
    epochs = list(range(1, 1 + max((len(curve) for curve in curves["loss"]), default=0)))
    lines = {
        name: [
            draw.over_seeds(label, epochs, scale * np.array(curves[prefix + name]), number)
            for number, (prefix, label) in enumerate((("", "training minibatches"), ("validation_", "validation")))
        ]
        for name, scale in (("loss", 1), ("accuracy", 100))
    }
    levels = {} if stated is None else {"report: validation, one seed": 100 * stated["validation_accuracy"]}
    ticks = epochs[:: max(1, len(epochs) // 10)]
    losses = draw.Panel(lines["loss"], "epoch", "loss (nats)", xticks=ticks)
    return draw.lines(
        [losses, draw.Panel(lines["accuracy"], "epoch", "accuracy (%)", xticks=ticks, levels=levels)]
    )


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Of each true class (a row) the percentage that was taken for each class (a column)."""
    table = np.asarray(counts, float)
    shares = 100 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    labels, height = ("predicted class", "true class"), 2.2 + 0.45 * len(classes)
    return draw.heat_map(
        {"% of each true class": shares},
        classes,
        classes,
        labels,
        (0, 100),
        cmap="Blues",
        form=".0f",
        height=height,
        turn=45,
    )


def figures(content: Row) -> dict[str, Figure]:
    """The figures that a results file tells all of: training curves, confusion matrix."""
    row = content["rows"][0]
    found = {
        "training_curves.svg": Figure(
            training_curves(row),
            "Loss (with the L2 term for training) and accuracy by epoch: mean over seeds, band of one standard "
            "deviation. Training is the mean over the epoch's minibatches, before their updates."
            + (" Validation is in training mode, as the report's script has it." if _published(row) else ""),
        )
    }
    if "confusion" in content:
        counts = content["confusion"]["counts"]
        found["confusion_matrix.svg"] = Figure(
            confusion_matrix(counts, content["classes"]),
            f"Of the test images of each class (all {sum(map(sum, counts)):,}), the percentage that seed "
            f"{row['model']['seed']}'s network takes for each class; right answers are on the diagonal.",
        )
    return found


def _published(row: Row) -> bool:
    return bool(row["protocol"] == "published")


def finding(content: Row) -> str:
    """What came out, in one or two sentences."""
    row, name = content["rows"][0], dataset_name(content)
    many = len(row["seeds"])
    if not many:
        return f"On {name} none of {row['diverged']} runs finished: all diverged."
    validation, test = (percent(row[q]) for q in ("validation_accuracy", "test_accuracy"))
    runs = f"{many} seed{'s' if many > 1 else ''}" + (f", {row['diverged']} diverged" if row["diverged"] else "")
    images = row["images"]
    told = f"the recipe {row['name']}" if "name" in row else "the network"
    text = f"On {name} {told} reaches {validation} % on validation and {test} % on "
    text += f"{images['test']:,} test images ({runs})"
    if _published(row):
        text += f"; in evaluation mode {percent(row['validation_accuracy_evaluation_mode'])} % on validation, "
        text += f"and {percent(row['test_accuracy_all_images'])} % on all {images['all_test']:,} test images"
    if row["report"] is None:
        return text + "."
    return f"{text}. {_against_report(row)}"


def _against_report(row: Row) -> str:
    stated = row["report"]
    if not _published(row):
        gap = 100 * (row["test_accuracy"]["mean"] - stated["test_accuracy"])
        return (
            f"The report states {100 * stated['test_accuracy']:.1f} % on its 1,000 test images: ours, with "
            f"another recipe and all test images, is {abs(gap):.1f} points {'above' if gap >= 0 else 'below'}."
        )
    names = {"validation_accuracy": "validation", "test_accuracy": "test"}
    verdicts = [
        f"{100 * value:.1f} % on {names[q]}: {against(row, q, value, REPORT_IMAGES[q])['verdict']}"
        for q, value in stated.items()
    ]
    return f"The report's {'; its '.join(verdicts)}."


def table(rows: Sequence[Row]) -> Table:
    """In %: ours beside the report's."""
    header = ["accuracy", "images", "ours %", "report %"]
    return Table(header, [line for row in rows for line in _lines(row)])


def _lines(row: Row) -> list[list[str]]:
    images, stated = row["images"], row["report"] or {}
    kinds = [
        ("validation_accuracy", "validation" + (", training mode" if _published(row) else ""), "validation"),
        ("validation_accuracy_evaluation_mode", "validation, evaluation mode", "validation"),
        ("test_accuracy", "test" + (", the first images" if _published(row) else ""), "test"),
        ("test_accuracy_all_images", "test, all images", "all_test"),
        ("test_accuracy_over_views", "test, each image as 6 views", "test"),
    ]
    return [
        [
            title,
            f"{images[split]:,}",
            percent(row[quantity]),
            f"{100 * stated[quantity]:.1f}" if quantity in stated else "-",
        ]
        for quantity, title, split in kinds
        if quantity in row
    ]


def notes(content: Row) -> list[str]:
    """Where the learning rate lies, what was expected of the recipe, and where the model is."""
    config, (row, *_) = content["config"], content["rows"]
    lines = edge_notes(content["rows"], lambda row: "the best model")
    if config["recipe"] is not None and config["dataset"] == "cifar10" and config["epochs"] is None:
        lines.append(f"{config['recipe']}: {RECIPES[config['recipe']].expected or 'not measured yet'}")
    if row["model"] is None:
        return [*lines, "no model is saved: no run finished"]
    return [*lines, f"model: {FILE} beside the results; python -m experiments.predict PICTURE classifies with it"]


def judged(name: str) -> Judge:
    """Judges an accuracy of the best model."""
    return lambda content: against(content["rows"][0], name, REPORT[name], REPORT_IMAGES[name])


PART = "Question 4: deeper networks"
STUDY = Study(
    name="best_model",
    title="The best model (Question 4)",
    caveat=(
        "The report's 56.1 % and 56.4 % are one seed's, the first on validation in training mode, the second on "
        "1,000 test images (one standard error is 1.6 points). The model shown is the seed that did best on "
        "validation, and its pictures say nothing about other seeds."
    ),
    doc=__doc__,
    options=Config,
    settings=settings,
    table=table,
    finding=finding,
    figures=figures,
    notes=notes,
    job=run,
    claims=(
        Claim("best-validation", PART, "Best model, 400-400-400: validation", "56.1", "best_model",
              judged("validation_accuracy"), True),
        Claim("best-test", PART, "Best model, 400-400-400: test", "56.4", "best_model", judged("test_accuracy"),
              True),
    ),
    scales={
        "smoke": {"epochs": 3},
        "smoke cifar10": {"epochs": 1},
        "smoke else": {"hidden": "50,50"},
        "standard cifar10": {"seeds": 16},
        "full cifar10": {"seeds": 16},
        "standard else": {"hidden": "100,100,100"},
        "standard else clean": {"learning_rates": "0.001,0.003"},
    },
)  # fmt: skip
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
