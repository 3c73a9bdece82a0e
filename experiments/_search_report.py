"""What the grid search says: table, sentences and figures, from the content of its results.json alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments._study import Figure
from mlp_jax.studies import results, statistics
from mlp_jax.studies.plots import grid_search as plots
from mlp_jax.studies.tables import Table

Row = results.Row
TRIED = ("grid", "trial")  # kinds of rows that were searched
THIN = 25  # steps of which Figure 1 shows the mean loss
CONFIGURATION = ("kind", "hidden", "batch_size", "l2", "learning_rate")


def table(rows: Sequence[Row]) -> Table:
    """A line for each configuration, in %; numbers of steps, and what they led to, with slashes between them."""
    header = ["", "hidden", "batch", "lambda", "learning rate", "steps", "validation %"]
    header += ["test %", "report: validation %", "status"]
    lines: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(tuple(row[name] for name in CONFIGURATION), []).append(row)
    return Table(header, [_cells(same) for same in lines.values()])


def _cells(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    columns = [
        [str(row["steps"]) for row in rows],
        [results.percent(row["validation_accuracy"]) for row in rows],
        [results.percent(row["test_accuracy"]) if "test_accuracy" in row else "" for row in rows],
        ["-" if row["report"] is None else f"{100 * row['report']['validation_accuracy']:.1f}" for row in rows],
        [_status(row) for row in rows],
    ]
    texts = [
        cells[0] if set(cells) in ({""}, {"-"}, {"finished"}, {"diverged"}) else " / ".join(cells)
        for cells in columns
    ]
    numbers = [f"{first[name]:g}" for name in CONFIGURATION[1:]]
    return [first["kind"], *numbers, *texts]


def _status(row: Row) -> str:
    if row["status"] == "finished":
        return "finished"
    return "diverged" if not row["seeds"] else f"{row['diverged']} diverged"


def _named(point: Mapping[str, Any]) -> str:
    return (
        f"hidden {point['hidden']}, batch {point['batch_size']}, lambda {point['l2']:g}, "
        f"learning rate {point['learning_rate']:g}"
    )


def _configurations(rows: Sequence[Row]) -> dict[tuple[Any, ...], bool]:
    """Everything that was tried, and whether a run of it diverged."""
    tried: dict[tuple[Any, ...], bool] = {}
    for row in rows:
        if row["kind"] in TRIED:
            key = tuple(row[name] for name in CONFIGURATION)
            tried[key] = tried.get(key, False) or row["status"] == "diverged"
    return tried


def notes(content: Mapping[str, Any]) -> list[str]:
    """Lines to print below the table: where the best lies on an edge, and what diverged."""
    tried = _configurations(content["rows"])
    lines = [
        f"note: the best {edge['name']}, {edge['value']:g}, is at the {edge['end']} end of {edge['low']:g} to "
        f"{edge['high']:g}: a better one may lie beyond"
        for edge in content["edges"]
    ]
    if any(tried.values()):
        lines.append(
            f"note: {sum(tried.values())} of {len(tried)} configurations diverged, which a search may expect: "
            "their rows are kept"
        )
    if content["best"] is None:
        lines.append("note: no configuration finished the longest runs, so there is no best one")
    return lines


def finding(content: Mapping[str, Any]) -> str:
    """One or two sentences of what came out."""
    tried = _configurations(content["rows"])
    drawn = any(key[0] == "trial" for key in tried)
    counted = f"{len(tried)} {'random trials' if drawn else 'configurations'}"
    diverged = f"{sum(tried.values())} of {counted} diverged" if any(tried.values()) else ""
    rows = [row for row in content["rows"] if row["kind"] == "best"]
    if not rows:
        return f"None of {counted} finished, so there is no best one."
    last = rows[-1]
    text = f"The best of {counted} was {_named(last)}: {_accuracy(last)} after {last['steps']} steps"
    if last["test_accuracy"]["mean"] is not None:
        text += f", {results.percent(last['test_accuracy'])} % on {last['images']['test']} test images"
    if content["comparisons"]:
        text += _gain(content["comparisons"][0], rows[0]["steps"])
    others = [
        diverged,
        *(f"the default reached {_accuracy(r)}" for r in content["rows"] if r["kind"] == "default"),
    ]
    told = "; ".join(part for part in others if part)
    return f"{text}." + (f" {told[0].upper()}{told[1:]}." if told else "")


def _accuracy(row: Row) -> str:
    """Validation accuracy, beside the report's and the verdict where it has one."""
    quantity = row["validation_accuracy"]
    if quantity["mean"] is None:
        return "no accuracy, since every run diverged,"
    seeds = f"{quantity['n']} seed{'s' if quantity['n'] > 1 else ''}"
    text = f"validation {results.percent(quantity)} % over {seeds}"
    if row["report"] is None:
        return text
    theirs, images = row["report"]["validation_accuracy"], row["images"]["validation"]
    return f"{text} (report: {100 * theirs:.1f} %: {statistics.judge_number(quantity, images, theirs, images)})"


def _gain(comparison: Row, steps: int) -> str:
    if comparison["mean"] is None:
        return ""
    points = 100 * comparison["mean"]
    text = f", {abs(points):.1f} points {'more' if points >= 0 else 'less'} than after {steps}"
    if comparison["low"] is None:
        return text
    return f"{text} (95 % interval {100 * comparison['low']:+.1f} to {100 * comparison['high']:+.1f})"


def figures(content: Mapping[str, Any]) -> dict[str, Figure]:
    """Figure 1 of the best configuration, and what the search saw."""
    rows, best = content["rows"], content["best"]
    found: dict[str, Figure] = {}
    measured = [row for row in rows if row["kind"] == "best" and row["figure_1"]]
    if measured:
        row = measured[-1]
        found["figure1.svg"] = Figure(
            plots.figure_1(row, THIN),
            f"Figure 1, the best configuration ({_named(row)}). Left: loss of the minibatches with the L2 term, "
            f"means over {THIN} steps. Right: accuracy on the last minibatch of each epoch ({row['batch_size']} "
            "images, as in the report, not the training split) and on validation. Mean over "
            f"{len(row['seeds'])} seeds, band: one standard deviation.",
        )
    if any(row["kind"] == "trial" for row in rows):
        found["trials.svg"] = Figure(
            plots.trials(rows, best),
            "Every random trial (first seed) against its learning rate and its lambda; the marker tells the "
            "width. Crosses on the axis diverged; the best is ringed.",
        )
    else:
        found["grid.svg"] = Figure(
            plots.grid(rows, best),
            "Validation accuracy in % of every configuration of the grid (first seed), for each number of steps. "
            "Crosses diverged; the best is framed.",
        )
    return found
