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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any, ClassVar

from mlp_jax.fields import Ints, Names, option
from mlp_jax.nn.config import INITS
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, plotted, statistics, verdicts
from mlp_jax.studies.claims import Claim, Missing, accuracy, greater, several
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.results import Row, by
from mlp_jax.studies.rows import Setting, families, find, reported
from mlp_jax.studies.study import Shape, Study
from mlp_jax.studies.tables import OUTCOME, Columns, Table, difference, of_rows

# Table 1 of the report has (validation, test) for each number of layers, as fractions
REPORT = {2: (0.504, 0.511), 3: (0.525, 0.528), 4: (0.521, 0.512), 5: (0.516, 0.519)}
RATES = (0.02, 0.04, 0.08, 0.16)  # the clean protocol chooses from these
TEST = "test_accuracy"


@dataclass(frozen=True)
class Config(options.Tuned):
    """These are the options of the depth study."""

    USUAL: ClassVar[options.Places] = {
        "published": options.QUESTION_4,
        "clean": {"optimizer": "momentum", "l2": 3e-3, "epochs": 12, "decay": 0.75, "learning_rates": RATES},
    }

    layers: Ints = option((2, 3, 4, 5), "depths to compare: hidden layers + 1", low=1, high=options.MOST_LAYERS)
    hidden: int = option(50, "width of each hidden layer", low=1)
    activation: str = option("relu", "activation function")
    negative_slope: float | None = option(None, "slope of leaky_relu below 0; default 0.1")
    batch_norm: str = option("none", "batch normalisation: none, before or after the activation")
    dropout: float = option(0.0, "probability that a hidden unit is dropped, in [0, 1)")
    init: Names = option(("uniform_fan_in",), "initialisations to compare", choices=INITS)
    init_std: float | None = option(None, "its standard deviation; default 0.001", needs="init=normal")


def settings(config: Config, shape: Shape) -> list[Setting]:
    """Gives a network of every depth, from every initialisation."""
    return [
        Setting(
            {"layers": layers, "hidden": config.hidden, "init": init},
            config.network(**shape.sizes, hidden=(config.hidden,) * (layers - 1), init=init),
            config.recipes(),
            reported(config, REPORT.get(layers) if (config.hidden, init) == (50, "uniform_fan_in") else None),
        )
        for init in config.init
        for layers in config.layers
    ]


def comparisons(rows: Sequence[Row], correct: Store | None = None) -> list[Row]:
    """Compares every two depths of each initialisation and quantity, which are one family."""
    found = []
    for init, own in by(rows, "init").items():
        pairs = combinations(sorted(own, key=_layers), 2)
        labels = [({"init": init, "deeper": b["layers"], "shallower": a["layers"]}, b, a) for a, b in pairs]
        found += families(labels, correct)
    return found


def _layers(row: Row) -> int:
    return int(row["layers"])


COMPARED: Columns = {
    "init": "init",
    "layers": lambda row: f"{row['deeper']} - {row['shallower']}",
    "quantity": lambda row: row["quantity"].removesuffix("_accuracy"),
    **difference(),
    "deeper is": "verdict",
}


def notes(content: Row) -> list[str]:
    """Shows the comparisons."""
    compared = content["comparisons"]
    return [f"\n{Table.of(COMPARED, compared)}\n"] if compared else []


def finding(content: Row) -> str:
    """Tells for each initialisation the best depth on test, and how many "deeper is better" hold."""
    return " ".join(_finding(init, rows, content) for init, rows in by(content["rows"], "init").items())


def _finding(init: str, rows: Sequence[Row], content: Row) -> str:
    rows = sorted((row for row in rows if row[TEST]["n"]), key=_layers)
    if not rows:
        return f"With {init}, every run diverged."
    best = max(rows, key=lambda row: float(row[TEST]["mean"]))
    told = {row["layers"]: row for row in sorted((rows[0], best, rows[-1]), key=_layers)}
    accuracies = ", ".join(f"{100 * row[TEST]['mean']:.1f} % with {n} layers" for n, row in told.items())
    found = STUDY.compared(content)
    judged = [c["verdict"] for c in found if (c["init"], c["quantity"]) == (init, TEST)]
    if not judged:
        return f"With {init}, test accuracy is {accuracies}."
    words = (statistics.BETTER, statistics.WORSE, statistics.NO_DIFFERENCE, statistics.CANNOT_TELL)
    holds, fails, same, open_ = map(judged.count, words)
    return (
        f"With {init}, test accuracy is {accuracies} ({best['layers']} layers do best); of {len(judged)} "
        f"comparisons that test 'deeper is better', {holds} are in favour, {fails} against, {same} find no "
        f"difference beyond {100 * statistics.MARGIN:g} points, and {open_} cannot tell."
    )


def figures(content: Row) -> dict[str, draw.Figure]:
    """Draws accuracy in % against depth, a line per initialisation; a depth where all diverged has no point."""
    rows, panels = sorted(content["rows"], key=_layers), list[draw.Panel]()
    for split in ("validation", "test"):
        quantity = f"{split}_accuracy"
        lines = plotted.grouped(rows, "init", "layers", plotted.in_percent(quantity), how="whiskers")
        lines.append(plotted.stated(content["rows"], "layers", quantity))
        axes = "layers (hidden layers + 1)", f"{split} accuracy [%]"
        panels.append(draw.Panel(lines, *axes, xticks=sorted(by(rows, "layers"))))
    caption = (
        "Accuracy against the number of layers, on the validation and the test split: mean over seeds, whiskers "
        "of one standard deviation, a line per initialisation."
    )
    if any(row["report"] for row in rows):
        caption += " Open grey markers: Table 1 of the report, one run each."
    return {"accuracy.svg": draw.Figure(draw.lines(panels), caption)}


def of(layers: int) -> dict[str, Any]:
    """Gives the label of a row of Table 1."""
    return {"layers": layers, "hidden": 50, "init": "uniform_fan_in"}


def over(base: int, layers: int, content: Row) -> Row:
    """Gives the difference in test accuracy of two depths of Table 1, as the study's comparisons have it."""
    label = {"init": "uniform_fan_in", "deeper": max(layers, base), "shallower": min(layers, base)}
    found = find(STUDY.compared(content), {**label, "quantity": TEST})
    if found is None:
        raise Missing(label)
    return found if layers > base else statistics.negated(found)


def three_are_best(content: Row) -> Row:
    """Judges whether 3 layers are better than 2, 4 and 5 on test."""
    differences = {f"over {other}": over(other, 3, content) for other in (2, 4, 5)}
    return several(differences, verdicts.judge_best(list(differences.values())))


CLAIMS = [
    *(
        Claim(f"table1-{layers}-{split}", f"Table 1: {layers} layers, {split}", f"{100 * stated:.1f}",
              accuracy(stated, 1000, f"{split}_accuracy", **of(layers)), True)
        for layers, accuracies in REPORT.items()
        for split, stated in zip(("validation", "test"), accuracies, strict=True)
    ),
    *(
        Claim(f"deeper-{layers}", f"Deeper is better: {layers} layers over 2, test",
              f"{100 * (REPORT[layers][1] - REPORT[2][1]):+.1f}", greater(partial(over, 2, layers)))
        for layers in (3, 4, 5)
    ),
    Claim("three-best", "3 layers are the best, test", "52.8", three_are_best),
]  # fmt: skip

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
    table=of_rows({"layers": "layers", "init": "init", **OUTCOME}),
    finding=finding,
    figures=figures,
    comparisons=comparisons,
    notes=notes,
    claims=CLAIMS,
    part="Question 4: deeper networks",
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
    raise SystemExit(main())
