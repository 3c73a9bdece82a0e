"""Small programs that a released jaxlib computes, or is reported to compute, wrong on the CPU, without a word.

Each is data: what it is, where it was reported, which versions were seen wrong, and the same in jax and in numpy.
All were tried with jaxlib 0.10.1, 0.10.2 and 0.12.0.1 on x86-64 with AVX-512. What a jaxlib computes wrong that is
the only one to be had cannot stand here, or nobody could be judged: BUILD_NOTES.md says what that is, and why no
verdict hangs on it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ROWS = 40_000


class Program(NamedTuple):
    """One program, which is run compiled, in each of `dtypes`.

    name: what it computes. source: repository and number of the issue. seen_wrong: with which versions, and where.
    inputs(rng): its arguments, numpy arrays in float64. ours and true: the same function in jax and in numpy.
    """

    name: str
    source: str
    seen_wrong: str
    inputs: Callable[[np.random.Generator], tuple[np.ndarray, ...]]
    ours: Callable[..., jax.Array]
    true: Callable[..., np.ndarray]
    dtypes: tuple[str, ...] = ("float32", "float64")

    def described(self, dtype: str) -> str:
        """Its name, type and source."""
        return f"{self.name}, in {dtype} ({self.source})"


def _map_then(reduce: Callable[[Any], Any]) -> Callable[..., jax.Array]:
    """The product of one matrix with each row, and a reduction of it, mapped over the rows."""
    return lambda m, x: jax.vmap(lambda row: reduce(m @ row))(x)


def _matrix_and_rows(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return rng.standard_normal((3, 3)), rng.standard_normal((ROWS, 3))


def _bisection(table: jax.Array, wanted: jax.Array) -> jax.Array:
    """How many numbers of a sorted table are below each that is wanted; none is above all of them."""
    low, high = jnp.full(len(wanted), 0), jnp.full(len(wanted), len(table))
    for _ in range(int(math.log2(len(table))) + 1):
        middle = (low + high) // 2
        reached = wanted <= jnp.take_along_axis(table, middle, axis=0)
        low, high = jnp.where(reached, low, middle), jnp.where(reached, middle, high)
    return jnp.where(wanted <= jnp.min(table), 0, high)


def _table_and_wanted(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    numbers = np.unique(rng.random(10_001).astype(np.float32)).astype(np.float64)  # whose order both types have
    return numbers, rng.permutation(numbers)


KNOWN_WRONG = (
    Program(
        f"a map over {ROWS:,} rows, then a sum of squares",
        "jax-ml/jax#39103",
        "0.10.2, from row 32,769 in float32 and 16,385 in float64",
        _matrix_and_rows,
        _map_then(lambda product: jnp.sum(product**2)),
        lambda m, x: np.asarray(((x @ m.T) ** 2).sum(axis=1)),
    ),
    Program(
        f"a map over {ROWS:,} rows, then a maximum",
        "jax-ml/jax#39103",
        "0.10.2, in the same rows; seen here, not in the issue; in float32 also 0.9.2, 0.10.0 and 0.10.1",
        _matrix_and_rows,
        _map_then(jnp.max),
        lambda m, x: np.asarray((x @ m.T).max(axis=1)),
        ("float64",),
    ),
    Program(
        "arctan of 200 numbers",
        "jax-ml/jax#39352",
        "0.10.2, as reported; not on the processor on which this list was tried",
        lambda rng: (np.linspace(-5, 5, 200),),
        jnp.arctan,
        lambda x: np.asarray(np.arctan(x)),
    ),
    Program(
        "a bisection in 10,000 numbers",
        "jax-ml/jax#39887",
        "0.10.2, as reported; not on the processor on which this list was tried",
        _table_and_wanted,
        _bisection,
        lambda table, wanted: np.asarray(np.searchsorted(table, wanted)),
        ("float32",),
    ),
)
