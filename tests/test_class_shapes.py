# ruff: noqa: E501
"""Classes in the shapes that people have: right ones pass as they are, and the same with a wrong gradient do not."""

import itertools
import re

import jax
import jax.numpy as jnp
import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import check_gradients
from mlp_jax.nn.config import MLPConfig
from tests import shapes
from tests.strangers import HEAD, defined
from tests.test_target import check

FOUR = """
        self.{0}W1, self.{0}b1 = np.random.randn({1}) * 0.1, np.zeros({2})
        self.{0}W2, self.{0}b2 = np.random.randn({3}) * 0.1, np.zeros({4})"""
ATTRIBUTES = FOUR.format("", "a, h", "h", "h, c", "c")
ROWS = FOUR.format("", "a, h", "(1, h)", "h, c", "(1, c)")
DICT = """
        self.params = {'W1': std * np.random.randn(a, h), 'b1': np.zeros(h), 'W2': std * np.random.randn(h, c), 'b2': np.zeros(c)}"""
FORWARD = """
    def forward(self, X):
        self.X = X
        self.z = X @ self.W1 + self.b1
        self.h = np.maximum(self.z, 0)
        return self.h @ self.W2 + self.b2
"""
MASK = " * (self.z > 0)"  # left out, the gradient is wrong
CLASSES = {
    "gradient(x, t) of one-hot labels alone, as a book has it": f"""
class Net:
    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        a, h, c, std = input_size, hidden_size, output_size, weight_init_std{DICT}
    def predict(self, x):
        return softmax(np.maximum(x @ self.params['W1'] + self.params['b1'], 0) @ self.params['W2'] + self.params['b2'])
    def loss(self, x, t):
        return -np.sum(t * np.log(self.predict(x) + 1e-7)) / len(x)
    def gradient(self, x, t):
        W1, W2 = self.params['W1'], self.params['W2']
        self.z = x @ W1 + self.params['b1']
        h = np.maximum(self.z, 0)
        dy = (self.predict(x) - t) / x.shape[0]
        da = dy @ W2.T{MASK}
        return {{'W1': x.T @ da, 'b1': da.sum(0), 'W2': h.T @ dy, 'b2': dy.sum(0)}}
""",
    "layers in an OrderedDict, and a lastLayer": f"""
class Affine:
    def __init__(self, W, b): self.W, self.b = W, b
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, d):
        self.dW, self.db = self.x.T @ d, d.sum(0)
        return d @ self.W.T
class Relu:
    def forward(self, z):
        self.z = z
        return np.maximum(z, 0)
    def backward(self, d): return d{MASK}
class Last:
    def forward(self, s, t):
        self.p, self.t = softmax(s), one_hot(t, s.shape[1])
        return -np.sum(self.t * np.log(self.p + 1e-7)) / len(s)
    def backward(self, dout=1): return (self.p - self.t) / len(self.t)
class Net:
    def __init__(self, input_size, hidden_size, output_size, weight_init_std=0.01):
        a, h, c, std = input_size, hidden_size, output_size, weight_init_std{DICT}
        p, self.layers, self.lastLayer = self.params, OrderedDict(), Last()
        self.layers['Affine1'], self.layers['Relu1'], self.layers['Affine2'] = Affine(p['W1'], p['b1']), Relu(), Affine(p['W2'], p['b2'])
    def loss(self, x, t):
        for layer in self.layers.values(): x = layer.forward(x)
        return self.lastLayer.forward(x, t)
    def gradient(self, x, t):
        self.loss(x, t)
        d = self.lastLayer.backward(1)
        for layer in reversed(list(self.layers.values())): d = layer.backward(d)
        one, two = self.layers['Affine1'], self.layers['Affine2']
        return {{'W1': one.dW, 'b1': one.db, 'W2': two.dW, 'b2': two.db}}
""",
    "params and grads in lists, forward(x, t) and backward()": f"""
class Net:
    def __init__(self, input_size, hidden_size, output_size):
        a, h, c = input_size, hidden_size, output_size{ATTRIBUTES}
        self.params, self.grads = [self.W1, self.b1, self.W2, self.b2], []
    def forward(self, x, t):
        W1, b1, W2, b2 = self.params
        self.x, self.z = x, x @ W1 + b1
        self.h = np.maximum(self.z, 0)
        self.p, self.t = softmax(self.h @ W2 + b2), t
        return -np.log(self.p[np.arange(len(t)), t]).mean()
    def backward(self, dout=1):
        d = dout * (self.p - one_hot(self.t, self.p.shape[1])) / len(self.t)
        da = d @ self.params[2].T{MASK}
        self.grads = [self.x.T @ da, da.sum(0), self.h.T @ d, d.sum(0)]
        return da @ self.params[0].T
""",
    "forward(X) and backward(y), gradients in dW1": f"""
class Net:
    def __init__(self, n_inputs, n_hidden, n_classes):
        a, h, c = n_inputs, n_hidden, n_classes{ROWS}
{FORWARD}
    def backward(self, y):
        s = self.h @ self.W2 + self.b2
        d = (softmax(s) - one_hot(y, s.shape[1])) / len(y)
        self.dW2, self.db2 = self.h.T @ d, d.sum(0, keepdims=True)
        d = d @ self.W2.T{MASK}
        self.dW1, self.db1 = self.X.T @ d, d.sum(0, keepdims=True)
""",
    "forward(X) and backward(dscores), gradients in a dict": f"""
class Net:
    def __init__(self, D, H, C):
        a, h, c = D, H, C{ATTRIBUTES}
        self.grads = {{}}
{FORWARD}
    def backward(self, dscores):
        d = dscores @ self.W2.T{MASK}
        self.grads = {{'W1': self.X.T @ d, 'b1': d.sum(0), 'W2': self.h.T @ dscores, 'b2': dscores.sum(0)}}
""",
    "scores and a cache, and a backward that returns a dict of other names": f"""
class Net:
    def __init__(self, input_dim=30, num_classes=10, hidden_dim=20):
        a, h, c = input_dim, hidden_dim, num_classes
        self.elems = {{'weight1': np.random.randn(a, h), 'bias1': np.zeros(h), 'weight2': np.random.randn(h, c), 'bias2': np.zeros(c)}}
    def forward(self, X):
        e = self.elems
        self.z = X @ e['weight1'] + e['bias1']
        h = np.maximum(self.z, 0)
        return h @ e['weight2'] + e['bias2'], (X, h)
    def backward(self, grad_scores, cache):
        X, h = cache
        d = grad_scores @ self.elems['weight2'].T{MASK}
        return {{'weight1': X.T @ d, 'bias1': d.sum(0), 'weight2': h.T @ grad_scores, 'bias2': grad_scores.sum(0)}}
""",
    "columns are examples, one-hot, a list of layer sizes that must be three": f"""
class Net:
    def __init__(self, layers_dims):
        a, h, c = layers_dims{FOUR.format("", "h, a", "(h, 1)", "c, h", "(c, 1)")}
    def forward_propagation(self, X):
        self.X, self.z = X, self.W1 @ X + self.b1
        self.A1 = np.maximum(self.z, 0)
        return softmax((self.W2 @ self.A1 + self.b2).T).T
    def compute_cost(self, AL, Y):
        return -np.sum(Y * np.log(AL)) / Y.shape[1]
    def backward_propagation(self, AL, Y):
        m = Y.shape[1]
        dZ = AL - Y
        dW2, db2 = dZ @ self.A1.T / m, dZ.sum(1, keepdims=True) / m
        dZ = self.W2.T @ dZ{MASK}
        return {{'dW2': dW2, 'db2': db2, 'dW1': dZ @ self.X.T / m, 'db1': dZ.sum(1, keepdims=True) / m}}
""",
    "lists of weights and biases, any depth": f"""
class Net:
    def __init__(self, input_size, hidden_layer_sizes, output_size):
        sizes = [input_size, *hidden_layer_sizes, output_size]
        self.weights = [np.random.randn(a, b) for a, b in zip(sizes, sizes[1:])]
        self.biases = [np.zeros(b) for b in sizes[1:]]
    def forward(self, X):
        self.a, self.zs = [X], []
        for W, b in zip(self.weights, self.biases):
            self.zs.append(self.a[-1] @ W + b)
            self.a.append(np.maximum(self.zs[-1], 0))
        return softmax(self.zs[-1])
    def backward(self, y):
        n = len(self.weights)
        self.dweights, self.dbiases = [None] * n, [None] * n
        d = (softmax(self.zs[-1]) - one_hot(y, self.zs[-1].shape[1])) / len(y)
        for k in range(n - 1, -1, -1):
            self.dweights[k], self.dbiases[k] = self.a[k].T @ d, d.sum(0)
            if k:
                self.z = self.zs[k - 1]
                d = d @ self.weights[k].T{MASK}
""",
    "a list of hidden widths called n_hidden, and layers that keep params and grads in dicts": f"""
class Linear:
    def __init__(self, a, b):
        self.params = {{'weight': np.random.randn(a, b), 'bias': np.zeros(b)}}
        self.grads = {{'weight': None, 'bias': None}}
    def forward(self, x):
        self.x = x
        return x @ self.params['weight'] + self.params['bias']
    def backward(self, d):
        self.grads['weight'], self.grads['bias'] = self.x.T @ d, d.sum(0)
        return d @ self.params['weight'].T
class Relu:
    def forward(self, z):
        self.z = z
        return np.maximum(z, 0)
    def backward(self, d): return d{MASK}
class Net:
    def __init__(self, n_inputs, n_hidden, n_classes):
        self.layers = []
        for h in n_hidden:
            self.layers += [Linear(n_inputs, h), Relu()]
            n_inputs = h
        self.layers.append(Linear(n_inputs, n_classes))
    def forward(self, x):
        for layer in self.layers: x = layer.forward(x)
        return x
    def backward(self, dout):
        for layer in reversed(self.layers): dout = layer.backward(dout)
""",
    "counted from 0, with keys of their own, and no zeros for a bias but 0": f"""
class Net:
    def __init__(self, input_dim, hidden_dims, num_classes, reg=0.0):
        sizes, self.params = [input_dim, *hidden_dims, num_classes], {{}}
        for k, (a, b) in enumerate(zip(sizes, sizes[1:])):
            self.params[f'W{{k}}'], self.params[f'b{{k}}'] = np.random.randn(a, b), 0
    def loss(self, X, y):
        p, n = self.params, len(self.params) // 2
        a, zs = [X], []
        for k in range(n):
            zs.append(a[-1] @ p[f'W{{k}}'] + p[f'b{{k}}'])
            a.append(np.maximum(zs[-1], 0))
        q = softmax(zs[-1])
        d, grads = (q - one_hot(y, q.shape[1])) / len(y), {{}}
        for k in range(n - 1, -1, -1):
            grads[f'W{{k}}'], grads[f'b{{k}}'] = a[k].T @ d, d.sum(0)
            if k:
                self.z = zs[k - 1]
                d = d @ p[f'W{{k}}'].T{MASK}
        return -np.log(q[np.arange(len(y)), y]).mean(), grads
""",
    "modules with weights (out, in), and a softmax that backward(dout) goes through": f"""
class Linear:
    def __init__(self, a, b):
        self.params, self.grads = {{'weight': np.random.randn(b, a), 'bias': np.zeros((1, b))}}, {{'weight': None, 'bias': None}}
    def forward(self, x):
        self.x = x
        return x @ self.params['weight'].T + self.params['bias']
    def backward(self, d):
        self.grads['weight'], self.grads['bias'] = d.T @ self.x, d.sum(0, keepdims=True)
        return d @ self.params['weight']
class Net:
    def __init__(self, n_inputs, n_hidden, n_classes):
        self.one, self.two = Linear(n_inputs, n_hidden[0]), Linear(n_hidden[0], n_classes)
    def forward(self, x):
        self.z = self.one.forward(x)
        self.p = softmax(self.two.forward(np.maximum(self.z, 0)))
        return self.p
    def backward(self, dout):
        d = self.p * (dout - (dout * self.p).sum(1, keepdims=True))
        self.one.backward(self.two.backward(d){MASK})
""",
    "layers of sizes of its own, and a loss that runs backward(g)": f"""
class Linear:
    def __init__(self, W):
        self.W, self.b = W, np.zeros(len(W.T))
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, g):
        self.gW, self.gb = self.x.T @ g, g.sum(0)
        return g @ self.W.T
class Net:
    def __init__(self, seed=0):
        draw = np.random.default_rng(seed).normal
        self.layers = [Linear(draw(size=(11, 5))), Linear(draw(size=(5, 3)))]
    def backward(self, g):
        d = self.layers[1].backward(g)
        self.layers[0].backward(d{MASK})
    def compute_loss_and_grad(self, x, y):
        self.z = self.layers[0].forward(x)
        p = softmax(self.layers[1].forward(np.maximum(self.z, 0)))
        self.backward((p - one_hot(y, p.shape[1])) / len(y))
        return -np.log(p[np.arange(len(y)), y]).mean()
""",
    "probabilities, and a backward(dout) that begins at the scores": f"""
class Net:
    def __init__(self, D, H, C):
        a, h, c = D, H, C{ATTRIBUTES}
{FORWARD.replace("return self.h @ self.W2 + self.b2", "return softmax(self.h @ self.W2 + self.b2)")}
    def backward(self, dout):
        self.dW2, self.db2 = self.h.T @ dout, dout.sum(0)
        d = dout @ self.W2.T{MASK}
        self.dW1, self.db1 = self.X.T @ d, d.sum(0)
""",
}  # fmt: skip
CLASSES["parameters that a method takes, in a dict"] = f"""
class Net:
    def __init__(self, layers):
        self.layers = layers
    def loss_and_grad(self, params, X, y, reg=0.0):
        W1, b1, W2, b2 = (params[k] for k in ('W1', 'b1', 'W2', 'b2'))
        self.z = X @ W1 + b1
        h, n = np.maximum(self.z, 0), len(y)
        p = softmax(h @ W2 + b2)
        loss = -np.log(p[range(n), y]).mean() + reg * ((W1**2).sum() + (W2**2).sum())
        d2 = (p - one_hot(y, p.shape[1])) / n
        d1 = d2 @ W2.T{MASK}
        return loss, {{'W1': X.T @ d1 + 2 * reg * W1, 'b1': d1.sum(0), 'W2': h.T @ d2 + 2 * reg * W2, 'b2': d2.sum(0)}}
"""
KEPT = {"    z = X": "    self = Net\n    self.z = X", "maximum(z": "maximum(self.z", " * (z > 0)": MASK}
VECTOR = shapes.sources()[shapes.VECTOR]
for old, new in KEPT.items():
    VECTOR = VECTOR.replace(old, new)
