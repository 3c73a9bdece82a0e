"""Linear and logistic regression of one output: one vector of weights, whose first number is the intercept's."""

import pytest

from mlp_jax.gradcheck import check_gradients
from tests.strangers import defined

LOGISTIC = """
import numpy as np

def costFunctionReg(theta, X, y, lambda_):
    m = len(y)
    h = 1 / (1 + np.exp(-(X @ theta)))
    t = theta.copy()
    t[0] = 0
    J = -np.mean(y * np.log(h) + (1 - y) * np.log(1 - h)) + lambda_ / (2 * m) * np.sum(t**2)
    return J, X.T @ (h - y) / m + lambda_ / m * t
"""
COLUMN = """
import numpy as np

def linearRegCostFunction(X, y, theta, lambda_):  # y is a column
    m = len(y)
    theta = theta.reshape(X.shape[1], 1)
    e = X @ theta - y
    J = (e.T @ e + lambda_ * (theta[1:].T @ theta[1:])) / (2 * m)
    grad = X.T @ e / m
    grad[1:] += lambda_ / m * theta[1:]
    return J, grad.flatten()
"""
MEAN_SQUARE = """
import numpy as np

def compute_gradient(y, tx, w):
    e = y - tx @ w
    return np.mean(e**2) / 2, -tx.T @ e / len(e)
"""


@pytest.mark.parametrize(
    ("source", "name", "old", "new", "codes"),
    [
        (LOGISTIC, "costFunctionReg", "lambda_ / m * t", "lambda_ / m * theta", ["l2_on_bias"]),
        (LOGISTIC, "costFunctionReg", "(h - y) / m", "(h - y)", ["batch_mean_missing"]),
        # changed once its penalty is computed, theta makes neither loss nor gradient a wrong one
        (LOGISTIC, "costFunctionReg", "    return J", "    theta[0] = 0\n    return J", ["mutates_input"]),
        (COLUMN, "linearRegCostFunction", "grad[1:] += lambda_ / m * theta[1:]", "pass", ["l2_ignored"]),
        (MEAN_SQUARE, "compute_gradient", "-tx.T", "tx.T", ["sign"]),
    ],
)
def test_a_right_one_and_a_mistake_in_it(source, name, old, new, codes):
    right = check_gradients(defined(source, name))
    assert right.passed, str(right)
    assert old in source
    wrong = check_gradients(defined(source.replace(old, new), name))
    assert wrong.codes == codes, str(wrong)


SOFTMAX = """
import numpy as np

def loss(W, X, y, reg):
    p = np.exp(X @ W)
    p /= p.sum(1, keepdims=True)
    J = -np.log(p[np.arange(len(y)), y]).mean() + reg * np.sum(W**2)
    p[np.arange(len(y)), y] -= 1
    return J, X.T @ p / len(y) + 2 * reg * W
"""


@pytest.mark.parametrize(
    ("source", "name", "in_the_gradient"),
    [
        (LOGISTIC.replace("t[0] = 0", "pass"), "costFunctionReg", "lambda_ / m * t"),
        (SOFTMAX, "loss", "2 * reg * W"),
    ],
)
def test_whether_an_intercept_is_penalised_is_the_candidate_s_own_choice_and_one_in_loss_and_gradient(
    source, name, in_the_gradient
):
    right = check_gradients(defined(source, name))
    assert right.passed
    assert "biases_penalised" not in right.remarks
    without = {
        "lambda_ / m * t": "lambda_ / m * np.r_[0, t[1:]]",
        "2 * reg * W": "2 * reg * np.r_[W[:-1], 0 * W[-1:]]",
    }
    assert not check_gradients(defined(source.replace(in_the_gradient, without[in_the_gradient]), name)).passed


BESIDE = """
import numpy as np

def cost(theta, X, y, lambda_):
    h = 1 / (1 + np.exp(-(X @ theta)))
    return float(-np.mean(y * np.log(h) + (1 - y) * np.log(1 - h)) + lambda_ / (2 * len(y)) * np.sum(theta[1:]**2))

def gradient(theta, X, y, lambda_):
    h = 1 / (1 + np.exp(-(X @ theta)))
    return X.T @ (h - y) / len(y) + lambda_ / len(y) * np.r_[0, theta[1:]]
"""


def test_a_loss_beside_a_gradient_may_call_its_arguments_otherwise():
    other = BESIDE.replace("gradient(theta, X, y, lambda_):", "gradient(theta, X, y, reg):\n    lambda_ = reg")
    report = check_gradients(defined(other, "gradient"))
    assert report.passed
    assert "penalty_over_n" in report.remarks or "0.5 lambda/N" in str(report)
    wrong = other.replace("lambda_ / len(y) * np.r_", "lambda_ * np.r_")
    assert wrong != other
    assert not check_gradients(defined(wrong, "gradient")).passed


def test_a_loss_beside_a_gradient_that_cannot_be_computed_is_said():
    assert check_gradients(defined(BESIDE, "gradient")).passed
    report = check_gradients(defined(BESIDE.replace("float(-", "float([1] - "), "gradient"))
    assert any(note.startswith("cost beside it fails, so its loss is not known") for note in report.notes)
