"""How far does tuning take the two-layer network? Question 3 and Figure 1 of the report.

Hypothesis: the report's best of 36 configurations (hidden 200, learning rate 0.001, lambda 0.01) reaches 53.3 % on
validation after 5,000 steps, and more than after 3,000; the handed-out default reaches about 29 %.

Published protocol: the report's grid with plain SGD on raw pixels minus the mean image, one run of each
configuration (first seed), the best and the default over all seeds, 49,000/1,000 split, first 1,000 test images.
Clean protocol: random search over ranges, momentum SGD, standardised pixels, chosen on 5,000 validation images
(first seed), the best over all seeds, tested on all test images. Only the best and the default show test accuracy.

  TFDS_DATA_DIR=... python -m experiments.grid_search --dataset=cifar10 --seeds=5 [--protocol=published]

On CIFAR-10, two cores and 5 seeds, about 6 minutes under the published protocol (the grid takes 2 to 3 of them
for 5,000 steps, 1 to 2 for 3,000) and 5 under the clean one; a learning rate of 0.01 on raw pixels diverges
everywhere.
On the digits, the default, 10 to 40 seconds, and the best ends above 95 % on validation.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.fields import Floats, Ints, option, written
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, plotted, statistics, verdicts
from mlp_jax.studies.claims import Claim, Judge, Missing, accuracy, beside_report, greater, one, quantity
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.results import Row, by, percent
from mlp_jax.studies.rows import Setting, families, finite_mean
from mlp_jax.studies.study import Shape, Study, Trained
from mlp_jax.studies.tables import measured, of_rows, stated
from mlp_jax.text import counted
from mlp_jax.training.config import steps_per_epoch
from mlp_jax.training.history import History


class Point(NamedTuple):
    """A point is one configuration."""

    hidden: int
    batch_size: int
    l2: float
    learning_rate: float


DEFAULT = Point(hidden=50, batch_size=200, l2=0.25, learning_rate=1e-4)
DEFAULT_STEPS = 1000
REPORT = {("best", 5000): 0.533, ("default", DEFAULT_STEPS): 0.29}  # after so many steps it states this
REPORT_LOSS = 0.95  # the report's Figure 1 ends here
THIN = 25  # Figure 1 shows the mean loss of so many steps
TRIED = ("grid", "trial")  # rows of these kinds were searched
VALIDATION = "validation_accuracy"


@dataclass(frozen=True)
class Config(options.Training):
    """These are the options of the search; None takes the value of the protocol and the dataset."""

    USUAL: ClassVar[options.Places] = {
        "published": {"optimizer": "sgd", "decay": 0.95, "decay_after_first_step": True},
        "clean": {"optimizer": "momentum", "decay": 0.75, "l2_range": (0.0003, 0.03)},
        "cifar10": {"hidden": (50, 100, 200), "batch_size": (64, 128, 200)},
        "else": {"hidden": (10, 20, 40), "batch_size": (20, 40, 60)},
        "cifar10 published": {"steps": (3000, 5000), "l2": (0.001, 0.01), "learning_rate": (0.001, 0.01)},
        "else published": {"steps": (300, 500), "l2": (0.01, 0.1), "learning_rate": (0.001, 0.01)},
        "cifar10 clean": {"trials": 24, "learning_rate_range": (0.001, 0.1)},
        "else clean": {"trials": 12, "learning_rate_range": (0.003, 0.3)},
    }

    trials: int | None = option(None, "draws", low=1, high=options.MOST_RUNS, needs="protocol=clean")
    hidden: Ints | None = option(None, "hidden widths to try", low=1)
    batch_size: Ints | None = option(None, "batch sizes to try", low=1)
    l2: Floats | None = option(None, "lambdas to try", low=0, needs="protocol=published")
    learning_rate: Floats | None = option(None, "learning rates to try", above=0, needs="protocol=published")
    l2_range: Floats | None = option(None, "least and greatest lambda", above=0, needs="protocol=clean")
    learning_rate_range: Floats | None = option(None, "least and greatest rate", above=0, needs="protocol=clean")
    steps: Ints | None = option(None, "lengths of the runs", low=1, needs="protocol=published")
    epochs: int | None = option(None, "length of the runs; default 12", low=1, needs="protocol=clean")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("l2_range", "learning_rate_range"):
            ends = getattr(self, name)
            if ends is not None and (len(ends) != 2 or ends[0] >= ends[1]):
                raise UserError(f"--{name} must be two numbers, 0 < least < greatest, not {written(ends)}")


def points(config: Config) -> list[Point]:
    """Gives the configurations to try: the grid, or if clean log-uniform draws.

    Draws are rounded to 4 digits, so that a table shows what was run; more of them begin with the same ones.
    """
    hidden, batch_size = config.value("hidden"), config.value("batch_size")
    if config.protocol == "published":
        axes = hidden, batch_size, config.value("l2"), config.value("learning_rate")
        return list(itertools.starmap(Point, itertools.product(*axes)))
    rng = np.random.default_rng(config.seed)
    ranges = [np.log(config.value(name)) for name in ("l2_range", "learning_rate_range")]
    return [
        Point(
            int(rng.choice(hidden)),
            int(rng.choice(batch_size)),
            *(float(f"{math.exp(rng.uniform(*ends)):.4g}") for ends in ranges),
        )
        for _ in range(config.value("trials"))
    ]


def lengths(config: Config) -> tuple[int | None, ...]:
    """Gives the steps of the runs, shortest first; None if epochs say how long they are."""
    return (None,) if config.protocol == "clean" else tuple(sorted(config.value("steps")))


def setting(config: Config, shape: Shape, kind: str, point: Point, steps: int | None) -> Setting:
    """Makes a setting of kind grid, trial, best or default; the published start is N(0, 1e-4) with zero biases."""
    hidden, batch_size, l2, rate = point
    trained = config.training(
        batch_size=batch_size, l2=l2, learning_rate=rate, steps=steps, epochs=config.epochs or 12
    )
    taken = trained.epochs * (shape.examples // trained.batch_size) if steps is None else steps
    published = config.protocol == "published"
    start: dict[str, Any] = {"init": "normal", "init_std": 1e-4} if published else {}
    stated = REPORT.get((kind, taken)) if published and config.dataset == "cifar10" else None
    return Setting(
        {"kind": kind, **point._asdict(), "steps": taken},
        config.network(**shape.sizes, hidden=(hidden,), **start),
        (trained,),
        None if stated is None else {VALIDATION: stated},
        searched=kind in TRIED,
    )


def settings(config: Config, shape: Shape) -> list[Setting]:
    """Gives every configuration and length that is tried, with the first seed."""
    kind = "trial" if config.protocol == "clean" else "grid"
    return [setting(config, shape, kind, point, steps) for steps in lengths(config) for point in points(config)]


def chosen(config: Config, shape: Shape, rows: Sequence[Row]) -> list[Setting]:
    """Gives what all seeds train: the best configuration at every length; published, the default too."""
    best = choose(rows)
    found = [setting(config, shape, "best", best, steps) for steps in lengths(config)] if best else []
    if config.protocol == "published":
        found.append(setting(config, shape, "default", DEFAULT, DEFAULT_STEPS))
    return found


def of_kind(rows: Sequence[Row], *kinds: str) -> list[Row]:
    """Gives the rows of these kinds."""
    return [row for row in rows if row["kind"] in kinds]


def choose(rows: Sequence[Row]) -> Point | None:
    """Gives the best on validation of the longest runs that finished; the first of equally good ones."""
    tried = of_kind(rows, *TRIED)
    longest = max(row["recipe"]["steps"] or 0 for row in tried)
    finished = [r for r in tried if r["status"] == "finished" and (r["recipe"]["steps"] or 0) == longest]
    best = max(finished, key=_reached, default=None)
    return None if best is None else Point(*(best[name] for name in Point._fields))


def _reached(row: Row) -> float:
    """Gives the validation accuracy of a configuration; 0 if it diverged."""
    return float(row[VALIDATION]["mean"] or 0.0)


def passed(rows: Sequence[Row]) -> bool:
    """Tells whether the best, and the default, finished; that corners of a search diverge is a result."""
    others = [row for row in rows if row["kind"] not in TRIED]
    return bool(of_kind(others, "best")) and all(row["status"] == "finished" for row in others)


def for_figure_1(trained: Trained[Config]) -> Row:
    """Gives what the row of the best configuration has for Figure 1."""
    if trained.row["kind"] != "best":
        return {}
    per_epoch = steps_per_epoch(trained.splits.train, trained.setting.recipes[0])
    finished = [run.history for run in trained.runs if run.status == "finished"]
    return {"figure_1": [shown_in_figure_1(history, per_epoch) for history in finished]}


def shown_in_figure_1(history: History, per_epoch: int) -> dict[str, list[float]]:
    """Gives a run's losses in means over THIN steps, and the last minibatch's accuracy of each epoch."""
    losses = [finite_mean(history.loss[start : start + THIN]) for start in range(0, len(history.loss), THIN)]
    ends = [*range(per_epoch, len(history.accuracy), per_epoch), len(history.accuracy)]
    return {
        "loss": [round(loss, 5) for loss in losses],
        "batch_accuracy": [round(float(history.accuracy[end - 1]), 5) for end in ends],
    }


def comparisons(rows: Sequence[Row], correct: Store | None = None) -> list[Row]:
    """Compares the best configuration trained longest with fewer steps of the same, over seeds alone."""

    def name(row: Row) -> str:
        return f"best, {row['steps']} steps"

    *shorter, last = of_kind(rows, "best") or [{}]
    return families([({"ours": name(last), "base": name(row)}, last, row) for row in shorter], None, [VALIDATION])


table = of_rows({
    "": "kind",
    "hidden": "hidden",
    "batch": "batch_size",
    "lambda": lambda row: f"{row['l2']:g}",
    "learning rate": lambda row: f"{row['learning_rate']:g}",
    "steps": "steps",
    "validation %": measured(VALIDATION),
    "test %": lambda row: percent(row["test_accuracy"]) if "test_accuracy" in row else "",
    "report: validation %": stated(VALIDATION),
    "status": lambda row: f"{row['diverged']} diverged" if row["diverged"] and row["seeds"] else row["status"],
})  # fmt: skip


def finding(content: Row) -> str:
    """Tells what came out in one or two sentences."""
    rows = content["rows"]
    best, tried = of_kind(rows, "best"), by(of_kind(rows, *TRIED), *Point._fields).values()
    searched = f"{len(tried)} {'random trials' if of_kind(rows, 'trial') else 'configurations'}"
    if not best:
        return f"None of {searched} finished, so there is no best one."
    last = best[-1]
    text = f"The best of {searched} was {_named(last)}: {_accuracy(last)} after {last['steps']} steps"
    if last["test_accuracy"]["mean"] is not None:
        text += f", {percent(last['test_accuracy'])} % on {last['images']['test']} test images"
    text += "".join(_gain(gain, best[0]["steps"]) for gain in content["comparisons"][:1])
    diverged = sum(any(row["status"] == "diverged" for row in same) for same in tried)
    others = [f"{diverged} of {searched} diverged"] if diverged else []
    told = "; ".join([*others, *(f"the default reached {_accuracy(row)}" for row in of_kind(rows, "default"))])
    return f"{text}." + (f" {told[0].upper()}{told[1:]}." if told else "")


def _named(row: Row) -> str:
    network = f"hidden {row['hidden']}, batch {row['batch_size']}"
    return f"{network}, lambda {row['l2']:g}, learning rate {row['learning_rate']:g}"


def _accuracy(row: Row) -> str:
    """Tells the validation accuracy, beside the report's and the verdict where it has one."""
    found = row[VALIDATION]
    if found["mean"] is None:
        return "no accuracy, since every run diverged,"
    seeds = counted(found["n"], "seed")
    return f"validation {percent(found)} % over {seeds}{beside_report(row, VALIDATION, 1000)}"


