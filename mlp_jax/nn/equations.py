"""Question 2 of the report, equations 1 to 13, one function each, in the report's order and symbols.

The network has two layers and ReLU: a1 = x, z2 = a1 w1 + b1, a2 = phi(z2), z3 = a2 w2 + b2, psi = softmax(z3).
Rows are examples: a1 (N, D), w1 (D, H), b1 (H,), a2 and z2 (N, H), w2 (H, C), b2 (C,), z3 and psi (N, C), and
delta is the one-hot label (N, C). J = -(1/N) sum_i log psi(z3_i)[y_i] and J~ = J + lambda (||w1||^2 + ||w2||^2)
with squared Frobenius norms, no 1/2, and biases not penalised; `l2` is lambda.

`gradients.py` has the same mathematics for every network; here nothing is shared, shortened or made stable.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from mlp_jax.nn.activations import Array
from mlp_jax.nn.model import Layer


def eq1(psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "N C"]:
    """dJ/dz3_i = -(1/N) (1/psi_y) dpsi_y/dz3: the chain rule through log (eq 2) and psi (eq 3), one row each.

    Not finite where psi_y underflows to 0; eq 4 is the same quantity without the division.
    """
    return -(1 / psi.shape[0]) * eq2(true_class(psi, y))[:, None] * eq3(psi, y)


def eq2(psi_y: Float[Array, "N"]) -> Float[Array, "N"]:
    """d log(psi_y) / dpsi_y = 1 / psi_y."""
    return 1 / jnp.asarray(psi_y)


def eq3(psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "N C"]:
    """dpsi_y/dz3 = psi_y (delta - psi): the row of the softmax's Jacobian that belongs to the true class."""
    return true_class(psi, y)[:, None] * (one_hot(psi, y) - psi)


def eq4(psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "N C"]:
    """dJ/dz3 = (psi - delta) / N: eqs 2 and 3 put into eq 1."""
    return (psi - one_hot(psi, y)) / psi.shape[0]


def eq5(a2: Float[Array, "N H"], psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "H C"]:
    """dJ/dw2 = sum_i a2_i (x) dJ/dz3_i, a sum over the examples of outer products."""
    return (a2[:, :, None] * eq4(psi, y)[:, None, :]).sum(axis=0)


def eq6(a2: Float[Array, "N H"], psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "H C"]:
    """dJ/dw2 = a2^T (psi - delta) / N.

    Slip in the report: an outer product is written as a plain one; the transpose of a2 makes it conform.
    """
    return a2.T @ (psi - one_hot(psi, y)) / psi.shape[0]


def eq7(
    a2: Float[Array, "N H"],
    psi: Float[Array, "N C"],
    y: Integer[Array, "N"],
    w2: Float[Array, "H C"],
    l2: ArrayLike,
) -> Float[Array, "H C"]:
    """dJ~/dw2 = a2^T (psi - delta) / N + 2 lambda w2: eq 6 and the penalty's part.

    Slip in the report: as in eq 6, an outer product is written as a plain one.
    """
    return eq6(a2, psi, y) + 2 * l2 * w2


def eq8(psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "C"]:
    """dJ/db2 = sum_i dJ/dz3_i, a sum over the examples, because dz3_i/db2 is the identity."""
    rows = [eq4(psi, y)[i] for i in range(psi.shape[0])]
    return jnp.stack(rows).sum(axis=0)


def eq9(psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "C"]:
    """dJ~/db2 = 1^T (psi - delta) / N: column sums of eq 4; the penalty leaves biases alone."""
    return (psi - one_hot(psi, y)).sum(axis=0) / psi.shape[0]


def eq10(
    a1: Float[Array, "N D"],
    z2: Float[Array, "N H"],
    psi: Float[Array, "N C"],
    y: Integer[Array, "N"],
    w1: Float[Array, "D H"],
    w2: Float[Array, "H C"],
    l2: ArrayLike,
) -> Float[Array, "D H"]:
    """dJ~/dw1 as a chain: eq 4, then dz3/da2 = w2, then phi' (eq 11), then dz2/dw1 = a1, + 2 lambda w1."""
    d_a2 = jnp.einsum("nc,hc->nh", eq4(psi, y), w2)
    d_z2 = d_a2 * eq11(z2)
    return jnp.einsum("nd,nh->dh", a1, d_z2) + 2 * l2 * w1


def eq11(z2: Float[Array, "N H"]) -> Float[Array, "N H"]:
    """phi'(z2) = 1 where z2 > 0, else 0.

    Slip in the report: z2 = 0 is left undefined. We use 0, as the report's scripts and `jax.nn.relu` do;
    `jnp.maximum(x, 0)` would give 0.5.
    """
    return (z2 > 0).astype(z2.dtype)


def eq12(
    a1: Float[Array, "N D"],
    z2: Float[Array, "N H"],
    psi: Float[Array, "N C"],
    y: Integer[Array, "N"],
    w1: Float[Array, "D H"],
    w2: Float[Array, "H C"],
    l2: ArrayLike,
) -> Float[Array, "D H"]:
    """dJ~/dw1 = a1^T [((psi - delta) w2^T) * 1(z2 > 0)] / N + 2 lambda w1.

    Slips in the report: w2 is not transposed and the mask is not an elementwise product, so it does not conform.
    """
    return a1.T @ (((psi - one_hot(psi, y)) @ w2.T) * eq11(z2)) / psi.shape[0] + 2 * l2 * w1


def eq13(
    z2: Float[Array, "N H"], psi: Float[Array, "N C"], y: Integer[Array, "N"], w2: Float[Array, "H C"]
) -> Float[Array, "H"]:
    """dJ~/db1 = column sums of [((psi - delta) w2^T) * 1(z2 > 0)] / N.

    Slips in the report: those of eq 12, and the sum stops short of the mask.
    """
    return (((psi - one_hot(psi, y)) @ w2.T) * eq11(z2)).sum(axis=0) / psi.shape[0]


def two_layer_gradients(
    params: tuple[Layer, Layer], x: Float[Array, "N D"], y: Integer[Array, "N"], l2: ArrayLike
) -> tuple[Layer, Layer]:
    """All four gradients of J~ for a two-layer ReLU network: eqs 12, 13, 7 and 9."""
    (w1, b1), (w2, b2) = params
    z2 = x @ w1 + b1[None]
    a2 = jax.nn.relu(z2)
    psi = jax.nn.softmax(a2 @ w2 + b2[None])
    first = (eq12(x, z2, psi, y, w1, w2, l2), eq13(z2, psi, y, w2))
    second = (eq7(a2, psi, y, w2, l2), eq9(psi, y))
    return Layer(*map(jnp.asarray, first)), Layer(*map(jnp.asarray, second))


def one_hot(psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "N C"]:
    """The report's Delta: row i is 1 at the true class y_i and 0 elsewhere."""
    return jax.nn.one_hot(jnp.asarray(y, jnp.int32), psi.shape[1], dtype=psi.dtype)


def true_class(psi: Float[Array, "N C"], y: Integer[Array, "N"]) -> Float[Array, "N"]:
    """psi_y: the probability that each row gives to its true class."""
    return jnp.asarray(psi)[jnp.arange(psi.shape[0]), y]
