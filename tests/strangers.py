# ruff: noqa: E501
"""Small gradients as strangers write them: each right, and a line of it with what makes it wrong."""

from typing import NamedTuple

HEAD = """
import random
import numpy as np
from collections import OrderedDict

def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)

def one_hot(y, classes):
    return np.eye(classes)[y] if y.ndim == 1 else y
"""


def defined(source, name="Net"):
    """What the source text, behind the head, has under this name."""
    space: dict[str, object] = {}
    exec(HEAD + source, space)
    return space[name]


BODY = """
    z = X @ W1 + b1
    h = np.maximum(z, 0)
    p = softmax(h @ W2 + b2)
    loss = -np.log(p[np.arange(len(y)), y]).mean() + reg * ((W1**2).sum() + (W2**2).sum())
    d = (p - np.eye(p.shape[1])[y]) / len(y)
    dz = d @ W2.T * (z > 0)
"""
GRADS = "X.T @ dz + 2 * reg * W1, dz.sum(0), h.T @ d + 2 * reg * W2, d.sum(0)"
LOSS = BODY.replace("\n    ", "\n        ")
FORWARD = """
    def forward(self, X):
        self.X, self.z = X, X @ self.W1 + self.b1
        self.h = np.maximum(self.z, 0)
        return softmax(self.h @ self.W2 + self.b2)
"""
STORED = """
        self.W1, self.b1 = np.random.randn(a, h), np.zeros(h)
        self.W2, self.b2 = np.random.randn(h, c), np.zeros(c)"""
BACKWARD = """
        d = (output - y) / len(y)
        self.dW2, self.db2 = self.h.T @ d, d.sum(0)
        dz = d @ self.W2.T * (self.z > 0)
        self.dW1, self.db1 = self.X.T @ dz, dz.sum(0)"""

DEEP = """
class Net:
    def __init__(self, {arguments}):
        sizes = [{sizes}]
        pass
        self.weights = [np.random.randn({shape}) for a, b in zip(sizes, sizes[1:])]
        self.biases = [np.zeros(b) for b in sizes[1:]]
    def forward(self, X):
        self.a, self.z = [X], []
        for k, (W, b) in enumerate(zip(self.weights, self.biases)):
            self.z.append(self.a[-1] @ W + b)
            self.a.append(np.maximum(self.z[-1], 0))
        return softmax(self.z[-1])
    def backward(self, output, y):
        d, zs, grads_w, grads_b = (output - y) / len(y), self.z, [], []
        for k in reversed(range(len(zs))):
            grads_w, grads_b = [self.a[k].T @ d, *grads_w], [d.sum(0), *grads_b]
            d = d @ self.weights[k].T * (zs[k - 1] > 0) if k else d
        return grads_w, grads_b
"""


class Stranger(NamedTuple):
    """A source text, the name in it, (right, wrong) words, and the code of that mistake, where one is told."""

    source: str
    name: str
    mistake: tuple[str, str]
    code: str = ""


