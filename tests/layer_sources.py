"""Layers as people write them, all right; the tests put mistakes into them."""

CS231N = """
import numpy as np

def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1) @ w + b
    return out, (x, w, b)
def affine_backward(dout, cache):
    x, w, b = cache
    rows = x.reshape(x.shape[0], -1)
    dx = (dout @ w.T).reshape(x.shape)
    dw = rows.T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db

def relu_forward(x):
    return np.maximum(x, 0), x
def relu_backward(dout, cache):
    x = cache
    return dout * (x > 0)

def sigmoid_forward(x):
    a = 1 / (1 + np.exp(-x))
    return a, (x, a)
def sigmoid_backward(dout, cache):
    x, a = cache
    return dout * a * (1 - a)

def tanh_forward(x):
    a = np.tanh(x)
    return a, (x, a)
def tanh_backward(dout, cache):
    x, a = cache
    return dout * (1 - a**2)

def leaky_relu_forward(x, slope=0.05):
    return np.where(x > 0, x, slope * x), (x, slope)
def leaky_relu_backward(dout, cache):
    x, slope = cache
    return dout * np.where(x > 0, 1, slope)

def softmax_forward(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    a = e / e.sum(axis=1, keepdims=True)
    return a, a
def softmax_backward(dout, cache):
    a = cache
    return a * (dout - (dout * a).sum(axis=1, keepdims=True))

def batchnorm_forward(x, gamma, beta, bn_param):
    mode, eps, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    mean, var = x.mean(axis=0), x.var(axis=0)
    running = bn_param.get("running_mean", np.zeros(x.shape[1]))
    bn_param["running_mean"] = momentum * running + (1 - momentum) * mean
    std = np.sqrt(var + eps)
    n = (x - mean) / std
    return gamma * n + beta, (x, n, gamma, std)
def batchnorm_backward(dout, cache):
    x, n, gamma, std = cache
    d = dout * gamma
    dx = (d - d.mean(axis=0) - n * (d * n).mean(axis=0)) / std
    return dx, (dout * n).sum(axis=0), dout.sum(axis=0)
def batchnorm_backward_alt(dout, cache):
    x, n, gamma, std = cache
    N = len(dout)
    d = gamma * dout
    return (N * d - d.sum(0) - n * (d * n).sum(0)) / (N * std), (dout * n).sum(0), dout.sum(0)

def layernorm_forward(x, gamma, beta, ln_param):
    mean, var = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    std = np.sqrt(var + ln_param.get("eps", 1e-5))
    n = (x - mean) / std
    return gamma * n + beta, (n, gamma, std)
def layernorm_backward(dout, cache):
    n, gamma, std = cache
    d = dout * gamma
    dx = (d - d.mean(axis=1, keepdims=True) - n * (d * n).mean(axis=1, keepdims=True)) / std
    return dx, (dout * n).sum(axis=0), dout.sum(axis=0)

def dropout_forward(x, dropout_param):
    p, mode = dropout_param["p"], dropout_param["mode"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    mask = None
    out = x
    if mode == "train":
        mask = (np.random.rand(*x.shape) < p) / p
        out = x * mask
    return out, (dropout_param, mask)
def dropout_backward(dout, cache):
    dropout_param, mask = cache
    return dout * mask if dropout_param["mode"] == "train" else dout

def affine_relu_forward(x, w, b):
    a, fc_cache = affine_forward(x, w, b)
    out, relu_cache = relu_forward(a)
    return out, (fc_cache, relu_cache)
def affine_relu_backward(dout, cache):
    fc_cache, relu_cache = cache
    return affine_backward(relu_backward(dout, relu_cache), fc_cache)

def affine_bn_relu_forward(x, w, b, gamma, beta, bn_param):
    a, fc_cache = affine_forward(x, w, b)
    n, bn_cache = batchnorm_forward(a, gamma, beta, bn_param)
    out, relu_cache = relu_forward(n)
    return out, (fc_cache, bn_cache, relu_cache)
def affine_bn_relu_backward(dout, cache):
    fc_cache, bn_cache, relu_cache = cache
    dn, dgamma, dbeta = batchnorm_backward(relu_backward(dout, relu_cache), bn_cache)
    return (*affine_backward(dn, fc_cache), dgamma, dbeta)

def conv_forward_naive(x, w, b, conv_param):
    s, p = conv_param["stride"], conv_param["pad"]
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    out = np.zeros((N, F, 1 + (H + 2 * p - HH) // s, 1 + (W + 2 * p - WW) // s))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            patch = padded[:, :, i * s : i * s + HH, j * s : j * s + WW]
            out[:, :, i, j] = np.tensordot(patch, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out, (x, w, b, conv_param)
def conv_backward_naive(dout, cache):
    x, w, b, conv_param = cache
    s, p = conv_param["stride"], conv_param["pad"]
    HH, WW = w.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            rows, columns = slice(i * s, i * s + HH), slice(j * s, j * s + WW)
            dw += np.tensordot(dout[:, :, i, j], padded[:, :, rows, columns], axes=(0, 0))
            dpadded[:, :, rows, columns] += np.tensordot(dout[:, :, i, j], w, axes=(1, 0))
    return dpadded[:, :, p:-p, p:-p], dw, dout.sum(axis=(0, 2, 3))

def max_pool_forward_naive(x, pool_param):
    h, w, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    N, C, H, W = x.shape
    out = np.zeros((N, C, 1 + (H - h) // s, 1 + (W - w) // s))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = x[:, :, i * s : i * s + h, j * s : j * s + w].max(axis=(2, 3))
    return out, (x, out, pool_param)
def max_pool_backward_naive(dout, cache):
    x, out, pool_param = cache
    h, w, s = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            window = x[:, :, i * s : i * s + h, j * s : j * s + w]
            largest = window == out[:, :, i, j][:, :, None, None]
            dx[:, :, i * s : i * s + h, j * s : j * s + w] += largest * dout[:, :, i, j][:, :, None, None]
    return dx

def softmax_loss(x, y):
    shifted = x - x.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    N = len(y)
    loss = -np.log(p[np.arange(N), y]).sum() / N
    dx = p.copy()
    dx[np.arange(N), y] -= 1
    dx = dx / N
    return loss, dx

def svm_loss(x, y):
    N = len(y)
    margins = np.maximum(0, x - x[np.arange(N), y][:, None] + 1)
    margins[np.arange(N), y] = 0
    dx = (margins > 0) * 1.0
    dx[np.arange(N), y] -= (margins > 0).sum(axis=1)
    return margins.sum() / N, dx / N
"""

PARTS = {
    "affine": ("affine", "x, w, b", "dw, db"),
    "bn": ("batchnorm", "gamma, beta, bn_param", "dgamma, dbeta"),
    "batch": ("batchnorm", "gamma, beta, bn_param", "dgamma, dbeta"),
    "ln": ("layernorm", "gamma, beta, ln_param", "dgamma, dbeta"),
    "relu": ("relu", "", ""),
    "dropout": ("dropout", "dropout_param", ""),
    "conv": ("conv_naive", "x, w, b, conv_param", "dw, db"),
    "pool": ("max_pool_naive", "pool_param", ""),
    "spatialbn": ("spatial_batchnorm", "gamma, beta, bn_param", "dgamma, dbeta"),
}
"""What a name's part calls, its arguments beside the input, and what its backward pass gives beside dx."""


def sandwich(name, parts=""):
    """A forward and a backward pass of several operations, one after the other, as courses have them."""
    chain = [PARTS[part] for part in (parts or name).split("_")]
    calls = [(f"{n.removesuffix('_naive')}_{{}}{'_naive' * n.endswith('_naive')}", a, g) for n, a, g in chain]
    first = [argument for _, given, _ in calls for argument in given.split(", ") if argument not in ("", "x")]
    order = [a for a in first if not a.endswith("_param")] + [a for a in first if a.endswith("_param")]
    lines = [f"def {name}_forward({', '.join(['x', *order])}):"]
    for number, (call, given, _) in enumerate(calls):
        inputs = ", ".join(["x", *(a for a in given.split(", ") if a not in ("", "x"))])
        lines.append(f"    x, c{number} = {call.format('forward')}({inputs})")
    caches = [f"c{number}" for number in range(len(calls))]
    lines += [f"    return x, ({', '.join(caches)})", "", "", f"def {name}_backward(dout, cache):"]
    lines.append(f"    {', '.join(caches)} = cache")
    for number, (call, _, grads) in reversed(list(enumerate(calls))):
        found = ", ".join(["dout", *([grads] if grads else [])])
        lines.append(f"    {found} = {call.format('backward')}(dout, c{number})")
    grads = [grad for _, _, several in calls if several for grad in several.split(", ")]
    return "\n".join([*lines, f"    return {', '.join(['dout', *grads])}", ""])


