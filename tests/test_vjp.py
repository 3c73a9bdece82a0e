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


@pytest.mark.parametrize(("shape", "axes"), [((4, 3), 0), ((4, 3, 5), (0, 2))])
def test_a_mean_in_place_of_a_sum_of_dout(shape, axes):
    def add(x, offsets):
        return x + offsets.reshape(1, 3, *(1,) * (len(shape) - 2))

    def backward(dout, x, offsets):
        return dout, dout.mean(axis=axes)

    assert check_vjp(add, backward, np.ones(shape), np.ones(3)).codes == ["bias_mean"]


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


def of_tree(of_weights):
    """A product with weights in a container, and its backward pass, whose gradient of the weights is changed."""

    def f(p, x):
        return x @ p["w"] + p["b"][0][None]

    def backward(dout, p, x):
        return {"w": of_weights(x.T @ dout), "b": (dout.sum(0),)}, dout @ p["w"].T

    return f, backward, {"w": W, "b": (np.arange(2.0),)}, X


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (lambda g: g, []),
        (lambda g: -g, ["sign"]),
        (lambda g: 0 * g, ["constant_factor"]),
        (np.transpose, ["transpose"]),
    ],
)
def test_arguments_in_containers_are_checked_one_by_one(change, codes):
    report = check_vjp(*of_tree(change))
    assert report.codes == codes
    assert [row.leaf for row in report.leaves] == ["argument 0['b'][0]", "argument 0['w']", "argument 1"]
    assert {leaf for found in report.findings for leaf in found.leaves} <= {"argument 0['w']"}


@pytest.mark.parametrize("wrap", [list, tuple])
@pytest.mark.parametrize(("factor", "passed"), [(1, True), (0, False)])
def test_a_list_of_arrays_as_the_only_argument(wrap, factor, passed):
    gradients = lambda dout, ws: wrap([dout, factor * dout])  # noqa: E731
    assert check_vjp(lambda ws: ws[0] + ws[1], gradients, wrap([X, X])).passed == passed
    assert check_vjp(lambda ws: ws[0] + ws[1], lambda *a: (gradients(*a),), wrap([X, X])).passed == passed


@pytest.mark.parametrize("numbers", [[1.0, 2.0, 3.0], (0.5, 2), [[1.0, 2], [3, 4]]])
def test_a_list_of_numbers_is_an_array(numbers):
    assert check_vjp(lambda x: np.asarray(x) ** 2, lambda dout, x: 2 * x * dout, numbers).passed
    assert not check_vjp(lambda x: np.asarray(x) ** 2, lambda dout, x: x * dout, numbers).passed


def product_and_sum(x, y):
    return x * y, {"sum": (x + y).sum()}


@pytest.mark.parametrize(("forgotten", "codes"), [(1, []), (0, ["unknown"])])
@pytest.mark.parametrize("of_numpy", [False, True])
def test_several_outputs(of_numpy, forgotten, codes):
    """Dout is then what f returns; all outputs count."""

    def ways_back(x, y, g):
        return g[0] * y + g[1]["sum"], g[0] * x + forgotten * g[1]["sum"]

    if of_numpy:
        report = check_vjp(
            lambda x, y: product_and_sum(np.array(x), y), lambda g, x, y: ways_back(x, y, g), X, X + 1
        )
    else:
        f = jax.custom_vjp(product_and_sum)
        f.defvjp(lambda x, y: (product_and_sum(x, y), (x, y)), lambda saved, g: ways_back(saved[0], saved[1], g))
        report = check_custom_vjp(f, X, X + 1)
    assert report.codes == codes
    assert {leaf for found in report.findings for leaf in found.leaves} == ({"argument 1"} if codes else set())


def in_float32(f):
    return lambda x: f(np.asarray(x, np.float32))


@pytest.mark.parametrize(
    "f", [np.tanh, np.sqrt, lambda x: 0.5 * x * (1 + np.tanh(0.8 * x)), lambda x: (x * x).sum(1)]
)
@pytest.mark.parametrize("back", [lambda out: out, lambda out: out.astype(np.float64)])
def test_a_function_that_computes_in_float32(f, back):
    x, h = abs(Z), 1e-4

    def backward(factor, dout, x):
        slope = (f(x + h) - f(x - h)) / (2 * h) if f(x).shape == x.shape else 2 * x
        return factor * slope * (dout if slope.shape == dout.shape else dout[:, None])

    f32 = in_float32(lambda x: back(f(x)))
    assert check_vjp(f32, lambda *a: backward(1, *a), x).passed
    assert check_vjp(f32, lambda *a: backward(-1, *a), x).codes == ["sign"]


@pytest.mark.parametrize("f", [np.linalg.inv, np.linalg.det, np.sort, lambda x: x / np.sqrt((x**2).sum())])
@pytest.mark.parametrize("seed", range(2))
def test_a_mistake_that_nothing_explains_in_any_function_of_numpy(f, seed):
    x = np.random.default_rng(seed).normal(size=(4, 4))
    assert check_vjp(f, lambda dout, x: np.tanh(x) + dout, x).codes == ["unknown"]


