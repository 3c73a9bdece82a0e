"""Many commands as real processes: `python -m experiments.NAME ...`, by forks of one that has imported it.

A start of Python and jax takes longer than most commands, a fork of a process in which that is done some
milliseconds. What it runs is what `python -m` would run, with its own arguments, folder, environment, streams and
exit status; it can be killed, signalled and waited for. That is sound because the parent has one thread and no
backend of jax, which it proves before every fork. Of the variables that are read when something is imported, a
fork knows jax's own (JAX_COMPILATION_CACHE_DIR, say) and PYTHONPATH not at all.

  python -m tests.commands [MODULE ...]    imports these modules too, then reads a request per line (JSON) and
                                           answers with a process's number or its status
"""

import atexit
import gc
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import psutil

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 200  # after which a command that hangs is ended
SCRIPTS = (
    "grid_search", "depth_study", "activation_study", "init_study", "best_model", "gradient_check", "benchmark",
    "reproduce", "ablation", "speedrun", "predict", "compare_results",
)  # fmt: skip
SLOW_TO_IMPORT = (
    "tensorflow_datasets", "sklearn.datasets", "scipy.stats", "multiprocessing.spawn",
    "matplotlib.figure", "matplotlib.backends.backend_svg",
)  # fmt: skip
A_READER_LEAVES = "import os; reading, writing = os.pipe(); os.close(reading); os.dup2(writing, 1)"
"""What a fork does first whose standard output is a pipe that nobody reads any more."""


class Done(NamedTuple):
    """How a command ended; a status below 0 is minus the signal that ended it."""

    status: int
    out: str
    err: str


def python(*words, folder=ROOT, environment=None):
    """How `python WORDS` ended: a whole new process, whose standard input is empty."""
    line, pipe = [sys.executable, *map(str, words)], subprocess.PIPE
    streams = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True}
    done = subprocess.run(line, cwd=folder, env=environment, timeout=2 * SECONDS, **streams)
    return Done(done.returncode, done.stdout, done.stderr)


class Running:
    """A process that the server has forked: what tests need of `subprocess.Popen`. Its streams are files."""

    def __init__(self, server, pid, streams):
        self._server, self._streams = server, streams
        self.pid, self.returncode = pid, None  # it stays a zombie until the server is asked for its status

    def poll(self):
        return self.wait(0)

    def wait(self, seconds=None):
        """The status; None if the time is over before the process is."""
        limit = math.inf if seconds is None else time.monotonic() + seconds
        while self.returncode is None:
            self.returncode = self._server.ask(reap=self.pid)
            if self.returncode is None and time.monotonic() >= limit:
                break
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """What it wrote to standard output and to standard error until it ended."""
        if self.wait(timeout) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return tuple(path.read_text(errors="surrogateescape") for path in self._streams)


class Server:
    """The process that forks, for as long as the `with` block lasts; it imports these modules too beforehand."""

    def __init__(self, *modules):
        self._modules = modules

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="commands-")
        self._started = 0
        # a fork sets jax's variables; OpenBLAS would start threads when numpy is imported
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        environment = {**inherited, "OPENBLAS_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "tests.commands", *self._modules]
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
        self._folder.cleanup()

    def ask(self, **request):
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        return json.loads(self._answers.readline())

    def start(self, module, *arguments, folder=ROOT, environment=None, user=None, first=""):
        """`python -m MODULE ARGUMENTS` in this folder, by the user of this number if one is given.

        first: statements that are carried out beforehand.
        """
        self._started += 1
        streams = [Path(self._folder.name) / f"{self._started}.{name}" for name in ("out", "err")]
        place = {"folder": str(folder), "environment": dict(os.environ if environment is None else environment)}
        request = {"module": module, "arguments": arguments, "user": user, "first": first, **place}
        return Running(self, self.ask(**request, streams=[str(path) for path in streams]), streams)

    def run(self, script, *arguments, **options):
        """How `python -m experiments.SCRIPT ARGUMENTS` ended; the options are those of `start`."""
        return self.ended(f"experiments.{script}", *arguments, **options)

    def checked(self, *arguments, **options):
        """How the checker's own command ended, `python -m mlp_jax.gradcheck ARGUMENTS`."""
        return self.ended("mlp_jax.gradcheck.__main__", *arguments, **options)

    def code(self, text, *arguments, **options):
        """How `python -c TEXT ARGUMENTS` ended, in a process that has imported the package already."""
        return self.ended("tests", *arguments, first=text, **options)

    def ended(self, module, *arguments, **options):
        running = self.start(module, *arguments, **options)
        out, err = running.communicate()
        return Done(running.returncode, out, err)


def alone():
    """That nothing of this process is lost in a fork."""
    from jax._src import xla_bridge

    assert psutil.Process().num_threads() == 1
    assert not xla_bridge._backends


def serve():
    """Answers requests until there are no more; in a fork, gives the request that it is to carry out."""
    for line in sys.stdin:
        request = json.loads(line)
        if "reap" in request:
            ended, status = os.waitpid(request["reap"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            alone()
            answer = os.fork()
            if answer == 0:
                return request
        print(json.dumps(answer), flush=True)
    return None


def become(request):
    """Makes this process what the request describes, but for the running."""
    signal.alarm(SECONDS)
    for descriptor, name in enumerate((os.devnull, *request["streams"])):
        made = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if descriptor else os.O_RDONLY
        os.dup2(os.open(name, made, 0o644), descriptor)
    os.chdir(request["folder"])
    sys.path.insert(0, request["folder"])
    if request["user"] is not None:
        os.setuid(request["user"])
    os.environ.clear()
    os.environ.update(request["environment"])
    set_options_of_jax()
    sys.modules.pop(request["module"], None)  # to be run as the main module


def set_options_of_jax():
    """What jax reads in the environment when it is imported."""
    kinds = {bool: lambda text: text.lower() in ("1", "true", "yes", "on"), int: int}
    for name, text in os.environ.items():
        option = name.lower()
        if name.startswith("JAX_") and option in jax.config.values:
            kind = kinds.get(type(jax.config.values[option]), str)
            jax.config.update(option, kind(text))


def main():
    """Imports all, then serves; a fork ends as the script does."""
    for script in SCRIPTS:
        importlib.import_module(f"experiments.{script}")
    for module in (*SLOW_TO_IMPORT, *sys.argv[1:]):
        importlib.import_module(module)
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")  # jax cannot know that it is sound here
    gc.freeze()  # else the first collection would copy every page
    request = serve()
    if request is not None:
        spec = importlib.util.find_spec(request["module"])
        assert spec is not None
        assert spec.origin is not None
        # now, since another user may not read the checkout
        code = compile(Path(spec.origin).read_text(), spec.origin, "exec")
        become(request)
        sys.argv = [spec.origin, *request["arguments"]]
        sys.modules["__main__"] = module = ModuleType("__main__")
        module.__spec__, module.__file__ = spec, spec.origin
        try:
            exec(request["first"], {})
            exec(code, module.__dict__)
        except SystemExit as ended:
            end(ended.code)


def end(status):
    """Ends a fork without taking the interpreter apart, which would first copy every page of it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if status is None else status)


if __name__ == "__main__":
    main()
