"""Which of activation, batch normalisation, dropout and width make the report's best network (Question 4)?

The report goes from plain networks of ReLU units to [400, 400, 400] units of LeakyReLU(0.1), each followed by
batch normalisation, 56.4 % on test, and says that dropout "didn't give any improvement". Hypothesis: most of the
gain is batch normalisation's; other smooth or leaky activations do as well; dropout costs accuracy in runs this
short.

From that best network, the centre, one factor at a time is changed: the activation, batch normalisation (none,
before, after the activation), dropout (0, 0.2, 0.5), the width; and the steps from the best plain network to it
are shown. Differences are taken seed by seed.

Published protocol: Adam at 1e-3, 10 epochs, coupled weight decay, 45,000/5,000 images, the first 1,000 test
images. Clean protocol: Adam, the learning rate chosen for each setting on validation (first seed), all 10,000 test
images.

  TFDS_DATA_DIR=... python -m experiments.activation_study --dataset=cifar10 [--protocol=published]

Takes about 15 minutes on two cores (clean, 3 seeds; published, 4), about a minute on the digits, the default,
nearly all of it compilation: every activation is a program of its own. Expected: clean, the centre at 55 to 56 %
on test.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from mlp_jax import data
from mlp_jax.fields import Floats, Ints, Names, option
from mlp_jax.nn.activations import ACTIVATIONS
from mlp_jax.nn.config import NORM_FLAGS, norm_options
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, plotted, statistics, verdicts
from mlp_jax.studies.claims import Claim, Missing, several
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.results import Row, percent
from mlp_jax.studies.rows import Setting, families, find, reported
from mlp_jax.studies.study import Shape, Study
from mlp_jax.studies.tables import OUTCOME, Columns, Table, points
from mlp_jax.training.config import TrainConfig

# the report states these (validation, test) as fractions, of Table 1's 3 layers and of its best model
REPORT = {
    ("50,50", "relu", "none", 0.0): (0.525, 0.528),
    ("400,400,400", "leaky_relu", "after", 0.0): (0.561, 0.564),
}
SMALL_RATES = (0.002, 0.008)
LAST = 1 / 32  # so much of the learning rate is left in the last epoch of the clean protocol
LABEL = ("hidden", "activation", "batch_norm", "dropout")
FACTORS: dict[str, tuple[str, Callable[[Row], Any]]] = {
    "activation": ("activation", lambda row: -(row[TEST]["mean"] or 0.0)),
    "batch normalisation": ("batch_norm", lambda row: NORM_FLAGS.index(row["batch_norm"])),
    "dropout": ("dropout", lambda row: row["dropout"]),
    "width": ("hidden", lambda row: [int(units) for units in row["hidden"].split(",")]),
}
"""A factor has its place in the label, and what sorts its values; activations go from the best to the worst."""
PATH, SEVERAL = "path", "several"
TEST = "test_accuracy"
PLAIN = {"hidden": "50,50", "activation": "relu", "batch_norm": "none", "dropout": 0.0}
"""The best plain network of Table 1 has 3 layers."""


@dataclass(frozen=True)
class Config(options.Tuned):
    """These are the options of the activation study; None takes the protocol's or the dataset's value."""

    USUAL: ClassVar[options.Places] = {
        "published": options.QUESTION_4,
        "clean": {"optimizer": "adam", "epochs": 6},
        "cifar10 clean": {"learning_rates": (0.0005, 0.001, 0.002, 0.004)},
        "else clean": {"learning_rates": SMALL_RATES},
        "cifar10": {"hidden_layers": 3, "width": 400, "widths": (50, 200, 400)},
        "else": {"hidden_layers": 2, "width": 50, "widths": (20, 50, 100)},
    }

    activations: Names = option(tuple(ACTIVATIONS), "activations to compare", choices=ACTIVATIONS)
    batch_norms: Names = option(tuple(NORM_FLAGS), "batch normalisations to compare", choices=NORM_FLAGS)
    dropouts: Floats = option((0.0, 0.2, 0.5), "probabilities that a hidden unit is dropped", low=0, below=1)
    widths: Ints | None = option(None, "widths to compare, of all hidden layers", low=1)
    width: int | None = option(None, "the width while others are varied", low=1)
    hidden_layers: int | None = option(None, "number of hidden layers", low=1, high=options.MOST_LAYERS - 1)
    decay: float | None = option(None, "learning rate times this per epoch; if clean, 1/32 is left in the last")

    @property
    def validation(self) -> int:
        """Both protocols have the 45,000/5,000 split of the report's best model."""
        return data.SPLITS["45000/5000"][1]


def settings(config: Config, shape: Shape) -> list[Setting]:
    """Gives what `labels` names, with each of the candidates' learning rates."""
    recipes = tuple(recipe(config, rate) for rate in config.candidates())
    found = []
    for label in labels(config):
        hidden = tuple(int(width) for width in label["hidden"].split(","))
        others = {name: label[name] for name in ("activation", "dropout")}
        model = config.network(**shape.sizes, hidden=hidden, **norm_options(label["batch_norm"]), **others)
        stated = reported(config, REPORT.get(tuple(label.values())))
        found.append(Setting(label, model, recipes, stated))
    return found


