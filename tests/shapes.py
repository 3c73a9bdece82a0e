# ruff: noqa: E501
"""Gradients in the shapes that courses hand out, each right and with four mistakes, and what cannot be checked.

The README's matrix is made from them: which shapes are taken, and what is found in each.
"""

from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.check import check_gradients
from mlp_jax.studies.tables import Table

BODY = """
    n = len(X)
    z = X @ W1 + b1
    h = np.maximum(z, 0)
    s = h @ W2 + b2
    p = np.exp(s - s.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(n), y]).mean() + reg * ((W1**2).sum() + (W2**2).sum())
    p[np.arange(n), y] -= 1
    d = p / n
    dh = (d @ W2.T) * (z > 0)
    W1, b1, W2, b2 = X.T @ dh + 2 * reg * W1, dh.sum(0), h.T @ d + 2 * reg * W2, d.sum(0)
"""
UNPACK = "    W1, b1, W2, b2 = "
BY_NAME = "(params[k] for k in ('W1', 'b1', 'W2', 'b2'))"
GRADS = "dict(W1=W1, b1=b1, W2=W2, b2=b2)"
CUT = "(lambda a, h, c: (p.reshape(s) for p, s in zip(np.split(theta, np.cumsum([a * h, h, h * c])), ((a, h), (h,), (h, c), (c,)))))(*layer_sizes)"
AS_VECTOR = "np.concatenate([W1.ravel(), b1, W2.ravel(), b2])"
VECTOR = "one vector `f(theta, layer_sizes, X, y, reg)`"
FUNCTIONS = {
    "`f(params, X, y, reg)` -> `grads`": ("params, X, y, reg", BY_NAME, GRADS),
    "`f(params, X, y, reg)` -> `(loss, grads)`": ("params, X, y, reg", BY_NAME, f"loss, {GRADS}"),
    "`(loss, grads, more)`": ("params, X, y, reg", BY_NAME, f"loss, {GRADS}, p"),
    "data first": ("X, y, params, reg", BY_NAME, f"loss, {GRADS}"),
    "no lambda": ("params, X, y", f"{BY_NAME}; reg = 0", f"loss, {GRADS}"),
    "loose arguments `f(X, y, W1, b1, W2, b2, reg)`": ("X, y, W1, b1, W2, b2, reg", "W1, b1, W2, b2", "loss, dict(dW1=W1, db1=b1, dW2=W2, db2=b2)"),
    "`w_1`, `lambd`": ("params, X, y, lambd", "(params[k] for k in ('w_1', 'b_1', 'w_2', 'b_2')); reg = lambd", "{'w_1': W1, 'b_1': b1, 'w_2': W2, 'b_2': b2}"),
    "names from `W0`": ("params, X, y, reg", "(params[k] for k in ('W0', 'b0', 'W1', 'b1'))", "loss, {'W0': W1, 'b0': b1, 'W1': W2, 'b1': b2}"),
    "weights (out, in)": ("params, X, y, reg", f"{BY_NAME}; W1, W2 = W1.T, W2.T", "loss, dict(W1=W1.T, b1=b1, W2=W2.T, b2=b2)"),
    "columns are examples, biases (H, 1)": ("X, Y, parameters, lambd", "(parameters[k].T for k in ('W1', 'b1', 'W2', 'b2')); X, y, reg = X.T, Y.argmax(0), lambd", "loss, dict(dW1=W1.T, db1=b1.reshape(-1, 1), dW2=W2.T, db2=b2.reshape(-1, 1))"),
    "lists of weights and biases": ("params, X, y, reg", "[a for p in zip(params['weights'], params['biases']) for a in p]", "loss, {'weights': [W1, W2], 'biases': [b1, b2]}"),
    "one-hot labels": ("params, X, y, reg", f"{BY_NAME}; y = y.argmax(1)", f"loss, {GRADS}"),
    VECTOR: ("theta, layer_sizes, X, y, reg", CUT, f"loss, {AS_VECTOR}"),
    "one vector, no loss returned": ("theta, layer_sizes, X, y, reg", CUT, AS_VECTOR),
    "dicts of dicts, as flax has them": ("params, X, y, reg", "(params[k][n] for k in ('Dense_0', 'Dense_1') for n in ('kernel', 'bias'))", "loss, {'Dense_0': {'kernel': W1, 'bias': b1}, 'Dense_1': {'kernel': W2, 'bias': b2}}"),
    "dicts of weights and of biases": ("X, y, weights, biases, reg", "weights['h1'], biases['b1'], weights['out'], biases['out']", "loss, {'h1': W1, 'out': W2}, {'b1': b1, 'out': b2}"),
    "tuples in a dict": ("params, X, y, reg", "(*params['layer1'], *params['layer2'])", "loss, {'layer1': (W1, b1), 'layer2': (W2, b2)}"),
}  # fmt: skip
CLASS = """
class Net:
    def __init__(self, {arguments}):
        sizes = {sizes}
        self.params = {{f"W{{k}}": 1e-3 * np.random.randn(sizes[k - 1], sizes[k]) for k in range(1, len(sizes))}}
        self.params |= {{f"b{{k}}": np.zeros(sizes[k]) for k in range(1, len(sizes))}}
    def loss(self, X, y, reg=0.0):
        P, n, L, a = self.params, len(X), len(self.params) // 2, [X]
        for k in range(1, L + 1):
            s = a[-1] @ P[f"W{{k}}"] + P[f"b{{k}}"]
            a.append(np.maximum(s, 0))
        p = np.exp(s - s.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(n), y]).mean() + reg * sum((P[f"W{{k}}"]**2).sum() for k in range(1, L + 1))
        p[np.arange(n), y] -= 1
        d = p / n
        grads = {{}}
        for k in range(L, 0, -1):
            X, W1 = a[k - 1], P[f"W{{k}}"]
            grads[f"W{{k}}"], grads[f"b{{k}}"] = X.T @ d + 2 * reg * W1, d.sum(0)
            if k > 1:
                X, z, back, W1 = a[k - 2], X, d @ W1.T, P[f"W{{k - 1}}"]
                d = back * (z > 0)
        return loss, grads
"""
CLASSES = {
    "class `TwoLayerNet(input_size, hidden_size, output_size)`": ("input_size, hidden_size, output_size, std=1e-4", "(input_size, hidden_size, output_size)"),
    "class with `hidden_dims`": ("hidden_dims, input_dim=3072, num_classes=10", "(input_dim, *hidden_dims, num_classes)"),
    "class with `layer_dims`": ("layer_dims", "layer_dims"),
    "class that wants the data": ("X, y, n_hidden", "(X.shape[1], n_hidden, y.max() + 1)"),
    "class with a configuration": ("config", "(config.input_size, config.hidden_size, config.num_classes)"),
    "class with two hidden layers of one size": ("input_size, hidden_size, output_size", "(input_size, hidden_size, hidden_size, output_size)"),
}  # fmt: skip
METHOD = """
class Net:
    def __init__(self, input_size, hidden_size, output_size, reg):
        self.sizes, self.reg = (input_size, hidden_size, output_size), reg
    def cost(self, theta, X, y):
        return grads(theta, self.sizes, X, y, self.reg)
"""
LINEAR = """
    n = len(y)
    s = X @ W1
    p = np.exp(s - s.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(n), y]).mean() + reg * (W1**2).sum()
    p[np.arange(n), y] -= 1
    d = p / n
    dW = X.T @ d + 2 * reg * W1
"""
LINEARS = {
    "linear classifier `f(W, X, y, reg)`": f"def loss(W, X, y, reg):\n    W1 = W{LINEAR}    return loss, dW\n",
    "linear classifier, columns are examples": f"def loss(W, X, y, reg):\n    W1, X = W.T, X.T{LINEAR}    return loss, dW.T\n",
    "linear classifier whose `self.W` training makes": f"class Softmax:\n  def __init__(self):\n    self.W = None\n  def loss(self, X, y, reg):\n    W1 = self.W{LINEAR}    return loss, dW\n",
}  # fmt: skip
MISTAKES = {
    "mask without the bias": ("(z > 0)", "(X @ W1 > 0)"),
    "bias averaged": ("d.sum(0)\n", "d.mean(0)\n"),
    "2 lambda forgotten": (" + 2 * reg * W1", ""),
    "gradient of a sum": ("d = p / n", "d = p"),
}
ONE = """
import numpy as np
def gradient(params, x, y):
    W1, b1, W2, b2 = (params[k] for k in ("W1", "b1", "W2", "b2"))
    h = np.maximum(x @ W1 + b1, 0)
    p = np.exp(h @ W2 + b2)
    p /= p.sum()
    p[y] -= 1
    d = W2 @ p * (h > 0)
    return {"W1": np.outer(x, d), "b1": d, "W2": np.outer(h, p), "b2": p}
"""
REFUSED = {
    "a backward pass alone": "def backward(AL, Y, caches):\n    return {}\n",
    "an optimiser's step": "def sgd(w, dw, config=None):\n    return w - 0.1 * dw, config\n",
    "one example at a time": ONE,
    "a derivative alone": "def sigmoid_prime(z):\n    return z * (1 - z)\n",
    "no gradient at all": "def loss(params, X, y, reg):\n    return 1.0\n",
}


