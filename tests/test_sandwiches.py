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


SIZED = OBJECTS.replace("self, W):", "self, vocab_size, embed_dim):\n        W = np.ones((vocab_size, embed_dim))")


@pytest.mark.parametrize("source", [OBJECTS, SIZED], ids=["of a matrix", "of two sizes"])
def test_an_embedding_object_is_checked_by_its_matrix(source):
    assert layers.check_layer("Embedding", module(source)).passed
    wrong = source.replace("np.add.at(dW, self.idx, dout)", "dW[self.idx] = dout")
    assert layers.check_layer("Embedding", module(wrong)).codes == ["repeated_index"]


def test_an_embedding_object_of_one_size_is_refused_in_one_line():
    source = OBJECTS.replace("self, W):", "self, vocabulary):\n        W = np.ones((vocabulary, 2))")
    with pytest.raises(UserError, match=r"Embedding is given indices.*check_vjp") as refused:
        layers.check_layer("Embedding", module(source))
    assert "\n" not in str(refused.value)


DENSE = """import numpy as np

class Hidden:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.random.randn(n_in, n_out), np.random.randn(n_out)
    def forward(self, x):
        self.x, self.z = x, x @ self.W + self.b
        self.a = np.maximum(self.z, 0)
        return self.a
    def backward(self, dout):
        dz = dout * (self.z > 0)
        self.dW, self.db = self.x.T @ dz, dz.sum(axis=0)
        return dz @ self.W.T
"""
TANH = {"np.maximum(self.z, 0)": "np.tanh(self.z)", "(self.z > 0)": "(1 - self.a**2)"}
TURNED = {"(n_in, n_out)": "(n_out, n_in)", "x @ self.W": "x @ self.W.T", "self.W.T\n": "self.W\n",
          "self.x.T @ dz": "dz.T @ self.x"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        (TANH, []),
        (TURNED, []),
        ({"dout * (self.z > 0)": "dout"}, ["mask_missing"]),
        ({"self.z > 0": "self.x @ self.W > 0"}, ["mask_without_bias"]),
        ({"self.z > 0": "dout > 0"}, ["mask_wrong_tensor"]),
        ({"self.x.T @ dz": "self.x.T @ dout"}, ["mask_missing"]),
        ({"dz.sum(": "dz.mean("}, ["bias_mean"]),
        (TANH | {"(self.z > 0)": "(1 - self.z**2)"}, ["output_form_at_z"]),
        (TANH | {"(self.z > 0)": "self.a"}, ["activation_for_derivative"]),
        (TURNED | {"dout * (self.z > 0)": "dout"}, ["mask_missing"]),
        (TURNED | {"self.z > 0": "self.x @ self.W.T > 0"}, ["mask_without_bias"]),
    ],
)
def test_a_layer_with_an_activation_is_told_by_its_values(changes, codes):
    source = DENSE
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new)
    assert layers.check_layer("Hidden", module(source)).codes == codes


POOLING = """import numpy as np

class Largest:
    def forward(self, x):
        N, C, H, W = x.shape
        self.x = x.reshape(N, C, H // 2, 2, W // 2, 2)
        self.out = self.x.max(axis=(3, 5))
        return self.out
    def backward(self, dout):
        mask = self.x == self.out[:, :, :, None, :, None]
        return (mask * dout[:, :, :, None, :, None]).reshape(len(dout), dout.shape[1], -1, 2 * dout.shape[3])

class Conv2D:
    def __init__(self, in_channels, out_channels, kernel_size=3):
        self.W = np.random.randn(out_channels, in_channels, kernel_size, kernel_size)
        self.b = np.zeros(out_channels)
    def forward(self, x):
        self.x, k = x, self.W.shape[2]
        h, w = x.shape[2] - k + 1, x.shape[3] - k + 1
        out = np.zeros((len(x), len(self.W), h, w))
        for i, j in np.ndindex(h, w):
            out[:, :, i, j] = np.tensordot(x[:, :, i : i + k, j : j + k], self.W, axes=((1, 2, 3), (1, 2, 3)))
        return out + self.b[:, None, None]
    def backward(self, dout):
        x, k, dx = self.x, self.W.shape[2], np.zeros_like(self.x)
        self.dW, self.db = np.zeros_like(self.W), dout.sum(axis=(0, 2, 3))
        for i, j in np.ndindex(*dout.shape[2:]):
            self.dW += np.tensordot(dout[:, :, i, j], x[:, :, i : i + k, j : j + k], axes=(0, 0))
            dx[:, :, i : i + k, j : j + k] += np.tensordot(dout[:, :, i, j], self.W, 1)
        return dx
"""


@pytest.mark.parametrize(
    ("name", "old", "new", "codes"),
    [
        ("MaxPool", "", "", []),
        ("MaxPool", "mask = self.x == self.out[:, :, :, None, :, None]", "mask = np.ones_like(self.x)",
         ["pool_everywhere"]),
        ("Conv2D", "", "", []),
        ("Conv2D", "dout[:, :, i, j], self.W, 1)", "dout[:, :, i, j], self.W[:, :, ::-1, ::-1], 1)",
         ["kernel_flipped"]),
        ("Conv2D", "self.dW += np", "self.dW = np", ["window_overwritten"]),
        ("Conv2D", "dout.sum(axis=(0, 2, 3))", "dout.mean(axis=(0, 2, 3))", None),
    ],
)  # fmt: skip
def test_windows_of_objects_are_told_by_their_values(name, old, new, codes):
    source = POOLING.replace("Largest", "MaxPool")
    assert old in source
    report = layers.check_layer(name, module(source.replace(old, new) if old else source))
    assert report.codes == codes if codes is not None else not report.passed


ALONE = """import numpy as np

def standardised_forward(x):
    std = x.std(axis=0)
    n = (x - x.mean(axis=0)) / std
    return n, (n, std)

def standardised_backward(dout, cache):
    n, std = cache
    return (dout - dout.mean(axis=0) - n * (dout * n).mean(axis=0)) / std

def scaled_forward(x, gamma):
    return x * gamma, (x, gamma)

def scaled_backward(dout, cache):
    x, gamma = cache
    return dout * gamma, (dout * x).mean(axis=0)

def dense_forward(x, w, b):
    return x @ w + b, (x, w)

def dense_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout / len(x), dout.mean(axis=0)
"""


def test_a_gradient_that_is_0_is_no_noise_and_one_scale_over_n_is_no_mean_loss():
    """Behind a normalisation of two examples all gradients are 0."""
    report = layers.check_module(module(ALONE))
    assert [(r.name, r.codes) for r in report.layers] == [
        ("standardised_backward", []), ("scaled_backward", ["batch_mean_twice"]), ("dense_backward", []),
    ]  # fmt: skip
    text = " ".join(str(report).split())
    assert "Note on dense_backward: the gradients of all parameters are divided by the number of examples" in text
    assert "Note on standardised_backward" not in text


RMS = """import numpy as np

def rmsnorm_forward(x, g):
    r = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    return g * x * r, (x, g, r)

def rmsnorm_backward(dout, cache):
    x, g, r = cache
    n, d = x * r, dout * g
    return (d - n * (d * n).mean(-1, keepdims=True)) * r, (dout * n).sum(axis=0)
"""


def test_a_scale_that_is_called_g_is_no_number_of_groups():
    assert layers.check_layer("rmsnorm_backward", module(RMS)).passed
    wrong = layers.check_layer("rmsnorm_backward", module(RMS.replace("(dout * n)", "(dout * x)")))
    assert [row.verdict for row in wrong.leaves] == ["PASS", "FAIL"]
