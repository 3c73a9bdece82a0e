"""What a depth study shows: each "deeper is better" as a paired comparison, and its finding in words."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mlp_jax.studies import results, statistics
from mlp_jax.studies.tables import Table

QUANTITIES = ("test_accuracy", "validation_accuracy")


def comparisons(rows: Sequence[results.Row]) -> list[results.Row]:
    """Is deeper better? For each initialisation: each depth against the next shallower and the shallowest."""
    found = []
    for init in dict.fromkeys(row["init"] for row in rows):
        own = sorted((row for row in rows if row["init"] == init), key=lambda row: int(row["layers"]))
        pairs = [*pairwise(own), *((own[0], deeper) for deeper in own[2:])]
        for quantity in QUANTITIES:
            found += [_comparison(init, deeper, shallower, quantity) for shallower, deeper in pairs]
    return found


def _comparison(init: str, deeper: results.Row, shallower: results.Row, quantity: str) -> results.Row:
    difference = statistics.paired(deeper, shallower, quantity)
    return {
        "init": init,
        "deeper": deeper["layers"],
        "shallower": shallower["layers"],
        "quantity": quantity,
        **difference,
        "verdict": statistics.judge_difference(difference),
    }


def comparison_table(found: Sequence[results.Row]) -> Table:
    """The comparisons in percentage points: "deeper is better" as a claim, and what the seeds say to it."""
    header = ["init", "layers", "quantity", "difference", "95 % interval", "p (t)", "n", "deeper is better"]
    return Table(header, [_comparison_cells(row) for row in found])


def _comparison_cells(row: results.Row) -> list[str]:
    mean = "-" if row["mean"] is None else f"{100 * row['mean']:+.2f}"
    interval = "-" if row["low"] is None else f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}"
    p = "-" if row["p_t"] is None else f"{row['p_t']:.2g}"
    quantity = row["quantity"].removesuffix("_accuracy")
    depths = f"{row['deeper']} - {row['shallower']}"
    return [row["init"], depths, quantity, mean, interval, p, str(row["n"]), row["verdict"]]


def finding(content: dict[str, Any]) -> str:
    """For each initialisation a sentence: the best depth on test, and how many "deeper is better" hold."""
    names = dict.fromkeys(row["init"] for row in content["rows"])
    return " ".join(_finding(name, content) for name in names)


def _finding(init: str, content: dict[str, Any]) -> str:
    rows = [row for row in content["rows"] if row["init"] == init and row["test_accuracy"]["n"]]
    if not rows:
        return f"With {init}, every run diverged."
    best = max(rows, key=lambda row: row["test_accuracy"]["mean"])
    first, last = (end(rows, key=lambda row: row["layers"]) for end in (min, max))
    ends = {row["layers"]: row for row in (first, best, last)}
    accuracies = ", ".join(
        f"{100 * row['test_accuracy']['mean']:.1f} % with {layers} layers" for layers, row in sorted(ends.items())
    )
    claims = [c["verdict"] for c in content["comparisons"] if (c["init"], c["quantity"]) == (init, QUANTITIES[0])]
    if not claims:
        return f"With {init}, test accuracy is {accuracies}."
    holds, fails = (claims.count(word) for word in (statistics.REPRODUCED, statistics.NOT_REPRODUCED))
    return (
        f"With {init}, test accuracy is {accuracies} ({best['layers']} layers do best); of {len(claims)} "
        f"seed-by-seed comparisons that test 'deeper is better', {holds} are in favour, {fails} against and "
        f"{len(claims) - holds - fails} within noise."
    )
