"""Single layers: right ones in many styles, mistakes by name, and the command in a real second process."""

import importlib.util
import re
import types

import pytest

from experiments import gradient_check
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import assert_gradients, layers
from mlp_jax.nn.config import MLPConfig
from tests.layer_sources import (
    ATTENTION,
    CHANNELS_LAST,
    COLUMN_LAYERS,
    CS231N,
    DERIVATIVES,
    GIVEN,
    GROUPED,
    KEPT,
    LEARNT,
    MODERN,
    NAMED,
    NNFS,
    NOTED,
    OF_PICTURES,
    OTHER_NAMES,
    POOLS,
    RETURNING,
    SANDWICHES,
    SHAPED,
    SIZED,
    STYLES,
)


def module(source):
    found = types.ModuleType("student")
    exec(compile(source, "student.py", "exec"), vars(found))
    return found


def mistake(source, name, old, new):
    assert source.count(old) >= 1, old
    start = source.index(f"def {name}(" if f"def {name}(" in source else f"class {name}")
    assert old in source[start:], old
    return layers.check_layer(name, module(source[:start] + source[start:].replace(old, new, 1)))


SOURCES = {
    "styles": STYLES, "nnfs": NNFS, "returning": RETURNING, "named": NAMED, "modern": MODERN,
    "pictures": OF_PICTURES, "attention": ATTENTION,
    "learnt": LEARNT, "shaped": SHAPED, "pools": POOLS, "sized": SIZED, "kept": KEPT,
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_right_layers(source):
    report = layers.check_module(module(source))
    assert {layer.name: layer.codes for layer in report.layers if layer.codes} == {}, str(report)
    assert report.refused == ()
    assert report.passed
    assert len(report.layers) == len(
        re.findall(r"def (?:\w+_(?:loss|backward\w*|bwd|prime)\(|backward\()", source)
    )


def test_right_layers_of_several_operations():
    report = layers.check_module(module(SANDWICHES))
    assert (report.codes, report.refused) == ([], ()), str(report)
    assert set(report.remarks) == {"pool_ties"}
    assert len(report.layers) == len(re.findall(r"def \w+_(?:loss|backward\w*)\(", SANDWICHES))


@pytest.mark.parametrize(
    ("new", "remark"),
    [
        ("return dout * (x >= 0)", "mask_at_zero"),
        ("dout[x <= 0] = 0\n    return dout", "mutates_input"),
    ],
    ids=["other derivative at 0", "in place"],
)
@pytest.mark.parametrize("name", ["affine_relu", "relu_affine", "affine_bn_relu_dropout", "conv_relu_pool"])
def test_what_is_a_remark_of_relu_is_no_mistake_of_several_operations(name, new, remark):
    source = SANDWICHES.replace("return dout * (x > 0)", new)
    assert source != SANDWICHES
    report = layers.check_layer(f"{name}_backward", module(source))
    assert report.codes == [], str(report)
    assert {*report.remarks} <= {remark, "pool_ties"}


def test_right_layers_of_other_names_and_shapes():
    report = layers.check_module(module(OTHER_NAMES))
    assert (report.codes, report.remarks, report.refused) == ([], [], ()), str(report)
    assert len(report.layers) == 7


def test_a_layer_that_makes_its_weights_and_gives_one_gradient_at_a_time_is_refused():
    source = """
import numpy as np
class Dense:
    def __init__(self, units):
        self.w, self.units = None, units
    def forward(self, x):
        if self.w is None:
            self.w = np.random.randn(x.shape[1], self.units)
        self.x = x
        return x @ self.w
    def backward(self, delta, wrt="w"):
        return self.x.T @ delta if wrt == "w" else delta @ self.w.T
"""
    with pytest.raises(UserError, match="no gradient of w that is called so"):
        layers.check_layer("Dense", module(source))


def test_of_classes_with_others_below_them_only_what_computes_nothing_is_left_out():
    source = """
import numpy as np
class Layer:
    def forward(self, x):
        raise NotImplementedError
    def backward(self, dout):
        raise NotImplementedError
class Twice(Layer):
    def forward(self, x):
        return 2 * x
    def backward(self, dout):
        return 2 * dout
class Stops(Layer):
    def forward(self, x):
        return x.no_such_name
    def backward(self, dout):
        return dout
class Below(Stops):
    pass
"""
    report = layers.check_module(module(source))
    assert [layer.name for layer in report.layers] == ["Twice"]
    assert [name for name, _ in report.refused] == ["Stops", "Below"]


def test_an_activation_that_is_given_weights_stands_behind_their_product():
    source = """
import numpy as np
def relu_forward(X, W, b):
    z = X @ W + b
    return np.maximum(z, 0), (X, W, b, z)
def relu_backward(dout, cache):
    X, W, b, z = cache
    dz = dout * (z > 0)
    return dz @ W.T, X.T @ dz, dz.sum(0)
"""
    assert layers.check_module(module(source)).passed
    assert mistake(source, "relu_backward", " * (z > 0)", "").codes == ["mask_missing"]


def test_right_layers_whose_backward_pass_is_given_what_the_forward_pass_gave():
    report = layers.check_module(module(GIVEN))
    assert (report.codes, {*report.remarks}) == ([], {"derivative_by_scores", "forward_mismatch"}), str(report)
    assert "MSE: it is held against the loss with reduction='none'" in str(report)
    assert [name for name, _ in report.refused] == ["Softmax"]
    names = """AffineLayer TanhLayer L1 LazyAffine Momentum L2Penalty MeanSquared Sigmoid CrossEntropy Squared
    mse_grad backward_propagation cubic_backward ridge_grad Tanh SoftmaxOfEach MSE huber_loss focal_loss"""
    assert [layer.name for layer in report.layers] == names.split()
    leaves = {row.leaf for row in report.leaves if row.leaf.startswith("AffineLayer")}
    assert leaves == {f"AffineLayer.{leaf}" for leaf in ("inputs", "weights", "biases")}


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("FCLayer", "learning_rate * output_error", "learning_rate * 2 * output_error", "constant_factor"),
        ("FCLayer", "np.dot(self.input.T, output_error)", "-np.dot(self.input.T, output_error)", "sign"),
        ("layernorm_backward", "dout.sum((0, 1))", "2 * dout.sum((0, 1))", "constant_factor"),
        ("lrelu_backward", "x > 0", "dout > 0", "mask_wrong_tensor"),
        ("Log", "dy / self.x", "-dy / self.x", "sign"),
        ("Upsample2x", ".sum(axis=(3, 5))", ".mean(axis=(3, 5))", "constant_factor"),
        ("MulConstant", "grad_output * ctx.constant", "-grad_output * ctx.constant", "sign"),
    ],
)
def test_mistakes_in_layers_of_other_names_and_shapes(name, old, new, code):
    assert mistake(OTHER_NAMES, name, old, new).codes == [code]


def test_right_layers_whose_columns_are_the_examples():
    report = layers.check_module(module(COLUMN_LAYERS))
    assert (report.codes, report.remarks, report.refused) == ([], [], ()), str(report)
    assert len(report.layers) == 5
    assert all("where rows are meant, it is wrong" in " ".join(layer.notes) for layer in report.layers)


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("batchnorm_backward", "dn.mean(axis=1, keepdims=True)", "0", "bn_mean_term_dropped"),
        ("softmax_loss", "(A - Y) / m", "A - Y", "batch_mean_missing"),
        ("softmax_loss_of_classes", "P / N", "P / len(scores)", "mean_over_other"),
        ("SoftmaxCrossEntropy", "(self.P - self.Y)", "(self.Y - self.P)", "sign"),
        ("Softmax", "self.A * (dA - (self.A * dA).sum(axis=0))", "self.A * (1 - self.A) * dA",
         "softmax_jacobian_diagonal"),
    ],
)  # fmt: skip
def test_mistakes_in_layers_whose_columns_are_the_examples(name, old, new, code):
    assert mistake(COLUMN_LAYERS, name, old, new).codes == [code]


def test_another_eps_beside_a_mistake_is_a_remark():
    source = COLUMN_LAYERS.replace("eps=1e-5", "eps=1e-8")
    report = mistake(source, "batchnorm_backward", "dn.mean(axis=1, keepdims=True)", "0")
    assert (report.codes, report.remarks) == (["bn_mean_term_dropped"], ["bn_eps"]), str(report)


ENTROPY = """
import numpy as np

def softmax_cross_entropy_forward(logits, labels):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(labels)), labels]).mean(), (p, labels)

def softmax_cross_entropy_backward(cache):
    p, labels = cache
    d = p.copy()
    d[np.arange(len(labels)), labels] -= 1
    return d / len(labels)
"""


@pytest.mark.parametrize("arguments", ["cache", "labels, cache"])
def test_the_backward_pass_of_a_loss_needs_no_upstream_gradient(arguments):
    source = ENTROPY.replace("backward(cache)", f"backward({arguments})")
    name = "softmax_cross_entropy_backward"
    assert layers.check_layer(name, module(source)).passed
    assert mistake(source, name, "d / len(labels)", "d").codes == ["batch_mean_missing"]


