"""Gradients in the shapes that people have: all right, and taken as they are."""

import numpy as np
import pytest

from mlp_jax.gradcheck.check import check_gradients
from mlp_jax.nn.config import MLPConfig
from tests import shapes

FOUND = dict(
    zip(shapes.MISTAKES, ("mask_without_bias", "bias_mean", "l2_ignored", "batch_mean_missing"), strict=True)
)


@pytest.mark.parametrize("shape", shapes.sources())
def test_a_gradient_of_this_shape(shape):
    """It is taken as it is: right, and the same with each of the mistakes wrong by that mistake's code."""
    report = check_gradients(shapes.defined(shapes.sources()[shape]))
    assert report.passed, str(report)
    wrong = shapes.mistaken(shape)
    assert len(wrong) >= 2
    for mistake, changed in wrong.items():
        report = check_gradients(shapes.defined(changed))
        assert (report.passed, report.codes) == (False, [FOUND[mistake]]), str(report)


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


@pytest.mark.parametrize("what", shapes.REFUSED)
def test_what_cannot_be_checked_is_refused_with_what_to_write(what):
    told = shapes.refused(shapes.REFUSED[what])
    assert ("check_vjp(function, backward, x)" if what == "a derivative alone" else "grads") in told
    assert what != "a backward pass alone" or "f(params, x, y, l2)" in told
