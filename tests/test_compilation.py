"""How jax is set up: devices, precision, cache, and what jaxlib writes to standard error; and a second signal."""

import os
import signal

import pytest

from mlp_jax.studies import compilation
from tests.commands import python

ABOUT = "E1128 07:26:35.1  7942 cpu_aot_loader.cc:195] Loading. Target machine feature {} is not  supported"
CODE = """
import os, sys
from mlp_jax.studies import compilation
compilation.hide_tuning_lines()
for feature in ("+prefer-no-gather", "+avx512f", "+prefer-no-scatter"):
    os.write(2, (sys.argv[1].format(feature) + "\\n").encode())
print("Python's own", file=sys.stderr)
os.write(2, b"last words")
os.abort()
"""


def test_lines_of_tuning_are_hidden_and_no_others_even_when_the_process_is_aborted():
    done = python("-c", CODE, ABOUT)
    assert done.status == -signal.SIGABRT
    assert sorted(done.err.splitlines()) == [ABOUT.format("+avx512f"), "Python's own", "last words"]


def test_a_program_that_has_redirected_its_standard_error_keeps_it(server):
    code = (
        "import io, sys; sys.stderr = mine = io.StringIO(); from mlp_jax.studies import compilation; "
        "compilation.hide_tuning_lines(); assert sys.stderr is mine"
    )
    assert server.code(code).status == 0


def test_xla_flags_are_tried_once_for_a_process_and_those_that_it_starts(server):
    code = (
        "import subprocess, sys; from mlp_jax.studies import compilation; compilation.devices(); "
        "subprocess.run = None; compilation.devices()"
    )
    environment = {**os.environ, "XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    environment.pop("MLP_JAX_TRIED_XLA_FLAGS", None)
    assert server.code(code, environment=environment).status == 0


SET_UP = "from mlp_jax.studies import compilation; compilation.set_up(); import jax; print(jax.device_count()); "
SET_UP += "print(jax.config.jax_default_matmul_precision)"


@pytest.mark.parametrize(("told", "devices"), [("3", 3), (None, min(os.cpu_count() or 1, 8))])
def test_one_device_per_core_unless_told_otherwise_and_no_tf32(told, devices, server):
    """A GPU would compute float32 products in TF32, too coarse to compare gradients."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    environment |= {"JAX_PLATFORMS": "cpu", **({"JAX_NUM_CPU_DEVICES": told} if told else {})}
    done = server.code(SET_UP, environment=environment)
    assert done.out == f"{devices}\nfloat32\n", done.err


@pytest.mark.parametrize("home", ["", "elsewhere"])
def test_where_compiled_programs_are_kept(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", home and str(tmp_path / home))
    found = compilation.cache_folder()
    assert found.parent == tmp_path / (home or ".cache") / "mlp_jax"
    assert found.name.startswith("xla-")


def test_a_second_signal_does_not_wait_for_the_epoch(server):
    code = (
        "import signal; from mlp_jax.studies import signals; signals.listen()\n"
        "with signals.between_epochs_only():\n"
        "    signal.raise_signal(signal.SIGTERM); print(signals.asked())\n"
        "    signal.raise_signal(signal.SIGINT); print('it went on')\n"
    )
    done = server.code(code)
    assert done.out == "15\n"
    assert "stopped by SIGINT" in done.err
