"""People read this text: a table, or a note on standard error."""

import sys
from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table that also reads well in a terminal: columns are padded to one width."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def counted(number: int, what: str) -> str:
    """Gives "1 seed", "2 seeds"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def note(what: str) -> None:
    """Prints a line on standard error about what the user may want to know, and need not act upon."""
    print(f"note: {' '.join(what.split())}", file=sys.stderr)
