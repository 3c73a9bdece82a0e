"""Results files: read by --resume, by `reproduce`, by its page and by the README's generator.

The good ones are those in experiments/results.
"""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from experiments import depth_study, reproduce
from mlp_jax.data.digits import synthetic
from mlp_jax.files import as_json, sealed
from mlp_jax.studies import results
from mlp_jax.studies.figures import Figure
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.keep import Job, clear_unfinished, kept
from mlp_jax.studies.origin import of_result
from tests import readme, result_tables
from tests.fuzz import mutations

SECONDS, MEGABYTES = 15.0, 500.0
JOBS = len(list(reproduce.jobs(reproduce.Config(dataset="cifar10"))))
README = (
    "depth_study", "published/depth_study", "benchmark", "table1_x_16/benchmark", "populations/benchmark",
    "reproduce", "grid_search", "init_study", "ablation", "recipes/plain/best_model", "recipes/speedrun/speedrun",
)  # fmt: skip
NAMES = (".lock", "results.json", "partial.json", "checkpoints", "accuracy.svg", "1.json")


class Runs(Exception):
    """A study that would run again."""


def examples() -> Any:
    """(what reads it, which file, its damage)."""
    damage = st.one_of(
        st.tuples(st.just("bytes"), mutations.BYTE_EDITS),
        st.tuples(st.just("json"), mutations.JSON_EDITS),
        st.tuples(st.just("json"), mutations.JSON_EDITS),
        st.tuples(st.just("odd"), st.sampled_from(mutations.ODD_FILES)),
    )
    job = st.integers(0, JOBS - 1)
    bytes_or_odd = damage.filter(lambda found: found[0] != "json")
    kept = st.tuples(st.just("kept"), job, damage)
    return st.one_of(
        kept,
        kept,
        st.tuples(st.just("resume"), st.just(0), damage),
        st.tuples(st.just("clear"), st.just(0), damage),
        st.tuples(st.just("figure"), job, bytes_or_odd),
        st.tuples(st.just("folder"), st.integers(0, len(NAMES) - 1), bytes_or_odd),
        st.tuples(st.just("readme"), st.integers(0, len(README) - 1), damage),
        st.tuples(st.just("page"), job, damage),
    )


def prepare(folder: Path) -> None:
    """A copy of the committed results, of this version and its options; rows of an interrupted study."""
    good = folder / "good"
    shutil.copytree(result_tables.RESULTS, good)
    configs = {job.folder / "results.json": of_result(job.config) for job in _jobs(good)}
    for path in good.rglob("results.json"):
        content = results.read_sealed(path)
        content["environment"]["versions"]["mlp_jax"] = results._version("mlp_jax")
        content["config"] = configs.get(path, content["config"])
        path.write_text(as_json(sealed(content)))
    study = ResultsFolder("depth_study", _resuming(folder / "part"))
    study.use(synthetic())
    row = next(iter(results.read_json(good / "depth_study" / "results.json")["rows"]))
    study.add(row)
    os.rename(folder / "part" / "depth_study" / "partial.json", folder / "partial.json")


def check(folder: Path, place: Path, example: Any) -> str:
    """Reads the damaged file in one of the ways in which the project does."""
    what, which, damage = example
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        if what in ("resume", "clear"):
            told = _partial(folder, place, what, damage)
        elif what == "folder":
            told = _in_folder(place, NAMES[which], damage)
        elif what == "readme":
            told = _in_readme(folder, place, README[which], damage)
        else:
            told = _in_reproduce(folder, place, what, which, damage)
    assert all(line.startswith("note: ") for line in said.getvalue().splitlines()), said.getvalue()
    return f"{what}: {told}"


def _damage(path: Path, damage: Any) -> bytes:
    """Damages the file, in place of a link to the good one; gives the good content."""
    good = path.read_bytes()
    path.unlink()
    kind, edits = damage
    if kind == "odd":
        mutations.put(path, edits, good)
    elif kind == "json":
        path.write_bytes(mutations.as_text(mutations.edited_json(json.loads(good), edits)))
    else:
        path.write_bytes(mutations.edited(good, edits))
    return good


def _whole(path: Path, good: bytes) -> bool:
    """Whether it says the same: JSON may be written in several ways."""
    with contextlib.suppress(OSError, ValueError):
        return path.is_file() and json.loads(path.read_text()) == json.loads(good)
    return False


# --resume


def _resuming(folder: Path) -> depth_study.Config:
    return depth_study.Config(dataset="synthetic", resume=True, results_dir=str(folder))


