"""A table is data with three renderers: a terminal, Markdown and HTML."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mlp_jax import text
from mlp_jax.studies.results import percent

Cell = Callable[[Any], object]
Columns = dict[str, str | Cell]
"""Columns have below each heading the name of a row's value, or what makes a cell of a row."""
WIDE = 40
"""A cell of more characters is broken into lines on a page."""


@dataclass(frozen=True)
class Table:
    """A table is a header, rows of as many cells each, and a title above, if there is one.

    Raises ValueError if a row is shorter or longer than the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row of {len(row)} cells under a header of {len(self.header)}: {row}")

    @classmethod
    def of(cls, columns: Columns, rows: Iterable[Any], title: str = "") -> "Table":
        """Gives a line for each row: its value, or what a function says of it, below each heading."""
        cells = [cell if callable(cell) else operator.itemgetter(cell) for cell in columns.values()]
        return cls(list(columns), [[str(cell(row)) for cell in cells] for row in rows], title)

    def __str__(self) -> str:
        """Gives it for a terminal, with columns padded to one width."""
        return self._below_title(text.table(self.header, self.rows))

    def markdown(self) -> str:
        """Gives it for a Markdown file, where a bar inside a cell is escaped."""
        header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in (self.header, *self.rows)]
        return self._below_title(text.table(header, rows))

    def html(self) -> Markup:
        """Gives it for a page: cells are escaped, numbers flush right; columns that say nothing are left out."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * len(self.header)
        kept = [i for i, column in enumerate(columns) if not column or set(column) - {"", "-"}]
        numeric = {i for i in kept if all(_is_number(cell) for cell in columns[i])}
        head = _row("th", [(self.header[i], "num" if i in numeric else "") for i in kept])
        body = [
            _row("td", [(row[i], "num" if i in numeric else "words" * (len(row[i]) > WIDE)) for i in kept])
            for row in self.rows
        ]
        table = Markup("<table>\n<thead>{}</thead>\n<tbody>\n{}\n</tbody>\n</table>")
        return table.format(head, Markup("\n").join(body))

    def _below_title(self, table: str) -> str:
        return f"{self.title}\n\n{table}" if self.title else table


def of_rows(columns: Columns) -> Callable[[Mapping[str, Any]], Table]:
    """Gives what shows the rows of a results file in these columns."""
    return lambda content: Table.of(columns, content["rows"])


def prose(words: str) -> Markup:
    """Gives text for a page: escaped, and what stands between backticks as code."""
    pieces = enumerate(words.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else Markup.escape(p) for n, p in pieces)


def _row(tag: str, cells: Sequence[tuple[str, str]]) -> Markup:
    scope = Markup(' scope="col"') if tag == "th" else ""
    one = Markup("<{0}{1}{2}>{3}</{0}>")
    line = [one.format(tag, scope, Markup(' class="{}"').format(c) if c else "", prose(t)) for t, c in cells]
    return Markup("<tr>{}</tr>").format(Markup("").join(line))


def _is_number(cell: str) -> bool:
    """Tells whether a cell begins with a number ("52.1 ± 0.4", "80 %"), or has none."""
    try:
        float(cell.split(" ")[0])
    except ValueError:
        return cell == "-"
    return True


def status(row: Mapping[str, Any]) -> str:
    """Tells how a setting's runs ended: "finished", or how many diverged."""
    return "finished" if row["status"] == "finished" else f"{row['diverged']} diverged"


def measured(quantity: str) -> Callable[[Any], str]:
    """Gives the cell of a measured fraction, in %."""
    return lambda row: percent(row[quantity])


def stated(quantity: str) -> Callable[[Any], str]:
    """Gives the cell of what the report states of a quantity, in %; "-" for nothing."""
    return lambda row: f"{100 * row['report'][quantity]:.1f}" if quantity in (row["report"] or {}) else "-"


OUTCOME: Columns = {
    "learning rate": lambda row: f"{row['recipe']['learning_rate']:g}",
    "validation %": measured("validation_accuracy"),
    "test %": measured("test_accuracy"),
    "report: validation %": stated("validation_accuracy"),
    "report: test %": stated("test_accuracy"),
    "status": status,
}
"""A table says this of a trained setting, beside its label."""


def difference(digits: int = 2) -> Columns:
    """Gives what a table says of a paired difference, in percentage points with so many digits."""

    def value(paired: Mapping[str, Any], name: str) -> str:
        return "-" if paired[name] is None else f"{100 * paired[name]:+.{digits}f}"

    def interval(paired: Mapping[str, Any]) -> str:
        return "-" if paired["low"] is None else f"{value(paired, 'low')} to {value(paired, 'high')}"

    return {
        "difference": lambda paired: value(paired, "mean"),
        "95 % interval": interval,
        "over": "over",
        "p": lambda paired: "-" if paired["p"] is None else f"{paired['p']:.2g}",
        "p (Holm)": lambda paired: "-" if paired["p_holm"] is None else f"{paired['p_holm']:.2g}",
        "n": "n",
    }


def points(difference: Mapping[str, Any]) -> str:
    """Writes a paired difference as "-1.2 [-1.5, -0.9]" in points; one seed has no interval, none is "-"."""
    if difference["mean"] is None:
        return "-"
    mean = f"{100 * difference['mean']:+.1f}"
    if difference["low"] is None:
        return mean
    return f"{mean} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
