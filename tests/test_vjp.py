"""check_vjp and check_custom_vjp: right rules pass, and the mistakes that any function can have are named."""

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
