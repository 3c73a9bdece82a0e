"""The main job: every study of the report, in order, under both protocols, and one page that holds it all.

  python -m experiments.reproduce                                   digits: 2 to 4 minutes on two cores
  TFDS_DATA_DIR=... python -m experiments.reproduce --dataset=cifar10 [--scale=full]

Runs gradient_check (Question 2), grid_search (Question 3), depth_study, activation_study, init_study and
best_model (Question 4), and ablation, which goes past the report; before all of them, jax.grad itself is held
against numpy. On a CPU of several cores gradients are checked in a second process, beside the rest. Benchmark and
speedrun are not part of it: they need a machine that does nothing else.

Writes RESULTS_DIR/reproduce/report.html (one file, nothing to fetch), report.md and results.json; the first table
judges every claim of the report. The studies' own results go to RESULTS_DIR/NAME, under the published protocol to
RESULTS_DIR/published/NAME. A study whose results match its options is kept, one that was interrupted continues.

--scale=smoke only shows that everything works; standard is what the studies do by themselves; full has 10 seeds
and deeper networks. What a study is given stands in its own file.

Expected: every gradient passes; on the digits uniform_fan_in ends above 95 % on test at every depth. Exit status 1
if a gradient fails or a study did not do what was asked, 2 for a mistake in the options.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from experiments import (
    ablation,
    activation_study,
    best_model,
    depth_study,
    gradient_check,
    grid_search,
    init_study,
)
from mlp_jax.errors import UserError, one_of
from mlp_jax.fields import Names, option
from mlp_jax.files import as_json, sealed
from mlp_jax.gradcheck.witness import trusted_witness
from mlp_jax.studies import aside, command, keep, options, page, processes, results
from mlp_jax.studies.claims import judged
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.keep import Job
from mlp_jax.studies.results import Row
from mlp_jax.studies.study import Study

SCRIPTS = (gradient_check, grid_search, depth_study, activation_study, init_study, best_model, ablation)
STUDIES: dict[str, Study[Any]] = {script.STUDY.name: script.STUDY for script in SCRIPTS}
CLAIMS = [claim for each in STUDIES.values() for claim in each.claims]
SCALES = {
    "smoke": {"cifar10": 1, "else": 2},
    "standard": {"cifar10": 4, "else": 3},
    "full": {"cifar10": 10, "else": 10},
}
"""This is the number of seeds. Two cores train an even number of runs side by side: on CIFAR-10 a fourth costs no
more than a third. On the digits nearly all time is compilation: the choice of a learning rate from two and the
other two seeds are populations of one size, so one program."""
OWN = ("scale", "studies", "force")
"""These options are of this job alone; a study may have others of the same name."""


@dataclass(frozen=True)
class Config(options.Training):
    """These are the options of the main job: each is handed to every study that has it."""

    PROTOCOLS: ClassVar[Sequence[str]] = ("both", *options.PROTOCOLS)

    protocol: str = option("both", "clean, published (the report's scripts bug for bug), or both")
    seeds: int = option(None, "number of seeds; default: as many as the scale has", low=1, high=options.MOST_RUNS)
    resume: bool = option(True, "continue a study that was interrupted; --noresume starts it anew")
    scale: str = option("standard", "smoke (does everything work?), standard or full", choices=SCALES)
    studies: Names | None = option(
        None, f"which of {', '.join(STUDIES)}; default all", choices=lambda name: one_of("study", name, STUDIES)
    )
    force: bool = option(False, "run every study again, also where its results match its options")
    given: ClassVar[dict[str, int]]
    """The number of seeds, if it is the user's own wish: else a study may have another one."""

    def __post_init__(self) -> None:
        one_of("scale", self.scale, SCALES)
        asked = self.seeds is not None
        if not asked:
            object.__setattr__(self, "seeds", SCALES[self.scale][options.place(self.dataset)])
        super().__post_init__()
        object.__setattr__(self, "given", {"seeds": self.seeds} if asked else {})


def jobs(config: Config) -> Iterator[Job]:
    """Gives every study under every protocol that is asked for and that it has, the published one first."""
    protocols = options.PROTOCOLS if config.protocol == "both" else (config.protocol,)
    for name, each in STUDIES.items():
        if config.studies is not None and name not in config.studies:
            continue
        if name == "gradient_check":
            yield Job(name, None, each, own_config(config, each, "clean"))
            continue
        for protocol in protocols:
            if protocol in each.options.PROTOCOLS:
                yield Job(name, protocol, each, own_config(config, each, protocol))


def own_config(config: Config, each: Study[Any], protocol: str) -> Any:
    """Gives a study's options: its own defaults, then the scale's, then what the user gave."""
    folder = Path(config.results_dir) / "published" if protocol == "published" else Path(config.results_dir)
    resume = config.resume and not config.force
    given = {name: value for name, value in asdict(config).items() if name not in (*OWN, "seeds")}
    values = {"seeds": config.seeds, **each.at(config.scale, config.dataset, protocol)} | given | config.given
    values |= {"protocol": protocol, "results_dir": str(folder), "resume": resume}
    return each.options(**{f.name: values[f.name] for f in fields(each.options) if f.name in values})


