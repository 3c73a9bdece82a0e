"""The benchmark starts a contender's process here, asks it, and hears why it cannot go on."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax

from mlp_jax.nn.matmul import platform

ROOT = Path(__file__).resolve().parents[2]
"""This package lies here; workers start there, so that they import the same one."""

Row = dict[str, Any]


class Refused(Exception):
    """A contender takes no part, or no part any longer, for the reason given."""


class Worker:
    """This is the process of one contender. All calls raise Refused if it cannot do its work."""

    def __init__(self, contender: str, workload: str, folder: Path) -> None:
        command = [sys.executable, "-m", "mlp_jax.benchmark.worker", contender, workload, str(folder)]
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=_environment(contender, workload, folder), cwd=ROOT,
        )  # fmt: skip
        self.version = self._read()["ready"]
        self.start_seconds = time.perf_counter() - begun

    def ask(self, **request: Any) -> Row:
        """Gives {"answer": what was asked for, "wall": seconds that it took}."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._read()

    def _read(self) -> Row:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        found: Row = json.loads(line)
        if "refused" in found:
            self.close()
            raise Refused(found["refused"])
        return found

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
    """Gives a worker's variables: devices as in this process, and nothing that was compiled before."""
    found = {
        **os.environ,
        "JAX_DEFAULT_MATMUL_PRECISION": "float32",  # an NVIDIA GPU would take TF32
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share a GPU's memory
        "TORCHINDUCTOR_CACHE_DIR": str(folder / f"{contender}-{workload}"),
    }
    found.pop("JAX_COMPILATION_CACHE_DIR", None)
    if platform() == "cpu":
        # a product alone is fastest on one device with all cores
        found["JAX_NUM_CPU_DEVICES"] = "1" if workload == "peak" else str(jax.local_device_count())
    return found
