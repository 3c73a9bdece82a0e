"""A study's results folder: finished rows, figures, what an interrupted run has left there."""

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from experiments import _compilation, _machines
from experiments._common import Basic, of_result
from mlp_jax import data, results
from mlp_jax.errors import UserError, user_path


class Figure(NamedTuple):
    """SVG text or the bytes of a PNG, and a caption that says what to see."""

    content: str | bytes
    caption: str


class Study:
    """One run of an experiment: times it, and writes its results file at the end, or says what was kept."""

    def __init__(self, name: str, config: Basic) -> None:
        self.name, self.config, self.started = name, config, time.monotonic()
        self.writes = _machines.is_writer()
        self.folder = config.folder(name) if self.writes else user_path(config.results_dir) / name
        self.fingerprint = ""
        self.earlier_seconds = 0.0
        if self.writes and (self.folder / "results.json").is_dir():
            raise UserError(f"{self.folder}/results.json is a folder: move it away, or change --results_dir")
        resume = self.writes and getattr(config, "resume", False)
        self.rows: list[results.Row] = self._kept() if resume else []
        self.rows, self.fingerprint = _machines.share((self.rows, self.fingerprint))

    @property
    def _partial(self) -> Path:
        return self.folder / "partial.json"

    def _options(self) -> dict[str, Any]:
        return of_result(self.config)

    def _kept(self) -> list[results.Row]:
        """The finished rows of an interrupted run of the same options."""
        if not self._partial.exists():
            return []
        try:
            sealed = results.read_json(self._partial)
            if sealed.pop("seal", None) != _seal(sealed) or sealed["study"] != self.name:
                raise UserError(f"{self._partial} is altered")
            if (why := results.foreign(sealed)) is not None:
                raise UserError(f"{self._partial} was {why}")
        except UserError as error:
            set_aside(self._partial, str(error))
            return []
        now, then = self._options(), sealed["config"]
        changed = [f"{k}={then.get(k)!r} then, {v!r} now" for k, v in now.items() if then.get(k) != v]
        if changed:
            raise UserError(
                f"cannot resume {self._partial}: {'; '.join(changed)}: repeat the options or drop --resume"
            )
        self.fingerprint = sealed["environment"]["data_fingerprint"]
        self.earlier_seconds = sealed["environment"]["wall_seconds"]
        return list(sealed["rows"])

    def use(self, dataset: data.Dataset) -> None:
        """States which data the rows come from.

        Raises UserError if resumed rows come from other data, or another process has others.
        """
        _machines.agree("dataset", dataset.fingerprint)
        if self.rows and self.fingerprint != dataset.fingerprint:
            raise UserError(f"cannot resume the run in {self.folder}: its dataset was another; drop --resume")
        self.fingerprint = dataset.fingerprint

    def _content(self) -> dict[str, Any]:
        seconds = self.earlier_seconds + time.monotonic() - self.started
        environment = results.environment(
            wall_seconds=seconds, command=results.command_line(), fingerprint=self.fingerprint
        )
        environment["compilation"] = _compilation.programs()
        return {"study": self.name, "config": self._options(), "environment": environment, "rows": self.rows}

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        self.write_file(path, results.as_json(content))

    def write_file(self, path: Path, content: str | bytes) -> None:
        """Writes a file of the study all at once. Raises UserError if the disk does not take it."""
        try:
            results.write(path, content)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror}; free the disk or change --results_dir"
            ) from error

    def add(self, row: results.Row) -> None:
        """Appends a finished row; process 0 saves all rows for --resume."""
        self.rows.append(row)
        if not self.writes:
            return
        content = self._content()
        self._write(self._partial, {**content, "seal": _seal(content)})

    def finish(self, figures: Mapping[str, Figure] = MappingProxyType({}), **more: Any) -> Path:
        """Writes figures and results.json, with `more` beside the rows, in place of earlier ones; gives the path.

        Process 0 does; the rows of the others have other times. `results.json` lists the figures, name and
        caption, so that a report can show them.
        """
        path = self.folder / "results.json"
        if not self.writes:
            return path
        for name, figure in figures.items():
            self.write_file(self.folder / name, figure.content)
        if figures:
            more["figures"] = [
                {"file": name, "caption": figure.caption, "sha256": results.sha256(figure.content)}
                for name, figure in figures.items()
            ]
        self._write(path, results.sealed({**self._content(), **more}))
        self._partial.unlink(missing_ok=True)
        return path


def set_aside(path: Path, why: str) -> None:
    """Gives a file that cannot be used a free name, and says so: nothing is lost, nor mistaken for good."""
    numbers = (path.with_name(f"{path.stem}.unusable-{n}{path.suffix}") for n in itertools.count(1))
    free = next(name for name in numbers if not name.exists())
    path.rename(free)
    print(f"note: {' '.join(why.split())}; it is kept as {free.name}, and the study runs again", file=sys.stderr)


def _seal(content: dict[str, Any]) -> str:
    """Digest of what --resume will trust."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
