import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mlp_jax.errors import UserError
from mlp_jax.nn import activations
from mlp_jax.nn.activations import ACTIVATIONS, Activation

ROWS = {**ACTIVATIONS, "leaky_relu with slope 0.3": activations.get("leaky_relu", 0.3)}
POINTS = np.concatenate([np.linspace(-8, 8, 321), [0.0, -0.0, 1e-30, -1e-30, 50, -50, 1e4, -1e4]])
# Formulas written out in numpy and scipy, as an independent witness.
WITNESS = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z >= 0, z, 0.1 * z),
    "leaky_relu with slope 0.3": lambda z: np.where(z >= 0, z, 0.3 * z),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * special.ndtr(z),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z * special.expit(z),
    "softplus": lambda z: np.logaddexp(z, 0),
    "identity": lambda z: z,
}


def agrees_with_grad(row, z):
    """Whether the row's derivative is jax.grad of its function, relative to the size of the values."""
    expected = np.asarray(jax.vmap(jax.grad(row.function))(z), np.float64)
    found = np.asarray(row.derivative(z), np.float64)
    limit = 1e-12 if z.dtype == np.float64 else 1e-5
    return bool(np.all(np.abs(found - expected) <= limit * (1 + np.abs(expected))))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("x64")
def test_derivative_is_that_of_the_function(name, dtype):
    z = jnp.asarray(POINTS, dtype)
    assert agrees_with_grad(ROWS[name], z)
    assert ROWS[name].derivative(z).dtype == ROWS[name].function(z).dtype == z.dtype


@pytest.mark.parametrize("name", ["elu", "selu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("x64")
def test_the_derivative_of_saturated_units_is_autodiffs(name, dtype):
    """A network of saturated units alone has nothing larger that would hide the difference."""
    z = jnp.asarray([-5, -16, -20, -30, -40, -80], dtype)
    expected = jax.vmap(jax.grad(ROWS[name].function))(z)
    np.testing.assert_allclose(ROWS[name].derivative(z), expected, rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.usefixtures("x64")
def test_a_derivative_that_is_broken_is_found(name):
    function, derivative = ROWS[name]
    z = jnp.asarray(POINTS)
    broken = {
        "0.1 % too large": lambda z: 1.001 * derivative(z),
        "sign": lambda z: -derivative(z),
        "shifted": lambda z: derivative(z + 0.01) if name != "identity" else derivative(z) + 0.01,
    }
    assert [how for how, f in broken.items() if agrees_with_grad(Activation(function, f), z)] == []


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.usefixtures("x64")
def test_function_against_scipy(name):
    np.testing.assert_allclose(ROWS[name].function(jnp.asarray(POINTS)), WITNESS[name](POINTS), 1e-12, 1e-14)


@pytest.mark.parametrize(
    ("name", "at_zero"),
    [("relu", 0), ("leaky_relu", 1), ("elu", 1), ("selu", 1.7580993408473766), ("gelu", 0.5), ("identity", 1)],
)
@pytest.mark.usefixtures("x64")
def test_documented_convention_at_the_kink(name, at_zero):
    for zero in (0.0, -0.0):
        np.testing.assert_allclose(ACTIVATIONS[name].derivative(jnp.asarray([zero])), [at_zero], rtol=1e-15)


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(UserError, match=r"'rellu'.*relu, leaky_relu, tanh.*Did you mean 'relu'"):
        activations.get("rellu")
    with pytest.raises(UserError, match="leaky_relu's"):
        activations.get("tanh", 0.2)
