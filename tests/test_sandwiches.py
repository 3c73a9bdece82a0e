"""Layers of several operations in a row, and objects of normalisation: the mistakes inside are named."""

import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import layers
from tests.test_layers import module

SANDWICHES = """import numpy as np


def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache > 0)


def batchnorm_forward(x, gamma, beta, bn_param):
    mu, var = x.mean(axis=0), x.var(axis=0)
    std = np.sqrt(var + bn_param.get("eps", 1e-5))
    n = (x - mu) / std
    return gamma * n + beta, (n, gamma, std)


def batchnorm_backward(dout, cache):
    n, gamma, std = cache
    dn = dout * gamma
    dx = (dn - dn.mean(axis=0) - n * (dn * n).mean(axis=0)) / std
    return dx, (dout * n).sum(axis=0), dout.sum(axis=0)


def affine_relu_forward(x, w, b):
    a, fc = affine_forward(x, w, b)
    out, r = relu_forward(a)
    return out, (fc, r)


def affine_relu_backward(dout, cache):
    fc, r = cache
    da = relu_backward(dout, r)
    return affine_backward(da, fc)


def affine_bn_relu_forward(x, w, b, gamma, beta, bn_param):
    a, fc = affine_forward(x, w, b)
    a, bn = batchnorm_forward(a, gamma, beta, bn_param)
    out, r = relu_forward(a)
    return out, (fc, bn, r)


def affine_bn_relu_backward(dout, cache):
    fc, bn, r = cache
    da = relu_backward(dout, r)
    da, dgamma, dbeta = batchnorm_backward(da, bn)
    dx, dw, db = affine_backward(da, fc)
    return dx, dw, db, dgamma, dbeta


def conv_forward(x, w, b, conv_param):
    s, p = conv_param["stride"], conv_param["pad"]
    h, k = w.shape[2:]
    xp = np.pad(x, ((0,0),(0,0),(p,p),(p,p)))
    H = 1 + (xp.shape[2]-h)//s
    W = 1 + (xp.shape[3]-k)//s
    out = np.zeros((len(x), len(w), H, W))
    for i in range(H):
        for j in range(W):
            out[:, :, i, j] = np.tensordot(xp[:, :, i*s:i*s+h, j*s:j*s+k], w, axes=((1,2,3),(1,2,3))) + b
    return out, (x, w, b, conv_param)


def conv_backward(dout, cache):
    x, w, b, conv_param = cache
    s, p = conv_param["stride"], conv_param["pad"]
    h, k = w.shape[2:]
    xp = np.pad(x, ((0,0),(0,0),(p,p),(p,p)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dxp[:, :, i*s:i*s+h, j*s:j*s+k] += np.tensordot(dout[:, :, i, j], w, 1)
            dw += np.tensordot(dout[:, :, i, j], xp[:, :, i*s:i*s+h, j*s:j*s+k], axes=(0, 0))
    return dxp[:, :, p:-p, p:-p], dw, dout.sum(axis=(0, 2, 3))


def conv_relu_forward(x, w, b, conv_param):
    a, c = conv_forward(x, w, b, conv_param)
    out, r = relu_forward(a)
    return out, (c, r)


def conv_relu_backward(dout, cache):
    c, r = cache
    return conv_backward(relu_backward(dout, r), c)
"""
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


@pytest.mark.parametrize("name", ["affine_relu", "affine_bn_relu", "conv_relu"])
def test_right_sandwiches(name):
    assert layers.check_layer(f"{name}_backward", module(SANDWICHES)).passed


@pytest.mark.parametrize(
    ("name", "old", "new", "code", "leaves"),
    [
        ("affine_relu", "dout * (cache > 0)", "dout", "mask_missing", "x w b"),
        ("affine_relu", "return affine_backward(da", "return affine_backward(dout", "mask_missing", "x w b"),
        ("affine_relu", "dout * (cache > 0)", "dout * (dout > 0)", "mask_wrong_tensor", "x w b"),
        ("affine_relu", "dout.sum(axis=0)\n\n\ndef relu", "dout.mean(axis=0)\n\n\ndef relu", "bias_mean", "b"),
        ("affine_bn_relu", "dn - dn.mean(axis=0) -", "dn -", "bn_mean_term_dropped", "x w b"),
        ("affine_bn_relu", "dn = dout * gamma", "dn = dout", "bn_scale_dropped", "x w"),
        ("affine_bn_relu", "dout * (cache > 0)", "dout", "mask_missing", "x w gamma beta"),
        ("conv_relu", "dout * (cache > 0)", "dout", "mask_missing", "x w b"),
        ("conv_relu", "dxp[:, :, p:-p, p:-p]", "dxp[:, :, :x.shape[2], :x.shape[3]]", "window_pad", "x"),
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