NAMES = (
    "affine_batch_relu", "affine_ln_relu", "affine_bn_relu_dropout", "affine_relu_dropout", "dropout_relu",
    "relu_affine", "conv_relu", "conv_relu_pool",
)  # fmt: skip
SPATIAL = """
def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    out, cache = batchnorm_forward(x.transpose(0, 2, 3, 1).reshape(-1, C), gamma, beta, bn_param)
    return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), cache
def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    dx, dgamma, dbeta = batchnorm_backward(dout.transpose(0, 2, 3, 1).reshape(-1, C), cache)
    return dx.reshape(N, H, W, C).transpose(0, 3, 1, 2), dgamma, dbeta
"""
GROUPED = """
def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    N, C, H, W = x.shape
    groups = x.reshape(N, G, -1)
    std = np.sqrt(groups.var(axis=2, keepdims=True) + gn_param.get("eps", 1e-5))
    n = (groups - groups.mean(axis=2, keepdims=True)) / std
    return gamma * n.reshape(x.shape) + beta, (G, n, gamma, std)
def spatial_groupnorm_backward(dout, cache):
    G, n, gamma, std = cache
    d = (dout * gamma).reshape(n.shape)
    dx = (d - d.mean(axis=2, keepdims=True) - n * (d * n).mean(axis=2, keepdims=True)) / std
    n = n.reshape(dout.shape)
    return dx.reshape(dout.shape), (dout * n).sum((0, 2, 3), keepdims=True), dout.sum((0, 2, 3), keepdims=True)
"""
SANDWICHES = "\n\n".join([
    CS231N, *map(sandwich, NAMES), sandwich("relu_max_pool", "relu_pool"), SPATIAL, GROUPED,
    sandwich("conv_bn_relu", "conv_spatialbn_relu"),
])  # fmt: skip

STYLES = """
import random

import numpy as np

def affine_forward(x, w, b):  # loops, and one bias for each row
    out = np.zeros((len(x), w.shape[1]))
    for i in range(len(x)):
        out[i] = np.einsum("d,dm->m", x[i].ravel(), w) + b
    return out, [x, w, b]
def affine_backward(dout, cache):  # a dict, and einsum
    x, w, b = cache
    dx = np.einsum("nm,dm->nd", dout, w).reshape(x.shape)
    return {"dx": dx, "dw": np.einsum("nd,nm->dm", x.reshape(len(x), -1), dout), "db": np.einsum("nm->m", dout)}

def linear_forward(A, W, b):  # columns are examples
    return W @ A + b, (A, W, b)
def linear_backward(dZ, cache):  # of each example's own loss
    A_prev, W, b = cache
    m = A_prev.shape[1]
    return W.T @ dZ, dZ @ A_prev.T / m, np.sum(dZ, axis=1, keepdims=True) / m

def dense_forward(x, W, b):  # rows are examples, weights (out, in)
    return x @ W.T + b, (x, W, b)
def dense_backward(dout, cache):
    x, W, b = cache
    return [dout @ W, dout.T @ x, dout.sum(0)]

def relu(Z):
    return np.maximum(0, Z), Z
def relu_backward(dA, cache):  # in place, as many do
    dA[cache <= 0] = 0
    return dA

def elu_forward(x):  # only the output
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)
def elu_backward(dout, x):
    return dout * np.where(x > 0, 1, np.exp(np.minimum(x, 0)))

def swiglu_forward(x, w):  # of no known name
    a = x @ w
    return a / (1 + np.exp(-a)) * a, (x, w, a)
def swiglu_backward(dout, cache):
    x, w, a = cache
    s = 1 / (1 + np.exp(-a))
    da = dout * (2 * a * s + a**2 * s * (1 - s))
    return da @ w.T, x.T @ da

def dropout_forward(x, keep_prob):  # a generator of its own, not inverted
    mask = np.random.default_rng().random(x.shape) < keep_prob
    return x * mask, mask
def dropout_backward(dout, cache):
    return dout * cache

def gate_forward(x, h, w):  # two outputs
    return x @ w + h, np.tanh(h), (x, h, w)
def gate_backward(da, dh, cache):
    x, h, w = cache
    return da @ w.T, da + dh * (1 - np.tanh(h) ** 2), x.T @ da

def softmax_loss(x, y):  # with a small number in the logarithm
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    one_hot = np.eye(x.shape[1])[y]
    return -np.mean(np.sum(one_hot * np.log(p + 1e-8), axis=1)), (p - one_hot) / len(x)

def batchnorm_forward(x, gamma, beta, eps=1e-8):  # another eps, consistently
    std = np.sqrt(x.var(0) + eps)
    n = (x - x.mean(0)) / std
    return gamma * n + beta, (n, gamma, std)
def batchnorm_backward(dout, cache):
    n, gamma, std = cache
    d = dout * gamma
    return (d - d.mean(0) - n * (d * n).mean(0)) / std, (dout * n).sum(0), dout.sum(0)
"""

NNFS = """
import numpy as np

class Layer_Dense:
    def __init__(self, n_inputs, n_neurons):
        self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))
    def forward(self, inputs, training):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases
    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)

class Layer_DenseRegularised:
    def __init__(
        self, n_inputs, n_neurons, weight_regularizer_l1=0, weight_regularizer_l2=0, bias_regularizer_l2=0
    ):
        self.weights, self.biases = np.random.randn(n_inputs, n_neurons), np.random.randn(1, n_neurons)
        self.weight_regularizer_l1, self.weight_regularizer_l2 = weight_regularizer_l1, weight_regularizer_l2
        self.bias_regularizer_l2 = bias_regularizer_l2
    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases
    def backward(self, dvalues):
        self.dWeights = np.dot(self.inputs.T, dvalues)
        self.dBiases = np.sum(dvalues, axis=0, keepdims=True)
        if self.weight_regularizer_l1 > 0:
            self.dWeights += self.weight_regularizer_l1 * np.where(self.weights < 0, -1, 1)
        if self.weight_regularizer_l2 > 0:
            self.dWeights += 2 * self.weight_regularizer_l2 * self.weights
        if self.bias_regularizer_l2 > 0:
            self.dBiases += 2 * self.bias_regularizer_l2 * self.biases
        self.dInputs = np.dot(dvalues, self.weights.T)

class Layer_Dropout:
    def __init__(self, rate):
        self.rate = 1 - rate
    def forward(self, inputs, training):
        self.inputs = inputs
        if not training:
            self.output = inputs.copy()
            return
        self.mask = np.random.binomial(1, self.rate, size=inputs.shape) / self.rate
        self.output = inputs * self.mask
    def backward(self, dvalues):
        self.dinputs = dvalues * self.mask

class Activation_ReLU:
    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.maximum(0, inputs)
    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0

class Activation_Softmax:
    def forward(self, inputs):
        e = np.exp(inputs - np.max(inputs, axis=1, keepdims=True))
        self.output = e / np.sum(e, axis=1, keepdims=True)
    def backward(self, dvalues):
        self.dinputs = np.empty_like(dvalues)
        for i, (a, d) in enumerate(zip(self.output, dvalues)):
            self.dinputs[i] = (np.diagflat(a) - np.outer(a, a)) @ d

class Loss:
    def calculate(self, output, y):
        return np.mean(self.forward(output, y))

class Loss_CategoricalCrossentropy(Loss):
    def forward(self, y_pred, y_true):
        clipped = np.clip(y_pred, 1e-7, 1 - 1e-7)
        return -np.log(clipped[range(len(y_pred)), y_true])
    def backward(self, dvalues, y_true):
        self.dinputs = -np.eye(len(dvalues[0]))[y_true] / dvalues
        self.dinputs = self.dinputs / len(dvalues)

class CCE_Loss(Loss):
    def forward(self, y_pred, y_true):
        return -np.log(np.clip(y_pred, 1e-7, 1 - 1e-7)[range(len(y_pred)), y_true])
    def backward(self, y_pred, y_true):
        self.dInputs = -np.eye(len(y_pred[0]))[y_true] / y_pred / len(y_pred)

class Loss_BinaryCrossentropy(Loss):  # of several outputs
    def forward(self, y_pred, y_true):
        clipped = np.clip(y_pred, 1e-7, 1 - 1e-7)
        losses = -(y_true * np.log(clipped) + (1 - y_true) * np.log(1 - clipped))
        return np.mean(losses, axis=-1)
    def backward(self, dvalues, y_true):
        outputs = len(dvalues[0])
        clipped = np.clip(dvalues, 1e-7, 1 - 1e-7)
        self.dinputs = -(y_true / clipped - (1 - y_true) / (1 - clipped)) / outputs / len(dvalues)

class Activation_Softmax_Loss:  # the loss itself is another's
    def backward(self, dvalues, y_true):
        if len(y_true.shape) == 2:
            y_true = np.argmax(y_true, axis=1)
        self.dinputs = dvalues.copy()
        self.dinputs[range(len(dvalues)), y_true] -= 1
        self.dinputs = self.dinputs / len(dvalues)

class Activation_Softmax_Loss_CategoricalCrossentropy:
    def __init__(self):
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()
    def forward(self, inputs, y_true):
        self.activation.forward(inputs)
        self.output = self.activation.output
        return self.loss.calculate(self.output, y_true)
    def backward(self, dvalues, y_true):
        self.dinputs = dvalues.copy()
        self.dinputs[range(len(dvalues)), y_true] -= 1
        self.dinputs = self.dinputs / len(dvalues)
"""

