"""The benchmark's side of its workers: starts them, compares their work, times them in turns, makes rows."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mlp_jax.benchmark.worker import PACKAGES
from mlp_jax.benchmark.workloads import FIRST_STEPS, Workload
from mlp_jax.nn.matmul import platform

EARLY, PLAIN, CHAOTIC = 5, 1e-4, 1e-2
"""Differences of the first losses, relative to the largest, beyond which two contenders do not do the same work:
PLAIN in the first EARLY steps, CHAOTIC in all.

Later, a pre-activation that rounds to the other side of 0 shows: with Adam, which divides each gradient by its own
size, as 1e-3 within 20 steps. With batch normalisation (our own two sources of gradients, which agree to the last
bits, part so) or bfloat16, CHAOTIC is the bound from the first step on.
"""

REST = 0.2  # seconds in which the threads of a library that wait for work in a loop give up


ROOT = Path(__file__).resolve().parents[2]
"""Where the package lies: a worker's own folder, so that it imports the same one."""

Row = dict[str, Any]


class Refused(Exception):
    """A contender takes no part, for the reason given."""


class Worker:
    """One contender's process. Raises Refused if it cannot work, in any call."""

    def __init__(self, contender: str, workload: str, folder: Path) -> None:
        command = [sys.executable, "-m", "mlp_jax.benchmark.worker", contender, workload, str(folder)]
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=_environment(contender, workload, folder), cwd=ROOT,
        )  # fmt: skip
        self.version = self._read()["ready"]
        self.start_seconds = time.perf_counter() - begun

    def _read(self) -> Row:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        found: Row = json.loads(line)
        if "missing" in found:
            name = next((p for p, module in PACKAGES.items() if module == found["missing"]), found["missing"])
            self.close()
            raise Refused(f"missing: {name} is not installed")
        for reason in ("cannot", "failed"):
            if reason in found:
                self.close()
                raise Refused(f"{reason}: {found[reason]}")
        return found

    def ask(self, **request: Any) -> Row:
        """{"answer": what was asked for, "wall": seconds that it took}."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._read()

    def _ended(self) -> Refused:
        self.close()
        return Refused(f"failed: the worker ended with status {self.process.returncode}")

    def close(self) -> None:
        """Ends the process."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]  # both are pipes
        self.process.wait()


def _environment(contender: str, workload: str, folder: Path) -> dict[str, str]:
    """A worker's variables: this process's, devices as this one has them, and no programs compiled before."""
    found = {
        **os.environ,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_DEFAULT_MATMUL_PRECISION": "float32",
        # compiled anew, or compile times would be those of a cache
        "TORCHINDUCTOR_CACHE_DIR": str(folder / f"{contender}-{workload}"),
    }
    found.pop("JAX_COMPILATION_CACHE_DIR", None)
    if platform() == "cpu":
        # a product alone is fastest on one device with all cores
        found["JAX_NUM_CPU_DEVICES"] = "1" if workload == "peak" else str(jax.local_device_count())
    return found


def spread(values: Sequence[float]) -> Row:
    """{"median", "min", "max", "values"}. Raises ValueError if one is not finite."""
    if not np.isfinite(values).all():
        raise ValueError(f"not finite: {values}")
    low, median, high = np.quantile(values, (0, 0.5, 1)).tolist()
    return {"median": median, "min": low, "max": high, "values": [float(f"{v:.6g}") for v in values]}


def busy_cores(seconds: float = REST) -> float | None:
    """Cores that are at work while nothing of ours is; None where the system does not tell."""

    def ticks() -> tuple[int, int]:
        numbers = list(map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]))
        return sum(numbers) - numbers[3] - numbers[4], sum(numbers)

    try:
        before = ticks()
        time.sleep(seconds)
        busy, total = (b - a for a, b in zip(before, ticks(), strict=True))
    except (OSError, ValueError, IndexError):
        return None
    return (os.cpu_count() or 1) * busy / max(total, 1)


def peaks(contenders: Sequence[str], folder: Path, repeats: int) -> tuple[Row, list[float]]:
    """The machine's rates, the larger of each library's medians, and how busy others kept it meanwhile.

    {"float32": FLOP/s, on a GPU "bfloat16", "bytes": bytes/s}, each with the library that reached it.
    """
    workers: dict[str, Worker] = {}
    for name in ("manual", "torch"):
        if name in contenders or name == "manual":
            try:
                workers[name] = Worker(name, "peak", folder)
            except Refused:
                continue
    found: dict[str, list[Row]] = {name: [] for name in workers}
    busy = []
    for _ in range(repeats):
        time.sleep(REST)
        busy.append(busy_cores())
        for name, worker in workers.items():
            found[name].append(worker.ask(rates=True)["answer"])
    best: Row = {}
    for name, worker in workers.items():
        worker.close()
        for what in found[name][0]:
            measured = spread([rates[what] for rates in found[name]])
            if measured["median"] > best.get(what, measured | {"median": 0})["median"]:
                best[what] = {**measured, "by": worker.version}
    return best, [b for b in busy if b is not None]


