"""What a gradient is judged by: the loss that its candidate returns, whatever that is; and how it is told."""

import itertools
import math
import os

import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.check import check_gradients
from mlp_jax.gradcheck.seeded_mistakes import CLASS, FUNCTION, NETWORK, candidate, told
from mlp_jax.nn.config import MLPConfig
from tests.solutions import solution

TANH = (np.tanh, lambda z: 1 - np.tanh(z) ** 2)
RELU = (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0))
SIGMOID = (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2)
LINEAR = (lambda z: z, lambda z: np.ones_like(z))
SINE = (np.sin, np.cos)


def leaky(slope):
    return (lambda z: np.where(z > 0, z, slope * z), lambda z: np.where(z > 0, 1.0, slope))


def cross_entropy(s, y):
    p = np.exp(s - s.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y]), p - np.eye(s.shape[1])[y]


def squared(s, y):
    d = s - np.eye(s.shape[1])[y]
    return (d**2).sum(axis=1), 2 * d


def absolute(s, y):
    d = s - np.eye(s.shape[1])[y]
    return abs(d).sum(axis=1), np.sign(d)


def hinge(s, y, margin=1.0, power=1):
    own = np.eye(s.shape[1])[y]
    over = np.maximum(s - (s * own).sum(axis=1, keepdims=True) + margin, 0) * (1 - own)
    d = power * over ** (power - 1) * (over > 0)
    return (over**power).sum(axis=1), d - own * d.sum(axis=1, keepdims=True)


def squared_hinge(s, y):
    return hinge(s, y, power=2)


def wide_hinge(s, y):
    return hinge(s, y, margin=10.0)


def binary(s, y):
    own = np.eye(s.shape[1])[y]
    return (np.logaddexp(0, s) - s * own).sum(axis=1), SIGMOID[0](s) - own


def some(rows, every):
    """One of so many rows, from the first on; all of them with MLP_JAX_FALSE_ALARMS."""
    chosen = list(enumerate(rows))[:: 1 if "MLP_JAX_FALSE_ALARMS" in os.environ else every]
    return [pytest.param(*row, id=str(number)) for number, row in chosen]


def cubed(s, y):
    """A loss that nobody has."""
    d = s - np.eye(s.shape[1])[y]
    return (abs(d) ** 3).sum(axis=1), 3 * abs(d) * d


def behind(loss, activation):
    def run(s, y):
        values, d = loss(activation[0](s), y)
        return values, d * activation[1](s)

    return run


def squared_of_softmax(s, y):
    p = cross_entropy(s, y)[1] + np.eye(s.shape[1])[y]
    d = 2 * (p - np.eye(s.shape[1])[y])
    return (d**2).sum(axis=1) / 4, p * (d - (d * p).sum(axis=1, keepdims=True))


def inside_the_log(s, y, eps=1e-8):
    p = cross_entropy(s, y)[1] + np.eye(s.shape[1])[y]
    return -np.log(p[np.arange(len(y)), y] + eps), cross_entropy(s, y)[1]


def network(
    loss=cross_entropy, activation=RELU, *, divide=lambda y, s: len(y), penalty=lambda l2, n: l2, biases=0.0,
    mistake=None, returns_loss=True, off=lambda loss, p, l2: loss,
):  # fmt: skip
    """A two-layer network; penalty: what stands before ||W||^2. mistake changes the gradients, `off` the loss."""

    def run(params, x, y, l2):
        w1, b1, w2, b2 = (params[name] for name in ("W1", "b1", "W2", "b2"))
        z = x @ w1 + b1
        a = activation[0](z)
        s = a @ w2 + b2
        values, d = loss(s, y)
        n, c = divide(y, s), penalty(l2, len(y))
        d = d / n
        dz = (d @ w2.T) * activation[1](z)
        total = values.sum() / n + c * ((w1**2).sum() + (w2**2).sum()) + biases * l2 * sum(b @ b for b in (b1, b2))
        grads = {
            "W1": x.T @ dz + 2 * c * w1, "b1": dz.sum(axis=0) + 2 * biases * l2 * b1,
            "W2": a.T @ d + 2 * c * w2, "b2": d.sum(axis=0) + 2 * biases * l2 * b2,
        }  # fmt: skip
        if mistake is not None:
            grads = mistake(grads)
        return (off(total, params, l2), grads) if returns_loss else grads

    return run


