"""A report as HTML, for notebooks: verdicts are coloured, findings open, and all text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

COLOURS = {"PASS": "#1a7f37", "FAIL": "#cf222e", "remark": "#9a6700"}


def coloured(text: str, kind: str) -> str:
    """Escaped text, in the colour of a verdict if it is of that kind."""
    return f'<span style="color: {COLOURS[kind]}">{escape(text)}</span>' if kind in COLOURS else escape(text)


def report(
    heading: str,
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    findings: Iterable[tuple[str, str, str]],
    notes: Iterable[str],
) -> str:
    """A heading, a table, an element that opens for each finding (title, sentence, kind), and notes."""
    parts = [
        f"<p><b>{heading}</b></p>",
        _table(header, cells),
        *(_opening(*finding) for finding in findings),
        *(f"<p>Note: {escape(note)}.</p>" for note in notes),
    ]
    return f"<div>{''.join(parts)}</div>"


def _table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in header)
    rows = ["".join(f"<td>{coloured(cell, cell)}</td>" for cell in row) for row in cells]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _opening(title: str, sentence: str, kind: str) -> str:
    return f"<details><summary>{coloured(title, kind)}</summary><p>{escape(sentence)}</p></details>"