def sources() -> dict[str, str]:
    """Of every shape the code of a right gradient, whose last definition is what is checked."""
    made = {name: _function(*how) for name, how in FUNCTIONS.items()}
    made |= {name: f"import numpy as np\n{source}" for name, source in LINEARS.items()}
    made["class whose `cost(theta, X, y)` takes one vector"] = made[VECTOR] + METHOD
    return made | {
        name: "import numpy as np" + CLASS.format(arguments=arguments, sizes=sizes)
        for name, (arguments, sizes) in CLASSES.items()
    }


def _function(arguments: str, unpack: str, result: str) -> str:
    return f"import numpy as np\ndef grads({arguments}):\n{UNPACK}{unpack}{BODY}    return {result}\n"


def defined(source: str) -> Any:
    """What the code defines last."""
    space: dict[str, Any] = {}
    exec(source, space)
    return list(space.values())[-1]


def found(source: str) -> str:
    """The codes that the checker finds, or "right", or "refused"."""
    try:
        report = check_gradients(defined(source))
    except UserError:
        return "refused"
    return ", ".join(f"`{code}`" for code in report.codes if code) or ("right" if report.passed else "wrong")


def mistaken(name: str) -> dict[str, str]:
    """Of a shape the code with each mistake that can be made in it: without a lambda none is forgotten."""
    source = sources()[name]
    return {
        mistake: source.replace(*change)
        for mistake, change in MISTAKES.items()
        if change[0] in source and not (name == "no lambda" and "lambda" in mistake)
    }


def matrix() -> Table:
    """Shapes down; across what is found in the right gradient, and in the same with each of the mistakes."""
    rows = []
    for name, source in sources().items():
        wrong = mistaken(name)
        rows.append([name, found(source), *(found(wrong[m]) if m in wrong else "-" for m in MISTAKES)])
    return Table(["shape", "right", *MISTAKES], rows)


def refusals() -> Table:
    """What is refused, with the sentence."""
    return Table(["what", "what is said"], [[name, refused(source)] for name, source in REFUSED.items()])


def refused(source: str) -> str:
    """The sentence with which a candidate is refused. Raises AssertionError if it is not."""
    try:
        report = check_gradients(defined(source))
    except UserError as error:
        return str(error)
    raise AssertionError(f"not refused: {report}")
