"""Rewrites the generated parts of README.md: `python -m experiments._readme`.

Table 1 comes from the committed results files, the table of seeded mistakes from running the checker on them.

A part stands between `<!-- NAME -->` and `<!-- end of NAME -->`. A test holds the README against these functions.
"""

from pathlib import Path
from typing import Any

from experiments import _mutants
from mlp_jax import results

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "experiments" / "results" / "cifar10"


def table_1() -> str:
    """Table 1: the report's figures beside ours under both protocols, in %."""
    published, clean = (
        results.read_json(RESULTS / name / "depth_study" / "results.json") for name in ("published", "clean")
    )
    header = [
        "layers",
        "report: val.",
        "report: test",
        "published: val.",
        "published: test",
        "clean: val.",
        "clean: test",
    ]
    lines = []
    for ours, other in zip(published["rows"], clean["rows"], strict=True):
        report = [f"{100 * ours['report'][name]:.1f}" for name in ("validation_accuracy", "test_accuracy")]
        measured = [results.percent(row[f"{s}_accuracy"]) for row in (ours, other) for s in ("validation", "test")]
        lines.append([str(ours["layers"]), *report, *measured])
    return f"{results.table(header, lines)}\n\n{_source(published)}\n{_source(clean)}"


def _source(content: dict[str, Any]) -> str:
    environment = content["environment"]
    device, jax_version = environment["device"], environment["versions"]["jax"]
    where = f"{device['cores']} {device['processor']} {device['kind']} cores, jax {jax_version}"
    minutes = f"{environment['wall_seconds'] / 60:.1f} minutes"
    seeds = f"{content['config']['seeds']} seeds"
    return f"- {content['config']['protocol']}: `{environment['command']}`, {seeds}, {minutes} on {where}."


def seeded_mistakes() -> str:
    """Every mistake that the checker names, seeded into a right gradient, and what it found."""
    return _mutants.mutation_table(list(_mutants.mutation_rows()))


PARTS = {"table 1": table_1, "seeded mistakes": seeded_mistakes}


def updated(text: str) -> str:
    """The README with its generated parts made anew."""
    for name, make in PARTS.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        if not after:
            raise ValueError(f"README.md has no part called {name!r}")
        text = before + start + make() + "\n" + end + after
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    results.write_text(readme, updated(readme.read_text(encoding="utf-8")))
