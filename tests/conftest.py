"""Shape annotations are executed, shapes that differ in rank do not broadcast, and warnings are errors."""

from jaxtyping import install_import_hook

# Before anything imports the package. Modules that meet users' data (errors, data, results) check it themselves.
MATHEMATICS = (
    "gradcheck.comparison", "nn.activations", "nn.equations", "nn.gradients", "nn.losses", "nn.matmul", "nn.model",
    "training.augment", "training.evaluate", "training.optimizers", "training.step",
)  # fmt: skip
install_import_hook(
    [f"mlp_jax.{module}" for module in MATHEMATICS],
    # the numeric tower lets an int stand where a float is asked for
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

import gc  # noqa: E402
import json  # noqa: E402
import multiprocessing  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src import compiler  # noqa: E402

from mlp_jax import data  # noqa: E402
from mlp_jax.gradcheck import process  # noqa: E402
from mlp_jax.training import step as train  # noqa: E402
from tests import commands, fuzz, slow  # noqa: E402

# Beside jax_disable_most_optimizations: XLA's older code generator, in one piece, compiles in half the time. Each
# flag with its default in XLA. A jaxlib that has dropped one would end the process, so another process tries them.
QUICK = {"xla_cpu_use_fusion_emitters": (False, True), "xla_cpu_parallel_codegen_split_count": (1, 32)}


def accepted(*names):
    """Whether this jaxlib starts with these flags."""
    flags = " ".join(f"--{name}={str(QUICK[name][0]).lower()}" for name in names)
    line = [sys.executable, "-c", "import jax; jax.devices()"]
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(line, env=environment, capture_output=True, check=False).returncode == 0


def quick_flags():
    """The flags that this jaxlib knows: tried once, by the process that starts the workers."""
    if "MLP_JAX_TEST_FLAGS" not in os.environ:
        known = list(QUICK) if accepted(*QUICK) else [name for name in QUICK if accepted(name)]
        os.environ["MLP_JAX_TEST_FLAGS"] = ",".join(known)
        os.environ["MLP_JAX_TEST_USERS_FLAGS"] = os.environ.get("XLA_FLAGS", "")
    return [name for name in os.environ["MLP_JAX_TEST_FLAGS"].split(",") if name]


COMPILE_OPTIONS: Any = getattr(compiler, "get_compile_options", None)
FLAGS = quick_flags() if COMPILE_OPTIONS else []  # what cannot be undone for a test marked `optimized` is not done
USERS_FLAGS = os.environ.get("MLP_JAX_TEST_USERS_FLAGS", os.environ.get("XLA_FLAGS", ""))
LITTLE = " ".join([USERS_FLAGS, *(f"--{name}={str(QUICK[name][0]).lower()}" for name in FLAGS)]).strip()
AS_USERS_HAVE_IT = {name: QUICK[name][1] for name in FLAGS}
os.environ["XLA_FLAGS"] = LITTLE
os.environ["MLP_JAX_TRIED_XLA_FLAGS"] = LITTLE  # else every command that a test starts would try them once more

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)
jax.devices()  # reads XLA_FLAGS, once and for all
# Most of the suite's time is compilation: its processes, the studies that it starts too, share what they compiled.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


# of tests/test_fuzz.py
hypothesis.settings.register_profile("slow", max_examples=6, derandomize=True, database=None)
hypothesis.settings.register_profile("nightly", max_examples=20_000)
hypothesis.settings.load_profile("slow")


def pytest_addoption(parser):
    parser.addoption(
        "--sample", type=int, default=1, help="run one of so many tests of each file, always the same"
    )


def pytest_configure(config):
    """Makes warnings errors in CI alone: a dependency's next release shall not fail a newcomer's tests."""
    if os.environ.get("CI"):
        config.addinivalue_line("filterwarnings", "error")
    # jax does not write its cache of programs atomically: who reads half a file warns, and compiles anew
    config.addinivalue_line("filterwarnings", "ignore:Error reading persistent compilation cache")