RETURNING = """
import numpy as np

class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b
        self.dW, self.db = None, None
    def forward(self, x):
        self.x = x
        return np.dot(x, self.W) + self.b
    def backward(self, dout):
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return np.dot(dout, self.W.T)

class MulLayer:
    def __init__(self):
        self.x, self.y = None, None
    def forward(self, x, y):
        self.x, self.y = x, y
        return x * y
    def backward(self, dout):
        return dout * self.y, dout * self.x

class DenseOfLists:  # that are made when they are asked for
    def __init__(self, in_features, out_features, rng, init="he"):
        self.W, self.b = rng.normal(size=(in_features, out_features)), np.zeros(out_features)
    @property
    def params(self):
        return [self.W, self.b]
    @property
    def grads(self):
        return [self.dW, self.db]
    def forward(self, x):
        self._x = x
        return x @ self.W + self.b
    def backward(self, grad_out):
        self.dW, self.db = self._x.T @ grad_out, grad_out.sum(axis=0)
        return grad_out @ self.W.T

class TimeAffine:  # (N, T, D)
    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]
    def forward(self, x):
        N, T, D = x.shape
        self.x = x
        return (x.reshape(N * T, -1) @ self.params[0] + self.params[1]).reshape(N, T, -1)
    def backward(self, dout):
        N, T, D = self.x.shape
        rows, inputs = dout.reshape(N * T, -1), self.x.reshape(N * T, -1)
        self.grads[0][...], self.grads[1][...] = inputs.T @ rows, rows.sum(axis=0)
        return (rows @ self.params[0].T).reshape(self.x.shape)

class Listed:
    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]
    def forward(self, x):
        W, b = self.params
        self.x = x
        return x @ W + b
    def backward(self, dout):
        W, b = self.params
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = dout.sum(axis=0)
        return dout @ W.T

class Linear:
    def __init__(self, in_features, out_features):
        self.weight, self.bias = np.random.randn(out_features, in_features), np.zeros(out_features)
        self.zero_grad()
    def zero_grad(self):
        self.grad_weight, self.grad_bias = np.zeros_like(self.weight), np.zeros_like(self.bias)
    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias
    def backward(self, g):
        self.grad_weight += g.T @ self.x
        self.grad_bias += g.sum(0)
        return g @ self.weight

class Updating:
    def __init__(self, input_size, output_size):
        self.weights, self.bias = np.random.randn(input_size, output_size), np.random.randn(1, output_size)
    def forward(self, input):
        self.input = input
        return input @ self.weights + self.bias
    def backward(self, output_gradient, learning_rate):
        input_gradient = output_gradient @ self.weights.T
        self.weights -= learning_rate * self.input.T @ output_gradient
        self.bias -= learning_rate * output_gradient.sum(axis=0, keepdims=True)
        return input_gradient

class SoftmaxWithLoss:
    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y, self.t = e / e.sum(axis=1, keepdims=True), t
        return -np.mean(np.log(self.y[np.arange(len(t)), t] + 1e-7))
    def backward(self, dout=1):
        dx = self.y.copy()
        dx[np.arange(len(self.t)), self.t] -= 1
        return dout * dx / len(self.t)

class SigmoidWithLoss:
    def forward(self, x, t):
        self.y, self.t = 1 / (1 + np.exp(-x)), t
        return -np.mean(t * np.log(self.y) + (1 - t) * np.log(1 - self.y))
    def backward(self, dout=1):
        return dout * (self.y - self.t) / len(self.t)

class ColumnDense:  # one example, a column
    def __init__(self, input_size, output_size):
        self.weights, self.bias = np.random.randn(output_size, input_size), np.random.randn(output_size, 1)
    def forward(self, input):
        self.input = input
        return np.dot(self.weights, self.input) + self.bias
    def backward(self, output_gradient, learning_rate):
        input_gradient = np.dot(self.weights.T, output_gradient)
        self.weights -= learning_rate * np.dot(output_gradient, self.input.T)
        self.bias -= learning_rate * output_gradient
        return input_gradient

class Convolution:
    def __init__(self, W, b, stride=1, pad=0):
        self.W, self.b, self.dW, self.db = W, b, None, None
    def forward(self, x):
        self.x = x
        self.windows = np.lib.stride_tricks.sliding_window_view(x, self.W.shape[2:], axis=(2, 3))
        return np.einsum('nchwij,fcij->nfhw', self.windows, self.W) + self.b.reshape(1, -1, 1, 1)
    def backward(self, dout):
        self.dW = np.einsum('nchwij,nfhw->fcij', self.windows, dout)
        self.db = dout.sum(axis=(0, 2, 3))
        dx = np.zeros_like(self.x)
        for i in range(self.W.shape[2]):
            for j in range(self.W.shape[3]):
                part = np.einsum('nfhw,fc->nchw', dout, self.W[:, :, i, j])
                dx[:, :, i : i + dout.shape[2], j : j + dout.shape[3]] += part
        return dx

class Stepping:
    def __init__(self, input_units, output_units, learning_rate=0.1):
        self.learning_rate = learning_rate
        self.weights, self.biases = np.random.randn(input_units, output_units), np.zeros(output_units)
    def forward(self, input):
        return input @ self.weights + self.biases
    def backward(self, input, grad_output):
        grad_input = grad_output @ self.weights.T
        self.weights = self.weights - self.learning_rate * (input.T @ grad_output)
        self.biases = self.biases - self.learning_rate * grad_output.sum(axis=0)
        return grad_input
"""

CHANNELS_LAST = """
import numpy as np

def windows(x, f, stride):
    for i in range((x.shape[1] - f) // stride + 1):
        for j in range((x.shape[2] - f) // stride + 1):
            yield i, j, np.s_[:, i * stride : i * stride + f, j * stride : j * stride + f]

def padded(x, pad):
    return np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

def conv_forward(A_prev, W, b, hparameters):  # loops, and biases (1, 1, 1, F)
    (m, height, width, _), (f, f, _, filters) = A_prev.shape, W.shape
    stride, pad = hparameters["stride"], hparameters["pad"]
    sizes = (int((n - f + 2 * pad) / stride) + 1 for n in (height, width))
    Z, A_prev_pad = np.zeros((m, *sizes, filters)), padded(A_prev, pad)
    for i, j, at in windows(A_prev_pad, f, stride):
        for c in range(filters):
            Z[:, i, j, c] = np.sum(A_prev_pad[at] * W[..., c], axis=(1, 2, 3)) + b[0, 0, 0, c]
    return Z, (A_prev, W, b, hparameters)
def conv_backward(dZ, cache):
    A_prev, W, b, hparameters = cache
    f, stride, pad = W.shape[0], hparameters["stride"], hparameters["pad"]
    A_prev_pad, dW, db = padded(A_prev, pad), np.zeros_like(W), np.zeros_like(b)
    dA_prev_pad = np.zeros_like(A_prev_pad)
    for n in range(len(A_prev)):
        for i, j, (_, rows, columns) in windows(A_prev_pad, f, stride):
            for c in range(W.shape[3]):
                dA_prev_pad[n, rows, columns] += W[..., c] * dZ[n, i, j, c]
                dW[..., c] += A_prev_pad[n, rows, columns] * dZ[n, i, j, c]
                db[..., c] += dZ[n, i, j, c]
    return dA_prev_pad[:, pad:-pad, pad:-pad], dW, db

def conv2d_forward(x, w, b, stride=1, padding=0):  # kernels (F, h, w, C)
    xp = padded(x, padding)
    found = windows(xp, w.shape[1], stride)
    outputs = {(i, j): np.tensordot(xp[at], w, ((1, 2, 3), (1, 2, 3))) for i, j, at in found}
    rows, columns = (max(ij[axis] for ij in outputs) + 1 for axis in (0, 1))
    out = np.stack([np.stack([outputs[i, j] for j in range(columns)], 1) for i in range(rows)], 1)
    return out + b, (x, w, stride, padding)
def conv2d_backward(dout, cache):
    x, w, stride, p = cache
    xp, dw = padded(x, p), np.zeros_like(w)
    dxp = np.zeros_like(xp)
    for i, j, at in windows(xp, w.shape[1], stride):
        dw += np.tensordot(dout[:, i, j], xp[at], (0, 0))
        dxp[at] += np.tensordot(dout[:, i, j], w, 1)
    return dxp[:, p : p + x.shape[1], p : p + x.shape[2]], dw, dout.sum((0, 1, 2))

def pool_forward(A_prev, hparameters, mode="max"):
    f, stride = hparameters["f"], hparameters["stride"]
    m, height, width, channels = A_prev.shape
    A = np.zeros((m, 1 + (height - f) // stride, 1 + (width - f) // stride, channels))
    for i, j, at in windows(A_prev, f, stride):
        A[:, i, j] = A_prev[at].max((1, 2))
    return A, (A_prev, hparameters)
def pool_backward(dA, cache, mode="max"):
    A_prev, hparameters = cache
    dA_prev = np.zeros_like(A_prev)
    for i, j, at in windows(A_prev, hparameters["f"], hparameters["stride"]):
        mask = A_prev[at] == A_prev[at].max((1, 2), keepdims=True)
        dA_prev[at] += mask * dA[:, i, j][:, None, None]
    return dA_prev

def average_pool_forward(x, pool_size=2, stride=2):
    A = np.zeros((len(x), x.shape[1] // 2, x.shape[2] // 2, x.shape[3]))
    for i, j, at in windows(x, pool_size, stride):
        A[:, i, j] = x[at].mean((1, 2))
    return A, (x, pool_size, stride)
def average_pool_backward(dout, cache):
    x, f, stride = cache
    dx = np.zeros_like(x)
    for i, j, at in windows(x, f, stride):
        dx[at] += dout[:, i, j][:, None, None] / f**2
    return dx
"""