def _partial(folder: Path, place: Path, what: str, damage: Any) -> str:
    partial = place / "depth_study" / "partial.json"
    partial.parent.mkdir()
    shutil.copy(folder / "partial.json", partial)
    good = _damage(partial, damage)
    whole, before = _whole(partial, good), sorted(mutations.state(place).values(), key=repr)
    config = _resuming(place)
    try:
        if what == "clear":
            job = Job("depth_study", "clean", depth_study, config)
            clear_unfinished(job, synthetic().fingerprint)
        study = ResultsFolder("depth_study", config)
    finally:
        after = mutations.state(place)
        now = sorted((value for name, value in after.items() if not name.endswith(".lock")), key=repr)
        assert now == before, "what was there is lost"
    if study.rows:
        assert whole, "altered rows count as whole"
        assert study.rows == json.loads(good)["rows"]
        return "resumed"
    return "nothing to resume"


def _in_folder(place: Path, name: str, damage: Any) -> str:
    """A study begins, adds a row and ends in a folder where something odd has one of its files' names."""
    path = place / "depth_study" / name
    path.parent.mkdir()
    path.write_text('{"study": 1}\n')
    _damage(path, damage)
    behind = path.with_name(f"target of {name}")  # of a link
    before = behind.read_bytes() if behind.exists() else None
    try:
        study = ResultsFolder("depth_study", _resuming(place))
    finally:
        assert before is None or behind.read_bytes() == before, "the file behind a link was changed"
    study.use(synthetic())
    study.add({"a": "row"})
    study.finish({"accuracy.svg": Figure("<svg/>", "a figure")})
    assert results.read_sealed(path.parent / "results.json")["rows"] == [{"a": "row"}]
    return "a study ended"


# reproduce


def _linked(folder: Path, place: Path) -> Path:
    """The good files under other names: a change begins with unlinking."""
    shutil.copytree(folder / "good", place / "results", copy_function=os.link)
    return place / "results"


def _jobs(tree: Path) -> list[Job]:
    return list(reproduce.jobs(_config(tree)))


def _config(tree: Path) -> reproduce.Config:
    return reproduce.Config(dataset="cifar10", results_dir=str(tree))


def _in_reproduce(folder: Path, place: Path, what: str, which: int, damage: Any) -> str:
    tree = _linked(folder, place)
    job = _jobs(tree)[which]
    path = job.folder / "results.json"
    content = json.loads(path.read_text())
    if what == "figure":
        named = content.get("figures", [])
        good = _damage(job.folder / named[which % len(named)]["file"], damage)
        whole = (job.folder / named[which % len(named)]["file"]).is_file() and (
            job.folder / named[which % len(named)]["file"]
        ).read_bytes() == good
    else:
        good = _damage(path, damage)
        whole = _whole(path, good)
    before = list(mutations.state(job.folder).values())
    if what == "page":
        return _page_of(folder, tree, whole)
    try:
        found = kept(job)
    finally:
        after = list(mutations.state(job.folder).values())
        assert sorted(after, key=repr) == sorted(before, key=repr), "what was there is lost"
    if found is None:
        return "runs again"
    assert whole, "an altered file counts as whole"
    assert sealed(found) == content
    return "kept"


def _page_of(folder: Path, tree: Path, whole: bool) -> str:
    """The whole of `reproduce`, in which a study would run again only if a file is not whole."""
    with _no_study_runs():
        try:
            reproduce.run(_config(tree))
        except Runs:
            assert not whole
            return "a study runs again"
    assert whole, "an altered file counts as whole"
    assert (tree / "reproduce" / "report.md").is_file()
    return "the same page"


@contextlib.contextmanager
def _no_study_runs() -> Iterator[None]:
    def raises(*_: Any, **__: Any) -> Any:
        raise Runs

    load, reproduce.Config.load = reproduce.Config.load, raises
    try:
        yield
    finally:
        reproduce.Config.load = load


def _in_readme(folder: Path, place: Path, name: str, damage: Any) -> str:
    tree = _linked(folder, place)
    path = tree / name / "results.json"
    good = _damage(path, damage)
    makers = (readme.headlines, *readme.PAGES["experiments/results/README.md"].values())
    result_tables.RESULTS, kept = tree, result_tables.RESULTS
    try:
        made = [make() for make in makers]
        assert _whole(path, good), "an altered file counts as whole"
        result_tables.RESULTS = folder / "good"
        assert made == [make() for make in makers]
    finally:
        result_tables.RESULTS = kept
    return "the same"


KEPT: tuple[Any, ...] = (
    ("kept", JOBS - 1, ("bytes", [("flip", 0.5, 0)])),
    ("kept", 3, ("bytes", [("flip", 0.5, 0)])),
    ("kept", 3, ("json", [("replace", [3, 0, 7, 0], 5)])),
    ("figure", 4, ("bytes", [("flip", 0.5, 0)])),
    ("resume", 0, ("odd", "pipe")),
    ("folder", 0, ("odd", "folder")),
    ("folder", 0, ("odd", "pipe")),
    ("folder", 0, ("odd", "loop")),
    ("folder", 0, ("odd", "link")),
    ("folder", 1, ("odd", "pipe")),
    ("folder", 4, ("odd", "pipe")),
    ("readme", 2, ("json", [("replace", [3, 0, 7, 0], 5)])),
)
