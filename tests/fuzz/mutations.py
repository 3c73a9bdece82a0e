"""Strategies of small damages, and the damages themselves: to bytes, to JSON, to files.

A damage is plain data that does not know what it is done to: a place is an index, from the end if it is negative,
or a share of the length. Applied to anything, it does something.
"""

import json
import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Place = int | float
PLACES = st.one_of(st.integers(-300, 300), st.floats(0, 1, allow_nan=False))
SPECIAL_BYTES = (
    b"", b"\x00", b"\xff", b"\x00" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80" + b"\x00" * 7, b"\n",
)  # fmt: skip
EDITS = st.one_of(
    st.tuples(st.just("flip"), PLACES, st.integers(0, 7)),
    st.tuples(st.just("over"), PLACES, st.one_of(st.sampled_from(SPECIAL_BYTES), st.binary(max_size=12))),
    st.tuples(st.just("insert"), PLACES, st.one_of(st.sampled_from(SPECIAL_BYTES), st.binary(max_size=40))),
    st.tuples(st.just("delete"), PLACES, st.integers(1, 5000)),
    st.tuples(st.just("repeat"), PLACES, st.integers(1, 5000)),
    st.tuples(st.just("zero"), PLACES, st.integers(1, 5000)),
    st.tuples(st.just("cut"), PLACES, st.just(0)),
    st.tuples(st.just("move"), PLACES, PLACES),
)
BYTE_EDITS = st.lists(EDITS, min_size=1, max_size=4)


def _at(place: Place, length: int) -> int:
    if isinstance(place, float):
        return min(int(place * length), length)
    return min(place, length) if place >= 0 else max(length + place, 0)


def edited(content: bytes, edits: Any) -> bytes:
    """The bytes after all edits."""
    for what, place, more in edits:
        at = _at(place, len(content))
        before, after = content[:at], content[at:]
        match what:
            case "flip":
                content = before + bytes([after[0] ^ (1 << more)]) + after[1:] if after else content
            case "over":
                content = before + more + after[len(more) :]
            case "insert":
                content = before + more + after
            case "delete":
                content = before + after[more:]
            case "repeat":
                content = before + after[:more] * 2 + after[more:]
            case "zero":
                content = before + bytes(len(after[:more])) + after[more:]
            case "cut":
                content = before
            case "move":
                other = _at(more, len(content))
                content = before + content[other : other + 1000] + after
    return content


DEEP: Any = []
for _ in range(500):
    DEEP = [DEEP]
SPECIAL_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e-320, 10**30, 2**31, 2**63, float("nan"), float("inf"), "", "x",
    "0", "x" * 5000, "\ud800", "\x1b[31m\n|", "../../x", "<script>", [], {}, [[]], [None], {"mean": None},
    [0, 1], DEEP,
)  # fmt: skip
JSON_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "delete", "rename", "add", "twice", "swap"]),
        st.lists(st.integers(0, 40), max_size=8),
        st.one_of(
            st.integers(0, len(SPECIAL_VALUES) - 1), st.integers(-5, 10**6), st.floats(), st.text(max_size=8)
        ),
    ),
    min_size=1,
    max_size=3,
)


def _value(choice: Any) -> Any:
    value = SPECIAL_VALUES[choice] if isinstance(choice, int) and 0 <= choice < len(SPECIAL_VALUES) else choice
    return json.loads(json.dumps(value)) if isinstance(value, (list, dict)) else value  # a later edit changes it


def edited_json(content: Any, edits: Any) -> Any:
    """A copy of the content after all edits; a path takes the child of that number, modulo, at each level."""
    content = json.loads(json.dumps(content))
    for what, path, choice in edits:
        parent, key = None, None
        node = content
        for step in path:
            keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
            if not keys:
                break
            parent, key = node, keys[step % len(keys)]
            node = parent[key]
        if parent is None:
            content = _value(choice) if what == "replace" else content
            continue
        match what:
            case "replace":
                parent[key] = _value(choice)
            case "delete":
                del parent[key]
            case "rename" if isinstance(parent, dict):
                parent[str(_value(choice))[:20]] = parent.pop(key)
            case "add" if isinstance(node, dict):
                node[f"new {choice}"[:20]] = _value(choice)
            case "add" | "twice" if isinstance(parent, list):
                parent.insert(int(key or 0), node)
            case "swap":
                other = next(iter(parent)) if isinstance(parent, dict) else 0
                parent[key], parent[other] = parent[other], parent[key]
    return content


def as_text(content: Any) -> bytes:
    """As JSON, not strict: with NaN and with halves of surrogate pairs."""
    return json.dumps(content, indent=1).encode("utf-8", "surrogatepass")


ODD_FILES = ("missing", "empty", "folder", "pipe", "loop", "link", "unreadable")
"""What else may stand under a file's name."""


def put(path: Path, odd: str, good: bytes = b"") -> None:
    """Puts one of `ODD_FILES` there; a link leads to a file of the content `good`."""
    path.unlink(missing_ok=True)
    match odd:
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path.name)
        case "link":
            target = path.with_name(f"target of {path.name}")
            target.write_bytes(good)
            path.symlink_to(target.name)
        case "unreadable":  # but not for root
            path.write_bytes(good)
            path.chmod(0)


def state(folder: Path) -> dict[str, Any]:
    """Every file below a folder by name, with its content, or what else it is."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "other"
    return found