NOTED = """
import numpy as np

class Module:
    def __call__(self, *args):
        self.args = args
        self.out = self.forward(*args)
        return self.out
    def backward(self):
        self.bwd(self.out, *self.args)

class Lin(Module):
    def __init__(self, w, b):
        self.w, self.b = w, b
    def forward(self, inp):
        return inp @ self.w + self.b
    def bwd(self, out, inp):
        inp.g = out.g @ self.w.T
        self.w.g = inp.T @ out.g
        self.b.g = out.g.sum(0)

class Relu(Module):
    def forward(self, inp):
        return inp.clip(0.0)
    def bwd(self, out, inp):
        inp.g = (inp > 0) * out.g

class Mse(Module):
    def forward(self, inp, targ):
        return ((inp.squeeze() - targ) ** 2).mean()
    def bwd(self, out, inp, targ):
        inp.g = 2 * (inp.squeeze() - targ)[..., None] / targ.shape[0]

class CrossEntropy(Module):
    def forward(self, inp, targ):
        self.p = np.exp(inp) / np.exp(inp).sum(1, keepdims=True)
        return -np.log(self.p[range(len(targ)), targ]).mean()
    def bwd(self, out, inp, targ):
        inp.g = (self.p - np.eye(inp.shape[1])[targ]) / len(targ)

class Linear:  # called, and its gradients are its own
    def __init__(self, n_in, n_out):
        self.weight, self.bias = np.random.randn(n_out, n_in), np.zeros(n_out)
    def __call__(self, x):
        self.x = x
        return x @ self.weight.T + self.bias
    def backward(self, grad):
        self.grad_weight, self.grad_bias = grad.T @ self.x, grad.sum(0)
        return grad @ self.weight

class Dense:  # called without a base, and .grad in place of .g
    def __init__(self, in_features, out_features):
        self.w, self.b = np.random.randn(in_features, out_features), np.zeros(out_features)
    def __call__(self, x):
        self.x, self.y = x, x @ self.w + self.b
        return self.y
    def backward(self):
        self.x.grad, self.w.grad, self.b.grad = self.y.grad @ self.w.T, self.x.T @ self.y.grad, self.y.grad.sum(0)

class Swish(Module):
    def forward(self, inp):
        return inp / (1 + np.exp(-inp))
    def bwd(self, out, inp):
        s = 1 / (1 + np.exp(-inp))
        inp.g = out.g * s * (1 + inp * (1 - s))

def lin(x, w, b):
    return x @ w + b
def lin_grad(inp, out, w, b):
    inp.g = out.g @ w.T
    w.g = inp.T @ out.g
    b.g = out.g.sum(0)

def mse(output, targ):
    return ((output[:, 0] - targ) ** 2).mean()
def mse_grad(inp, targ):
    inp.g = 2.0 * (inp[:, 0] - targ)[:, None] / inp.shape[0]
"""

NAMED = """
import numpy as np

def sigmoid(Z):
    A = 1 / (1 + np.exp(-Z))
    return A, Z

def relu(Z):
    return np.maximum(0, Z), Z

def linear_activation_forward(A_prev, W, b, activation):  # columns are examples
    Z = W @ A_prev + b
    A, activation_cache = {"sigmoid": sigmoid, "relu": relu}[activation](Z)
    return A, ((A_prev, W, b), activation_cache)
def linear_activation_backward(dA, cache, activation):
    (A_prev, W, b), Z = cache
    dZ = dA * (Z > 0) if activation == "relu" else dA * sigmoid(Z)[0] * (1 - sigmoid(Z)[0])
    m = A_prev.shape[1]
    return W.T @ dZ, dZ @ A_prev.T / m, dZ.sum(axis=1, keepdims=True) / m

class BatchNorm1d:
    def __init__(self, num_features, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(num_features), np.zeros(num_features), eps
    def forward(self, x):
        self.std = np.sqrt(x.var(axis=0) + self.eps)
        self.n = (x - x.mean(axis=0)) / self.std
        return self.gamma * self.n + self.beta
    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.n).sum(axis=0), dout.sum(axis=0)
        d = dout * self.gamma
        return (d - d.mean(axis=0) - self.n * (d * self.n).mean(axis=0)) / self.std

def bn_fwd(x, gamma, beta):
    rstd = 1 / np.sqrt(x.var(0) + 1e-5)
    n = (x - x.mean(0)) * rstd
    return gamma * n + beta, (n, rstd, gamma)
def bn_bwd(dout, cache):
    n, rstd, gamma = cache
    db, dg = dout.sum(0), (dout * n).sum(0)
    return gamma * rstd * (dout - db / len(dout) - n * dg / len(dout)), dg, db

def rmsnorm_fwd(x, w):
    r = ((x * x).mean(-1, keepdims=True) + 1e-5) ** -0.5
    return x * r * w, (x, w, r)
def rmsnorm_bwd(dout, cache):
    x, w, r = cache
    d = dout * w
    return r * (d - x * r * r * (d * x).mean(-1, keepdims=True)), (dout * x * r).sum(0)

def cross_entropy_fwd(logits, targets):
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    return -np.log(p[range(len(p)), targets]).mean(), (p, targets)
def cross_entropy_bwd(dloss, cache):
    p, targets = cache
    return dloss * (p - np.eye(p.shape[1])[targets]) / len(p)

def log_softmax_fwd(x):
    out = x - np.log(np.exp(x).sum(1, keepdims=True))
    return out, out
def log_softmax_bwd(dout, cache):
    return dout - np.exp(cache) * dout.sum(1, keepdims=True)

def hinge_loss(scores, y, delta=1.0):
    margins = np.maximum(0, scores - scores[range(len(y)), y][:, None] + delta)
    margins[range(len(y)), y] = 0
    d = (margins > 0) * 1.0
    d[range(len(y)), y] = -d.sum(1)
    return margins.sum() / len(y), d / len(y)

def rnn_cell_fwd(x, h_prev, Wx, Wh, b):
    h = np.tanh(x @ Wx + h_prev @ Wh + b)
    return h, (x, h_prev, Wx, Wh, h)
def rnn_cell_bwd(dh, cache):
    x, h_prev, Wx, Wh, h = cache
    dz = dh * (1 - h * h)
    return dz @ Wx.T, dz @ Wh.T, x.T @ dz, h_prev.T @ dz, dz.sum(0)

def mse(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2)
def mse_prime(y_true, y_pred):
    return 2 * (y_pred - y_true) / y_true.size

class Layernorm:
    @staticmethod
    def forward(x, w, b):
        rstd = (x.var(-1, keepdims=True) + 1e-5) ** -0.5
        n = (x - x.mean(-1, keepdims=True)) * rstd
        return n * w + b, (n, w, rstd)
    @staticmethod
    def backward(dout, cache):
        n, w, rstd = cache
        d = dout * w
        d = (d - d.mean(-1, keepdims=True) - n * (d * n).mean(-1, keepdims=True)) * rstd
        return d, (dout * n).sum(0), dout.sum(0)
"""

MODERN = """
import numpy as np

class Linear:
    def __init__(self, in_features, out_features):
        k = 1 / np.sqrt(in_features)
        self.weight = np.random.uniform(-k, k, (out_features, in_features))
        self.bias = np.random.uniform(-k, k, out_features)
    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias
    def backward(self, grad_output):
        self.weight_grad, self.bias_grad = grad_output.T @ self.x, grad_output.sum(axis=0)
        return grad_output @ self.weight

class Answering:
    def __init__(self, d_in, d_out):
        self.W, self.b = np.random.randn(d_in, d_out), np.zeros(d_out)
    def forward(self, x):
        self.saved = x
        return x @ self.W + self.b
    def backward(self, dout):
        return dout @ self.W.T, self.saved.T @ dout, dout.sum(0)

class Short:
    def __init__(self, input_dim, output_dim):
        self.weight, self.bias = np.random.randn(input_dim, output_dim), np.zeros((1, output_dim))
        self.v_w = np.zeros_like(self.weight)
    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias
    def backward(self, g):
        self.grad_w, self.grad_b = self.x.T @ g, g.sum(axis=0, keepdims=True)
        return g @ self.weight.T

class Tanh:
    def forward(self, Z):
        self.Z, self.A = Z, np.tanh(Z)
        return self.A
    def backward(self, dA):
        self.dZ = dA * (1 - self.A**2)
        return self.dZ

class OfLoss:
    def __init__(self, in_features, out_features):
        self.W, self.b = np.zeros((out_features, in_features)), np.zeros((out_features, 1))
    def forward(self, A):
        self.A = A
        return A @ self.W.T + self.b.T
    def backward(self, dLdZ):
        self.dLdW, self.dLdb = dLdZ.T @ self.A, dLdZ.T @ np.ones((len(self.A), 1))
        return dLdZ @ self.W

class GELU:
    def forward(self, x):
        self.x = x
        return x / (1 + np.exp(-1.702 * x))
    def backward(self, g):
        s = 1 / (1 + np.exp(-1.702 * self.x))
        return g * (s + 1.702 * self.x * s * (1 - s))

class LayerNorm:
    def __init__(self, dim, eps=1e-5):
        self.gamma, self.beta, self.eps = np.ones(dim), np.zeros(dim), eps
    def forward(self, x):
        self.std = np.sqrt(x.var(-1, keepdims=True) + self.eps)
        self.n = (x - x.mean(-1, keepdims=True)) / self.std
        return self.gamma * self.n + self.beta
    def backward(self, g):
        self.dgamma, self.dbeta, d = (g * self.n).sum(0), g.sum(0), g * self.gamma
        return (d - d.mean(-1, keepdims=True) - self.n * (d * self.n).mean(-1, keepdims=True)) / self.std

class EntropyOfScores:
    def forward(self, x, y):
        self.p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
        return -np.log(self.p[range(len(x)), y]).mean()
    def backward(self, x, y):
        return (self.p - np.eye(self.p.shape[1])[y]) / len(x)

class MSELoss:
    def forward(self, pred, target):
        self.pred, self.target = pred, target
        return np.mean((pred - target) ** 2)
    def backward(self):
        return 2 * (self.pred - self.target) / self.pred.size
"""

