import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.gradcheck import comparison
from mlp_jax.gradcheck.comparison import check_equations, two_layer_case
from mlp_jax.nn import equations
from tests.mutation import mutants, survives

EQUATIONS = tuple(f"eq{n}" for n in range(1, 14))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("x64")
def test_every_equation_against_autodiff(dtype):
    cases = [two_layer_case(np.random.default_rng(seed), dtype) for seed in range(20)]
    for checks in check_equations(*cases):
        assert [check.leaf for check in checks] == list(EQUATIONS)
        assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.usefixtures("x64")
def test_every_break_of_an_equation_is_found(equation, monkeypatch):
    case = two_layer_case(np.random.default_rng(0))

    monkeypatch.setattr(comparison, "compiled", lambda function: function)  # compiling takes longer than running

    def passes(broken):
        monkeypatch.setattr(comparison, "equations", broken)
        (checks,) = check_equations(case)
        return all(check.passed for check in checks)

    assert passes(equations)
    found = list(mutants(equations, {equation}))
    assert found
    assert [what for what, broken in found if survives(passes, broken)] == []


@pytest.mark.usefixtures("x64")
def test_derivative_of_relu_at_zero_is_zero():
    np.testing.assert_array_equal(equations.eq11(jnp.asarray([[0.0, -0.0, 1e-300, -1.0]])), [[0, 0, 1, 0]])


@pytest.mark.usefixtures("x64")
def test_equation_4_holds_where_equation_1_divides_by_zero():
    z3 = jnp.asarray([[1e4, -1e4, 0.0]])
    psi, y = jax.nn.softmax(z3), np.array([1])
    assert not np.isfinite(equations.eq1(psi, y)).all()
    np.testing.assert_array_equal(equations.eq4(psi, y), [[1, -1, 0]])