def test_functions_of_every_element_beside_their_derivatives():
    report = layers.check_module(module(DERIVATIVES))
    assert (report.codes, report.remarks, report.refused) == ([], [], ()), str(report)
    assert len(report.layers) == 6


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("sigmoid_derivative", "sigmoid(x) * (1 - sigmoid(x))", "sigmoid(x)", "activation_for_derivative"),
        ("drelu", "x > 0", "x < 0", "mask_wrong_tensor"),
        ("d_tanh", "1 - math.tanh(x) ** 2", "math.tanh(x) ** 2 - 1", "sign"),
        ("softplus_prime", "np.exp(-x)", "2 * np.exp(-x)", "other_activation"),
    ],
)
def test_wrong_derivatives_beside_their_functions(name, old, new, code):
    assert mistake(DERIVATIVES, name, old, new).codes == [code]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("sigmoid_derivative", "sigmoid(x) * (1 - sigmoid(x))", "x * (1 - x)"),
        ("d_tanh", "math.tanh(x) ** 2", "x**2"),
    ],
)
def test_a_derivative_that_is_one_of_the_output_is_right_there_and_told(name, old, new):
    report = mistake(DERIVATIVES, name, old, new)
    assert (report.codes, report.remarks) == ([], ["output_form_at_z"]), str(report)


def test_what_stands_beside_derivatives_is_told_not_to_be_checked():
    more = """
def softmax(x):
    return np.exp(x) / np.exp(x).sum()

def softmax_prime(x):
    return softmax(x) * (1 - softmax(x))

def clip(x):
    return np.clip(x, -1, 1)

def clip_grad(grad):
    return np.clip(grad, -1, 1)

class Network:
    def loss(self, X, y):
        return 0.0, {}
"""
    report = layers.check_module(module(DERIVATIVES + more))
    assert report.passed
    assert [name for name, _ in report.refused] == ["softmax_prime", "Network"]


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("Linear", "dLdZ.sum(axis=1", "dLdZ.mean(axis=1", "bias_mean"),
        ("Linear", "self.A @ dLdZ.T", "-self.A @ dLdZ.T", "sign"),
        ("MultiHeadAttention", "return dq @", "return -dq @", "unknown"),
    ],
)
def test_mistakes_in_layers_whose_sizes_are_called_as_in_courses_and_papers(name, old, new, code):
    assert mistake(SIZED, name, old, new).codes == [code]


OF_PROBABILITIES = """
import numpy as np

class CrossEntropyLoss:
    def forward(self, probs, targets):
        self.probs, self.targets = probs, targets
        return -np.mean(np.log(probs[np.arange(len(targets)), targets] + 1e-9))

    def backward(self):
        g = self.probs.copy()
        g[np.arange(len(self.targets)), self.targets] -= 1
        return g / len(self.targets)

class BinaryCrossEntropy:
    def forward(self, p, y):
        self.p, self.y = p, y
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def backward(self):
        return (self.p - self.y) / self.p.size

class Softmax:
    def forward(self, z):
        self.p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        return self.p

    def backward(self, dp):
        return self.p * (dp - (self.p * dp).sum(axis=1, keepdims=True))
"""


def test_a_loss_of_probabilities_that_gives_the_derivative_by_the_scores_is_told_so():
    for name, old in {"CrossEntropyLoss": "g / len(self.targets)", "BinaryCrossEntropy": " / self.p.size"}.items():
        report = layers.check_layer(name, module(OF_PROBABILITIES))
        assert (report.codes, report.remarks) == ([], ["derivative_by_scores"]), str(report)
        report = mistake(OF_PROBABILITIES, name, old, "g" * old.startswith("g"))
        assert (report.codes, report.remarks) == (["batch_mean_missing"], ["derivative_by_scores"]), str(report)
    alone = "import numpy as np\n\nclass Softmax" + OF_PROBABILITIES.partition("class Softmax")[2]
    handed_on = mistake(alone, "Softmax", "self.p * (dp - (self.p * dp).sum(axis=1, keepdims=True))", "dp")
    assert handed_on.codes == ["softmax_derivative_missing"]
    assert "right only below a loss that gives psi - Delta" in " ".join(str(handed_on).split())


EPS_OUTSIDE = """
import numpy as np

def batchnorm_forward(x, gamma, beta):
    root = np.sqrt(x.var(0))
    n = (x - x.mean(0)) / (root + 1e-3)
    return gamma * n + beta, (n, gamma, root)

def batchnorm_backward(dout, cache):
    n, gamma, root = cache
    d, std = dout * gamma, root + 1e-3
    return (d - d.mean(0) - n * (d * n).mean(0) * std / root) / std, (dout * n).sum(0), dout.sum(0)
"""


def test_a_normalisation_whose_eps_is_added_to_the_root_is_told_as_that():
    report = layers.check_layer("batchnorm_backward", module(EPS_OUTSIDE))
    assert (report.codes, report.remarks) == ([], ["bn_eps"]), str(report)
    assert "eps = 0.001 is added to the root" in " ".join(str(report).split())


def test_right_layers_that_leave_gradients_at_the_arrays():
    report = layers.check_module(module(NOTED))
    assert (report.codes, report.remarks, report.refused) == ([], [], ()), str(report)
    assert [layer.name for layer in report.layers] == re.findall(
        r"(?:class (?!Module)|def (?=\w+_grad))(\w+)", NOTED
    )


OF_TORCH = """
import torch

class LinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias=None):
        ctx.save_for_backward(x, weight)
        return x.mm(weight.t()) + bias
    @staticmethod
    def backward(ctx, dout):
        x, weight = ctx.saved_tensors
        return dout.mm(weight), dout.t().mm(x), dout.sum(0)

class Linear:
    @staticmethod
    def forward(x, w, b):
        return x.mm(w) + b, (x, w)
    @staticmethod
    def backward(dout, cache):
        x, w = cache
        return dout.mm(w.t()), x.t().mm(dout), dout.sum(dim=0)

class Dense:
    def __init__(self, n_in, n_out):
        self.weights, self.biases = torch.randn(n_in, n_out), torch.zeros(1, n_out)
    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases
    def backward(self, dvalues):
        self.dweights, self.dbiases = self.inputs.T @ dvalues, dvalues.sum(dim=0, keepdim=True)
        self.dinputs = dvalues @ self.weights.T

class Leaving:
    def __init__(self, in_features, out_features):
        self.weight, self.bias = torch.randn(out_features, in_features), torch.zeros(out_features)
    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias
    def backward(self, grad):
        self.weight.grad, self.bias.grad = grad.T @ self.x, grad.sum(0)
        return grad @ self.weight

class Stepping:
    def __init__(self, n_in, n_out, learning_rate):
        self.w, self.b, self.learning_rate = torch.randn(n_in, n_out), torch.zeros(n_out), learning_rate
    def forward(self, x):
        self.x = x
        return x @ self.w + self.b
    def backward(self, dout):
        dx = dout @ self.w.T
        self.w -= self.learning_rate * self.x.T @ dout
        self.b -= self.learning_rate * dout.sum(0)
        return dx

class ReLU:
    def forward(self, x):
        self.mask = x > 0
        return x.clamp(min=0)
    def backward(self, dout):
        return dout * self.mask

class CrossEntropyLoss:
    def forward(self, logits, targets):
        self.p, self.targets = torch.softmax(logits, dim=1), targets
        return -self.p[torch.arange(len(targets)), targets].log().mean()
    def backward(self):
        d = self.p.clone()
        d[torch.arange(len(d)), self.targets] -= 1
        return d / len(d)

class Product:
    def forward(self, x, y):
        self.x, self.y = x, y
        return torch.mul(x, y)
    def backward(self, dout):
        return dout * self.y, dout * self.x

class Attention:
    def forward(self, q, k, v):
        self.q, self.k, self.v, self.p = q, k, v, torch.softmax(q @ k.T, dim=-1)
        return self.p @ v
    def backward(self, dout):
        dp = dout @ self.v.T
        ds = self.p * (dp - (dp * self.p).sum(-1, keepdim=True))
        return ds @ self.k, ds.T @ self.q, self.p.T @ dout
"""
OF_TORCH_WRONG = [
    ("LinearFunction", "dout.sum(0)", "dout.mean(0)", "bias_mean"),
    ("Linear", "dout.sum(dim=0)", "dout.mean(dim=0)", "bias_mean"),
    ("Dense", "dvalues @ self.weights.T", "-dvalues @ self.weights.T", "sign"),
    ("Leaving", "grad.sum(0)", "grad.mean(0)", "bias_mean"),
    ("Stepping", "dout.sum(0)", "dout.mean(0)", "bias_mean"),
    ("ReLU", "dout * self.mask", "1.0 * self.mask", "upstream_lost"),
    ("CrossEntropyLoss", "return d / len(d)", "return d", "batch_mean_missing"),
    ("Product", "dout * self.y, dout * self.x", "dout * self.y, -dout * self.x", "sign"),
    ("Attention", "self.p.T @ dout", "2 * self.p.T @ dout", "constant_factor"),
]


