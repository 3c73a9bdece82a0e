"""Do deeper plain networks do better? Table 1 of the report (Question 4): 2 to 5 layers, hidden ones of 50 units.

Hypothesis, from the report: a third layer adds about 2 points, further ones do not. --layers takes any depths and
--init several initialisations (`normal`, of standard deviation 0.001, is the handed-out one). All settings are run
with the same seeds, and each "deeper is better" is judged by the difference of the accuracies of every two depths,
over seeds and test images.

Published protocol: Adam, 10 epochs, coupled weight decay, the report's 49,000/1,000 split and its first 1,000 test
images. Clean protocol: momentum SGD, learning rate chosen for each depth on 5,000 validation images (first seed),
all 10,000 test images used once per run.

  TFDS_DATA_DIR=... python -m experiments.depth_study --dataset=cifar10 --seeds=5 [--protocol=published]
      [--layers=2,3,4,5,6,8,12,16] [--init=uniform_fan_in,normal]

Takes 1 to 2 minutes on two cores under either protocol, also with 5 seeds, and as long again for another
initialisation; expected figures: Table 1 in README.md.
On the digits, the default, it takes about 20 seconds and every depth ends above 95 % on test.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.nn.config import INITS, MLPConfig
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, statistics
from mlp_jax.studies.claims import Claim, Judge, Missing, accuracy, compared, one, several
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.folder import Figure
from mlp_jax.studies.options import option
from mlp_jax.studies.results import Row
from mlp_jax.studies.rows import Setting, edge_notes, find
from mlp_jax.studies.rows import comparisons as rows_comparisons
from mlp_jax.studies.study import Shape, Study
from mlp_jax.studies.tables import OUTCOME, Table, difference_cells, outcome
from mlp_jax.training.config import OPTIMIZERS, TrainConfig

# Table 1 of the report: layers -> (validation, test), as fractions
REPORT = {2: (0.504, 0.511), 3: (0.525, 0.528), 4: (0.521, 0.512), 5: (0.516, 0.519)}
RATES = (0.02, 0.04, 0.08, 0.16)
QUANTITIES = ("test_accuracy", "validation_accuracy")


@dataclass(frozen=True)
class Config(options.Tuned):
    """Options of the depth study; None takes the protocol's value."""

    layers: tuple[int, ...] = option(
        (2, 3, 4, 5), "depths to compare: hidden layers + 1, with commas", low=1, high=options.MOST_LAYERS
    )
    hidden: int = option(50, "width of each hidden layer", low=1)
    activation: str = option("relu", "activation function")
    negative_slope: float | None = option(None, "slope of leaky_relu below 0; default 0.1")
    batch_norm: str = option("none", "batch normalisation: none, before or after the activation")
    dropout: float = option(0.0, "probability that a hidden unit is dropped, in [0, 1)")
    init: tuple[str, ...] = option(("uniform_fan_in",), "initialisations to compare, with commas", choices=INITS)
    init_std: float | None = option(None, "standard deviation of --init=normal; default 0.001")
    optimizer: str | None = option(None, f"{', '.join(OPTIMIZERS)}; default adam if published, momentum if clean")
    learning_rates: tuple[float, ...] | None = option(
        None, "clean: the candidates to choose from on validation; default 0.02,0.04,0.08,0.16"
    )
    l2: float | None = option(None, "lambda of the penalty; default 0 if published, 0.003 if clean")
    epochs: int | None = option(None, "epochs of each run; default 10 if published, 12 if clean")
    decay: float | None = option(
        None, "learning rate times this per epoch; default 0.95 if published, 0.75 if clean"
    )
    batch_size: int | None = option(None, "examples in a minibatch; default 200 on cifar10, else 20", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init_std is not None and "normal" not in self.init:
            raise UserError(f"--init_std is for --init=normal, not {','.join(self.init)}: leave it out")


def settings(config: Config, shape: Shape) -> list[Setting]:
    """A network of every depth, from every initialisation."""
    recipes = tuple(recipe(config, rate) for rate in config.candidates(RATES))
    return [
        Setting(
            {"layers": layers, "hidden": config.hidden, "init": init},
            network(config, init, layers, shape),
            recipes,
            report(config, init, layers),
        )
        for init in config.init
        for layers in config.layers
    ]


def network(config: Config, init: str, layers: int, shape: Shape) -> MLPConfig:
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
        **shape.sizes,
    )


