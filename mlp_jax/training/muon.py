"""Muon (Jordan 2024) makes momentum orthogonal by Newton-Schulz iterations, here with products on the Gram side.

With the singular value decomposition m = U S V^T, the update is close to U V^T. Every iteration multiplies the
matrix by a polynomial of its Gram matrix m m^T, which is a square of the smaller side. So iterations can stay with
this square and gather their polynomials in one factor, which is then multiplied with m once (Gram Newton-Schulz,
Zhang, Amsel, Chen and Dao 2026, https://tridao.me/blog/2026/gram-newton-schulz/). The result is that of optax's
Muon up to rounding.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

Coefficients = Sequence[tuple[float, float, float]]
"""These are a, b and c of each iteration x -> (a + b g + c g^2) x, with g = x x^T."""

STANDARD = (3.4445, -4.7750, 2.0315)
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845749493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
"""These are the coefficients of Amsel et al. (2025, The Polar Express, algorithm 1); the last ones go on."""

RMS = 0.2
"""Updates are scaled to the size that Adam's have, so that one rate serves both (Liu et al. 2025)."""

ON_GRAM = 3
"""After so many iterations the Gram matrix is computed anew: rounding makes its smallest eigenvalues negative, and
each iteration makes these up to 69 times as large."""

EPS = 1e-8


class MuonState(NamedTuple):
    """It has the steps so far, the momentum, and, where they are kept, the factors of the last iterations."""

    steps: jax.Array
    momentum: optax.Updates
    factors: Any = ()


def coefficients(name: str, steps: int) -> Coefficients:
    """Returns those of "standard" or "polar_express", for so many iterations."""
    if name == "standard":
        return (STANDARD,) * steps
    last = len(POLAR_EXPRESS) - 1
    return tuple(POLAR_EXPRESS[min(step, last)] for step in range(steps))


def scale_by_muon(
    iterations: Coefficients, beta: jax.Array | float, *, schatten: bool = False, every: int = 1
) -> optax.GradientTransformation:
    """Makes Nesterov's momentum of matrices orthogonal, scaled to `RMS`; other arguments are `newton_schulz`'s.

    every: the factor is renewed in every so many steps, and in between the last one is multiplied with the new
    momentum, as Shampoo does with its preconditioners (Gupta, Koren and Singer 2018), and CacheMuon with Muon's
    (Dev et al. 2026).
    """

    def init(params: optax.Params) -> MuonState:
        squares = jax.tree.map(lambda leaf: jnp.zeros((min(leaf.shape),) * 2, leaf.dtype), params)
        return MuonState(jnp.zeros((), jnp.int32), optax.tree.zeros_like(params), squares if every > 1 else ())

    def update(grads: Any, state: MuonState, params: Any = None) -> tuple[Any, MuonState]:
        count = state.steps + 1
        momentum = optax.tree.update_moment(grads, state.momentum, beta, 1)
        ahead = optax.tree.bias_correction(momentum, beta, count + 1)
        now = optax.tree.bias_correction(grads, beta, count)
        wide = jax.tree.map(lambda m, g: _wide(beta * m + (1 - beta) * g), ahead, now)
        if every == 1:
            factors, found = (), jax.tree.map(lambda x: newton_schulz(x, iterations, schatten=schatten)[0], wide)
        else:
            factors = jax.lax.cond(
                state.steps % every == 0,
                lambda: jax.tree.map(lambda x: newton_schulz(x, iterations, schatten=schatten)[1], wide),
                lambda: state.factors,
            )
            found = jax.tree.map(jnp.matmul, factors, wide)
        updates = jax.tree.map(lambda x, g: RMS * max(g.shape) ** 0.5 * _back(x, g), found, grads)
        return updates, MuonState(count, momentum, factors)

    return optax.GradientTransformation(init, update)


def newton_schulz(
    x: Float[jax.Array, "rows columns"], iterations: Coefficients, *, schatten: bool = False
) -> tuple[Float[jax.Array, "rows columns"], Float[jax.Array, "rows rows"]]:
    """Returns x, no higher than wide, made nearly orthogonal, and the factor that does it: factor @ x.

    schatten: x is first divided by its Schatten norm of order 4, which is closer to its largest singular value
    than Frobenius's norm.
    """
    rows, columns = x.shape
    # an iteration takes two products of rows^2 columns, on the Gram side three more of rows^3 but for the last
    side = ON_GRAM if 2 * columns > 3 * rows else 1
    with jax.default_matmul_precision("float32"):  # the Gram matrix squares the condition number
        gram, one = x @ x.T, jnp.eye(rows, dtype=x.dtype)
        size = EPS + jnp.sqrt(jnp.linalg.norm(gram) if schatten else jnp.trace(gram))
        x, gram, factor = x / size, gram / size**2, one / size
        for start in range(0, len(iterations), side):
            gram, together = x @ x.T if start else gram, one
            for number, (a, b, c) in enumerate(iterations[start : start + side]):
                polynomial = a * one + b * gram + c * (gram @ gram)
                together = polynomial @ together if number else polynomial
                gram = polynomial @ gram @ polynomial
            x, factor = together @ x, together @ factor
    return x, factor


def _wide(m: jax.Array) -> jax.Array:
    return m if m.shape[0] <= m.shape[1] else m.T


def _back(x: jax.Array, like: jax.Array) -> jax.Array:
    """Turns a wide matrix the way round that `like` is."""
    return x if like.shape[0] <= like.shape[1] else x.T
