"""Checkpoints: where runs stand between two epochs, written with orbax, the last two kept.

A checkpoint is orbax's folder of arrays and, written last, a JSON file of the same number: which arrays are whose,
what the caller says about them, and the sha256 of every file. One without that file was never finished. Nothing is
handed to orbax before all digests agree, and nothing in a checkpoint is ever run.

    checkpoints = Checkpoints(folder)
    found = checkpoints.newest()
    reached = {n: result(found.runs[str(n)], run.model, run.config) for n, run in enumerate(runs)} if found else {}

    def between_epochs(collect):  # called after every epoch: save when it is time
        checkpoints.save({str(n): at for n, at in collect().items()}, {})

    population.train_population(runs, splits, reached=reached, between_epochs=between_epochs)
"""

import contextlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from mlp_jax.errors import UserError
from mlp_jax.files import open_regular, sealed, sha256, unsealed, write
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.history import History, Observed, Result
from mlp_jax.training.step import bare, init_state, with_keys

FORMAT = "mlp_jax checkpoint 1"
KEPT = 2
CONTENT = "content"  # the name of orbax's one array

Arrays = tuple[np.ndarray, ...]


class Stored(NamedTuple):
    """A `train.Result` as plain arrays: the leaves of its state, its history, and `observed` for each epoch."""

    status: str
    state: Arrays
    history: Arrays
    observed: tuple[Observed, ...] = ()


class Checkpoint(NamedTuple):
    """What was read: the runs by name, what was said of them, and a line on every newer one that is damaged."""

    runs: dict[str, Stored]
    about: dict[str, Any]
    damaged: list[str]


def stored(result: Result) -> Stored:
    """A result as it is stored."""
    state = tuple(np.asarray(leaf) for leaf in jax.tree.leaves(bare(result.state)))
    return Stored(result.status, state, tuple(map(np.asarray, result.history)), result.observed)


def result(found: Stored, model: MLPConfig, config: TrainConfig) -> Result:
    """The inverse of `stored`. Raises UserError if it is not of a run of this network, trained in this way."""
    like = jax.eval_shape(lambda key: bare(init_state(key, model, config)), jax.random.key(0))
    leaves, structure = jax.tree.flatten(like)
    expected, ours = ([(a.shape, np.dtype(a.dtype)) for a in arrays] for arrays in (leaves, found.state))
    if expected != ours:
        raise UserError("a checkpoint is of another network than the one to be trained: drop --resume")
    state = with_keys(jax.tree.unflatten(structure, map(jax.numpy.asarray, found.state)))
    return Result(state, History(*found.history), found.status, found.observed)