def _gain(found: Row, steps: int) -> str:
    if found["mean"] is None:
        return ""
    text = f", {100 * abs(found['mean']):.1f} points {'more' if found['mean'] >= 0 else 'less'} than after {steps}"
    if found["low"] is None:
        return text
    return f"{text} (95 % interval {100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def figure_1(row: Row) -> str:
    """Draws loss against iteration, accuracies against epoch, of a row with `curves` and `figure_1`."""
    losses, accuracies = ([run[name] for run in row["figure_1"]] for name in ("loss", "batch_accuracy"))
    ends = [min((number + 1) * THIN, row["steps"]) for number in range(len(losses[0]))]
    last = row["steps"] / (row["images"]["train"] // row["batch_size"])  # the last epoch may be cut
    epochs = [min(end + 1, last) for end in range(len(accuracies[0]))]
    curves = {"training: current minibatch": accuracies, "validation": row["curves"][VALIDATION]}
    ending = {f"report: ends near {REPORT_LOSS}": REPORT_LOSS} if row["report"] else {}
    reached = plotted.level(row, VALIDATION)
    left = plotted.curves({"minibatch, with L2": losses}, ends, "iteration", "loss [nats]", levels=ending)
    return draw.lines([left, plotted.curves(curves, epochs, "epoch", "accuracy [%]", scale=100, levels=reached)])


def grid(rows: Sequence[Row], best: Row | None) -> str:
    """Draws a map of accuracy for each number of steps: network and batch down, lambda and rate across."""
    down, across = (sorted(by(rows, *names)) for names in (("hidden", "batch_size"), ("learning_rate", "l2")))

    def place(row: Row) -> tuple[int, int]:
        return down.index((row["hidden"], row["batch_size"])), across.index((row["learning_rate"], row["l2"]))

    maps = {steps: np.full((len(down), len(across)), np.nan) for steps in sorted(by(rows, "steps"))}
    for row in (row for row in rows if row["status"] == "finished"):
        maps[row["steps"]][place(row)] = 100 * row[VALIDATION]["mean"]
    return draw.heat_map(
        {f"after {steps} steps": values for steps, values in maps.items()},
        [f"{hidden}, {batch}" for hidden, batch in down],
        [f"{rate:g}\n{l2:g}" for rate, l2 in across],
        ("learning rate, lambda", "hidden, batch"),
        framed=None if best is None else place(best),
    )


def trials(rows: Sequence[Row]) -> str:
    """Draws each trial's accuracy against learning rate and lambda, in logarithms; a marker per width."""
    rows, panels = sorted(rows, key=lambda row: int(row["hidden"])), list[draw.Panel]()
    for x, label in {"learning_rate": "learning rate", "l2": "lambda"}.items():
        shown = plotted.grouped(rows, "hidden", x, plotted.in_percent(VALIDATION), how="points", label="hidden {}")
        panels.append(draw.Panel(shown, label, "validation accuracy [%]", xscale="log"))
    return draw.lines(panels)


def figures(content: Row) -> dict[str, draw.Figure]:
    """Draws Figure 1 of the best configuration, and what the search saw."""
    rows, found = content["rows"], dict[str, draw.Figure]()
    for row in [row for row in of_kind(rows, "best") if row["figure_1"]][-1:]:
        caption = (
            f"Figure 1, the best configuration ({_named(row)}). Left: loss of the minibatches with the L2 term, "
            f"means over {THIN} steps. Right: accuracy on the last minibatch of each epoch ({row['batch_size']} "
            "images, as in the report, not the training split) and on validation. Mean over "
            f"{len(row['seeds'])} seeds, band: one standard deviation."
        )
        found["figure1.svg"] = draw.Figure(figure_1(row), caption)
    if drawn := of_kind(rows, "trial"):
        caption = "Every random trial that finished (first seed) against its learning rate and its lambda."
        return {**found, "trials.svg": draw.Figure(trials(drawn), caption)}
    caption = (
        "Validation accuracy in % of every configuration of the grid (first seed), for each number of steps. "
        "Crosses diverged; the best is framed."
    )
    return {**found, "grid.svg": draw.Figure(grid(of_kind(rows, "grid"), content["best"]), caption)}


STATED_BEST = {"hidden": 200, "learning_rate": 1e-3, "l2": 0.01}


def best_configuration(content: Row) -> Row:
    """Judges whether hidden 200, learning rate 0.001, lambda 0.01 is the best of the grid."""
    tried = of_kind(content["rows"], "grid")
    longest = [row for row in tried if row["steps"] == max(row["steps"] for row in tried)]
    theirs = [row for row in longest if row.items() >= STATED_BEST.items()]
    if not theirs:
        raise Missing("not in the grid")
    best, images = max(longest, key=_reached), one(content, kind="best")["images"]["validation"]
    claimed, top = max(map(_reached, theirs)), _reached(best)
    text = f"hidden {best['hidden']}, rate {best['learning_rate']:g}, λ {best['l2']:g}: {100 * top:.1f}"
    if claimed < top:
        text += f"; the report's choice: {100 * claimed:.1f}"
    return {"text": text, "verdict": verdicts.judge_tried_best(claimed, top, images)}


def bar_is_passed(content: Row) -> Row:
    """Judges whether the best configuration is above 48 % on validation."""
    row = one(content, kind="best")
    return quantity(row[VALIDATION], verdicts.judge_above(row[VALIDATION], row["images"]["validation"], 0.48))


def longer(content: Row) -> Row:
    """Gives what 5,000 steps are better than 3,000; elsewhere, the longest runs than the shortest."""
    if found := comparisons(content["rows"]):
        return found[0]
    raise Missing("one length")


def loss(values: Callable[[Row], list[float]], stated: float, tolerance: float, digits: int) -> Judge:
    """Judges a loss in nats, which `values` gives for each run of the best configuration."""

    def judge(content: Row) -> Row:
        ours = statistics.measured(values(one(content, kind="best")))
        return quantity(ours, verdicts.judge_loss(ours, stated, tolerance), scale=1, digits=digits)

    return judge


GRID = ("published",)
CLAIMS = (
    Claim("q3-best", "Best of the grid: hidden size 200, learning rate 0.001, λ 0.01", "best of 36",
          best_configuration, True, GRID),
    Claim("q3-validation", "Its validation accuracy", "53.3", accuracy(0.533, 1000, kind="best"), True),
    Claim("q3-longer", "5,000 iterations instead of 3,000, and tuning, raise validation accuracy", "48 to 53.3",
          greater(longer), False, GRID),
    Claim("q3-default", "The handed-out default's validation accuracy", "about 29",
          accuracy(0.29, 1000, kind="default"), True, GRID),
    Claim("q3-bar", "The course's bar for validation accuracy is passed", "above 48", bar_is_passed, True),
    Claim("q3-first-loss", "Figure 1: the first loss", "2.303",  # of the first seed
          loss(lambda row: [v for v in row["first_losses"][:1] if v is not None], 2.303, 0.0005, 4), True),
    Claim("q3-last-loss", "Figure 1: the last loss", "about 0.95",  # a mean over the last 100 steps
          loss(lambda row: [float(np.mean(run["loss"][-100 // THIN :])) for run in row["figure_1"]],
               REPORT_LOSS, 0.05 * REPORT_LOSS, 3), True),
    Claim("q3-figure", "Figure 1: validation accuracy at the end", "near 54",
          accuracy(0.54, 1000, kind="best"), True),
)  # fmt: skip

STUDY = Study(
    name="grid_search",
    title="Question 3: the search for the best two-layer network, and Figure 1",
    caveat=(
        "Each configuration was tried with one seed, so the best one owes part of its lead to luck: the best over "
        "all seeds is the number to compare. Validation has 1,000 images under the published protocol, where one "
        "standard error is 1.6 points."
    ),
    doc=__doc__,
    options=Config,
    settings=settings,
    then=chosen,
    normalization={"published": "mean_image", "clean": "standardize"},
    table=table,
    finding=finding,
    figures=figures,
    beside=lambda config, rows: {"best": (best := choose(rows)) and best._asdict()},
    comparisons=comparisons,
    more=for_figure_1,
    passed=passed,
    claims=CLAIMS,
    part="Question 3: the two-layer network",
    scales={
        "smoke cifar10 published": {"steps": "50,100", "hidden": "50", "batch_size": "200", "l2": "0.01"},
        "smoke cifar10 clean": {"trials": 2, "epochs": 1},
        "smoke else": {"hidden": "20", "batch_size": "20"},
        "smoke else published": {"steps": "100,200", "l2": "0.01"},
        "smoke else clean": {"trials": 3, "epochs": 3},
        "standard cifar10": {"seeds": 16},
        "full cifar10": {"seeds": 16},
        "standard else": {"hidden": "10,40", "batch_size": "20"},
        "standard else clean": {"trials": 8},
    },
)
main = STUDY.main

if __name__ == "__main__":
    raise SystemExit(main())
