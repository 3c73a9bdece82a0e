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

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, ClassVar

from mlp_jax import data
from mlp_jax.nn.activations import ACTIVATIONS
from mlp_jax.nn.config import NORM_FLAGS, norm_options
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, statistics
from mlp_jax.studies.claims import Claim, Judge, Missing, against, several
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.fields import option
from mlp_jax.studies.folder import Figure
from mlp_jax.studies.results import Row, percent
from mlp_jax.studies.rows import Setting, edge_notes, families, find
from mlp_jax.studies.rows import comparisons as rows_comparisons
from mlp_jax.studies.study import Shape, Study
from mlp_jax.studies.tables import OUTCOME, Columns, Table, points
from mlp_jax.training.config import TrainConfig

# (validation, test) that the report states, as fractions; Table 1's 3 layers, and the best model of Question 4
REPORT = {
    ("50,50", "relu", "none", 0.0): (0.525, 0.528),
    ("400,400,400", "leaky_relu", "after", 0.0): (0.561, 0.564),
}
SMALL_RATES = (0.002, 0.008)
LAST = 1 / 32  # of the learning rate is left in the last epoch, clean
LABEL = ("hidden", "activation", "batch_norm", "dropout")
FACTORS = {
    "activation": "activation",
    "batch normalisation": "batch_norm",
    "dropout": "dropout",
    "width": "hidden",
}
"""A factor's name -> its place in the label."""
PATH, SEVERAL = "path", "several"
TEST = "test_accuracy"
DROPOUT = "dropout did not give any improvement"
BEST = "LeakyReLU(0.1) with batch normalisation after it is best"
PLAIN = {"hidden": "50,50", "activation": "relu", "batch_norm": "none", "dropout": 0.0}
"""The best plain network of Table 1: 3 layers."""


@dataclass(frozen=True)
class Config(options.Tuned):
    """Options of the activation study; None takes the protocol's or the dataset's value."""

    USUAL: ClassVar[options.Places] = {
        "published": options.QUESTION_4,
        "clean": {"optimizer": "adam", "epochs": 6},
        "cifar10 clean": {"learning_rates": (0.0005, 0.001, 0.002, 0.004)},
        "else clean": {"learning_rates": SMALL_RATES},
        "cifar10": {"hidden_layers": 3, "width": 400, "widths": (50, 200, 400)},
        "else": {"hidden_layers": 2, "width": 50, "widths": (20, 50, 100)},
    }

    activations: tuple[str, ...] = option(
        tuple(ACTIVATIONS), "activations to compare, with commas", choices=ACTIVATIONS
    )
    batch_norms: tuple[str, ...] = option(
        tuple(NORM_FLAGS), "batch normalisations to compare, with commas", choices=NORM_FLAGS
    )
    dropouts: tuple[float, ...] = option(
        (0.0, 0.2, 0.5), "probabilities that a hidden unit is dropped, with commas", low=0, high=1, open_high=True
    )
    widths: tuple[int, ...] | None = option(None, "widths to compare, of all hidden layers, with commas", low=1)
    width: int | None = option(None, "the width while others are varied", low=1)
    hidden_layers: int | None = option(None, "number of hidden layers", low=1, high=options.MOST_LAYERS - 1)
    full: bool = option(False, "every combination instead of one factor at a time")
    decay: float | None = option(None, "learning rate times this per epoch; if clean, 1/32 is left in the last")

    @property
    def validation(self) -> int:
        """Under both protocols the report's 45,000/5,000 of its best model."""
        return data.SPLITS["45000/5000"][1]


def settings(config: Config, shape: Shape) -> list[Setting]:
    """The centre first, then the steps to it, then what differs from it in one factor, each once."""
    recipes = tuple(recipe(config, rate) for rate in config.candidates())
    found = []
    for label in labels(config):
        hidden = tuple(int(width) for width in label["hidden"].split(","))
        others = {name: label[name] for name in ("activation", "dropout")}
        model = config.network(**shape.sizes, hidden=hidden, **norm_options(label["batch_norm"]), **others)
        found.append(Setting(label, model, recipes, report(config, label)))
    return found


