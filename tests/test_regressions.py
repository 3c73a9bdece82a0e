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


def test_a_penalty_of_the_intercept_in_loss_and_gradient_is_a_remark():
    report = check_gradients(defined(LOGISTIC.replace("t[0] = 0", "pass"), "costFunctionReg"))
    assert report.passed
    assert "biases_penalised" in report.remarks