def recipe(config: Config, learning_rate: float) -> TrainConfig:
    """How the protocol trains."""
    published = config.protocol == "published"
    return TrainConfig(
        optimizer=("adam" if published else "momentum") if config.optimizer is None else config.optimizer,
        learning_rate=learning_rate,
        l2=config.l2 if config.l2 is not None else 0.0 if published else 3e-3,
        weight_decay=1e-3 if published else 0.0,
        batch_size=config.batch_size or options.BATCH_SIZE[config.dataset],
        epochs=config.epochs if config.epochs is not None else 10 if published else 12,
        decay=config.decay if config.decay is not None else 0.95 if published else 0.75,
        validate_in_training_mode=published,
        gradient=config.gradient,
    )


def report(config: Config, init: str, layers: int) -> dict[str, float] | None:
    """What Table 1 has for this depth, as fractions; it is about hidden layers of 50 on CIFAR-10."""
    if layers not in REPORT or (config.dataset, config.hidden, init) != ("cifar10", 50, "uniform_fan_in"):
        return None
    return dict(zip(("validation_accuracy", "test_accuracy"), REPORT[layers], strict=True))


def table(rows: Sequence[Row]) -> Table:
    """Table 1 in %: ours beside the report's."""
    return Table(["layers", "init", *OUTCOME], [[str(row["layers"]), row["init"], *outcome(row)] for row in rows])


def comparisons(rows: Sequence[Row], correct: Store | None = None) -> list[Row]:
    """Is deeper better? For each initialisation and quantity every two depths, which are one family."""
    found = []
    for init in dict.fromkeys(row["init"] for row in rows):
        own = sorted((row for row in rows if row["init"] == init), key=lambda row: int(row["layers"]))
        for quantity in QUANTITIES:
            pairs = combinations(own, 2)
            found += statistics.family([_comparison(*pair, quantity, correct or {}) for pair in pairs])
    return found


def _comparison(shallower: Row, deeper: Row, quantity: str, correct: Store) -> Row:
    label = {"init": deeper["init"], "deeper": deeper["layers"], "shallower": shallower["layers"]}
    return {**label, "quantity": quantity, **statistics.paired(deeper, shallower, quantity, correct)}


def comparison_table(found: Sequence[Row]) -> Table:
    """The comparisons in percentage points, with p values as they are and corrected by Holm's method."""
    header = [
        "init",
        "layers",
        "quantity",
        "difference",
        "95 % interval",
        "over",
        "p",
        "p (Holm)",
        "n",
        "deeper is",
    ]
    lines = []
    for row in found:
        depths, quantity = f"{row['deeper']} - {row['shallower']}", row["quantity"].removesuffix("_accuracy")
        lines.append([row["init"], depths, quantity, *difference_cells(row), str(row["n"]), row["verdict"]])
    return Table(header, lines)


def notes(content: Row) -> list[str]:
    """The comparisons, and where a learning rate was chosen at the edge."""
    compared = content["comparisons"]
    edges = edge_notes(content["rows"], lambda row: f"{row['layers']} layers ({row['init']})")
    return [f"\n{comparison_table(compared)}\n", *edges] if compared else edges


def finding(content: Row) -> str:
    """For each initialisation a sentence: the best depth on test, and how many "deeper is better" hold."""
    names = dict.fromkeys(row["init"] for row in content["rows"])
    return " ".join(_finding(name, content) for name in names)


def _finding(init: str, content: Row) -> str:
    rows = [row for row in content["rows"] if row["init"] == init and row["test_accuracy"]["n"]]
    if not rows:
        return f"With {init}, every run diverged."
    best = max(rows, key=lambda row: row["test_accuracy"]["mean"])
    first, last = (end(rows, key=lambda row: row["layers"]) for end in (min, max))
    ends = {row["layers"]: row for row in (first, best, last)}
    accuracies = ", ".join(
        f"{100 * row['test_accuracy']['mean']:.1f} % with {layers} layers" for layers, row in sorted(ends.items())
    )
    found = rows_comparisons(content, comparisons)
    claims = [c["verdict"] for c in found if (c["init"], c["quantity"]) == (init, QUANTITIES[0])]
    if not claims:
        return f"With {init}, test accuracy is {accuracies}."
    words = (statistics.BETTER, statistics.WORSE, statistics.NO_DIFFERENCE, statistics.CANNOT_TELL)
    holds, fails, same, open_ = map(claims.count, words)
    return (
        f"With {init}, test accuracy is {accuracies} ({best['layers']} layers do best); of {len(claims)} "
        f"comparisons that test 'deeper is better', {holds} are in favour, {fails} against, {same} find no "
        f"difference beyond {100 * statistics.MARGIN:g} points, and {open_} cannot tell."
    )


