"""jax is set up here for every experiment: devices, precision, and programs that are kept for the next start.

jax's own variables go before ours: JAX_NUM_CPU_DEVICES, JAX_COMPILATION_CACHE_DIR.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import jax
import jaxlib.version
from jax import monitoring

from mlp_jax import files
from mlp_jax.errors import UserError
from mlp_jax.files import sha256

MOST_CPU_DEVICES = 8  # a CPU counts as one device per core, but as no more
TRIED = "MLP_JAX_TRIED_XLA_FLAGS"
"""This variable tells the processes that this one starts which XLA_FLAGS were tried."""
TUNING_LINE = r"cpu_aot_loader\.cc.*Target machine feature \+prefer-no-(gather|scatter) is not"
_seen: Counter[str] = Counter()


def set_up() -> None:
    """Sets jax's options, before its first use."""
    if jaxlib.version.__version_info__ < (0, 10, 2):
        hide_tuning_lines()
    # float32 products would run as TF32 on an NVIDIA GPU, too coarse to compare gradients
    jax.config.update("jax_default_matmul_precision", "float32")
    if not jax.config.values["jax_num_cpu_devices"] > 0 and "device_count" not in os.environ.get("XLA_FLAGS", ""):
        # a population trains a network on each, which keeps them busier than sharing every product
        with contextlib.suppress(RuntimeError):  # it is too late where a program that uses jax calls a study
            jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, MOST_CPU_DEVICES))
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # a cache that cannot be written or read costs time, no more: a full disk or a damaged file is no news here
    warnings.filterwarnings("ignore", message=r"Error (reading|writing) persistent compilation cache")
    if not _seen:
        monitoring.register_event_listener(lambda event, **_: _seen.update([event]))
        _seen["listening"] = 1


def hide_tuning_lines() -> None:
    """Keeps lines that match `TUNING_LINE`, and nothing else, from standard error.

    jaxlib up to 0.10.1 writes one for every program that it loads from the cache on a processor with AVX-512: it
    takes a preference of the compiler for a feature that the processor lacks (issue 44565 of openxla/xla). Its own
    switch, TF_CPP_MIN_LOG_LEVEL, would hide true errors too. Another process reads what jaxlib writes, so that
    the last words of a process that is aborted are still shown; Python's own `sys.stderr` goes past it.
    """
    grep = shutil.which("grep")
    if grep is None or not hasattr(os, "posix_spawn") or not _python_writes_to(2):
        return
    terminal = os.dup(2)
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_DUP2, terminal, 1)]
    line = [grep, "--line-buffered", "--text", "--invert-match", "--extended-regexp", TUNING_LINE]
    # it has a process group of its own, so that Ctrl-C does not end it before the process whose lines it passes on
    os.posix_spawn(grep, line, os.environ, file_actions=actions, setpgroup=0)
    os.dup2(write, 2)
    os.close(read)
    os.close(write)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")


def _python_writes_to(descriptor: int) -> bool:
    """Tells whether standard error is this descriptor: a program that redirected it keeps what it has."""
    try:
        return sys.stderr.fileno() == descriptor
    except (AttributeError, OSError, ValueError):  # there is none, it is no file, it is closed
        return False


def devices() -> list[jax.Device]:
    """Gives jax's devices. Raises UserError if jax cannot start, mostly for variables of the environment."""
    _check_xla_flags()
    try:
        return jax.devices()
    except Exception as error:  # a RuntimeError if jax says what is wrong, an AssertionError without CUDA, others
        chosen = os.environ.get("JAX_PLATFORMS")
        hint = (
            f"correct JAX_PLATFORMS={chosen}" if chosen else "correct the installation, or set JAX_PLATFORMS=cpu"
        )
        raise UserError(f"jax cannot start ({str(error)[:300] or type(error).__name__}): {hint}") from error


def _check_xla_flags() -> None:
    """XLA ends a process whose XLA_FLAGS it cannot use, after pages of help: another process tries them, once."""
    flags = os.environ.get("XLA_FLAGS")
    if not flags or flags == os.environ.get(TRIED):
        return
    line = [sys.executable, "-c", "from jaxlib import xla_client; xla_client.make_cpu_client()"]
    tried = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
    if tried.returncode:
        told = next((line for line in tried.stderr.splitlines() if "XLA_FLAGS" in line), "").rpartition("] ")[2]
        told = told and f" ({told})"
        raise UserError(f"XLA cannot use XLA_FLAGS={flags!r}{told}: correct or unset it")
    os.environ[TRIED] = flags


def cache_folder() -> Path:
    """Gives $XDG_CACHE_HOME/mlp_jax/xla-..., else below ~/.cache; each kind of processor has its own."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        processor = platform.processor()
    return files.cache_folder() / f"xla-{sha256(processor)[:8]}"


def programs() -> dict[str, int]:
    """Tells how many programs this process has asked for so far, and how many of them were compiled anew."""
    asked, found = (
        _seen[f"/jax/compilation_cache/{event}"] for event in ("compile_requests_use_cache", "cache_hits")
    )
    return {"programs": asked, "compiled_anew": asked - found}
