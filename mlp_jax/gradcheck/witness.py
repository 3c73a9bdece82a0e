"""Is `jax.grad` itself right here? It is asked before anybody's gradient is judged by it.

A released jaxlib can compute wrong without a word (`known_wrong`), and every verdict of this package rests on
`jax.grad(losses.loss)`. So that is held against a derivation of its own in numpy, on networks of two layers and of
five with normalisation, on few rows and on many, compiled as verdicts and users have it; and the programs of
`known_wrong` are held against numpy.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
import numpy as np

from mlp_jax import files, machine
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import derivation
from mlp_jax.gradcheck.comparison import compare, compiled, numpy_params
from mlp_jax.gradcheck.known_wrong import KNOWN_WRONG, ROWS, Program
from mlp_jax.nn import losses
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params

Gradient = Callable[..., Params]
Check = tuple[str, Callable[[], bool]]
"""What is computed, and whether it is computed right."""

L2 = 0.05
TWO, FIVE = "two layers", "five layers with batch normalisation"
NETWORKS = {
    TWO: MLPConfig((6,), inputs=5, classes=4, dtype="float64"),
    FIVE: MLPConfig((3,) * 4, norm="batch", inputs=3, classes=3, dtype="float64"),
}
"""With ReLU and an L2 penalty; the deep one is as narrow as the programs of `known_wrong`."""
FOR_VERDICTS = "compiled without optimisation, as for a verdict"
WAYS: tuple[tuple[str, int, str, Callable[[Gradient], Gradient]], ...] = (
    (TWO, 7, FOR_VERDICTS, compiled),
    (TWO, ROWS, "compiled", jax.jit),
    (FIVE, 7, FOR_VERDICTS, compiled),
    (FIVE, ROWS, "compiled", jax.jit),
)
"""The network, how many rows its gradient is of, and how it is computed.

Operation by operation it is not tried: no verdict is computed so, and each operation is a program to compile.
"""
LARGEST_ERROR = {"float32": 1e-4, "float64": 1e-10}
"""Of a leaf of a gradient, as `compare` has it; of a number of `known_wrong`, relative to 1 plus its size."""
_passed: set[bytes] = set()


def trusted_witness() -> dict[str, Any]:
    """`check_witness`, once for a jaxlib on a kind of processor: a pass is remembered, in memory and in a file.

    Returns what was checked on what, as results.json has it: {"jax", "jaxlib", "processor", "vectors", "device",
    "xla_flags", "optimised", "programs": their names}. The file is in `files.cache_folder()`; one that is
    damaged or cannot be written costs another check, no more. Raises UserError as `check_witness` does; a failure
    is never remembered.
    """
    witness = _about()
    text = (json.dumps(witness, indent=1) + "\n").encode()
    if text in _passed:
        return witness
    path = files.cache_folder() / f"witness-{hashlib.sha256(text).hexdigest()[:16]}.json"
    if _content(path, len(text) + 1) != text:
        check_witness()
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write(path, text)
    _passed.add(text)
    return witness


def check_witness(grad: Callable[..., Gradient] | None = None, programs: Sequence[Program] = KNOWN_WRONG) -> None:
    """Holds `grad` (default `jax.grad`) and `programs` against numpy, on jax's default device. A few seconds.

    Raises UserError for the first that is computed wrong: it names jaxlib, the processor and the program.
    """
    with jax.enable_x64(True), jax.default_matmul_precision("float32"):
        for name, is_right in _checks(grad or jax.grad, programs):
            if not is_right():
                raise UserError(_refusal(name))


def _checks(grad: Callable[..., Gradient], programs: Sequence[Program]) -> Iterator[Check]:
    yield from _known(programs)
    yield from _gradients(grad)


def _known(programs: Sequence[Program]) -> Iterator[Check]:
    for program in programs:
        for dtype in program.dtypes:
            yield program.described(dtype), functools.partial(_program_is_right, program, dtype)


def _program_is_right(program: Program, dtype: str) -> bool:
    inputs = [values.astype(dtype) for values in program.inputs(np.random.default_rng(0))]
    found, true = np.asarray(jax.jit(program.ours)(*inputs)), program.true(*inputs)
    return bool((np.abs(found - true) <= LARGEST_ERROR[dtype] * (1 + np.abs(true))).all())


def _gradients(grad: Callable[..., Gradient]) -> Iterator[Check]:
    for network, rows, way, prepared in WAYS:
        check = functools.partial(_gradient_is_right, grad, NETWORKS[network], rows, prepared)
        yield f"jax.grad of {network}, {rows:,} rows, {way}", check


def _gradient_is_right(
    grad: Callable[..., Gradient], config: MLPConfig, rows: int, prepared: Callable[[Gradient], Gradient]
) -> bool:
    rng = np.random.default_rng(0)
    params: Params = numpy_params(rng, config)
    x, y = rng.standard_normal((rows, config.inputs)), rng.integers(0, config.classes, rows)
    found = prepared(grad(lambda params, x, y: losses.loss(params, x, y, config, l2=L2)))(params, x, y)
    true = derivation.gradient(params, x, y, config, L2)
    limit = LARGEST_ERROR["float64"]
    return all(leaf.relative_error <= limit for leaf in compare(found, true, config))


def _about() -> dict[str, Any]:
    """What a pass is a pass of: versions, processor, device, compiler, and the programs by name."""
    processor, device = machine.processor(), jax.devices()[0]
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "processor": processor["model"],
        "vectors": processor["vectors"],
        "device": device.platform if device.platform == "cpu" else f"{device.platform} {device.device_kind}",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "optimised": not jax.config.values["jax_disable_most_optimizations"],
        "programs": [name for name, _ in _checks(jax.grad, KNOWN_WRONG)],
    }


def _refusal(name: str) -> str:
    about = _about()
    flags = f", under XLA_FLAGS={about['xla_flags']!r}" if about["xla_flags"] else ""
    version = about["jaxlib"]
    return (
        f"jaxlib {version} computes wrong on this processor ({about['processor']}, {about['device']}{flags}): "
        f"{name}; no gradient can be judged by it, so install another: "
        f"pip install 'jax!={version}' 'jaxlib!={version}'"
    )


def _content(path: Path, most: int) -> bytes | None:
    """What the file holds, as far as it matters; None if it cannot be read."""
    try:
        with files.open_regular(path) as file:
            return file.read(most)
    except OSError:
        return None