def _panel(rows: list[Row], split: str) -> draw.Panel:
    """Accuracy in % against depth, a line per initialisation; a depth of which no run finished has no point."""
    name, lines = f"{split}_accuracy", []
    for number, init in enumerate(dict.fromkeys(row["init"] for row in rows)):
        mine = sorted((r for r in rows if r["init"] == init and r[name]["n"]), key=lambda row: int(row["layers"]))
        means, spreads = ([100 * (row[name][k] or 0) for row in mine] for k in ("mean", "std"))
        low, high = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
        lines.append(
            draw.Line(init, [row["layers"] for row in mine], means, low, high, number=number, how="whiskers")
        )
    stated = [(row["layers"], 100 * row["report"][name]) for row in rows if row["report"]]
    if stated:
        lines.append(draw.Line("report", *map(list, zip(*stated, strict=True)), number=None, how="ring"))
    depths = sorted({row["layers"] for row in rows})
    return draw.Panel(lines, "layers (hidden layers + 1)", f"{split} accuracy [%]", xticks=depths)


def figures(content: Row) -> dict[str, Figure]:
    """Accuracy against depth."""
    caption = (
        "Accuracy against the number of layers, on the validation and the test split: mean over seeds, whiskers "
        "of one standard deviation, a line per initialisation."
    )
    if any(row["report"] for row in content["rows"]):
        caption += " Open grey markers: Table 1 of the report, one run each."
    return {
        "accuracy.svg": Figure(
            draw.lines([_panel(content["rows"], split) for split in ("validation", "test")]), caption
        )
    }


PART = "Question 4: deeper networks"


def of(layers: int) -> dict[str, Any]:
    """The label of a row of Table 1."""
    return {"layers": layers, "hidden": 50, "init": "uniform_fan_in"}


def _difference(content: Row, ours: int, base: int) -> Row:
    """The difference in test accuracy of two depths of Table 1, as the study's comparisons have it."""
    for layers in (ours, base):
        one(content, layers=layers, init="uniform_fan_in")
    label = {"init": "uniform_fan_in", "deeper": max(ours, base), "shallower": min(ours, base)}
    found = find(rows_comparisons(content, comparisons), {**label, "quantity": "test_accuracy"})
    if found is None:
        raise Missing(label)
    return found if ours > base else statistics.negated(found)


def deeper(layers: int) -> Judge:
    """Is so many layers better than 2, on test?"""

    def judge(content: Row) -> Row:
        difference = _difference(content, layers, 2)
        return compared(difference, statistics.judge_difference(difference))

    return judge


def three_are_best(content: Row) -> Row:
    """Are 3 layers better than 2, 4 and 5, on test?"""
    differences = {f"over {other}": _difference(content, 3, other) for other in (2, 4, 5)}
    return several(differences, statistics.judge_best(list(differences.values())))


CLAIMS = [
    Claim(f"table1-{layers}-{name}", PART, f"Table 1: {layers} layers, {name}", f"{100 * number:.1f}",
          "depth_study", accuracy(number, 1000, f"{name}_accuracy", **of(layers)), True)
    for layers, numbers in REPORT.items()
    for name, number in zip(("validation", "test"), numbers, strict=True)
]  # fmt: skip
CLAIMS += [
    Claim(f"deeper-{layers}", PART, f"Deeper is better: {layers} layers over 2, test",
          f"{100 * (REPORT[layers][1] - REPORT[2][1]):+.1f}", "depth_study", deeper(layers))
    for layers in (3, 4, 5)
]  # fmt: skip
CLAIMS += [Claim("three-best", PART, "3 layers are the best, test", "52.8", "depth_study", three_are_best)]

STUDY = Study(
    name="depth_study",
    title="Depth: are deeper plain networks better?",
    caveat=(
        "Every depth is trained for the same number of epochs at the same width, so deeper networks also have "
        "more weights. Verdicts are by p values that Holm's method has corrected for the number of comparisons "
        "of one initialisation and split; intervals are not corrected."
    ),
    doc=__doc__,
    options=Config,
    settings=settings,
    table=table,
    finding=finding,
    figures=figures,
    beside=lambda config, rows, correct: {"comparisons": comparisons(rows, correct)},
    notes=notes,
    claims=CLAIMS,
    scales={
        "smoke": {"layers": "2,3", "epochs": 3},
        "smoke cifar10": {"epochs": 1},
        "standard": {"init": "uniform_fan_in,normal"},
        "standard cifar10": {"seeds": 16},  # a population makes them cheap, and claims are decided
        "full cifar10": {"seeds": 16},
        "standard else clean": {"learning_rates": "0.04,0.08"},
        "full": {"layers": "2,3,4,5,6,8,12,16", "init": "uniform_fan_in,normal"},
    },
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
