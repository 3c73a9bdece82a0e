"""A layer has three matrix products, each in one of three precisions and in the layout that is fastest on a CPU.

They are written with the transposed weights. Training holds weights so (`step.run_epoch`), which makes w.T free.
"""

import jax
import jax.numpy as jnp

PRECISIONS = ("float32", "tf32", "bf16")
"""The operands of a product have one of these; sums keep the operands' own type. float64 networks have "float32".

- float32 leaves them as they are. It is pinned, because an NVIDIA GPU or a TPU would otherwise round them.
- tf32 rounds them to 10 bits of mantissa, as an NVIDIA GPU does; elsewhere that is done here, and saves no time.
- bf16 rounds them to bfloat16, 7 bits of mantissa; it is twice as fast on a CPU with avx512_bf16.
"""


MANY = 1000
"""From so many inputs on, a layer's products are faster with the transposes of its outputs, which are few.

With 3 inputs, jaxlib 0.10.2 computes sums over each row's outputs wrong in that form (test_many_rows).
"""


def platform() -> str:
    """Returns the kind of device that is computed for, "cpu", "gpu" or "tpu": `jax.default_device`'s, if set.

    It is asked while a function is traced. `jax.default_device` belongs to what jax knows a compiled program by.
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else str(device.platform)


def affine(x: jax.Array, w: jax.Array, precision: str) -> jax.Array:
    """Returns x w, for x of shape (B, D) and w of (D, H); for large D it is taken as (w^T x^T)^T.

    The barrier on w is for autodiff, whose product for w then is `outer`'s.
    """
    if len(w) < MANY:
        return _dot(x, _barrier(w.T), 1, 1, precision)
    return _barrier(_dot(_barrier(w.T), x, 1, 1, precision)).T


def outer(x: jax.Array, delta: jax.Array, precision: str) -> jax.Array:
    """Returns x^T delta, for x (B, D) and delta (B, H), taken as (delta^T x)^T: up to four times as fast."""
    if x.shape[1] < MANY:
        return _barrier(_dot(delta, x, 0, 0, precision)).T
    return _barrier(_dot(_barrier(delta.T), x, 1, 0, precision)).T


def back(delta: jax.Array, w: jax.Array, precision: str) -> jax.Array:
    """Returns delta w^T, for delta of shape (B, H) and w of (D, H)."""
    return _dot(delta, w.T, 1, 0, precision)


def _barrier(array: jax.Array) -> jax.Array:
    """Keeps XLA from turning a product back into its slower form, on the CPU; elsewhere XLA chooses."""
    return jax.lax.optimization_barrier(array) if platform() == "cpu" else array


def _dot(a: jax.Array, b: jax.Array, axis_a: int, axis_b: int, precision: str) -> jax.Array:
    dtype, how = jnp.result_type(a, b), jax.lax.Precision.HIGHEST
    a, b = a.astype(dtype), b.astype(dtype)
    if precision == "bf16":
        a, b, how = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), jax.lax.Precision.DEFAULT
    elif precision == "tf32" and platform() == "gpu":
        how = jax.lax.Precision.HIGH
    elif precision == "tf32":
        a, b = (jax.lax.reduce_precision(v, exponent_bits=8, mantissa_bits=10) for v in (a, b))
    dimensions = (((axis_a,), (axis_b,)), ((), ()))
    return jax.lax.dot_general(a, b, dimensions, precision=how, preferred_element_type=dtype)
