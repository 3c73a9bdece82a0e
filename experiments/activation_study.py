"""Which of activation, batch normalisation, dropout and width make the report's best network (Question 4)?

The report goes from plain networks of ReLU units to [400, 400, 400] units of LeakyReLU(0.1), each followed by
batch normalisation, 56.4 % on test, and says that dropout "didn't give any improvement". Hypothesis: most of the
gain is batch normalisation's; other smooth or leaky activations do as well; dropout costs accuracy in runs this
short.

From that best network, the centre, one factor at a time is changed (all combinations with --full): the activation,
batch normalisation (none, before, after the activation), dropout (0, 0.2, 0.5), the width; and the steps
from the best plain network to it are shown. Differences are taken seed by seed.

Published protocol: Adam at 1e-3, 10 epochs, coupled weight decay, 45,000/5,000 images, the first 1,000 test
images. Clean protocol: Adam, the learning rate chosen for each setting on validation (first seed), all 10,000 test
images.

  TFDS_DATA_DIR=... python -m experiments.activation_study --dataset=cifar10 [--protocol=published]

Takes about 15 minutes on two cores (clean, 3 seeds; published, 4), about a minute on the digits, the default,
nearly all of it compilation: every activation is a program of its own. Expected: clean, the centre at 55 to 56 %
on test.
"""

import sys
from dataclasses import dataclass
from itertools import product
from typing import Any

from experiments import _factors
from experiments._activation_words import figures, finding, table
from mlp_jax import data
from mlp_jax.nn.activations import ACTIVATIONS
from mlp_jax.nn.config import BATCH_NORMS, MLPConfig
from mlp_jax.studies import command, options
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.options import option
from mlp_jax.studies.origin import of_result
from mlp_jax.studies.rows import Setting, edge_notes
from mlp_jax.studies.runs import ready, run_settings
from mlp_jax.training.config import TrainConfig

__all__ = ["CAVEAT", "TITLE", "Config", "figures", "finding", "run", "table"]  # what the report page asks for

TITLE = "From the best plain network to the best one: activation, batch normalisation, dropout and width"
CAVEAT = (
    "One factor is changed at a time around the report's best network, so combinations of two are not judged, and "
    "intervals are not corrected for the number of settings compared. The best plain network was trained on "
    "49,000 images in the report, here on 45,000; published validation is in training mode, dropout too."
)
# (validation, test) that the report states, as fractions; Table 1's 3 layers, and the best model of Question 4
REPORT = {
    ("50,50", "relu", "none", 0.0): (0.525, 0.528),
    ("400,400,400", "leaky_relu", "after", 0.0): (0.561, 0.564),
}
NORMALIZATION = {"published": "unit_range", "clean": "standardize"}
RATES = (0.0005, 0.001, 0.002, 0.004)
SMALL_RATES = (0.002, 0.008)
LAST = 1 / 32  # of the learning rate is left in the last epoch, clean
# (hidden layers, width of the centre, widths)
SHAPES = {
    "cifar10": (3, 400, (50, 200, 400)),
    "digits": (2, 50, (20, 50, 100)),
    "synthetic": (2, 50, (20, 50, 100)),
}


@dataclass(frozen=True)
class Config(options.Tuned):
    """Options of the activation study; None takes the protocol's or the dataset's value."""

    activations: tuple[str, ...] = option(
        tuple(ACTIVATIONS), "activations to compare, with commas", choices=ACTIVATIONS
    )
    batch_norms: tuple[str, ...] = option(
        tuple(BATCH_NORMS), "batch normalisations to compare, with commas", choices=BATCH_NORMS
    )
    dropouts: tuple[float, ...] = option(
        (0.0, 0.2, 0.5), "probabilities that a hidden unit is dropped, with commas", low=0, high=1, open_high=True
    )
    widths: tuple[int, ...] | None = option(
        None,
        "widths to compare, of all hidden layers, with commas; default 50,200,400 on cifar10, else 20,50,100",
        low=1,
    )
    width: int | None = option(None, "the width while others are varied; default 400 on cifar10, else 50", low=1)
    hidden_layers: int | None = option(
        None, "number of hidden layers; default 3 on cifar10, else 2", low=1, high=options.MOST_LAYERS - 1
    )
    full: bool = option(False, "every combination instead of one factor at a time")
    learning_rates: tuple[float, ...] | None = option(
        None,
        "clean: the candidates to choose from on validation; default 0.0005,0.001,0.002,0.004 on cifar10, "
        "else 0.002,0.008",
    )
    weight_decay: float | None = option(
        None, "times each parameter, added to its gradient; default 0.001 if published, 0 if clean"
    )
    epochs: int | None = option(None, "epochs of each run; default 10 if published, 6 if clean")
    decay: float | None = option(
        None, "learning rate times this per epoch; default 0.95 if published; if clean, 1/32 is left in the last"
    )
    batch_size: int | None = option(None, "examples in a minibatch; default 200 on cifar10, else 20", low=1)

    def split(self, dataset: data.Dataset) -> data.Splits:
        """As all studies do, but on CIFAR-10 both protocols have the report's 45,000/5,000 of its best model."""
        if self.dataset != "cifar10":
            return super().split(dataset)
        test = 1000 if self.protocol == "published" else None
        return data.split(dataset, validation=data.SPLITS["45000/5000"][1], test=test)


