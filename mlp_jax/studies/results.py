"""Finished runs are recorded here: their environment and files."""

import functools
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from mlp_jax import files, machine
from mlp_jax.errors import UserError
from mlp_jax.files import read_bounded, unsealed

PACKAGES = ("mlp_jax", "jax", "jaxlib", "optax", "numpy", "scipy", "scikit-learn", "pillow", "tensorflow-datasets")

CODE = ("--untracked-files=no", "--", ":/mlp_jax", ":/experiments/*.py", ":/pyproject.toml")

ORIGIN = ("data_fingerprint", "protocol")
"""Rows of one table have these in common."""

RESULT = ("protocol", "status", "seeds")
"""One of these follows the label of a row."""

PARTS = {"study": str, "config": dict, "environment": dict, "rows": list}
"""Every results file has these parts."""

Row = dict[str, Any]
MOST_BYTES = 2**28
"""No results file is larger; the largest have some megabytes."""


def environment(*, wall_seconds: float, command: Sequence[str] = (), fingerprint: str = "") -> Row:
    """Gives what a result depends on: versions, device, settings, the code's commit and changes, time taken."""
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "processes": jax.process_count(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            **machine.processor(),
            "runtime": " ".join(device.client.platform_version.split()),
        },
        "settings": machine.settings(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if (changed := _git("status", "--porcelain", *CODE)) is None else bool(changed),
        "command": " ".join(command),
        "data_fingerprint": fingerprint,
        "wall_seconds": round(wall_seconds, 3),
    }


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _git(*arguments: str) -> str | None:
    """Gives the answer of git about the checkout that this file lies in; None if there is no git or no checkout.

    The first one holds for the whole process: what it has imported stays what it was.
    """
    file = Path(__file__).resolve()
    start = ["git", "-C", str(file.parent)]
    answer = ""
    try:
        # an installed copy may lie inside another project's checkout, which does not track it
        for command in (["ls-files", "--error-unmatch", file.name], arguments):
            answer = subprocess.run(
                [*start, *command], capture_output=True, text=True, timeout=10, check=True
            ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.strip()


def digest(tree: Any) -> str:
    """Gives `files.digest` of all numbers in a tree, in the order of jax's leaves."""
    return files.digest(jax.tree.leaves(tree))


def digest_of(path: Path) -> str | None:
    """Gives the sha256 of a file's content; None if it cannot be read."""
    try:
        return files.sha256_of_file(path)
    except OSError:
        return None


def refuse_folder(path: Path) -> None:
    """Raises UserError, before any work, if a folder stands where a file is to be written."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: move it away, or change --results_dir")


def prepare_folder(folder: Path) -> Path:
    """Makes the folder, and proves that a file can be written there. Raises UserError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
            probe.flush()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write results to {folder}: {reason}; choose another folder with --results_dir"
        ) from error
    return folder


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a file all at once. Raises UserError if the disk does not take it."""
    try:
        files.write(path, content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free the disk or change --results_dir") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_json(path: Path) -> Row:
    """Gives the content of a results file, all of one origin (`unmixed`).

    Raises UserError if it is missing, cut, not one of ours, or mixed.
    """
    try:
        content = json.loads(read_bounded(path, MOST_BYTES).decode(), parse_constant=_no_constant)
    except UserError as error:
        what = "move it away and run again" if path.exists() else "run the study that writes it"
        raise UserError(f"{error}; {what}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a whole JSON file ({error}): move it away and run again") from error
    if not isinstance(content, dict) or any(not isinstance(content.get(k), kind) for k, kind in PARTS.items()):
        raise UserError(f"{path} is not a results file of this project: move it away and run again")
    unmixed({path: content})
    return content


def read_sealed(path: Path) -> Row:
    """Reads as `read_json` does, a file that was sealed. Raises UserError if it was altered, too."""
    content = read_json(path)
    try:
        return unsealed(content)
    except UserError as error:
        raise UserError(f"{path} cannot be used, {error}: move it away and run again") from error


def unmixed(files: Mapping[Path, Row], what: Sequence[str] = ORIGIN) -> None:
    """Raises UserError if rows of one file, or of files that are shown together, differ in their origin.

    Every results file goes through here before anything is made of it. `what`: see ORIGIN; files of both
    protocols, each in columns of its own, share the data alone. Rows that do not tell have their file's origin.
    """
    first: dict[str, tuple[Path, Any]] = {}
    for path, content in files.items():
        for name, value in _origins(content):
            where, known = first.setdefault(name, (path, value))
            if name in what and value != known:
                place = "in the same file" if where == path else f"in {where}"
                raise UserError(
                    f"{path} has {name} {value!r}, and {known!r} {place}: their rows do not belong in one table; "
                    "move one away and run again"
                )


def _origins(content: Row) -> Iterator[tuple[str, Any]]:
    """Gives what the file and each of its rows say of their origin; not the protocol of a file that has both."""
    both = content["config"].get("protocol") == "both"
    for part in (content["environment"], content["config"], *content["rows"]):
        for name in ORIGIN:
            if isinstance(part, dict) and part.get(name) and not (both and name == "protocol"):
                yield name, part[name]


def foreign(content: Mapping[str, Any]) -> str | None:
    """Tells why rows of this file cannot stand beside ours: it was written by another version of this package."""
    now = _version("mlp_jax")
    then = content["environment"].get("versions", {}).get("mlp_jax")
    return None if then == now else f"written by version {then} of mlp_jax, and this is {now}"


def by(rows: Iterable[Row], *names: str) -> dict[Any, list[Row]]:
    """Groups the rows by their value of this name (a tuple for several), all in the rows' order."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[names[0]] if len(names) == 1 else tuple(row[name] for name in names), []).append(row)
    return groups


def label_of(row: Row) -> str:
    """Gives the label that a row starts with, in words."""
    own = itertools.takewhile(lambda item: item[0] not in RESULT and not isinstance(item[1], dict), row.items())
    return ", ".join(f"{name} {value}" for name, value in itertools.islice(own, 4))


def percent(quantity: Mapping[str, Any]) -> str:
    """Gives a measured fraction as "52.1 ± 0.4" in %, without the spread for one seed, "-" for none."""
    if quantity["mean"] is None:
        return "-"
    mean = f"{100 * quantity['mean']:.1f}"
    return mean if quantity["std"] is None else f"{mean} ± {100 * quantity['std']:.1f}"


def command_line() -> list[str]:
    """Gives the command that started this process, in the form that a user types."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    start = ["python", "-m", module.name] if module is not None else ["python", *sys.argv[:1]]
    return [*start, *sys.argv[1:]]
