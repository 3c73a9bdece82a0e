"""Many short commands as real processes: `python -m experiments.NAME ...`, by forks of one that has imported it.

A start of Python and jax takes two seconds, a fork of a process in which that is done some milliseconds. What it
runs is what `python -m` would run, with its own arguments, folder, environment, streams and exit status. That is
sound because the parent has one thread and no backend of jax, which it proves before every fork. Only variables
that jax reads when it is imported (JAX_PLATFORMS, say) come too late for a fork.

  python -m tests.commands        reads a request per line (JSON), answers with the exit status, minus the signal
"""

import gc
import importlib.util
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60  # after which a command that hangs is ended
SCRIPTS = (
    "grid_search", "depth_study", "activation_study", "init_study", "best_model", "gradient_check", "benchmark",
    "reproduce",
)  # fmt: skip
SLOW_TO_IMPORT = ("tensorflow_datasets", "sklearn.datasets", "scipy.stats", "multiprocessing.spawn")


class Done(NamedTuple):
    """How a command ended; a status below 0 is minus the signal that ended it."""

    status: int
    out: str
    err: str


class Server:
    """The process that forks, for as long as the `with` block lasts."""

    def __enter__(self):
        # OpenBLAS would start threads when numpy is imported
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "tests.commands"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(line, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_):
        self._requests.close()
        self._answers.close()
        self._process.wait()

    def run(self, script, arguments, folder, environment, user=None):
        """The script with these arguments, started in this folder, by the user of this number if one is given."""
        request = {"script": script, "arguments": arguments, "folder": str(folder), "environment": environment}
        request |= {"user": user}
        streams = {name: folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")}
        request |= {name: str(path) for name, path in streams.items()}
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        status = json.loads(self._answers.readline())
        return Done(status, *(path.read_text(errors="surrogateescape") for path in streams.values()))


def alone():
    """That nothing of this process is lost in a fork."""
    from jax._src import xla_bridge

    assert len(os.listdir("/proc/self/task")) == 1
    assert not xla_bridge._backends


def serve():
    """Answers requests until there are no more; in a fork, gives the request that it is to carry out."""
    for line in sys.stdin:
        request = json.loads(line)
        alone()
        child = os.fork()
        if child == 0:
            return request
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps(status), flush=True)
    return None


def become(request):
    """Makes this process what the request describes, but for the running."""
    signal.alarm(SECONDS)
    for descriptor, name, mode in ((0, os.devnull, os.O_RDONLY), (1, "out", None), (2, "err", None)):
        made = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if mode is None else mode
        os.dup2(os.open(request.get(name, name), made, 0o644), descriptor)
    os.chdir(request["folder"])
    if request["user"] is not None:
        os.setuid(request["user"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["script"], *request["arguments"]]
    del sys.modules[f"experiments.{request['script']}"]  # to be run as the main module


def main():
    """Imports all, then serves; a fork ends as the script does."""
    for script in SCRIPTS:
        importlib.import_module(f"experiments.{script}")
    for module in SLOW_TO_IMPORT:
        importlib.import_module(module)
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")  # jax cannot know that it is sound here
    gc.freeze()  # else the first collection would copy every page
    request = serve()
    if request is not None:
        spec = importlib.util.find_spec(f"experiments.{request['script']}")
        assert spec is not None
        assert spec.origin is not None
        code = compile(
            Path(spec.origin).read_text(), spec.origin, "exec"
        )  # another user may not read the checkout
        become(request)
        sys.modules["__main__"] = module = ModuleType("__main__")
        module.__spec__, module.__file__ = spec, spec.origin
        try:
            exec(code, module.__dict__)
        except SystemExit as ended:
            end(ended.code)


def end(status):
    """Ends a fork without taking the interpreter apart, which would first copy every page of it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
