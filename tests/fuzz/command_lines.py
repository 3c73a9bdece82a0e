"""Command lines of every script: made of its own flags and absl's, with good, nearly good and odd values.

What a script does with options that it accepts is cut short: where it would load data, where it would train (on
tiny synthetic images), or, now and then, not at all.
"""

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from experiments import speedrun
from mlp_jax import data
from mlp_jax.benchmark import turns
from mlp_jax.data.digits import synthetic
from mlp_jax.errors import UserError
from mlp_jax.fields import Field, kind
from mlp_jax.gradcheck import process
from mlp_jax.studies import own_gradients, processes
from mlp_jax.training.layout import Chunk
from tests.fuzz import mutations
from tests.wrong_options import wrong_values

SECONDS, MEGABYTES = 120.0, 1500.0
SCRIPTS = (
    "gradient_check", "grid_search", "depth_study", "activation_study", "init_study", "best_model", "benchmark",
    "reproduce", "ablation", "speedrun",
)  # fmt: skip
MODULES = {name: importlib.import_module(f"experiments.{name}") for name in SCRIPTS}  # before any fork
PLACES = (
    "r", "file", "file/x", "", ".", "~nobody/x", "x" * 300, "/proc/none", "/dev/null/x", "\udcff", "new\nline",
    "a:b", "localhost:1", "localhost:99999", ":1", "[::1]:5", "file:Net", "net.py:Net", "none.py:Net",
    "os:getcwd", "os", ":x", "../x", "in the way", "picture", "picture,picture", "pipe",
)  # fmt: skip
NUMBERS = {
    int: ("1", "2", "3", "5", "20", "1000", "1000000", "999999999", "2147483648", "4000000000"),
    float: ("0.5", "0.1", "0.01", "1e-6", "1", "3", "1e-300", "1e30", "1e300"),
}
NAMES = ("relu", "leaky_relu", "none", "before", "after", "sgd", "adam", "published", "clean", "both")
GOOD = {
    "inits": ("he", "normal_0.1", "normal_1e-46"),
    "studies": ("depth_study", "gradient_check"),
    "workloads": ("default", "grid", "population-3", "population-99999999"),
    "results_dir": ("r", "r/s", "in the way"),
    "coordinator": ("localhost:1", "x:65535"),
    "data_parallel": ("1", "2"),
}
"""Of options whose names or numbers do not tell what they may be."""
ODD = (
    "9" * 20, "1e400", "0x10", "+2", "-0", "\uff11", ".5", "1e308", "0.999999999999999999", ",", "2,,3", "2;3",
    "2." * 50, "1," * 200 + "1", "nan,inf", "True", "yes", "Digits", "float16", "manual,manual", "normal_nan",
)  # fmt: skip
TEXT = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=12),
    st.sampled_from(("%s", "{x}", "--", "'", "\x1b[")),
)
# not those for a debugger, which waits for somebody at a terminal
ABSL = (
    "help", "helpshort", "helpfull", "helpxml", "version", "flagfile", "undefok", "only_check_args", "verbosity",
    "v", "logger_levels", "log_dir", "stderrthreshold", "alsologtostderr", "showprefixforinfo",
    "run_with_profiling", "profile_file", "use_cprofile_for_profiling", "jax_platforms", "x",
)  # fmt: skip


class Cut(BaseException):
    """The options were accepted."""


def config_of(script: str) -> Any:
    """The script's options."""
    return MODULES[script].Config


def _values(field: Field) -> Any:
    """Mostly good ones of the option's own kind, then wrong and odd ones."""
    one, several = kind(field)
    choices = field.metadata["choices"]
    own = ("true", "false", "1", "0") if one is bool else NUMBERS.get(one, NAMES)
    good = GOOD.get(field.name, own if callable(choices) or not choices else choices)
    lists = st.lists(st.sampled_from(good), min_size=1, max_size=3, unique=True).map(",".join)
    odd = st.one_of(st.sampled_from(wrong_values(field)), st.sampled_from(ODD), st.sampled_from(PLACES), TEXT)
    return st.one_of(*[lists if several else st.sampled_from(good)] * 8, odd)


def _word(script: str) -> Any:
    flags = {field.name: field for field in fields(config_of(script))}
    named = st.sampled_from(sorted(flags)).flatmap(
        lambda name: st.builds(lambda value: f"--{name}={value}", _values(flags[name]))
    )
    bare = st.sampled_from(
        [f"{dashes}{no}{name}" for name in flags for dashes in ("--", "-") for no in ("", "no")]
    )
    others = st.builds(
        lambda name, value: f"--{name}" + ("" if value is None else f"={value}"),
        st.sampled_from(ABSL),  # not of a pipe: who names one for --flagfile wants to wait for it
        st.one_of(st.none(), st.sampled_from(PLACES[:-1]), TEXT),
    )
    return st.one_of(
        *[named] * 10, bare, others, st.sampled_from((*PLACES, "--", "-", "---", "--=1", "@file")), TEXT
    )