def test_layers_of_torch():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("NOT TESTED: torch is not installed")
    report = layers.check_module(module(OF_TORCH))
    assert (report.codes, report.refused, len(report.layers)) == ([], (), 9), str(report)
    for name, old, new, code in OF_TORCH_WRONG:
        assert mistake(OF_TORCH, name, old, new).codes == [code]


def test_layers_of_numpy_in_a_file_that_imports_torch_too():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("NOT TESTED: torch is not installed")
    report = layers.check_module(module(CS231N + "\nimport torch\n"))
    assert (report.codes, report.refused) == ([], ()), str(report)


def test_right_layers_of_pictures_whose_channels_are_last():
    report = layers.check_module(module(CHANNELS_LAST))
    assert (report.codes, report.remarks, report.refused) == ([], ["pool_ties"], ()), str(report)
    assert len(report.layers) == 4


GROUPS = "import numpy as np\n" + GROUPED
NORM = "(d - d.mean(axis=0) - n * (d * n).mean(axis=0)) / std"
STEPS = """0
    c = x - x.mean(axis=0)
    e = d / std - c / len(d) / std**3 * np.sum(d * c, axis=0)
    dx = e - np.sum(e, axis=0) / len(d)"""
LAYER_NORM = "d - d.mean(axis=1, keepdims=True) - n * (d * n).mean(axis=1, keepdims=True)"
HINGE = "dx = (margins > 0) * 1.0\n    dx[np.arange(N), y] -= (margins > 0).sum(axis=1)"
MAX_POOL = """            window = x[:, :, i * s : i * s + h, j * s : j * s + w]
            largest = window == out[:, :, i, j][:, :, None, None]
            dx[:, :, i * s : i * s + h, j * s : j * s + w]"""
MISTAKES = [
    ("affine_backward", "dout.sum(axis=0)", "dout.mean(axis=0)", "bias_mean"),
    ("affine_backward", "dout.sum(axis=0)", "dout.sum()  * np.ones(len(b))", "bias_over_classes"),
    ("affine_backward", "dout.sum(axis=0)", "dw.sum(axis=0)", "bias_from_weights"),
    ("affine_backward", "dout.sum(axis=0)", "dout.sum(axis=0, keepdims=True)", "bias_shape"),
    ("affine_backward", "dout.sum(axis=0)", "np.ones_like(b)", "upstream_lost"),
    ("affine_backward", "rows.T @ dout", "rows.T @ dout / len(x)", "batch_mean_twice"),
    ("affine_backward", "rows.T @ dout", "2.5 * rows.T @ dout", "constant_factor"),
    ("affine_backward", "rows.T @ dout", "-rows.T @ dout", "sign"),
    ("affine_backward", "rows.T @ dout", "rows.T @ dout / w.shape[1]", "mean_over_other"),
    ("affine_backward", "rows.T @ dout", "dout.T @ rows", "transpose"),
    ("affine_backward", "rows.T @ dout", "rows.T @ np.ones_like(dout)", "upstream_lost"),
    ("affine_backward", "rows.T @ dout", "np.full(w.shape, np.nan)", "non_finite"),
    ("affine_backward", "rows.T @ dout", "(rows.T @ dout).ravel()", "wrong_shape"),
    ("affine_backward", "dout @ w.T", "dout @ w", "transpose"),
    ("affine_backward", "dout @ w.T", "dout @ (w - 1.0 * rows.T @ dout).T", "updated_weights"),
    ("affine_backward", "dout @ w.T", "dout @ (w + b).T", "bias_in_product"),
    ("affine_backward", "db =", "x *= 2; db =", "mutates_input"),
    ("relu_backward", "dout * (x > 0)", "dout", "mask_missing"),
    ("relu_backward", "dout * (x > 0)", "1.0 * (x > 0)", "upstream_lost"),
    ("relu_backward", "dout * (x > 0)", "dout * (dout > 0)", "mask_wrong_tensor"),
    ("relu_backward", "dout * (x > 0)", "dout * np.where(x > 0, 1, 0.01)", "leaky_slope"),
    ("relu_backward", "dout * (x > 0)", "dout * x * (x > 0)", "activation_for_derivative"),
    ("leaky_relu_backward", "(x > 0, 1, slope)", "(x > 0, 1, 0.2)", "leaky_slope"),
    ("sigmoid_backward", "a * (1 - a)", "x * (1 - x)", "output_form_at_z"),
    ("sigmoid_backward", "a * (1 - a)", "a", "activation_for_derivative"),
    ("sigmoid_backward", "a * (1 - a)", "(x > 0)", "other_activation"),
    ("tanh_backward", "1 - a**2", "1 - x**2", "output_form_at_z"),
    ("softmax_backward", "a * (dout - (dout * a).sum(axis=1, keepdims=True))", "dout * a * (1 - a)",
     "softmax_jacobian_diagonal"),
    ("batchnorm_backward", "d = dout * gamma", "d = dout", "bn_scale_dropped"),
    ("batchnorm_backward", NORM, "(d - n * (d * n).mean(axis=0)) / std", "bn_mean_term_dropped"),
    ("batchnorm_backward", NORM, "(d - d.mean(axis=0)) / std", "bn_variance_term_dropped"),
    ("batchnorm_backward", "mean(axis=0)) / std", "mean(axis=0))", "bn_std_dropped"),
    ("batchnorm_backward", NORM, NORM.replace("mean", "sum"), "bn_sum_for_mean"),
    ("batchnorm_backward", "/ std", "/ np.sqrt(x.var(axis=0, ddof=1) + 1e-5)", "bn_ddof"),
    ("batchnorm_backward", "d = dout * gamma", "std = np.sqrt(x.var(axis=0, ddof=1) + 1e-5)\n    n = (x - "
     "x.mean(axis=0)) / std\n    d = dout * gamma", "bn_ddof"),
    ("batchnorm_backward", "(d - d.mean(axis=0)", "(d - 2 * d.mean(axis=0)", "bn_extra_term"),
    ("batchnorm_backward", "(dout * n).sum(axis=0)", "(dout * x).sum(axis=0)", "pre_activation_used"),
    ("batchnorm_backward", "dout.sum(axis=0)", "dout.mean(axis=0)", "bias_mean"),
    ("batchnorm_backward", NORM, STEPS, ""),
    ("batchnorm_backward", NORM, STEPS.replace("sum(d * c, axis=0)", "sum(d * c, axis=1, keepdims=True)"),
     "bn_axis"),
    ("batchnorm_backward", NORM, STEPS.replace("sum(e, axis=0)", "sum(e, axis=1, keepdims=True)"), "bn_axis"),
    ("batchnorm_backward", NORM, STEPS.replace("len(d)", "d.shape[1]"), "bn_sum_for_mean"),
    ("batchnorm_backward", NORM, STEPS.replace("c / len(d)", "c / d.shape[1]"), "bn_sum_for_mean"),
    ("layernorm_backward", LAYER_NORM, LAYER_NORM.replace("mean", "sum").replace("True)", "True) / len(d)"),
     "bn_sum_for_mean"),
    ("layernorm_backward", "axis=1", "axis=0", "bn_axis"),
    ("layernorm_backward", LAYER_NORM, LAYER_NORM.replace("axis=1", "axis=0"), "bn_axis"),
    ("layernorm_backward", "(d * n).mean(axis=1", "(d * n).mean(axis=0", "bn_axis"),
    ("layernorm_backward", "(dout * n).sum(axis=0)", "(dout * n).sum(axis=1)", "bias_over_classes"),
    ("dropout_backward", "dout * mask if", "dout if", "dropout_mask_missing"),
    ("dropout_backward", "dout * mask if", "dout * (mask > 0) if", "dropout_scale_missing"),
    ("dropout_backward", "dout * mask if", "dout * (np.random.rand(*dout.shape) < 0.6) / 0.6 if", "fresh_mask"),
    ("softmax_loss", "dx = dx / N", "pass", "batch_mean_missing"),
    ("softmax_loss", "dx[np.arange(N), y] -= 1", "pass", "one_hot_missing"),
    ("softmax_loss", "dx[np.arange(N), y] -= 1", "dx = -np.eye(x.shape[1])[y] / p", "softmax_derivative_missing"),
    ("softmax_loss", "dx = dx / N", "dx = dx * p * (1 - p) / N", "softmax_derivative_twice"),
    ("svm_loss", "dx / N", "dx", "batch_mean_missing"),
    ("svm_loss", "dx / N", "-dx / N", "sign"),
    ("svm_loss", "dx = (margins > 0)", "dx = (x > x[np.arange(N), y][:, None])", "svm_margin"),
    ("svm_loss", HINGE, HINGE.replace("(margins > 0)", "(x > x[np.arange(N), y][:, None])"), "svm_margin"),
    ("svm_loss", "-= (margins > 0).sum(axis=1)", "-= 1", "svm_true_class"),
    ("svm_loss", "-= (margins > 0).sum(axis=1)", "-= 0", "svm_true_class"),
    ("svm_loss", "-= (margins > 0).sum(axis=1)", "+= (margins > 0).sum(axis=1)", "svm_true_class"),
    ("svm_loss", HINGE, HINGE.replace("(margins > 0)", "np.maximum(margins, 0)"), "svm_mask"),
    ("svm_loss", HINGE, HINGE.replace("(margins > 0)", "np.where(margins != 0, 1, 0)"), ""),
    ("svm_loss", HINGE, HINGE.replace("(margins > 0)", "(1 - np.eye(x.shape[1])[y])"), "svm_mask"),
    ("conv_backward_naive", "dout.sum(axis=(0, 2, 3))", "dout.mean(axis=(0, 2, 3))", "bias_mean"),
    ("conv_backward_naive", "dout.sum(axis=(0, 2, 3))", "dout.sum(axis=(0, 2, 3)) / len(dout)", "bias_mean"),
    ("conv_backward_naive", "dout.sum(axis=(0, 2, 3))", "np.ones_like(dout).sum(axis=(0, 2, 3))", "upstream_lost"),
    ("conv_backward_naive", "dw += ", "dw = ", "window_overwritten"),
    ("conv_backward_naive", "columns] += ", "columns] = ", "window_overwritten"),
    ("conv_backward_naive", "slice(i * s, i * s + HH), slice(j * s, j * s + WW)",
     "slice(i, i + HH), slice(j, j + WW)", "window_stride"),
    ("conv_backward_naive", "dpadded[:, :, p:-p, p:-p]", "dpadded[:, :, : x.shape[2], : x.shape[3]]",
     "window_pad"),
    ("conv_backward_naive", "((0, 0), (0, 0), (p, p), (p, p))", "((0, 0), (0, 0), (0, 2 * p), (0, 2 * p))",
     "window_pad"),
    ("conv_backward_naive", "w, axes=(1, 0)", "w[:, :, ::-1, ::-1], axes=(1, 0)", "kernel_flipped"),
    ("conv_backward_naive", "dpadded[:, :, p:-p, p:-p]", "dpadded", "wrong_shape"),
    ("max_pool_backward_naive", "largest * dout", "np.ones_like(largest) * dout", "pool_everywhere"),
    ("max_pool_backward_naive", "+= largest * dout", "= largest * dout", "window_overwritten"),
    ("max_pool_backward_naive", "largest * dout", "0.25 * dout", "pool_everywhere"),
    ("max_pool_backward_naive", "largest * dout[:, :, i, j][:, :, None, None]", "largest", "upstream_lost"),
    ("max_pool_backward_naive", MAX_POOL, MAX_POOL.replace(" * s", ""), "window_stride"),
    ("conv_backward_naive", "(dout[:, :, i, j], w", "(np.ones_like(dout)[:, :, i, j], w", "upstream_lost"),
    ("conv_backward_naive", "dout[:, :, i, j], padded", "np.ones_like(dout)[:, :, i, j], padded", "upstream_lost"),
    ("svm_loss", "-= (margins > 0).sum(axis=1)", "-= (margins > 0).sum(axis=1) - 1", "svm_true_class"),
    ("svm_loss", HINGE, HINGE.replace("(margins > 0)", "((x > 0) * (1 - np.eye(x.shape[1])[y]))"), "svm_mask"),
    ("affine_backward", "dout.sum(axis=0)", "np.full(len(b), len(dout))", "upstream_lost"),
    ("layernorm_backward", "(dout * n).sum(axis=0)", "n.sum(axis=0)", "upstream_lost"),
    ("layernorm_backward", "dout.sum(axis=0)", "np.full(len(gamma), len(dout))", "upstream_lost"),
    ("batchnorm_backward", "d = dout * gamma", "d = np.ones_like(dout) * gamma", "upstream_lost"),
    ("batchnorm_backward", "/ std", "/ np.sqrt(x.var(axis=0))", "bn_eps"),
    ("batchnorm_backward", "/ std", "/ np.sqrt(x.var(axis=0) + 1e-8)", "bn_eps"),
    ("batchnorm_backward", NORM, "d / std", "bn_variance_term_dropped"),
    ("softmax_backward", "a * (dout - (dout * a).sum(axis=1, keepdims=True))", "a * (1 - a)", "upstream_lost"),
    ("softmax_backward", "a * (dout - (dout * a).sum(axis=1, keepdims=True))", "dout",
     "softmax_derivative_missing"),
    ("dropout_backward", 'if dropout_param["mode"] == "train" else dout',
     'if dropout_param["mode"] == "train" else 0.6 * dout', "test_mode"),
    ("affine_relu_backward", "relu_backward(dout, relu_cache)", "-relu_backward(dout, relu_cache)", "sign"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "code"), MISTAKES)
