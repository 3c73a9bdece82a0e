"""A table as data, and its three renderers: a terminal, Markdown and HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mlp_jax import text
from mlp_jax.studies.results import percent

WIDE = 40
"""A cell of more characters is broken into lines on a page."""


@dataclass(frozen=True)
class Table:
    """A header, rows of as many cells each, and a title above, if there is one.

    Raises ValueError if a row is shorter or longer than the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row of {len(row)} cells under a header of {len(self.header)}: {row}")

    def __str__(self) -> str:
        """For a terminal: columns padded to one width."""
        return self._below_title(text.table(self.header, self.rows))

    def markdown(self) -> str:
        """For a Markdown file, where a bar inside a cell is escaped."""
        header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in (self.header, *self.rows)]
        return self._below_title(text.table(header, rows))

    def html(self) -> Markup:
        """For a page: cells are escaped, numbers flush right, and columns that say nothing are left out."""
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


def prose(words: str) -> Markup:
    """Text for a page: escaped, and what stands between backticks as code."""
    pieces = enumerate(words.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else Markup.escape(p) for n, p in pieces)


def _row(tag: str, cells: Sequence[tuple[str, str]]) -> Markup:
    scope = Markup(' scope="col"') if tag == "th" else ""
    one = Markup("<{0}{1}{2}>{3}</{0}>")
    line = [one.format(tag, scope, Markup(' class="{}"').format(c) if c else "", prose(t)) for t, c in cells]
    return Markup("<tr>{}</tr>").format(Markup("").join(line))


def _is_number(cell: str) -> bool:
    """Whether a cell begins with a number ("52.1 ± 0.4", "80 %"), or has none."""
    try:
        float(cell.split(" ")[0])
    except ValueError:
        return cell == "-"
    return True


OUTCOME = (
    "learning rate", "validation %", "test %", "report: validation %", "report: test %", "status",
)  # fmt: skip
"""What a table says of a trained setting, beside its label."""


def outcome(row: Mapping[str, Any]) -> list[str]:
    """The cells under `OUTCOME`: the learning rate, accuracies in %, what the report states, how runs ended."""
    stated = row["report"] or {}
    quantities = ("validation_accuracy", "test_accuracy")
    theirs = [f"{100 * stated[name]:.1f}" if name in stated else "-" for name in quantities]
    ours = [percent(row[name]) for name in quantities]
    return [f"{row['recipe']['learning_rate']:g}", *ours, *theirs, status(row)]


def status(row: Mapping[str, Any]) -> str:
    """How a setting's runs ended: "finished", or how many diverged."""
    return "finished" if row["status"] == "finished" else f"{row['diverged']} diverged"


def difference_cells(difference: Mapping[str, Any]) -> list[str]:
    """A paired difference in points, its 95 % interval, over what, p, Holm's p; each "-" where there is none."""
    mean = "-" if difference["mean"] is None else f"{100 * difference['mean']:+.2f}"
    low, high = difference["low"], difference["high"]
    interval = "-" if low is None else f"{100 * low:+.2f} to {100 * high:+.2f}"
    p = ["-" if difference[name] is None else f"{difference[name]:.2g}" for name in ("p", "p_holm")]
    return [mean, interval, difference["over"], *p]


def points(difference: Mapping[str, Any]) -> str:
    """A paired difference as "-1.2 [-1.5, -0.9]" in points, without the interval for one seed, "-" for none."""
    if difference["mean"] is None:
        return "-"
    mean = f"{100 * difference['mean']:+.1f}"
    if difference["low"] is None:
        return mean
    return f"{mean} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
