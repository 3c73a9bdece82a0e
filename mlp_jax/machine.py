"""These properties of a machine and of its settings can change the bits of a result."""

import functools
import os
import platform
from pathlib import Path
from typing import Any

import jax

VECTORS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx512_fp16", "amx_tile", "amx_bf16",
    "asimd", "asimddp", "bf16", "sve", "sve2",
)  # fmt: skip
"""XLA chooses between these instructions on a CPU, as /proc/cpuinfo names them: x86's, then ARM's."""

CONFIG = (
    "jax_default_matmul_precision", "jax_default_prng_impl", "jax_disable_most_optimizations", "jax_enable_x64",
    "jax_num_cpu_devices", "jax_threefry_partitionable",
)  # fmt: skip

VARIABLES = (
    "XLA_", "JAX_", "OMP_NUM_THREADS", "OPENBLAS_", "MKL_", "NVIDIA_TF32_OVERRIDE", "CUDA_VISIBLE_DEVICES",
    "CUBLAS_", "LIBTPU_INIT_ARGS",
)  # fmt: skip
"""Variables whose names start so are worth telling, if they are set."""


def processor() -> dict[str, Any]:
    """Returns {"model", "vectors": its instructions of VECTORS, "usable_cores"}; null for what is unknown."""
    told = _cpuinfo()
    features = (told.get("flags") or told.get("Features") or "").split()
    affinity = getattr(os, "sched_getaffinity", None)  # some systems have none
    return {
        "model": told.get("model name") or platform.processor() or None,
        "vectors": " ".join(name for name in VECTORS if name in features) or None,
        "usable_cores": len(affinity(0)) if affinity else os.cpu_count(),
    }


def _cpuinfo() -> dict[str, str]:
    """Returns what the system tells of the first core."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


@functools.cache
def quick_compilation(level: int = 0) -> dict[str, bool | int | float | str]:
    """Returns options with which XLA compiles quickly what then runs slowly: for `jax.jit(compiler_options=...)`.

    At level 0 the program is several times slower, at level 1 hardly. The last bits of a result may be others.
    What this jaxlib does not know is left out.
    """
    options: dict[str, bool | int | float | str] = {
        "xla_backend_optimization_level": level,
        "xla_llvm_disable_expensive_passes": level == 0,
        "xla_cpu_use_fusion_emitters": False,
        "xla_cpu_parallel_codegen_split_count": 1,  # in one piece
    }
    return {name: value for name, value in options.items() if _knows(name, isinstance(value, bool))}


@functools.cache
def _knows(option: str, is_switch: bool) -> bool:
    """Whether this jaxlib compiles with the option, a switch or a number: it is tried with True or 1."""
    try:
        jax.jit(lambda: 0, compiler_options={option: is_switch or 1}).lower().compile()
    except jax.errors.JaxRuntimeError:  # "No such compile option"
        return False
    return True


def settings() -> dict[str, Any]:
    """Returns {"config": jax's options, "variables": those set, but for places, on which no bit depends}."""
    values = jax.config.values  # some options are no attributes
    return {
        "config": {name.removeprefix("jax_"): getattr(jax.config, name, values.get(name)) for name in CONFIG},
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES) and not name.endswith(("_DIR", "_PATH", "_ADDRESS"))
        },
    }
