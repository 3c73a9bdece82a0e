"""Checks gradients against `jax.grad`, leaf by leaf: the general backward pass, and equations 1 to 13.

The error of a leaf is |candidate - reference| / |reference| in Euclidean norms, and must stay below TOLERANCE.
A leaf whose reference is 0 must be 0. In a normalised network, a hidden layer's bias and shift are measured
against the largest gradient of their layer instead: where a normalisation takes their effect out again the true
gradient is 0, and what autodiff gives is rounding noise.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from mlp_jax.machine import quick_compilation
from mlp_jax.nn import equations, losses
from mlp_jax.nn.activations import Array
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer, NormLayer, Params

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
NORMALIZED_TOLERANCE = {"float64": 1e-12, "float32": 1e-4}


class LeafCheck(NamedTuple):
    """One leaf: its name, its error against the reference, the worst element's index, and the limit."""

    leaf: str
    relative_error: float
    worst: tuple[int, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; an error that is not a number is not."""
        return self.relative_error <= self.tolerance


def check_leaf(
    name: str, candidate: Array, reference: Array, tolerance: float, *, scale: float = 0.0
) -> LeafCheck:
    """Compares one array with its reference; `scale`, if larger, replaces the reference's norm."""
    found, true = np.asarray(candidate), np.asarray(reference)
    if found.shape != true.shape:
        return LeafCheck(f"{name}: shape {found.shape} instead of {true.shape}", np.inf, (), tolerance)
    difference = np.abs(found.astype(np.float64) - true)
    size = max(float(np.linalg.norm(true)), scale)
    distance = float(np.linalg.norm(difference))
    error = distance / size if size > 0 else np.inf if distance else 0.0
    # argmax takes a NaN for the largest: that is the element to show
    index = np.unravel_index(int(np.argmax(difference)), true.shape)
    return LeafCheck(name, error, tuple(map(int, index)), tolerance)


def compare(candidate: Params, reference: Params, config: MLPConfig) -> list[LeafCheck]:
    """One check per leaf, first layer first; leaves are called layer1.w, layer1.b, ... from the input on."""
    limits = NORMALIZED_TOLERANCE if any(unit.norm != "none" for unit in config.units) else TOLERANCE
    checks = []
    for number, (mine, true) in enumerate(zip(candidate, reference, strict=True), start=1):
        largest = max(float(np.linalg.norm(leaf)) for leaf in true)
        for field, found, expected in zip(true._fields, mine, true, strict=True):
            scale = largest if isinstance(true, NormLayer) and field in ("b", "shift") else 0.0
            name = f"layer{number}.{field}"
            checks.append(check_leaf(name, found, expected, limits[config.dtype], scale=scale))
    return checks


def check_backward(
    params: Params,
    x: Array,
    y: Array,
    config: MLPConfig,
    *,
    candidate: Callable[..., Params],
    l2: float = 0.05,
    key: PRNGKeyArray | None = None,
) -> list[LeafCheck]:
    """Holds `candidate(params, x, y, config, l2=l2, key=key)` against `jax.grad` of `losses.loss`."""
    reference = jax.grad(losses.loss)(params, x, y, config, l2=l2, key=key)
    return compare(candidate(params, x, y, config, l2=l2, key=key), reference, config)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """jit for a function that runs only a few times: made anew, so that it cannot outlive an edit of a gradient,
    and compiled without optimisation, which takes half the time.
    """
    return jax.jit(lambda *arguments: function(*arguments), compiler_options=quick_compilation())


def random_params(rng: np.random.Generator, config: MLPConfig) -> Params:
    """Normal weights of variance 1 / fan_in, and biases, scales and shifts that are all different.

    A fresh network's zeros and ones hide mistakes. numpy draws them, and they are put on the device as they
    are: `jax.random` and `jnp.asarray` would compile a program for every shape, which takes longer than the check.
    """
    params: Params = jax.tree.map(jax.device_put, numpy_params(rng, config))
    return params


def numpy_params(rng: np.random.Generator, config: MLPConfig) -> Any:
    """The same with numpy's arrays."""

    def normal(*shape: int, mean: float = 0.0, scale: float) -> Any:
        return rng.normal(mean, scale, shape).astype(config.dtype)

    layers: list[Layer | NormLayer] = []
    for fan_in, width, unit in zip(config.sizes[:-1], config.sizes[1:], (*config.units, None), strict=True):
        w, b = normal(fan_in, width, scale=fan_in**-0.5), normal(width, scale=0.3)
        if unit is None or unit.norm == "none":
            layers.append(Layer(w, b))
            continue
        scale, shift = (normal(unit.norm_width, mean=mean, scale=0.3) for mean in (1, 0))
        layers.append(NormLayer(w, b, scale, shift))
    return tuple(layers)


class TwoLayerCase(NamedTuple):
    """A random two-layer ReLU network and batch in the report's symbols, with biases, and one z2 of exactly 0."""

    a1: jax.Array
    y: jax.Array
    w1: jax.Array
    b1: jax.Array
    w2: jax.Array
    b2: jax.Array
    l2: float


def two_layer_case(rng: np.random.Generator, dtype: str = "float64") -> TwoLayerCase:
    """N = 7 examples of D = 5 inputs, H = 6 hidden units and C = 4 classes."""
    shapes = ((7, 5), (5, 6), (6,), (6, 4), (4,))
    arrays = [rng.normal(size=shape) for shape in shapes]
    arrays[0][0] = arrays[2][0] = 0
    a1, w1, b1, w2, b2 = (jax.device_put(array.astype(dtype)) for array in arrays)
    return TwoLayerCase(a1, jax.device_put(rng.integers(0, 4, 7)), w1, b1, w2, b2, 0.05)


def check_equations(*cases: TwoLayerCase) -> Iterator[list[LeafCheck]]:
    """Each of equations 1 to 13 against `jax.grad` or `jax.jacobian` of the quantity that it claims to be.

    Yields a list of 13 checks for each case.
    """
    pairs = compiled(_equation_pairs)
    for case in cases:
        limit = TOLERANCE[str(case.a1.dtype)]
        yield [check_leaf(f"eq{n}", mine, true, limit) for n, (mine, true) in enumerate(pairs(case), start=1)]


def _equation_pairs(case: TwoLayerCase) -> list[tuple[Array, Array]]:
    """(what the equation says, what autodiff says) for each equation."""
    a1, y, w1, b1, w2, b2, l2 = case
    z2 = a1 @ w1 + b1[None]
    a2 = jax.nn.relu(z2)
    z3 = a2 @ w2 + b2[None]
    psi = jax.nn.softmax(z3)
    psi_y = psi[jnp.arange(len(y)), y]

    def data_loss(z3: jax.Array) -> jax.Array:  # J
        return -jnp.log(jax.nn.softmax(z3)[jnp.arange(len(y)), y]).mean()

    def full_loss(w1: jax.Array, b1: jax.Array, w2: jax.Array, b2: jax.Array) -> jax.Array:  # J~
        z3 = jax.nn.relu(a1 @ w1 + b1[None]) @ w2 + b2[None]
        return data_loss(z3) + l2 * ((w1**2).sum() + (w2**2).sum())

    def of_w2(w2: jax.Array) -> jax.Array:  # J
        return data_loss(a2 @ w2 + b2[None])

    def true_class(z: jax.Array, label: jax.Array) -> jax.Array:
        return jax.nn.softmax(z)[label]

    d_z3, d_w2 = jax.jacobian(data_loss)(z3), jax.grad(of_w2)(w2)
    d_w1, d_b1, d_w2_full, d_b2 = jax.grad(full_loss, argnums=(0, 1, 2, 3))(w1, b1, w2, b2)
    d_psi = jax.vmap(jax.jacobian(true_class))(z3, y)
    return [
        (equations.eq1(psi, y), d_z3),
        (equations.eq2(psi_y), jax.vmap(jax.grad(jnp.log))(psi_y)),
        (equations.eq3(psi, y), d_psi),
        (equations.eq4(psi, y), d_z3),
        (equations.eq5(a2, psi, y), d_w2),
        (equations.eq6(a2, psi, y), d_w2),
        (equations.eq7(a2, psi, y, w2, l2), d_w2_full),
        (equations.eq8(psi, y), d_b2),
        (equations.eq9(psi, y), d_b2),
        (equations.eq10(a1, z2, psi, y, w1, w2, l2), d_w1),
        (equations.eq11(z2), jax.vmap(jax.vmap(jax.grad(jax.nn.relu)))(z2)),
        (equations.eq12(a1, z2, psi, y, w1, w2, l2), d_w1),
        (equations.eq13(z2, psi, y, w2), d_b1),
    ]
