"""The tables of README.md and of the pages beside the code, made from committed results and from the checker.

Each function gives Markdown. Files that are shown together are of the same data, and of the protocol that is said
of them, or they are refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import ablation, reproduce, speedrun
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import seeded_mistakes
from mlp_jax.studies import figures as draw
from mlp_jax.studies import own_gradients, page, results, verdicts
from mlp_jax.studies.claims import REMARK, judged, summary
from mlp_jax.studies.tables import Table
from mlp_jax.training import recipes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "experiments" / "results" / "cifar10"


def table_1() -> str:
    """Table 1: the report's figures beside ours under both protocols, in %."""
    published, clean = depth_studies()
    return f"{_table_1(published, clean)}\n\n{_source(published)}\n{_source(clean)}"


def table_1_alone() -> str:
    """Table 1 and the command that makes it."""
    published, clean = depth_studies()
    made = f"`{clean['environment']['command']}`, {clean['config']['seeds']} seeds"
    return f"{_table_1(published, clean)}\n\n{made}."


def _table_1(published: results.Row, clean: results.Row) -> str:
    header = [
        "layers", "report: val.", "report: test", "published: val.", "published: test", "clean: val.",
        "clean: test",
    ]  # fmt: skip
    lines = []
    for ours, other in zip(of_table_1(published), of_table_1(clean), strict=True):
        report = [f"{100 * ours['report'][name]:.1f}" for name in ("validation_accuracy", "test_accuracy")]
        measured = [results.percent(row[f"{s}_accuracy"]) for row in (ours, other) for s in ("validation", "test")]
        lines.append([str(ours["layers"]), *report, *measured])
    return Table(header, lines).markdown()


def depth_studies() -> list[dict[str, Any]]:
    """The committed results of the depth study, published and clean."""
    folders = {RESULTS / "published": "published", RESULTS: "clean"}
    return beside({folder / "depth_study": protocol for folder, protocol in folders.items()})


def beside(folders: Mapping[Path, str | None]) -> list[results.Row]:
    """What the results files hold, each of this protocol, None for any. Raises UserError if the data differ."""
    files = {path: results.read_sealed(path / "results.json") for path in folders}
    for path, protocol in folders.items():
        found = files[path]["config"].get("protocol")
        if protocol not in (None, found):
            raise UserError(f"{path} has protocol {found!r} where {protocol!r} belongs")
    results.unmixed(files, ["data_fingerprint"])
    return list(files.values())


def of_table_1(content: dict[str, Any]) -> list[results.Row]:
    """The depths and the initialisation that the report's table has."""
    rows: list[results.Row] = content["rows"]
    return [row for row in rows if row["report"] and row.get("init", "uniform_fan_in") == "uniform_fan_in"]


def _source(content: dict[str, Any]) -> str:
    return f"- {content['config']['protocol']}: {_made_by(content)}"


def _made_by(content: dict[str, Any], seconds: float | None = None) -> str:
    environment = content["environment"]
    device, jax_version = environment["device"], environment["versions"]["jax"]
    # a process may have been kept to some of the cores, as by taskset
    cores = device.get("usable_cores") or device["cores"]
    where = f"{cores} {device['processor']} {device['kind']} core{'s' if cores > 1 else ''}, jax {jax_version}"
    minutes = f"{(seconds or environment['wall_seconds']) / 60:.1f} minutes"
    many = content["config"].get("seeds")
    seeds = "" if many is None else f"{many} seed{'s' if many > 1 else ''}, "
    return f"`{environment['command']}`, {seeds}{minutes} on {where}."


WORKLOADS = {
    "default": "3072-50-10",
    "best": "3072-200-10",
    "deep": "5 layers of 50, Adam",
    "normalized": "400, 400, 400, normalisation, Adam",
    "grid": "the grid of Question 3, 36 networks",
    "table1": "Table 1 x 16 seeds, 64 networks",
}


RACES = ("benchmark", "table1_x_16/benchmark", "populations/benchmark")
"""Results files of the benchmark; a later one's workloads replace an earlier one's (BUILD_NOTES.md says why)."""


def races() -> tuple[list[results.Row], dict[str, results.Row]]:
    """What the benchmark's files hold, and this package's row of each workload."""
    contents = beside(dict.fromkeys(RESULTS / name for name in RACES))
    rows = {r["workload"]: r for content in contents for r in content["rows"] if r["contender"] == "manual"}
    return contents, rows


