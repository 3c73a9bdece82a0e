"""Rewrites the generated parts of README.md from the committed results files: `python -m experiments._readme`.

A part stands between `<!-- NAME -->` and `<!-- end of NAME -->`. A test holds the README against these functions.
"""

import re
from pathlib import Path
from typing import Any

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
    device, versions = environment["device"], environment["versions"]
    return (
        f"- {content['config']['protocol']}: `TFDS_DATA_DIR=... {environment['command']}`, "
        f"{environment['wall_seconds'] / 60:.1f} minutes on {device['cores']} {device['processor']} {device['kind']} "
        f"cores, jax {versions['jax']}, {content['config']['seeds']} seeds."
    )


PARTS = {"table 1": table_1}


def updated(text: str) -> str:
    """The README with its generated parts made anew."""
    for name, make in PARTS.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)"
        text, count = re.subn(
            pattern, lambda found, part=make(): found[1] + part + found[2], text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"README.md has {count} parts called {name!r}")
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    results.write_text(readme, updated(readme.read_text(encoding="utf-8")))
