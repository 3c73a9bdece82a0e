"""runs.jsonl: a line for every run as soon as it has ended, below a line on the process that trained it.

A run that ended there before, on the same data, has given the same bits, or a note says what is different now.
"""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments import _differ
from experiments._output import note
from experiments._unfinished import identity
from mlp_jax.errors import UserError
from mlp_jax.files import check_regular, open_regular
from mlp_jax.studies import results
from mlp_jax.training.config import Run
from mlp_jax.training.history import Result


class Records:
    """The file; `environment` is asked when the first line is written."""

    def __init__(self, path: Path, environment: Callable[[], results.Row]) -> None:
        self.path, self._environment = path, environment
        self._known: dict[tuple[str, str], tuple[str, results.Row]] = {}
        self._started = False
        then: results.Row = {}
        for line in _lines(path):
            if "run" in line:
                self._known[line["data_fingerprint"], line["run"]] = (line["parameters"], then)
            else:
                then = line

    def add(self, fingerprint: str, run: Run, result: Result, about: results.Row) -> None:
        """Appends a run that is not there yet. Raises UserError if the disk does not take it."""
        name, parameters = identity(run), results.digest(result.state.params)
        before, then = self._known.get((fingerprint, name), ("", {}))
        if before == parameters:
            return
        now = self._environment()
        if before:
            _say_what_differs(about, then, now)
        if not self._started:
            self._append({**now, "time": _time()})
            self._started = True
        self._known[fingerprint, name] = (parameters, now)
        outcome = {"parameters": parameters, "run": name, "data_fingerprint": fingerprint, "time": _time()}
        self._append({**about, **results.of_run(result), **outcome})

    def _append(self, line: results.Row) -> None:
        try:
            check_regular(self.path)
            with self.path.open("ab") as file:
                cut = file.tell() and not _ends_a_line(self.path)  # by a process that was killed here
                file.write(b"\n" * cut + json.dumps(line, allow_nan=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; free the disk or change --results_dir"
            ) from error


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are whole."""
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError:
        return
    for text in content.splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        keys = ("run", "data_fingerprint", "parameters")
        if isinstance(line, dict) and ("run" not in line or all(isinstance(line.get(k), str) for k in keys)):
            yield line


def _say_what_differs(about: results.Row, then: results.Row, now: results.Row) -> None:
    run = ", ".join(f"{name} {value}" for name, value in about.items())
    sides = [{"config": {}, "environment": {k: v for k, v in side.items() if k != "time"}} for side in (then, now)]
    why = "; ".join(_differ.causes(*sides)) or "nothing that is recorded differs: is the machine at fault?"
    note(f"{run} gave other bits than the same run did here before ({why})")
