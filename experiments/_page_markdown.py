"""The report page's content as Markdown, its figures beside it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments import _claim
from mlp_jax.studies import results
from mlp_jax.studies.tables import Table

Page = dict[str, Any]


def markdown(page: Page, folder: Path) -> str:
    """The page for a file in `folder`, to which the paths of the figures are relative."""
    return "\n\n".join(_blocks(page, folder)) + "\n"


def _blocks(page: Page, folder: Path) -> Iterator[str]:
    yield f"# The report, claim by claim: {page['dataset']}"
    yield f"{page['summary']} {page['scale'].capitalize()} scale, {page['seeds']} seeds."
    yield "## Every claim"
    yield from claim_tables([claim for group in page["groups"] for claim in group["claims"]])
    yield "The rule:"
    yield "\n".join(f"- {sentence}" for sentence in page["rule"])
    for study in page["studies"]:
        yield f"## {study['title']}"
        yield study["question"]
        yield f"Caveat: {study['caveat']}"
        for part in study["parts"]:
            yield from _part(part, folder)
    yield "## How it was made"
    yield f"`{page['command']}`"
    yield "\n".join(f"- {name}: {value}" for name, value in page["environment"])


def _part(part: Page, folder: Path) -> Iterator[str]:
    yield f"### {part['title']}, {part['dataset']}"
    if part["status"] == "failed":
        yield "**This study did not do what was asked; see its table.**"
    yield part["finding"]
    for figure in part["figures"]:
        path = Path(os.path.relpath(figure["path"], folder)).as_posix()
        caption = figure["caption"].replace("[", "\\[").replace("]", "\\]")
        yield f"![{caption}](<{path}>)"
        yield f"*{figure['caption']}*"
    for table in part["tables"]:
        yield table.markdown()
    yield f"`{part['command']}`: {part['made']}."


def claim_tables(claims: list[results.Row]) -> Iterator[str]:
    """The claims, part by part of the report, with a verdict under each protocol."""
    header = ["claim", "report", "published protocol", "", "clean protocol", ""]
    for title in dict.fromkeys(claim["part"] for claim in claims):
        rows = [[claim["claim"], claim["report"], *_cells(claim)] for claim in claims if claim["part"] == title]
        yield f"**{title}**"
        yield Table(header, rows).markdown()


def _cells(claim: results.Row) -> list[str]:
    return [
        cell for protocol in _claim.PROTOCOLS for cell in (claim[protocol]["text"], claim[protocol]["verdict"])
    ]
