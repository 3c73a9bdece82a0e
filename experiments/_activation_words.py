"""How the activation study is told: table, notes, a finding in words, figures; functions of its rows alone."""

from itertools import pairwise
from typing import Any

from experiments import _factors
from experiments._factors import BEST, DROPOUT
from experiments._study import Figure
from mlp_jax.studies import results, statistics
from mlp_jax.studies.plots import activation_study as plots
from mlp_jax.studies.tables import Table


def table(rows: list[results.Row]) -> Table:
    """A line per setting: what differs from the centre (the first line), accuracies in %, and by how much."""
    header = [
        "hidden",
        "activation",
        "norm",
        "dropout",
        "learning rate",
        "validation %",
        "test %",
        "test - first line, points",
        "report: validation %",
        "report: test %",
        "status",
    ]
    return Table(header, [_cells(row, rows[0]) for row in rows])


def _cells(row: results.Row, centre: results.Row) -> list[str]:
    stated = row["report"] or {}
    quantities = ("validation_accuracy", "test_accuracy")
    theirs = [f"{100 * stated[k]:.1f}" if k in stated else "-" for k in quantities]
    status = row["status"] if row["status"] == "finished" else f"{row['diverged']} diverged"
    what = [row["hidden"], row["activation"], row["batch_norm"], f"{row['dropout']:g}"]
    ours = [results.percent(row[k]) for k in quantities]
    difference = "-" if row is centre else points(statistics.paired(row, centre))
    return [*what, f"{row['recipe']['learning_rate']:g}", *ours, difference, *theirs, status]


def points(difference: results.Row) -> str:
    """A paired difference as "-1.2 [-1.5, -0.9]" in points, without the interval for one seed, "-" for none."""
    if difference["mean"] is None:
        return "-"
    mean = f"{100 * difference['mean']:+.1f}"
    if difference["low"] is None:
        return mean
    return f"{mean} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"


def finding(content: dict[str, Any]) -> str:
    """The centre's accuracy, what dropout did, which activation was best, and the verdicts on the two claims."""
    rows = content["rows"]
    centre, verdict = rows[0], {v["claim"]: v["verdict"] for v in content["verdicts"]}
    name = f"LeakyReLU(0.1) with batch normalisation after it, [{centre['hidden']}]"
    first = f"{name}, reaches {results.percent(centre['test_accuracy'])} % on test"
    start, plain = next(iter(_factors.path_rows(rows).items()))
    if plain is not centre:
        first += f" (plain [{start.replace(' ', '] of ')}: {results.percent(plain['test_accuracy'])} %)"
    dropped = _changes(rows, "dropout")
    if dropped:
        first += f"; dropout changes it by {dropped} points ('did not give any improvement': {verdict[DROPOUT]})"
    best = next(iter(_factors.sweep(rows, "activation").values()))
    second = f"Of the activations {best['activation']} is first with {results.percent(best['test_accuracy'])} %"
    norms = _changes(rows, "batch normalisation")
    if norms:
        second += f", other normalisations change the accuracy by {norms} points"
    if BEST in verdict:
        second += f" ('LeakyReLU(0.1) with batch normalisation is best': {verdict[BEST]})"
    return f"{first}. {second}."


def _changes(rows: list[results.Row], factor: str) -> str:
    """ "-0.8 (0.2) and -3.1 (0.5)": the mean changes from the centre in points, with the factor's values."""
    others = {name: row for name, row in _factors.sweep(rows, factor).items() if row is not rows[0]}
    means = {name: statistics.paired(row, rows[0])["mean"] for name, row in others.items()}
    return " and ".join(
        f"- ({name}, diverged)" if mean is None else f"{100 * mean:+.1f} ({name})" for name, mean in means.items()
    )


def figures(content: dict[str, Any]) -> dict[str, Figure]:
    """Accuracies by factor, and differences by factor."""
    rows = content["rows"]
    sweeps = {name: _factors.sweep(rows, name) for name in _factors.FACTORS}
    sweeps = {name: sweep for name, sweep in sweeps.items() if len(sweep) > 1}
    steps = _factors.path_rows(rows)
    order = list(steps)
    paired = {
        f"{name} - centre": {k: statistics.paired(row, rows[0]) for k, row in sweep.items() if row is not rows[0]}
        for name, sweep in sweeps.items()
    }
    along = {k: statistics.paired(steps[k], steps[b]) for b, k in pairwise(order)}
    stated = (rows[0]["report"] or {}).get("test_accuracy")
    return {
        "accuracies.svg": Figure(
            plots.accuracies({"from plain to best": steps, **sweeps}, rows[0], stated),
            "Test accuracy, mean and standard deviation over seeds (dots: seeds). Filled: the centre, the "
            "report's best network, from which each group changes one factor.",
        ),
        "differences.svg": Figure(
            plots.differences({"each step - the one before": along, **paired}),
            "Differences in test accuracy, seed by seed, with 95 % intervals (Student's t): steps from the best "
            "plain network to the best one, then every setting minus the centre.",
        ),
    }
