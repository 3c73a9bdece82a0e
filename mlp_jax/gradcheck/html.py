"""A report as HTML, for notebooks: verdicts in colour, findings that open. All text is escaped."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

COLOURS = {"PASS": "#1a7f37", "FAIL": "#cf222e", "remark": "#9a6700"}


def page(report: Any, header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A heading, the table of leaves (header, and cells per row), and an element that opens per finding."""
    verdict = "PASS" if report.passed else "FAIL"
    parts = [f"<p><b>{coloured(report.headline(), verdict)}</b></p>", _table(header, cells), *_findings(report)]
    parts += [f"<p>Note: {escape(note)}.</p>" for note in report.notes]
    return f"<div>{''.join(parts)}</div>"


def coloured(text: str, kind: str) -> str:
    """Escaped text in the colour of a verdict."""
    return f'<span style="color: {COLOURS[kind]}">{escape(text)}</span>'


def _table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in header)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in cells
    )  # fmt: skip
    return f"<table><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(text: str) -> str:
    return coloured(text, text) if text in ("PASS", "FAIL") else escape(text)


def _findings(report: Any) -> Iterator[str]:
    for finding in report.findings:
        at = f" at {' and '.join(finding.leaves)}" if finding.leaves else ""
        kind = "remark" if finding.remark else "FAIL"
        title = coloured(f"{finding.code}{at}", kind) + (" (a remark, not a failure)" if finding.remark else "")
        where = f"<p>Equation {escape(finding.equation)}.</p>"
        yield f"<details><summary>{title}</summary>{where}<p>{escape(finding.sentence)}</p></details>"
