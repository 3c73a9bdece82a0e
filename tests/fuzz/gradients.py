"""Targets of the gradient check: Python files that do odd things when imported, built or called.

Two claims beside the usual ones: a right gradient passes whatever harmless things are done beside it, and what
returns something else does not pass.
"""

import contextlib
import io
import multiprocessing
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from experiments import gradient_check
from mlp_jax.errors import UserError
from mlp_jax.gradcheck.seeded_mistakes import CLASS
from tests.fuzz import mutations

SECONDS, MEGABYTES = 90.0, 1500.0
TIMEOUT = 5.0
_RIGHT = CLASS.partition("        return loss, grads")[0]
_MARKS = {"import": "import numpy as np\n", "build": "std=1e-4):\n", "call": "reg):\n"}
_INDENT = {"import": "", "build": "        ", "call": "        "}

HARMLESS = (
    "pass",
    "print('noise')",
    "import contextlib, os\nwith contextlib.suppress(OSError): os.write(1, b'noise'); os.write(2, b'noise')",
    "import sys; sys.stdout.close(); sys.stderr.close()",
    "import sys; sys.stdout = sys.stderr = None",
    "import os; os.closerange(1, 3)",
    "import os; os.environ.clear()",
    "import sys; sys.path.clear()",
    "import sys; sys.argv = []",
    "np.seterr(all='raise')",
    "import warnings; warnings.simplefilter('error'); warnings.resetwarnings()",
    "import warnings; warnings.warn('noise')",
    "np.random.seed(7); import random; random.seed(7)",
    "import threading; threading.Thread(target=print, args=('noise',)).start()",
    "import threading, time; threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
    "import threading, time; threading.Thread(target=time.sleep, args=(99,)).start()",
    "import os; os.chdir('/')",
    "import sys; sys.setrecursionlimit(200)",
    "import sys; sys.setrecursionlimit(10**6)",
    "import gc; gc.disable()",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "import logging; logging.basicConfig(level=0); logging.error('noise')",
    "import atexit, time; atexit.register(time.sleep, 99)",
    "import builtins; builtins.print = None",
    "import jax; jax.config.update('jax_enable_x64', False)",
    "import jax; jax.config.update('jax_debug_nans', True)",
    "import jax; jax.config.update('jax_numpy_rank_promotion', 'raise')",
    "import jax; jax.config.update('jax_default_matmul_precision', 'bfloat16')",
    "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "import locale, time; time.sleep(0.05)",
    "import subprocess; subprocess.Popen(['sleep', '99'])",
    "import tempfile; tempfile.tempdir = '/none'",
    "import sys; sys.modules.pop('numpy', None)",
    "import multiprocessing; multiprocessing.current_process().name = 'x'",
)
HARMFUL = (
    "while True: pass",
    "import time; time.sleep(99)",
    "import signal; signal.pause()",
    "import threading; threading.Event().wait()",
    "raise ValueError('one\\ntwo')",
    "raise ValueError('\\x1b[2J\\ud800')",
    "raise BaseException",
    "raise KeyboardInterrupt",
    "raise SystemExit",
    "raise SystemExit('text')",
    "raise SystemExit(0)",
    "raise GeneratorExit",
    "raise StopIteration",
    "raise MemoryError",
    "raise EOFError",
    "raise OSError(32, 'pipe')",
    "raise ExceptionGroup('x', [ValueError('a\\nb')])",
    "raise type('E', (Exception,), {'__str__': lambda self: 1})",
    "raise type('E', (Exception,), {'__str__': lambda self: self.x})",
    "raise type('E', (BaseException,), {'__init__': lambda self: None, '__reduce__': None})()",
    "from mlp_jax.errors import UserError; raise UserError('mine\\nis two lines')",
    "import os; os._exit(0)",
    "import os; os._exit(3)",
    "import os; os.abort()",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "import ctypes; ctypes.string_at(0)",
    "import os; os.closerange(3, 300)",
    "import sys; sys.setrecursionlimit(10**9); f = lambda x: f(x); f(0)",
    "f = lambda x: f(x); f(0)",
    "f = lambda x: g(x); g = lambda x: f(x); f(0)",
    "import threading, os; threading.Timer(0.05, os._exit, [4]).start(); import time; time.sleep(1)",
    "x = bytearray(2**36)",
    "import os; 'F' in os.environ or os.environ.update(F='') or os.fork()",
    "import os; 'F' in os.environ or os.environ.update(F='') or os.fork() or os._exit(0)",
    "return",
    "yield 1",
    "import nothing",
    "(",
    "\tpass\n  pass",
    "\0",
    "import multiprocessing; multiprocessing.Process(target=print).start()",
    "__name__ = None; del np",
    "import jax; jax.devices = None",
    "import mlp_jax.gradcheck.reading.answers as a; a._numpy = None",
)
"""The end is not certain."""
RETURNED = (
    "None", "()", "{}", "[]", "1.0", "'x'", "loss", "(loss,)", "(loss, {})", "(loss, None)", "(loss, 'x')",
    "object()",
    "(None, {})", "(loss, {k: None for k in grads})", "(loss, {k: 'x' for k in grads})", "set(grads)",
    "iter(grads)",
    "(loss, {k: object() for k in grads})", "(loss, {k: np.nan * v for k, v in grads.items()})", "(grads, grads)",
    "(loss, {k: v + np.inf for k, v in grads.items()})", "(loss, {k: 1e308 * v for k, v in grads.items()})",
    "(loss, {k: v + 1 for k, v in grads.items()})", "(loss, {k: v[..., None] for k, v in grads.items()})",
    "(loss, {k: v.T[:1] for k, v in grads.items()})", "(loss, {k: v[:0] for k, v in grads.items()})",
    "(loss, {k: v > 0 for k, v in grads.items()})", "(loss, {k: v.astype(int) for k, v in grads.items()})",
    "(loss, {k: v * 1j for k, v in grads.items()})", "(loss, {k: v.astype('S') for k, v in grads.items()})",
    "(loss, {k: v.astype('M8[s]') for k, v in grads.items()})",
    "(loss, {k: float(v.sum()) for k, v in grads.items()})",
    "(loss, {k: np.zeros((2,) * 30) for k in grads})", "(loss, {k: [[1], [2, 3]] for k in grads})",
    "(loss, {1: 2, None: 3})", "(loss, [grads])", "(loss, [[[grads]]])", "(loss, list(grads.values())[:3])",
    "(loss, type('D', (dict,), {'get': None})(grads))",
    "(loss, type('D', (dict,), {'get': lambda *a: 1 / 0})(grads))",
    "(loss, {k: type('A', (), {'__array__': lambda *a, **k: 1 / 0})() for k in grads})",
    "(loss, {k: type('A', (), {'detach': None})() for k in grads})",
    "(loss, {k: type('A', (), {'shape': 'x', 'dtype': 5})() for k in grads})",
    "(loss, {'W1': grads['W1']})", "(loss, {k.lower(): 2 * v for k, v in grads.items()})",
    "(loss, {k: np.broadcast_to(1.0, (10**6, 10**6)) for k in grads})", "(loss, {k: 10**400 for k in grads})",
)  # fmt: skip
FINE = (
    "(loss, grads)", "grads", "[loss, grads]", "(grads, loss)", "(float(loss), grads)",
    "(np.array([loss]), grads)",
    "(loss, {k.lower(): v for k, v in grads.items()})", "(loss, {'d' + k: v for k, v in grads.items()})",
    "(loss, {k: v.tolist() for k, v in grads.items()})", "(loss, {k: v.astype(object) for k, v in grads.items()})",
    "(loss, {k: np.ma.array(v) for k, v in grads.items()})", "(loss, list(grads.values()))",
    "(loss, {k: np.asfortranarray(v) for k, v in grads.items()})",
    "(loss, __import__('types').MappingProxyType(grads))",
)  # fmt: skip


