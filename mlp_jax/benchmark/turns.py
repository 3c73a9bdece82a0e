"""Contenders are compared here and timed in turns, which gives rows of a results file."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from mlp_jax.benchmark.remote import Refused, Row, Worker
from mlp_jax.benchmark.workloads import FIRST_STEPS, Workload

EARLY, PLAIN, CHAOTIC = 5, 1e-4, 1e-2
"""Beyond these differences of the first losses, relative to the largest, two contenders do not do the same work:
PLAIN in the first EARLY steps, CHAOTIC in all.

Later, a pre-activation that rounds to the other side of 0 shows: with Adam, which divides each gradient by its own
size, as 1e-3 within 20 steps. With batch normalisation (our own two sources of gradients, which agree to the last
bits, part so) or bfloat16, CHAOTIC is the bound from the first step on.
"""

REST = 0.2  # seconds of pause, after which threads that wait for work in a loop have gone to sleep

Losses = Mapping[str, Sequence[float]]
"""These are first losses in nats, by the number of the network."""


def spread(values: Sequence[float]) -> Row:
    """Gives {"median", "min", "max", "values"}. Raises ValueError if one is not finite."""
    if not np.isfinite(values).all():
        raise ValueError(f"not finite: {values}")
    low, median, high = np.quantile(values, (0, 0.5, 1)).tolist()
    return {"median": median, "min": low, "max": high, "values": [float(f"{v:.6g}") for v in values]}


def ratios(seconds: Sequence[float], others: Sequence[float]) -> Row:
    """Gives the `spread` of how often faster one is than another, repeat by repeat."""
    return spread([other / own for own, other in zip(seconds, others, strict=True)])


def busy_cores() -> float:
    """Counts the cores that are at work, after a pause, while nothing of ours is."""
    time.sleep(REST)
    share: float = psutil.cpu_percent(REST) / 100
    return share * (os.cpu_count() or 1)


def peaks(contenders: Sequence[str], folder: Path, repeats: int) -> tuple[Row, list[float]]:
    """Gives the machine's rates, the larger of each library's medians, and how busy others kept it meanwhile.

    {"float32": FLOP/s, on a GPU "bfloat16" too}, each with the library that reached it.
    """
    workers: dict[str, Worker] = {}
    for name in ("manual", *({"torch"} & set(contenders))):
        with contextlib.suppress(Refused):
            workers[name] = Worker(name, "peak", folder)
    found: dict[str, list[Row]] = {name: [] for name in workers}
    busy = []
    for _ in range(repeats):
        busy.append(busy_cores())
        for name, worker in workers.items():
            found[name].append(worker.ask(rates=True)["answer"])
    best: Row = {}
    for name, worker in workers.items():
        worker.close()
        for what in found[name][0]:
            measured = spread([rates[what] for rates in found[name]])
            if what not in best or measured["median"] > best[what]["median"]:
                best[what] = {**measured, "by": worker.version}
    return best, busy


@dataclass
class _Entrant:
    """A contender that takes part has a row, and seconds per step of each repeat."""

    row: Row
    worker: Worker
    losses: Losses
    steps: int
    times: list[float] = field(default_factory=list)


def measure(load: Workload, contenders: Sequence[str], folder: Path, repeats: int, seconds: float) -> list[Row]:
    """Gives a row for each contender, measured or not, in their order."""
    rows = [_empty(load, name) for name in contenders]
    entrants: list[_Entrant] = []
    for row in rows:
        with _noted(row):
            entrants.append(_entered(row, folder, seconds))
    for entrant in entrants:
        _compare(load, entrant, entrants[0])
    busy = _take_turns(entrants, repeats)
    for entrant in _measured(entrants):
        with _noted(entrant.row):
            entrant.row["peak_memory_mb"] = round(entrant.worker.ask(memory=True)["answer"] / 1e6, 1)
    for entrant in entrants:
        entrant.worker.close()
    for entrant in _measured(entrants):
        _fill(load, entrant, _measured(entrants))
    for row in rows:
        row["others_busy_cores"] = spread(busy)["median"]
    return rows


@contextlib.contextmanager
def _noted(row: Row) -> Iterator[None]:
    """Makes a refusal the status of the row."""
    try:
        yield
    except Refused as refused:
        row["status"] = str(refused)


def _measured(entrants: Sequence[_Entrant]) -> list[_Entrant]:
    """Gives those that nothing has been held against so far."""
    return [entrant for entrant in entrants if entrant.row["status"] == "measured"]


def _empty(load: Workload, name: str) -> Row:
    columns = (
        "version", "networks_timed", "milliseconds_per_step", "networks_steps_per_second", "gflops",
        "fraction_of_peak", "peak_memory_mb", "compile_seconds", "start_seconds", "loss_difference", "faster_than",
    )  # fmt: skip
    head = {"workload": load.name, "contender": name, "status": "measured", "networks": len(load.networks)}
    return {**head, "flops_per_step": load.flops, **dict.fromkeys(columns)}


def _entered(row: Row, folder: Path, seconds: float) -> _Entrant:
    """Starts a contender; the number of steps that take it about so many seconds is found by trial."""
    worker = Worker(row["contender"], row["workload"], folder)
    first = worker.ask(losses=FIRST_STEPS)
    second = worker.ask(losses=FIRST_STEPS)
    trial = worker.ask(train=FIRST_STEPS)
    row |= {
        "version": worker.version,
        "networks_timed": len(first["answer"]),
        "start_seconds": round(worker.start_seconds, 3),
        "compile_seconds": round(max(0.0, first["wall"] - second["wall"]), 3),
    }
    steps = max(1, round(FIRST_STEPS * seconds / max(min(trial["wall"], trial["answer"]), 1e-6)))
    return _Entrant(row, worker, first["answer"], steps)


def _compare(load: Workload, entrant: _Entrant, first: _Entrant) -> None:
    """Notes how far apart the losses of two are, and refuses the former if that is too far."""
    gap, alike = compared(load, entrant.losses, first.losses)
    entrant.row["loss_difference"] = float(f"{gap:.2g}") if np.isfinite(gap) else None
    if not alike:
        entrant.row["status"] = (
            f"different work: its first losses differ by {gap:.1g} from those of {first.row['contender']}"
        )
        entrant.worker.close()


def compared(load: Workload, losses: Losses, reference: Losses) -> tuple[float, bool]:
    """Gives the largest relative difference of the first losses, and whether rounding makes that of the same work.

    It looks at the networks that both have. A loss that is not a number is never alike.
    """
    models = [network.model for network in load.networks]
    chaotic = any(m.has_running_stats or m.precision != "float32" for m in models)
    pairs = [(np.array(losses[n]), np.array(reference[n])) for n in losses.keys() & reference.keys()]
    early, gap = (  # numpy's max: Python's may leave out one that is not a number
        float(np.max([np.max(np.abs(a[:n] - b[:n])) / np.max(np.abs(b)) for a, b in pairs]))
        for n in (EARLY, FIRST_STEPS)
    )
    return gap, gap <= CHAOTIC and (chaotic or early <= PLAIN)


def _take_turns(entrants: Sequence[_Entrant], repeats: int) -> list[float]:
    """Times them, each repeat beginning with another; gives how many cores others kept busy before each repeat."""
    busy: list[float] = []
    for repeat in range(repeats):
        busy.append(busy_cores())
        left = _measured(entrants)
        start = repeat % max(len(left), 1)
        for entrant in left[start:] + left[:start]:
            with _noted(entrant.row):
                entrant.times.append(entrant.worker.ask(train=entrant.steps)["answer"] / entrant.steps)
            time.sleep(REST)
    return busy


def _fill(load: Workload, entrant: _Entrant, entrants: Sequence[_Entrant]) -> None:
    """Fills in the columns that come from the times."""
    middle, others = float(np.median(entrant.times)), [other for other in entrants if other is not entrant]
    entrant.row |= {
        "milliseconds_per_step": spread([1e3 * s for s in entrant.times]),
        "networks_steps_per_second": len(load.networks) / middle,
        "gflops": load.flops / middle / 1e9,
        "faster_than": {other.row["contender"]: ratios(entrant.times, other.times) for other in others},
    }