CLASSES["a cost and a gradient that take one vector"] = f"""{VECTOR}
class Net:
    def __init__(self, input_size, hidden_size, output_size, reg):
        self.sizes, self.reg = (input_size, hidden_size, output_size), reg
    def cost(self, theta, X, y):
        return grads(theta, self.sizes, X, y, self.reg)[0]
    def gradient(self, theta, X, y):
        return grads(theta, self.sizes, X, y, self.reg)[1]
"""
SIZES = "input_size, hidden1_size, hidden2_size, output_size"
EACH = shapes.CLASS.format(arguments=SIZES, sizes=f"[{SIZES}]").replace("X, z,", "X, self.z,")
EACH = EACH.replace(" * (z > 0)", MASK)
OWN = 'grads[f"W{k}"], grads[f"b{k}"]'
CLASSES |= {
    "one argument for each hidden width": EACH,
    "gradients by small letters, where the parameters have large ones": EACH.replace(OWN, OWN.replace("W", "w")),
    "gradients by d and small letters": EACH.replace(OWN, OWN.replace("W", "dw").replace('f"b', 'f"db')),
    "gradients by large letters, where the parameters have small ones": EACH.replace('"W{k', '"w{k').replace(
        OWN.replace("W", "w"), OWN
    ),
}


OF_DATA = """
class Net:
    def __init__(self, x, y):
        self.input, self.y, self.output = x, y, np.zeros(y.shape)
        self.weights1, self.weights2 = np.random.rand(x.shape[1], 4), np.random.rand(4, 3)
    def feedforward(self):
        self.z = self.input @ self.weights1
        self.layer1 = np.maximum(self.z, 0)
        self.output = softmax(self.layer1 @ self.weights2)
    def backprop(self):
        d = (self.output - self.y) / len(self.y)
        self.d_weights2 = self.layer1.T @ d
        self.d_weights1 = self.input.T @ (d @ self.weights2.T * (self.z > 0))
"""
CLASSES["the data, one-hot labels among them, and a hidden width that is the class's own"] = OF_DATA


