"""The runs of a study's row in work are kept in memory, and every few minutes in a checkpoint.

A run is known by its key, network and recipe: on CPUs nothing else tells what becomes of it. On a GPU or TPU the
runs that it is trained with change the rounding of its products, so a resumed run agrees to rounding only.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlp_jax.errors import UserError
from mlp_jax.files import sha256
from mlp_jax.studies import processes, results, signals
from mlp_jax.text import note
from mlp_jax.training import checkpoint
from mlp_jax.training.checkpoint import Checkpoints, Stored
from mlp_jax.training.config import Run, key_data
from mlp_jax.training.history import Result
from mlp_jax.training.population import Epoch
from mlp_jax.training.written import as_written


def identity(run: Run) -> str:
    """Gives the same for runs that give the same bits on the same machine, software and data."""
    parts = {"key": key_data(run.key).tolist(), "model": as_written(run.model), "recipe": as_written(run.config)}
    return sha256(json.dumps(parts, sort_keys=True))


class Unfinished:
    """These are the runs of the row in work; process 0 alone reads and writes checkpoints."""

    def __init__(self, folder: Path, minutes: float, about: Callable[[], results.Row]) -> None:
        """`about` is written into every checkpoint."""
        self.checkpoints, self.seconds, self.about = Checkpoints(folder), 60 * minutes, about
        self._restored: dict[str, Stored] = {}
        self._reached: dict[str, Result] = {}
        self._earlier, self._began = 0.0, time.monotonic()
        self._saved = time.monotonic()

    def restore(self) -> results.Row | None:
        """Reads the last checkpoint; gives what it says of itself, or None if there is none that can be used."""
        try:
            found = self.checkpoints.newest()
        except UserError as error:
            note(f"{error}; what was in work starts anew")
            return None
        if found is None:
            return None
        for line in found.damaged:
            note(f"the checkpoint {line}; going on from the one before")
        self._restored, self._earlier = found.runs, float(found.about["row_seconds"])
        return found.about

    def share(self) -> None:
        """What process 0 has restored goes to all."""
        if jax.process_count() > 1:
            content = processes.share_bytes(checkpoint.packed(self._restored, {"row_seconds": self._earlier}))
            self._restored, about = checkpoint.unpacked(content)
            self._earlier = float(about["row_seconds"])

    def begin(self) -> None:
        """A row's runs begin."""
        self._began = time.monotonic()

    def row_seconds(self) -> float:
        """Gives the time spent on the row in work, by earlier processes too."""
        return round(self._earlier + time.monotonic() - self._began, 3)

    def reached(self, runs: Sequence[Run]) -> dict[int, Result]:
        """Tells where those of these runs stand that have begun, by their place."""
        found = {}
        for number, run in enumerate(runs):
            name = identity(run)
            if name not in self._reached and name in self._restored:
                self._reached[name] = checkpoint.result(self._restored.pop(name), run.model, run.config)
            if name in self._reached:
                found[number] = self._reached[name]
        return found

    def between_epochs(self, runs: Sequence[Run], epoch: Epoch) -> None:
        """Saves where these runs stand if it is time, or if a signal came, and then raises Stopped."""
        if not epoch.trained:
            return
        asked, due = self._asked()
        if asked or due:
            self.keep((runs[place], result) for place, result in epoch.results().items())
            self._save()
        if asked:
            self._leave(asked)

    def stop_if_asked(self) -> None:
        """Does the same where no run is in work."""
        asked, _ = self._asked()
        if asked:
            self._save()
            self._leave(asked)

    def _asked(self) -> tuple[int, bool]:
        """Gives the signal that came to any process of the job, or 0; and whether it is time to save."""
        due = time.monotonic() - self._saved >= self.seconds
        found = multihost_utils.process_allgather(np.array([signals.asked(), due], np.int32))
        return int(found[:, 0].max()), bool(found[0, 1])

    def _leave(self, number: int) -> NoReturn:
        processes.finish()
        raise signals.Stopped(number)

    def keep(self, pairs: Iterable[tuple[Run, Result]]) -> None:
        """Takes note of where runs stand."""
        self._reached |= {identity(run): result for run, result in pairs}

    def forget(self) -> None:
        """The row is done, and saved with the study's rows."""
        self._reached, self._restored, self._earlier = {}, {}, 0.0

    def _save(self) -> None:
        self._saved = time.monotonic()
        if not processes.writes():
            return
        try:
            self.checkpoints.save(self._reached, {**self.about(), "row_seconds": self.row_seconds()})
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            folder = self.checkpoints.folder
            note(f"no checkpoint could be written to {folder}: {reason}; free the disk, training goes on")
