"""One contender of the benchmark in a process of its own, so that libraries do not share threads and memory.

  python -m mlp_jax.benchmark.worker CONTENDER WORKLOAD FOLDER

Speaks JSON, one object a line. It first says {"ready": version} or {"cannot": why}; then answers {"losses": N},
{"train": N}, {"rates": true} and {"memory": true}, until its input ends.
"""

import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from mlp_jax.benchmark import start as files

MODULES = {
    "manual": "ours",
    "autodiff": "ours",
    "numpy": "with_numpy",
    "sklearn": "with_numpy",
    "torch": "with_torch",
    "torch-compile": "with_torch",
    "torch-vmap": "with_torch",
    "torch-graphs": "with_torch",
}
# as a user installs them: as Python imports them
PACKAGES = {"torch": "torch", "scikit-learn": "sklearn"}


def contender_of(name: str, workload: str, folder: Path) -> Any:
    """The contender's module, and the contender, or the reason why there is none."""
    module = importlib.import_module(f"mlp_jax.benchmark.{MODULES[name]}")
    if workload == "peak":
        return module, module
    start = files.read(folder, workload)
    if reason := module.cannot(name, start):
        return module, str(reason)
    return module, module.CONTENDERS[name](name, start)


def answer(module: Any, contender: Any, request: dict[str, Any]) -> Any:
    """What a request asks for: the workload's numbers of the contender."""
    if "losses" in request:
        return contender.first_losses(request["losses"])
    if "train" in request:
        return contender.train(request["train"])
    if "rates" in request:
        return contender.rates()
    on_device = module.peak_bytes()
    return peak_bytes() if on_device is None else on_device


def peak_bytes() -> int:
    """Of this process. Not ru_maxrss where there is a choice: on Linux a process inherits its parent's."""
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

    def say(message: Any) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    name, workload, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    try:
        module, contender = contender_of(name, workload, folder)
        if isinstance(contender, str):
            say({"cannot": contender})
            return
        say({"ready": module.VERSION})
        for line in sys.stdin:
            begun = time.perf_counter()
            found = answer(module, contender, json.loads(line))
            say({"answer": found, "wall": time.perf_counter() - begun})
    except ModuleNotFoundError as error:
        say({"missing": error.name})
    except Exception as error:
        traceback.print_exc()
        say({"failed": f"{type(error).__name__}: {error}".split("\n")[0][:300]})


if __name__ == "__main__":
    main()