def labels(config: Config) -> list[dict[str, Any]]:
    """Gives the centre first, then the steps to it, then what differs from it in one factor, each once."""
    layers = config.value("hidden_layers")
    values: dict[str, Sequence[Any]] = {
        "hidden": [",".join([str(units)] * layers) for units in config.value("widths")],
        "activation": config.activations,
        "batch_norm": config.batch_norms,
        "dropout": config.dropouts,
    }
    hidden = ",".join([str(config.value("width"))] * layers)
    centre = {"hidden": hidden, "activation": "leaky_relu", "batch_norm": "after", "dropout": 0.0}
    found = [centre, *reversed(steps_to(centre).values())]
    found += [{**centre, key: value} for key, _ in FACTORS.values() for value in values[key]]
    return [label for number, label in enumerate(found) if label not in found[:number]]


def recipe(config: Config, learning_rate: float) -> TrainConfig:
    """Tells how the protocol trains; the clean one's rate falls to `LAST` of it."""
    usual = config.training(learning_rate=learning_rate)
    if config.protocol == "published" or config.decay is not None:
        return usual
    return config.training(learning_rate=learning_rate, decay=LAST ** (1 / max(1, usual.epochs - 1)))


def label(row: Mapping[str, Any]) -> dict[str, Any]:
    """Gives what sets the row apart from the others."""
    return {name: row[name] for name in LABEL}


def name(row: Mapping[str, Any]) -> str:
    """Gives the label in words."""
    return ", ".join(str(row[key]) for key in LABEL)


