"""The main job: every study of the report, in order, under both protocols, and one page that holds it all.

  python -m experiments.reproduce                                   digits: 3 minutes on two cores
  TFDS_DATA_DIR=... python -m experiments.reproduce --dataset=cifar10 [--scale=full]

Runs gradient_check (Question 2), grid_search (Question 3), depth_study, activation_study, init_study and
best_model (Question 4), and ablation, which goes past the report; before all of them, jax.grad itself is held
against numpy. Benchmark and speedrun are not part of it: they need a machine that does nothing else.

Writes RESULTS_DIR/reproduce/report.html (one file, nothing to fetch), report.md and results.json; the first table
judges every claim of the report. The studies' own results go to RESULTS_DIR/NAME, under the published protocol to
RESULTS_DIR/published/NAME. A study whose results match its options is kept, one that was interrupted continues.

--scale=smoke only shows that everything works; standard is what the studies do by themselves; full has 10 seeds,
deeper networks and every combination of activation, normalisation and dropout. _scales.py has the options of each.

Expected: every gradient passes; on the digits uniform_fan_in ends above 95 % on test at every depth. Exit status 1
if a gradient fails or a study did not do what was asked, 2 for a mistake in the options.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from experiments import (
    _claims,
    _common,
    _keep,
    _launch,
    _machines,
    _rows,
    _study,
    ablation,
    activation_study,
    best_model,
    depth_study,
    gradient_check,
    grid_search,
    init_study,
)
from experiments._common import option
from experiments._scales import SCALES, Options
from mlp_jax.errors import UserError, one_of
from mlp_jax.files import as_json, sealed, write
from mlp_jax.gradcheck.witness import trusted_witness
from mlp_jax.studies import page, results
from mlp_jax.studies.tables import Table

STUDIES = {
    "gradient_check": gradient_check,
    "grid_search": grid_search,
    "depth_study": depth_study,
    "activation_study": activation_study,
    "init_study": init_study,
    "best_model": best_model,
    "ablation": ablation,
}


@dataclass(frozen=True)
class Config(_common.Training):
    """Options of the main job: each is handed to every study that has it."""

    PROTOCOLS: ClassVar[Sequence[str]] = ("both", *_common.PROTOCOLS)

    protocol: str = option("both", "clean, published (the report's scripts bug for bug), or both")
    seeds: int = option(None, "number of seeds; default: as many as _scales.py has")
    resume: bool = option(True, "continue a study that was interrupted; --noresume starts it anew")
    scale: str = option("standard", "smoke (does everything work?), standard, or full (more seeds and settings)")
    studies: str | None = option(None, f"which of {','.join(STUDIES)}; default all")
    force: bool = option(False, "run every study again, also where its results match its options")
    given: ClassVar[dict[str, int]]
    """The number of seeds, if it is the user's own wish: else a study may have another one."""

    def __post_init__(self) -> None:
        one_of("scale", self.scale, SCALES)
        object.__setattr__(self, "given", {} if self.seeds is None else {"seeds": self.seeds})
        if self.seeds is None:
            object.__setattr__(self, "seeds", self.options["*"]["seeds"])
        super().__post_init__()
        self.chosen()

    @property
    def options(self) -> Options:
        """What the scale says about the dataset."""
        return SCALES[self.scale]["cifar10" if self.dataset == "cifar10" else "else"]

    def chosen(self) -> list[str]:
        """The studies to run, in the order of the report."""
        names = list(STUDIES) if self.studies is None else self.studies.split(",")
        for name in names:
            one_of("study", name, STUDIES)
        _common.distinct("--studies", tuple(names))
        return [name for name in STUDIES if name in names]


OWN = ("scale", "studies", "force")
"""Options of this job alone; a study may have others of the same name."""


def jobs(config: Config) -> Iterator[_keep.Job]:
    """Every study under every protocol that is asked for and that it has, the published one first."""
    protocols = _common.PROTOCOLS if config.protocol == "both" else (config.protocol,)
    for name in config.chosen():
        if name == "gradient_check":
            yield _keep.Job(name, None, STUDIES[name], own_config(config, name, "clean"))
            continue
        for protocol in protocols:
            if protocol in STUDIES[name].Config.PROTOCOLS:
                yield _keep.Job(name, protocol, STUDIES[name], own_config(config, name, protocol))


def own_config(config: Config, name: str, protocol: str) -> Any:
    """A study's options: its own defaults, then the scale's, then what the user gave."""
    scale, kind = config.options, STUDIES[name].Config
    values: dict[str, Any] = {}
    for level in ("*", f"*/{protocol}", name, f"{name}/{protocol}"):
        values |= scale.get(level, {})
    folder = Path(config.results_dir) / "published" if protocol == "published" else Path(config.results_dir)
    resume = config.resume and not config.force
    given = {name: value for name, value in asdict(config).items() if name not in (*OWN, "seeds")}
    values |= given | config.given | {"protocol": protocol, "results_dir": str(folder), "resume": resume}
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})


