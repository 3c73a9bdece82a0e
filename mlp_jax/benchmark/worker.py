"""This process serves one contender of the benchmark, so that libraries do not share threads and memory.

  python -m mlp_jax.benchmark.worker CONTENDER WORKLOAD FOLDER

It speaks JSON, one object a line. It first says {"ready": version} or {"refused": why}; then it answers
{"losses": steps}, {"train": steps}, {"rates": true} and {"memory": true}, until its input ends.
"""

import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlp_jax.benchmark import start

CONTENDERS = {
    "manual": "ours",
    "autodiff": "ours",
    "numpy": "with_numpy",
    "sklearn": "with_sklearn",
    "torch": "with_torch",
    "torch-compile": "with_torch",
}
"""Each contender has its module."""

INSTALLED = {"sklearn": "scikit-learn"}
"""A package is installed under this name, where it is imported under another."""


def answer(module: Any, contender: Any, request: dict[str, Any]) -> Any:
    """Gives what a request asks for."""
    ((what, argument),) = request.items()
    if what == "losses":
        return contender.first_losses(argument)
    if what == "train":
        return contender.train(argument)
    if what == "rates":
        return module.rates()
    # only the contenders that use a device say what it holds
    on_device = module.peak_bytes() if hasattr(module, "peak_bytes") else None
    return own_peak_bytes() if on_device is None else on_device


def own_peak_bytes() -> int:
    """Gives the most memory of this process. On Linux ru_maxrss starts from the parent's, so it is not asked."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Serves one contender."""
    # the protocol keeps the true output to itself: what a library prints goes to standard error
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for message in served(sys.argv[1], sys.argv[2], Path(sys.argv[3])):
        channel.write(json.dumps(message) + "\n")
        channel.flush()


def served(name: str, workload: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Gives what is said, first of all and to each request."""
    try:
        module = importlib.import_module(f"mlp_jax.benchmark.{CONTENDERS[name]}")
        contender: Any = None if workload == "peak" else module.make(name, start.read(folder, workload))
        yield {"ready": module.VERSION}
        for line in sys.stdin:
            begun = time.perf_counter()
            found = answer(module, contender, json.loads(line))
            yield {"answer": found, "wall": time.perf_counter() - begun}
    except start.Cannot as reason:
        yield {"refused": f"cannot: {reason}"}
    except ModuleNotFoundError as error:
        yield {"refused": f"missing: {INSTALLED.get(str(error.name), error.name)} is not installed"}
    except Exception as error:
        traceback.print_exc()
        yield {"refused": f"failed: {type(error).__name__}: {error}".split("\n")[0][:300]}


if __name__ == "__main__":
    main()
