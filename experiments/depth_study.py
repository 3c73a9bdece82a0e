"""Do deeper plain networks do better? Table 1 of the report (Question 4): 2 to 5 layers, hidden ones of 50 units.

Hypothesis, from the report: a third layer adds about 2 points, further ones do not. --layers takes any depths and
--init several initialisations (`normal`, of standard deviation 0.001, is the handed-out one). All settings are run
with the same seeds, and each "deeper is better" is judged by the paired differences of the accuracies: between
neighbouring depths, and against the shallowest.

Published protocol: Adam, 10 epochs, coupled weight decay, the report's 49,000/1,000 split and its first 1,000 test
images. Clean protocol: momentum SGD, learning rate chosen for each depth on 5,000 validation images (first seed),
all 10,000 test images used once per run.

  TFDS_DATA_DIR=... python -m experiments.depth_study --dataset=cifar10 --seeds=5 [--protocol=published]
      [--layers=2,3,4,5,6,8,12,16] [--init=uniform_fan_in,normal]

Takes 1 to 2 minutes on two cores under either protocol, also with 5 seeds, and as long again for another
initialisation; expected figures: the README's table.
On the digits, the default, it takes about 20 seconds and every depth ends above 95 % on test.
"""

from dataclasses import dataclass
from typing import Any

from experiments import _common, _launch, _rows, _runs, _study
from experiments._common import option
from experiments._depth import comparison_table, comparisons, finding
from experiments._study import Figure
from mlp_jax.errors import UserError, one_of, whole_number
from mlp_jax.nn.config import INITS, MLPConfig
from mlp_jax.studies import results
from mlp_jax.studies.plots import depth_study as plots
from mlp_jax.studies.tables import Table
from mlp_jax.training.config import OPTIMIZERS, TrainConfig

TITLE = "Depth: are deeper plain networks better?"
CAVEAT = (
    "Every depth is trained for the same number of epochs at the same width, so deeper networks also have more "
    "weights; the p values and intervals of the comparisons are not corrected for their number."
)

# Table 1 of the report: layers -> (validation, test), as fractions
REPORT = {2: (0.504, 0.511), 3: (0.525, 0.528), 4: (0.521, 0.512), 5: (0.516, 0.519)}
NORMALIZATION = {"published": "unit_range", "clean": "standardize"}
RATES = (0.02, 0.04, 0.08, 0.16)
__all__ = ["CAVEAT", "TITLE", "Config", "figures", "finding", "run", "table"]


@dataclass(frozen=True)
class Config(_common.Tuned):
    """Options of the depth study; None takes the protocol's value."""

    layers: str = option("2,3,4,5", "depths to compare: hidden layers + 1, with commas")
    hidden: int = option(50, "width of each hidden layer")
    activation: str = option("relu", "activation function")
    negative_slope: float | None = option(None, "slope of leaky_relu below 0; default 0.1")
    batch_norm: str = option("none", "batch normalisation: none, before or after the activation")
    dropout: float = option(0.0, "probability that a hidden unit is dropped, in [0, 1)")
    init: str = option(
        "uniform_fan_in", "initialisations to compare, with commas: uniform_fan_in, normal, he, glorot, lecun"
    )
    init_std: float | None = option(None, "standard deviation of --init=normal; default 0.001")
    optimizer: str | None = option(None, f"{', '.join(OPTIMIZERS)}; default adam if published, momentum if clean")
    learning_rates: str | None = option(
        None, "clean: the candidates to choose from on validation; default 0.02,0.04,0.08,0.16"
    )
    l2: float | None = option(None, "lambda of the penalty; default 0 if published, 0.003 if clean")
    epochs: int | None = option(None, "epochs of each run; default 10 if published, 12 if clean")
    decay: float | None = option(
        None, "learning rate times this per epoch; default 0.95 if published, 0.75 if clean"
    )
    batch_size: int | None = option(None, "examples in a minibatch; default 200 on cifar10, else 20")


def depths(config: Config) -> tuple[int, ...]:
    """The depths that --layers lists, each at least 1 (softmax regression)."""
    return _common.whole_numbers("--layers", config.layers, 1, _common.MOST_LAYERS)


def inits(config: Config) -> tuple[str, ...]:
    """The initialisations that --init lists."""
    names = tuple(config.init.split(","))
    for name in names:
        one_of("init", name, INITS)
    return names


def network(config: Config, init: str, layers: int, inputs: int = 3072, classes: int = 10) -> MLPConfig:
    """The network of one depth and initialisation."""
    return MLPConfig(
        hidden=(config.hidden,) * (layers - 1),
        activation=config.activation,
        negative_slope=config.negative_slope,
        batch_norm=config.batch_norm,
        dropout=config.dropout,
        init=init,
        init_std=1e-3 if config.init_std is None else config.init_std,
        precision=config.precision,
        inputs=inputs,
        classes=classes,
    )


