"""Question 2 of the report has equations 1 to 13: here they are, one function each, in its order and symbols.

The network has two layers and ReLU: a1 = x, z2 = a1 w1 + b1, a2 = phi(z2), z3 = a2 w2 + b2, psi = softmax(z3).
Rows are examples: a1 (N, D), w1 (D, H), b1 (H,), a2 and z2 (N, H), w2 (H, C), b2 (C,), z3 and psi (N, C), and
delta is the one-hot label (N, C). J = -(1/N) sum_i log psi(z3_i)[y_i] and J~ = J + lambda (||w1||^2 + ||w2||^2)
with squared Frobenius norms, no 1/2, and biases not penalised; `l2` is lambda.

Above each function stands its equation in LaTeX and, where the report prints a slip, what the slip is;
`EQUATIONS` has them all. Each function is one expression, so that it can be read beside its equation.

`gradients.py` has the same mathematics for every network; here nothing is shared, shortened or made stable.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float, Integer

from mlp_jax.nn.activations import Array
from mlp_jax.nn.model import Layer

Function = TypeVar("Function", bound=Callable[..., Any])
# Arrays are named by their dimensions.
NC: TypeAlias = Float[Array, "N C"]
NH: TypeAlias = Float[Array, "N H"]
ND: TypeAlias = Float[Array, "N D"]
DH: TypeAlias = Float[Array, "D H"]
HC: TypeAlias = Float[Array, "H C"]
Labels: TypeAlias = Integer[Array, "N"]


class Equation(NamedTuple):
    """This is one equation of the report.

    number is the report's, latex the equation as it was meant, meaning the same in words and plain signs, function
    the equation in code. slip tells how the report prints it, where that is wrong or silent; it is empty where the
    print is right.
    """

    number: int
    latex: str
    meaning: str
    slip: str
    function: Callable[..., Any]


EQUATIONS: dict[str, Equation] = {}
"""It has every equation by the name of its function, in the report's order."""


def equation(latex: str, meaning: str, slip: str = "") -> Callable[[Function], Function]:
    """Puts the function that follows into `EQUATIONS`, and leaves it as it is."""

    def written(function: Function) -> Function:
        name = function.__name__
        EQUATIONS[name] = Equation(int(name.removeprefix("eq")), latex, meaning, slip, function)
        return function

    return written


@equation(
    r"\frac{\partial J}{\partial z_{3,i}} = -\frac{1}{N}\,\frac{1}{\psi_y}\,\frac{\partial \psi_y}{\partial z_3}",
    meaning="dJ/dz3_i = -(1/N) (1/psi_y) dpsi_y/dz3: the chain rule through log (eq 2) and psi (eq 3), "
    "one row each",
)
def eq1(psi: NC, y: Labels) -> NC:
    """dJ/dz3_i = -(1/N) (1/psi_y) dpsi_y/dz3 is the chain rule through log (eq 2) and psi (eq 3), one row each.

    It is not finite where psi_y underflows to 0; eq 4 is the same quantity without the division.
    """
    return -(1 / psi.shape[0]) * eq2(true_class(psi, y))[:, None] * eq3(psi, y)


@equation(
    r"\frac{\partial \log \psi_y}{\partial \psi_y} = \frac{1}{\psi_y}", meaning="d log(psi_y) / dpsi_y = 1 / psi_y"
)
def eq2(psi_y: Float[Array, "N"]) -> Float[Array, "N"]:
    """d log(psi_y) / dpsi_y is 1 / psi_y."""
    return 1 / jnp.asarray(psi_y)


@equation(
    r"\frac{\partial \psi_y}{\partial z_3} = \psi_y\,(\Delta - \psi)",
    meaning="dpsi_y/dz3 = psi_y (delta - psi): the row of the softmax's Jacobian that belongs to the true class",
)
def eq3(psi: NC, y: Labels) -> NC:
    """dpsi_y/dz3 = psi_y (delta - psi) is the row of the softmax's Jacobian that belongs to the true class."""
    return true_class(psi, y)[:, None] * (one_hot(psi, y) - psi)