def benchmark() -> str:
    """Times of this package and how often faster it is than each peer: medians, with their range over repeats."""
    contents, rows = races()
    peers = ("torch", "torch-compile", "numpy", "sklearn")
    header = ["training", "ms per step", "networks x steps/s", "of peak", *(f"x {name}" for name in peers)]
    lines = []
    for name, row in rows.items():
        label = WORKLOADS.get(name, f"{name.removeprefix('population-')} of 3072-50-10, one seed")
        numbers = (row["milliseconds_per_step"]["median"], row["networks_steps_per_second"])
        share = f"{100 * row['fraction_of_peak']:.0f} %"
        ratios = [ratio(row["faster_than"].get(peer)) for peer in peers]
        lines.append([label, f"{numbers[0]:.2f}", f"{numbers[1]:.0f}", share, *ratios])
    return "\n\n".join([Table(header, lines).markdown(), "\n".join(_raced(content) for content in contents)])


def _raced(content: dict[str, Any]) -> str:
    peak = f"{content['machine']['float32']['median'] / 1e9:.0f} GFLOP/s"
    return f"- {_made_by(content)} Matrix peak: {peak}; {content['config']['repeats']} repeats."


def ratio(found: dict[str, float] | None) -> str:
    """How often faster, with its range over the repeats; "-" for a peer that has no such workload."""
    return "-" if found is None else f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


def mistakes_table() -> str:
    """Every mistake that the checker names, seeded into a right gradient, and what it found."""
    return Table.of(own_gradients.MISTAKES, seeded_mistakes.mutation_rows()).markdown()


def claims() -> str:
    """The claims of Questions 3 and 4 with ours beside them, judged anew from the studies' results."""
    told, made = judged_claims()
    parts: dict[str, list[results.Row]] = {}
    for claim in told:
        if not claim["once"]:
            parts.setdefault(claim["part"], []).append(claim)
    tables = [page.claim_table(group).markdown() for group in parts.values()]
    source = f"- {_made_by(made, sum(row['seconds'] for row in made['rows']))}"
    return "\n\n".join([tally(told), *tables, source])


def judged_claims() -> tuple[list[results.Row], results.Row]:
    """Every claim judged, and what the main job's own file holds."""
    jobs = list(reproduce.jobs(reproduce.Config(dataset="cifar10", results_dir=str(RESULTS))))
    contents = beside({job.folder: job.protocol for job in jobs})
    told = judged(
        {(j.protocol, j.name): content for j, content in zip(jobs, contents, strict=True)}, reproduce.CLAIMS
    )
    return told, results.read_sealed(RESULTS / "reproduce" / "results.json")


def tally(told: list[results.Row]) -> str:
    """How many claims hold, Question 2's equations included."""
    equations = [c["clean"]["verdict"] for c in told if c["once"] and c["clean"]["verdict"] != REMARK]
    right = equations.count(verdicts.REPRODUCED)
    agree = f"{right} of its {len(equations)} equations agree with `jax.grad`"
    return f"{summary(told)} That includes Question 2: {agree}."


RECIPES = ("report", "plain", "augmented", "long")
"""Those of `mlp_jax.training.recipes` that `best_model` was run with; their folders are in `recipes`."""


def recipe_runs() -> dict[str, results.Row]:
    """The committed results of `best_model --recipe=NAME`."""
    files = {RESULTS / "recipes" / name / "best_model": "clean" for name in RECIPES}
    return dict(zip(RECIPES, beside(files), strict=True))


def recipe_table() -> str:
    """Accuracy of each recipe, and minutes per run: those of the whole process over the number of its runs."""
    header = ["recipe", "what", "validation %", "test %", "6 views, test %", "runs", "epochs", "minutes per run"]
    lines, made = [], []
    for name, content in recipe_runs().items():
        (row,) = content["rows"]
        views = row.get("test_accuracy_over_views")
        lines.append(
            [
                name,
                recipes.RECIPES[name].about,
                results.percent(row["validation_accuracy"]),
                results.percent(row["test_accuracy"]),
                "-" if views is None else results.percent(views),
                str(len(row["seeds"])),
                str(row["recipe"]["epochs"]),
                f"{content['environment']['wall_seconds'] / len(row['seeds']) / 60:.1f}",
            ]
        )
        made.append(f"- {name}: {_made_by(content)}")
    return "\n".join([Table(header, lines).markdown(), "", *made])


EARLIER = RESULTS / "recipes" / "earlier"
"""What recipes of the same names gave, until their networks saw frequencies instead of pixels (commit 90230cb)."""
SPEEDRUNS = ("speedrun", "speedrun_60", "speedrun_65")
"""Recipes that `speedrun` was run with."""
PUBLISHED = {"Bachmann et al. 2023": 0.754, "Lin et al. 2015": 0.78}
"""Dense layers alone, trained on CIFAR-10 alone: inverted bottlenecks for 5,000 epochs (Scaling MLPs); linear
bottlenecks and unsupervised pre-training (How far can we go without convolution, abstract). Seconds are not
stated."""


