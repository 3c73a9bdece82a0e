"""What jaxlib writes to standard error is shown, but for one kind of line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
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
    done = subprocess.run(
        [sys.executable, "-c", CODE, ABOUT], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGABRT
    assert sorted(done.stderr.splitlines()) == [ABOUT.format("+avx512f"), "Python's own", "last words"]


def test_a_program_that_has_redirected_its_standard_error_keeps_it():
    code = (
        "import io, sys; sys.stderr = mine = io.StringIO(); from mlp_jax.studies import compilation; "
        "compilation.hide_tuning_lines(); assert sys.stderr is mine"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_xla_flags_are_tried_once_for_a_process_and_those_that_it_starts():
    code = (
        "import subprocess, sys; from mlp_jax.studies import compilation; compilation.devices(); "
        "subprocess.run = None; compilation.devices()"
    )
    environment = {**os.environ, "XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}
    environment.pop("MLP_JAX_TRIED_XLA_FLAGS", None)
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment).returncode == 0
