"""Checkpoints: two of them, of two small runs, in the folder of an interrupted study."""

import contextlib
import functools
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

from experiments import depth_study
from mlp_jax.data.digits import synthetic
from mlp_jax.files import sealed
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import lock
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.training import step as train
from mlp_jax.training.checkpoint import Checkpoint, Checkpoints, Stored, stored
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.history import History, Result
from tests.fuzz import mutations

SECONDS, MEGABYTES = 60.0, 700.0
NAMES = (
    "1.safetensors", "2.safetensors", "3.safetensors", "1.json", "2", "x.safetensors", "-1.safetensors",
    "\u0661.safetensors", "9" * 30 + ".safetensors",
)  # fmt: skip
MODEL, RECIPE = (
    MLPConfig(hidden=(3,), inputs=12, norm="batch"),
    TrainConfig(batch_size=10, epochs=2),
)


def examples() -> Any:
    """Damages to any file of the folder, to a record with and without a right seal, and files that move.

    What has a right seal is believed by a study, which wrote it; but reading it must not end in a traceback.
    """
    which = st.integers(0, 200)
    newest = st.integers(1, 2)
    one = st.one_of(
        st.tuples(st.just("bytes"), which, mutations.BYTE_EDITS),
        st.tuples(st.just("odd"), which, st.sampled_from(mutations.ODD_FILES)),
        st.tuples(st.just("odd record"), newest, st.sampled_from(mutations.ODD_FILES)),
        st.tuples(st.just("record"), newest, mutations.JSON_EDITS),
        st.tuples(st.just("sealed"), newest, mutations.JSON_EDITS),
        st.tuples(st.just("rename"), which, st.sampled_from(NAMES)),
        st.tuples(st.just("copy"), which, st.sampled_from(NAMES)),
        st.tuples(st.just("swap"), which, which),
    )
    return st.tuples(
        st.lists(one, min_size=1, max_size=2), st.sampled_from(["read", "read", "read", "save", "study"])
    )


@functools.cache
def _runs() -> list[dict[str, Result]]:
    """Where two runs stand after one epoch, and after two; as if they had been trained, which takes longer."""
    rng = np.random.default_rng(0)
    like = jax.eval_shape(lambda key: train.init_state(key, MODEL, RECIPE), jax.random.key(0))

    def reached(epochs: int) -> Result:
        state = jax.tree.map(lambda leaf: rng.integers(0, 100, leaf.shape).astype(leaf.dtype), like)
        curves = [rng.uniform(size=length) for length in (3 * epochs, 3 * epochs, epochs, epochs)]
        observed = ((np.arange(3.0), np.zeros((0, 2), np.float32)),) * epochs
        return Result(state, History(*curves), "unfinished", observed)

    return [{name: reached(epochs) for name in ("first", "second")} for epochs in (1, 2)]


def prepare(folder: Path) -> None:
    """The folder, as an interrupted depth study would leave it; and what its checkpoints hold."""
    place = folder / "good"
    with contextlib.redirect_stderr(io.StringIO()):
        study = ResultsFolder("depth_study", _config(place))
        study.use(synthetic())
        for number, runs in enumerate(_runs(), 1):
            study.unfinished.checkpoints.save(runs, {**study.header(), "row_seconds": float(number)})
    (place / "depth_study" / ".lock").unlink()


def _config(place: Path) -> depth_study.Config:
    return depth_study.Config(dataset="synthetic", resume=True, results_dir=str(place))


_good: dict[int, dict[str, Stored]] = {}