def test_mistakes(name, old, new, code):
    report = mistake(CS231N, name, old, new)
    assert code in (*report.codes, *report.remarks, *[""] * report.passed)
    assert report.passed == (code in ("bias_shape", "bn_eps", ""))
    assert len(report.codes) <= 1
    assert code in str(report)


@pytest.mark.parametrize(
    ("source", "name", "old", "new", "codes"),
    [
        (CS231N, "batchnorm_backward", NORM, f"2 * {NORM.replace('/ std', '')}",
         {"bn_std_dropped", "constant_factor"}),
        (CS231N, "dropout_backward", "dout * mask if", "dout * (np.random.rand(*dout.shape) < 0.6) if",
         {"fresh_mask"}),
        (GROUPS, "spatial_groupnorm_backward", "n * (d * n)", "0 * (d * n)", {"bn_variance_term_dropped"}),
        (GROUPS, "spatial_groupnorm_backward", "d = (dout * gamma)", "d = dout", {"bn_scale_dropped"}),
        (GROUPS, "spatial_groupnorm_backward", "(dout * n).sum", "dout.sum", {"bn_n_missing"}),
        (SANDWICHES, "spatial_batchnorm_backward", "(0, 3, 1, 2), dgamma, dbeta",
         "(0, 3, 1, 2), dgamma, dbeta / (N * H * W)", {"bias_mean"}),
        (CHANNELS_LAST, "conv_backward", "dA_prev_pad[n, rows, columns] += ", "dA_prev_pad[n, rows, columns] = ",
         {"window_overwritten"}),
        (CHANNELS_LAST, "conv_backward", "[:, pad:-pad, pad:-pad]",
         "[:, : A_prev.shape[1], : A_prev.shape[2]]", {"window_pad"}),
        (CHANNELS_LAST, "conv2d_backward", "w, 1)", "w[:, ::-1, ::-1], 1)", {"kernel_flipped"}),
        (CHANNELS_LAST, "conv2d_backward", "dout.sum((0, 1, 2))", "dout.mean((0, 1, 2))", {"bias_mean"}),
        (CHANNELS_LAST, "pool_backward", "mask * ", "(mask + 1) / (mask + 1) * ", {"pool_everywhere"}),
        (CHANNELS_LAST, "average_pool_backward", " / f**2", "", {"constant_factor"}),
        (CHANNELS_LAST, "pool_backward", "dA_prev[at] += ", "dA_prev[at] = ", {"window_overwritten"}),
        (POOLS, "MaxPool", "column] += ", "column] = ", {"window_overwritten"}),
        (NAMED, "linear_activation_backward", "dA * (Z > 0)", "dA", {"mask_missing"}),
        (MODERN, "Linear", "grad_output.sum(axis=0)", "grad_output.sum(axis=1)", {"bias_over_classes"}),
        (MODERN, "GELU", "g * (s + 1.702 * self.x * s * (1 - s))", "g * s", {"other_activation"}),
        (MODERN, "LayerNorm", " - d.mean(-1, keepdims=True)", "", {"bn_mean_term_dropped"}),
        (MODERN, "MSELoss", "self.pred.size", "len(self.pred)", {"mean_over_other"}),
        (OF_PICTURES, "Conv2D", "dout.sum((0, 1, 2))", "2 * dout.sum((0, 1, 2))", {"constant_factor"}),
        (OF_PICTURES, "Conv2D", "j : j + k] += ", "j : j + k] = ", {"window_overwritten"}),
        (NAMED, "BatchNorm1d", " - d.mean(axis=0)", "", {"bn_mean_term_dropped"}),
        (NAMED, "bn_bwd", "gamma * rstd * (dout", "rstd * (dout", {"bn_scale_dropped"}),
        (NAMED, "cross_entropy_bwd", "dloss * (", "1.0 * (", {"upstream_lost"}),
        (NAMED, "cross_entropy_bwd", " - np.eye(p.shape[1])[targets]", "", {"one_hot_missing"}),
        (NAMED, "log_softmax_bwd", ".sum(1, keepdims=True)", "", {"softmax_jacobian_diagonal"}),
        (NAMED, "mse_prime", "(y_pred - y_true)", "(y_true - y_pred)", {"sign"}),
        (MODERN, "EntropyOfScores", "self.p - np.eye(self.p.shape[1])[y]", "self.p", {"one_hot_missing"}),
        (NAMED, "rmsnorm_bwd", "(dout * x * r).sum(0)", "-(dout * x * r).sum(0)", {"sign"}),
        (NAMED, "Layernorm", " - n * (d * n).mean(-1, keepdims=True)", "", {"bn_variance_term_dropped"}),
        (NOTED, "Lin", "out.g.sum(0)", "out.g.mean(0)", {"bias_mean"}),
        (NOTED, "Relu", "(inp > 0) * out.g", "out.g", {"mask_missing"}),
        (NOTED, "Mse", " / targ.shape[0]", "", {"batch_mean_missing"}),
        (NOTED, "CrossEntropy", " - np.eye(inp.shape[1])[targ]", "", {"one_hot_missing"}),
        (NOTED, "lin_grad", "out.g.sum(0)", "out.g.mean(0)", {"bias_mean"}),
        (NOTED, "mse_grad", " / inp.shape[0]", "", {"batch_mean_missing"}),
        (NOTED, "Linear", "grad.T @ self.x, grad.sum(0)", "-grad.T @ self.x, grad.sum(0)", {"sign"}),
        (NOTED, "Dense", "self.y.grad.sum(0)", "self.y.grad.sum(1)", {"bias_over_classes"}),
        (NOTED, "Swish", " * (1 + inp * (1 - s))", " * (1 - s)", {"other_activation"}),
        (NNFS, "Layer_Dense", "np.sum(dvalues, axis=0", "np.sum(dvalues, axis=1", {"bias_over_classes"}),
        (NNFS, "Layer_DenseRegularised", "+= 2 * self.weight", "+= self.weight", {"l2_factor"}),
        (NNFS, "Layer_DenseRegularised", "+= 2 * self.bias_regularizer_l2 * self.biases", "+= 0", {"l2_ignored"}),
        (NNFS, "Layer_DenseRegularised", "np.dot(self.inputs.T, dvalues)",
         "np.dot(self.inputs.T, np.ones_like(dvalues))", {"upstream_lost"}),
        (NNFS, "Activation_Softmax_Loss", "-= 1", "-= 0", {"one_hot_missing"}),
        (NNFS, "Loss_BinaryCrossentropy", "-(y_true / clipped", "(y_true / clipped", {"sign"}),
        (NNFS, "Layer_Dropout", "dvalues * self.mask", "dvalues", {"dropout_mask_missing"}),
        (NNFS, "Activation_ReLU", "self.dinputs[self.inputs <= 0] = 0", "pass", {"mask_missing"}),
        (NNFS, "Activation_Softmax", "(np.diagflat(a) - np.outer(a, a)) @ d", "a * (1 - a) * d",
         {"softmax_jacobian_diagonal"}),
        (NNFS, "Loss_CategoricalCrossentropy", "self.dinputs = self.dinputs / len(dvalues)", "pass",
         {"batch_mean_missing"}),
        (NNFS, "Activation_Softmax_Loss_CategoricalCrossentropy", "self.dinputs / len(dvalues)",
         "-self.dinputs / len(dvalues)", {"sign"}),
        (RETURNING, "Affine", "self.dW = np.dot", "self.dW = (0 if self.dW is None else self.dW) + np.dot",
         {"state_between_calls"}),
        (RETURNING, "Listed", "self.x.T @ dout", "3 * self.x.T @ dout", {"constant_factor"}),
        (RETURNING, "Linear", "g.sum(0)", "g.mean(0)", {"bias_mean"}),
        (RETURNING, "Updating", "learning_rate * self.input.T", "-learning_rate * self.input.T", {"sign"}),
        (RETURNING, "SoftmaxWithLoss", "dx / len(self.t)", "dx", {"batch_mean_missing"}),
        (RETURNING, "Stepping", "grad_output.sum(axis=0)", "grad_output.mean(axis=0)", {"bias_mean"}),
        (MODERN, "Answering", "dout.sum(0)", "dout.mean(0)", {"bias_mean"}),
        (MODERN, "Short", "self.x.T @ g", "-self.x.T @ g", {"sign"}),
        (MODERN, "Tanh", "1 - self.A**2", "1 - self.Z**2", {"output_form_at_z"}),
        (NAMED, "hinge_loss", "= -d.sum(1)", "= 0", {"svm_true_class"}),
        (NAMED, "rnn_cell_bwd", "dz.sum(0)", "2 * dz.sum(0)", {"constant_factor"}),
        (MODERN, "OfLoss", "dLdZ.T @ np.ones((len(self.A), 1))", "dLdZ.mean(axis=0)[:, None]", {"bias_mean"}),
        (ATTENTION, "attention_backward", "return ds @ k,", "return ds @ k * np.sqrt(q.shape[-1]),",
         {"constant_factor"}),
        (ATTENTION, "attention_backward", "da - (da * a).sum(axis=-1, keepdims=True)", "da - da * a",
         {"unknown"}),
        (ATTENTION, "causal_backward", '"dkey": ds.T @ query', '"dkey": -ds.T @ query', {"sign"}),
        (ATTENTION, "self_attention_backward", " + dv @ v_weight.T", "", {"unknown"}),
        (ATTENTION, "ScaledDotProduct", "self.P.T @ dO", "2 * self.P.T @ dO", {"constant_factor"}),
        (LEARNT, "prelu_backward", "(dout * x * (x <= 0)).sum()", "0.0", {"constant_factor"}),
        (LEARNT, "prelu_backward", "(dout * x * (x <= 0)).sum()", "dout * x * (x <= 0)", {"wrong_shape"}),
        (LEARNT, "channel_prelu_backward", "(dout * x * (x <= 0)).sum(0)",
         "-(dout * x * (x <= 0)).sum(0)", {"sign"}),
        (SHAPED, "LayerNorm", " - d.mean(-1, keepdims=True)", "", {"bn_mean_term_dropped"}),
        (SHAPED, "GroupNorm", "dout.sum((0, 2, 3))", "-dout.sum((0, 2, 3))", {"sign"}),
        (SHAPED, "Conv1d", "dx[:, :, t : t + k] += ", "dx[:, :, t : t + k] = ", {"window_overwritten"}),
        (POOLS, "MaxPool1d", "column] += ", "column] = ", {"window_overwritten"}),
        (POOLS, "conv1d_backward", "s + k] += ", "s + k] = ", {"window_overwritten"}),
        (POOLS, "conv1d_backward", "[:, :, pad:-pad]", "[:, :, : -2 * pad]", {"window_pad"}),
        (POOLS, "depthwise_conv_backward", "dout.sum((0, 2, 3))", "2 * dout.sum((0, 2, 3))", {"constant_factor"}),
        (POOLS, "ResidualBlock", "return dout + ", "return ", {"skip_missing"}),
        (SHAPED, "instancenorm_backward", "(dout * n).sum", "-(dout * n).sum", {"sign"}),
        (SHAPED, "conv1d_backward", "dout.sum(axis=(0, 1))", "-dout.sum(axis=(0, 1))", {"sign"}),
        (SHAPED, "gru_step_backward", "dax.sum(0)", "2 * dax.sum(0)", {"constant_factor"}),
        (SHAPED, "RNN", "dt @ Wh.T", "-dt @ Wh.T", {"sign"}),
        (SHAPED, "TimeRNN", "grad += step", "grad -= step", {"sign"}),
        (SHAPED, "Mul", "a * grad_output", "-a * grad_output", {"sign"}),
        (SHAPED, "Add", "dout, dout", "dout, 2 * dout", {"constant_factor"}),
        (SHAPED, "huber_loss", "/ d.size", "/ len(d)", {"mean_over_other"}),
        (SHAPED, "bce_loss", "(p - t) /", "-(p - t) /", {"sign"}),
        (LEARNT, "swish_backward", "(dout * x * x", "-(dout * x * x", {"sign"}),
        (LEARNT, "softmax_backward", "t**2", "t", {"unknown"}),
        (LEARNT, "residual_backward", "dout.copy()", "2 * dout", {"constant_factor"}),
        (LEARNT, "PReLU", "self.dalpha = np.sum", "self.dalpha = -np.sum", {"sign"}),
        (LEARNT, "PReLU", "np.sum(dout * ", "np.sum(", {"upstream_lost"}),
        (KEPT, "Dense", "self.x.T @ dout", "-self.x.T @ dout", {"sign"}),
        (KEPT, "Affine", "dout.sum(axis=0)]", "dout.mean(axis=0)]", {"bias_mean"}),
        (KEPT, "block_backward", "dz.sum(0)", "2 * dz.sum(0)", {"constant_factor"}),
        (KEPT, "column_block_backward", "dout + w1.T @ dz", "w1.T @ dz", {"skip_missing"}),
        (KEPT, "column_block_backward", "dz.sum(1", "-dz.sum(1", {"sign"}),
        (LEARNT, "Held", "np.sum(dout", "2 * np.sum(dout", {"constant_factor"}),
        (LEARNT, "Swish", "slope), np.sum", "slope), -np.sum", {"sign"}),
        (LEARNT, "Stepping", "self.alpha -= ", "self.alpha += ", {"sign"}),
        (LEARNT, "Softplus", "grad * sigmoid(", "self.beta * grad * sigmoid(", {"constant_factor"}),
        (GIVEN, "AffineLayer", "np.sum(grads_wrt_outputs", "-np.sum(grads_wrt_outputs", {"sign"}),
        (GIVEN, "TanhLayer", "1.0 - outputs**2", "1.0 - inputs**2", {"output_form_at_z"}),
        (GIVEN, "L1", "/ y_out.size", "/ len(y_out)", {"mean_over_other"}),
        (GIVEN, "LazyAffine", "dZ.sum(1", "-dZ.sum(1", {"sign"}),
        (GIVEN, "Momentum", "self.x.T @ g", "2 * self.x.T @ g", {"constant_factor"}),
        (GIVEN, "Squared", "2 * (predicted", "(predicted", {"constant_factor"}),
        (GIVEN, "mse_grad", "return -2", "return 2", {"sign"}),
        (GIVEN, "backward_propagation", "dtheta = x", "dtheta = 2 * x", {"constant_factor"}),
        (GIVEN, "cubic_backward", "return 3 * theta**2 * x", "dtheta = -3 * theta**2 * x; return dtheta",
         {"sign"}),
        (GIVEN, "Tanh", "1 - self.state**2", "1 - self.state", {"other_activation"}),
        (GIVEN, "SoftmaxOfEach", "return self.softmax -", "return -self.softmax +", {"sign", "forward_mismatch"}),
        (GIVEN, "MSE", "return 2 * (y_out", "return (y_out", {"constant_factor"}),
        (GIVEN, "L2Penalty", "2 * self.l2 * w", "self.l2 * w", {"constant_factor"}),
        (GIVEN, "MeanSquared", "2 * scale * (Y_pred", "-2 * scale * (Y_pred", {"sign"}),
        (GIVEN, "ridge_grad", "return 2 * w", "return w", {"constant_factor"}),
        (GIVEN, "focal_loss", "dx * d[:, None] / N", "dx * d[:, None]", {"batch_mean_missing"}),
        (RETURNING, "MulLayer", "dout * self.y, dout * self.x", "dout * self.y, -dout * self.x", {"sign"}),
    ],
)  # fmt: skip
def test_layers_are_searched_as_networks_are(source, name, old, new, codes):
    assert {*mistake(source, name, old, new).codes} == codes