OF_PICTURES = """
import numpy as np

class Conv2D:  # channels last
    def __init__(self, in_channels, num_filters, kernel_size):
        self.w = np.random.randn(kernel_size, kernel_size, in_channels, num_filters)
        self.b = np.zeros(num_filters)
    def forward(self, x):
        self.x, k = x, len(self.w)
        out = np.zeros((len(x), x.shape[1] - k + 1, x.shape[2] - k + 1, len(self.b)))
        for i, j in np.ndindex(out.shape[1:3]):
            out[:, i, j] = np.tensordot(x[:, i : i + k, j : j + k], self.w, 3) + self.b
        return out
    def backward(self, dout):
        k, dx, self.dw, self.db = len(self.w), np.zeros_like(self.x), np.zeros_like(self.w), dout.sum((0, 1, 2))
        for i, j in np.ndindex(dout.shape[1:3]):
            self.dw += np.tensordot(self.x[:, i : i + k, j : j + k], dout[:, i, j], (0, 0))
            dx[:, i : i + k, j : j + k] += np.tensordot(dout[:, i, j], self.w, (1, 3))
        return dx
"""

ATTENTION = """
import numpy as np

def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)

def attention_forward(q, k, v):  # of sequences, or of heads
    a = softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]))
    return a @ v, (q, k, v, a)
def attention_backward(dout, cache):
    q, k, v, a = cache
    da = dout @ np.swapaxes(v, -1, -2)
    ds = a * (da - (da * a).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return ds @ k, np.swapaxes(ds, -1, -2) @ q, np.swapaxes(a, -1, -2) @ dout

def causal_forward(query, key, value, mask=None):  # of one sequence of one length
    s = query @ key.T
    a = softmax(np.where(np.tril(np.ones_like(s)) > 0, s, -np.inf))
    return a @ value, (query, key, value, a)
def causal_backward(dout, cache):
    query, key, value, a = cache
    da = dout @ value.T
    ds = a * (da - (da * a).sum(axis=1, keepdims=True))
    return {"dquery": ds @ key, "dkey": ds.T @ query, "dvalue": a.T @ dout}

def self_attention_forward(x, Wq, W_k, v_weight):
    q, k, v = x @ Wq, x @ W_k, x @ v_weight
    a = softmax(q @ k.T)
    return a @ v, (x, Wq, W_k, v_weight, q, k, v, a)
def self_attention_backward(dout, cache):
    x, Wq, W_k, v_weight, q, k, v, a = cache
    da, dv = dout @ v.T, a.T @ dout
    ds = a * (da - (da * a).sum(axis=1, keepdims=True))
    dq, dk = ds @ k, ds.T @ q
    return dq @ Wq.T + dk @ W_k.T + dv @ v_weight.T, x.T @ dq, x.T @ dk, x.T @ dv

class ScaledDotProduct:
    def forward(self, Q, K, V):
        self.Q, self.K, self.V, self.P = Q, K, V, softmax(Q @ K.T / np.sqrt(Q.shape[1]))
        return self.P @ V
    def backward(self, dO):
        dP = dO @ self.V.T
        dS = self.P * (dP - (dP * self.P).sum(1, keepdims=True)) / np.sqrt(self.Q.shape[1])
        return dS @ self.K, dS.T @ self.Q, self.P.T @ dO
"""

LEARNT = """
import numpy as np

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def prelu_forward(x, alpha=0.25):  # one number
    return np.where(x > 0, x, alpha * x), (x, alpha)
def prelu_backward(dout, cache):
    x, alpha = cache
    return dout * np.where(x > 0, 1, alpha), (dout * x * (x <= 0)).sum()

def channel_prelu_forward(x, a):  # one for each feature, of a name that tells nothing
    return np.where(x > 0, x, a * x), (x, a)
def channel_prelu_backward(dout, cache):
    x, a = cache
    return dout * np.where(x > 0, 1, a), (dout * x * (x <= 0)).sum(0)

def swish_forward(x, beta):
    s = sigmoid(beta * x)
    return x * s, (x, beta, s)
def swish_backward(dout, cache):
    x, beta, s = cache
    return {"dx": dout * (s + beta * x * s * (1 - s)), "dbeta": (dout * x * x * s * (1 - s)).sum()}

def softmax_forward(x, temperature):
    e = np.exp(x / temperature)
    p = e / e.sum(1, keepdims=True)
    return p, (x, p, temperature)
def softmax_backward(dout, cache):
    x, p, t = cache
    ds = p * (dout - (dout * p).sum(1, keepdims=True))
    return ds / t, -(ds * x).sum() / t**2

def residual_forward(x, fx):
    return x + fx, None
def residual_backward(dout, cache):
    return dout, dout.copy()

def elu_forward(x, alpha=1.0):  # a number that nobody learns
    return np.where(x > 0, x, alpha * np.expm1(x)), (x, alpha)
def elu_backward(dout, cache):
    x, alpha = cache
    return dout * np.where(x > 0, 1, alpha * np.exp(x)), None

class PReLU:
    def __init__(self, alpha=0.25):
        self.alpha, self.dalpha = alpha, 0.0
    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.alpha * x)
    def backward(self, dout):
        self.dalpha = np.sum(dout * self.x * (self.x <= 0))
        return dout * np.where(self.x > 0, 1, self.alpha)

class Held:
    def __init__(self):
        self.params, self.grads = {"alpha": 0.25}, {"alpha": 0.0}
    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.params["alpha"] * x)
    def backward(self, dout):
        self.grads["alpha"] = np.sum(dout * self.x * (self.x <= 0))
        return dout * np.where(self.x > 0, 1, self.params["alpha"])

class Swish:
    def __init__(self, beta):
        self.beta = beta
    def forward(self, x):
        self.x, self.s = x, sigmoid(self.beta * x)
        return x * self.s
    def backward(self, dout):
        slope = self.s * (1 - self.s)
        return dout * (self.s + self.beta * self.x * slope), np.sum(dout * self.x**2 * slope)

class Stepping:
    def __init__(self, alpha=0.25, lr=0.01):
        self.alpha, self.lr = alpha, lr
    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.alpha * x)
    def backward(self, dout):
        dx = dout * np.where(self.x > 0, 1, self.alpha)
        self.alpha -= self.lr * np.sum(dout * self.x * (self.x <= 0))
        return dx

class Softplus:
    def __init__(self, beta=2.0):
        self.beta = beta
    def forward(self, x):
        self.x = x
        return np.log1p(np.exp(self.beta * x)) / self.beta
    def backward(self, grad):
        return grad * sigmoid(self.beta * self.x)
"""