@pytest.mark.parametrize("shape", CLASSES)
def test_a_class_of_this_shape(shape):
    assert MASK in CLASSES[shape]
    right = check_gradients(defined(CLASSES[shape]))
    assert right.passed, str(right)
    wrong = check_gradients(defined(CLASSES[shape].replace(MASK, "")))
    assert wrong.codes == ["mask_missing"], str(wrong)


def test_a_step_of_a_class_that_is_built_with_its_data_is_refused_as_one():
    step = OF_DATA.replace("self.d_weights", "self.weights").replace(" = self.layer1.T", " -= self.layer1.T")
    step = step.replace(" = self.input.T", " -= self.input.T")
    assert step.count(" -= ") == 2
    with pytest.raises(UserError, match="makes an optimiser's step, and keeps no gradient: wrap it"):
        check_gradients(defined(step))


def test_a_wrong_derivative_of_the_softmax_is_named():
    source = next(text for shape, text in CLASSES.items() if "a softmax that" in shape)
    right = "d = self.p * (dout - (dout * self.p).sum(1, keepdims=True))"
    assert right in source
    wrong = check_gradients(defined(source.replace(right, "d = dout * self.p * (1 - self.p)")))
    assert wrong.codes == ["softmax_jacobian_diagonal"], str(wrong)


