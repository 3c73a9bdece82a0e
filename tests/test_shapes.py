# ruff: noqa: E501
"""Gradients in the shapes that people have: all right, and taken as they are."""

import numpy as np
import pytest

from experiments import _shapes
from mlp_jax.errors import UserError
from mlp_jax.gradcheck.check import check_gradients
from mlp_jax.nn.config import MLPConfig

BODY = """
    n = len(X)
    h = np.maximum(X @ W1 + b1, 0)
    s = h @ W2 + b2
    p = np.exp(s - s.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(n), y]).mean() + reg * ((W1**2).sum() + (W2**2).sum())
    p[np.arange(n), y] -= 1
    d = p / n
    dh = (d @ W2.T) * (h > 0)
    W1, b1, W2, b2 = X.T @ dh + 2 * reg * W1, dh.sum(0), h.T @ d + 2 * reg * W2, d.sum(0)
    return """
UNPACK = "    W1, b1, W2, b2 = "
SHAPES = {
    "data first": ("X, y, params, reg", "(params[k] for k in ('W1', 'b1', 'W2', 'b2'))", "loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)"),
    "loose arguments": ("X, y, W1, b1, W2, b2, reg", "W1, b1, W2, b2", "loss, dict(dW1=W1, db1=b1, dW2=W2, db2=b2)"),
    "underscores": ("params, X, y, lambd", "(params[k] for k in ('w_1', 'b_1', 'w_2', 'b_2')); reg = lambd", "{'w_1': W1, 'b_1': b1, 'w_2': W2, 'b_2': b2}"),
    "counted from 0": ("params, X, y, reg", "(params[k] for k in ('W0', 'b0', 'W1', 'b1'))", "loss, {'W0': W1, 'b0': b1, 'W1': W2, 'b1': b2}"),
    "weights (out, in)": ("params, X, y, reg", "(params[k] for k in ('W1', 'b1', 'W2', 'b2')); W1, W2 = W1.T, W2.T", "loss, dict(W1=W1.T, b1=b1, W2=W2.T, b2=b2)"),
    "two lists in a dict": ("params, X, y, reg", "[a for p in zip(params['weights'], params['biases']) for a in p]", "loss, {'weights': [W1, W2], 'biases': [b1, b2]}"),
    "one-hot labels": ("params, X, y, reg", "(params[k] for k in ('W1', 'b1', 'W2', 'b2')); y = y.argmax(1)", "loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)"),
    "three results": ("params, X, y, reg", "(params[k] for k in ('W1', 'b1', 'W2', 'b2'))", "loss, dict(W1=W1, b1=b1, W2=W2, b2=b2), p"),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_function_of_this_shape(shape):
    arguments, unpack, result = SHAPES[shape]
    space = {"np": np}
    exec(f"def grads({arguments}):\n{UNPACK}{unpack}{BODY}{result}\n", space)
    report = check_gradients(space["grads"])
    assert report.passed, str(report)


def test_a_backward_pass_alone_is_refused_with_what_to_write():
    def backward(AL, Y, caches):
        return {}

    with pytest.raises(UserError, match=r"f\(params, x, y, l2\)"):
        check_gradients(backward)


def test_a_linear_classifier():
    def softmax_loss(W, X, y, reg):
        s = X @ W
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean() + reg * (W * W).sum()
        p[np.arange(len(y)), y] -= 1
        return loss, X.T @ p / len(y) + factor * reg * W

    factor = 2
    assert check_gradients(softmax_loss).passed
    factor = 1
    assert not check_gradients(softmax_loss).passed


class SeededDropout:
    backward_mask = True

    def __init__(self, hidden_dims, input_dim=9, num_classes=3, dropout_keep_ratio=1, reg=0.0, seed=None):
        self.keep, self.reg, self.seed, (H,) = dropout_keep_ratio, reg, seed, hidden_dims
        self.params = {"W1": np.zeros((input_dim, H)), "b1": np.zeros(H)}
        self.params |= {"W2": np.zeros((H, num_classes)), "b2": np.zeros(num_classes)}

    def loss(self, X, y):
        W1, b1, W2, b2 = self.params.values()
        z = X @ W1 + b1
        np.random.seed(self.seed)  # noqa: NPY002
        mask = (np.random.rand(*z.shape) < self.keep) / self.keep  # noqa: NPY002
        h = np.maximum(z, 0) * mask
        s = h @ W2 + b2
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean() + self.reg * ((W1**2).sum() + (W2**2).sum())
        p[np.arange(len(y)), y] -= 1
        d = p / len(y)
        dz = d @ W2.T * (z > 0) * (mask if self.backward_mask else 1)
        grads = {"W1": X.T @ dz + 2 * self.reg * W1, "b1": dz.sum(0)}
        return loss, grads | {"W2": h.T @ d + 2 * self.reg * W2, "b2": d.sum(0)}


class MaskForgotten(SeededDropout):
    backward_mask = False


def test_a_class_whose_seed_fixes_its_dropout():
    config = MLPConfig((6,), dropout=0.25, inputs=7, classes=4)
    assert check_gradients(SeededDropout, config).passed
    assert check_gradients(MaskForgotten, config).codes == ["dropout_mask_missing"]


@pytest.mark.parametrize("what", _shapes.REFUSED)
def test_what_cannot_be_checked_is_refused_with_what_to_write(what):
    assert "grads" in _shapes.refused(_shapes.REFUSED[what])