def recipe(config: Config, learning_rate: float) -> TrainConfig:
    """How the protocol trains."""
    published = config.protocol == "published"
    return TrainConfig(
        optimizer=("adam" if published else "momentum") if config.optimizer is None else config.optimizer,
        learning_rate=learning_rate,
        l2=config.l2 if config.l2 is not None else 0.0 if published else 3e-3,
        weight_decay=1e-3 if published else 0.0,
        batch_size=config.batch_size or _common.BATCH_SIZE[config.dataset],
        epochs=config.epochs if config.epochs is not None else 10 if published else 12,
        decay=config.decay if config.decay is not None else 0.95 if published else 0.75,
        validate_in_training_mode=published,
        gradient=config.gradient,
    )


def run(config: Config) -> bool:
    """Trains every depth, prints the table, writes results.json; True if no run diverged."""
    check(config)
    recipes = tuple(recipe(config, rate) for rate in config.candidates(RATES))
    study = _study.Study("depth_study", config)
    splits = _runs.ready(config, study, NORMALIZATION[config.protocol])
    inputs = splits.train.x.shape[1]
    settings = [
        _runs.Setting(
            {"layers": layers, "hidden": config.hidden, "init": init},
            network(config, init, layers, inputs),
            recipes,
            report(config, init, layers),
        )
        for init in inits(config)
        for layers in depths(config)
    ]
    _runs.run_settings(config, study, settings, splits)
    compared = comparisons(study.rows)
    path = study.finish(figures({"rows": study.rows}), comparisons=compared)
    print(table(study.rows))
    if compared:
        print(f"\n{comparison_table(compared)}\n")
    for note in _rows.edge_notes(study.rows, lambda row: f"{row['layers']} layers ({row['init']})"):
        print(note)
    print(f"{config.dataset}, {config.protocol} protocol, {config.seeds} seeds, mean ± standard deviation; {path}")
    return all(row["status"] == "finished" for row in study.rows)


def check(config: Config) -> None:
    """Every option, before anything is loaded; one that would be ignored is a mistake too."""
    if len(set(inits(config))) < len(inits(config)):
        raise UserError(f"--init={config.init} names an initialisation twice: leave one out")
    if config.init_std is not None and "normal" not in inits(config):
        raise UserError(f"--init_std is for --init=normal, not {config.init}: leave it out")
    whole_number("--hidden", config.hidden, 1)
    if config.batch_size is not None:
        whole_number("--batch_size", config.batch_size, 1)
    for layers in depths(config):
        for rate in config.candidates(RATES):
            config.check_batch(network(config, inits(config)[0], layers), recipe(config, rate))
    if len(set(depths(config))) < len(depths(config)):
        raise UserError(f"--layers={config.layers} names a depth twice: leave one out")


def report(config: Config, init: str, layers: int) -> dict[str, float] | None:
    """What Table 1 has for this depth, as fractions; it is about hidden layers of 50 on CIFAR-10."""
    if layers not in REPORT or (config.dataset, config.hidden, init) != ("cifar10", 50, "uniform_fan_in"):
        return None
    return dict(zip(("validation_accuracy", "test_accuracy"), REPORT[layers], strict=True))


def figures(content: dict[str, Any]) -> dict[str, Figure]:
    """Accuracy against depth."""
    caption = (
        "Accuracy against the number of layers, on the validation and the test split: mean over seeds, whiskers "
        "of one standard deviation, a line per initialisation."
    )
    if any(row["report"] for row in content["rows"]):
        caption += " Open grey markers: Table 1 of the report, one run each."
    return {"accuracy.svg": Figure(plots.accuracy(content["rows"]), caption)}


def table(rows: list[results.Row]) -> Table:
    """Table 1 in %: ours beside the report's."""
    header = [
        "layers",
        "init",
        "learning rate",
        "validation %",
        "test %",
        "report: validation %",
        "report: test %",
        "status",
    ]
    return Table(header, [_cells(row) for row in rows])


def _cells(row: results.Row) -> list[str]:
    report = row["report"] or {}
    theirs = [f"{100 * report[k]:.1f}" if k in report else "-" for k in ("validation_accuracy", "test_accuracy")]
    ours = [results.percent(row["validation_accuracy"]), results.percent(row["test_accuracy"])]
    status = row["status"] if row["status"] == "finished" else f"{row['diverged']} diverged"
    return [str(row["layers"]), row["init"], f"{row['recipe']['learning_rate']:g}", *ours, *theirs, status]


if __name__ == "__main__":
    _launch.launch(Config, run)
