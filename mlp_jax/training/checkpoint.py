"""A checkpoint is one safetensors file: it has where runs stand between two epochs. The last two are kept.

The file holds the arrays, and as metadata which of them are whose, what the caller says about them, and a digest
of all. It is written all at once, so that one that is there is whole; it is used only if the digest agrees, and
nothing in it is run.

    checkpoints = Checkpoints(folder)
    found, reached = checkpoints.newest(), {}
    for name, run in found.runs.items() if found else ():
        reached[int(name)] = result(run, runs[int(name)].model, runs[int(name)].config)
    for epoch in population.epochs(runs, splits, resume_from=reached):
        reached |= epoch.results()
        checkpoints.save({str(number): at for number, at in reached.items()}, {})
"""

import itertools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from mlp_jax.errors import UserError
from mlp_jax.files import open_regular, sealed, sha256, unsealed, write
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.history import History, Observed, Result
from mlp_jax.training.step import init_state

FORMAT = "mlp_jax checkpoint 2"
KEPT = 2
SUFFIX = ".safetensors"
ENTRY = "mlp_jax"  # the metadata's one entry has this name

NOT_WHOLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError)
"""Reading a damaged file may raise any of these."""

Arrays = tuple[np.ndarray, ...]


class Stored(NamedTuple):
    """This is a `Result` as plain arrays: the leaves of its state, its history, and `observed` for each epoch."""

    status: str
    state: Arrays
    history: Arrays
    observed: tuple[Observed, ...] = ()


class Checkpoint(NamedTuple):
    """It has the runs by name, what was said of them, and a line on every newer checkpoint that is damaged."""

    runs: dict[str, Stored]
    about: dict[str, Any]
    damaged: list[str]


def stored(result: Result) -> Stored:
    """Returns a result as it is stored."""
    state = tuple(np.asarray(leaf) for leaf in jax.tree.leaves(result.state))
    return Stored(result.status, state, tuple(map(np.asarray, result.history)), result.observed)


def result(found: Stored, model: MLPConfig, config: TrainConfig) -> Result:
    """Inverts `stored`. Raises UserError if it is not of a run of this network, trained in this way."""
    like = jax.eval_shape(lambda key: init_state(key, model, config), jax.random.key(0))
    leaves, structure = jax.tree.flatten(like)
    expected, ours = ([(a.shape, np.dtype(a.dtype)) for a in arrays] for arrays in (leaves, found.state))
    if expected != ours:
        raise UserError("a checkpoint is of another network than the one to be trained: drop --resume")
    state = jax.tree.unflatten(structure, map(jax.numpy.asarray, found.state))
    return Result(state, History(*found.history), found.status, found.observed)


class Checkpoints:
    """The checkpoints are in a folder, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._whole: list[int] = []

    def newest(self) -> Checkpoint | None:
        """Returns the last whole checkpoint, None if there is none. Raises UserError if all are damaged."""
        damaged = [f"{path}: it is of an earlier version" for path in sorted(self.folder.glob("*.json"))]
        for number in sorted(self._numbers(), reverse=True):
            try:
                with open_regular(self._file(number)) as file:
                    runs, about = unpacked(file.read())
            except NOT_WHOLE as error:
                damaged.append(f"{self._file(number)}: {' '.join(str(error).split())}")
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
        if self._whole:  # if not, nobody has looked yet which ones are good
            self._sweep()
        write(self._file(number), packed({name: stored(run) for name, run in runs.items()}, about))
        self._whole = [*self._whole, number][-KEPT:]
        self._sweep()

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}{SUFFIX}"

    def _numbers(self) -> list[int]:
        stems = [path.stem for path in self.folder.glob(f"*{SUFFIX}")]
        return [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]

    def _sweep(self) -> None:
        """Removes all but the whole checkpoints."""
        whole = {self._file(number) for number in self._whole}
        for path in set(self.folder.iterdir()) - whole:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def packed(runs: Mapping[str, Stored], about: Mapping[str, Any]) -> bytes:
    """Returns the content of a file. Raises ValueError if `about` is not JSON."""
    tensors: dict[str, np.ndarray] = {}
    layout = {}
    for place, (name, run) in enumerate(runs.items()):
        groups = (run.state, run.history, *run.observed)
        layout[name] = {"place": place, "status": run.status, "counts": [len(group) for group in groups]}
        tensors |= {_name(place, g, k): array for g, group in enumerate(groups) for k, array in enumerate(group)}
    content = {"format": FORMAT, "about": dict(about), "runs": layout, "arrays": _digest(tensors)}
    entry = json.dumps(sealed(content), allow_nan=False)
    return safetensors.numpy.save({name: np.array(a, order="C") for name, a in tensors.items()}, {ENTRY: entry})


def _name(place: int, group: int, number: int) -> str:
    return f"{place}.{group}.{number}"


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    arrays = sorted(tensors.items())
    parts: Any = ((f"{name} {a.dtype.str}{a.shape}", np.ascontiguousarray(a).data) for name, a in arrays)
    return sha256(*itertools.chain.from_iterable(parts))


def unpacked(content: bytes) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Returns the runs, and what was said of them. Raises one of `NOT_WHOLE` if it is not as it was written."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = unsealed(json.loads(header["__metadata__"][ENTRY]))
    if about["format"] != FORMAT:
        raise UserError(f"it is {about['format']}, and this version reads {FORMAT}")
    tensors = safetensors.numpy.load(content)
    if _digest(tensors) != about["arrays"]:
        raise UserError("it is altered")

    def run(place: int, status: str, counts: list[int]) -> Stored:
        state, history, *observed = (
            tuple(tensors[_name(place, group, number)] for number in range(count))
            for group, count in enumerate(counts)
        )
        return Stored(status, state, history, tuple(observed))

    return {name: run(**how) for name, how in about["runs"].items()}, dict(about["about"])
