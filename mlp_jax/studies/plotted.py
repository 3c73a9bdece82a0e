"""Rows become the lines and marks of figures here: fractions in %, differences in points."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlp_jax.studies.figures import Line, Mark, Numbers, Panel, forest
from mlp_jax.studies.results import Row, by
from mlp_jax.studies.statistics import finite


def over_seeds(label: str, x: Numbers, seeds: Sequence[Numbers] | NDArray[np.floating], number: int) -> Line:
    """Gives the mean over seeds at x, and one standard deviation (n - 1) around it; one seed has none.

    Raises ValueError for a value that is not finite.
    """
    values = np.asarray(seeds, float)
    if values.size == 0:
        return Line(label, [], [], number=number)
    finite(values.ravel())
    middle, spread = values.mean(axis=0), values.std(axis=0, ddof=1 if len(values) > 1 else 0)
    sides = (middle - spread, middle + spread) if len(values) > 1 else ()
    return Line(label, x, middle, *sides, number=number)


def curves(
    seeds: Mapping[str, Sequence[Numbers]], x: Numbers, xlabel: str, ylabel: str, *, scale: float = 1, **more: Any
) -> Panel:
    """Draws curves of several seeds by label, each `over_seeds`, in a panel with `more` options."""
    lines = [over_seeds(name, x, scale * np.array(own), n) for n, (name, own) in enumerate(seeds.items())]
    return Panel(lines, xlabel, ylabel, **more)


def level(row: Row, quantity: str) -> dict[str, float]:
    """Gives what the report states of a fraction, in %, by its label; nothing where it states none."""
    value = (row["report"] or {}).get(quantity)
    return {} if value is None else {f"report: {100 * value:.1f} %": 100 * value}


def grouped(
    rows: Iterable[Row], name: str, x: str, y: Callable[[Row], Any], *, how: str = "band", label: str = "{}"
) -> list[Line]:
    """Gives a line of rows for each of their values of this name, which stands in its label.

    x: the name of a row's value. y: makes of a row (number, low, high), or None for no point.
    """
    lines = []
    for number, (value, own) in enumerate(by(rows, name).items()):
        told = [(row[x], found) for row in own if (found := y(row)) is not None]
        sides: Any = np.array([found for _, found in told]).T if told else ([],)
        lines.append(Line(label.format(value), [place for place, _ in told], *sides, number=number, how=how))
    return lines


def in_percent(quantity: str) -> Callable[[Row], tuple[float, ...] | None]:
    """Gives for `grouped` a measured fraction in % and its standard deviation; None where no run finished."""

    def sides(row: Row) -> tuple[float, ...] | None:
        mean, spread = row[quantity]["mean"], row[quantity]["std"] or 0
        return None if mean is None else tuple(100 * (mean + sign * spread) for sign in (0, -1, 1))

    return sides


def stated(rows: Iterable[Row], x: str, quantity: str) -> Line:
    """Gives what the report states of a fraction, in %, against the rows' x: open grey markers."""
    told = [row for row in rows if row["report"]]
    values = [100 * row["report"][quantity] for row in told]
    return Line("report", [row[x] for row in told], values, number=None, how="ring")


def difference(paired: Mapping[str, Any]) -> Mark | None:
    """Marks a paired difference in points with its interval, which one seed has not; None if all diverged."""
    names = ("mean", "low", "high") if paired["low"] is not None else ("mean",) * 3
    return None if paired["mean"] is None else Mark(*(100 * paired[name] for name in names))


def accuracy(measured: Row, *, filled: bool = True) -> Mark | None:
    """Marks a measured fraction in %: its mean, one standard deviation around it, and every seed."""
    if measured["mean"] is None:
        return None
    mean, spread = 100 * measured["mean"], 100 * (measured["std"] or 0.0)
    return Mark(mean, mean - spread, mean + spread, [100 * value for value in measured["values"]], filled)


def differences(groups: Mapping[str, Mapping[str, Row]], quantity: str) -> str:
    """Draws paired differences below the headings of their groups, each with a label and its interval."""
    marks = {head: {label: difference(row) for label, row in group.items()} for head, group in groups.items()}
    return forest(marks, f"difference in {quantity}, points", {"": 0})
