"""Settings that differ from a centre: which belong to which factor, how they compare with it, which claims hold.

Everything is a function of a study's rows, the centre first. A setting's label is its row's `LABEL`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from mlp_jax.nn.config import BATCH_NORMS
from mlp_jax.studies import statistics
from mlp_jax.studies.results import Row
from mlp_jax.studies.rows import find

LABEL = ("hidden", "activation", "batch_norm", "dropout")
FACTORS = {
    "activation": "activation",
    "batch normalisation": "batch_norm",
    "dropout": "dropout",
    "width": "hidden",
}
"""A factor's name -> its place in the label."""
PATH = "path"
SEVERAL = "several"
QUANTITIES = ("test_accuracy", "validation_accuracy")
DROPOUT = "dropout did not give any improvement"
BEST = "LeakyReLU(0.1) with batch normalisation after it is best"
PLAIN = {"hidden": "50,50", "activation": "relu", "batch_norm": "none", "dropout": 0.0}
"""The best plain network of Table 1: 3 layers."""


def label(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row's own part of what it says."""
    return {name: row[name] for name in LABEL}


def name(row: Mapping[str, Any]) -> str:
    """The label in words."""
    return ", ".join(str(row[key]) for key in LABEL)


def path(centre: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Labels from the best plain network to the centre: wider and deeper, then its activation, then all of it."""
    wide = {**PLAIN, "hidden": centre["hidden"]}
    steps = [PLAIN, wide, {**wide, "activation": centre["activation"]}, label(centre)]
    return [step for number, step in enumerate(steps) if step not in steps[:number]]


def factor(row: Row, centre: Row) -> str | None:
    """The factor in which the row differs from the centre: None for the centre itself, or "several"."""
    differing = [name for name, key in FACTORS.items() if row[key] != centre[key]]
    return SEVERAL if len(differing) > 1 else differing[0] if differing else None


def sweep(rows: Sequence[Row], name: str) -> dict[str, Row]:
    """By its value, every row that differs from the centre in this factor alone, and the centre."""
    found = [row for row in rows if factor(row, rows[0]) in (name, None)]
    return {value_name(row, name): row for row in sorted(found, key=lambda row: _order(row, name))}


def _order(row: Row, name: str) -> tuple[float, ...]:
    """Numbers by size, normalisation from none to after, activations from the best to the worst."""
    if name in ("dropout", "width"):
        return tuple(float(part) for part in str(row[FACTORS[name]]).split(","))
    if name == "batch normalisation":
        return (BATCH_NORMS.index(row["batch_norm"]),)
    mean = row["test_accuracy"]["mean"]
    return (math.inf if mean is None else -mean,)


def value_name(row: Mapping[str, Any], name: str) -> str:
    """What a row is called among those that differ in this factor."""
    value = row[FACTORS[name]]
    return f"{value:g}" if isinstance(value, float) else str(value)


def path_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """The rows of the path that are there, by what each of its steps changes."""
    found = [row for step in path(rows[0]) if (row := find(rows, step)) is not None]
    names, before = {}, None
    for row in found:
        changed = [key for key in LABEL if before is None or row[key] != before[key]]
        what = f"{row['hidden']} {row['activation']}" if before is None else " ".join(str(row[k]) for k in changed)
        norm = f"norm {row['batch_norm']}" if changed == ["batch_norm"] else what
        names[norm if before is None else f"+ {norm}"] = row
        before = row
    return names


def comparisons(rows: Sequence[Row]) -> list[Row]:
    """By seed: every setting against the centre, and every step of the path against the one before."""
    centre, found = rows[0], []
    pairs = [(row, centre, factor(row, centre)) for row in rows[1:]]
    steps = list(path_rows(rows).values())
    pairs += [(after, before, PATH) for before, after in pairwise(steps)]
    for ours, base, name in pairs:
        for quantity in QUANTITIES:
            of = {"setting": label(ours), "base": label(base), "factor": name, "quantity": quantity}
            found.append({**of, **statistics.paired(ours, base, quantity)})
    return found


def verdicts(rows: Sequence[Row]) -> list[Row]:
    """Of the report's claims about its best network, on test accuracy: {"claim", "verdict", "parts"}.

    A part is one setting that the claim is about: its label, and the verdict on its own difference.
    """
    others = [row for row in rows if factor(row, rows[0]) in ("activation", "batch normalisation")]
    dropped = [row for row in rows if factor(row, rows[0]) == "dropout"]
    found = [_better(claim, rows[0], others) for claim, others in ((DROPOUT, dropped), (BEST, others)) if others]
    return found + _numbers(rows[0])


def _better(claim: str, centre: Row, others: Sequence[Row]) -> Row:
    """The verdict on a claim which says that the centre is better than each of the others."""
    differences = [statistics.paired(centre, row) for row in others]
    parts = [
        {"setting": label(row), "verdict": statistics.judge_difference(difference)}
        for row, difference in zip(others, differences, strict=True)
    ]
    return {"claim": claim, "verdict": statistics.judge_best(differences), "parts": parts}


def _numbers(centre: Row) -> list[Row]:
    """The verdicts on the accuracies that the report states, on 1,000 test and 5,000 validation images."""
    found = []
    for quantity, value in (centre["report"] or {}).items():
        split = quantity.split("_")[0]
        theirs = {"test": 1000, "validation": 5000}[split]
        verdict = statistics.judge_number(centre[quantity], centre["images"][split], value, theirs)
        found.append({"claim": f"{split} accuracy {100 * value:.1f} %", "verdict": verdict, "parts": []})
    return found