RIGHT = [
    (network(penalty=lambda l2, n: l2 / 2), ["half_penalty"], "lambda ||W||^2"),
    (network(penalty=lambda l2, n: l2 / (2 * n)), ["penalty_over_n"], "0.5 lambda/N ||W||^2"),
    (network(penalty=lambda l2, n: l2 / n), ["penalty_over_n"], "lambda/N ||W||^2"),
    (network(penalty=lambda l2, n: 0.0), ["no_penalty"], "cross-entropy"),
    (network(penalty=lambda l2, n: 3 * l2), ["other_penalty"], "3 lambda ||W||^2"),
    (network(biases=1.0), ["biases_penalised"], "lambda ||b||^2"),
    (network(penalty=lambda l2, n: l2 / 2, biases=0.5), ["half_penalty", "biases_penalised"],
     "0.5 lambda ||b||^2"),
    (network(divide=lambda y, s: 1), ["other_loss"], "sum"),
    (network(divide=lambda y, s: 2 * len(y)), ["other_loss"], "0.5 times"),
    (network(squared), ["other_loss"], "squared error"),
    (network(squared, divide=lambda y, s: s.size), ["other_loss"], "examples and classes of the squared error"),
    (network(squared, divide=lambda y, s: 2), ["other_loss"], "squared error"),
    (network(squared_of_softmax), ["other_loss", "other_network"], "squared error"),
    (network(behind(squared, SIGMOID)), ["other_loss", "other_network"], "sigmoid on the scores"),
    (network(absolute), ["other_loss"], "absolute error"),
    (network(hinge), ["other_loss"], "hinge"),
    (network(squared_hinge), ["other_loss"], "squared hinge"),
    (network(wide_hinge), ["other_loss"], "margin 10"),
    (network(binary), ["other_loss"], "binary cross-entropy"),
    (network(binary, TANH), ["other_loss", "other_network"], "tanh"),
    (network(behind(cross_entropy, RELU)), ["other_network"], "relu on the scores"),
    (network(behind(cross_entropy, TANH)), ["other_network"], "tanh on the scores"),
    (network(activation=TANH), ["other_network"], "--activation=tanh"),
    (network(activation=SIGMOID), ["other_network"], "--activation=sigmoid"),
    (network(activation=LINEAR), ["other_network"], "identity"),
    (network(activation=SIGMOID, divide=lambda y, s: 1), ["other_loss", "other_network"], "sum over the examples"),
    (network(activation=leaky(0.01)), ["other_network"], "slope 0.01"),
    (network(activation=leaky(0.07)), ["other_network"], "slope 0.07"),
    (network(activation=TANH, penalty=lambda l2, n: l2 / 2), ["other_network", "half_penalty"], "tanh"),
    (network(cubed), ["other_loss"], "none of the losses"),
    (network(activation=SINE), ["other_loss"], "none of the losses"),
    (network(inside_the_log), [], "RIGHT"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "remarks", "words"), some(RIGHT, 3))
def test_right_for_its_own_loss(right, remarks, words):
    report = check_gradients(right)
    text = " ".join(str(report).split())
    assert report.codes == [], text
    assert set(remarks) == set(report.remarks) - {"mask_at_zero"}, text
    assert words in text
    assert {row.verdict for row in report.leaves} == {"PASS"}
    if remarks and report.about:
        assert "RIGHT for your own loss, which is not J~" in text.split("|")[0]


STRICT = [RIGHT[i] for i in (0, 1, 3, 5, 9, 15, 20, 22, 28)]


@pytest.mark.parametrize(("right", "remarks", "words"), some(STRICT, 3))
def test_the_report_alone_has_its_own_loss(right, remarks, words):
    report = check_gradients(right, objective="report")
    assert report.codes == ["loss_mismatch"], str(report)
    assert set(report.remarks) <= {"mask_at_zero"}
    assert "loss" in [row.leaf for row in report.leaves if row.verdict == "FAIL"]
    assert words.split()[0] in str(report)


def test_an_objective_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="objective"):
        check_gradients(solution(), objective="own")


def lost_factor(grads):
    return {**grads, "W1": 3 * grads["W1"]}


def negative(grads):
    return {**grads, "b1": -grads["b1"]}


WRONG = itertools.product(
    [squared, hinge, binary, behind(cross_entropy, RELU), cubed], [RELU, SINE], [lost_factor, negative]
)


@pytest.mark.parametrize(("loss", "activation", "mistake"), some(WRONG, 5))
def test_wrong_for_its_own_loss(loss, activation, mistake):
    report = check_gradients(network(loss, activation, mistake=mistake))
    assert not report.passed, str(report)
    assert any(row.verdict == "FAIL" for row in report.leaves)


