"""A study's results folder holds finished rows, figures, and what an interrupted run has left there."""

import itertools
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlp_jax import data
from mlp_jax.errors import UserError, user_path
from mlp_jax.files import as_json, sealed, sha256, sweep, unsealed
from mlp_jax.studies import compilation, correctness, lock, processes, results
from mlp_jax.studies.figures import Figure
from mlp_jax.studies.options import Basic
from mlp_jax.studies.origin import of_result, unfit
from mlp_jax.studies.unfinished import Unfinished
from mlp_jax.text import note


class ResultsFolder:
    """This times one run of an experiment, and writes its results file at the end, or says what was kept.

    Until then the folder holds `partial.json`, the finished rows, and `checkpoints`, where the runs of the row in
    work stand: --resume goes on from both.
    """

    def __init__(self, name: str, config: Basic) -> None:
        self.name, self.config, self.started = name, config, time.monotonic()
        self.writes = processes.writes()
        self.path = config.folder(name) if self.writes else user_path(config.results_dir) / name
        self.fingerprint = ""
        self.earlier_seconds = 0.0
        minutes = getattr(config, "checkpoint_minutes", 0.0)
        self.unfinished = Unfinished(self.path / "checkpoints", minutes, self.header)
        self.rows: list[results.Row] = []
        self.correct: correctness.Store = {}
        if self.writes:
            self._take(self.path)
        self.rows, self.fingerprint = processes.share((self.rows, self.fingerprint))
        self.unfinished.share()

    def _take(self, folder: Path) -> None:
        """Locks the folder, and reads or sets aside what an interrupted run has left."""
        lock.take(folder)
        sweep(folder)
        results.refuse_folder(folder / "results.json")
        if getattr(self.config, "resume", False):
            self.rows = self._kept()
            self._restore()
            return
        for left in (self._partial, self.unfinished.checkpoints.folder):
            if left.exists():
                hint = ", which --resume would have continued" if hasattr(self.config, "resume") else ""
                set_aside(left, f"{left} is of an interrupted run{hint}", "earlier")

    @property
    def _partial(self) -> Path:
        return self.path / "partial.json"

    def _kept(self) -> list[results.Row]:
        """Gives the finished rows of an interrupted run of the same options."""
        if not self._partial.exists():
            return []
        try:
            content = unsealed(results.read_json(self._partial))
            self._check_origin(content)
            bits = correctness.from_text(content["bits"]) if "bits" in content else {}
        except UserError as error:
            set_aside(self._partial, f"{self._partial} cannot be used: {error}")
            return []
        self._check(content, self._partial)
        self.correct = bits
        return list(content["rows"])

    def _restore(self) -> None:
        """Restores where the runs of the row in work stand, if an interrupted run of the same options left it."""
        if (about := self.unfinished.restore()) is None:
            return
        folder = self.unfinished.checkpoints.folder
        try:
            self._check_origin(about)
        except UserError as error:
            self.unfinished.forget()
            set_aside(folder, f"{folder} cannot be used: {error}")
            return
        self._check(about, folder)

    def _check_origin(self, content: results.Row) -> None:
        """Raises UserError if it was written by another version of this package, or is of another study."""
        if (why := results.foreign(content)) is not None:
            raise UserError(f"it was {why}")
        if content["study"] != self.name:
            raise UserError(f"it is of {content['study']}")

    def _check(self, content: results.Row, path: Path) -> None:
        """Takes over data and time of what an earlier process left. Raises UserError if it had other options."""
        if what := unfit(content, self.config, self.fingerprint):
            raise UserError(f"cannot resume {path}: {what}: repeat the options or drop --resume")
        environment = content["environment"]
        self.fingerprint = environment["data_fingerprint"]
        self.earlier_seconds = max(self.earlier_seconds, environment["wall_seconds"])

    def use(self, dataset: data.Dataset) -> None:
        """States which data the rows come from.

        Raises UserError if what is resumed comes from other data, or another process has others.
        """
        processes.agree("the dataset", dataset.fingerprint)
        if self.fingerprint and self.fingerprint != dataset.fingerprint:
            raise UserError(
                f"cannot resume the run in {self.path}: its dataset was another ({self.fingerprint[:12]} then, "
                f"{dataset.fingerprint[:12]} now): give that one, or drop --resume"
            )
        self.fingerprint = dataset.fingerprint

    def header(self) -> results.Row:
        """Gives all but the rows."""
        seconds = self.earlier_seconds + time.monotonic() - self.started
        environment = results.environment(
            wall_seconds=seconds, command=results.command_line(), fingerprint=self.fingerprint
        )
        environment["compilation"] = compilation.programs()
        return {"study": self.name, "config": of_result(self.config), "environment": environment}

    def _write(self, path: Path, **more: Any) -> None:
        """Writes a sealed file with the rows, and `more` beside them."""
        results.write_file(path, as_json(sealed({**self.header(), "rows": self.rows, **more})))

    def add(self, *rows: results.Row) -> None:
        """Appends finished rows; process 0 saves all rows for --resume."""
        self.rows += rows
        self.unfinished.forget()
        if self.writes:
            self._write(self._partial, bits=correctness.as_text(correctness.of_rows(self.correct, self.rows)))

    def finish(self, figures: Mapping[str, Figure] = MappingProxyType({}), **more: Any) -> Path:
        """Writes figures and results.json, with `more` beside the rows, in place of earlier ones; gives the path.

        Process 0 does; the rows of the others have other times. `results.json` lists the figures, name and
        caption, so that a report can show them.
        """
        path = self.path / "results.json"
        if not self.writes:
            return path
        for name, figure in figures.items():
            results.write_file(self.path / name, figure.content)
        if figures:
            more["figures"] = [
                {"file": name, "caption": figure.caption, "sha256": sha256(figure.content)}
                for name, figure in figures.items()
            ]
        if bits := correctness.of_rows(self.correct, self.rows):
            content = correctness.packed(bits)
            results.write_file(self.path / correctness.FILE, content)
            more["correct"] = {"file": correctness.FILE, "sha256": sha256(content)}
        self._write(path, **more)
        self._partial.unlink(missing_ok=True)
        if self.unfinished.checkpoints.folder.is_dir():  # a pipe would be waited for
            shutil.rmtree(self.unfinished.checkpoints.folder, ignore_errors=True)
        lock.release(self.path)
        return path


def set_aside(path: Path, why: str, what: str = "unusable") -> None:
    """Gives a file or folder that is not used a free name, and says so: nothing is lost, nor mistaken for good."""
    numbers = (path.with_name(f"{path.stem}.{what}-{n}{path.suffix}") for n in itertools.count(1))
    free = next(name for name in numbers if not name.exists())
    path.rename(free)
    note(f"{why}; it is kept as {free.name}, and the study runs again")