SHAPED = """
import numpy as np

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

class LayerNorm:  # of sequences
    def __init__(self, normalized_shape, eps=1e-5):
        self.weight, self.bias, self.eps = np.ones(normalized_shape), np.zeros(normalized_shape), eps
    def forward(self, x):
        B, T, C = x.shape
        self.std = np.sqrt(x.var(-1, keepdims=True) + self.eps)
        self.n = (x - x.mean(-1, keepdims=True)) / self.std
        return self.weight * self.n + self.bias
    def backward(self, g):
        self.dweight, self.dbias, d = (g * self.n).sum((0, 1)), g.sum((0, 1)), g * self.weight
        return (d - d.mean(-1, keepdims=True) - self.n * (d * self.n).mean(-1, keepdims=True)) / self.std

class GroupNorm:
    def __init__(self, num_groups, num_channels):
        self.groups, self.gamma, self.beta = num_groups, np.ones(num_channels), np.zeros(num_channels)
    def forward(self, x):
        g = x.reshape(len(x), self.groups, -1)
        self.s = np.sqrt(g.var(2, keepdims=True) + 1e-5)
        self.n = (g - g.mean(2, keepdims=True)) / self.s
        return self.n.reshape(x.shape) * self.gamma[:, None, None] + self.beta[:, None, None]
    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.n.reshape(dout.shape)).sum((0, 2, 3)), dout.sum((0, 2, 3))
        d = (dout * self.gamma[:, None, None]).reshape(self.n.shape)
        d = (d - d.mean(2, keepdims=True) - self.n * (d * self.n).mean(2, keepdims=True)) / self.s
        return d.reshape(dout.shape)

class Conv1d:
    def __init__(self, c_in, c_out, kernel):
        self.W, self.b = np.random.randn(c_out, c_in, kernel), np.zeros(c_out)
    def forward(self, x):
        (N, C, L), k, self.x = x.shape, self.W.shape[2], x
        out = [np.einsum("nck,fck->nf", x[:, :, t : t + k], self.W) for t in range(L - k + 1)]
        return np.stack(out, 2) + self.b[:, None]
    def backward(self, dout):
        k, dx, self.dW, self.db = self.W.shape[2], np.zeros_like(self.x), np.zeros_like(self.W), dout.sum((0, 2))
        for t in range(dout.shape[2]):
            dx[:, :, t : t + k] += np.einsum("nf,fck->nck", dout[:, :, t], self.W)
            self.dW += np.einsum("nck,nf->fck", self.x[:, :, t : t + k], dout[:, :, t])
        return dx

def instancenorm_forward(x, gamma, beta, eps=1e-5):
    s = np.sqrt(x.var((2, 3), keepdims=True) + eps)
    n = (x - x.mean((2, 3), keepdims=True)) / s
    return gamma[:, None, None] * n + beta[:, None, None], (n, s, gamma)
def instancenorm_backward(dout, cache):
    n, s, gamma = cache
    d = dout * gamma[:, None, None]
    dx = (d - d.mean((2, 3), keepdims=True) - n * (d * n).mean((2, 3), keepdims=True)) / s
    return dx, (dout * n).sum((0, 2, 3)), dout.sum((0, 2, 3))

def conv1d_forward(x, w, b):  # channels last
    N, T, C = x.shape
    K = len(w)
    return np.stack([np.einsum("nkc,kcf->nf", x[:, t : t + K], w) for t in range(T - K + 1)], axis=1) + b, (x, w)
def conv1d_backward(dout, cache):
    x, w = cache
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(dout.shape[1]):
        dx[:, t : t + len(w)] += np.einsum("nf,kcf->nkc", dout[:, t], w)
        dw += np.einsum("nkc,nf->kcf", x[:, t : t + len(w)], dout[:, t])
    return dx, dw, dout.sum(axis=(0, 1))

def gru_step_forward(x, h_prev, Wx, Wh, b):
    H = h_prev.shape[1]
    ax, ah = x @ Wx + b, h_prev @ Wh
    r, z = sigmoid(ax[:, :H] + ah[:, :H]), sigmoid(ax[:, H : 2 * H] + ah[:, H : 2 * H])
    n = np.tanh(ax[:, 2 * H :] + r * ah[:, 2 * H :])
    return (1 - z) * n + z * h_prev, (x, h_prev, Wx, Wh, r, z, n, ah)
def gru_step_backward(dh, cache):
    x, h_prev, Wx, Wh, r, z, n, ah = cache
    dn, dz = dh * (1 - z) * (1 - n**2), dh * (h_prev - n) * z * (1 - z)
    dr = dn * ah[:, 2 * h_prev.shape[1] :] * r * (1 - r)
    dax, dah = np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r])
    return dax @ Wx.T, dah @ Wh.T + dh * z, x.T @ dax, h_prev.T @ dah, dax.sum(0)

class RNN:
    def __init__(self, Wx, Wh, b):
        self.params, self.grads = [Wx, Wh, b], [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        self.cache = (x, h_prev, np.tanh(h_prev @ Wh + x @ Wx + b))
        return self.cache[2]
    def backward(self, dh_next):
        Wx, Wh, b = self.params
        x, h_prev, h_next = self.cache
        dt = dh_next * (1 - h_next**2)
        self.grads[0][...], self.grads[1][...], self.grads[2][...] = x.T @ dt, h_prev.T @ dt, dt.sum(0)
        return dt @ Wx.T, dt @ Wh.T

class TimeRNN:
    def __init__(self, Wx, Wh, b, stateful=False):
        self.params, self.grads = [Wx, Wh, b], [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.stateful, self.h = stateful, None
    def forward(self, xs):
        Wx, Wh, b = self.params
        N, T, D = xs.shape
        if not self.stateful or self.h is None:
            self.h = np.zeros((N, len(Wh)), dtype="f")
        self.layers, hs = [], np.empty((N, T, len(Wh)), dtype="f")
        for t in range(T):
            self.layers.append(RNN(*self.params))
            self.h = self.layers[t].forward(xs[:, t], self.h)
            hs[:, t] = self.h
        return hs
    def backward(self, dhs):
        dxs, dh = np.empty((*dhs.shape[:2], len(self.params[0])), dtype="f"), 0
        for grad in self.grads:
            grad[...] = 0
        for t in reversed(range(dhs.shape[1])):
            dxs[:, t], dh = self.layers[t].backward(dhs[:, t] + dh)
            for grad, step in zip(self.grads, self.layers[t].grads):
                grad += step
        return dxs

class Mul:  # of an automatic differentiation of one's own
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b
    @staticmethod
    def backward(ctx, grad_output):
        a, b = ctx.saved_values
        return b * grad_output, a * grad_output

class Add:
    def forward(self, a, b):
        return a + b
    def backward(self, dout):
        return dout, dout

def huber_loss(pred, target):
    d = pred - target
    return np.where(abs(d) < 1, 0.5 * d * d, abs(d) - 0.5).mean(), np.clip(d, -1, 1) / d.size

def bce_loss(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(), (p - t) / (p * (1 - p)) / p.size
"""

OTHER_NAMES = """
import numpy as np

class FCLayer:  # one example at a time, a row, and its step in its backward pass
    def __init__(self, input_size, output_size):
        self.weights = np.random.rand(input_size, output_size) - 0.5
        self.bias = np.random.rand(1, output_size) - 0.5
    def forward_propagation(self, input_data):
        self.input = input_data
        return np.dot(self.input, self.weights) + self.bias
    def backward_propagation(self, output_error, learning_rate):
        input_error = np.dot(output_error, self.weights.T)
        self.weights -= learning_rate * np.dot(self.input.T, output_error)
        self.bias -= learning_rate * output_error
        return input_error

def layernorm_forward(x, w, b, eps=1e-5):  # of sequences, as nothing but the backward pass says
    mean, rstd = x.mean(-1, keepdims=True), (x.var(-1, keepdims=True) + eps) ** -0.5
    n = (x - mean) * rstd
    return n * w + b, (n, w, rstd)
def layernorm_backward(dout, cache):
    n, w, rstd = cache
    dn = dout * w
    dx = (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True)) * rstd
    return dx, (dout * n).sum((0, 1)), dout.sum((0, 1))

def lrelu_forward(x, lrelu_param):
    alpha = lrelu_param.get("alpha", 2e-3)
    return np.maximum(x, alpha * x), (x, alpha)
def lrelu_backward(dout, cache):
    x, alpha = cache
    return dout * np.where(x > 0, 1.0, alpha)

class Upsample2x:
    def forward(self, x):
        return x.repeat(2, axis=2).repeat(2, axis=3)
    def backward(self, dy):
        N, C, H, W = dy.shape
        return dy.reshape(N, C, H // 2, 2, W // 2, 2).sum(axis=(3, 5))

class Log:
    def forward(self, x):
        self.x = x
        return np.log(x)
    def backward(self, dy):
        return dy / self.x

class MulConstant:
    @staticmethod
    def forward(ctx, tensor, constant):
        ctx.constant = constant
        return tensor * constant
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.constant, None

def log_sigmoid_forward(x):
    return -np.logaddexp(0, -x), x
def log_sigmoid_backward(dout, x):
    return dout / (1 + np.exp(x))
"""

POOLS = """
import numpy as np

class MaxPool:
    def __init__(self, size=2, stride=None):
        self.k, self.s = size, stride or size
    def forward(self, x):
        self.x, k, s = x, self.k, self.s
        out = np.zeros((*x.shape[:2], (x.shape[2] - k) // s + 1, (x.shape[3] - k) // s + 1))
        for i, j in np.ndindex(out.shape[2:]):
            out[:, :, i, j] = x[:, :, i * s : i * s + k, j * s : j * s + k].max(axis=(2, 3))
        return out
    def backward(self, dout):
        dx, k, s = np.zeros_like(self.x), self.k, self.s
        for n, c, i, j in np.ndindex(dout.shape):
            window = self.x[n, c, i * s : i * s + k, j * s : j * s + k]
            row, column = np.unravel_index(window.argmax(), window.shape)
            dx[n, c, i * s + row, j * s + column] += dout[n, c, i, j]
        return dx

class FastMaxPool:
    def __init__(self, size, stride):
        assert size == stride
        self.k = size
    def forward(self, x):
        n, c, height, width = x.shape
        self.x = x.reshape(n, c, height // self.k, self.k, width // self.k, self.k)
        self.out = self.x.max(axis=(3, 5), keepdims=True)
        return self.out[:, :, :, 0, :, 0]
    def backward(self, dout):
        dx = (self.x == self.out) * dout[:, :, :, None, :, None]
        n, c, height, k, width, _ = dx.shape
        return dx.reshape(n, c, height * k, width * k)

def max_pool_forward(x, size, stride=2):
    pool = MaxPool(size, stride)
    return pool.forward(x), pool
def max_pool_backward(dout, cache):
    return cache.backward(dout)

class MaxPool1d:
    def __init__(self, kernel_size=3, stride=2):
        self.k, self.s = kernel_size, stride
    def forward(self, x):
        self.x, k, s = x, self.k, self.s
        starts = range(0, x.shape[2] - k + 1, s)
        return np.stack([x[:, :, i : i + k].max(axis=2) for i in starts], axis=2)
    def backward(self, dout):
        dx, k, s = np.zeros_like(self.x), self.k, self.s
        for n, c, i in np.ndindex(dout.shape):
            column = i * s + self.x[n, c, i * s : i * s + k].argmax()
            dx[n, c, column] += dout[n, c, i]
        return dx

def conv1d_forward(x, w, b, stride, pad):
    xp, k = np.pad(x, ((0, 0), (0, 0), (pad, pad))), w.shape[2]
    starts = range(0, xp.shape[2] - k + 1, stride)
    out = [np.tensordot(xp[:, :, i : i + k], w, ((1, 2), (1, 2))) + b for i in starts]
    return np.stack(out, axis=2), (xp, w, stride, pad)
def conv1d_backward(dout, cache):
    xp, w, s, pad = cache
    dxp, dw, k = np.zeros_like(xp), np.zeros_like(w), w.shape[2]
    for i in range(dout.shape[2]):
        dxp[:, :, i * s : i * s + k] += np.tensordot(dout[:, :, i], w, 1)
        dw += np.tensordot(dout[:, :, i], xp[:, :, i * s : i * s + k], (0, 0))
    return dxp[:, :, pad:-pad], dw, dout.sum(axis=(0, 2))

def depthwise_conv_forward(x, w, b, stride=1, pad=1):  # one kernel for each channel
    xp, (H, W) = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))), w.shape[-2:]
    h, v = ((n + 2 * pad - k) // stride + 1 for n, k in zip(x.shape[2:], (H, W)))
    out = np.zeros((len(x), len(w), h, v))
    for i, j in np.ndindex(h, v):
        out[:, :, i, j] = (xp[:, :, i * stride : i * stride + H, j * stride : j * stride + W] * w).sum((2, 3)) + b
    return out, (xp, w, stride, pad)
def depthwise_conv_backward(dout, cache):
    xp, w, s, pad = cache
    dxp, dw, (H, W) = np.zeros_like(xp), np.zeros_like(w), w.shape[-2:]
    for i, j in np.ndindex(dout.shape[2:]):
        part = np.s_[:, :, i * s : i * s + H, j * s : j * s + W]
        dxp[part] += w * dout[:, :, i, j, None, None]
        dw += (xp[part] * dout[:, :, i, j, None, None]).sum(0)
    return dxp[:, :, pad : dxp.shape[2] - pad, pad : dxp.shape[3] - pad], dw, dout.sum((0, 2, 3))

class ResidualBlock:
    def __init__(self, dim, hidden):
        self.W1, self.W2 = np.random.randn(dim, hidden), np.random.randn(hidden, dim)
    def forward(self, x):
        self.x, self.z = x, x @ self.W1
        self.h = np.maximum(self.z, 0)
        return x + self.h @ self.W2
    def backward(self, dout):
        self.dW2 = self.h.T @ dout
        dz = (dout @ self.W2.T) * (self.z > 0)
        self.dW1 = self.x.T @ dz
        return dout + dz @ self.W1.T
"""