class JaxNet:
    """Its parameters are a tuple of pairs, which cannot be written to."""

    slope = staticmethod(lambda z: z > 0)

    def __init__(self, sizes):
        pairs = itertools.pairwise(sizes)
        self.params = tuple((jnp.zeros((a, b), "float32"), jnp.zeros(b, "float32")) for a, b in pairs)

    def loss(self, x, y):
        (W1, b1), (W2, b2) = self.params
        z = x @ W1 + b1[None]
        h = jax.nn.relu(z)
        s = h @ W2 + b2[None]
        d = (jax.nn.softmax(s) - jax.nn.one_hot(y, s.shape[1])) / len(y)
        dz = d @ W2.T * self.slope(z)
        return -jax.nn.log_softmax(s)[jnp.arange(len(y)), y].mean(), ((x.T @ dz, dz.sum(0)), (h.T @ d, d.sum(0)))


def test_a_class_of_jax_arrays():
    assert check_gradients(JaxNet).passed
    wrong = type("JaxNet", (JaxNet,), {"slope": staticmethod(lambda z: 1)})
    assert check_gradients(wrong).codes == ["mask_missing"]


def of_pairs(params, x, y, slope=lambda z: z > 0):
    (W1, b1), (W2, b2) = params
    z = x @ W1 + b1[None]
    h = jax.nn.relu(z)
    s = h.at[:].get() @ W2 + b2[None]
    d = (jax.nn.softmax(s) - jax.nn.one_hot(y, s.shape[1])) / len(y)
    dz = d @ W2.T * slope(z)
    return (x.T @ dz, dz.sum(0)), (h.T @ d, d.sum(0))


