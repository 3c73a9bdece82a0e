"""The report page, as pure functions of results files (and of the figures beside them): HTML and Markdown.

Whatever came from a file is escaped; figures stand in the page as data: images, so that nothing in them runs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from importlib.resources import files
from typing import Any

import jinja2

from experiments import _claim, _claims, _rows, gradient_check
from experiments._keep import Job
from experiments._page_figures import figure
from mlp_jax.studies import results, statistics
from mlp_jax.studies.tables import Table, prose

PROTOCOL_NAMES = {"published": "Published protocol", "clean": "Clean protocol", None: "The check"}
BADGES = {
    statistics.REPRODUCED: ("good", "✓"),
    statistics.NOT_REPRODUCED: ("bad", "✗"),
    statistics.WITHIN_NOISE: ("open", "≈"),
    _claim.REMARK: ("none", "i"),
}

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
        "dataset": _rows.dataset_name(next(iter(contents.values()))),
        "scale": content["config"]["scale"],
        "seeds": content["config"]["seeds"],
        "summary": _claims.summary(content["claims"]),
        "tallies": [
            {
                "title": PROTOCOL_NAMES[protocol],
                "counts": list(_claims.tally(content["claims"], protocol).items()),
            }
            for protocol in _claim.PROTOCOLS
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
        "tables": tables(job.module.table(content["rows"])),
        "command": command(job.name, job.module.Config, content["config"], job.config.results_dir),
        "made": f"{minutes(environment['wall_seconds'])} on {_machine(environment)}, "
        f"commit {_commit(environment)}, data {environment['data_fingerprint'][:12]}",
        "dataset": _rows.dataset_name(content),
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


def tables(found: Table | Sequence[Table]) -> list[Table]:
    """What a study's `table` gives, one or several, as a list."""
    return [found] if isinstance(found, Table) else list(found)


def badge(verdict: str) -> tuple[str, str]:
    """A verdict's class and sign; colour is never the only one."""
    return BADGES.get(verdict, ("none", "○"))


def html(content: Page) -> str:
    """The page in one file, which fetches nothing."""
    loader = jinja2.FunctionLoader(lambda name: (files("experiments") / name).read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": prose, "badge": badge}
    return environment.get_template("page.html.jinja").render(content)