def records() -> dict[str, tuple[str, float, results.Row]]:
    """By recipe, earlier ones too: the command that ran it, seconds of a run, and its accuracy on all test images.

    Of `speedrun` the seconds are those from the start of a process that compiles anew, of `best_model` those of
    its whole process over the number of its runs.
    """
    found = {}
    for folder, where in ((RESULTS / "recipes", ""), (EARLIER, "earlier ")):
        for path in sorted(folder.glob("*/*/results.json")):
            (content,) = beside({path.parent: None if path.parent.name == "speedrun" else "clean"})
            row, name = content["rows"][0], where + path.parent.parent.name
            seconds = content["environment"]["wall_seconds"] / max(row["test_accuracy"]["n"], 1)
            if path.parent.name == "speedrun":
                seconds = row["seconds_from_process_start"]["mean"]
            found[name] = content["environment"]["command"], seconds, row["test_accuracy"]
    return found


def records_table() -> str:
    """Accuracy and seconds of all recipes, the fastest first, and what others have published."""
    header = ["recipe", "seconds per run", "test %", "n", "command"]
    lines = [
        [name, f"{seconds:.0f}", results.percent(accuracy), str(accuracy["n"]), f"`{command}`"]
        for name, (command, seconds, accuracy) in sorted(records().items(), key=lambda item: item[1][1])
    ]
    others = [[name, "-", f"{100 * accuracy:.1f}", "", ""] for name, accuracy in PUBLISHED.items()]
    return Table(header, [*lines, *others]).markdown()


def records_figure() -> str:
    """Accuracy against seconds of all recipes, SVG; lines at what others have published."""
    kinds = {"now": [], "until they saw frequencies": []}  # type: dict[str, list[tuple[float, float]]]
    for name, (_, seconds, accuracy) in records().items():
        kind = list(kinds)[name.startswith("earlier ")]
        kinds[kind].append((seconds, 100 * accuracy["mean"]))
    drawn = [
        draw.Line(label, *zip(*sorted(points), strict=True), number=number, how="points")
        for number, (label, points) in enumerate(kinds.items(), start=1)
    ]
    levels = {name: 100 * accuracy for name, accuracy in PUBLISHED.items()}
    axes = "seconds per run, from the start of its process", "accuracy on all test images, %"
    return draw.lines([draw.Panel(drawn, *axes, xscale="log", levels=levels)])


def speedruns() -> dict[str, results.Row]:
    """The committed results of `speedrun --recipe=NAME`."""
    files = dict.fromkeys(RESULTS / "recipes" / name / "speedrun" for name in SPEEDRUNS)
    return dict(zip(SPEEDRUNS, beside(files), strict=True))


def speedrun_table() -> str:
    """Seconds from the start of a process to its accuracy on all test images."""
    tables = []
    for name, content in speedruns().items():
        tables += [f"`{name}`: {speedrun.finding(content)}", speedrun.table(content).markdown()]
        tables.append(f"- {_made_by(content)}")
    return "\n\n".join(tables)


def ablation_table() -> str:
    """What each change to a recipe does to its accuracy on validation images."""
    (content,) = beside({RESULTS / "ablation": "clean"})
    return f"{ablation.finding(content)}\n\n{ablation.table(content).markdown()}\n\n- {_made_by(content)}"


SEEN = {
    "SIGKILL": "nothing; `--resume` goes on",
    "SIGTERM": "what is kept and how to go on; status 143",
    "a full disk": "a note for each checkpoint; one line and status 2 where a row or the data do not fit",
    "a second process on the same folder": "one line that names the first; status 2",
    "a bit of the newest checkpoint altered": "a note; the checkpoint before is taken",
}
"""What the user sees of a fault, by how its name begins."""


def faults() -> str:
    """How often the soak tried each fault, and how often the study then ended with the undisturbed one's bits."""
    content = results.read_sealed(ROOT / "experiments" / "results" / "soak_kill.json")
    lines = [
        [
            row["fault"],
            str(row["tried"]),
            str(row["survived"]),
            next(seen for fault, seen in SEEN.items() if row["fault"].startswith(fault)),
        ]
        for row in content["rows"]
    ]
    table = Table(["fault", "tried", "survived", "what you see"], lines)
    return f"{table.markdown()}\n\n- {_made_by(content)}"