COLUMN_LAYERS = """
import numpy as np

def softmax(Z):
    E = np.exp(Z - Z.max(axis=0))
    return E / E.sum(axis=0)

def batchnorm_forward(Z, gamma, beta, eps=1e-5):  # gamma and beta are (n, 1)
    std = np.sqrt(Z.var(axis=1, keepdims=True) + eps)
    n = (Z - Z.mean(axis=1, keepdims=True)) / std
    return gamma * n + beta, (n, gamma, std)

def batchnorm_backward(dout, cache):
    n, gamma, std = cache
    dn = dout * gamma
    dZ = (dn - dn.mean(axis=1, keepdims=True) - n * np.mean(dn * n, axis=1, keepdims=True)) / std
    return dZ, np.sum(dout * n, axis=1, keepdims=True), np.sum(dout, axis=1, keepdims=True)

def softmax_loss(Z, Y):
    A, m = softmax(Z), Z.shape[1]
    return -np.sum(Y * np.log(A)) / m, (A - Y) / m

def softmax_loss_of_classes(scores, y):
    P, N = softmax(scores), scores.shape[1]
    loss = -np.log(P[y, np.arange(N)]).mean()
    P[y, np.arange(N)] -= 1
    return loss, P / N

class SoftmaxCrossEntropy:
    def forward(self, Z, Y):
        self.P, self.Y = softmax(Z), Y
        return -np.sum(Y * np.log(self.P)) / Y.shape[1]

    def backward(self):
        return (self.P - self.Y) / self.Y.shape[1]

class Softmax:
    def forward(self, Z):
        self.A = softmax(Z)
        return self.A

    def backward(self, dA):
        return self.A * (dA - (self.A * dA).sum(axis=0))
"""

DERIVATIVES = """
import math
import numpy as np

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def sigmoid_derivative(x):
    return sigmoid(x) * (1 - sigmoid(x))

def relu(x):
    return np.maximum(0, x)

def drelu(x):
    return (x > 0).astype(float)

def leaky(x, slope=0.1):
    return np.where(x > 0, x, slope * x)

def leaky_grad(x, slope=0.1):
    return np.where(x > 0, 1, slope)

def tanh(x):
    return math.tanh(x)

def d_tanh(x):
    return 1 - math.tanh(x) ** 2

def softplus(x):
    return np.log1p(np.exp(x))

def softplus_prime(x):
    return 1 / (1 + np.exp(-x))

def linear(x):
    return x

def linear_deriv(x):
    return 1
"""

SIZED = """
import numpy as np

class MultiHeadAttention:
    def __init__(self, embed_dim, num_heads, head_dim):
        self.heads, self.k = num_heads, head_dim
        self.W_q, self.W_v = (np.random.randn(embed_dim, num_heads * head_dim) for _ in range(2))

    def split(self, x):
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

    def merge(self, x):
        return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)

    def forward(self, x):
        self.x, self.q, self.v = x, self.split(x @ self.W_q), self.split(x @ self.W_v)
        e = np.exp(self.q @ self.q.swapaxes(-1, -2) / np.sqrt(self.k))
        self.a = e / e.sum(-1, keepdims=True)
        return self.merge(self.a @ self.v)

    def backward(self, dout):
        do = self.split(dout)
        da = do @ self.v.swapaxes(-1, -2)
        ds = self.a * (da - (da * self.a).sum(-1, keepdims=True)) / np.sqrt(self.k)
        dq, dv = self.merge((ds + ds.swapaxes(-1, -2)) @ self.q), self.merge(self.a.swapaxes(-1, -2) @ do)
        self.dW_q, self.dW_v = (np.einsum("nti,ntj->ij", self.x, d) for d in (dq, dv))
        return dq @ self.W_q.T + dv @ self.W_v.T

class Linear:  # columns are examples
    def __init__(self, m, n):
        self.W0, self.W = np.zeros((n, 1)), np.random.randn(m, n)

    def forward(self, A):
        self.A = A
        return self.W.T @ A + self.W0

    def backward(self, dLdZ):
        self.dLdW, self.dLdW0 = self.A @ dLdZ.T, dLdZ.sum(axis=1, keepdims=True)
        return self.W @ dLdZ

class BatchNorm:
    def __init__(self, m):
        self.B, self.G = np.zeros((m, 1)), np.ones((m, 1))

    def forward(self, A):
        self.std = A.std(axis=1, keepdims=True)
        self.norm = (A - A.mean(axis=1, keepdims=True)) / self.std
        return self.G * self.norm + self.B

    def backward(self, dLdZ):
        self.dLdB, self.dLdG = (d.sum(axis=1, keepdims=True) for d in (dLdZ, dLdZ * self.norm))
        d = dLdZ * self.G
        d = d - self.norm * (d * self.norm).mean(axis=1, keepdims=True)
        return (d - d.mean(axis=1, keepdims=True)) / self.std
"""