def test_a_function_of_jax_pairs():
    assert check_gradients(of_pairs).passed
    assert check_gradients(lambda params, x, y: of_pairs(params, x, y, lambda z: 1)).codes == ["mask_missing"]


DROPOUT = f"""
class Net:
    def __init__(self, input_size, hidden_size, output_size, NAME=0.5):
        a, h, c = input_size, hidden_size, output_size{ATTRIBUTES}
        self.params, self.p = {{'W1': self.W1, 'b1': self.b1, 'W2': self.W2, 'b2': self.b2}}, NAME
    def loss(self, X, y):
        z = X @ self.W1 + self.b1
        keep = SHARE
        mask = DRAW / keep
        h = np.maximum(z, 0) * mask
        q = softmax(h @ self.W2 + self.b2)
        d = (q - one_hot(y, q.shape[1])) / len(y)
        dz = d @ self.W2.T * (z > 0) * mask
        return -np.log(q[np.arange(len(y)), y]).mean(), {{'W1': X.T @ dz, 'b1': dz.sum(0), 'W2': h.T @ d, 'b2': d.sum(0)}}
"""
DRAWN = {
    "rand() < keep": ("keep_prob", "self.p", "(np.random.rand(*z.shape) < self.p)"),
    "rand() > drop": ("dropout_ratio", "1 - self.p", "(np.random.rand(*z.shape) > self.p)"),
    "rand() < 1 - drop": ("dropout", "1 - self.p", "(np.random.random(z.shape) < 1 - self.p)"),
    "binomial": ("dropout_rate", "1 - self.p", "np.random.binomial(1, 1 - self.p, size=z.shape)"),
    "a generator of its own": ("keep_prob", "self.p", "(np.random.default_rng(0).random(z.shape) < self.p)"),
    "not rand() < drop": ("dropout", "1 - self.p", "(1 - (np.random.uniform(size=z.shape) < self.p))"),
}  # fmt: skip


@pytest.mark.parametrize("how", [*DRAWN, "a seed of the class"])
def test_a_dropout_mask(how):
    source = DROPOUT
    if how not in DRAWN:
        source = source.replace("=0.5):", "=1, seed=None):\n        self.seed = seed")
        source = source.replace("keep = SHARE", "keep = SHARE\n        np.random.seed(self.seed)")
    name, share, draw = DRAWN.get(how, ("dropout_keep_ratio", *DRAWN["rand() < keep"][1:]))
    source = source.replace("NAME", name).replace("SHARE", share).replace("DRAW", draw)
    config = MLPConfig((6,), dropout=0.25, inputs=7, classes=4)
    report = check_gradients(defined(source), config)
    assert report.passed, str(report)
    wrong = source.replace("(z > 0) * mask", "(z > 0)")
    assert check_gradients(defined(wrong), config).codes == ["dropout_mask_missing"]
    if how in DRAWN:  # it drops units unless it is told not to
        assert check_gradients(defined(source)).passed


TWICE = f"""
class Net:
    def __init__(self, input_size, hidden_size, output_size, dropout_ratio=0.5):
        a, h, c = input_size, hidden_size, output_size{ATTRIBUTES}
        self.ratio = dropout_ratio
    def forward(self, X, train_flg=True):
        self.z = X @ self.W1 + self.b1
        self.mask = (np.random.rand(*self.z.shape) > self.ratio) / (1 - self.ratio)
        self.h = np.maximum(self.z, 0) * (self.mask if train_flg else 1)
        return softmax(self.h @ self.W2 + self.b2)
    def loss(self, X, y):
        return -np.log(self.forward(X)[np.arange(len(y)), y]).mean()
    def gradient(self, X, y):
        q = self.forward(X)
        d = (q - one_hot(y, q.shape[1])) / len(y)
        dz = d @ self.W2.T * (self.z > 0) * self.mask
        return {{'W1': X.T @ dz, 'b1': dz.sum(0), 'W2': self.h.T @ d, 'b2': d.sum(0)}}
"""


