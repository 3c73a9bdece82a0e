"""The report page, as pure functions of results files (and of the figures beside them): HTML and Markdown.

Whatever came from a file is escaped; figures stand in the page as data: images, so that nothing in them runs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from importlib.resources import files
from itertools import pairwise
from typing import Any

import jinja2

from experiments import gradient_check
from experiments._page_figures import figure
from mlp_jax.studies import results, statistics
from mlp_jax.studies.claims import PROTOCOLS, REMARK
from mlp_jax.studies.keep import Job
from mlp_jax.studies.rows import dataset_name
from mlp_jax.studies.verdicts import summary, tally

PROTOCOL_NAMES = {"published": "Published protocol", "clean": "Clean protocol", None: "The check"}
BADGES = {
    statistics.REPRODUCED: ("good", "✓"),
    statistics.NOT_REPRODUCED: ("bad", "✗"),
    statistics.WITHIN_NOISE: ("open", "≈"),
    REMARK: ("none", "i"),
}
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?( ?±.*| ?%| \[.*\])?|-|")

Page = dict[str, Any]


def page(
    content: results.Row, jobs: Sequence[Job], contents: Mapping[tuple[str | None, str], results.Row]
) -> Page:
    """Everything that the page shows, from reproduce's own results and the studies'."""
    own = content["environment"]
    by_study: dict[str, list[Page]] = {}
    for job, row in zip(jobs, content["rows"], strict=True):
        by_study.setdefault(job.name, []).append(_part(job, row, contents[job.protocol, job.name]))
    modules = {job.name: job.module for job in jobs}
    return {
        "dataset": dataset_name(next(iter(contents.values()))),
        "scale": content["config"]["scale"],
        "seeds": content["config"]["seeds"],
        "summary": summary(content["claims"]),
        "tallies": [
            {
                "title": PROTOCOL_NAMES[protocol],
                "counts": list(tally(content["claims"], protocol).items()),
            }
            for protocol in PROTOCOLS
        ],
        "groups": _grouped(content["claims"]),
        "rule": re.split(r"(?<=[.]) (?=[A-Z'])", statistics.RULE),
        "studies": [
            {
                "name": name,
                "title": modules[name].TITLE,
                "question": (modules[name].__doc__ or "").strip().split("\n\n")[0],
                "caveat": modules[name].CAVEAT,
                "parts": parts,
            }
            for name, parts in by_study.items()
        ],
        "environment": [
            *_environment(own),
            *_witness(content),
            ("wall time of this start", minutes(own["wall_seconds"])),
        ],
        "command": own["command"],
    }


def _grouped(claims: Sequence[results.Row]) -> list[Page]:
    groups: dict[str, list[results.Row]] = {}
    for claim in claims:
        groups.setdefault(claim["part"], []).append(claim)
    return [
        {"title": title, "once": all(row["once"] for row in rows), "claims": rows}
        for title, rows in groups.items()
    ]


def _part(job: Job, row: results.Row, content: results.Row) -> Page:
    """One study under one protocol."""
    environment = content["environment"]
    return {
        "id": job.name if job.protocol is None else f"{job.name}-{job.protocol}",
        "title": PROTOCOL_NAMES[job.protocol],
        "status": row["status"],
        "finding": job.module.finding(content),
        "figures": [figure(job.folder, named) for named in content.get("figures", [])],
        "blocks": list(blocks(job.module.table(content["rows"]))),
        "command": command(job.name, job.module.Config, content["config"], job.config.results_dir),
        "made": f"{minutes(environment['wall_seconds'])} on {_machine(environment)}, "
        f"commit {_commit(environment)}, data {environment['data_fingerprint'][:12]}",
        "dataset": dataset_name(content),
    }


def command(name: str, kind: Any, config: Mapping[str, Any], results_dir: str) -> str:
    """The command line that runs the study with these options, those at their defaults left out."""
    words = [f"python -m experiments.{name}"]
    for field in fields(kind):
        default = field.default if field.default is not MISSING else None
        value = results_dir if field.name == "results_dir" else config.get(field.name, default)
        if value == default:
            continue
        if isinstance(value, bool):
            words.append(f"--{field.name}" if value else f"--no{field.name}")
        else:
            words.append(f"--{field.name}={value}")
    return " ".join(words)


def minutes(seconds: float) -> str:
    """A time as people say it."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def _machine(environment: Mapping[str, Any]) -> str:
    device = environment["device"]
    if device["platform"] == "cpu":
        return f"{device['cores']} {device['processor']} cores"
    return f"{device['count']} x {device['kind']}"


def _commit(environment: Mapping[str, Any]) -> str:
    if environment["commit"] is None:
        return "unknown"
    return f"{environment['commit'][:10]}{' with changes' if environment['dirty'] else ''}"


def _environment(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return [("machine", _machine(environment)), ("versions", versions), ("commit", _commit(environment))]


def _witness(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A row on the check of `jax.grad` itself; none for results from before there was one."""
    witness = content.get("witness")
    return [("jax.grad", f"was {gradient_check.witness_told(witness)} before anything ran")] if witness else []


def blocks(text: str) -> Iterator[Page]:
    """A study's table as it prints it, in parts: tables with header and rows of cells, and lines of text."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
            continue
        if lines:
            yield _table(lines)
            lines = []
        if line.strip():
            yield {"text": line.strip()}


def _table(lines: list[str]) -> Page:
    """Columns of numbers are told apart, to be set flush right; those that say nothing are left out."""
    cuts = [place for place, sign in enumerate(lines[1]) if sign == "|"]  # a cell may have one of its own
    header, _, *rows = [[line[a + 1 : b].strip() for a, b in pairwise(cuts)] for line in lines]
    columns = list(zip(*rows, strict=True))
    kept = [i for i, column in enumerate(columns) if set(column) - {"", "-"}]
    return {
        "header": [header[i] for i in kept],
        "rows": [[row[i] for i in kept] for row in rows],
        "numeric": [all(NUMBER.fullmatch(cell) for cell in columns[i]) for i in kept],
    }


def code(text: str) -> list[tuple[bool, str]]:
    """The text in pieces, with True where a piece stood between backticks."""
    return [(number % 2 == 1, piece) for number, piece in enumerate(str(text).split("`")) if piece]


def badge(verdict: str) -> tuple[str, str]:
    """A verdict's class and sign; colour is never the only one."""
    return BADGES.get(verdict, ("none", "○"))


def html(content: Page) -> str:
    """The page in one file, which fetches nothing."""
    loader = jinja2.FunctionLoader(lambda name: (files("experiments") / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"code": code, "badge": badge}
    return environment.get_template("page.html.jinja").render(content)
