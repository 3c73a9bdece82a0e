"""This decides which results of an earlier start still stand, and what becomes of the others."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlp_jax.errors import UserError, user_path
from mlp_jax.files import unsealed
from mlp_jax.studies import correctness, options, results
from mlp_jax.studies.folder import set_aside
from mlp_jax.studies.origin import differing, unfit
from mlp_jax.studies.study import Study
from mlp_jax.text import note
from mlp_jax.training.checkpoint import Checkpoints


@dataclass(frozen=True)
class Job:
    """A job is one study under one protocol, which is None where it has none."""

    name: str
    protocol: str | None
    study: Study[Any]
    config: options.Common

    @property
    def folder(self) -> Path:
        """Here its results go."""
        return user_path(self.config.results_dir) / self.name

    def __str__(self) -> str:
        return self.name if self.protocol is None else f"{self.name}, {self.protocol} protocol"


def kept(job: Job) -> results.Row | None:
    """Gives what the study's results file holds if it need not run again; else None, and a line says why not.

    A file that is cut, another version's or not this study's is set aside; one of other options stays until the
    study writes its own in its place.
    """
    path = job.folder / "results.json"
    if not path.is_file():
        return None
    try:
        content = read(job, path)
    except UserError as error:
        set_aside(path, str(error))
        return None
    if changed := differing(content["config"], job.config):
        note(f"{path} has other options ({changed}): the study runs again")
        return None
    return content


def read(job: Job, path: Path) -> results.Row:
    """Gives the content of the study's results file. Raises UserError if it cannot stand beside ours."""
    content = results.read_json(path)
    if content["study"] != job.name:
        raise UserError(f"{path} is of another study, {content['study']}")
    try:
        if (why := results.foreign(content)) is not None:
            raise UserError(f"it was {why}")
        content = unsealed(content)
        _check(job, content)
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{path} does not hold what {job.name} writes ({error!r})") from error
    return content


def _check(job: Job, content: results.Row) -> None:
    """Raises UserError, or what Python does, if no page can be made of the content and the files beside it."""
    if not content["rows"] or not isinstance(content["environment"]["data_fingerprint"], str):
        raise KeyError("rows")
    dict(content["config"])
    job.study.table(content)
    job.study.finding(content)
    for figure in content.get("figures", []):
        if Path(figure["file"]).name != figure["file"]:
            raise ValueError("a figure in another folder")
        if results.digest_of(job.folder / figure["file"]) != figure["sha256"]:
            raise UserError(f"it lacks its figure {figure['file']}, or has another")
    bits = job.folder / correctness.FILE  # they may be missing: what was made of them stands in the results
    if content.get("correct") and results.digest_of(bits) not in (None, content["correct"]["sha256"]):
        raise UserError(f"{bits} is altered")


def other_data(content: Mapping[str, Any], job: Job, fingerprint: str) -> bool:
    """Tells whether the results come from other data than `fingerprint`; a line says that they are not kept."""
    if content["environment"]["data_fingerprint"] == fingerprint:
        return False
    note(f"{job.folder / 'results.json'} comes from another copy of the data: the study runs again")
    return True


def clear_unfinished(job: Job, fingerprint: str) -> None:
    """Sets aside what an interrupted run of other options or data has left, which --resume would refuse."""
    for path, about in _left(job):
        if what := unfit(about, job.config, fingerprint):
            set_aside(path, f"{path} does not fit: {what}")


def _left(job: Job) -> Iterator[tuple[Path, results.Row]]:
    """Gives what is there and whole, and what it says of itself; of the rest the study says so."""
    partial, checkpoints = job.folder / "partial.json", job.folder / "checkpoints"
    with contextlib.suppress(UserError):
        if partial.is_file():
            yield partial, unsealed(results.read_json(partial))
    with contextlib.suppress(UserError):
        if (newest := Checkpoints(checkpoints).newest()) is not None:
            yield checkpoints, newest.about