def measure(load: Workload, contenders: Sequence[str], folder: Path, repeats: int, seconds: float) -> list[Row]:
    """A row for each contender, measured or not, in their order."""
    rows: dict[str, Row] = {name: _empty(load, name) for name in contenders}
    workers: dict[str, Worker] = {}
    steps: dict[str, int] = {}
    losses: dict[str, Row] = {}
    for name in contenders:
        try:
            worker = Worker(name, load.name, folder)
            first = worker.ask(losses=FIRST_STEPS)
            second = worker.ask(losses=FIRST_STEPS)
            trial = worker.ask(train=FIRST_STEPS)
        except Refused as refused:
            rows[name]["status"] = str(refused)
            continue
        workers[name], losses[name] = worker, first["answer"]
        compiled = max(0.0, first["wall"] - second["wall"])
        rows[name] |= {"start_seconds": round(worker.start_seconds, 3), "compile_seconds": round(compiled, 3)}
        rows[name] |= {"version": worker.version, "networks_timed": len(losses[name])}
        steps[name] = max(1, round(FIRST_STEPS * seconds / max(min(trial["wall"], trial["answer"]), 1e-6)))
    for name in _different(load, losses, rows):
        workers.pop(name).close()
    times, busy = _in_turns(workers, steps, repeats, rows)
    for name, worker in workers.items():
        try:
            rows[name]["peak_memory_mb"] = round(worker.ask(memory=True)["answer"] / 1e6, 1)
        except Refused as refused:
            rows[name]["status"] = str(refused)
        worker.close()
    _fill(load, rows, times)
    for row in rows.values():
        row["others_busy_cores"] = spread(busy)["median"] if busy else None
    return list(rows.values())


def _empty(load: Workload, name: str) -> Row:
    columns = (
        "version", "networks_timed", "milliseconds_per_step", "networks_steps_per_second", "gflops",
        "fraction_of_peak", "peak_memory_mb", "compile_seconds", "start_seconds", "loss_difference", "faster_than",
    )  # fmt: skip
    head = {"workload": load.name, "contender": name, "status": "measured", "networks": len(load.networks)}
    return {**head, "flops_per_step": load.flops, "bytes_per_step": load.bytes, **dict.fromkeys(columns)}


def _different(load: Workload, losses: dict[str, Row], rows: dict[str, Row]) -> list[str]:
    """Contenders whose first losses are not those of the first contender; notes it in their rows."""
    models = [network.model for network in load.networks]
    chaotic = any(m.normalized or m.precision != "float32" for m in models)
    found = []
    for name, answered in losses.items():
        reference = next(iter(losses.values()))
        pairs = [(np.array(answered[n]), np.array(reference[n])) for n in answered.keys() & reference.keys()]
        early, gap = (  # of numpy's max, since Python's may leave out one that is not a number
            float(np.max([np.max(np.abs(a[:n] - b[:n])) / np.max(np.abs(b)) for a, b in pairs]))
            for n in (EARLY, FIRST_STEPS)
        )
        rows[name]["loss_difference"] = float(f"{gap:.2g}") if np.isfinite(gap) else None
        if not (gap <= CHAOTIC and (chaotic or early <= PLAIN)):
            rows[name]["status"] = (
                f"different work: its first losses differ by {gap:.1g} from those of {next(iter(losses))}"
            )
            found.append(name)
    return found


def _in_turns(
    workers: dict[str, Worker], steps: dict[str, int], repeats: int, rows: dict[str, Row]
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds per step by contender, and how many cores others kept busy. Each repeat starts with another."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    busy: list[float] = []
    for repeat in range(repeats):
        time.sleep(REST)
        if (cores := busy_cores()) is not None:
            busy.append(cores)
        names = list(workers)
        start = repeat % max(len(names), 1)
        for name in names[start:] + names[:start]:
            try:
                times[name].append(workers[name].ask(train=steps[name])["answer"] / steps[name])
            except Refused as refused:
                rows[name]["status"] = str(refused)
                workers.pop(name)
                del times[name]
            time.sleep(REST)
    return times, busy


def _fill(load: Workload, rows: dict[str, Row], times: dict[str, list[float]]) -> None:
    """The columns that come from the times; a ratio is the median of the ratios of each repeat."""
    for name, seconds in times.items():
        middle = float(np.median(seconds))
        rows[name] |= {
            "milliseconds_per_step": spread([1e3 * s for s in seconds]),
            "networks_steps_per_second": len(load.networks) / middle,
            "gflops": load.flops / middle / 1e9,
            "faster_than": {
                other: spread([b / a for a, b in zip(seconds, others, strict=True)])
                for other, others in times.items()
                if other != name
            },
        }
