"""Tries one example of a target in a process of its own: `python -m tests.fuzz TARGET FOLDER EXAMPLE`.

The example is pickled and in base64; that of "prepare" makes the target's folder ready. FOLDER/answer then says
how it ended: ["ok" or "refused", in a few words], or ["failed", what went wrong]. A process that leaves no answer
has crashed, or hung for longer than the target's SECONDS.
"""

import base64
import contextlib
import importlib
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from mlp_jax.errors import UserError

ADDRESS_SPACE = 16 * 2**30
"""Beyond it, an allocation fails; so that an example that asks for all memory does not get it."""


def tried(target: Any, folder: Path, example: Any) -> tuple[str, str]:
    """How the example ended; what it wrote is removed."""
    place = Path(tempfile.mkdtemp(dir=folder))
    os.chdir(place)
    before = peak_megabytes()
    try:
        told = target.prepare(folder) if example == "prepare" else target.check(folder, place, example)
        taken = peak_megabytes() - before
        return ("ok", str(told)) if taken <= target.MEGABYTES else ("failed", f"it took {taken:.0f} MB")
    except UserError as error:
        return ("refused", str(error)) if str(error).strip() else ("failed", "a UserError that says nothing")
    except BaseException as error:
        return "failed", "".join(traceback.format_exception(error))[-3000:]
    finally:
        os.chdir(folder)
        shutil.rmtree(place, ignore_errors=True)


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def main(name: str, folder: Path, example: Any) -> None:
    """Tries the example and writes the answer."""
    target = importlib.import_module(f"tests.fuzz.{name}")
    os.setsid()  # what it starts ends with it
    signal.alarm(int(300 if example == "prepare" else target.SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts anew
    answer = json.dumps(tried(target, folder, example))
    (folder / "answer").write_text(answer)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), pickle.loads(base64.b64decode(sys.argv[3])))
