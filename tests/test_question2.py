"""Question 2 on the page: every equation is there, typeset, with its true line of code, and its check."""

import ast
import inspect
from xml.etree import ElementTree

import jax.numpy as jnp
import pytest

from mlp_jax.nn import equations
from mlp_jax.studies import question2

MATH = "{http://www.w3.org/1998/Math/MathML}"
SHOWN = question2.shown([])


def row(leaf, dtype="float64", error=1e-16, verdict="PASS"):
    return {"leaf": leaf, "dtype": dtype, "relative_error": error, "verdict": verdict}


def of(number, rows):
    return next(each for each in question2.shown(rows) if each.number == number)


def test_every_equation_is_there_in_order():
    assert [each.number for each in SHOWN] == list(range(1, 14))
    defined = [name for name in vars(equations) if name.startswith("eq") and name[2:].isdigit()]
    assert list(equations.EQUATIONS) == defined


@pytest.mark.parametrize("each", SHOWN, ids=lambda each: str(each.number))
def test_an_equation_is_well_formed_mathml(each):
    root = ElementTree.fromstring(each.mathml)
    assert root.tag == f"{MATH}math"
    words = "".join(root.itertext())
    assert "\\" not in words  # a command of LaTeX that was not understood
    assert "=" in words
    assert words[0] in ("∂", "ϕ", "φ")


@pytest.mark.parametrize("each", SHOWN, ids=lambda each: str(each.number))
def test_the_code_is_what_the_function_returns(each):
    module = ast.parse(inspect.getsource(equations))
    definition = next(f for f in module.body if isinstance(f, ast.FunctionDef) and f.name == f"eq{each.number}")
    (returned,) = [node.value for node in ast.walk(definition) if isinstance(node, ast.Return)]
    assert ast.dump(ast.parse(each.code, mode="eval").body) == ast.dump(returned)
    assert "\n" not in each.code


def test_the_slips_are_those_of_the_report():
    assert [each.number for each in SHOWN if each.slip] == [6, 7, 11, 12, 13]


def test_a_function_of_several_statements_has_no_line():
    with pytest.raises(ValueError, match="two_layer_gradients is not one expression"):
        question2.returned(equations.two_layer_gradients)


def test_a_check_is_the_worst_of_all_seeds():
    rows = [row("eq4", error=2e-16), row("eq4", error=3e-16), row("eq4", "float32", 5e-8), row("eq5", error=1.0)]
    found = of(4, rows)
    assert (found.errors, found.verdict) == ({"float64": 3e-16, "float32": 5e-8}, "pass")
    assert found.checked == "error 3e-16 in float64, 5e-08 in float32"


@pytest.mark.parametrize("error", [0.1, None])
def test_one_seed_that_fails_fails_the_equation(error):
    found = of(4, [row("eq4"), row("eq4", error=error, verdict="FAIL"), row("eq5")])
    assert (found.errors["float64"], found.verdict) == (error, "fail")


def test_without_results_nothing_is_said_to_pass():
    assert {each.verdict for each in SHOWN} == {question2.NOT_CHECKED}
    assert all((each.errors, each.checked) == ({}, "") for each in SHOWN)


def test_the_derivative_of_relu_is_typeset_as_it_is_computed():
    """Both cases of equation 11 stand in the formula, with the values that the function has."""
    words = "".join(ElementTree.fromstring(of(11, []).mathml).itertext())
    values = [int(value) for value in equations.eq11(jnp.asarray([[1.0, 0.0]]))[0]]
    assert f"{values[0]}z2>0" in words
    assert f"{values[1]}z2≤0" in words