def run(config: Config) -> bool:
    """Runs what is not there yet, then writes the page from the results files; True if all studies succeeded."""
    todo = list(jobs(config))
    if not todo:
        raise UserError(
            f"{','.join(config.studies or ())} does not have the {config.protocol} protocol: choose another study"
        )
    for job in todo:
        job.study.check(job.config)
    witness = trusted_witness()
    # an interrupted one has nothing of its own to continue
    folder = ResultsFolder("reproduce", replace(config, resume=False))
    # these rows are not for --resume: the studies' own files say all
    outcomes = standing(config, todo)
    folder.rows = [{"study": job.name, "protocol": job.protocol, **outcomes[job.folder]} for job in todo]
    if folder.writes:
        _write_report(folder, todo, witness)
    ok: bool = processes.share(all(row["status"] != "failed" for row in folder.rows))
    return ok


def standing(config: Config, todo: Sequence[Job]) -> dict[Path, Row]:
    """Tells what became of each job, by its folder: {"status", "seconds"}; kept, or run now."""
    keeping = [None] * len(todo) if config.force or not processes.writes() else [keep.kept(j) for j in todo]
    fingerprint = ""
    if not processes.share(all(keeping)):
        fingerprint = config.load().fingerprint
        keeping = [
            c if c and not keep.other_data(c, j, fingerprint) else None for c, j in zip(keeping, todo, strict=True)
        ]
    answers = processes.share([c and _outcome(c) for c in keeping])
    found = {job.folder: answer for job, answer in zip(todo, answers, strict=True) if answer}
    heads = {job.folder: f"== {job} ({number} of {len(todo)})" for number, job in enumerate(todo, start=1)}
    for folder in found:
        _print(f"{heads[folder]}: kept, {folder / 'results.json'}")
    with _checking([job for job in todo if job.folder not in found], fingerprint) as (trained, checked):
        for job, _ in checked:
            _print(f"{heads[job.folder]} runs in a second process, and is told of at the end")
        for job in trained:
            _print(heads[job.folder])
            found[job.folder] = _run(job, fingerprint)
        for job, answer in checked:
            _print(heads[job.folder])
            found[job.folder] = answer()
    return found


@contextlib.contextmanager
def _checking(todo: Sequence[Job], fingerprint: str) -> Iterator[Any]:
    """Gives the jobs that are left, and each that checks gradients with what waits for it in a second process."""
    first = todo[0] if todo else None
    if first is None or first.name != gradient_check.STUDY.name or len(todo) == 1 or not aside.worthwhile():
        yield todo, ()
        return
    with aside.started(_run_named, first.name, first.protocol, first.config, fingerprint) as answer:
        yield todo[1:], ((first, answer),)


def _run_named(name: str, protocol: str | None, config: Any, fingerprint: str) -> Row:
    return _run(Job(name, protocol, STUDIES[name], config), fingerprint)


def _outcome(content: Row) -> Row:
    """Tells what became of a study that is kept; one that failed has failed still."""
    failed = not content.get("passed", all(row.get("verdict") != "FAIL" for row in content["rows"]))
    return {"status": "failed" if failed else "kept", "seconds": content["environment"]["wall_seconds"]}


def _run(job: Job, fingerprint: str) -> Row:
    started = time.monotonic()
    if processes.writes():
        keep.clear_unfinished(job, fingerprint)
    passed = job.study.run(job.config)
    path = job.folder / "results.json"
    if processes.writes():  # so that keeping it cannot turn a failure into a success
        results.write_file(path, as_json(sealed({**results.read_sealed(path), "passed": passed})))
    return {"status": "passed" if passed else "failed", "seconds": round(time.monotonic() - started, 3)}


def _write_report(folder: ResultsFolder, todo: Sequence[Job], witness: Row) -> None:
    files = {job.folder / "results.json": job for job in todo}
    read = {path: keep.read(job, path) for path, job in files.items()}
    results.unmixed(read, ["data_fingerprint"])
    contents = {(job.protocol, job.name): read[path] for path, job in files.items()}
    claims = judged(contents, CLAIMS)
    content = results.read_sealed(folder.finish(claims=claims, witness=witness))
    parts = [
        page.Part(job.study, job.protocol, row["status"], job.folder, read[path])
        for (path, job), row in zip(files.items(), content["rows"], strict=True)
    ]
    about = [("jax.grad", f"was {gradient_check.witness_told(witness)} before anything ran")]
    shown = page.page(content, parts, about)
    results.write_file(folder.path / "report.html", page.html(shown))
    results.write_file(folder.path / "report.md", page.markdown(shown, folder.path))
    print(shown["summary"])
    print(f"{folder.path / 'report.html'}; report.md and results.json beside it")


def _print(line: str) -> None:
    if processes.writes():
        print(line, flush=True)


main = command.main_of(Config, run, __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