def examples() -> Any:
    """(what is done: where and what, what is returned, how the second process starts)."""
    places = st.sampled_from(sorted(_MARKS))
    harmless = st.lists(st.tuples(places, st.sampled_from(HARMLESS)), max_size=3)
    odd = st.tuples(places, st.sampled_from(HARMFUL)).map(lambda found: [found])
    start = st.sampled_from(["fork"] * 9 + ["spawn"])
    return st.one_of(
        st.tuples(harmless, st.sampled_from(FINE), start),
        st.tuples(harmless, st.sampled_from(RETURNED), start),
        st.tuples(odd, st.just(FINE[0]), start),
        st.tuples(odd, st.just(FINE[0]), start),
    )


def source(done: Any, returned: str) -> str:
    """The file."""
    text = f"{_RIGHT}        return {returned}\n"
    for place, what in done:
        mark = _MARKS[place]
        lines = "".join(f"{_INDENT[place]}{line}\n" for line in what.split("\n"))
        text = text.replace(mark, mark + lines, 1)
    return text


def prepare(folder: Path) -> None:
    """Nothing: jax's cache of programs fills by itself."""


def check(folder: Path, place: Path, example: Any) -> str:
    """Checks the file's class."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    done, returned, start = example
    harmless = all(what in HARMLESS for _, what in done)
    try:
        passed = _run(place, done, returned, start)
    except UserError as error:
        if harmless and returned in FINE:
            raise RuntimeError(f"a right gradient cannot be used: {error}") from error
        raise
    assert passed or not (harmless and returned in FINE), "a right gradient fails"
    right_numbers = returned in FINE or "(grads))" in returned  # also in a dict whose methods are broken
    assert not passed or right_numbers, "a wrong gradient passes"
    return "PASS" if passed else "FAIL"


def _run(place: Path, done: Any, returned: str, start: str) -> bool:
    get_context = multiprocessing.get_context
    multiprocessing.get_context = lambda _: get_context(start)
    (place / "net.py").write_bytes(source(done, returned).encode("utf-8", "surrogatepass"))
    before = mutations.state(place)
    config = gradient_check.Config(
        target=f"{place}/net.py:TwoLayerNet", timeout=TIMEOUT, results_dir=str(place / "r")
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        passed = gradient_check.STUDY.run(config)
    assert ("PASS" in said.getvalue()) or not passed
    assert {name: mutations.state(place).get(name) for name in before} == before
    assert not multiprocessing.active_children(), "the second process is left"
    return passed


KEPT: tuple[Any, ...] = (
    ([("call", "import os; os.closerange(1, 3)")], "(loss, grads)", "fork"),
    ([("import", "import os; os.fork()")], "(loss, grads)", "fork"),
    ([("import", "raise type('E', (Exception,), {'__str__': lambda self: 1})")], "(loss, grads)", "fork"),
    ([], "(loss, {k.lower(): v for k, v in grads.items()})", "fork"),
    ([], "(grads, grads)", "fork"),
)