MASK = (" * (z > 0)", "")
OF_SELF = (" * (self.z > 0)", "")
BINARY = """
def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def propagate(w, b, X, Y):
    m = X.shape[1]
    A = sigmoid(np.dot(w.T, X) + b)
    cost = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m
    return {"dw": np.dot(X, (A - Y).T) / m, "db": np.sum(A - Y) / m}, cost

def cost_and_gradient(theta, X, y, lam):
    h, of = sigmoid(X @ theta), np.r_[0, theta[1:]]
    J = -np.mean(y * np.log(h) + (1 - y) * np.log(1 - h)) + lam / (2 * len(y)) * of @ of
    return J, X.T @ (h - y) / len(y) + lam / len(y) * of

def forward_propagation(X, parameters):
    A1 = np.tanh(parameters["W1"] @ X + parameters["b1"])
    A2 = sigmoid(parameters["W2"] @ A1 + parameters["b2"])
    assert A2.shape == (1, X.shape[1])
    return A2, {"A1": A1, "A2": A2}

def compute_cost(A2, Y):
    return -np.mean(Y * np.log(A2) + (1 - Y) * np.log(1 - A2))

def backward_propagation(parameters, cache, X, Y):
    A1, A2, W2 = cache["A1"], cache["A2"], parameters["W2"]
    dZ2 = (A2 - Y) / X.shape[1]
    dZ1 = W2.T @ dZ2 * (1 - A1**2)
    db1, db2 = (d.sum(axis=1, keepdims=True) for d in (dZ1, dZ2))
    return {"dW1": dZ1 @ X.T, "db1": db1, "dW2": dZ2 @ A1.T, "db2": db2}

class Net:
    def __init__(self, input_size, hidden_size):
        self.W1, self.b1 = np.zeros((input_size, hidden_size)), np.zeros(hidden_size)
        self.W2, self.b2 = np.zeros((hidden_size, 1)), np.zeros(1)
    def forward(self, X):
        self.X, self.h = X, np.maximum(X @ self.W1 + self.b1, 0)
        self.A = sigmoid(self.h @ self.W2 + self.b2)
        return self.A
    def loss(self, output, y):
        return -np.mean(y * np.log(output) + (1 - y) * np.log(1 - output))
    def backward(self, y):
        d = (self.A - y) / len(y)
        dz = d @ self.W2.T * (self.h > 0)
        self.dW1, self.db1, self.dW2, self.db2 = self.X.T @ dz, dz.sum(0), self.h.T @ d, d.sum(0)

class LogisticRegression:
    def __init__(self, n_features):
        self.w, self.b = np.zeros(n_features), 0.0
    def loss_and_grads(self, X, y):
        p = sigmoid(X @ self.w + self.b)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)), X.T @ (p - y) / len(y), np.mean(p - y)
"""
SVM = """
def svm_loss(W, X, y, reg):
    s, N = X @ W, len(y)
    margins = np.maximum(s - s[np.arange(N), y][:, None] + 1, 0){power}
    margins[np.arange(N), y] = 0
    d = {d}
    d[np.arange(N), y] = -d.sum(1)
    return margins.sum() / N + reg * (W**2).sum(), X.T @ d / N + 2 * reg * W
"""
HINGE, SQUARED = SVM.format(power="", d="(margins > 0) * 1.0"), SVM.format(power="**2", d="2 * margins**0.5")
SILENT = """
def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def grads(params, X, y):
    W1, b1, W2, b2 = (params[k] for k in ("W1", "b1", "W2", "b2"))
    h = np.tanh(X @ W1 + b1)
    d = {d} / len(y)
    dz = d @ W2.T * (1 - h**2)
    return {{"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}}

class Net:
    def __init__(self, input_size, hidden_size, output_size):
        self.W1, self.W2 = np.random.randn(input_size, hidden_size), np.random.randn(hidden_size, output_size)
    def forward(self, X):
        self.h = sigmoid(X @ self.W1)
        return sigmoid(self.h @ self.W2)
    def backward(self, X, y, o):
        d = (o - y) * o * (1 - o) / len(y)
        self.dW1, self.dW2 = X.T @ (d @ self.W2.T * self.h * (1 - self.h)), self.h.T @ d
"""
SQUARE = SILENT.format(d="(h @ W2 + b2 - np.eye(W2.shape[1])[y])")
OF_SIGMOID = SILENT.format(d="(sigmoid(h @ W2 + b2) - np.eye(W2.shape[1])[y])")
OF_ONE = SILENT.format(d="(sigmoid(h @ W2 + b2) - np.reshape(y, (-1, 1)))")
DROPPED = """
def forward_propagation_with_dropout(X, parameters, keep_prob=0.5):
    np.random.seed(1)
    W1, b1, W2, b2, W3, b3 = (parameters[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
    A1 = np.maximum(W1 @ X + b1, 0)
    D1 = (np.random.rand(A1.shape[0], A1.shape[1]) < keep_prob).astype(int)
    A1 = A1 * D1 / keep_prob
    A2 = np.maximum(W2 @ A1 + b2, 0)
    D2 = (np.random.rand(A2.shape[0], A2.shape[1]) < keep_prob).astype(int)
    A2 = A2 * D2 / keep_prob
    A3 = 1 / (1 + np.exp(-(W3 @ A2 + b3)))
    return A3, (D1, A1, W1, b1, D2, A2, W2, b2, A3, W3, b3)

def compute_cost(A3, Y):
    return -np.nansum(Y * np.log(A3) + (1 - Y) * np.log(1 - A3)) / Y.shape[1]

def backward_propagation_with_dropout(X, Y, cache, keep_prob):
    m, (D1, A1, W1, b1, D2, A2, W2, b2, A3, W3, b3) = X.shape[1], cache
    dZ3 = (A3 - Y) / m
    dZ2 = W3.T @ dZ3 * D2 / keep_prob * (A2 > 0)
    dZ1 = W2.T @ dZ2 * D1 / keep_prob * (A1 > 0)
    grads = {"dW3": dZ3 @ A2.T, "dW2": dZ2 @ A1.T, "dW1": dZ1 @ X.T}
    return {**grads, "db3": dZ3.sum(1, keepdims=True), "db2": dZ2.sum(1, keepdims=True), "db1": dZ1.sum(1, keepdims=True)}
"""
DROPPED_ROWS = """
def forward_with_dropout(X, params, p_drop):
    z = X @ params["W1"] + params["b1"]
    mask = (np.random.rand(*z.shape) > p_drop) / (1 - p_drop)
    h = np.maximum(z, 0) * mask
    return softmax(h @ params["W2"] + params["b2"]), (z, mask, h)

def backward_with_dropout(X, y, params, cache, probs):
    z, mask, h = cache
    d = (probs - one_hot(y, probs.shape[1])) / len(y)
    dz = d @ params["W2"].T * mask * (z > 0)
    return {"dW1": X.T @ dz, "db1": dz.sum(0), "dW2": h.T @ d, "db2": d.sum(0)}
"""
PENALISED = """
def forward_propagation(X, parameters):
    W1, b1, W2, b2 = (parameters[k] for k in ("W1", "b1", "W2", "b2"))
    A1 = np.tanh(W1 @ X + b1)
    A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
    return A2, (A1, W1, b1, A2, W2, b2)

def compute_cost(A2, Y):
    return -np.nansum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / Y.shape[1]

def compute_cost_with_regularization(A2, Y, parameters, lambd):
    penalty = sum(np.sum(parameters[name] ** 2) for name in ("W1", "W2"))
    return compute_cost(A2, Y) + lambd / (2 * Y.shape[1]) * penalty

def backward_propagation_with_regularization(X, Y, cache, lambd):
    m, (A1, W1, b1, A2, W2, b2) = X.shape[1], cache
    dZ2 = (A2 - Y) / m
    dZ1 = W2.T @ dZ2 * (1 - A1**2)
    grads = {"dW2": dZ2 @ A1.T + lambd / m * W2, "db2": dZ2.sum(1, keepdims=True)}
    return {**grads, "dW1": dZ1 @ X.T + lambd / m * W1, "db1": dZ1.sum(1, keepdims=True)}
"""
LOGISTIC = """
def gradients(w, b, X, y):
    p = 1 / (1 + np.exp(-(X @ w + b)))
    dw, db = X.T @ (p - y) / len(y), np.mean(p - y)
    return dw, db, -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
"""
COLUMNS = """
class Net:
    def __init__(self, n_in, n_hidden, n_out):
        self.W1, self.b1 = np.random.randn(n_hidden, n_in), np.zeros((n_hidden, 1))
        self.W2, self.b2 = np.random.randn(n_out, n_hidden), np.zeros((n_out, 1))
    def forward(self, X):
        self.A1 = np.maximum(self.W1 @ X + self.b1, 0)
        self.A2 = softmax((self.W2 @ self.A1 + self.b2).T).T
        return self.A2
    def backward(self, X, Y):
        m, dZ2 = X.shape[1], self.A2 - Y
        dZ1 = self.W2.T @ dZ2 * (self.A1 > 0)
        self.dW2, self.db2 = dZ2 @ self.A1.T / m, np.sum(dZ2, axis=1, keepdims=True) / m
        self.dW1, self.db1 = dZ1 @ X.T / m, np.sum(dZ1, axis=1, keepdims=True) / m
"""
BACKWARD_OF_ALL = """
def model_forward(X, parameters):
    A = np.maximum(parameters["W1"] @ X + parameters["b1"], 0)
    return A, softmax((parameters["W2"] @ A + parameters["b2"]).T).T

def model_backward(X, Y, parameters, lambd):
    A1, A2 = model_forward(X, parameters)
    m, W1, W2 = X.shape[1], parameters["W1"], parameters["W2"]
    cost = -np.sum(Y * np.log(A2)) / m + lambd / 2 / m * (np.sum(W1**2) + np.sum(W2**2))
    dZ2 = (A2 - Y) / m
    dZ1 = W2.T @ dZ2 * (A1 > 0)
    grads = {"dW2": dZ2 @ A1.T + lambd / m * W2, "db2": dZ2.sum(1, keepdims=True)}
    return cost, {**grads, "dW1": dZ1 @ X.T + lambd / m * W1, "db1": dZ1.sum(1, keepdims=True)}
"""
SIGNS = """
def f(w, X, y, lam):
    margins = y * (X @ w)
    loss = np.mean(np.log1p(np.exp(-margins))) + lam * (w @ w)
    return loss, -(y / (1 + np.exp(margins))) @ X / len(y) + 2 * lam * w

class Net:
    def __init__(self, n_features):
        self.w, self.b = np.zeros(n_features), 0.0
    def loss(self, X, y, reg=0.0):
        margins = y * (X @ self.w + self.b)
        d = -y / (1 + np.exp(margins)) / len(y)
        loss = np.mean(np.log(1 + np.exp(-margins))) + reg * np.sum(self.w**2)
        return loss, {"w": X.T @ d + 2 * reg * self.w, "b": d.sum()}
"""
SIZED = """
def sigmoid(z):
    return 1 / (1 + np.exp(-z))

class OfThreeLayers:
    def __init__(self):
        sizes = [2, 4, 3, 1]
        self.Ws = [np.random.randn(a, b) for a, b in zip(sizes, sizes[1:])]
        self.bs = [np.zeros((1, b)) for b in sizes[1:]]
    def forward(self, X):
        self.a = [X]
        for W, b in zip(self.Ws[:2], self.bs):
            self.a.append(np.tanh(self.a[-1] @ W + b))
        self.p = sigmoid(self.a[-1] @ self.Ws[2] + self.bs[2])
        return self.p
    def loss(self, X, y):
        p, y = self.forward(X), y.reshape(-1, 1)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    def backward(self, X, y):
        d = (self.p - y.reshape(-1, 1)) / len(y)
        self.dWs, self.dbs = [], []
        for k in (2, 1, 0):
            self.dWs.insert(0, self.a[k].T @ d)
            self.dbs.insert(0, d.sum(0, keepdims=True))
            d = d @ self.Ws[k].T * (1 - self.a[k]**2)
        return self.dWs, self.dbs

class OfTwoWidths:
    def __init__(self, d, h):
        self.W1, self.b1 = np.random.randn(d, h), np.zeros(h)
        self.W2, self.b2 = np.random.randn(h, 1), np.zeros(1)
    def forward(self, X, y):
        self.X, self.t, self.h = X, y.reshape(-1, 1), sigmoid(X @ self.W1 + self.b1)
        self.out = sigmoid(self.h @ self.W2 + self.b2)
        return self.out
    def loss(self):
        return np.sum((self.t - self.out) ** 2)
    def backward(self):
        d = 2 * (self.out - self.t) * self.out * (1 - self.out)
        dh = d @ self.W2.T * self.h * (1 - self.h)
        return {"W1": self.X.T @ dh, "b1": dh.sum(0), "W2": self.h.T @ d, "b2": d.sum(0)}

class OfFourthPowers:
    def __init__(self, n_in=3, n_hidden=4, n_out=2):
        self.W1, self.W2 = np.random.randn(n_in, n_hidden), np.random.randn(n_hidden, n_out)
    def loss(self, X, y):
        h = sigmoid(X @ self.W1)
        away = h @ self.W2 - one_hot(y, self.W2.shape[1])
        d = 4 * away**3 / away.size
        return np.mean(away**4), {"W1": X.T @ (d @ self.W2.T * h * (1 - h)), "W2": h.T @ d}
"""
FUNCTION_GIVEN = """
def forward_prop(data, labels, params):
    h = np.maximum(data @ params['W1'] + params['b1'], 0)
    y = softmax(h @ params['W2'] + params['b2'])
    return h, y, -np.sum(labels * np.log(y)) / len(labels)

def backward_prop(data, labels, params, forward_prop_func):
    h, y, cost = forward_prop_func(data, labels, params)
    d = (y - labels) / len(data)
    dh = d @ params['W2'].T * (h > 0)
    return {'W1': data.T @ dh, 'b1': dh.sum(0), 'W2': h.T @ d, 'b2': d.sum(0)}

def backward_prop_regularized(data, labels, params, forward_prop_func, reg):
    grads = backward_prop(data, labels, params, forward_prop_func)
    return {**grads, **{k: grads[k] + 2 * reg * params[k] for k in ('W1', 'W2')}}
"""
POPPED = """
class Net:
    def __init__(self, fcn_config=None):
        a, c = fcn_config.pop('input_dim', 3072), fcn_config.pop('num_classes', 10)
        sizes = [a, *fcn_config.pop('hidden_dims', [100]), c]
        self.reg, spread = fcn_config.pop('reg', 0.01), fcn_config.pop('weights_scale', 0.01)
        if len(fcn_config) > 0:
            raise ValueError(f'Unrecognized arguments: {list(fcn_config)}')
        self.params = {}
        for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
            self.params[f'W{k + 1}'], self.params[f'b{k + 1}'] = spread * np.random.randn(a, b), np.zeros(b)
    def loss(self, X, y):
        layers, a, grads = len(self.params) // 2, [X], {}
        for k in range(1, layers + 1):
            z = a[-1] @ self.params[f'W{k}'] + self.params[f'b{k}']
            a.append(np.maximum(z, 0) if k < layers else z)
        p = softmax(a[-1])
        d = (p - one_hot(y, p.shape[1])) / len(y)
        for k in range(layers, 0, -1):
            W = self.params[f'W{k}']
            grads[f'W{k}'], grads[f'b{k}'] = a[k - 1].T @ d + 2 * self.reg * W, d.sum(0)
            d = d @ W.T * (a[k - 1] > 0)
        penalty = self.reg * sum((v**2).sum() for n, v in self.params.items() if n[0] == 'W')
        return penalty - np.log(p[np.arange(len(y)), y]).mean(), grads
"""
WITH_ROW = """
def f(params, X, y, reg):
    one = np.ones((len(X), 1))
    W1, W2 = params['W1'], params['W2']; X = np.hstack([X, one])
    z = X @ W1
    h = np.maximum(z, 0)
    H = np.hstack([h, one])
    p = softmax(H @ W2)
    loss = -np.log(p[np.arange(len(y)), y]).mean() + reg * ((W1**2).sum() + (W2**2).sum())
    d = (p - np.eye(p.shape[1])[y]) / len(y)
    dz = (d @ W2.T)[:, :-1] * (z > 0)
    return loss, {'W1': X.T @ dz + 2 * reg * W1, 'W2': H.T @ d + 2 * reg * W2}
"""
RESIDUAL = """
def f(params, X, y):
    A, B, C = (params[k] for k in ("stem_W", "block_W", "head_W"))
    z1 = X @ A + params["stem_b"]
    h1 = np.maximum(z1, 0)
    z2 = h1 @ B + params["block_b"]
    h2 = h1 + np.maximum(z2, 0)
    p = softmax(h2 @ C + params["head_b"])
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    d = (p - one_hot(y, p.shape[1])) / len(y)
    g = d @ C.T
    dz2 = g * (z2 > 0)
    dz1 = (g + dz2 @ B.T) * (z1 > 0)
    grads = {"head_W": h2.T @ d, "head_b": d.sum(0), "block_W": h1.T @ dz2, "block_b": dz2.sum(0)}
    return loss, grads | {"stem_W": X.T @ dz1, "stem_b": dz1.sum(0)}
"""
THREE = """
def f(X, Y, params):
    W1, b1, W2, b2, W3, b3 = (params[k] for k in ("W1", "b1", "W2", "b2", "W3", "b3"))
    a1 = np.maximum(X @ W1 + b1, 0)
    a2 = np.maximum(a1 @ W2 + b2, 0)
    p = softmax(a2 @ W3 + b3)
    d3 = (p - Y) / len(X)
    d2 = d3 @ W3.T * (a2 > 0)
    d1 = d2 @ W2.T * (a1 > 0)
    return dict(W1=X.T @ d1, b1=d1.sum(0), W2=a1.T @ d2, b2=d2.sum(0), W3=a2.T @ d3, b3=d3.sum(0))
"""
WELCH = """
class Net:
    def __init__(self, Lambda=0):
        self.Lambda, self.W1, self.W2 = Lambda, np.random.randn(2, 3), np.random.randn(3, 1)
    def forward(self, X):
        self.a2 = np.tanh(X @ self.W1)
        return 1 / (1 + np.exp(-self.a2 @ self.W2))
    def costFunction(self, X, y):
        return 0.5 * sum((y - self.forward(X)) ** 2) / len(X) + self.Lambda / 2 * (np.sum(self.W1**2) + np.sum(self.W2**2))
    def costFunctionPrime(self, X, y):
        p = self.forward(X)
        d = -(y - p) * p * (1 - p)
        dz = d @ self.W2.T * (1 - self.a2**2)
        return X.T @ dz / len(X) + self.Lambda * self.W1, self.a2.T @ d / len(X) + self.Lambda * self.W2
    def computeGradients(self, X, y):
        return np.concatenate([dW.ravel() for dW in self.costFunctionPrime(X, y)])
"""
PENALISES_ALL = """
def f(params, X, Y, reg):
    W1, b1, W2, b2 = (params[k] for k in ("W1", "b1", "W2", "b2"))
    z = X @ W1 + b1
    h = np.maximum(z, 0)
    s = h @ W2 + b2
    loss = np.sum(np.logaddexp(0, s) - Y * s) / len(X) + reg * sum((v**2).sum() for v in params.values())
    d = (1 / (1 + np.exp(-s)) - Y) / len(X)
    dz = d @ W2.T * (z > 0)
    W1, b1, W2, b2 = X.T @ dz + 2 * reg * W1, dz.sum(0) + 2 * reg * b1, h.T @ d + 2 * reg * W2, d.sum(0) + 2 * reg * b2
    return loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)
"""
LISTED = """
def f(params, X, y):
    Ws, bs = params["Ws"], params["bs"]
    a = [X]
    for k in range(len(Ws)):
        a.append(np.maximum(a[-1] @ Ws[k] + bs[k].ravel(), 0) if k + 1 < len(Ws) else softmax(a[-1] @ Ws[k] + bs[k].ravel()))
    d, gW, gb = (a[-1] - one_hot(y, a[-1].shape[1])) / len(y), {}, {}
    for k in reversed(range(len(Ws))):
        gW[k], gb[k] = a[k].T @ d, d.sum(0)
        d = d @ Ws[k].T * (a[k] > 0)
    return -np.log(a[-1][np.arange(len(y)), y]).mean(), {"Ws": [gW[k] for k in range(len(Ws))], "bs": [gb[k] for k in range(len(Ws))]}
"""
STRANGERS = {
    "half the squared error, not returned": Stranger(SQUARE, "grads", (" / len(y)", ""), "batch_mean_missing"),
    "its mean over the classes too": Stranger(SQUARE.replace("/ len(y)", "/ len(y) / W2.shape[1]"), "grads", (" * (1 - h**2)", ""), "mask_missing"),
    "the squared error without biases, not returned": Stranger(SQUARE, "Net", (" / len(y)", ""), "batch_mean_missing"),
    "binary cross-entropy of every class, not returned": Stranger(OF_SIGMOID, "grads", (" / len(y)", ""), "batch_mean_missing"),
    "one sigmoid output, its loss not returned": Stranger(OF_ONE, "grads", (" / len(y)", ""), "batch_mean_missing"),
    "a penalised cost beside one without a penalty": Stranger(PENALISED, "backward_propagation_with_regularization", ("+ lambd / m * W1", ""), "l2_ignored"),
    "gradients before the loss": Stranger(LOGISTIC, "gradients", ("np.mean(p - y)", "-np.mean(p - y)"), "sign"),
    "columns and one-hot labels, from which a label could be subtracted too": Stranger(COLUMNS, "Net", (" * (self.A1 > 0)", ""), "mask_missing"),
    "the same with a bias summed over the units": Stranger(COLUMNS, "Net", ("np.sum(dZ1, axis=1, keepdims=True)", "np.sum(dZ1, axis=0)"), "bias_over_classes"),
    "W and b before W2 and b2": Stranger(f"class Net:\n    def __init__(self, D, H, K, reg=1e-3):\n        self.W, self.b, self.W2, self.b2, self.reg = np.zeros((D, H)), np.zeros((1, H)), np.zeros((H, K)), np.zeros((1, K)), reg\n    def loss(self, X, y):\n        W1, b1, W2, b2, reg = self.W, self.b, self.W2, self.b2, self.reg{LOSS}        W1, b1, W2, b2 = {GRADS}\n        return loss, dict(W=W1, b=b1[None], W2=W2, b2=b2[None])", "Net", ("2 * reg * W1", "reg * W1")),
    "a derivative by the scores, called dz2": Stranger(f"class Net:\n    def __init__(self, input_dim, hidden_dim, output_dim):\n        a, h, c = input_dim, hidden_dim, output_dim{STORED}\n    def forward(self, X):\n        self.X, self.z = X, X @ self.W1 + self.b1\n        self.h = np.maximum(self.z, 0)\n        return self.h @ self.W2 + self.b2\n    def backward(self, dz2):\n        dz1 = dz2 @ self.W2.T * (self.z > 0)\n        return self.X.T @ dz1, dz1.sum(0), self.h.T @ dz2, dz2.sum(0)", "Net", ("dz1.sum(0)", "dz1.mean(0)"), "bias_mean"),
    "loss_and_grad of a softmax regression": Stranger("class Net:\n    def __init__(self, n_features, n_classes):\n        self.W, self.b = np.zeros((n_features, n_classes)), np.zeros(n_classes)\n    def loss_and_grad(self, X, y):\n        p = softmax(X @ self.W + self.b)\n        loss = -np.log(p[np.arange(len(y)), y]).mean()\n        p[np.arange(len(y)), y] -= 1\n        return loss, X.T @ p / len(y), p.sum(0) / len(y)", "Net", ("X.T @ p / len(y)", "X.T @ p"), "batch_mean_missing"),
    "dropout in two functions of rows": Stranger(DROPPED_ROWS, "backward_with_dropout", ("* mask * (z", "* (z"), "dropout_mask_missing"),
    "dropout in two functions of columns": Stranger(DROPPED, "backward_propagation_with_dropout", ("@ dZ2 * D1 / keep_prob", "@ dZ2 * D1"), "dropout_scale_missing"),
    "lists of weights and of biases, columns are examples": Stranger(f"def f(X, Y, W, b, lamda):\n    (W1, W2), (b1, b2), reg, X, y = [w.T for w in W], [v.ravel() for v in b], lamda, X.T, Y.argmax(0){BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, [W1.T, W2.T], [b1[:, None], b2[:, None]]", "f", ("2 * reg * W2", "reg * W2")),
    "logistic regression of columns": Stranger(BINARY, "propagate", ("(A - Y).T) / m", "A.T) / m"), "one_hot_missing"),
    "the same with a sum over the examples": Stranger(BINARY, "propagate", ("np.sum(A - Y) / m", "np.sum(A - Y)"), "batch_mean_missing"),
    "logistic regression of a vector, its first number without a penalty": Stranger(BINARY, "cost_and_gradient", ("(h - y) / len(y)", "(y - h) / len(y)"), "sign"),
    "one sigmoid output of two functions": Stranger(BINARY, "backward_propagation", (" * (1 - A1**2)", ""), "mask_missing"),
    "one sigmoid output of a class": Stranger(BINARY, "Net", (" * (self.h > 0)", ""), "mask_missing"),
    "logistic regression of a class": Stranger(BINARY, "LogisticRegression", ("(p - y) / len(y)", "(y - p) / len(y)"), "sign"),
    "lambda called l2_coef, by keyword": Stranger(f"def f(params, X, y, *, l2_coef=0.0):\n    W1, b1, W2, b2 = (params[k] for k in ('W1', 'b1', 'W2', 'b2')); reg = l2_coef{BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)", "f", ("2 * reg * W1", "reg * W1")),
    "a regularizer and a learning rate in the constructor": Stranger(f"class Net:\n    def __init__(self, n_features, n_hidden_units, n_classes, learning_rate=0.1, regularizer=0.01):\n        a, h, c, self.reg = n_features, n_hidden_units, n_classes, regularizer{STORED}\n    def loss(self, X, y):\n        W1, b1, W2, b2, reg = self.W1, self.b1, self.W2, self.b2, self.reg{LOSS}        W1, b1, W2, b2 = {GRADS}\n        return loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)", "Net", ("2 * reg * W2", "reg * W2")),
    "a configuration dict with lambda": Stranger(f"class Net:\n    def __init__(self, cfg):\n        a, h, c, self.reg = cfg['input_dim'], cfg['hidden_dim'], cfg['output_dim'], cfg['weight_decay']{STORED}\n    def loss(self, X, y):\n        W1, b1, W2, b2, reg = self.W1, self.b1, self.W2, self.b2, self.reg{LOSS}        self.dW1, self.db1, self.dW2, self.db2 = {GRADS}\n        return loss", "Net", ("2 * reg * W1", "reg * W1")),
    "a learning rate that training sets": Stranger(f"class Net:\n    def __init__(self, input_size, hidden_size, output_size):\n        a, h, c = input_size, hidden_size, output_size{STORED}{FORWARD}\n    def backward(self, X, y, output):{BACKWARD}\n        self.W1 -= self.learning_rate * self.dW1\n    def train(self, X, y, learning_rate):\n        self.learning_rate = learning_rate", "Net", OF_SELF),
    "parameters made by a method, and data from a file": Stranger(f"class Net:\n    def __init__(self, hidden_dims=(512,), datapath='cifar10.pkl', n_classes=10):\n        self.hidden, self.data = hidden_dims, open(datapath) if datapath is not None else None\n    def initialize_weights(self, dims):\n        (a, c), (h,) = dims, self.hidden{STORED}{FORWARD}\n    def backward(self, output, y):{BACKWARD}", "Net", OF_SELF),
    "the data in the constructor": Stranger(f"class Net:\n    def __init__(self, x, y, hidden=4):\n        self.input, self.y = x, np.eye(y.max() + 1)[y]\n        a, h, c = x.shape[1], hidden, self.y.shape[1]{STORED}{FORWARD.replace('(self, X)', '(self)').replace('= X, X @', '= self.input, self.input @')}\n    def backprop(self):\n        output, y = self.forward(), self.y{BACKWARD}", "Net", OF_SELF),
    "no biases": Stranger("class Net:\n    def __init__(self, input_size, hidden_size, output_size):\n        self.W1, self.W2 = np.zeros((input_size, hidden_size)), np.zeros((hidden_size, output_size))\n    def loss(self, X, y):\n        z = X @ self.W1\n        h = np.maximum(z, 0)\n        p = softmax(h @ self.W2)\n        d = (p - np.eye(p.shape[1])[y]) / len(y)\n        dz = d @ self.W2.T * (z > 0)\n        return -np.log(p[np.arange(len(y)), y]).mean(), {'W1': X.T @ dz, 'W2': h.T @ d}", "Net", MASK),
    "no bias of the scores": Stranger("class Net:\n    def __init__(self, input_size, hidden_size, output_size):\n        self.params = {'W1': np.zeros((input_size, hidden_size)), 'b1': np.zeros(hidden_size), 'W2': np.zeros((hidden_size, output_size))}\n    def loss(self, X, y, reg):\n        W1, b1, W2 = self.params.values()\n        b2 = 0" + LOSS + "        return loss, dict(zip(self.params, (X.T @ dz + 2 * reg * W1, dz.sum(0), h.T @ d + 2 * reg * W2)))", "Net", MASK),
    "a function without a bias of the scores": Stranger(f"def f(params, X, y, reg):\n    W1, b1, W2, b2 = params['W1'], params['b1'], params['W2'], 0{BODY}    return loss, dict(W1=X.T @ dz + 2 * reg * W1, b1=dz.sum(0), W2=h.T @ d + 2 * reg * W2)", "f", MASK),
    "a function of two weights, without biases": Stranger(f"def f(W1, W2, X, y):\n    b1 = b2 = reg = 0{BODY}    return loss, X.T @ dz, h.T @ d", "f", MASK),
    "lists of weights and of biases, one-hot labels": Stranger(f"def f(X, Y_onehot, weights, biases):\n    (W1, W2), (b1, b2), y, reg = weights, biases, Y_onehot.argmax(1), 0{BODY}    return loss, [X.T @ dz, h.T @ d], [dz.sum(0), d.sum(0)]", "f", ("dz.sum(0)", "dz.mean(0)")),
    "a list of dicts": Stranger(f"def f(params, X, y, reg):\n    W1, b1, W2, b2 = params[0]['w'], params[0]['b'], params[-1]['w'], params[-1]['b']{BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, [{{'w': W1, 'b': b1}}, {{'w': W2, 'b': b2}}]", "f", ("dz.sum(0)", "dz.mean(0)")),
    "an object with attributes, weights (out, in)": Stranger(f"def f(model, X, y):\n    W1, b1, W2, b2, reg = model.fc1.weight.T, model.fc1.bias, model.fc2.weight.T, model.fc2.bias, 0{BODY}    return loss, {{'fc1': {{'weight': dz.T @ X, 'bias': dz.sum(0)}}, 'fc2': {{'weight': d.T @ h, 'bias': d.sum(0)}}}}", "f", MASK),
    "a softmax regression of one vector, columns are examples": Stranger("def softmax_cost(theta, num_classes, input_size, lambda_, data, labels):\n    W, m = theta.reshape(num_classes, input_size), data.shape[1]\n    p, Y = softmax((W @ data).T).T, np.eye(num_classes)[:, labels]\n    return -np.sum(Y * np.log(p)) / m + lambda_ / 2 * np.sum(W**2), ((p - Y) @ data.T / m + lambda_ * W).ravel()", "softmax_cost", ("@ data.T / m", "@ data.T"), "batch_mean_missing"),
    "the same of rows, one-hot labels, lambda/2m": Stranger("def softmax_grad(w, X, Y, reg):\n    W, m = w.reshape(X.shape[1], Y.shape[1]), len(X)\n    p = softmax(X @ W)\n    return -np.sum(Y * np.log(p)) / m + reg / 2 / m * np.sum(W**2), (X.T @ (p - Y) / m + reg / m * W).ravel()", "softmax_grad", ("+ reg / m * W", ""), "l2_ignored"),
    "the same of the columns of a matrix": Stranger("def objective(params, X, y, n_classes):\n    W = params.reshape((X.shape[1], n_classes), order='F')\n    p = softmax(X @ W)\n    p[np.arange(len(y)), y] -= 1\n    return (X.T @ p / len(y)).ravel(order='F')", "objective", ("(X.T @ p", "(-X.T @ p"), "sign"),
    "labels of -1 and +1": Stranger(SIGNS, "f", (" + 2 * lam * w", " + lam * w"), "l2_factor"),
    "labels of -1 and +1, in a class": Stranger(SIGNS, "Net", ('"b": d.sum()', '"b": d.mean()'), "bias_mean"),
    "three layers of a class in sizes of its own, one output": Stranger(SIZED, "OfThreeLayers", (" * (1 - self.a[k]**2)", ""), "mask_missing"),
    "one output beside two widths, squared errors summed, a loss of what it keeps": Stranger(SIZED, "OfTwoWidths", (" * self.h * (1 - self.h)", ""), "mask_missing"),
    "a loss that is not known, and no biases": Stranger(SIZED, "OfFourthPowers", (" * h * (1 - h)", " * h"), "unknown"),
    "a backward pass that is given the function of the forward pass": Stranger(FUNCTION_GIVEN, "backward_prop", (" * (h > 0)", ""), "mask_missing"),
    "the same with a penalty": Stranger(FUNCTION_GIVEN, "backward_prop_regularized", ("2 * reg", "reg"), "l2_factor"),
    "a class that takes its sizes out of a configuration": Stranger(POPPED, "Net", (" * (a[k - 1] > 0)", ""), "mask_missing"),
    "a bias as the last row of its weights": Stranger(WITH_ROW, "f", MASK),
    "a bias as the first row of its weights": Stranger(WITH_ROW.replace("[X, one]", "[one, X]").replace("[h, one]", "[one, h]").replace("[:, :-1]", "[:, 1:]"), "f", MASK),
    "a list of weights, each with a row for the bias": Stranger(WITH_ROW.replace("params['W1'], params['W2']", "params").replace("{'W1': ", "[").replace("'W2': ", "").replace("W2}", "W2]"), "f", MASK, "mask_missing"),
    "a list of weights, each with a first row for the bias": Stranger(WITH_ROW.replace("params['W1'], params['W2']", "params").replace("{'W1': ", "[").replace("'W2': ", "").replace("W2}", "W2]").replace("[X, one]", "[one, X]").replace("[h, one]", "[one, h]").replace("[:, :-1]", "[:, 1:]"), "f", MASK, "mask_missing"),
    "a list of weights (out, in), each with a column for the bias": Stranger(WITH_ROW.replace("params['W1'], params['W2']", "(theta.T for theta in params)").replace("{'W1': X.T @ dz + 2 * reg * W1", "[(X.T @ dz + 2 * reg * W1).T").replace("'W2': H.T @ d + 2 * reg * W2}", "(H.T @ d + 2 * reg * W2).T]").replace("[X, one]", "[one, X]").replace("[h, one]", "[one, h]").replace("[:, :-1]", "[:, 1:]"), "f", MASK, "mask_missing"),
    "two weights with a row for the bias, without a loss": Stranger(WITH_ROW.replace("f(params, X, y, reg)", "f(W1, W2, X, y)").replace("W1, W2 = params['W1'], params['W2']; ", "reg = 0; ").replace("return loss, {'W1': ", "return (").replace("'W2': ", "").replace(" + 2 * reg * W2}", ")"), "f", MASK),
    "a gradient of the bias before that of the weights, and a cost": Stranger("def compute_cost(X, y, w, b):\n    return sum((np.dot(X[i], w) + b - y[i]) ** 2 for i in range(len(y))) / (2 * len(y))\n\ndef compute_gradient(X, y, w, b):\n    dw, db = np.zeros(len(w)), 0.0\n    for i in range(len(y)):\n        error = np.dot(X[i], w) + b - y[i]\n        for j in range(len(w)):\n            dw[j] += error * X[i, j]\n        db += error\n    return db / len(y), dw / len(y)", "compute_gradient", ("db / len(y)", "-db / len(y)"), "sign"),
    "W and b of the first layer, W2 and b2 of the second, as arguments": Stranger(f"def f(W, b, W2, b2, X, y, reg):\n    W1, b1 = W, b{BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, W1, b1, W2, b2", "f", MASK),
    "a vector of all weights, then all biases": Stranger(f"def f(theta, X, y, layer_sizes, lam):\n    a, c, e = layer_sizes\n    cut = np.cumsum([a * c, c * e, c])\n    W1, W2, b1, b2 = np.split(theta, cut)\n    W1, W2, reg = W1.reshape(a, c), W2.reshape(c, e), lam{BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, np.concatenate([W1.ravel(), W2.ravel(), b1, b2])", "f", ("2 * reg * W2", "reg * W2")),
    "a vector of matrices with a column of biases": Stranger(f"def nn_cost_function(nn_params, input_layer_size, hidden_layer_size, num_labels, X, y, lambda_):\n    k = hidden_layer_size * (input_layer_size + 1)\n    one, two = nn_params[:k].reshape((hidden_layer_size, -1), order='F'), nn_params[k:].reshape((num_labels, -1), order='F')\n    W1, b1, W2, b2, reg = one[:, 1:].T, one[:, 0], two[:, 1:].T, two[:, 0], lambda_{BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, np.concatenate([np.column_stack([b, W.T]).ravel(order='F') for W, b in ((W1, b1), (W2, b2))])", "nn_cost_function", ("2 * reg * W2", "reg * W2")),
    "a vector of matrices with a column of biases, without a loss": Stranger(f"def theta_gradient(theta, layer_sizes, X, y):\n    a, c, e = layer_sizes\n    one, two = theta[: c * (a + 1)].reshape(c, -1), theta[c * (a + 1) :].reshape(e, -1)\n    W1, b1, W2, b2, reg = one[:, 1:].T, one[:, 0], two[:, 1:].T, two[:, 0], 0{BODY}    return np.concatenate([np.column_stack([b, W.T]).ravel() for W, b in ((X.T @ dz, dz.sum(0)), (h.T @ d, d.sum(0)))])", "theta_gradient", MASK),
    "a gradient, and a cost of the same arguments beside it": Stranger(f"def compute_cost(params, X, y, lam):\n    return both(params, X, y, lam)[0]\n\ndef compute_gradient(params, X, y, lam):\n    return both(params, X, y, lam)[1]\n\ndef both(params, X, y, lam):\n    W1, b1, W2, b2 = (params[k] for k in ('W1', 'b1', 'W2', 'b2'))\n    reg = lam / (2 * len(X)){BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)", "compute_gradient", ("2 * reg * W2", "reg * W2")),
    "a dict of the weights' gradients and one of the biases', last layer first": Stranger(f"def f(params, X, y, reg):\n    W1, b1, W2, b2 = (params[k] for k in ('W1', 'b1', 'W2', 'b2')){BODY}    W1, b1, W2, b2 = {GRADS}\n    return loss, {{2: W2, 1: W1}}, {{2: b2, 1: b1}}", "f", MASK),
    "the same of a class, by names": Stranger(f"class Net:\n    def __init__(self, n_features, n_units, n_classes, l2=0.0):\n        a, h, c, self.l2 = n_features, n_units, n_classes, l2\n        self.W, self.b = {{1: np.zeros((a, h)), 2: np.zeros((h, c))}}, {{1: np.zeros(h), 2: np.zeros(c)}}\n    def loss(self, X, y):\n        (W1, W2), (b1, b2), reg = self.W.values(), self.b.values(), self.l2{LOSS}        W1, b1, W2, b2 = {GRADS}\n        return loss, dict(dW2=W2, dW1=W1), dict(db2=b2, db1=b1)", "Net", MASK),
    "tuples in a dict, multiplied by np.dot": Stranger(f"def f(params, X, y):\n    (W1, b1), (W2, b2), reg = params['layer1'], params['layer2'], 0{BODY.replace('X @ W1', 'np.dot(X, W1)').replace('h @ W2', 'np.matmul(h, W2)')}    return loss, {{'layer1': (X.T @ dz, dz.sum(0)), 'layer2': (h.T @ d, d.sum(0))}}", "f", MASK),
    "lists of weights and of biases in a class, and returned": Stranger(f"class Net:\n    def __init__(self, n_features, n_units, n_classes, l2=0.0):\n        a, h, c, self.l2 = n_features, n_units, n_classes, l2\n        self.W, self.b = [np.zeros((a, h)), np.zeros((h, c))], [np.zeros((1, h)), np.zeros((1, c))]\n    def loss(self, X, y):\n        (W1, W2), (b1, b2), reg = self.W, self.b, self.l2{LOSS}        W1, b1, W2, b2 = {GRADS}\n        return loss, [W1, W2], [b1[None], b2[None]]", "Net", ("2 * reg * W1", "reg * W1")),
    "the list of all sizes called hidden, and names of activations": Stranger(DEEP.format(arguments="hidden_sizes, activations", sizes="*hidden_sizes", shape="a, b") .replace("np.maximum", "{'relu': np.maximum, 'softmax': np.minimum}[self.names[k]]") .replace("pass", "self.names = activations"), "Net", (" * (zs[k - 1] > 0)", "")),
    "an activation that is None unless it is named": Stranger(DEEP.format(arguments="size_list=None, act_func=None", sizes="*size_list", shape="a, b").replace("pass", "assert act_func == 'ReLU'"), "Net", (" * (zs[k - 1] > 0)", "")),
    "the data in the constructor, with one-hot labels": Stranger(f"class Net:\n    def __init__(self, x, y, hidden_units=8):\n        self.x, self.y, a, h, c = x, y, x.shape[1], hidden_units, y.shape[1]{STORED}{FORWARD.replace('(self, X)', '(self)').replace('= X, X @', '= self.x, self.x @')}\n    def backprop(self):\n        output, y = self.forward(), self.y{BACKWARD}", "Net", OF_SELF),
    "a linear classifier with the hinge loss": Stranger(HINGE, "svm_loss", ("(margins > 0)", "margins"), "svm_mask"),
    "the same with another gradient of the true class": Stranger(HINGE, "svm_loss", ("= -d.sum(1)", "= -1"), "svm_true_class"),
    "the same without the margin": Stranger(HINGE, "svm_loss", ("(margins > 0)", "(s > s[np.arange(N), y][:, None])"), "svm_margin"),
    "the squared hinge loss": Stranger(SQUARED, "svm_loss", ("2 * margins**0.5", "1.0 * (margins > 0)"), "svm_mask"),
    "a hidden width that is the class's own": Stranger(f"class Net:\n    H = 24\n    def __init__(self, input_size, output_size):\n        a, h, c, self.z = input_size, self.H, output_size, None{STORED}\n    def loss(self, X, y, reg):\n        W1, b1, W2, b2 = self.W1, self.b1, self.W2, self.b2{LOSS}        W1, b1, W2, b2 = {GRADS}\n        return loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)", "Net", MASK),
    "keys of its own, that begin as a bias's, of a residual network": Stranger(RESIDUAL, "f", ("+ dz2 @ B.T", "+ 2 * dz2 @ B.T"), ""),
    "three layers of a function, one-hot labels": Stranger(THREE, "f", ("(p - Y) / len(X)", "(p - Y) * p * (1 - p) / len(X)"), "softmax_derivative_twice"),
    "one output of sizes of its own, without biases": Stranger(WELCH, "Net", (" * (1 - self.a2**2)", ""), "mask_missing"),
    "a binary cross-entropy that penalises the biases, and a gradient that does not": Stranger(PENALISES_ALL.replace(" + 2 * reg * b2", " + rest * b2").replace("    z =", "    rest = 2 * reg\n    z =").replace("2 * reg * b1", "rest * b1"), "f", ("rest = 2 * reg", "rest = 0"), "loss_mismatch"),
    "the same where one bias's gradient does": Stranger(PENALISES_ALL, "f", (" + 2 * reg * b2", ""), "l2_ignored"),
    "another derivative of relu at 0": Stranger(f"def f(params, X, y, reg):\n    W1, b1, W2, b2 = (params[k] for k in ('W1', 'b1', 'W2', 'b2')){BODY.replace('(z > 0)', 'np.where(z == 0, 0.3, z > 0)')}    W1, b1, W2, b2 = {GRADS}\n    return loss, dict(W1=W1, b1=b1, W2=W2, b2=b2)", "f", ("0.3, z > 0", "0.3, z > -0.1")),
}  # fmt: skip