def test_a_class_that_drops_units_unless_it_is_told_not_to():
    """Its loss and its gradient draw a mask each, which are the same here; another one in the way back is none."""
    assert check_gradients(defined(TWICE)).passed
    fresh = TWICE.replace(
        "(self.z > 0) * self.mask", "(self.z > 0) * (np.random.rand(*q.shape[:1], 1) > self.ratio)"
    )
    assert not check_gradients(defined(fresh)).passed
    fresh = TWICE.replace(
        "> 0) * self.mask", "> 0) * (np.random.rand(*self.z.shape) > self.ratio) / (1 - self.ratio)"
    )
    assert check_gradients(defined(fresh)).codes == ["fresh_mask"]


DROPS = """
import random
def f(params, X, y, p=0.4):
    W1, b1, W2, b2 = (params[name] for name in ("W1", "b1", "W2", "b2"))
    z = X @ W1 + b1
    mask = DRAW
    h = np.maximum(z, 0) * mask
    q = softmax(h @ W2 + b2)
    d = (q - one_hot(y, q.shape[1])) / len(y)
    dz = d @ W2.T * mask * (z > 0)
    loss = -np.log(q[np.arange(len(y)), y]).mean()
    return loss, {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}
"""


@pytest.mark.parametrize(
    ("draw", "remark"),
    [
        ("(np.random.rand(*z.shape) > p) / (1 - p)", "no_penalty"),
        ("np.random.rand(*z.shape) > p", "other_network"),  # as dropout was first: units are scaled in the test
        ("np.array([[random.random() > p for _ in row] for row in z])", "other_loss"),
    ],
)
def test_a_function_that_drops_units_with_a_probability_of_its_own(draw, remark):
    source = DROPS.replace("DRAW", draw)
    report = check_gradients(defined(source, "f"))
    assert report.passed, str(report)
    assert remark in report.remarks
    report = check_gradients(defined(source.replace(" * mask * (z", " * (z"), "f"))
    assert report.codes == (["unknown"] if "random.random" in draw else ["dropout_mask_missing"])
    assert {row.leaf for row in report.leaves if row.verdict == "FAIL"} == {"W1", "b1"}


def test_a_dropout_mask_of_another_generator_is_refused():
    source = DROPOUT.replace("NAME", "keep_prob").replace("SHARE", "self.p")
    source = source.replace("DRAW", "np.array([[random.random() < self.p for _ in row] for row in z])")
    config = MLPConfig((6,), dropout=0.25, inputs=7, classes=4)
    with pytest.raises(UserError, match=r"numpy.random.rand\(...\) < keep"):
        check_gradients(defined(source), config)