@pytest.mark.parametrize(
    ("right", "mistake", "codes"),
    [
        ({"loss": squared}, lost_factor, {"constant_factor", "other_loss"}),
        ({"loss": hinge}, negative, {"sign", "other_loss"}),
        ({"activation": TANH}, negative, {"sign", "other_network"}),
        ({"penalty": lambda l2, n: l2 / n}, negative, {"sign", "penalty_over_n"}),
        ({"penalty": lambda l2, n: l2 / 2}, negative, {"sign", "half_penalty"}),
        ({"biases": 1.0}, lost_factor, {"constant_factor", "biases_penalised"}),
    ],
)
def test_a_mistake_below_another_loss_is_named(right, mistake, codes):
    report = check_gradients(network(**right, mistake=mistake))
    assert set(told(report)) == codes, str(report)
    assert not report.passed


def lasso(activation):
    def run(params, x, y, l2):
        loss, grads = network(activation=activation, penalty=lambda l2, n: 0.0)(params, x, y, l2)
        weights = {name: params[name] for name in ("W1", "W2")}
        grads = {name: g + l2 * np.sign(weights.get(name, 0.0)) for name, g in grads.items()}
        return loss + l2 * sum(abs(w).sum() for w in weights.values()), grads

    return run


@pytest.mark.parametrize(
    ("wrong", "code", "leaves"),
    [
        (network(cubed, mistake=lost_factor), "constant_factor", ["W1"]),
        (network(activation=SINE, mistake=negative), "sign", ["b1"]),
        (lasso((RELU[0], np.ones_like)), "mask_missing", ["W1", "b1"]),
    ],
)
def test_of_a_loss_that_is_not_known_what_is_wrong_fails_alone(wrong, code, leaves):
    report = check_gradients(wrong)
    assert (report.codes, report.remarks) == ([code], ["other_loss"]), str(report)
    assert [row.leaf for row in report.leaves if row.verdict == "FAIL"] == leaves
    assert "central differences of your loss" in report.headline()
    case = report.case(leaves[0])
    params = {name: np.array(value) for name, value in case.params.items()}
    slopes = []
    for step in (1e-6, -1e-6):
        moved = {**params, leaves[0]: params[leaves[0]].copy()}
        moved[leaves[0]][case.index] += step
        slopes.append(wrong(moved, case.x, case.y, case.l2)[0] / (2 * abs(step)) * np.sign(step))
    np.testing.assert_allclose(case.true[case.index], sum(slopes), rtol=1e-4)


def with_biases(loss, p, l2):
    return loss + l2 * (p["b1"] @ p["b1"] + p["b2"] @ p["b2"])


def without_w2(loss, p, l2):
    return loss - l2 * (p["W2"] ** 2).sum()


def test_alpha_is_a_slope_or_a_learning_rate():
    def leaky(params, x, y, alpha=0.3):
        slopes = (lambda z: np.where(z > 0, z, alpha * z), lambda z: np.where(z > 0, 1, alpha))
        return network(activation=slopes, returns_loss=False)(params, x, y, 0.0)

    report = check_gradients(leaky, MLPConfig((6,), "leaky_relu", negative_slope=0.3, inputs=7, classes=4))
    assert (report.codes, "no_penalty" in report.remarks) == ([], True), str(report)


@pytest.mark.parametrize(
    ("off", "words"),
    [
        (with_biases, "lambda ||b||^2"),
        (without_w2, "lambda ||W1||^2"),
        (lambda loss, p, l2: 2 * loss, "2 times"),
        (lambda loss, p, l2: loss + math.sin(p["W1"].sum()), "wrong for your own loss"),
    ],
)
def test_a_loss_alone_that_is_off_says_how(off, words):
    report = check_gradients(network(off=off))
    assert report.codes == ["loss_mismatch"], str(report)
    assert words in " ".join(str(report).split())
    assert [row.leaf for row in report.leaves if row.verdict == "FAIL"] == ["loss"]