KEPT = """
import numpy as np

class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, np.zeros_like(data)

class Dense:  # whose gradients add up until an optimiser sets them to 0
    def __init__(self, n_in, n_out):
        self.kernel, self.shift = Parameter(np.random.randn(n_in, n_out)), Parameter(np.zeros(n_out))

    def forward(self, x):
        self.x = x
        return x @ self.kernel.data + self.shift.data

    def backward(self, dout):
        self.kernel.grad += self.x.T @ dout
        self.shift.grad += dout.sum(axis=0)
        return dout @ self.kernel.data.T

class Affine:  # a list of gradients behind that of the inputs; the bias is a row, its gradient a vector
    def __init__(self, in_size, out_size):
        self.W, self.b = np.random.randn(in_size, out_size), np.zeros((1, out_size))
        self.params = [self.W, self.b]

    def forward(self, X):
        self.X = X
        return self.X @ self.W + self.b

    def backward(self, dout):
        return dout @ self.W.T, [self.X.T @ dout, dout.sum(axis=0)]

class Positive:
    def __init__(self):
        self.params = []

    def forward(self, X):
        self.X = X
        return np.maximum(X, 0)

    def backward(self, dout):
        return dout * (self.X > 0), []

def block_forward(x, W1, b1, W2, b2):  # as wide at its end as at its beginning
    z = x @ W1 + b1
    s = x + np.maximum(z, 0) @ W2 + b2
    return np.tanh(s), (x, W1, W2, z, s)

def block_backward(dout, cache):
    x, W1, W2, z, s = cache
    d = dout * (1 - np.tanh(s) ** 2)
    dz = d @ W2.T * (z > 0)
    dW2, dW1 = np.maximum(z, 0).T @ d, x.T @ dz
    return d + dz @ W1.T, dW1, dz.sum(0), dW2, d.sum(0)

def column_block_forward(x, w1, b1, w2, b2):  # columns are examples, biases (width, 1)
    z = w1 @ x + b1
    return x + w2 @ np.tanh(z) + b2, (x, w1, w2, z)

def column_block_backward(dout, cache):
    x, w1, w2, z = cache
    dz = w2.T @ dout * (1 - np.tanh(z) ** 2)
    dw2 = dout @ np.tanh(z).T
    return dout + w1.T @ dz, dz @ x.T, dz.sum(1, keepdims=True), dw2, dout.sum(1, keepdims=True)

class BatchNormalization:  # the running mean starts as a number
    def __init__(self, channels):
        self.weights, self.bias, self.test_mean = np.ones(channels), np.zeros(channels), 0

    def forward(self, x):
        self.test_mean = x.mean(0)
        self.std = np.sqrt(x.var(0) + 1e-12)
        self.n = (x - self.test_mean) / self.std
        return self.weights * self.n + self.bias

    def backward(self, dout):
        self.gradient_weights, self.gradient_bias = (dout * self.n).sum(0), dout.sum(0)
        d = dout * self.weights
        return (d - d.mean(0) - self.n * (d * self.n).mean(0)) / self.std

def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):  # gamma and beta are (1, C, 1, 1)
    shape = (x.shape[0], G, x.shape[1] // G, *x.shape[2:])
    groups = x.reshape(shape)
    std = np.sqrt(groups.var(axis=(2, 3, 4), keepdims=True) + 1e-5)
    n = (groups - groups.mean(axis=(2, 3, 4), keepdims=True)) / std
    return gamma * n.reshape(x.shape) + beta, (gamma, n, std, shape)

def spatial_groupnorm_backward(dout, cache):
    gamma, n, std, shape = cache
    flat = n.reshape(dout.shape)
    d = (dout * gamma).reshape(shape)
    means = [a.mean(axis=(2, 3, 4), keepdims=True) for a in (d, d * n)]
    dx = ((d - means[0] - n * means[1]) / std).reshape(dout.shape)
    return dx, (dout * flat).sum(axis=(0, 2, 3), keepdims=True), dout.sum(axis=(0, 2, 3), keepdims=True)

class WeightSum:  # a sequence, and a weight for each of its steps
    def forward(self, hs, a):
        self.hs, self.a = hs, a.reshape(*hs.shape[:2], 1)
        return (hs * self.a).sum(axis=1)

    def backward(self, dc):
        dt = np.repeat(dc[:, None], self.hs.shape[1], axis=1)
        return dt * self.a, (dt * self.hs).sum(axis=2)

class AttentionWeight:  # a sequence, and a state
    def forward(self, hs, h):
        self.hs, self.h = hs, h[:, None]
        s = (hs * self.h).sum(axis=2)
        self.p = np.exp(s - s.max(axis=1, keepdims=True))
        self.p /= self.p.sum(axis=1, keepdims=True)
        return self.p

    def backward(self, da):
        ds = (self.p * (da - (da * self.p).sum(axis=1, keepdims=True)))[:, :, None]
        return ds * self.h, (ds * self.hs).sum(axis=1)

class SoftMax:  # hands on what the loss below gives by the scores
    def forward(self, Z):
        e = np.exp(Z)
        return e / np.sum(e, axis=0)

    def backward(self, dLdZ):
        return dLdZ

class NLL:
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return -np.sum(Y * np.log(Ypred))

    def backward(self):
        return self.Ypred - self.Y
"""

GIVEN = """
import numpy as np

class Layer(object):
    def fprop(self, inputs):
        raise NotImplementedError()
    def bprop(self, inputs, outputs, grads_wrt_outputs):
        raise NotImplementedError()

class AffineLayer(Layer):
    def __init__(self, input_dim, output_dim):
        self.weights, self.biases = np.random.randn(output_dim, input_dim), np.zeros(output_dim)
    def fprop(self, inputs):
        return self.weights.dot(inputs.T).T + self.biases
    def bprop(self, inputs, outputs, grads_wrt_outputs):
        return grads_wrt_outputs.dot(self.weights)
    def grads_wrt_params(self, inputs, grads_wrt_outputs):
        return [np.dot(grads_wrt_outputs.T, inputs), np.sum(grads_wrt_outputs, axis=0)]

class TanhLayer(Layer):
    def fprop(self, inputs):
        return np.tanh(inputs)
    def bprop(self, inputs, outputs, grads_wrt_outputs):
        return (1.0 - outputs**2) * grads_wrt_outputs

class Loss:
    def forward(self, y_out, y_truth):
        return NotImplementedError
    def backward(self, y_out, y_truth):
        return NotImplementedError

class L1(Loss):
    def forward(self, y_out, y_truth, individual_losses=False):
        result = np.abs(y_out - y_truth)
        return result if individual_losses else np.mean(result)
    def backward(self, y_out, y_truth):
        return np.sign(y_out - y_truth) / y_out.size

class LazyAffine:
    def __init__(self, out_dim):
        self.out_dim, self.params, self.gradients = out_dim, {"W": None, "b": None}, {"dW": None, "db": None}
    def forward(self, X):
        if self.params["W"] is None:
            self.params["W"] = np.random.randn(self.out_dim, X.shape[0])
            self.params["b"] = np.zeros((self.out_dim, 1))
        self.X = X
        return self.params["W"] @ X + self.params["b"]
    def backward(self, dZ, lr):
        dX = self.params["W"].T @ dZ
        self.gradients["dW"], self.gradients["db"] = dZ @ self.X.T, dZ.sum(1, keepdims=True)
        self.params["W"] = self.params["W"] - lr * self.gradients["dW"]
        self.params["b"] = self.params["b"] - lr * self.gradients["db"]
        return dX

class Momentum:
    def __init__(self, in_num, out_num, lr=0.01, momentum=0):
        self.W, self.b = np.random.randn(in_num, out_num), np.random.randn(1, out_num)
        self.W_last, self.lr, self.momentum = self.W.copy(), lr, momentum
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, g):
        dx = g @ self.W.T
        last, self.b = self.W, self.b - self.lr * g.sum(0)
        self.W = self.W - self.lr * (self.x.T @ g) + self.momentum * (self.W - self.W_last)
        self.W_last = last
        return dx

class L2Penalty:
    def __init__(self, l2=0.01):
        self.l2 = l2
    def forward(self, w):
        return self.l2 * np.sum(np.square(w))
    def backward(self, w):
        return 2 * self.l2 * w

class MeanSquared:
    def forward(self, Y_true, Y_pred, scale=0.5):
        return scale * np.mean(np.square(Y_pred - Y_true))
    def backward(self, Y_true, Y_pred, scale=0.5):
        return 2 * scale * (Y_pred - Y_true) / Y_true.size

class Sigmoid:
    def calculate_value(self, x):
        return 1 / (1 + np.exp(-x))
    def calculate_derivative_value(self, x):
        return self.calculate_value(x) * (1 - self.calculate_value(x))

class Softmax:
    def calculate_value(self, x):
        return np.exp(x) / np.exp(x).sum(axis=0)
    def calculate_derivative_value(self, x):
        return self.calculate_value(x) * (1 - self.calculate_value(x))

class CrossEntropy:
    def calculate_value(self, y, a):
        return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))
    def calculate_derivative_value(self, y, a):
        return a - y

class Squared:
    def compute_loss(self, predicted, actual):
        return np.mean((predicted - actual) ** 2)
    def loss_derivative(self, predicted, actual):
        return 2 * (predicted - actual) / actual.size

def mse_cost(y, y_hat):
    return np.sum(np.power(y - y_hat, 2)) / len(y_hat)
def mse_grad(y, y_hat):
    return -2 * (y - y_hat) / len(y_hat)

def forward_propagation(x, theta):
    return np.dot(theta, x)
def backward_propagation(x, theta):
    dtheta = x
    return dtheta

def cubic_forward(x, theta):
    return theta**3 * x
def cubic_backward(x, theta):
    return 3 * theta**2 * x

def ridge(w):
    return (w**2).sum()
def ridge_grad(w):
    return 2 * w

class Activation:
    def __call__(self, x):
        return self.forward(x)
    def forward(self, x):
        raise NotImplemented
    def derivative(self):
        raise NotImplemented

class Tanh(Activation):
    def forward(self, x):
        self.state = np.tanh(x)
        return self.state
    def derivative(self):
        return 1 - self.state**2

class SoftmaxOfEach:
    def forward(self, x, y):
        x = x - np.max(x, axis=1, keepdims=True)
        self.labels, self.softmax = y, np.exp(x) / np.sum(np.exp(x), axis=1, keepdims=True)
        return -np.sum(self.labels * np.log(self.softmax), axis=1)
    def derivative(self):
        return self.softmax - self.labels

class MSE(Loss):
    def forward(self, y_out, y_truth, reduction="mean"):
        result = (y_out - y_truth) ** 2
        return result.mean() if reduction == "mean" else result.sum() if reduction == "sum" else result
    def backward(self, y_out, y_truth):
        return 2 * (y_out - y_truth)

def huber_loss(x, y, delta):
    d = x - y
    small = np.abs(d) <= delta
    loss = np.where(small, 0.5 * d * d, delta * (np.abs(d) - 0.5 * delta)).mean()
    return loss, np.where(small, d, delta * np.sign(d)) / d.size

def focal_loss(x, y, gamma):
    N = len(x)
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    true = p[np.arange(N), y]
    d = gamma * (1 - true) ** (gamma - 1) * np.log(true) - (1 - true) ** gamma / true
    dx = -p * true[:, None]
    dx[np.arange(N), y] += true
    return -((1 - true) ** gamma * np.log(true)).mean(), dx * d[:, None] / N
"""