def test_a_regularisers_part_that_is_left_out_may_be_that_of_l1():
    report = mistake(NNFS, "Layer_DenseRegularised", "+= self.weight_regularizer_l1 *", "+= 0 *")
    assert report.codes == ["l2_ignored"]
    assert "l1 * sign(w) for l1 |w|" in " ".join(str(report).split())


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("affine_backward", "@ w + b\n", "@ w\n", "does not depend on b"),
        ("softmax_loss", ".sum() / N\n", ".sum()\n", "without dividing by N"),
        ("batchnorm_backward", "x.var(axis=0)\n", "x.var(axis=0, ddof=1)\n", "N - 1"),
    ],
)
def test_a_wrong_forward_pass_is_told_first(name, old, new, words):
    assert old in CS231N
    report = layers.check_layer(name, module(CS231N.replace(old, new, 1)))
    assert report.findings[0].code == "forward_mismatch"
    assert words in " ".join(str(report).split())
    assert not report.passed
    *rows, last = [(row.leaf, row.verdict) for row in report.leaves]
    assert last == ("out", "FAIL")
    assert {verdict for _, verdict in rows} == {"PASS"} or name == "batchnorm_backward"


OVER_N = [
    (STYLES, "dense_backward", [("dout.T @ x, dout.sum(0)", "dout.T @ x / len(x), dout.sum(0) / len(x)")]),
    (STYLES, "linear_backward", []),
    (CS231N, "batchnorm_backward", [("(dout * n).sum(axis=0), dout.sum(axis=0)",
                                     "(dout * n).mean(axis=0), dout.mean(axis=0)")]),
    (MODERN, "Linear", [("grad_output.T @ self.x, grad_output.sum(axis=0)",
                         "grad_output.T @ self.x / len(self.x), grad_output.mean(axis=0)")]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "name", "changes"), OVER_N)