@pytest.mark.parametrize(
    ("loss", "gradient", "words"),
    [
        (
            network(squared, divide=lambda y, s: 2),
            network(squared, divide=lambda y, s: 2 * len(y)),
            "that of 0.5 times",
        ),
        (
            network(hinge, penalty=lambda l2, n: 0.0),
            network(hinge, penalty=lambda l2, n: l2 / 2),
            "0.5 lambda ||W||^2",
        ),
        (
            network(divide=lambda y, s: 2 * len(y), penalty=lambda l2, n: l2 / n),
            network(penalty=lambda l2, n: l2 / n),
            "which is 0.5 times the mean",
        ),
    ],
)
def test_a_gradient_of_more_or_of_the_mean_of_another_loss_is_said_to_be_that(loss, gradient, words):
    report = check_gradients(lambda p, x, y, l2: (loss(p, x, y, l2)[0], gradient(p, x, y, l2)[1]))
    assert report.codes == ["loss_mismatch"], str(report)
    assert words in " ".join(str(report).split())


def over_the_examples(s, y):
    """The softmax's sum over the wrong axis, in the loss and in psi - Delta."""
    e = np.exp(s - s.max(axis=0))
    p = e / e.sum(axis=0)
    return -np.log(p[np.arange(len(y)), y]), p - np.eye(s.shape[1])[y]


@pytest.mark.parametrize(
    ("penalty", "biases"),
    [(lambda l2, n: l2 / 2 / n, 0.0), (lambda l2, n: 3 * l2, 0.0), (lambda l2, n: l2 / 2, 0.5)],
)
def test_the_penalty_of_a_loss_that_is_not_known_is_no_mistake(penalty, biases):
    report = check_gradients(network(over_the_examples, penalty=penalty, biases=biases))
    assert set(report.codes) == {"loss_mismatch", "softmax_axis"}, str(report)
    without = network(over_the_examples, penalty=penalty, mistake=lambda g: g | {"W1": -g["W1"]})
    assert set(check_gradients(without).codes) == {"loss_mismatch", "softmax_axis", "sign"}


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_a_penalty_that_is_subtracted_has_the_wrong_sign_alone(factor):
    right, opposite = (network(penalty=lambda l2, n, s=sign: s * factor * l2) for sign in (1, -1))
    report = check_gradients(lambda p, x, y, l2: (right(p, x, y, l2)[0], opposite(p, x, y, l2)[1]))
    assert report.codes == ["sign"], str(report)
    assert "of the penalty's part" in " ".join(str(report).split())


@pytest.mark.parametrize(
    ("wrong", "remarks"),
    [
        (network(activation=TANH, returns_loss=False), {"other_network"}),
        (network(activation=leaky(0.01), returns_loss=False), {"other_network"}),
        (network(hinge, returns_loss=False), {"other_loss"}),
    ],
)
def test_a_gradient_without_a_loss_may_be_that_of_another_network(wrong, remarks):
    report = check_gradients(wrong)
    assert report.codes == [], str(report)
    assert set(report.remarks) - {"mask_at_zero"} == remarks
    assert not check_gradients(wrong, objective="report").passed


@pytest.mark.parametrize(
    ("mistake", "code", "leaf"),
    [(lambda g: g | {"b2": -g["b2"]}, "sign", "b2"), (lambda g: g | {"W1": g["W1"] ** 3}, "unknown", "W1")],
)
def test_of_another_network_without_a_loss_what_is_wrong_fails_alone(mistake, code, leaf):
    report = check_gradients(network(behind(squared, SIGMOID), SIGMOID, returns_loss=False, mistake=mistake))
    assert report.codes == [code], str(report)
    assert [row.leaf for row in report.leaves if row.verdict == "FAIL"] == [leaf]


def test_a_mistake_that_explains_a_gradient_without_a_loss_comes_before_another_network():
    wrong = network(returns_loss=False, penalty=lambda l2, n: l2 / 2)
    assert check_gradients(wrong).codes == ["l2_factor"]
    assert "right if your loss has that" in " ".join(str(check_gradients(wrong)).split())
    assert check_gradients(network(returns_loss=False, penalty=lambda l2, n: 0.0)).codes == ["l2_ignored"]


EPS = [
    ("u.var(axis=0) + 1e-5", "u.var(axis=0) + 1e-3", "0.001"),
    ("u.var(axis=0) + 1e-5", "u.var(axis=0) + 1e-8", "1e-08"),
    ("np.sqrt(u.var(axis=0) + 1e-5)", "(np.sqrt(u.var(axis=0)) + 1e-3)", "outside the root"),
]


@pytest.mark.parametrize(("old", "new", "words"), some(EPS, 2))
def test_another_eps_is_a_remark(old, new, words):
    report = check_gradients(candidate(FUNCTION, old, new), NETWORK)
    assert told(report) == ["bn_eps"], str(report)
    assert report.passed
    assert words in " ".join(str(report).split())
    assert not check_gradients(candidate(FUNCTION, old, new), NETWORK, objective="report").passed