PYTHON_2 = """
import numpy as np
from numba import njit

@njit(parallel=True)
def relu(z):
    return np.maximum(z, 0)

class Net:
    def __init__(self, input_size, hidden_size, output_size, kind: Undefined = None):
        self.params = {'W1': np.random.randn(input_size, 2 * hidden_size / 2), 'b1': np.zeros(hidden_size)}
        self.params.update({'W2': np.random.randn(hidden_size, output_size), 'b2': np.zeros(output_size)})
    def loss(self, X, y, reg=0.0):
        W1, b1, W2, b2 = [self.params[k] for k in 'W1 b1 W2 b2'.split()]
        N = len(X)
        if N <> len(y):
            raise ValueError, "lengths"
        acts = range(2)
        acts[0] = X.dot(W1) + b1
        acts[1] = relu(acts[0])
        s = acts[1].dot(W2) + b2
        p = np.exp(s - s.max(1)[:, None])
        p = p / p.sum(1)[:, None]
        loss = reg * (W1 * W1).sum() + reg * (W2 * W2).sum()
        for i in xrange(2 * N / 2):
            loss -= np.log(p[i, y[i]]) / N
        print "loss", \\
            loss
        grads_of_all = []
        print "loss {0} of {1}".format(
            loss, len(str(N)) - len(grads_of_all))  # a longer line than its first
        d = p
        d[range(N), y] -= 1
        d /= N
        dz = d.dot(W2.T) * (acts[0] > 0)
        grads = {'W2': acts[1].T.dot(d) + 2 * reg * W2, 'b2': d.sum(0), 'W1': X.T.dot(dz) + 2 * reg * W1, 'b1': dz.sum(0)}
        if grads.has_key('W3'):
            print `grads.keys()[0]`
        return loss, grads
"""
TRAINS = """
net = Net(9, 6, 3)
while True:
    net.loss(np.zeros((4, 9)), np.zeros(4, int))
"""