def test_a_layer_may_divide_all_its_gradients_by_the_number_of_examples(source, name, changes):
    """The layers of other courses do, for the loss's derivative has no 1/N there; one of them alone is wrong."""
    for old, new in changes:
        assert old in source
        source = source.replace(old, new, 1)
    report = layers.check_layer(name, module(source))
    assert report.passed, str(report)
    assert "divided by the number of examples" in " ".join(str(report).split())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("linear_backward", "np.sum(dZ, axis=1, keepdims=True) / m", "np.sum(dZ, axis=1, keepdims=True)"),
        ("linear_backward", "return W.T @ dZ,", "return W.T @ dZ / m,"),
        ("dense_backward", "dout.T @ x,", "dout.T @ x / len(x),"),
        ("dense_backward", "[dout @ W, dout.T @ x, dout.sum(0)]",
         "[g / len(x) for g in (dout @ W, dout.T @ x, dout.sum(0))]"),
    ],
)  # fmt: skip
def test_a_layer_that_divides_some_or_all_others_by_it_is_wrong(name, old, new):
    report = mistake(STYLES, name, old, new)
    assert "batch_mean_twice" in report.codes
    assert not report.passed


OVER_EXAMPLES = """
def layernorm_forward(x, gamma, beta, ln_param):
    return batchnorm_forward(x, gamma, beta, ln_param)

def layernorm_backward(dout, cache):
    return batchnorm_backward(dout, cache)
"""


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("svm_loss", CS231N.replace("[:, None] + 1)", "[:, None])"), "margin of 1 is left out"),
        ("svm_loss", CS231N.replace("margins.sum() / N", "margins.sum() / N + 1"), "true class is counted"),
        ("layernorm_backward", f"{CS231N}{OVER_EXAMPLES}", "those of the other axis"),
    ],
)
def test_a_consistent_other_operation_is_a_remark(name, source, words):
    report = layers.check_layer(name, module(source))
    assert (report.codes, report.remarks) == ([], ["forward_mismatch"])
    assert words in " ".join(str(report).split())


@pytest.mark.parametrize(("change", "codes"), [("", []), (" * 2", ["constant_factor"])])
def test_labels_may_be_one_hot(change, codes):
    loss = CS231N[CS231N.index("def softmax_loss") : CS231N.index("def svm_loss")]
    one_hot = loss.replace("N = len(y)", "N, C = y.shape").replace("p[np.arange(N), y]", "p[y == 1]")
    one_hot = one_hot.replace("dx[np.arange(N), y] -= 1", "dx -= y").replace("dx / N", f"dx / N{change}")
    report = layers.check_layer("softmax_loss", module(f"import numpy as np\n{one_hot}"))
    assert (report.codes, report.remarks) == (codes, [])


def test_masks_without_a_seed_are_the_same_every_time():
    unseeded = SANDWICHES.replace("np.random.rand(*x.shape)", "np.random.default_rng().random(x.shape)")
    unseeded = unseeded.replace('if "seed" in dropout_param:', "if False:")
    assert unseeded.count("default_rng") == 1
    for source in (unseeded, SANDWICHES.replace('if "seed" in dropout_param:', "if False:")):
        assert layers.check_layer("affine_relu_dropout_backward", module(source)).passed


def test_remarks_do_not_fail():
    kink = mistake(CS231N, "relu_backward", "(x > 0)", "(x >= 0)")
    assert (kink.codes, kink.remarks) == ([], ["mask_at_zero"])
    ties = layers.check_layer("max_pool_backward_naive", module(CS231N))
    assert (ties.codes, ties.remarks) == ([], ["pool_ties"])
    exp = layers.check_layer("softmax_loss", module(CS231N.replace("shifted = x - x.max(axis=1, keepdims=True)",
                                                                   "shifted = x")))  # fmt: skip
    assert (exp.codes, exp.remarks) == ([], ["softmax_unstable"])


def test_a_layer_of_square_pictures_alone_is_checked_on_these():
    report = mistake(CS231N, "max_pool_forward_naive", "1 + (W - w) // s", "1 + (H - w) // s")
    assert report.passed
    assert "square pictures" in str(report)


def test_a_pooling_that_takes_no_overlapping_windows_is_checked_on_others():
    report = layers.check_layer("FastMaxPool", module(POOLS))
    assert (report.codes, report.notes, report.cases) == ([], (), 3)
    overwritten = module(POOLS.replace("column] += ", "column] = "))
    assert layers.check_layer("max_pool_backward", overwritten).codes == ["window_overwritten"]


def test_what_python_2_divided_is_told():
    with pytest.raises(UserError, match="does with //"):
        mistake(CS231N, "max_pool_forward_naive", "1 + (W - w) // s", "1 + (W - w) / s")


