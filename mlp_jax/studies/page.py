"""The report page is a pure function of results and of the figures beside them: HTML and Markdown.

Whatever came from a file is escaped; figures stand in the page as data: images, so that nothing in them runs.
"""

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jinja2

from mlp_jax.studies import options, question2, results, statistics, verdicts
from mlp_jax.studies.claims import ONE_RUN, summary, tally
from mlp_jax.studies.origin import plain
from mlp_jax.studies.rows import dataset_name
from mlp_jax.studies.study import Study
from mlp_jax.studies.tables import Table, prose

PROTOCOLS = {"published": "Published protocol", "clean": "Clean protocol", None: "The check"}
# a verdict's class and sign: colour is never the only one
BADGES = {
    verdicts.REPRODUCED: ("good", "✓"),
    verdicts.NOT_REPRODUCED: ("bad", "✗"),
    verdicts.TIE: ("open", "="),
    statistics.CANNOT_TELL: ("open", "≈"),
    "remark": ("none", "i"),
    "pass": ("good", "✓"),
    "fail": ("bad", "✗"),
}
HOLM = (
    "Where several settings are compared, each family of comparisons is corrected by Holm's method, so that the "
    "chance of even one false difference in a family stays below 5 %."
)
CHECK = "gradient_check"
"""This study's results hold the check of each equation."""

Page = dict[str, Any]
Line = tuple[str, str]


@dataclass(frozen=True)
class Part:
    """This is what the page shows of one study under one protocol, which is None where it has none.

    status: "passed", "kept" or "failed". content: of the study's results file, beside which, in `folder`, its
    figures lie.
    """

    study: Study[Any]
    protocol: str | None
    status: str
    folder: Path
    content: results.Row


def page(content: results.Row, parts: Sequence[Part], about: Sequence[Line] = ()) -> Page:
    """Gives everything that the page shows.

    content: reproduce's own results, with the judged claims. about: further lines on how the page was made.
    """
    own, claims = content["environment"], content["claims"]
    by_study: dict[str, list[Part]] = {}
    for part in parts:
        by_study.setdefault(part.study.name, []).append(part)
    return {
        "dataset": dataset_name(parts[0].content),
        "scale": content["config"]["scale"],
        "seeds": content["config"]["seeds"],
        "summary": summary(claims),
        "tallies": [{"title": PROTOCOLS[name], "counts": tally(claims, name)} for name in options.PROTOCOLS],
        "equations": question2.shown([row for part in by_study.get(CHECK, []) for row in part.content["rows"]]),
        "groups": [
            {"title": title, "once": all(row["once"] for row in rows), "claims": rows}
            for title, rows in results.by(claims, "part").items()
        ],
        "holm": HOLM,
        "rule": re.split(r"(?<=[.]) (?=[A-Z'])", verdicts.RULE),
        "studies": [{"about": g[0].study, "parts": list(map(_shown, g))} for g in by_study.values()],
        "environment": [*_environment(own), *about, ("wall time of this start", minutes(own["wall_seconds"]))],
        "command": own["command"],
    }


def _shown(part: Part) -> Page:
    study, content, environment = part.study, part.content, part.content["environment"]
    table = study.table(content)
    return {
        "part": part,
        "id": study.name if part.protocol is None else f"{study.name}-{part.protocol}",
        "title": PROTOCOLS[part.protocol],
        "dataset": dataset_name(content),
        "finding": study.finding(content),
        "tables": [table] if isinstance(table, Table) else table,
        "command": command(study.name, study.options, content["config"], str(part.folder.parent)),
        "corrected": any(c.get("p_holm") is not None for c in content.get("comparisons", [])),
        "figures": [figure(part.folder, named) for named in content.get("figures", [])],
        "made": f"{minutes(environment['wall_seconds'])} on {_machine(environment)}, "
        f"commit {_commit(environment)}, data {environment['data_fingerprint'][:12]}",
    }


def command(name: str, kind: Any, config: Mapping[str, Any], results_dir: str) -> str:
    """Gives the command line that runs the study with these options, those at their defaults left out."""
    words = [f"python -m experiments.{name}"]
    for field in fields(kind):
        default = plain(field.default)
        value = results_dir if field.name == "results_dir" else plain(config.get(field.name, default))
        if value == default:
            continue
        if isinstance(value, bool):
            words.append(f"--{field.name}" if value else f"--no{field.name}")
        else:
            words.append(f"--{field.name}={value}")
    return " ".join(words)


def minutes(seconds: float) -> str:
    """Gives a time as people say it."""
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


def _environment(environment: Mapping[str, Any]) -> list[Line]:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return [("machine", _machine(environment)), ("versions", versions), ("commit", _commit(environment))]


def figure(folder: Path, named: Mapping[str, str]) -> Page:
    """Gives what the page needs of a figure that a results file names."""
    path = folder / Path(named["file"]).name
    data = path.read_bytes()
    vector = path.suffix == ".svg"
    content = base64.b64encode(data).decode()
    return {
        "path": path,
        "caption": named["caption"],
        "vector": vector,
        "data": f"data:image/{'svg+xml' if vector else 'png'};base64,{content}",
        "width": width(data),
    }


def width(data: bytes) -> int:
    """Gives the width of an SVG (which states it in points) or a PNG, in CSS pixels."""
    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20])
    points = re.search(rb'<svg[^>]*\swidth="([\d.]+)pt"', data)
    return round(float(points[1]) * 4 / 3) if points else 640


def claim_table(claims: Sequence[results.Row]) -> Table:
    """Gives the claims of one part of the report, with a verdict under each protocol."""
    header = ["claim", "report", "published protocol", "", "clean protocol", ""]
    rows = [[c["claim"], c["report"], *_cells(c["published"]), *_cells(c["clean"])] for c in claims]
    return Table(header, rows, title=f"**{claims[0]['part']}**")


def _cells(answer: results.Row) -> list[str]:
    """Gives what ours is, where one further run of ours would lie in %, and the verdict."""
    text = answer["text"]
    if ONE_RUN in answer:
        low, high = answer[ONE_RUN]
        text += f"; one run: {100 * low:.1f} to {100 * high:.1f}"
    return [text, answer["verdict"]]


def html(content: Page) -> str:
    """Gives the page in one file, which fetches nothing."""
    return _environment_of(autoescape=True).get_template("page.html.jinja").render(content)


def markdown(content: Page, folder: Path) -> str:
    """Gives the page for a file in `folder`, to which the paths of the figures are relative."""
    environment = _environment_of(autoescape=False)
    environment.filters["relative"] = lambda path: Path(os.path.relpath(path, folder)).as_posix()
    return environment.get_template("page.md.jinja").render(content)


def _environment_of(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlp_jax", "studies"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "claim_table": claim_table}
    environment.filters["badge"] = lambda verdict: BADGES.get(verdict, ("none", "○"))
    return environment
