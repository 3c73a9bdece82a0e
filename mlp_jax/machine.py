"""What of a machine and of its settings can change the bits of a result."""

import os
import platform
from pathlib import Path
from typing import Any

import jax

from mlp_jax.errors import user_path

VECTORS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx512_fp16", "amx_tile", "amx_bf16",
    "asimd", "asimddp", "bf16", "sve", "sve2",
)  # fmt: skip
"""Names in /proc/cpuinfo of the instructions that XLA chooses between on a CPU: x86, then ARM."""

CONFIG = (
    "jax_default_matmul_precision", "jax_default_prng_impl", "jax_disable_most_optimizations", "jax_enable_x64",
    "jax_num_cpu_devices", "jax_threefry_partitionable",
)  # fmt: skip

VARIABLES = (
    "XLA_", "JAX_", "OMP_NUM_THREADS", "OPENBLAS_", "MKL_", "NVIDIA_TF32_OVERRIDE", "CUDA_VISIBLE_DEVICES",
    "CUBLAS_", "LIBTPU_INIT_ARGS",
)  # fmt: skip
"""How the names of variables start that are worth telling, if they are set."""


def processor() -> dict[str, Any]:
    """{"model": its name, "vectors": its instructions of VECTORS, "usable_cores"}; null for what is not told."""
    told = _cpuinfo()
    features = (told.get("flags") or told.get("Features") or "").split()
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return {
        "model": told.get("model name") or platform.processor() or None,
        "vectors": " ".join(name for name in VECTORS if name in features) or None,
        "usable_cores": len(affinity(0)) if affinity else os.cpu_count(),
    }


def _cpuinfo() -> dict[str, str]:
    """Of the first core."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def settings() -> dict[str, Any]:
    """{"config": jax's options, "variables": what is set of VARIABLES, but no places, on which no bit depends}."""
    values = jax.config.values  # some options are no attributes
    return {
        "config": {name.removeprefix("jax_"): getattr(jax.config, name, values.get(name)) for name in CONFIG},
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES) and not name.endswith(("_DIR", "_PATH", "_ADDRESS"))
        },
    }


def cache_folder() -> Path:
    """Where files are kept that cost only time if they are lost: $XDG_CACHE_HOME/mlp_jax, else ~/.cache/mlp_jax.

    Raises UserError if the variable names a home directory that is not known.
    """
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mlp_jax"