REFUSED = {
    "optimiser's step": ("def backward(self, y, learning_rate): self.W1 -= learning_rate * self.W1", "optimiser's step"),
    "optimiser's step of its own": ("def backward(self, y): self.W1 = self.W1 - 0.1", "optimiser's step"),
    "no backward pass": ("def numerical_gradient(self, x, t): return {'W1': self.W1}", "numerical gradient alone"),
    "nothing kept": ("def backward(self, y): return None", "not written yet: backward is empty"),
    "unknown argument": ("def backward(self, y, x, reg, colour): return None", "needs colour"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_checked_is_refused_in_a_sentence(kind):
    method, words = REFUSED[kind]
    source = f"""
class Net:
    def __init__(self, D, H, C):
        a, h, c = D, H, C{ATTRIBUTES}
{FORWARD}
    {method}
"""
    with pytest.raises(UserError, match=words):
        check_gradients(defined(source))


def test_a_network_of_pictures_is_refused_as_one():
    class ConvNet:
        def __init__(self, input_dim=(3, 32, 32), num_filters=32, hidden_dim=100, num_classes=10):
            self.params = {"W1": jnp.zeros((num_filters, *input_dim))}

        def loss(self, X, y=None):
            return 0.0, self.params

    with pytest.raises(UserError, match=r"takes pictures \(input_dim=\(3, 32, 32\)\).*check_vjp"):
        check_gradients(ConvNet)


def test_a_constructor_that_wants_more_than_sizes_is_refused_in_a_sentence():
    class Net:
        def __init__(self, layers_dim, objective):
            self.W1 = jnp.zeros(layers_dim[:2])

        def backward(self, x, y):
            return {"W1": x.T @ x}

    with pytest.raises(
        UserError, match=r"Net wants more than sizes: its .* takes \(layers_dim, objective\): wrap it"
    ):
        check_gradients(Net)


LOGISTIC = """
class Net:
    def __init__(self, {size}, reg=0.0):
        self.w, self.b, self.reg = np.zeros({size}), {bias}, reg
    def predict_proba(self, X):
        return 1 / (1 + np.exp(-(X @ self.w + self.b)))
    def loss(self, X, y):
        p = self.predict_proba(X)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + self.reg * self.w @ self.w
    def gradient(self, X, y):
        error = (self.predict_proba(X) - y) / len(y)
        return {{'w': X.T @ error + 2 * self.reg * self.w, 'b': error.sum()}}
"""


@pytest.mark.parametrize(("size", "bias"), [("n_features", "0.0"), ("dim", "np.zeros(1)")])
def test_logistic_regression_as_a_class(size, bias):
    source = LOGISTIC.format(size=size, bias=bias)
    report = check_gradients(defined(source))
    assert (report.codes, "binary cross-entropy" in report.about) == ([], True)
    assert check_gradients(defined(source.replace(" / len(y)", ""))).codes == ["batch_mean_missing"]


NO_NETWORKS = {
    "weights of a training": ("lr", "self.lr = lr", "fit(self, X, y): self.w = X.T @ y", "makes its weights in fit, by an"),
    "an optimiser": ("lr", "self.lr = lr", "update(self, params, grads): params -= self.lr * grads", "Net is an optimiser, whose step takes"),
    "no weights": ("lr", "self.lr = lr", "gradient(self, x, y, pred): return x.T @ (pred - y)", "Net keeps no weights: wrap"),
    "one example": ("a, h, c", FOUR.format("", "a, h", "h", "h, c", "c"),
                    "backprop(self, outputs_of_1, X, y): return 0\n    def train(self, X, y): pass", "train, which calls it, is an"),
    "numbers": ("nin, nouts", "[nin] + nouts + 'no'", "__call__(self, x): return x", "or one number, at a time: wrap"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_NETWORKS)
def test_a_class_that_is_no_network_of_its_own_weights_is_refused_in_a_sentence(kind, tmp_path):
    arguments, does, method, words = NO_NETWORKS[kind]
    source = f"class Net:\n    def __init__(self, {arguments}):\n        {does}\n    def {method}\n"
    with pytest.raises(UserError, match=words):
        check(tmp_path, HEAD + source, "Net")


def test_a_constructor_without_sizes_is_refused_in_a_sentence():
    class Net:
        def __init__(self, config):
            self.W1 = config.w

        def loss(self, X, y):
            return 0.0, {}

    with pytest.raises(
        UserError, match=r"Net needs config.w, which is not known: wrap it in a function f\(params"
    ):
        check_gradients(Net)


@pytest.mark.usefixtures("quick_targets")
def test_python_2_methods_of_a_dict_and_names_of_numpy_1(tmp_path):
    source = CLASSES["gradient(x, t) of one-hot labels alone, as a book has it"]
    source = (
        source.replace("return {'W1'", "grads = {'W1'")
        + "        return {k: v * np.float(1) for k, v in grads.iteritems()}\n"
    )
    assert check(tmp_path, f"from itertools import izip\n{HEAD}{source}", "Net")[0]
    assert not (tmp_path / "__pycache__").exists()


TWO = """
def forward_propagation(X, parameters):
    W1, b1, W2, b2 = (parameters[k] for k in ('W1', 'b1', 'W2', 'b2'))
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)
    A2 = softmax((W2 @ A1 + b2).T).T
    return A2, {'Z1': Z1, 'A1': A1}

def compute_cost(A2, Y):
    return -np.sum(Y * np.log(A2)) / Y.shape[1]

def backward_propagation(parameters, cache, A2, X, Y):
    m, dZ2 = X.shape[1], A2 - Y
    dZ1 = parameters['W2'].T @ dZ2 * (cache['Z1'] > 0)
    return {'dW1': dZ1 @ X.T / m, 'db1': dZ1.sum(1, keepdims=True) / m, 'dW2': dZ2 @ cache['A1'].T / m, 'db2': dZ2.sum(1, keepdims=True) / m}
"""  # fmt: skip
LOOSE = """
def forward_prop(W1, b1, W2, b2, X):
    Z1 = W1.dot(X) + b1
    A1 = np.maximum(Z1, 0)
    Z2 = W2.dot(A1) + b2
    A2 = softmax(Z2.T).T
    return Z1, A1, Z2, A2

def backward_prop(Z1, A1, Z2, A2, W1, W2, X, Y):
    m = Y.size
    dZ2 = A2 - one_hot(Y, len(A2)).T
    dW2, db2 = 1 / m * dZ2.dot(A1.T), 1 / m * dZ2.sum(1, keepdims=True)
    dZ1 = W2.T.dot(dZ2) * (Z1 > 0)
    dW1, db1 = 1 / m * dZ1.dot(X.T), 1 / m * dZ1.sum(1, keepdims=True)
    return dW2, db2, dW1, db1
"""
COUNTED = """
def forward_prop(X, W1, b1, W2, b2):
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)
    Z2 = W2 @ A1 + b2
    A2 = softmax(Z2.T).T
    return Z1, A1, Z2, A2

def backward_prop(X, Y, A1, A2, W2, Z1, m):
    dZ2 = (A2 - one_hot(Y, len(A2)).T) / m
    dZ1 = W2.T @ dZ2 * (Z1 > 0)
    dW1, db1 = dZ1 @ X.T, np.sum(dZ1, axis=1).reshape(-1, 1)
    dW2, db2 = dZ2 @ A1.T, np.sum(dZ2, axis=1).reshape(-1, 1)
    return dW1, db1, dW2, db2
"""
EXPRESSION = """
def forward_prop(W1, b1, W2, b2, X):
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 0)
    Z2 = W2 @ A1 + b2
    return Z1, A1, Z2, np.exp(Z2 - Z2.max(0)) / np.exp(Z2 - Z2.max(0)).sum(0)

def backward_prop(Z1, A1, Z2, A2, W1, W2, X, Y):
    m = X.shape[1]
    dZ2 = A2 - np.eye(len(A2))[Y].T
    dZ1 = W2.T @ dZ2 * (Z1 > 0)
    return dZ1 @ X.T / m, dZ1.sum(1, keepdims=True) / m, dZ2 @ A1.T / m, dZ2.sum(1, keepdims=True) / m
"""
FUNCTIONS = {
    "a forward pass that returns an expression": (EXPRESSION, "backward_prop", " * (Z1 > 0)"),
    "the number of examples as an argument": (COUNTED, "backward_prop", " * (Z1 > 0)"),
    "parameters and a cache": (TWO, "backward_propagation", " * (cache['Z1'] > 0)"),
    "loose arguments, gradients the last layer's first": (LOOSE, "backward_prop", " * (Z1 > 0)"),
}


@pytest.mark.usefixtures("quick_targets")
@pytest.mark.parametrize("shape", FUNCTIONS)
def test_a_network_of_two_functions(shape, tmp_path):
    source, name, mask = FUNCTIONS[shape]
    assert mask in source
    for text, codes in ((source, []), (source.replace(mask, ""), ["mask_missing"])):
        passed, content = check(tmp_path, HEAD + text, name)
        assert (passed, content["codes"]) == (not codes, codes)


@pytest.mark.usefixtures("quick_targets")
@pytest.mark.parametrize(
    ("part", "other", "words"),
    [
        (
            "m, dZ2 = X.shape[1]",
            "m, dZ2 = X.shape[0]",
            "columns of X. To mend it: divide dJ/dz3 by N = X.shape[1]",
        ),
        (
            "dZ1.sum(1, keepdims=True)",
            "dZ1.mean(1, keepdims=True)",
            "use .sum(axis=1, keepdims=True) in place of .mean(axis=1",
        ),
        ("A2 - Y", "A2", "probs[y, np.arange(N)] -= 1"),
    ],
)
def test_what_is_said_of_code_whose_columns_are_the_examples(part, other, words, tmp_path, capsys):
    assert part in TWO
    assert not check(tmp_path, HEAD + TWO.replace(part, other), "backward_propagation")[0]
    told = " ".join(capsys.readouterr().out.split())
    assert words in told
    assert "X.shape[0]" not in told


ONE_SIGMOID = {
    "A2 = softmax((W2 @ A1 + b2).T).T": "A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))",
    "A1 = np.maximum(Z1, 0)": "A1 = np.tanh(Z1)",
    "(cache['Z1'] > 0)": "(1 - cache['A1'] ** 2)",
}


@pytest.mark.usefixtures("quick_targets")
@pytest.mark.parametrize(
    ("part", "other", "codes", "loss"),
    [
        ("", "", [], "binary cross-entropy"),
        ("cache['A1'] ** 2", "cache['Z1'] ** 2", ["output_form_at_z"], "binary cross-entropy"),
        ("A2 - Y", "(A2 - Y) * A2 * (1 - A2)", [], "squared error"),
    ],
)
def test_a_sigmoid_output_without_a_cost_beside_it(part, other, codes, loss, tmp_path, capsys):
    source = re.sub(r"def compute_cost.*?\n\n", "", TWO, flags=re.DOTALL)
    for old, new in (*ONE_SIGMOID.items(), (part, other)):
        assert old in source
        source = source.replace(old, new) if old else source
    passed, content = check(tmp_path, HEAD + source, "backward_propagation")
    assert (passed, content["codes"]) == (not codes, codes)
    told = " ".join(capsys.readouterr().out.split())
    assert f"of the {loss}" in told
    assert ("there is no cost beside it" in told) == (loss == "binary cross-entropy")


@pytest.mark.usefixtures("quick_targets")
def test_a_name_that_nothing_defines_is_said_and_the_number_of_examples_is_put_there(tmp_path, capsys):
    assert EXPRESSION.count("m = X.shape[1]") == 1
    assert check(tmp_path, HEAD + EXPRESSION.replace("m = X.shape[1]", "pass"), "backward_prop")[0]
    out = " ".join(capsys.readouterr().out.split())
    assert "Note: m is not defined, and is taken for the number of examples." in out
    with pytest.raises(UserError, match="NameError: name 'thing' is not defined"):
        check(tmp_path, HEAD + EXPRESSION.replace("m = X.shape[1]", "m = thing"), "backward_prop")
