"""Layers of several operations in a row, and objects of normalisation: the mistakes inside are named."""

import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import layers
from tests.layer_sources import SANDWICHES
from tests.test_layers import module

OBJECTS = """import numpy as np


class BatchNormalization:
    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var
        self.dgamma = self.dbeta = None
    def forward(self, x, train_flg=True):
        if self.running_mean is None:
            self.running_mean, self.running_var = np.zeros(x.shape[1]), np.zeros(x.shape[1])
        if train_flg:
            mu = x.mean(axis=0)
            xc = x - mu
            var = np.mean(xc**2, axis=0)
            std = np.sqrt(var + 10e-7)
            xn = xc / std
            self.batch_size, self.xc, self.xn, self.std = x.shape[0], xc, xn, std
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            xn = (x - self.running_mean) / np.sqrt(self.running_var + 10e-7)
        return self.gamma * xn + self.beta
    def backward(self, dout):
        dbeta = dout.sum(axis=0)
        dgamma = np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        dx = dxc - dmu / self.batch_size
        self.dgamma, self.dbeta = dgamma, dbeta
        return dx


class Embedding:
    def __init__(self, W):
        self.params, self.grads, self.idx = [W], [np.zeros_like(W)], None
    def forward(self, idx):
        self.idx = idx
        return self.params[0][idx]
    def backward(self, dout):
        dW, = self.grads
        dW[...] = 0
        np.add.at(dW, self.idx, dout)
        return None
"""


RELU, NORM = "dout * (x > 0)", "d = dout * gamma\n    dx = (d - d.mean(axis=0) - n"


@pytest.mark.parametrize(
    ("name", "old", "new", "code", "leaves"),
    [
        ("affine_relu", RELU, "dout", "mask_missing", "x w b"),
        ("affine_relu", "affine_backward(relu_backward(dout, relu_cache), ", "affine_backward(dout, ",
         "mask_missing", "x w b"),
        ("affine_relu", RELU, "dout * (dout > 0)", "mask_wrong_tensor", "x w b"),
        ("affine_relu", "db = dout.sum(axis=0)", "db = dout.mean(axis=0)", "bias_mean", "b"),
        ("affine_bn_relu", NORM, "d = dout * gamma\n    dx = (d - n", "bn_mean_term_dropped", "x w b"),
        ("affine_bn_relu", NORM, "d = dout\n    dx = (d - d.mean(axis=0) - n", "bn_scale_dropped", "x w"),
        ("affine_bn_relu", RELU, "dout", "mask_missing", "x w gamma beta"),
        ("conv_relu", RELU, "dout", "mask_missing", "x w b"),
        ("conv_relu", "dpadded[:, :, p:-p, p:-p]", "dpadded[:, :, :x.shape[2], :x.shape[3]]", "window_pad", "x"),
    ],
)  # fmt: skip
def test_a_mistake_inside_a_sandwich_is_named(name, old, new, code, leaves):
    assert SANDWICHES.count(old) == 1
    report = layers.check_layer(f"{name}_backward", module(SANDWICHES.replace(old, new)))
    assert report.codes == [code]
    assert set(leaves.split()) <= set(report.findings[0].leaves)


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        ("self.momentum *", "self.momentum *", []),
        ("dx = dxc - dmu / self.batch_size", "dx = dxc", ["bn_mean_term_dropped"]),
        ("self.gamma * dout", "dout", ["bn_scale_dropped"]),
        ("        dxc += (2.0", "        0 * (2.0", ["bn_variance_term_dropped"]),
        ("np.sum(self.xn * dout, axis=0)", "np.sum(dout, axis=0)", ["bn_n_missing"]),
        ("dbeta = dout.sum(axis=0)", "dbeta = dout.mean(axis=0)", ["bias_mean"]),
    ],
)
def test_an_object_of_batch_normalisation_has_the_codes_of_one(old, new, codes):
    assert old in OBJECTS
    report = layers.check_layer("BatchNormalization", module(OBJECTS.replace(old, new)))
    assert (report.codes, report.remarks) == (codes, [])


def test_an_embedding_object_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"Embedding is given indices.*check_vjp") as refused:
        layers.check_layer("Embedding", module(OBJECTS))
    assert "\n" not in str(refused.value)