def shape(config: Config) -> tuple[int, int, tuple[int, ...]]:
    """Number of hidden layers, width of the centre, widths to compare."""
    given = (config.hidden_layers, config.width, config.widths)
    layers, width, widths = SHAPES[config.dataset]
    return given[0] or layers, given[1] or width, widths if given[2] is None else given[2]


def labels(config: Config) -> list[dict[str, Any]]:
    """What is trained, the centre first, each once."""
    layers, width, widths = shape(config)

    def hidden(units: int) -> str:
        return ",".join([str(units)] * layers)

    values: dict[str, list[Any]] = {
        "hidden": [hidden(n) for n in widths],
        "activation": list(config.activations),
        "batch_norm": list(config.batch_norms),
        "dropout": list(config.dropouts),
    }
    centre = {
        "hidden": hidden(width),
        "activation": "leaky_relu",
        "batch_norm": "after",
        "dropout": 0.0,
    }
    one_at_a_time = [{**centre, key: value} for key in _factors.FACTORS.values() for value in values[key]]
    every = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
    found = [centre, *reversed(_factors.path(centre)), *one_at_a_time, *(every if config.full else [])]
    return [label for number, label in enumerate(found) if label not in found[:number]]


def network(config: Config, label: dict[str, Any], inputs: int = 3072) -> MLPConfig:
    """The network of one setting."""
    return MLPConfig(
        hidden=tuple(int(width) for width in label["hidden"].split(",")),
        activation=label["activation"],
        batch_norm=label["batch_norm"],
        dropout=label["dropout"],
        precision=config.precision,
        inputs=inputs,
    )


def usual_rates(config: Config) -> tuple[float, ...]:
    """The candidates if none are given."""
    return RATES if config.dataset == "cifar10" else SMALL_RATES


def recipe(config: Config, learning_rate: float) -> TrainConfig:
    """How the protocol trains."""
    published = config.protocol == "published"
    epochs = config.epochs if config.epochs is not None else 10 if published else 6
    decay = 0.95 if published else LAST ** (1 / max(1, epochs - 1))
    return TrainConfig(
        optimizer="adam",
        learning_rate=learning_rate,
        weight_decay=config.weight_decay if config.weight_decay is not None else 1e-3 if published else 0.0,
        batch_size=config.batch_size or options.BATCH_SIZE[config.dataset],
        epochs=epochs,
        decay=decay if config.decay is None else config.decay,
        validate_in_training_mode=published,
        gradient=config.gradient,
    )


def run(config: Config) -> bool:
    """Trains every setting, prints the table, writes results.json and figures; True if no run diverged."""
    check(config)
    recipes = tuple(recipe(config, rate) for rate in config.candidates(usual_rates(config)))
    folder = ResultsFolder("activation_study", config)
    splits = ready(config, folder, NORMALIZATION[config.protocol])
    inputs = splits.train.x.shape[1]
    settings = [
        Setting(label, network(config, label, inputs), recipes, report(config, label)) for label in labels(config)
    ]
    run_settings(config, folder, settings, splits)
    more = {"comparisons": _factors.comparisons(folder.rows), "verdicts": _factors.verdicts(folder.rows)}
    content = {"config": of_result(config), "rows": folder.rows, **more}
    path = folder.finish(figures(content), **more)
    print(table(folder.rows))
    for note in edge_notes(folder.rows, _factors.name):
        print(note)
    print(finding(content))
    print(f"{config.dataset}, {config.protocol} protocol, {config.seeds} seeds, mean ± standard deviation; {path}")
    return all(row["status"] == "finished" for row in folder.rows)


def check(config: Config) -> None:
    """Every option, before anything is loaded; one that would be ignored is a mistake too."""
    for label in labels(config):
        for rate in config.candidates(usual_rates(config)):
            config.check_batch(network(config, label), recipe(config, rate))


def report(config: Config, label: dict[str, Any]) -> dict[str, float] | None:
    """What the report states of this setting, as fractions; it is about CIFAR-10."""
    stated = REPORT.get(tuple(label.values())) if config.dataset == "cifar10" else None
    return stated and dict(zip(("validation_accuracy", "test_accuracy"), stated, strict=True))


main = command.main_of(Config, run, __doc__)

if __name__ == "__main__":
    sys.exit(main())