def check(folder: Path, place: Path, example: Any) -> str:
    """Reads the newest checkpoint; or also writes one more; or lets the study begin."""
    if not _good:
        _good.update({number: _alone(folder, number) for number in (1, 2)})
        for number, runs in enumerate(_runs(), 1):
            for name, run in runs.items():
                assert _same(stored(run), _good[number][name])
    damages, then = example
    shutil.copytree(folder / "good", place / "r")
    checkpoints = place / "r" / "depth_study" / "checkpoints"
    for damage in damages:
        with contextlib.suppress(OSError, ValueError):  # the damage before has left nothing to damage
            _damage(checkpoints, *damage)
    forged = any(damage[0] == "sealed" for damage in damages)
    if then == "study" and not forged:
        return _begin(place)
    before = mutations.state(checkpoints)
    try:
        read = Checkpoints(checkpoints)
        found_now = read.newest()
    finally:
        assert mutations.state(checkpoints) == before, "the checkpoints were changed"
    if found_now is None:
        return "none"
    _check(found_now, forged)
    if then == "save":
        read.save(_runs()[0], {"more": 1})
        again = Checkpoints(checkpoints).newest()
        assert again is not None
        assert again.about == {"more": 1}
        assert all(_same(run, _good[1][name]) for name, run in again.runs.items())
        return f"{_told(found_now)}, and one more"
    return _told(found_now)


def _alone(folder: Path, number: int) -> dict[str, Stored]:
    """The runs of the good checkpoint of this number."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(folder / "good" / "depth_study" / "checkpoints" / f"{number}.safetensors", place)
        found = Checkpoints(Path(place)).newest()
        assert found is not None
        return found.runs


def _told(found: Checkpoint) -> str:
    return f"{found.about.get('row_seconds')} seconds, {len(found.damaged)} damaged"


def _check(found: Checkpoint, forged: bool) -> None:
    assert all("\n" not in line for line in found.damaged)
    if not forged:
        good = _good[round(found.about["row_seconds"])]
        assert found.runs.keys() == good.keys()
        assert all(_same(found.runs[name], good[name]) for name in good), "an altered checkpoint counts as whole"


def _same(one: Stored, other: Stored) -> bool:
    def leaves(run: Stored) -> list[Any]:
        return jax.tree.leaves((run.state, run.history, run.observed))

    pairs = zip(leaves(one), leaves(other), strict=True)
    return one.status == other.status and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs
    )


def _damage(folder: Path, what: str, which: Any, more: Any) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = files[which % len(files)]
    match what:
        case "bytes":
            path.write_bytes(mutations.edited(path.read_bytes(), more))
        case "odd":
            mutations.put(path, more, path.read_bytes())
        case "odd record":
            path = folder / f"{which}.safetensors"
            mutations.put(path, more, path.read_bytes() if path.is_file() else b"")
        case "record" | "sealed":
            path = folder / f"{which}.safetensors"
            whole = path.read_bytes()
            size = int.from_bytes(whole[:8], "little")
            header = json.loads(whole[8 : 8 + size])
            content = json.loads(header["__metadata__"]["mlp_jax"])
            if what == "sealed" and isinstance(content, dict):
                content = mutations.edited_json({k: v for k, v in content.items() if k != "seal"}, more)
                content = sealed(content) if isinstance(content, dict) else content
            else:
                content = mutations.edited_json(content, more)
            header["__metadata__"]["mlp_jax"] = mutations.as_text(content).decode(errors="replace")
            head = json.dumps(header).encode()
            path.write_bytes(len(head).to_bytes(8, "little") + head + whole[8 + size :])
        case "rename":
            os.rename(path, folder / more)
        case "copy":
            shutil.copy(path, folder / more)
        case "swap":
            other = files[more % len(files)]
            one, two = path.read_bytes(), other.read_bytes()
            path.write_bytes(two)
            other.write_bytes(one)


def _begin(place: Path) -> str:
    """A study that resumes: it says what it cannot use, and goes on."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        study = ResultsFolder("depth_study", _config(place / "r"))
    assert all(line.startswith("note: ") for line in said.getvalue().splitlines()), said.getvalue()
    restored = study.unfinished._restored
    lock.release(study.path)
    if restored:
        assert any(
            restored.keys() == good.keys() and all(_same(restored[name], good[name]) for name in good)
            for good in _good.values()
        ), "an altered checkpoint counts as whole"
    return f"the study goes on with {len(restored)} runs"


KEPT: tuple[Any, ...] = (
    ([("odd record", 2, "pipe")], "read"),
    ([("sealed", 2, [("replace", [1], 0)])], "read"),
)