@pytest.mark.parametrize("seed", range(3))
def test_dout_is_not_what_the_user_may_have_drawn(seed):
    x, douts = np.random.default_rng(seed).normal(size=(3, 2)), []

    def backward(dout, x):
        douts.append(dout)
        return dout * (1 - np.tanh(x) ** 2)

    check_vjp(np.tanh, backward, x, seed=seed)
    assert not any(np.array_equal(x, dout) for dout in douts)


def test_what_adds_up_from_call_to_call_is_one_mistake():
    kept = np.zeros_like(W)

    def adds_up(sign, dw, dout, x, w):
        kept[...] += sign * dw
        return kept.copy()

    assert check_vjp(f, changed(lambda *a: adds_up(1, *a)), X, W).codes == ["state_between_calls"]
    assert check_vjp(f, changed(lambda *a: adds_up(-1, *a)), X, W).codes == ["sign", "state_between_calls"]


def test_changing_dout_is_a_remark_as_in_a_layer():
    report = check_vjp(lambda x: np.maximum(x, 0), lambda dout, x: np.multiply(dout, x > 0, out=dout), Z)
    assert (report.codes, report.remarks) == ([], ["mutates_input"])


RNG = np.random.default_rng(0)


def fails(*_):
    raise TypeError("missing 1 argument")


@pytest.mark.parametrize(
    ("f", "backward", "args", "words"),
    [
        (lambda x: None, parts, [X], "f must return an array of numbers, .* it returns None"),
        (lambda x: "a", parts, [X], "it returns a str"),
        (3, parts, [X], "f must be a function, not int"),
        (np.tanh, None, [X], "backward must be a function"),
        (np.tanh, lambda x: x, [X], r"it is called as backward\(dout, \*args\)"),
        (np.tanh, lambda dout, x: None, [X], "backward returns None: return one gradient"),
        (np.log, lambda dout, x: 5 * dout / x, [-X - 1], "f gives NaN"),
        (jnp.log, lambda dout, x: 5 * dout / x, [-X - 1], "f gives NaN"),
        (lambda x: x * RNG.random(), lambda dout, x: dout, [X], "fix its seed"),
        (lambda x, a: a * x, lambda dout, x, a: (a * dout, 0.0), [X, 2], "argument 1 is given without floating-p"),
        (
            lambda x, a: a * x,
            lambda dout, x, a: (a * dout, 0 * a),
            [X, np.array([[2]])],
            "argument 1 is given without",
        ),
        (lambda p, x: p["a"] * x, lambda dout, p, x: (dout, dout), [{"a": X}, X], "argument 0 is a dict, and"),
        (lambda p: p[0] * p[1], lambda dout, p: (dout, dout, dout), [[X, X]], "3 gradients for 1 argument"),
        (lambda p, x: p[0] * x, lambda dout, p, x: (None, dout), [[X], X], r"None for argument 0\[0\]"),
        (np.tanh, fails, [np.zeros((0, 3))], "argument 0 is empty"),
        (lambda x: x, fails, [np.array([np.nan])], "argument 0 is empty, or holds NaN"),
        (np.tanh, fails, [], "at least one argument"),
    ],
)
def test_what_cannot_be_checked_is_told_in_one_line(f, backward, args, words):
    with pytest.raises(UserError, match=words) as refused:
        check_vjp(f, backward, *args)
    assert "\n" not in str(refused.value)


def test_tensors_of_torch_are_told():
    torch = pytest.importorskip("torch")
    for x in (X, torch.ones(2)):
        with pytest.raises(UserError, match="functions of numpy or jax arrays"):
            check_vjp(torch.tanh, fails, x)


def test_an_argument_without_numbers_of_a_custom_vjp_is_told():
    with pytest.raises(UserError, match="at least one argument"):
        check_custom_vjp(with_rule(relu, lambda x: x > 0), "a")


def test_misuse_is_told_in_one_line():
    with pytest.raises(UserError, match="backward returns 2 gradients for 1 argument:"):
        check_vjp(lambda x: (x, x), lambda dout, x: dout, X)
    with pytest.raises(UserError, match="f raises ValueError"):
        check_vjp(lambda x: x.reshape(17), lambda dout, x: dout, X)
    with pytest.raises(UserError, match="check_vjp"):
        check_custom_vjp(f, X, W)
    with pytest.raises(UserError, match="1 gradient for 2 arguments"):
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


def test_a_rule_that_is_right_for_one_hot_labels_alone():
    def cross_entropy(upstream):
        @jax.custom_vjp
        def f(logits, labels):
            return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1))

        def backward(kept, g):
            log_p, labels = kept
            return upstream(g) * (jnp.exp(log_p) - labels) / len(labels), -g * log_p / len(labels)

        f.defvjp(lambda a, b: (f(a, b), (jax.nn.log_softmax(a), b)), backward)
        return f

    given = jax.random.normal(jax.random.key(0), (5, 4)), jax.nn.one_hot(jnp.array([0, 3, 1, 1, 2]), 4)
    assert check_custom_vjp(cross_entropy(lambda g: g), *given).passed
    assert check_custom_vjp(cross_entropy(lambda g: 1.0), *given).codes == ["upstream_lost"]