class Checkpoints:
    """The checkpoints in a folder, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._whole: list[int] = []

    def newest(self) -> Checkpoint | None:
        """The last whole checkpoint, None if there is none. Raises UserError if all are damaged."""
        damaged: list[str] = []
        for number in sorted(self._numbers(), reverse=True):
            try:
                runs, about = self._read(number)
            except (
                OSError,
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
                RecursionError,
                UserError,
            ) as error:
                damaged.append(f"{self._record(number)}: {' '.join(str(error).split())}")
                continue
            self._whole = [*self._whole, number]
            return Checkpoint(runs, about, damaged)
        if damaged:
            raise UserError(f"no checkpoint in {self.folder} is whole ({'; '.join(damaged)})")
        return None

    def save(self, runs: Mapping[str, Result], about: Mapping[str, Any]) -> None:
        """Writes a checkpoint beside the last whole one; `about` is plain JSON.

        Whatever else is in the folder goes: older ones, damaged ones, unfinished ones.
        Raises OSError or ValueError if the disk does not take it; the last whole one then stays.
        """
        self.folder.mkdir(exist_ok=True)  # the study's own folder must be there still
        number = max(self._numbers(), default=0) + 1
        if self._whole:  # else nobody has looked yet which ones are good
            self._sweep()
        packed, layout = _packed({name: stored(run) for name, run in runs.items()})
        try:
            _write(self.folder / str(number), packed)
            content = {
                "format": FORMAT,
                "about": dict(about),
                "runs": layout,
                "files": _digests(self.folder / str(number)),
            }
            write(self._record(number), json.dumps(sealed(content), allow_nan=False))
        except BaseException:
            self._remove(str(number), f"{number}.json")
            raise
        self._whole = [*self._whole, number][-KEPT:]
        self._sweep()

    def _record(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return [
            int(path.stem) for path in self.folder.glob("*.json") if path.stem.isascii() and path.stem.isdigit()
        ]

    def _read(self, number: int) -> tuple[dict[str, Stored], dict[str, Any]]:
        with open_regular(self._record(number)) as file:
            content = unsealed(json.loads(file.read().decode()))
        if content["format"] != FORMAT:
            raise UserError(f"it is {content['format']}, and this version reads {FORMAT}")
        folder = self.folder / str(number)
        if (found := _digests(folder)) != content["files"]:
            other = {name for name, _ in found.items() ^ content["files"].items()}
            raise UserError(f"{min(other)} is altered or missing")
        return _unpacked(_read(folder), content["runs"]), dict(content["about"])

    def _sweep(self) -> None:
        """Removes all but the whole checkpoints."""
        names = [path.name for path in self.folder.iterdir()]
        self._remove(*(name for name in names if name.removesuffix(".json") not in map(str, self._whole)))

    def _remove(self, *names: str) -> None:
        for path in (self.folder / name for name in names):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _packed(runs: Mapping[str, Stored]) -> tuple[np.ndarray, dict[str, Any]]:
    """All arrays as bytes, one after the other; and where each run finds its own: (start, type, shape).

    One array, because orbax takes its time for each, and where the disk is full the others' errors come too late
    to be caught.
    """
    parts: list[bytes] = []
    size = 0

    def place(array: np.ndarray) -> list[Any]:
        nonlocal size
        start, content = size, array.tobytes()
        parts.append(content)
        size += len(content)
        return [start, array.dtype.str, list(array.shape)]

    layout = {
        name: {
            "status": run.status,
            "state": [place(array) for array in run.state],
            "history": [place(array) for array in run.history],
            "observed": [[place(array) for array in epoch] for epoch in run.observed],
        }
        for name, run in runs.items()
    }
    return np.frombuffer(b"".join(parts), np.uint8), layout


def _unpacked(content: np.ndarray, layout: dict[str, Any]) -> dict[str, Stored]:
    def arrays(places: list[Any]) -> Arrays:
        return tuple(
            np.frombuffer(content, dtype, math.prod(shape), offset=start).reshape(shape)
            for start, dtype, shape in places
        )

    return {
        name: Stored(
            run["status"],
            arrays(run["state"]),
            arrays(run["history"]),
            tuple(arrays(epoch) for epoch in run["observed"]),
        )
        for name, run in layout.items()
    }


@contextlib.contextmanager
def _orbax() -> Iterator[tuple[Any, Any]]:
    """orbax's checkpointer for one process alone, which need not be the only one of its job; and its arguments.

    It logs the errors that it raises, each with several stack traces: within this block it is silent.
    """
    import orbax.checkpoint as ocp  # takes a third of a second, which a start without checkpoints does not spend

    one = {"primary_host": jax.process_index(), "active_processes": {jax.process_index()}}
    alone = {} if jax.process_count() == 1 else {**one, "barrier_sync_key_prefix": "alone"}
    options = ocp.options.MultiprocessingOptions(**alone)
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=options)
    level = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            yield checkpointer, ocp.args
    except ValueError as error:  # with what the system said somewhere in it
        code = re.search(r"os_error_code='([0-9]+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
    finally:
        logging.set_verbosity(level)


def _write(folder: Path, content: np.ndarray) -> None:
    with _orbax() as (checkpointer, args):
        checkpointer.save(folder, args=args.StandardSave({CONTENT: content}))


def _read(folder: Path) -> np.ndarray:
    with _orbax() as (checkpointer, args):
        return np.ascontiguousarray(checkpointer.restore(folder, args=args.StandardRestore())[CONTENT])
