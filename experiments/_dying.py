"""Where learning dies: the rule, and what an initialisation study shows in a table and in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlp_jax.data.dataset import Split
from mlp_jax.studies import results, statistics
from mlp_jax.studies.plots.init_study import NAMES
from mlp_jax.studies.tables import Table


def majority(split: Split) -> float:
    """Accuracy of always answering the split's commonest class: what a network that sees nothing can reach."""
    return float(np.bincount(np.asarray(split.y)).max() / len(split.y))


def is_dead(accuracy: float, chance: float, images: int) -> bool:
    """Whether an accuracy, counted on so many images, is not clearly above chance: by 2 standard errors."""
    return accuracy <= chance + 2 * statistics.accuracy_error(chance, images)


def dies(rows: Sequence[results.Row]) -> list[results.Row]:
    """For each optimiser and initialisation: the depth from which on every run is dead, None if there is none."""
    found = []
    for optimizer, init in dict.fromkeys((row["optimizer"], row["init"]) for row in rows):
        own = [row for row in rows if (row["optimizer"], row["init"]) == (optimizer, init)]
        first = None
        for row in sorted(own, key=lambda row: int(row["layers"]), reverse=True):
            if row["diverged"] or row["dead"] < len(row["seeds"]):
                break
            first = row["layers"]
        found.append({"optimizer": optimizer, "init": init, "layers": first})
    return found


def shrinkage(rows: Sequence[results.Row], init: str) -> float | None:
    """By what each further layer divides the first layer's gradient at the start: a geometric mean over depths."""
    own = [row for row in rows if row["init"] == init and row["norms"]["gradient"]]
    sizes = {row["layers"]: row["norms"]["gradient"]["mean"][0][0] for row in own}
    first, last = min(sizes, default=0), max(sizes, default=0)
    if first == last or not sizes[last]:
        return None
    return float((sizes[first] / sizes[last]) ** (1 / (last - first)))


def table(rows: Sequence[results.Row]) -> Table:
    """A row per setting: accuracies in %, dead runs, and the first layer's gradient and how far it moved."""
    header = ["optimizer", "init", "layers", "validation %", "test %", "dead", "first gradient", "moved", "status"]
    return Table(header, [_cells(row) for row in rows])


def _cells(row: results.Row) -> list[str]:
    accuracies = [results.percent(row[f"{split}_accuracy"]) for split in ("validation", "test")]
    norms, runs = row["norms"], len(row["seeds"]) + row["diverged"]
    sizes = [f"{norms['gradient']['mean'][0][0]:.1e}", f"{norms['moved'][0]:.2g}"] if norms["moved"] else ["-"] * 2
    status = row["status"] if row["status"] == "finished" else f"{row['diverged']} diverged"
    dead = f"{row['dead']} of {runs}"
    return [row["optimizer"], row["init"], str(row["layers"]), *accuracies, dead, *sizes, status]


def finding(content: dict[str, Any]) -> str:
    """Where learning dies, and what a layer does to the gradient."""
    rows = content["rows"]
    deepest = max(row["layers"] for row in rows)
    parts = []
    for optimizer in dict.fromkeys(found["optimizer"] for found in content["dies"]):
        own = {found["init"]: found["layers"] for found in content["dies"] if found["optimizer"] == optimizer}
        told = [f"{init} from {layers} layers on" for init, layers in own.items() if layers is not None]
        alive = [init for init, layers in own.items() if layers is None]
        if alive:
            told.append(f"{', '.join(alive)} at no depth up to {deepest}")
        parts.append(f"under {NAMES[optimizer]}: {', '.join(told)}")
    factors = {init: shrinkage(rows, init) for init in dict.fromkeys(row["init"] for row in rows)}
    shrinks = ", ".join(
        f"{factor:.0f} ({init})" if factor > 99 else f"{factor:.2g} ({init})"
        for init, factor in factors.items()
        if factor is not None
    )
    sentence = f"Learning dies {'; '.join(parts)}."
    if not shrinks:
        return sentence
    return f"{sentence} At the start, each further layer divides the first layer's gradient by {shrinks}."
