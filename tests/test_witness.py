"""jax.grad itself is held against numpy before it judges anybody; here it is broken on purpose."""

import json
import os
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

from experiments import gradient_check
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import derivation, witness
from mlp_jax.gradcheck.check import check_gradients
from mlp_jax.gradcheck.comparison import random_params
from mlp_jax.gradcheck.known_wrong import KNOWN_WRONG
from mlp_jax.gradcheck.seeded_mistakes import CLASS
from mlp_jax.gradcheck.witness import check_witness
from mlp_jax.nn.config import MLPConfig
from tests.studies import results_of

TRUE_GRAD = jax.grad


def slightly_wrong(function, *arguments, **options):
    def gradient(*values):
        return jax.tree.map(lambda leaf: leaf * (1 + 1e-7), TRUE_GRAD(function, *arguments, **options)(*values))

    return gradient


def wrong_in_later_rows(function):
    """As jaxlib 0.10.2: right, unless there are many rows."""

    def gradient(params, x, y):
        return (TRUE_GRAD if len(x) < 32_769 else slightly_wrong)(function)(params, x, y)

    return gradient


def wrong_if_compiled(function):
    def gradient(params, x, y):
        return (slightly_wrong if isinstance(x, jax.core.Tracer) else TRUE_GRAD)(function)(params, x, y)

    return gradient


@pytest.mark.parametrize(
    ("broken", "program"),
    [
        (slightly_wrong, "jax.grad of two layers, 7 rows"),
        (wrong_in_later_rows, "jax.grad of two layers, 40,000 rows"),
        (wrong_if_compiled, "jax.grad of two layers, 7 rows, compiled"),
    ],
)
def test_a_broken_gradient_is_refused(broken, program):
    with pytest.raises(UserError, match=program) as raised:
        check_witness(broken, programs=())
    assert f"jaxlib {jaxlib.__version__} computes wrong" in str(raised.value)
    assert f"pip install 'jax!={jaxlib.__version__}' 'jaxlib!={jaxlib.__version__}'" in str(raised.value)


@pytest.mark.parametrize("number", range(len(KNOWN_WRONG)))
def test_a_program_that_is_computed_wrong_is_refused(number):
    program = KNOWN_WRONG[number]

    def wrong(*inputs):
        right = program.ours(*inputs)
        return right.at[-1].add(jnp.asarray(1, right.dtype))

    with pytest.raises(UserError, match="computes wrong") as raised:
        check_witness(programs=[program._replace(ours=wrong)])
    assert f"{program.name}, in {program.dtypes[0]} ({program.source})" in str(raised.value)


@pytest.mark.parametrize("norm", [{}, {"norm": "batch"}, {"norm": "layer"}])
def test_the_derivation_in_numpy_is_that_of_its_own_loss(norm):
    """A derivative by a complex step (Squire & Trapp 1998) is exact to rounding, and is no derivation."""
    config = MLPConfig((5, 4, 3), inputs=6, classes=4, dtype="float64", **norm)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        params = jax.tree.map(np.asarray, random_params(rng, config))
    x, y, step = rng.standard_normal((9, 6)), rng.integers(0, 4, 9), 1e-30
    leaves, structure = jax.tree.flatten(params)
    for number, found in enumerate(jax.tree.leaves(derivation.gradient(params, x, y, config, 0.05))):
        for index in np.ndindex(found.shape):
            moved = [leaf.astype(complex) for leaf in leaves]
            moved[number][index] += 1j * step
            slope = derivation.loss(jax.tree.unflatten(structure, moved), x, y, config, 0.05).imag / step
            assert found[index] == pytest.approx(slope, rel=1e-11, abs=1e-14)


@pytest.fixture
def first_time(monkeypatch, tmp_path):
    """Nothing has been checked yet: the cache is empty, and the compiler's flags (now without effect) are new."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} --xla_{tmp_path.name}")
    return tmp_path


def another_start():
    """`trusted_witness` as another process would call it: with the file, but without this one's memory."""
    return runpy.run_path(witness.__file__)["trusted_witness"]()


def test_a_pass_is_kept_and_a_failure_is_not(first_time, monkeypatch):
    monkeypatch.setattr(jax, "grad", slightly_wrong)
    for _ in range(2):
        with pytest.raises(UserError, match="computes wrong"):
            another_start()
    assert not (first_time / "cache").exists()

    monkeypatch.setattr(jax, "grad", TRUE_GRAD)
    found = another_start()
    (kept,) = (first_time / "cache" / "mlp_jax").iterdir()
    assert json.loads(kept.read_text()) == found
    assert (found["jaxlib"], found["device"]) == (jaxlib.__version__, jax.default_backend())
    assert len(found["programs"]) == len(set(found["programs"])) > 9

    monkeypatch.setattr(jax, "grad", slightly_wrong)
    assert another_start() == found  # by the file alone
    kept.write_bytes(kept.read_bytes()[:-9])
    with pytest.raises(UserError, match="computes wrong"):
        another_start()
    kept.unlink()
    kept.mkdir()  # which cannot be read, nor written
    monkeypatch.setattr(jax, "grad", TRUE_GRAD)
    assert another_start() == found


def test_nobody_is_judged_by_a_broken_witness(first_time, monkeypatch):
    def candidate(*arguments):
        raise AssertionError("it was asked")

    monkeypatch.setattr(jax, "grad", slightly_wrong)
    with pytest.raises(UserError, match="no gradient can be judged by it"):
        check_gradients(candidate)
    (first_time / "net.py").write_text(CLASS)
    folder = str(first_time / "results")
    for options in ({"target": f"{first_time}/net.py:TwoLayerNet"}, {}):
        with pytest.raises(UserError, match="no gradient can be judged by it"):
            gradient_check.STUDY.run(gradient_check.Config(results_dir=folder, **options))
    assert not Path(folder).exists()


@pytest.mark.parametrize("command", ["gradient_check", "reproduce"])
def test_the_commands_refuse_with_one_line_and_status_2(command, first_time, server):
    """Real ones, in a Python whose jax.grad is wrong by a factor, and in which nothing else is."""
    wrong = "import jax; true = jax.grad\n"
    wrong += "jax.grad = lambda *a: lambda *v: jax.tree.map(lambda leaf: 2 * leaf, true(*a)(*v))\n"
    folder, environment = first_time / "results", {**os.environ, "XLA_FLAGS": ""}
    done = server.run(command, f"--results_dir={folder}", first=wrong, environment=environment)
    assert (done.status, done.out) == (2, ""), done.err
    assert done.err.startswith(f"error: jaxlib {jaxlib.__version__} computes wrong on this processor (")
    assert "jax.grad of two layers, 7 rows" in done.err
    assert done.err.count("\n") == 1
    assert not folder.exists()
    assert not list((first_time / "cache").rglob("witness-*"))


@pytest.mark.usefixtures("quick_targets")
def test_results_say_what_was_checked(tmp_path):
    (tmp_path / "net.py").write_text(CLASS)
    config = gradient_check.Config(target=f"{tmp_path}/net.py:TwoLayerNet", results_dir=str(tmp_path))
    assert gradient_check.STUDY.run(config)
    content = results_of(tmp_path, "gradient_check")
    assert content["witness"]["jaxlib"] == jaxlib.__version__
    assert f"jaxlib {jaxlib.__version__}" in gradient_check.witness_told(content["witness"])