@equation(
    r"\frac{\partial J}{\partial z_3} = \frac{1}{N}\,(\psi - \Delta)",
    meaning="dJ/dz3 = (psi - delta) / N: eqs 2 and 3 put into eq 1",
)
def eq4(psi: NC, y: Labels) -> NC:
    """dJ/dz3 = (psi - delta) / N comes of putting eqs 2 and 3 into eq 1."""
    return (psi - one_hot(psi, y)) / psi.shape[0]


@equation(
    r"\frac{\partial J}{\partial w_2} = \sum_{i=1}^N a_{2,i} \otimes \frac{\partial J}{\partial z_{3,i}}",
    meaning="dJ/dw2 = sum_i a2_i (x) dJ/dz3_i, a sum over the examples of outer products",
)
def eq5(a2: NH, psi: NC, y: Labels) -> HC:
    """dJ/dw2 = sum_i a2_i (x) dJ/dz3_i is a sum over the examples of outer products."""
    return (a2[:, :, None] * eq4(psi, y)[:, None, :]).sum(axis=0)


@equation(
    r"\frac{\partial J}{\partial w_2} = \frac{1}{N}\,a_2^T\,(\psi - \Delta)",
    meaning="dJ/dw2 = a2^T (psi - delta) / N",
    slip="The report writes an outer product as a plain one; with the transpose of a2 the matrices conform.",
)
def eq6(a2: NH, psi: NC, y: Labels) -> HC:
    """dJ/dw2 is a2^T (psi - delta) / N."""
    return a2.T @ (psi - one_hot(psi, y)) / psi.shape[0]


@equation(
    r"\frac{\partial \tilde{J}}{\partial w_2} = \frac{1}{N}\,a_2^T\,(\psi - \Delta) + 2 \lambda w_2",
    meaning="dJ~/dw2 = a2^T (psi - delta) / N + 2 lambda w2: eq 6 and the penalty's part",
    slip="As in equation 6, the report writes an outer product as a plain one.",
)
def eq7(a2: NH, psi: NC, y: Labels, w2: HC, l2: ArrayLike) -> HC:
    """dJ~/dw2 = a2^T (psi - delta) / N + 2 lambda w2 is eq 6 and the penalty's part."""
    return eq6(a2, psi, y) + 2 * l2 * w2


@equation(
    r"\frac{\partial J}{\partial b_2} = \sum_{i=1}^N \frac{\partial J}{\partial z_{3,i}}",
    meaning="dJ/db2 = sum_i dJ/dz3_i, a sum over the examples, because dz3_i/db2 is the identity",
)
def eq8(psi: NC, y: Labels) -> Float[Array, "C"]:
    """dJ/db2 = sum_i dJ/dz3_i is a sum over the examples, because dz3_i/db2 is the identity."""
    return jnp.stack([eq4(psi, y)[i] for i in range(psi.shape[0])]).sum(axis=0)


@equation(
    r"\frac{\partial \tilde{J}}{\partial b_2} = \frac{1}{N} \sum_{i=1}^N (\psi_i - \Delta_i)",
    meaning="dJ~/db2 = 1^T (psi - delta) / N: column sums of eq 4; the penalty leaves biases alone",
)
def eq9(psi: NC, y: Labels) -> Float[Array, "C"]:
    """dJ~/db2 = 1^T (psi - delta) / N has the column sums of eq 4; the penalty leaves biases alone."""
    return (psi - one_hot(psi, y)).sum(axis=0) / psi.shape[0]


@equation(
    r"\frac{\partial \tilde{J}}{\partial w_1} = \frac{\partial J}{\partial z_3}\,"
    r"\frac{\partial z_3}{\partial a_2}\,\frac{\partial a_2}{\partial z_2}\,"
    r"\frac{\partial z_2}{\partial w_1} + 2 \lambda w_1",
    meaning="dJ~/dw1 as a chain: eq 4, then dz3/da2 = w2, then phi' (eq 11), then dz2/dw1 = a1, + 2 lambda w1",
)
def eq10(a1: ND, z2: NH, psi: NC, y: Labels, w1: DH, w2: HC, l2: ArrayLike) -> DH:
    """dJ~/dw1 is a chain: eq 4, then dz3/da2 = w2, then phi' (eq 11), then dz2/dw1 = a1, + 2 lambda w1."""
    return jnp.einsum("nc,hc,nh,nd->dh", eq4(psi, y), w2, eq11(z2), a1) + 2 * l2 * w1