def steps_to(centre: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Gives labels from the best plain network to the centre, by what each step changes."""
    wide = {**PLAIN, "hidden": centre["hidden"]}
    wider = {} if wide == PLAIN else {f"+ {centre['hidden']}": wide}
    return {
        f"{PLAIN['hidden']} {PLAIN['activation']}": PLAIN,
        **wider,
        f"+ {centre['activation']}": {**wide, "activation": centre["activation"]},
        f"+ norm {centre['batch_norm']}": label(centre),
    }


def path(rows: Sequence[Row]) -> dict[str, Row]:
    """Gives the rows on the way to the first one, `steps_to`, as far as they are there."""
    return {step: row for step, sought in steps_to(rows[0]).items() if (row := find(rows, sought)) is not None}


def factor(row: Row, centre: Row) -> str | None:
    """Gives the factor in which the row differs from the centre: None for the centre itself, or "several"."""
    differing = [name for name, (key, _) in FACTORS.items() if row[key] != centre[key]]
    return SEVERAL if len(differing) > 1 else differing[0] if differing else None


def sweep(rows: Sequence[Row], name: str) -> dict[str, Row]:
    """Gives, by its value, every row that differs from the centre in this factor alone, and the centre."""
    (key, order), form = FACTORS[name], "{:g}" if name == "dropout" else "{}"
    found = [row for row in rows if factor(row, rows[0]) in (name, None)]
    return {form.format(row[key]): row for row in sorted(found, key=order)}


def sweeps(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Gives the `sweep` of every factor that was varied."""
    return {name: found for name in FACTORS if len(found := sweep(rows, name)) > 1}


def comparisons(rows: Sequence[Row], correct: Store | None = None) -> list[Row]:
    """Compares every setting with the centre, and every step of the path with the one before.

    Those of one factor and quantity are one family.
    """
    pairs = [(factor(row, rows[0]), row, rows[0]) for row in rows[1:]]
    pairs += [(PATH, after, before) for before, after in pairwise(path(rows).values())]
    labelled = [({"setting": label(x), "base": label(y), "factor": name}, x, y) for name, x, y in pairs]
    kinds = dict.fromkeys(name for name, *_ in pairs)
    return [row for kind in kinds for row in families([p for p in labelled if p[0]["factor"] == kind], correct)]


def tested(content: Row, *factors: str) -> list[Row]:
    """Gives the comparisons of test accuracy of these factors."""
    found = STUDY.compared(content)
    return [row for row in found if row["quantity"] == TEST and row["factor"] in factors]


def changes(content: Row) -> dict[str, Row]:
    """Tells, by the names of all rows but the centre, how their test accuracy differs from the centre's."""
    return {name(row["setting"]): row for row in tested(content, *FACTORS, SEVERAL)}


def no_better(content: Row) -> Row:
    """Judges whether dropout gives no improvement, by the changes with it."""
    return _answer(tested(content, "dropout"), verdicts.judge_no_better)


def best(content: Row) -> Row:
    """Judges whether the centre is better than with any other activation or normalisation."""
    others = tested(content, "activation", "batch normalisation")
    return _answer(others, lambda rows: verdicts.judge_best([statistics.negated(row) for row in rows]))


def _answer(found: Sequence[Row], judge: Callable[[Sequence[Row]], str]) -> Row:
    if not found:
        raise Missing("nothing was changed")
    return several({f"with {row['setting'][FACTORS[row['factor']][0]]}": row for row in found}, judge(found))


def table(content: Row) -> Table:
    """Shows for each setting its accuracies in %, and how far it is from the centre, the first line."""
    changed = changes(content)
    columns: Columns = {
        "hidden": "hidden",
        "activation": "activation",
        "norm": "batch_norm",
        "dropout": lambda row: f"{row['dropout']:g}",
        **OUTCOME,
        "test - first line, points": lambda row: points(changed[name(row)]) if name(row) in changed else "-",
    }
    return Table.of(columns, content["rows"])


def finding(content: Row) -> str:
    """Tells the centre's accuracy, what dropout did, which activation was best, and both claims' verdicts."""
    rows = content["rows"]
    centre, (start, plain) = rows[0], next(iter(path(rows).items()))
    first = f"LeakyReLU(0.1) with batch normalisation after it, [{centre['hidden']}], "
    first += f"reaches {percent(centre[TEST])} % on test"
    if plain is not centre:
        first += f" (plain [{start.replace(' ', '] of ')}: {percent(plain[TEST])} %)"
    if dropped := _changes(content, "dropout"):
        first += f"; dropout changes it by {dropped} points "
        first += f"('did not give any improvement': {no_better(content)['verdict']})"
    leader = next(iter(sweep(rows, "activation").values()))
    second = f"Of the activations {leader['activation']} is first with {percent(leader[TEST])} %"
    if norms := _changes(content, "batch normalisation"):
        second += f", other normalisations change the accuracy by {norms} points"
    if tested(content, "activation", "batch normalisation"):
        second += f" ('LeakyReLU(0.1) with batch normalisation is best': {best(content)['verdict']})"
    return f"{first}. {second}."


def _changes(content: Row, factor: str) -> str:
    """Writes the mean changes from the centre in points with the factor's values: "-0.8 (0.2) and -3.1 (0.5)"."""
    changed = changes(content)
    means = {v: changed[name(r)]["mean"] for v, r in sweep(content["rows"], factor).items() if name(r) in changed}
    told = (
        f"- ({value}, diverged)" if mean is None else f"{100 * mean:+.1f} ({value})"
        for value, mean in means.items()
    )
    return " and ".join(told)


def accuracies(rows: Sequence[Row]) -> draw.Groups:
    """Marks the test accuracy of every setting, by factor."""
    groups = {"from plain to best": path(rows), **sweeps(rows)}
    return {
        heading: {value: plotted.accuracy(row[TEST], filled=row is rows[0]) for value, row in group.items()}
        for heading, group in groups.items()
    }


def differences(content: Row) -> dict[str, dict[str, Row]]:
    """Gives the comparison of every step of the path, and of every setting with the centre, by factor."""
    rows, changed = content["rows"], changes(content)
    steps = {name(row["setting"]): row for row in tested(content, PATH)}
    found = {"each step - the one before": {s: steps[name(r)] for s, r in path(rows).items() if name(r) in steps}}
    for heading, group in sweeps(rows).items():
        found[f"{heading} - centre"] = {v: changed[name(row)] for v, row in group.items() if row is not rows[0]}
    return found


def figures(content: Row) -> dict[str, draw.Figure]:
    """Draws accuracies and differences by factor."""
    rows = content["rows"]
    return {
        "accuracies.svg": draw.Figure(
            draw.forest(accuracies(rows), "test accuracy, %", plotted.level(rows[0], TEST)),
            "Test accuracy, mean and standard deviation over seeds (dots: seeds). Filled: the centre, the "
            "report's best network, from which each group changes one factor.",
        ),
        "differences.svg": draw.Figure(
            plotted.differences(differences(content), "test accuracy"),
            "Differences in test accuracy, with 95 % intervals: steps from the best "
            "plain network to the best one, then every setting minus the centre.",
        ),
    }


STUDY = Study(
    name="activation_study",
    title="From the best plain network to the best one: activation, batch normalisation, dropout and width",
    caveat=(
        "One factor is changed at a time around the report's best network, so combinations of two are not judged, "
        "and intervals are not corrected for the number of settings (verdicts are, by Holm's method). The best "
        "plain network was trained on 49,000 images in the report, here on 45,000; published validation is in "
        "training mode, dropout too."
    ),
    doc=__doc__,
    options=Config,
    settings=settings,
    table=table,
    finding=finding,
    figures=figures,
    comparisons=comparisons,
    claims=(
        Claim("dropout", "Dropout gives no improvement, test", "in words", no_better),
        Claim("factors", "LeakyReLU(0.1) with batch normalisation after it is best, test", "in words", best),
    ),
    part="Question 4: deeper networks",
    scales={
        "smoke": {"activations": "relu", "batch_norms": "none", "dropouts": "0.2", "epochs": 3},
        "smoke cifar10": {"epochs": 1},
        "smoke else": {"widths": "50"},
        "smoke else clean": {"learning_rate": 0.002},
        "standard cifar10 clean": {"seeds": 3},
        "standard else": {"activations": "relu,leaky_relu,tanh", "dropouts": "0,0.2", "widths": "50"},
    },
)  # fmt: skip
main = STUDY.main

if __name__ == "__main__":
    raise SystemExit(main())