BASE = {
    "grid_search": ("--trials=1", "--hidden=3", "--batch_size=5", "--seeds=1"),
    "depth_study": ("--layers=2", "--hidden=3", "--learning_rate=0.01", "--epochs=1"),
    "activation_study": (
        "--activations=relu", "--batch_norms=none", "--dropouts=0", "--widths=3", "--width=3", "--hidden_layers=1",
        "--learning_rate=0.01", "--epochs=1",
    ),
    "init_study": ("--layers=2", "--inits=he", "--optimizers=sgd", "--epochs=1"),
    "best_model": ("--hidden=3", "--learning_rate=0.01", "--epochs=1"),
}  # fmt: skip
"""What makes a whole study one of seconds."""
SMALL = (
    "--epochs=1", "--epochs=0", "--seeds=1", "--seeds=2", "--hidden=3", "--hidden=3,2", "--layers=2",
    "--layers=1,2", "--protocol=published", "--protocol=clean", "--gradient=autodiff", "--learning_rate=1e30",
    "--learning_rate=0.01", "--steps=3", "--trials=1", "--batch_size=2", "--batch_size=60", "--dropout=0.5",
    "--batch_norm=after", "--resume", "--precision=bf16", "--seed=7", "--max_memory_gb=0.001",
    "--max_memory_gb=1e-6", "--data_parallel=2", "--l2=0", "--optimizer=adam", "--scale=smoke", "--inits=he",
    "--widths=2,3",
)  # fmt: skip


def examples() -> Any:
    """(script, arguments, how far it may run)."""

    def lines(script: str, kind: str) -> Any:
        return st.tuples(st.just(script), st.lists(_word(script), max_size=5), st.just(kind))

    far = st.sampled_from(["load"] * 12 + ["train"] * 8 + ["process"])
    odd = st.sampled_from(SCRIPTS).flatmap(lambda script: far.flatmap(lambda kind: lines(script, kind)))
    small = st.lists(st.sampled_from(SMALL), max_size=5)
    whole = st.tuples(st.sampled_from(sorted(BASE)), small, st.sampled_from(["train"] * 6 + ["whole"]))
    return st.one_of(*[odd] * 10, whole)


def prepare(folder: Path) -> None:
    """Nothing: the files are small."""


def check(folder: Path, place: Path, example: Any) -> str:
    """Runs the script; exit status 2 with one line is told as the UserError that it comes from."""
    script, arguments, far = example
    if far == "whole":
        arguments = [*BASE[script], *arguments]
    (place / "file").write_text("text\n")
    (place / "net.py").write_text("def Net(params, x, y, l2): return params\n")
    (place / "in the way").mkdir()
    for name in SCRIPTS:
        (place / "in the way" / name).write_text("a file, no folder")
    os.mkfifo(place / "pipe")
    before = mutations.state(place)
    if far == "process":
        status, said = _here_and_there(place, script, arguments)
    else:
        status, said = _inside(place, script, arguments, far)
    now = mutations.state(place)
    assert {name: now.get(name) for name in before} == before, "a file was changed"
    return _told(status, said)


def _told(status: int | str, said: str) -> str:
    assert "Traceback" not in said, said
    if status == 2:
        lines = said.splitlines()
        assert len(lines) == 1, f"not one line: {said!r}"
        assert lines[0].startswith("error: "), said
        assert lines[0].isprintable(), said
        raise UserError(lines[0].removeprefix("error: "))
    assert status in (0, 1, "load", "train", "meet", "time"), f"status {status}: {said}"
    return f"accepted, {status}"


def _here_and_there(place: Path, script: str, arguments: list[str]) -> tuple[int | str, str]:
    """A line that is refused here is refused with the same words in a real process."""
    if (pid := os.fork()) == 0:
        status, said = _inside(place, script, arguments, "load")
        (place / "r said").write_text(said)
        os._exit(status if isinstance(status, int) else 100)
    _, ended = os.waitpid(pid, 0)
    status, said = os.waitstatus_to_exitcode(ended), (place / "r said").read_text()
    if status == 100:
        return "load", said
    line = [sys.executable, "-m", f"experiments.{script}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, env=environment, errors="replace", timeout=SECONDS
    )
    assert (done.returncode, done.stderr) == (status, said), f"{done.stderr!r} there, {said!r} here"
    return status, said


def _inside(place: Path, script: str, arguments: list[str], far: str) -> tuple[int | str, str]:
    log = os.open(place / "r stderr", os.O_RDWR | os.O_CREAT)
    os.dup2(log, 2)
    module: Any = MODULES[script]
    status: int | str = "returned"
    try:
        with _cut(far):
            status = module.main(arguments)
    except Cut as cut:
        status = str(cut)
    sys.stderr.flush()
    os.lseek(log, 0, os.SEEK_SET)
    return status, os.read(log, 2**20).decode(errors="replace")


@contextlib.contextmanager
def _cut(far: str) -> Iterator[None]:
    def stop(where: str) -> Callable[..., Any]:
        def cut(*_: Any, **__: Any) -> Any:
            raise Cut(where)

        return cut

    places: dict[str, list[tuple[Any, str]]] = {
        "load": [(data, "load"), (process.Target, "__enter__")],
        "meet": [(processes, "initialize")],
        "train": [
            (Chunk, "__init__"), (own_gradients, "check_all"),
            (turns, "peaks"), (speedrun, "measure"),
        ],
    }  # fmt: skip
    tiny = synthetic(train=60, test=20, size=2)
    for where, patches in places.items():
        for owner, name in patches:
            if where != "train" or far != "whole":
                setattr(owner, name, stop(where))
    if far != "load":
        data.load = lambda name, **_: tiny
    yield


KEPT: tuple[Any, ...] = (
    ("gradient_check", ["--stderrthreshold=x"], "load"),
    ("gradient_check", ["--flagfile=."], "load"),
    ("activation_study", ["--hidden_layers=99999999999999999999"], "load"),
    ("activation_study", ["--hidden_layers=1000000000"], "load"),
    ("grid_search", ["--trials=1000000000"], "load"),
    ("activation_study", ["--max_memory_gb=1e308"], "train"),
    ("best_model", ["--predict=\x1b[2J"], "load"),
)