def run(config: Config) -> bool:
    """Runs what is not there yet, then writes the page from the results files; True if all studies succeeded."""
    todo = list(jobs(config))
    if not todo:
        raise UserError(f"{config.studies} does not have the {config.protocol} protocol: choose another study")
    for job in todo:
        if (check := getattr(job.module, "check", None)) is not None:
            check(job.config)
    witness = trusted_witness()
    # interrupted, it has nothing of its own to continue
    study = _study.Study("reproduce", replace(config, resume=False))
    for job, done in zip(todo, standing(config, todo), strict=True):
        study.rows.append(_row(job, done))  # not for --resume: the studies' own files say all
    if study.writes:
        _write_report(study, todo, witness)
    ok: bool = _machines.share(all(row["status"] != "failed" for row in study.rows))
    return ok


def standing(config: Config, todo: Sequence[_keep.Job]) -> Iterator[results.Row]:
    """What became of each job: {"status", "seconds"}; kept, or run now."""
    keeping = [None] * len(todo) if config.force or not _machines.is_writer() else [_keep.kept(j) for j in todo]
    fingerprint = ""
    if not _machines.share(all(keeping)):
        fingerprint = config.load().fingerprint
        keeping = [
            c if c and not _keep.other_data(c, j, fingerprint) else None
            for c, j in zip(keeping, todo, strict=True)
        ]
    answers = [c and _outcome(c) for c in keeping]
    for number, (job, answer) in enumerate(zip(todo, _machines.share(answers), strict=True), start=1):
        head = f"== {job} ({number} of {len(todo)})"
        if answer:
            _print(f"{head}: kept, {job.folder / 'results.json'}")
            yield answer
            continue
        _print(head)
        yield _run(job, fingerprint)


def _outcome(content: results.Row) -> results.Row:
    """Of a study that is kept; one that failed has failed still."""
    failed = not content.get("passed", all(row.get("verdict") != "FAIL" for row in content["rows"]))
    return {"status": "failed" if failed else "kept", "seconds": content["environment"]["wall_seconds"]}


def _run(job: _keep.Job, fingerprint: str) -> results.Row:
    started = time.monotonic()
    if _machines.is_writer():
        _keep.clear_unfinished(job, fingerprint)
    passed = bool(job.module.run(job.config))
    path = job.folder / "results.json"
    if _machines.is_writer():  # so that keeping it cannot turn a failure into a success
        write(path, as_json(sealed({**results.read_sealed(path), "passed": passed})))
    return {
        "status": "passed" if passed else "failed",
        "seconds": round(time.monotonic() - started, 3),
    }


def _row(job: _keep.Job, done: results.Row) -> results.Row:
    return {"study": job.name, "protocol": job.protocol, **done}


def _write_report(study: _study.Study, todo: Sequence[_keep.Job], witness: results.Row) -> None:
    files = {job.folder / "results.json": job for job in todo}
    read = {path: _keep.read(job, path) for path, job in files.items()}
    results.unmixed(read, ["data_fingerprint"])
    contents = {(job.protocol, job.name): read[path] for path, job in files.items()}
    claims = _claims.judged(contents)
    path = study.finish(claims=claims, witness=witness)
    content = results.read_sealed(path)
    parts = [_part(*each) for each in zip(todo, content["rows"], contents.values(), strict=True)]
    tallies = {protocol: _claims.tally(claims, protocol) for protocol in _common.PROTOCOLS}
    about = [("jax.grad", f"was {gradient_check.witness_told(witness)} before anything ran")]
    shown = page.page(content, parts, _claims.summary(claims), tallies, about)
    for name, text in (
        ("report.html", page.html(shown)),
        ("report.md", page.markdown(shown, study.folder)),
    ):
        study.write_file(study.folder / name, text)
    print(_claims.summary(claims))
    print(f"{study.folder / 'report.html'}; report.md and results.json beside it")


def _part(job: _keep.Job, row: results.Row, content: results.Row) -> page.Part:
    """What the page shows of a job's study."""
    module, table = job.module, job.module.table(content["rows"])
    return page.Part(
        name=job.name,
        protocol=job.protocol,
        title=module.TITLE,
        question=(module.__doc__ or "").strip().split("\n\n")[0],
        caveat=module.CAVEAT,
        status=row["status"],
        dataset=_rows.dataset_name(content),
        finding=module.finding(content),
        tables=[table] if isinstance(table, Table) else table,
        command=page.command(job.name, module.Config, content["config"], job.config.results_dir),
        folder=job.folder,
        content=content,
    )


def _print(line: str) -> None:
    if _machines.is_writer():
        print(line, flush=True)


if __name__ == "__main__":
    _launch.launch(Config, run)