@equation(
    r"\phi'(z_2) = \begin{cases} 1 & z_2 > 0 \\ 0 & z_2 \le 0 \end{cases}",
    meaning="phi'(z2) = 1 where z2 > 0, else 0",
    slip="The report leaves z2 = 0 undefined. It is 0 here, as in the report's scripts and in jax.nn.relu; "
    "jnp.maximum(x, 0) would give 0.5.",
)
def eq11(z2: NH) -> NH:
    """phi'(z2) is 1 where z2 > 0, else 0."""
    return (z2 > 0).astype(z2.dtype)


@equation(
    r"\frac{\partial \tilde{J}}{\partial w_1} = \frac{1}{N}\,"
    r"a_1^T \left[ (\psi - \Delta)\,w_2^T \odot 1_{z_2 > 0} \right] + 2 \lambda w_1",
    meaning="dJ~/dw1 = a1^T [((psi - delta) w2^T) * 1(z2 > 0)] / N + 2 lambda w1",
    slip="The report prints w2 without its transpose, and the mask as a plain product where it is an "
    "elementwise one: as printed, the matrices do not conform.",
)
def eq12(a1: ND, z2: NH, psi: NC, y: Labels, w1: DH, w2: HC, l2: ArrayLike) -> DH:
    """dJ~/dw1 is a1^T [((psi - delta) w2^T) * 1(z2 > 0)] / N + 2 lambda w1."""
    return a1.T @ (((psi - one_hot(psi, y)) @ w2.T) * eq11(z2)) / psi.shape[0] + 2 * l2 * w1


@equation(
    r"\frac{\partial \tilde{J}}{\partial b_1} = "
    r"\frac{1}{N} \sum_{i=1}^N \left[ (\psi - \Delta)\,w_2^T \odot 1_{z_2 > 0} \right]_i",
    meaning="dJ~/db1 = column sums of [((psi - delta) w2^T) * 1(z2 > 0)] / N",
    slip="The slips of equation 12, and the report's sum stops short of the mask.",
)
def eq13(z2: NH, psi: NC, y: Labels, w2: HC) -> Float[Array, "H"]:
    """dJ~/db1 has the column sums of [((psi - delta) w2^T) * 1(z2 > 0)] / N."""
    return (((psi - one_hot(psi, y)) @ w2.T) * eq11(z2)).sum(axis=0) / psi.shape[0]


def two_layer_gradients(params: tuple[Layer, Layer], x: ND, y: Labels, l2: ArrayLike) -> tuple[Layer, Layer]:
    """Returns all four gradients of J~ for a two-layer ReLU network: eqs 12, 13, 7 and 9."""
    (w1, b1), (w2, b2) = params
    z2 = x @ w1 + b1[None]
    a2 = jax.nn.relu(z2)
    psi = jax.nn.softmax(a2 @ w2 + b2[None])
    first = (eq12(x, z2, psi, y, w1, w2, l2), eq13(z2, psi, y, w2))
    second = (eq7(a2, psi, y, w2, l2), eq9(psi, y))
    return Layer(*map(jnp.asarray, first)), Layer(*map(jnp.asarray, second))


def one_hot(psi: NC, y: Labels) -> NC:
    """Returns the report's Delta: row i is 1 at the true class y_i and 0 elsewhere."""
    return jax.nn.one_hot(jnp.asarray(y, jnp.int32), psi.shape[1], dtype=psi.dtype)


def true_class(psi: NC, y: Labels) -> Float[Array, "N"]:
    """Returns psi_y, the probability that each row gives to its true class."""
    return jnp.asarray(psi)[jnp.arange(psi.shape[0]), y]