EMBEDDING = """
import numpy as np

def word_embedding_forward(x, W):
    return W[x], (x, W)

def word_embedding_backward(dout, cache):
    x, W = cache
    dW = np.zeros_like(W)
    np.add.at(dW, x, dout)
    return dW
"""


@pytest.mark.parametrize(
    "wrong",
    [
        "dW[x] += dout",
        "dW[x] = dout",
        "for words, d in zip(x, dout): dW[words] += d",
        "for t in range(x.shape[1]): dW[x[:, t]] += dout[:, t]",
    ],
)
def test_words_that_occur_again_count_each_time(wrong):
    assert layers.check_layer("word_embedding_backward", module(EMBEDDING)).passed
    source = EMBEDDING.replace("np.add.at(dW, x, dout)", wrong)
    assert layers.check_layer("word_embedding_backward", module(source)).codes == ["repeated_index"]


CLASSES = """
import numpy as np

class ELU:
    def __init__(self, alpha=0.1): self.alpha = alpha
    def __call__(self, x): return np.where(x >= 0, x, self.alpha * (np.exp(x) - 1))
    def gradient(self, x): return np.where(x >= 0, 1, self.__call__(x) + self.alpha)

class Tanh:
    def fn(self, z): return np.tanh(z)
    def grad(self, x): return 1 - np.tanh(x) ** 2
"""


def test_an_object_of_a_function_and_its_derivative_is_a_layer():
    assert layers.check("", module(CLASSES)).passed
    report = layers.check(
        "", module(CLASSES.replace("+ self.alpha)", ")").replace("1 - np.tanh(x)", "np.tanh(x)"))
    )
    assert [layer.passed for layer in report.layers] == [False, False]


def test_what_is_wrong_without_padding_alone_is_a_note():
    report = layers.check_layer("conv_backward_naive", module(CS231N))
    assert report.passed
    assert "without padding it is wrong" in str(report)
    whole = "dpadded[:, :, p : p + x.shape[2], p : p + x.shape[3]]"
    assert "without" not in str(mistake(CS231N, "conv_backward_naive", "dpadded[:, :, p:-p, p:-p]", whole))


EMPTY = """
class Sequential:
    def __init__(self): self.layers = []
    def add(self, layer): self.layers.append(layer)
    def forward(self, x): return x
    def backward(self, d): return d
"""


def test_what_cannot_be_checked_is_refused_in_one_line():
    source = CS231N.replace("return dx, dw, db", "return None, None, None")
    with pytest.raises(UserError, match="not written yet"):
        layers.check_layer("affine_backward", module(source))
    with pytest.raises(UserError, match="call it x, w, b"):
        layers.check_layer("odd_backward", module("def odd_forward(x, zeta): pass\ndef odd_backward(d, c): pass"))
    with pytest.raises(UserError, match="built without layers"):
        layers.check_layer("Sequential", module(EMPTY))
    with pytest.raises(UserError, match="no gradient of bias"):
        mistake(MODERN, "Linear", "self.bias_grad =", "self.other =")
    with pytest.raises(UserError, match="leaves dalpha, and of which attribute"):
        mistake(LEARNT.replace("self.alpha", "self.leak"), "PReLU", "", "")
    with pytest.raises(UserError, match="returns 3 gradients, and of which attributes"):
        mistake(LEARNT, "Swish", "slope), np.sum", "slope), dout, np.sum")
    with pytest.raises(UserError, match="returns 3 gradients, and of which arguments those behind x"):
        mistake(LEARNT, "prelu_backward", "(x <= 0)).sum()", "(x <= 0)).sum(), dout")
    with pytest.raises(UserError, match="its constructor's argument zeta is cannot be told"):
        layers.check_module(
            module(
                SHAPED[SHAPED.index("class Add") :]
                .replace("def forward(self", "def __init__(self, zeta): pass\n    def forward(self")
                .split("def huber")[0]
            )
        )
    with pytest.raises(UserError, match="has no layer"):
        layers.check_module(module("def loss(w): return w"))


def test_what_is_a_layer():
    cs = module(CS231N)
    assert layers.is_layer("affine_backward", cs)
    assert layers.is_layer("softmax_loss", cs)
    assert layers.is_layer("affine_forward", cs)
    assert layers.check_layer("affine_forward", cs).passed
    assert not layers.is_layer("np", cs)
    network = (
        "class TwoLayerNet:\n def __init__(self, input_size, output_size): pass\n def forward(self, x): pass\n"
    )
    assert not layers.is_layer("TwoLayerNet", module(f"{network} def backward(self, d): pass"))
    assert not layers.is_layer("softmax_loss", module("def softmax_loss(W, X, y, reg): pass"))


@pytest.mark.usefixtures("quick_targets")
def test_the_command_checks_one_layer_and_a_whole_file(tmp_path, capsys):
    few = CS231N.partition("def batchnorm_forward")[0]
    wrong = few.replace("db = dout.sum(axis=0)", "db = dout.mean(axis=0)")
    (tmp_path / "layers.py").write_text(f"{wrong}\nprint('noise')\n")
    results = {}
    for target in ("layers.py:affine_backward", "layers.py:tanh_backward", "layers.py"):
        config = gradient_check.Config(target=f"{tmp_path}/{target}", results_dir=str(tmp_path / "r"))
        results[target] = gradient_check.STUDY.run(config)
    printed = capsys.readouterr().out
    assert results == {"layers.py:affine_backward": False, "layers.py:tanh_backward": True, "layers.py": False}
    assert "layers right" in printed
    assert "bias_mean" in printed
    assert "noise" not in printed


@pytest.fixture
def answer(server, tmp_path):
    """What the checker's own command says of a file with this source text."""

    def answer(source, *flags):
        (tmp_path / "layers.py").write_text(source)
        return server.checked("layers.py", *flags, folder=tmp_path)

    return answer


def test_a_mode_that_is_only_unpacked_is_not_asked_for(answer):
    """Where the backward pass branches on it, test mode is checked too."""
    first = 'mode = cache[0]["mode"]\n    '
    source = """
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    mean, var = x.mean(0), x.var(0)
    if bn_param["mode"] == "test":
        mean, var = bn_param["running_mean"], bn_param["running_var"]
    else:
        bn_param["running_mean"], bn_param["running_var"] = mean, var
    n = (x - mean) / np.sqrt(var + 1e-5)
    return n * gamma + beta, (bn_param, n, gamma, np.sqrt(var + 1e-5))

def batchnorm_backward(dout, cache):
    MODE_, n, gamma, std = cache
    d = dout * gamma
    dx = (d - d.mean(0) - n * (d * n).mean(0)) / std
    return dx, (dout * n).sum(0), dout.sum(0)
"""
    unpacked = source.replace("MODE_, n", f"{first}_, n")
    asked = unpacked.replace("    dx =", '    assert mode in ("train", "test")\n    dx =')
    for text, codes in ((unpacked, []), (asked, ["test_mode"])):
        code, report, said = answer(text)
        assert (code, said) == (len(codes), ""), report
        assert all(each in report for each in codes)


STOPS = """
import numpy as np

def helper(x):
    return np.einsum("abc->a", x)

def relu_forward(x):
    return helper(x), x

def relu_backward(dout, cache):
    return dout

def tanh_forward(x):
    return np.tanh(x), x

def tanh_backward(dout, cache):
    return dout
"""


def test_where_it_stops_is_a_line_of_the_users_file(answer):
    code, text, said = answer(STOPS)
    assert (code, said) == (1, "")
    assert "every shape that was tried: layers.py:5: ValueError" in text


ADDS_UP = """
import numpy as np

class Linear:
    def __init__(self, n_in, n_out):
        self.W, self.b = np.random.randn(n_in, n_out), np.zeros(n_out)
        self.dW, self.db = np.zeros((n_in, n_out)), np.zeros(n_out)
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, dout):
        self.dW += self.x.T @ dout
        self.db += dout.sum(0)
        return dout @ self.W.T
"""


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        ("", "", ["state_between_calls"]),
        ("self.db += dout", "self.db = dout", ["state_between_calls"]),
        ("dout.sum(0)", "-dout.sum(0)", ["sign", "state_between_calls"]),
        ("self.dW += self.x.T @ dout", "self.dW += np.tanh(self.x.T @ dout)", ["state_between_calls"]),
    ],
)
def test_what_adds_up_from_call_to_call_is_one_mistake(old, new, codes):
    assert layers.check_layer("Linear", module(ADDS_UP.replace(old, new))).codes == codes


@pytest.mark.parametrize("forward", ["np.log(-abs(x))", "np.sqrt(-1 - x * x)", "x * np.nan"])
def test_where_nothing_can_be_compared_there_is_no_verdict(forward):
    source = f"import numpy as np\ndef f_forward(x): return {forward}, x\ndef f_backward(dout, x): return 5 * dout"
    with pytest.raises(UserError, match="nothing can be compared at x"):
        layers.check_layer("f_backward", module(source))


