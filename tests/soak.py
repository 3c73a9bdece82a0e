"""A soak: small studies again and again in one process. Does memory grow? Does one seed keep giving the same bits?

  taskset -c 1 python -m tests.soak --minutes=60

A round is every study below with one of three first seeds, on the synthetic data, the second seed under the
published protocol. They need more programs than the package keeps (32), so that programs are dropped and compiled
again throughout. Prints a line a minute. Writes FOLDER/soak.json and soak.svg: resident memory every 10 s, and
what is left of it whenever programs are dropped (`floor`). The floor's slope, least squares after the warm-up, a
third of the time, tells growth: between two drops memory goes up and down by a GB.
Exit status 1 if bits changed, or if memory grew by more than 60 MB an hour.
"""

import argparse
import contextlib
import gc
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments import activation_study, best_model, depth_study, grid_search, init_study
from mlp_jax.files import as_json, write
from mlp_jax.studies import compilation, differences, figures, results
from mlp_jax.training import epoch as programs

SAMPLE_SECONDS = 10
SEEDS = (0, 1, 2)
MOST_GROWTH = 60.0  # MB an hour
FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "results"
Series = list[tuple[float, float]]
SMALL: dict[str, Any] = {"dataset": "synthetic", "seeds": 2}


def studies() -> dict[str, Any]:
    """The studies of a round, each with its options."""
    return {
        "depth_study": (depth_study, {"layers": "1,2,3,4", "epochs": 2, "learning_rate": 0.01}),
        "init_study": (init_study, {"layers": "2,3", "epochs": 1}),
        "activation_study": (activation_study, {"epochs": 1, "learning_rate": 0.01, "widths": "8,16", "width": 8}),
        "grid_search": (grid_search, {"trials": 6, "epochs": 1, "protocol": "clean"}),
        "best_model": (best_model, {"hidden": "8,8", "epochs": 2, "learning_rate": 0.01}),
    }


def resident() -> float:
    """MB of this process that are in memory now; Linux alone tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Sampler(threading.Thread):
    """Resident memory every SAMPLE_SECONDS: `series` has (seconds since the start, MB)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.series: Series = []
        self.floor: Series = []
        self.started, self.ended = time.monotonic(), threading.Event()

    def sample(self) -> tuple[float, float]:
        """Seconds since the start, MB."""
        return round(time.monotonic() - self.started, 1), round(resident(), 1)

    def run(self) -> None:
        """Until `ended` is set."""
        while True:
            self.series.append(self.sample())
            if self.ended.wait(SAMPLE_SECONDS):
                return


def rounds(on_forget: Callable[[], None]) -> Iterator[tuple[str, int, results.Row]]:
    """Runs one study after the other, for ever: its name, first seed and results file."""
    number = 0
    while True:
        seed = SEEDS[number % len(SEEDS)]
        for name, (module, options) in studies().items():
            if programs.forget():  # as the study would itself
                on_forget()
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                given = {**SMALL, "protocol": "published" if seed == 1 else "clean", **options}
                module.STUDY.run(module.Config(**given, seed=seed, results_dir=folder))
                content = results.read_json(Path(folder) / name / "results.json")
            yield name, seed, content
        number += 1


def changes(before: results.Row, now: results.Row, what: str) -> list[str]:
    """A line for each quantity of a study that another run of the same options did not give again."""
    return [f"{what}: {difference}" for difference in differences.all_differences(before, now)]


def slope(series: list[tuple[float, float]]) -> float:
    """MB an hour, least squares; 0 of fewer than three samples."""
    if len(series) < 3:
        return 0.0
    seconds, megabytes = np.array(series).T
    return float(3600 * np.polyfit(seconds, megabytes, 1)[0])


def figure(series: Series, floor: Series, warm_up: float) -> str:
    """Resident memory against time."""
    measured = np.array(series).T / [[60], [1]]
    dropped = np.array(floor).reshape(-1, 2).T / [[60], [1]]
    lines = [
        figures.Line("every 10 s", *measured, number=2, how="plain"),
        figures.Line("programs just dropped", *dropped, number=1, how="points"),
    ]
    limits = [("end of the warm-up", warm_up / 60, 7)]
    panel = figures.Panel(lines, "minutes", "resident memory [MB]", limits=limits, legend="lower right")
    return figures.lines([panel])


def soak(minutes: float) -> results.Row:
    """Runs so long; what soak.json holds."""
    sampler = Sampler()
    sampler.start()
    first: dict[tuple[str, int], results.Row] = {}
    counts = dict.fromkeys(studies(), 0)
    changed: list[str] = []
    told = 0
    environment = results.environment(wall_seconds=0, command=results.command_line())  # code may change meanwhile
    for name, seed, content in rounds(lambda: sampler.floor.append(sampler.sample())):
        changed += changes(first.setdefault((name, seed), content), content, f"{name}, seed {seed}")
        counts[name] += 1
        passed = time.monotonic() - sampler.started
        if passed // 60 > told:
            told = int(passed // 60)
            print(
                f"{told} min: {sum(counts.values())} studies, {resident():.0f} MB, {len(changed)} changed",
                flush=True,
            )
        if passed >= 60 * minutes:
            break
    sampler.ended.set()
    sampler.join()
    environment["wall_seconds"] = sampler.series[-1][0]
    return {**report(sampler.series, sampler.floor, minutes, counts, changed), "environment": environment}


def report(
    series: Series, floor: Series, minutes: float, counts: dict[str, int], changed: list[str]
) -> results.Row:
    """What soak.json holds: `rows` has a row per study."""
    warm_up = 60 * minutes / 3
    warm = [sample for sample in series if sample[0] >= warm_up]
    megabytes = [sample[1] for sample in warm]
    return {
        "study": "soak",
        "config": {"minutes": minutes, "seeds": list(SEEDS), "sample_seconds": SAMPLE_SECONDS},
        "rows": [{"study": name, "runs": count} for name, count in counts.items()],
        "changed": changed,
        "warm_up_seconds": warm_up,
        "megabytes_per_hour": round(slope([sample for sample in floor if sample[0] >= warm_up]), 2),
        "least_megabytes": min(megabytes),
        "most_megabytes": max(megabytes),
        "programs": compilation.programs(),
        "live_objects": len(gc.get_objects()),
        "floor": {"seconds": [s for s, _ in floor], "megabytes": [m for _, m in floor]},
        "series": {"seconds": [s for s, _ in series], "megabytes": [m for _, m in series]},
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m tests.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="how long; a third of it is warm-up")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where soak.json and soak.svg go")
    options = parser.parse_args()
    if not options.minutes >= 1:
        parser.error("--minutes must be at least 1: memory is looked at every 10 s")
    compilation.set_up()
    found = soak(options.minutes)
    write(options.folder / "soak.json", as_json(found))
    series, floor = (list(zip(*found[name].values(), strict=True)) for name in ("series", "floor"))
    write(options.folder / "soak.svg", figure(series, floor, found["warm_up_seconds"]))
    runs = sum(row["runs"] for row in found["rows"])
    print(
        f"{found['megabytes_per_hour']:+.1f} MB an hour after the warm-up, whenever programs were dropped; "
        f"{found['least_megabytes']:.0f} to {found['most_megabytes']:.0f} MB in all; {runs} studies, "
        f"{len(found['changed'])} quantities changed"
    )
    sys.exit(1 if found["changed"] or found["megabytes_per_hour"] > MOST_GROWTH else 0)


if __name__ == "__main__":
    main()
