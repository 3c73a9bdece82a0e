"""This tells what differs between two results files, bit by bit, and what may be why."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlp_jax.errors import UserError, user_path
from mlp_jax.studies import results
from mlp_jax.studies.tables import Table

TIMES = frozenset({
    "share", "ms_per_step", "ratio", "lowest", "highest", "gflops", "fraction_of_peak", "peak_memory_mb",
    "faster_than", "others_busy_cores", "machine",
})  # fmt: skip
"""A clock measures these, or they depend on the machine's other work; so is all that has seconds in its name."""
NO_CAUSE = frozenset({"wall_seconds", "command", "compilation"})
"""No bit depends on these parts of an environment."""
PATHS = frozenset({"figures", "passed", "seal"})
"""These parts of a file are made of the rows."""


class Difference(NamedTuple):
    """row tells which, values how many differ, and most the largest difference of numbers, else both values."""

    row: str
    quantity: str
    values: str
    most: str


def values(tree: Any) -> dict[str, list[Any]]:
    """Gives every number, text or null in a tree by its name ("curves.loss"); those of one list are together."""
    found: dict[str, list[Any]] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, Mapping):
            for key, part in value.items():
                if key not in TIMES and "second" not in str(key):
                    walk(part, f"{name}.{key}" if name else str(key))
        elif isinstance(value, list):
            for part in value:
                walk(part, name)
        else:
            found.setdefault(name, []).append(value)

    walk(tree, "")
    return found


def side_by_side(ours: Any, other: Any) -> dict[str, tuple[list[Any], list[Any]]]:
    """Gives the values of two trees by name; a tree that has none of a name has an empty list there."""
    first, second = values(ours), values(other)
    return {name: (first.get(name, []), second.get(name, [])) for name in {**first, **second}}


def differences(ours: results.Row, other: results.Row, row: str = "") -> list[Difference]:
    """Gives what differs in any bit between two rows, quantity by quantity."""
    pairs = side_by_side(ours, other).items()
    return [found for name, pair in pairs if (found := _difference(row, name, *pair)) is not None]


def _difference(row: str, name: str, ours: list[Any], other: list[Any]) -> Difference | None:
    if len(ours) != len(other):
        return Difference(row, name, "their number", f"{len(ours)} and {len(other)}")
    unequal = [(a, b) for a, b in zip(ours, other, strict=True) if json.dumps(a) != json.dumps(b)]
    if not unequal:
        return None
    if all(isinstance(v, int | float) and not isinstance(v, bool) for pair in unequal for v in pair):
        most = f"{max(abs(a - b) for a, b in unequal):.3g}"
    else:
        most = " and ".join(str(v)[:40] for v in unequal[0])
    return Difference(row, name, f"{len(unequal)} of {len(ours)}", most)


def all_differences(ours: results.Row, other: results.Row) -> list[Difference]:
    """Gives the differences of two results files: row by row, and of what else they hold."""
    if len(ours["rows"]) != len(other["rows"]):
        return [Difference("all", "rows", "their number", f"{len(ours['rows'])} and {len(other['rows'])}")]
    names = [f"{number}: {results.label_of(row)}" for number, row in enumerate(ours["rows"], start=1)]
    pairs = zip(ours["rows"], other["rows"], names, strict=True)
    found = [difference for pair in pairs for difference in differences(*pair)]
    left_out = {"study", "config", "environment", "rows", *PATHS}
    rest = [{k: v for k, v in content.items() if k not in left_out} for content in (ours, other)]
    return found + differences(rest[0], rest[1], "beside the rows")


def causes(ours: results.Row, other: results.Row) -> list[str]:
    """Tells what differs between options and environments, a line each."""
    lines = []
    for part in ("config", "environment"):
        pair = [{k: v for k, v in content[part].items() if k not in NO_CAUSE} for content in (ours, other)]
        for name, found in side_by_side(*pair).items():
            told = [", ".join(map(str, one)) if one else "not told" for one in found]
            if told[0] != told[1]:
                lines.append(f"{part}: {name}: {told[0]} | {told[1]}")
    return lines


def _read(place: str) -> results.Row:
    path = user_path(place)
    return results.read_json(path / "results.json" if path.is_dir() else path)


def compared(places: tuple[str, str]) -> tuple[bool, str]:
    """Tells whether the two are the same, and what to print. Raises UserError if they cannot be compared."""
    ours, other = map(_read, places)
    if ours["study"] != other["study"]:
        raise UserError(
            f"{places[0]} is of {ours['study']} and {places[1]} of {other['study']}: give two of one study"
        )
    found, why = all_differences(ours, other), causes(ours, other)
    if not found:
        lines = [f"same bits: {len(ours['rows'])} rows", *(f"although they differ in {line}" for line in why)]
        return True, "\n".join(lines)
    table = Table(["row", "quantity", "values that differ", "by at most"], found)
    reasons = [f"- {line}" for line in why] or ["- nothing that was recorded"]
    return False, "\n".join([str(table), "", "What may be why:", *reasons])