@pytest.mark.parametrize("loss", [True, False])
@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((LINEAR, RELU), "without an activation in hidden layer 1"),
        ((RELU, LINEAR), "without an activation in hidden layer 2"),
        ((RELU, TANH), "the activations relu, tanh in its hidden layers"),
        ((SIGMOID, RELU), "the activations sigmoid, relu in its hidden layers"),
    ],
)
def test_layers_may_have_activations_of_their_own_or_none(layers, words, loss):
    config = MLPConfig((6, 5), inputs=7, classes=4)

    def run(params, x, y, l2):
        w1, b1, w2, b2, w3, b3 = (params[f"{name}{i}"] for i in (1, 2, 3) for name in "Wb")
        z1 = x @ w1 + b1
        a1 = layers[0][0](z1)
        z2 = a1 @ w2 + b2
        a2 = layers[1][0](z2)
        values, d3 = cross_entropy(a2 @ w3 + b3, y)
        d3 = d3 / len(y)
        d2 = (d3 @ w3.T) * layers[1][1](z2)
        d1 = (d2 @ w2.T) * layers[0][1](z1)
        grads = [x.T @ d1 + 2 * l2 * w1, d1.sum(0), a1.T @ d2 + 2 * l2 * w2, d2.sum(0), a2.T @ d3 + 2 * l2 * w3,
                 d3.sum(0)]  # fmt: skip
        return (values.mean() + l2 * sum((w**2).sum() for w in (w1, w2, w3)), grads) if loss else grads

    report = check_gradients(run, config)
    assert told(report) == ["other_network"], str(report)
    assert words in " ".join(str(report).split())


def test_a_remark_fails_no_leaf_also_beside_another_loss():
    source = CLASS.replace("(z2 > 0)", "(z2 >= 0)").replace("N = X.shape[0]", "N = X.shape[0]; reg = reg / N")
    report = check_gradients(candidate(source))
    assert report.codes == []
    assert set(report.remarks) == {"penalty_over_n", "mask_at_zero"}
    assert {row.verdict for row in report.leaves} == {"PASS"}
    assert "wrong" not in str(report).split("|")[0]


@pytest.mark.parametrize("factor", [1.00005, 0.99998])
def test_a_common_factor_is_no_noise(factor):
    report = check_gradients(network(mistake=lambda grads: {name: factor * g for name, g in grads.items()}))
    assert report.codes == ["constant_factor"], str(report)
    assert not report.notes


def test_exp_that_raises_is_told_as_the_remark_that_it_is():
    source = CLASS.replace("scores = scores - scores.max(axis=1, keepdims=True)", "import math").replace(
        "np.exp(scores)", "np.array([[math.exp(v) for v in row] for row in scores])"
    )
    report = check_gradients(candidate(source))
    assert (report.codes, report.remarks) == ([], ["softmax_unstable"]), str(report)


# -- the report itself


def test_the_worst_case_can_be_run_again():
    wrong = network(mistake=lambda grads: {**grads, "W1": grads["W1"] + np.eye(*grads["W1"].shape)})
    case = check_gradients(wrong).case("W1")
    loss, grads = wrong(case.params, case.x, case.y, case.l2)
    assert math.isfinite(loss)
    np.testing.assert_array_equal(grads["W1"], case.yours)
    np.testing.assert_allclose(network()(case.params, case.x, case.y, case.l2)[1]["W1"], case.true, rtol=1e-10)
    assert case.yours[case.index] != case.true[case.index]
    with pytest.raises(UserError, match="W1"):
        check_gradients(wrong).case("W7")


def test_a_notebook_shows_verdicts_in_colour_and_escapes_what_is_not_ours():
    report = check_gradients(candidate(CLASS, "da2 * (z2 > 0)", "da2"))
    assert repr(report) == str(report)
    page = report._repr_html_()
    assert page.count("<details>") == len(report.findings) == 1
    assert "mask_missing" in page
    assert page.count(">FAIL<") == 2
    assert "color:" in page

    def fails(params, x, y, l2):
        if len(y) > 5:
            raise ValueError("<script>alert(1)</script>")
        return solution()(params, x, y, l2)

    assert "&lt;script" in check_gradients(fails)._repr_html_()
    assert "<script" not in check_gradients(fails)._repr_html_()