def labels(config: Config) -> list[dict[str, Any]]:
    """What is trained, the centre first, each once."""
    layers, width, compared = map(config.value, ("hidden_layers", "width", "widths"))

    def hidden(units: int) -> str:
        return ",".join([str(units)] * layers)

    values: dict[str, Sequence[Any]] = {
        "hidden": [hidden(units) for units in compared],
        "activation": config.activations,
        "batch_norm": config.batch_norms,
        "dropout": config.dropouts,
    }
    centre = {"hidden": hidden(width), "activation": "leaky_relu", "batch_norm": "after", "dropout": 0.0}
    one_at_a_time = [{**centre, key: value} for key in FACTORS.values() for value in values[key]]
    every = [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]
    return _each_once([centre, *reversed(steps_to(centre)), *one_at_a_time, *(every if config.full else [])])


def _each_once(labels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [label for number, label in enumerate(labels) if label not in labels[:number]]


def recipe(config: Config, learning_rate: float) -> TrainConfig:
    """How the protocol trains; the clean one's rate falls to `LAST` of it."""
    usual = config.training(learning_rate=learning_rate)
    if config.protocol == "published" or config.decay is not None:
        return usual
    return config.training(learning_rate=learning_rate, decay=LAST ** (1 / max(1, usual.epochs - 1)))


def report(config: Config, label: dict[str, Any]) -> dict[str, float] | None:
    """What the report states of this setting, as fractions; it is about CIFAR-10."""
    stated = REPORT.get(tuple(label.values())) if config.dataset == "cifar10" else None
    return stated and dict(zip(("validation_accuracy", "test_accuracy"), stated, strict=True))


def label(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's own part of what it says."""
    return {name: row[name] for name in LABEL}


def name(row: Mapping[str, Any]) -> str:
    """The label in words."""
    return ", ".join(str(row[key]) for key in LABEL)


def steps_to(centre: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Labels from the best plain network to the centre: wider and deeper, then its activation, then all of it."""
    wide = {**PLAIN, "hidden": centre["hidden"]}
    return _each_once([PLAIN, wide, {**wide, "activation": centre["activation"]}, label(centre)])


def factor(row: Row, centre: Row) -> str | None:
    """The factor in which the row differs from the centre: None for the centre itself, or "several"."""
    differing = [name for name, key in FACTORS.items() if row[key] != centre[key]]
    return SEVERAL if len(differing) > 1 else differing[0] if differing else None


def sweep(rows: Sequence[Row], name: str) -> dict[str, Row]:
    """By its value, every row that differs from the centre in this factor alone, and the centre."""
    found = [row for row in rows if factor(row, rows[0]) in (name, None)]
    return {value_name(row, name): row for row in sorted(found, key=lambda row: _order(row, name))}


def _order(row: Row, name: str) -> tuple[float, ...]:
    """Numbers by size, normalisation from none to after, activations from the best to the worst."""
    if name in ("dropout", "width"):
        return tuple(float(part) for part in str(row[FACTORS[name]]).split(","))
    if name == "batch normalisation":
        return (NORM_FLAGS.index(row["batch_norm"]),)
    mean = row["test_accuracy"]["mean"]
    return (math.inf if mean is None else -mean,)


def value_name(row: Mapping[str, Any], name: str) -> str:
    """What a row is called among those that differ in this factor."""
    value = row[FACTORS[name]]
    return f"{value:g}" if isinstance(value, float) else str(value)


def path_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """The rows of the path that are there, by what each of its steps changes."""
    found = [row for step in steps_to(rows[0]) if (row := find(rows, step)) is not None]
    names, before = {}, None
    for row in found:
        changed = [key for key in LABEL if before is None or row[key] != before[key]]
        what = f"{row['hidden']} {row['activation']}" if before is None else " ".join(str(row[k]) for k in changed)
        norm = f"norm {row['batch_norm']}" if changed == ["batch_norm"] else what
        names[norm if before is None else f"+ {norm}"] = row
        before = row
    return names


def comparisons(rows: Sequence[Row], correct: Store | None = None) -> list[Row]:
    """Every setting against the centre, and every step of the path against the one before.

    Those of one factor and quantity are one family.
    """
    pairs = [(factor(row, rows[0]), row, rows[0]) for row in rows[1:]]
    pairs += [(PATH, after, before) for before, after in pairwise(path_rows(rows).values())]
    labelled = [({"setting": label(x), "base": label(y), "factor": name}, x, y) for name, x, y in pairs]
    kinds = dict.fromkeys(name for name, *_ in pairs)
    return [row for kind in kinds for row in families([p for p in labelled if p[0]["factor"] == kind], correct)]


def verdicts(rows: Sequence[Row], compared: Sequence[Row] | None = None) -> list[Row]:
    """Of the report's claims about its best network, on test accuracy: {"claim", "verdict", "parts"}.

    A part is one setting that the claim is about: its label, and the verdict on it alone. `compared`: the rows'
    `comparisons`, made anew if they are not given.
    """
    compared = comparisons(rows) if compared is None else compared
    tests = [row for row in compared if row["quantity"] == TEST]
    dropped = [row for row in tests if row["factor"] == "dropout"]
    others = [row for row in tests if row["factor"] in ("activation", "batch normalisation")]
    found = [_claimed(DROPOUT, dropped, statistics.judge_no_better)] if dropped else []
    if others:
        found.append(_claimed(BEST, [statistics.negated(row) for row in others], statistics.judge_best))
    return found + _numbers(rows[0])


def _claimed(claim: str, differences: Sequence[Row], judge: Callable[[Sequence[Row]], str]) -> Row:
    parts = [{"setting": row["setting"], "verdict": judge([row])} for row in differences]
    return {"claim": claim, "verdict": judge(differences), "parts": parts}


def beside(config: Config, rows: Sequence[Row], correct: Store) -> Row:
    """The comparisons, also in each row its own with the centre; the verdicts on the report's claims."""
    compared = comparisons(rows, correct)
    for row in rows[1:]:
        own = [c for c in compared if c["factor"] != PATH and c["quantity"] == TEST]
        row["difference"] = find(own, {"setting": label(row)})
    return {"comparisons": compared, "verdicts": verdicts(rows, compared)}


def told(content: Row) -> tuple[Sequence[Row], Sequence[Row]]:
    """The comparisons and verdicts of a results file; made anew if an earlier version wrote others there."""
    compared = rows_comparisons(content, comparisons)
    kept = compared is content.get("comparisons")
    return compared, content["verdicts"] if kept else verdicts(content["rows"], compared)


def difference(row: Row, centre: Row) -> Row:
    """A row's comparison with the centre; made anew, over seeds alone, if an earlier version wrote the row."""
    return row.get("difference") or statistics.paired(row, centre)


def _numbers(centre: Row) -> list[Row]:
    """The verdicts on the accuracies that the report states, on 1,000 test and 5,000 validation images."""
    found = []
    for quantity, value in (centre["report"] or {}).items():
        split = quantity.split("_")[0]
        verdict = against(centre, quantity, value, {"test": 1000, "validation": 5000}[split])["verdict"]
        found.append({"claim": f"{split} accuracy {100 * value:.1f} %", "verdict": verdict, "parts": []})
    return found


COLUMNS: Columns = {
    "hidden": "hidden",
    "activation": "activation",
    "norm": "batch_norm",
    "dropout": lambda row: f"{row['dropout']:g}",
    **OUTCOME,
}


def table(rows: Sequence[Row]) -> Table:
    """A line per setting: what differs from the centre (the first line), accuracies in %, and by how much."""
    centre = rows[0]
    change: Columns = {
        "test - first line, points": lambda row: "-" if row is centre else points(difference(row, centre))
    }
    return Table.of(COLUMNS | change, rows)


def finding(content: Row) -> str:
    """The centre's accuracy, what dropout did, which activation was best, and the verdicts on the two claims."""
    rows = content["rows"]
    centre, verdict = rows[0], {v["claim"]: v["verdict"] for v in told(content)[1]}
    name = f"LeakyReLU(0.1) with batch normalisation after it, [{centre['hidden']}]"
    first = f"{name}, reaches {percent(centre['test_accuracy'])} % on test"
    start, plain = next(iter(path_rows(rows).items()))
    if plain is not centre:
        first += f" (plain [{start.replace(' ', '] of ')}: {percent(plain['test_accuracy'])} %)"
    dropped = _changes(rows, "dropout")
    if dropped:
        first += f"; dropout changes it by {dropped} points ('did not give any improvement': {verdict[DROPOUT]})"
    best = next(iter(sweep(rows, "activation").values()))
    second = f"Of the activations {best['activation']} is first with {percent(best['test_accuracy'])} %"
    norms = _changes(rows, "batch normalisation")
    if norms:
        second += f", other normalisations change the accuracy by {norms} points"
    if BEST in verdict:
        second += f" ('LeakyReLU(0.1) with batch normalisation is best': {verdict[BEST]})"
    return f"{first}. {second}."


def _changes(rows: list[Row], factor: str) -> str:
    """ "-0.8 (0.2) and -3.1 (0.5)": the mean changes from the centre in points, with the factor's values."""
    others = {name: row for name, row in sweep(rows, factor).items() if row is not rows[0]}
    means = {name: difference(row, rows[0])["mean"] for name, row in others.items()}
    return " and ".join(
        f"- ({name}, diverged)" if mean is None else f"{100 * mean:+.1f} ({name})" for name, mean in means.items()
    )


def accuracy_mark(quantity: Row, *, filled: bool) -> draw.Mark | None:
    """A measured fraction in %: its mean, one standard deviation around it, and every seed."""
    if quantity["mean"] is None:
        return None
    mean, spread = 100 * quantity["mean"], 100 * (quantity["std"] or 0.0)
    seeds = [100 * value for value in quantity["values"]]
    return draw.Mark(mean, mean - spread, mean + spread, seeds, filled)


def figures(content: Row) -> dict[str, Figure]:
    """Accuracies by factor, and differences by factor."""
    rows = content["rows"]
    centre, steps = rows[0], path_rows(rows)
    sweeps = {name: found for name in FACTORS if len(found := sweep(rows, name)) > 1}
    along = [c for c in told(content)[0] if (c["factor"], c["quantity"]) == (PATH, TEST)]
    each_step = {name: c for name, row in steps.items() for c in along if c["setting"] == label(row)}
    marks = {
        name: {value: accuracy_mark(row[TEST], filled=row is centre) for value, row in group.items()}
        for name, group in {"from plain to best": steps, **sweeps}.items()
    }
    changes = {"each step - the one before": {name: draw.difference(c) for name, c in each_step.items()}}
    changes |= {
        f"{name} - centre": {
            v: draw.difference(difference(r, centre)) for v, r in group.items() if r is not centre
        }
        for name, group in sweeps.items()
    }
    stated = (centre["report"] or {}).get(TEST)
    return {
        "accuracies.svg": Figure(
            draw.forest(marks, "test accuracy, %", None if stated is None else ("report", 100 * stated)),
            "Test accuracy, mean and standard deviation over seeds (dots: seeds). Filled: the centre, the "
            "report's best network, from which each group changes one factor.",
        ),
        "differences.svg": Figure(
            draw.forest(changes, "difference in test accuracy, points", ("", 0)),
            "Differences in test accuracy, with 95 % intervals: steps from the best "
            "plain network to the best one, then every setting minus the centre.",
        ),
    }


def judged(claim: str, *factors: str) -> Judge:
    """Judges a claim that this study itself has a verdict on.

    The answer tells the change in test accuracy with every other value of these factors.
    """

    def judge(content: Row) -> Row:
        compared, found = told(content)
        verdict = find(found, {"claim": claim})
        if verdict is None:
            raise Missing(claim)
        changes = {
            f"with {row['setting'][FACTORS[row['factor']]]}": row
            for row in compared
            if row["factor"] in factors and row["quantity"] == TEST
        }
        return several(changes, verdict["verdict"])

    return judge


_SMALL = {"activations": "relu", "batch_norms": "none", "dropouts": "0.2", "epochs": 3}
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
    beside=beside,
    notes=lambda content: edge_notes(content["rows"], name),
    claims=(
        Claim("dropout", "Dropout gives no improvement, test", "in words", judged(DROPOUT, "dropout")),
        Claim("factors", "LeakyReLU(0.1) with batch normalisation after it is best, test", "in words",
              judged(BEST, "activation", "batch normalisation")),
    ),
    part="Question 4: deeper networks",
    scales={
        "smoke": _SMALL,
        "smoke cifar10": {"epochs": 1},
        "smoke else": {"widths": "50"},
        "smoke else clean": {"learning_rate": 0.002},
        "standard cifar10 clean": {"seeds": 3},
        "standard else": {"activations": "relu,leaky_relu,tanh", "dropouts": "0,0.2", "widths": "50"},
        "full": {"full": True},
    },
)  # fmt: skip
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
