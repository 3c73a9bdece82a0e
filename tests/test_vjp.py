"""check_vjp and check_custom_vjp: right rules pass, and the mistakes that any function can have are named."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import check_custom_vjp, check_vjp
from mlp_jax.gradcheck.layers.trials import differences

X, W = np.arange(12.0).reshape(4, 3) / 10, np.ones((3, 2))


def f(x, w):
    return jnp.tanh(x @ w)


def parts(dout, x, w):
    d = dout * (1 - np.tanh(x @ w) ** 2)
    return d @ w.T, x.T @ d


def test_a_right_backward_pass():
    report = check_vjp(f, parts, X, W)
    assert (report.passed, report.codes, report.remarks) == (True, [], [])
    assert [row.verdict for row in report.leaves] == ["PASS", "PASS"]


def changed(change):
    def backward(dout, x, w):
        dx, dw = parts(dout, x, w)
        return dx, change(dw, dout, x, w)

    return backward


def in_place(dw, dout, x, w):
    x *= 2
    return dw


CALLS: list[int] = []


def growing(dw, dout, x, w):
    CALLS.append(1)
    return dw * len(CALLS)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda dw, dout, x, w: -dw, "sign"),
        (lambda dw, dout, x, w: 1.5 * dw, "constant_factor"),
        (lambda dw, dout, x, w: dw.T, "transpose"),
        (lambda dw, dout, x, w: dw / len(x), "batch_mean_twice"),
        (lambda dw, dout, x, w: dw * len(x), "batch_mean_missing"),
        (lambda dw, dout, x, w: parts(np.ones_like(dout), x, w)[1], "upstream_lost"),
        (lambda dw, dout, x, w: dw * np.nan, "non_finite"),
        (lambda dw, dout, x, w: dw.sum(), "wrong_shape"),
        (lambda dw, dout, x, w: np.tanh(dw), "unknown"),
        (in_place, "mutates_input"),
        (growing, "state_between_calls"),
    ],
)
def test_universal_mistakes(change, code):
    report = check_vjp(f, changed(change), X, W)
    assert code in report.codes
    assert not report.passed
    assert report.leaves[0].verdict == "PASS"


def test_a_transpose_of_square_arrays_is_told():
    square = np.random.default_rng(0).normal(size=(3, 3))
    assert check_vjp(jnp.matmul, lambda dout, x, w: (dout @ w.T, x.T @ dout), square, square + 1).passed
    report = check_vjp(jnp.matmul, lambda dout, x, w: (dout @ w, x @ dout), square, square + 1)
    assert report.codes == ["transpose"]


def test_the_number_of_a_factor_is_told():
    assert "1.5 times" in str(check_vjp(f, changed(lambda dw, *_: 1.5 * dw), X, W))


def test_whole_numbers_have_no_gradient():
    def pick(x, y):
        return x[jnp.arange(4), y]

    def backward(dout, x, y):
        dx = np.zeros_like(x)
        dx[np.arange(4), y] = dout
        return dx, None

    assert check_vjp(pick, backward, X, np.array([0, 2, 1, 1])).passed


def custom(rule):
    @jax.custom_vjp
    def square(x, scale):
        return scale * jnp.sum(x**2, axis=1)

    square.defvjp(lambda x, scale: (square(x, scale), (x, scale)), rule)
    return square


def test_a_custom_vjp():
    def right(saved, dout):
        x, scale = saved
        return 2 * scale * x * dout[:, None], jnp.sum(dout * jnp.sum(x**2, axis=1))

    def wrong(saved, dout):
        return right(saved, dout)[0] / 2, right(saved, dout)[1]

    assert check_custom_vjp(custom(right), X, 0.5).passed
    report = check_custom_vjp(custom(wrong), X, 0.5)
    assert report.codes == ["constant_factor"]
    assert "0.5 times" in str(report)


def with_rule(function, slope):
    """A function of one array, and a rule that multiplies dout by `slope(x)` or is `slope(x, dout)`."""
    both = len(inspect.signature(slope).parameters) == 2
    f = jax.custom_vjp(function)
    f.defvjp(lambda x: (function(x), x), lambda x, g: (slope(x, g) if both else g * slope(x),))
    return f


Z = np.random.default_rng(0).normal(size=(5, 4))


def relu(x):
    return jnp.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + jnp.exp(-x))


def softmax_of_rows(x):
    return jnp.exp(x) / jnp.exp(x).sum(axis=1, keepdims=True)


def log_softmax_of_rows(x):
    return jnp.log(softmax_of_rows(x))


@pytest.mark.parametrize(
    ("function", "slope", "code"),
    [
        (relu, lambda x: x > 0, None),
        (relu, jnp.ones_like, "mask_missing"),
        (relu, lambda x, g: g * (g > 0), "mask_wrong_tensor"),
        (relu, lambda x: x < 0, "mask_wrong_tensor"),
        (relu, relu, "activation_for_derivative"),
        (relu, lambda x: jnp.where(x > 0, 1, 0.02), "leaky_slope"),
        (relu, lambda x, g: 1.0 * (x > 0), "upstream_lost"),
        (lambda x: jnp.where(x > 0, x, 0.3 * x), lambda x: x > 0, "leaky_slope"),
        (lambda x: jnp.clip(x, -1, 1), jnp.ones_like, "mask_missing"),
        (sigmoid, jnp.ones_like, "mask_missing"),
        (sigmoid, lambda x: x * (1 - x), "output_form_at_z"),
        (jnp.tanh, lambda x: 1 - x**2, "output_form_at_z"),
        (jnp.tanh, lambda x: sigmoid(x) * (1 - sigmoid(x)), "other_activation"),
        (lambda x: x * sigmoid(x), sigmoid, "other_activation"),
        (jnp.sin, jnp.ones_like, "mask_missing"),
        (jnp.sin, jnp.sin, "activation_for_derivative"),
        (jnp.sin, jnp.exp, "other_activation"),
        (lambda x: x**3, lambda x: x**4, "other_activation"),
        (lambda x: x * jnp.tanh(x), lambda x: jnp.tanh(x), "other_activation"),
        (softmax_of_rows, jnp.ones_like, "softmax_derivative_missing"),
        (softmax_of_rows, lambda x: softmax_of_rows(x) * (1 - softmax_of_rows(x)), "softmax_jacobian_diagonal"),
        (log_softmax_of_rows, lambda x, g: g - softmax_of_rows(x) * g.sum(1, keepdims=True), None),
        (log_softmax_of_rows, jnp.ones_like, "softmax_derivative_missing"),
        (log_softmax_of_rows, lambda x: 1 - softmax_of_rows(x), "softmax_jacobian_diagonal"),
        (log_softmax_of_rows, lambda x, g: g - softmax_of_rows(x), "upstream_lost"),
        (log_softmax_of_rows, lambda x, g: g - softmax_of_rows(x) * g.sum(0, keepdims=True), "softmax_axis"),
        (lambda x: jnp.cumsum(x, axis=1), jnp.ones_like, "mask_missing"),
        (jnp.tanh, lambda x, g: jnp.tanh(g), "unknown"),
    ],
)  # fmt: skip
def test_an_elementwise_function_has_the_mistakes_of_an_activation(function, slope, code):
    report = check_custom_vjp(with_rule(function, slope), Z)
    assert report.codes == ([] if code is None else [code]), str(report)


@pytest.mark.parametrize("x", [0.7, np.array([1.0, 2.0]), Z[0], Z.astype(np.float32), Z.reshape(5, 2, 2), -abs(Z)])
def test_of_any_shape_and_on_either_side_of_a_kink(x):
    assert check_custom_vjp(with_rule(relu, lambda x: x > 0), x).passed
    assert check_custom_vjp(with_rule(relu, jnp.ones_like), x).codes == ["mask_missing"]


def test_an_elementwise_function_of_numpy():
    def backward(dout, x):
        return dout

    assert check_vjp(lambda x: np.maximum(x, 0), backward, Z).codes == ["mask_missing"]
    assert check_vjp(lambda x: 1 / (1 + np.exp(-x)), lambda g, x: g * x * (1 - x), Z).codes == ["output_form_at_z"]


def log_of_each(x):
    return np.reshape([math.log(number) for number in np.ravel(x)], np.shape(x))


@pytest.mark.parametrize("f", [jnp.log, np.log, log_of_each])
@pytest.mark.parametrize("x", [abs(Z), 0.3])
def test_a_function_that_has_no_numbers_elsewhere(f, x):
    assert check_vjp(f, lambda dout, x: dout / x, x).passed
    assert check_vjp(f, lambda dout, x: dout, x).codes == ["mask_missing"]
    assert check_vjp(f, lambda dout, x: dout * x, x).codes == ["other_activation"]


def test_an_argument_without_a_gradient():
    def leaky(x, slope):
        return jnp.where(x > 0, x, slope * x)

    def checked(rule):
        f = jax.custom_vjp(leaky, nondiff_argnums=(1,))
        f.defvjp(lambda x, slope: (leaky(x, slope), x), rule)
        return check_custom_vjp(f, Z, 0.2)

    assert checked(lambda slope, x, g: (jnp.where(x > 0, g, slope * g),)).passed
    assert checked(lambda slope, x, g: (g,)).codes == ["mask_missing"]


def test_float32_is_enough():
    def backward(dout, x, w):
        return [g.astype(np.float32) for g in parts(dout.astype(np.float32), x.astype(np.float32), w)]

    assert check_vjp(f, backward, X.astype(np.float32), W.astype(np.float32)).passed


def softmax(x):
    exp = np.exp(x - x.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("factor", "codes"), [(1.0, []), (-1.0, ["sign"]), (0.5, ["constant_factor"])])
def test_a_function_of_numpy_arrays_is_held_against_central_differences(factor, codes):
    def backward(dout, x):
        a = softmax(x)
        return factor * a * (dout - (dout * a).sum(axis=1, keepdims=True))

    report = check_vjp(softmax, backward, X)
    assert report.codes == codes, str(report)
    assert "against central differences of f" in report.headline()
    case = report.case("argument 0")
    np.testing.assert_array_equal(backward(case.upstream, case.x), case.yours)


def test_misuse_is_told_in_one_line():
    with pytest.raises(UserError, match="f returns several arrays"):
        check_vjp(lambda x: (x, x), lambda dout, x: dout, X)
    with pytest.raises(UserError, match="f raises ValueError"):
        check_vjp(lambda x: x.reshape(17), lambda dout, x: dout, X)
    with pytest.raises(UserError, match="check_vjp"):
        check_custom_vjp(f, X, W)
    with pytest.raises(UserError, match="1 gradients for 2 arguments"):
        check_vjp(f, lambda dout, x, w: x, X, W)
    with pytest.raises(UserError, match="ZeroDivisionError"):
        check_vjp(f, lambda dout, x, w: 1 / 0, X, W)
    with pytest.raises(UserError, match="floating-point"):
        check_vjp(f, parts, np.arange(3))


def test_central_differences_leave_kinks_out():
    at = np.array([0.3, 0.0, -2.0, 1e-5])
    found = differences(lambda x: float(np.maximum(x, 0).sum()), at)
    assert np.isnan(found[[1, 3]]).all()
    np.testing.assert_allclose(found[[0, 2]], [1, 0], atol=1e-9)
    smooth = differences(lambda x: float(np.exp(3 * x).sum()), at)
    np.testing.assert_allclose(smooth, 3 * np.exp(3 * at), rtol=1e-9)