SATURATING = [
    ("clip(x, 0, 6)", "(0 < x) & (x < 6)", "x > 0", "other_activation"),
    ("clip(x, -5, 5)", "abs(x) < 5", "x > -np.inf", "mask_missing"),
    ("clip(0.2 * x + 0.5, 0, 1)", "0.2 * (abs(x) < 2.5)", "0.2", "mask_wrong_tensor"),
    ("tanh(x / 4)", "(1 - np.tanh(x / 4) ** 2) / 4", "(1 - np.tanh(x) ** 2) / 4", "other_activation"),
]


@pytest.mark.parametrize("name", ["hard_sigmoid", "act"])
@pytest.mark.parametrize(("function", "right", "wrong", "code"), SATURATING)
def test_a_function_of_each_element_is_asked_far_from_0_too(name, function, right, wrong, code):
    source = f"import numpy as np\ndef {name}_forward(x): return np.{function}, x\n"
    source += f"def {name}_backward(dout, x): return dout * ({right})"
    assert layers.check_layer(f"{name}_backward", module(source)).passed
    told = layers.check_layer(f"{name}_backward", module(source.replace(right, wrong)))
    assert code in told.codes
    assert "forward_mismatch" not in told.codes


SINGLE = """
import numpy as np

def softplus(x): return np.log(1 + np.exp(x))
def cube(x): return x**3
def clipped(x): return np.clip(x, -1, 1)
def scores(x): return x - np.log(np.exp(x).sum(1, keepdims=True))

def {0}_forward(x): return {0}(x.astype(np.float32)), x.astype(np.float32)
def {0}_backward(dout, x): return dout.astype(np.float32) * np.float32({1}) - np.float32({2})
"""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "slope", "rest"),
    [
        ("softplus", "1 / (1 + np.exp(-x))", "0"),
        ("cube", "3 * x**2", "0"),
        ("clipped", "abs(x) < 1", "0"),
        ("scores", "1", "np.exp(scores(x)) * dout.sum(1, keepdims=True)"),
    ],
)
def test_right_functions_in_single_precision(name, slope, rest, seed):
    """Where an element lies so near a kink that the differences step over it, it is left out."""
    report = layers.check_layer(f"{name}_backward", module(SINGLE.format(name, slope, rest)), seed)
    assert report.passed, str(report)


def test_a_softmax_that_hands_dout_on_is_right_only_beside_a_loss_by_the_scores():
    alone = "import numpy as np\n\nclass SoftMax" + KEPT.partition("class SoftMax")[2].partition("class NLL")[0]
    beside = alone + "class NLL" + KEPT.partition("class NLL")[2]
    told = "since a loss beside it gives the derivative by the scores"
    assert told in " ".join(str(layers.check_layer("SoftMax", module(beside))).split())
    for source in (alone, beside.replace("return self.Ypred - self.Y", "return -self.Y / self.Ypred")):
        assert layers.check_layer("SoftMax", module(source)).codes == ["softmax_derivative_missing"]


def test_a_gradient_that_is_0_may_be_as_exact_as_float32():
    """Of the bias below a normalisation."""
    source = """
import numpy as np

def affine_bn_forward(x, w, b, gamma, beta):
    z = x @ w + b
    std = np.sqrt(z.var(0) + 1e-5)
    n = (z - z.mean(0)) / std
    return n * gamma + beta, (x, w, n, std, gamma)

def affine_bn_backward(dout, cache):
    x, w, n, std, gamma = cache
    d = dout * gamma
    dz = (d - d.mean(0) - n * (d * n).mean(0)) / std
    return dz @ w.T, x.T @ dz, dz.sum(0) + EPS * abs(dz).max(0), (dout * n).sum(0), dout.sum(0)
"""
    for eps, passed in (("1e-7", True), ("1e-3", False)):
        report = layers.check_layer("affine_bn_backward", module(source.replace("EPS", eps)))
        assert report.passed == passed, str(report)


METHODS = """
import numpy as np

class Swish:
    def function(self, x):
        return x / (1 + np.exp(-x))

    def function_prime(self, x):
        s = 1 / (1 + np.exp(-x))
        return s + x * s * (1 - s)

class BCE:
    def loss(self, y, p):
        return np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p))

    def gradient(self, y, p):
        return ((1 - y) / (1 - p) - y / p) / np.size(y)

class Square:  # of each element
    def loss(self, y, y_pred):
        return 0.5 * (y - y_pred) ** 2

    def loss_prime(self, y, y_pred):
        return y_pred - y

def huber(y_true, y_pred, delta=1.0):  # linear where it is far from the label
    e = y_pred - y_true
    return np.mean(np.where(np.abs(e) <= delta, 0.5 * e**2, delta * (np.abs(e) - 0.5 * delta)))

def huber_prime(y_true, y_pred, delta=1.0):
    e = y_pred - y_true
    return np.clip(e, -delta, delta) / e.size
"""


def test_functions_and_losses_whose_derivatives_are_methods_are_layers():
    report = layers.check_module(module(METHODS))
    assert (report.codes, report.refused, len(report.layers)) == ([], (), 4), str(report)
    assert mistake(METHODS, "Swish", "s + x * s", "s * x").codes == ["other_activation"]
    assert mistake(METHODS, "BCE", " / np.size(y)", "").codes == ["batch_mean_missing"]
    assert mistake(METHODS, "Square", "y_pred - y", "y - y_pred").codes == ["sign"]
    assert not mistake(METHODS, "huber_prime", "np.clip(e, -delta, delta)", "np.where(e > delta, delta, e)").passed


class Relu:
    slope = 1.0

    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, dout):
        return self.slope * dout * self.mask


def scale_forward(x, gamma):
    return x * gamma, (x, gamma)


def scale_backward(dout, cache):
    x, gamma = cache
    return dout * gamma, (dout * x).sum(axis=0)


def test_layers_are_checked_in_a_test_suite_too():
    class Twice(Relu):
        slope = 2.0

    for layer in (Relu, scale_forward, scale_backward):
        assert_gradients(layer)
    with pytest.raises(AssertionError, match="2 times"):
        assert_gradients(Twice)
    with pytest.raises(UserError, match="not a network"):
        assert_gradients(Relu, MLPConfig((5,), inputs=7, classes=4))


@pytest.mark.parametrize(
    "line", ["def relu_backward(dout, cache): pass", "def tanh_backward_naive(grad_output, x): pass"]
)
def test_a_backward_pass_alone_is_told_what_it_lacks(answer, line):
    name = line.split("(")[0].removeprefix("def ")
    code, text, said = answer(line)
    assert (code, text) == (2, "")
    assert "put name_forward beside name_backward" in said
    with pytest.raises(UserError, match=f"put {name.replace('backward', 'forward')}, which"):
        assert_gradients(vars(module(line))[name])


def test_the_seed_draws_other_inputs_and_the_strict_objective_is_the_operation_of_the_name(answer):
    """By the module's function, and the command with both flags says the same."""
    first = STYLES.partition("def linear_forward")[0].replace('np.einsum("nm->m", dout)', "dout[0]")
    source = f"{first}\n\ndef batchnorm" + STYLES.partition("def batchnorm")[2]
    plain, other = (layers.check_module(module(source), seed) for seed in (0, 4))
    strict = layers.check_module(module(source), 4, strict=True)
    assert len({str(plain), str(other), str(strict)}) == 3
    own, told = (report.layers[1] for report in (other, strict))
    assert (own.codes, own.remarks) == ([], ["bn_eps"])
    assert (told.codes, told.remarks) == (["forward_mismatch"], [])
    assert "--bn_eps" not in str(own)  # which is of networks
    said = str(strict).replace("student", "layers.py", 1)
    assert answer(source, "--seed=4", "--objective=report") == (1, f"{said}\n", "")


def test_a_file_that_trains_on_data_of_a_missing_module_is_what_it_defines(answer):
    first = "import nnfs\nfrom nnfs.datasets import spiral_data\nnnfs.init()\n"
    code, text, said = answer(f"{first}{NNFS}\nX, y = spiral_data(100, 3)\nLayer_Dense(2, 3).forward(X)")
    assert (code, said) == (0, "")
    assert "nnfs.datasets, which is not installed" in text
    assert "10 of 10 layers right" in text


@pytest.mark.parametrize(
    "flag",
    ["--hidden=5", "--l2_convention=half", "--scale=2", "--arrays=jax", "--dropout=0.5", "--bn_eps=1e-3"],
)
def test_options_of_networks_are_refused(answer, flag):
    code, text, said = answer(CS231N.partition("def relu_forward")[0], flag)
    assert (code, text) == (2, "")
    assert said.startswith("error: layers.py is a layer")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("quick_targets")
def test_a_module_beside_it_that_does_not_compile_is_left_out(tmp_path, capsys):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "util.py").write_text("def im2col(:\n")
    (tmp_path / "common" / "layers.py").write_text(f"from common.util import im2col\n{CS231N}")
    target = f"{tmp_path}/common/layers.py:affine_backward"
    assert gradient_check.STUDY.run(gradient_check.Config(target=target, results_dir=str(tmp_path / "r")))
    assert "util.py:1: SyntaxError" in capsys.readouterr().out