def pytest_collection_finish():
    """What is there stays to the end: Python's garbage collector need not look at it again and again."""
    gc.freeze()
    gc.set_threshold(100_000)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config, items):
    """One change of the compiler's options is enough: first what does not need its optimisation."""
    for item in slow.slow(items):
        item.add_marker(pytest.mark.slow)
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    chosen = {item for tests in files.values() for item in tests[:: config.getoption("sample")]}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = sorted((item for item in items if item in chosen), key=is_optimized)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before any fixture: how this test's programs are compiled, also those of the processes that it starts."""
    little = not is_optimized(item)
    if FLAGS:
        compiler.get_compile_options = COMPILE_OPTIONS if little else options_as_users_have_them
    if jax.config.values["jax_disable_most_optimizations"] != little:
        jax.config.update("jax_disable_most_optimizations", little)
        jax.clear_caches()  # jax would find programs compiled the other way
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(little))
    os.environ["XLA_FLAGS"] = LITTLE if little else USERS_FLAGS


def options_as_users_have_them(*arguments, **options):
    """Undoes what the flags say: jax has no option for it."""
    made = COMPILE_OPTIONS(*arguments, **options)
    made.env_option_overrides = [*made.env_option_overrides, *AS_USERS_HAVE_IT.items()]
    return made


def is_optimized(item):
    """Bits of two programs, and what the compiler says of one, are claims about programs as users get them."""
    return item.get_closest_marker("optimized") is not None


AS_USERS_HAVE = pytest.param("as users have them", marks=[pytest.mark.slow, pytest.mark.optimized])


@pytest.fixture(scope="module", params=["little", AS_USERS_HAVE])
def both_ways(request):
    """Makes one test of bits two: of programs that are optimised little, and, slowly, of those that users have."""
    return request.param


@pytest.fixture
def quick_targets(monkeypatch):
    """The checker's second processes are forked from one that has imported what they need, instead of anew."""
    context, asked = multiprocessing.get_context("forkserver"), multiprocessing.get_context
    context.set_forkserver_preload([process.__name__])
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: context if kind == "spawn" else asked(kind))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def traces(monkeypatch):
    """Grows by one whenever `train_step` is traced."""
    seen = []
    original = train.train_step

    def counted(*arguments, **options):
        seen.append(0)
        return original(*arguments, **options)

    monkeypatch.setattr(train, "train_step", counted)
    return seen


@pytest.fixture(scope="session")
def splits():
    """The synthetic data: 870 rows of 192 numbers to train on, 130 to validate, 200 to test."""
    return data.normalize(data.split(data.synthetic(), validation=130), "standardize")


@pytest.fixture(scope="session")
def toy():
    """The assignment's toy case at full precision: 4-10-3, five examples, lambda 0.05, zero biases."""
    return json.loads((Path(__file__).parent / "data" / "two_layer_toy.json").read_text())


@pytest.fixture(scope="session")
def server():
    """What commands and examples of fuzz targets are forked from: it has imported them once for all tests."""
    with commands.Server(*(f"tests.fuzz.{name}" for name in fuzz.TARGETS)) as started:
        yield started


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One browser for all pages; tests that ask for it are marked `browser.needed`."""
    from tests import browser

    with browser.Browser(browser.find(), tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Keyword arguments of `cifar10.load` for the true CIFAR-10, decoded once."""
    data_dir = os.environ.get("TFDS_DATA_DIR", "")
    if not data_dir or not (Path(data_dir) / "cifar10" / "3.0.2").is_dir():
        pytest.skip("NOT TESTED on the true CIFAR-10: set TFDS_DATA_DIR to a directory that has cifar10/3.0.2")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # beside the workers' own folders: one decoding serves them all
    return {"data_dir": data_dir, "cache_dir": os.environ.get("MLP_JAX_TEST_CACHE") or folder / "cifar10-cache"}
