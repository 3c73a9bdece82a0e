"""What public repositories have that was once told falsely, each in a few lines."""

import jax
import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import check_gradients
from tests.strangers import HEAD, defined
from tests.test_target import check

pytestmark = pytest.mark.usefixtures("quick_targets")

BY_NAMES_OF_ITS_OWN = """
class NN:
    def __init__(self, layers):
        self.layers, self.weights, self.biases, self.cache, self.grads = layers, {}, {}, {}, {}
    def initialization(self):
        for i in range(1, len(self.layers)):
            self.weights[f"W{i}"] = np.zeros((self.layers[i], self.layers[i - 1]))
            self.biases[f"b{i}"] = np.zeros((self.layers[i], 1))
    def forward_prop(self, X):
        A = X
        for i in range(1, len(self.layers)):
            self.cache[i] = A
            Z = self.weights[f"W{i}"] @ A + self.biases[f"b{i}"]
            A = 1 / (1 + np.exp(-Z))
        return A
    def softmax(self):
        pass
    def compute_cost(self, A, Y):
        return -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / A.shape[1]
    def backward_prop(self, A, Y):
        dZ = (A - Y) / Y.shape[1]
        for i in range(len(self.layers) - 1, 0, -1):
            self.grads[f"dW{i}"] = dZ @ self.cache[i].T
            self.grads[f"db{i}"] = dZ.sum(axis=1, keepdims=True)
            dZ = self.weights[f"W{i}"].T @ dZ * self.cache[i] * (1 - self.cache[i])
"""


def test_what_forward_returns_by_a_name_is_given_by_that_and_a_stub_that_nothing_calls_is_left_alone(tmp_path):
    passed, content = check(tmp_path, HEAD + BY_NAMES_OF_ITS_OWN, "NN")
    assert (passed, content["codes"], "other_loss" in content["remarks"]) == (True, [], True)
    wrong = BY_NAMES_OF_ITS_OWN.replace("@ dZ * self.cache[i] *", "@ dZ *")
    assert not check(tmp_path, HEAD + wrong, "NN")[0]


OF_LOGITS = """
class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size):
        self.params = {"W1": np.zeros((input_size, hidden_size)), "b1": np.zeros(hidden_size),
                       "W2": np.zeros((hidden_size, output_size)), "b2": np.zeros(output_size)}
    def predict(self, x):
        W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
        return sigmoid(sigmoid(x @ W1 + b1) @ W2 + b2)
    def loss(self, x, t):
        return -np.log(softmax(self.predict(x))[np.arange(len(t)), t]).mean()
    def gradient(self, x, t):
        W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
        h = sigmoid(x @ W1 + b1)
        d = (softmax(h @ W2 + b2) - one_hot(t, W2.shape[1])) / len(x)
        dh = d @ W2.T * h * (1 - h)
        return {"W1": x.T @ dh, "b1": dh.sum(0), "W2": h.T @ d, "b2": d.sum(0)}

def sigmoid(z):
    return 1 / (1 + np.exp(-z))
"""


def test_a_loss_that_goes_through_an_activation_of_the_scores_which_the_gradient_has_not():
    report = check_gradients(defined(OF_LOGITS, "TwoLayerNet"))
    assert report.codes == ["loss_mismatch"], str(report)
    assert "sigmoid on the scores" in " ".join(str(report).split())
    assert check_gradients(
        defined(OF_LOGITS.replace("return sigmoid(sigmoid(", "return (sigmoid("), "TwoLayerNet")
    ).passed


LEFT_OUT = """
def f(params, X, y):
    W1, b1, W2, b2 = (params[k] for k in ("W1", "b1", "W2", "b2"))
    h = np.maximum(X @ W1 + b1, 0)
    d = softmax(h @ W2 + b2) - one_hot(y, W2.shape[1])
    dh = d @ W2.T * (h > 0)
    return {"W1": X.T @ dh / len(X), "b1": dh.sum(0), "W2": h.T @ d / len(X), "b2": d.sum(0)}
"""


def test_where_the_biases_alone_lack_the_mean_it_is_their_sums_that_are_to_be_divided():
    report = check_gradients(defined(LEFT_OUT, "f"))
    assert report.codes == ["batch_mean_missing"]
    assert "divide this sum over the examples by N" in " ".join(str(report).split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("def f(X, y, nn_hdim, num_passes=20000):", "f is a whole training"),
        ("def train(network, X, y):", "train is a training, by its name"),
        ("def backprop(layer1, layer2, answer, step):", "backprop is an optimiser's step"),
    ],
)
def test_a_training_is_refused_as_one(line, words):
    name = line.split("(")[0].removeprefix("def ")
    with pytest.raises(UserError, match=words) as told:
        check_gradients(defined(f"{line}\n    return [layer.weights for layer in locals().popitem()[1]]\n", name))
    assert "\n" not in str(told.value)


COLUMNS = """
def propagate(w, b, X, Y):
    m = X.shape[1]
    A = 1 / (1 + np.exp(-(w.T @ X + b)))
    cost = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m
    return {"dw": X @ (A - Y).T / m, "db": np.sum(A - Y) / m}, cost
"""


def test_how_the_data_are_given_is_said_once(tmp_path, capsys):
    assert check(tmp_path, HEAD + COLUMNS, "propagate")[0]
    assert capsys.readouterr().out.count("its columns are the examples") == 1


FROM_1 = """
def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def nn_cost(theta, input_size, hidden_size, num_labels, X, y, lmbda):
    n, m = hidden_size * (input_size + 1), len(X)
    T1, T2 = theta[:n].reshape(hidden_size, -1), theta[n:].reshape(num_labels, -1)
    Y = np.eye(num_labels)[y - 1]
    a1 = np.hstack([np.ones((m, 1)), X])
    a2 = np.hstack([np.ones((m, 1)), sigmoid(a1 @ T1.T)])
    h = sigmoid(a2 @ T2.T)
    J = -np.sum(Y * np.log(h) + (1 - Y) * np.log(1 - h)) / m
    J += lmbda / (2 * m) * (np.sum(T1[:, 1:] ** 2) + np.sum(T2[:, 1:] ** 2))
    d2 = (h - Y) @ T2[:, 1:] * a2[:, 1:] * (1 - a2[:, 1:])
    G1, G2 = d2.T @ a1 / m, (h - Y).T @ a2 / m
    G1[:, 1:] += lmbda / m * T1[:, 1:]
    G2[:, 1:] += lmbda / m * T2[:, 1:]
    return [J, np.concatenate([G1.ravel(), G2.ravel()])]
"""


def test_labels_that_count_from_1_and_a_list_of_cost_and_gradient():
    report = check_gradients(defined(FROM_1, "nn_cost"))
    assert report.codes == [], str(report)
    assert {"other_loss", "other_network", "penalty_over_n"} <= set(report.remarks)
    assert sum("label 1" in note for note in report.notes) == 1
    report = check_gradients(defined(FROM_1.replace("G2[:, 1:] += lmbda / m * T2[:, 1:]", "pass"), "nn_cost"))
    assert report.codes == ["l2_ignored"]
    assert "loss's penalty, 0.5 lambda/N ||W||^2" in " ".join(str(report).split())


ONE_OUTPUT = """
def f(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    d = (1 / (1 + np.exp(-(h @ params["W2"] + params["b2"]))) - y.reshape(-1, 1)) / len(X)
    dh = d @ params["W2"].T * (h > 0)
    return {"W1": X.T @ dh, "b1": dh.sum(axis=0, keepdims=True), "W2": h.T @ d, "b2": d.sum(axis=0, keepdims=True)}
"""


def test_the_bias_of_one_output_may_be_a_matrix_of_one_number():
    report = check_gradients(defined(ONE_OUTPUT, "f"))
    assert (report.codes, "bias_shape" in report.remarks) == ([], True), str(report)


LAYER_NORM = """
class Net:
    def __init__(self, input_dim, hidden_dims, num_classes, reg=0.0):
        sizes, self.reg, self.params = [input_dim, *hidden_dims, num_classes], reg, {}
        for i, (a, b) in enumerate(zip(sizes, sizes[1:]), start=1):
            self.params |= {f"W{i}": np.zeros((a, b)), f"b{i}": np.zeros(b)}
            if i < len(sizes) - 1:
                self.params |= {f"gamma{i}": np.ones(b), f"beta{i}": np.zeros(b)}

    def loss(self, X, y):
        P, k, a, kept = self.params, len(self.params) // 4 + 1, X, []
        for i in range(1, k):
            u = a @ P[f"W{i}"] + P[f"b{i}"]
            std = np.sqrt(u.var(axis=1, keepdims=True) + 1e-5)
            n = (u - u.mean(axis=1, keepdims=True)) / std
            z = P[f"gamma{i}"] * n + P[f"beta{i}"]
            kept.append((a, n, std, z))
            a = np.maximum(z, 0)
        p = softmax(a @ P[f"W{k}"] + P[f"b{k}"])
        d = (p - one_hot(y, p.shape[1])) / len(y)
        grads = {f"W{k}": a.T @ d, f"b{k}": d.sum(0)}
        for i in range(k - 1, 0, -1):
            a, n, std, z = kept[i - 1]
            d = d @ P[f"W{i + 1}"].T * (z > 0)
            grads |= {f"gamma{i}": (d * n).sum(0), f"beta{i}": d.sum(0)}
            d = d * P[f"gamma{i}"]
            d = (d - d.mean(1, keepdims=True) - n * (d * n).mean(1, keepdims=True)) / std
            grads |= {f"W{i}": a.T @ d, f"b{i}": d.sum(0)}
        grads = {name: g + 2 * self.reg * P[name] * (name[0] == "W") for name, g in grads.items()}
        penalty = self.reg * sum((w**2).sum() for name, w in P.items() if name[0] == "W")
        return -np.log(p[np.arange(len(y)), y]).mean() + penalty, grads
"""


def test_a_class_that_was_asked_without_normalisation_first_is_asked_with_its_own(tmp_path):
    passed, content = check(tmp_path, HEAD + LAYER_NORM, "Net", layer_norm="before", hidden=(6,))
    assert (passed, content["codes"], content["remarks"]) == (True, [], [])
    wrong = LAYER_NORM.replace("d.mean(1, keepdims=True)", "0", 1)
    assert check(tmp_path, HEAD + wrong, "Net", layer_norm="before")[1]["codes"] == ["bn_mean_term_dropped"]


@pytest.mark.parametrize("gradient", ["0 * a", "2 * reg * a * (a.ndim == 2)"])
def test_what_is_of_nothing_but_a_penalty_is_not_written_yet(gradient):
    source = f"def f(params, X, y, reg):\n    return {{name: {gradient} for name, a in params.items()}}\n"
    with pytest.raises(UserError, match="f is not written yet: all its gradients are 0 where lambda is 0"):
        check_gradients(defined(source, "f"))


def test_what_no_name_tells_beside_all_else_is_taken_for_lambda():
    source = LEFT_OUT.replace("def f(params, X, y):", "def f(X, T, model, alpha):\n    params, y = model, T")
    source = source.replace("return {", "n = len(X)\n    grads = {").replace("dh.sum(0)", "dh.sum(0) / n")
    source = source.replace("d.sum(0)}", "d.sum(0) / n}")
    source += "    return {k: g + 2 * alpha * params[k] * (g.ndim == 2) for k, g in grads.items()}\n"
    report = check_gradients(defined(source, "f"))
    assert (report.codes, report.remarks) == ([], []), str(report)


def test_a_constructor_s_option_is_given_layer_normalisation_by_the_name_that_it_has(tmp_path):
    source = LAYER_NORM.replace("num_classes, reg=0.0", "num_classes, reg=0.0, normalization=None")
    source = source.replace("if i < len(sizes) - 1:", 'if i < len(sizes) - 1 and normalization == "layernorm":')
    passed, content = check(tmp_path, HEAD + source, "Net", layer_norm="before")
    assert (passed, content["codes"]) == (True, [])


EQUAL = """
class Net:
    def __init__(self, input_size, hidden_size, output_size):
        a, h, c = input_size, hidden_size, output_size
        self.params = {"W1": np.zeros((a, h)), "b1": np.zeros(h), "W2": np.zeros((h, h)), "b2": np.zeros(h),
                       "W3": np.zeros((h, c)), "b3": np.zeros(c)}
    def loss(self, X, y):
        W1, b1, W2, b2, W3, b3 = self.params.values()
        a1 = np.tanh(X @ W1 + b1)
        a2 = np.tanh(a1 @ W2 + b2)
        p = softmax(a2 @ W3 + b3)
        d3 = (p - one_hot(y, p.shape[1])) / len(y)
        d2 = d3 @ W3.T * (1 - a2**2)
        d1 = d2 @ W2.T * (1 - a1**2)
        grads = [X.T @ d1, d1.sum(0), a1.T @ d2, d2.sum(0), a2.T @ d3, d3.sum(0)]
        return -np.log(p[np.arange(len(y)), y]).mean(), dict(zip(self.params, grads))
"""


def test_a_class_of_two_hidden_layers_of_one_width_is_asked_so_beside_other_options(tmp_path):
    passed, content = check(tmp_path, HEAD + EQUAL, "Net", activation="tanh")
    assert (passed, content["remarks"]) == (True, ["no_penalty"])
    assert check(tmp_path, HEAD + EQUAL.replace("d2 @ W2.T", "d2 @ W2"), "Net", activation="tanh")[1]["codes"] == [
        "transpose"
    ]


def test_a_list_of_dicts_is_learnt_through_what_jax_compiles():
    @jax.jit
    def f(params, x, y):
        first, last = params
        z = x @ first["w"] + first["b"]
        a = jax.nn.relu(z)
        p = jax.nn.softmax(a @ last["w"] + last["b"])
        d = (p - jax.nn.one_hot(y, p.shape[1])) / len(x)
        dz = d @ last["w"].T * (z > 0)
        return [{"w": x.T @ dz, "b": dz.sum(0)}, {"w": a.T @ d, "b": d.sum(0)}]

    with jax.numpy_rank_promotion("allow"):
        report = check_gradients(f)
    assert (report.codes, report.remarks) == ([], ["no_penalty"]), str(report)


def test_libraries_of_an_environment_in_the_file_s_folder_are_no_files_of_the_user(tmp_path):
    folder = tmp_path / ".venv" / "lib" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "some_library.py").write_text("FACTOR = 1 if type(3 / 2) is float else 2\n")
    source = "import sys\nsys.path.append('.venv/lib/site-packages')\nfrom some_library import FACTOR\n" + HEAD
    source += LEFT_OUT.replace(
        "- one_hot(y, W2.shape[1])", "- one_hot(y, W2.shape[1])\n    d = d * FACTOR / len(X)"
    )
    assert check(tmp_path, source.replace(" / len(X),", ",").replace(" / len(X), ", ", "), "f")[0]


def test_a_number_of_examples_that_was_put_in_a_module_does_not_stay_there():
    f = defined(LEFT_OUT.replace("len(X)", "m"), "f")
    assert check_gradients(f).codes == ["batch_mean_missing"]
    assert "m" not in f.__globals__


BOTH_WAYS = """
class Net:
    def __init__(self, input_size, hidden_size, output_size):
        self.params = {"W1": np.zeros((input_size, hidden_size)), "b1": np.zeros(hidden_size),
                       "W2": np.zeros((hidden_size, output_size)), "b2": np.zeros(output_size)}
    def forward(self, train_images, train_labels=None, reg=0.0):
        W1, b1, W2, b2 = (self.params[k] for k in ("W1", "b1", "W2", "b2"))
        h = np.maximum(train_images @ W1 + b1, 0)
        p = softmax(h @ W2 + b2)
        if train_labels is None:
            return p
        N = len(train_labels)
        loss = -np.log(p[np.arange(N), train_labels]).mean() + reg * ((W1**2).sum() + (W2**2).sum())
        d = (p - one_hot(train_labels, p.shape[1])) / N
        dh = d @ W2.T * (h > 0)
        return loss, {"W1": train_images.T @ dh + 2 * reg * W1, "b1": dh.sum(0),
                      "W2": h.T @ d + 2 * reg * W2, "b2": d.sum(0)}
"""


def test_a_forward_pass_that_returns_loss_and_gradients_is_asked_for_both():
    assert check_gradients(defined(BOTH_WAYS)).passed
    assert check_gradients(defined(BOTH_WAYS.replace(" * (h > 0)", ""))).codes == ["mask_missing"]


OF_ONE_MATRIX = """
class Softmax:
    def __init__(self):
        self.batch_size = 128
    def train(self, images, labels, classes):
        self.W = np.random.randn(images.shape[1], classes)
        self.W -= 0.1 * self.get_loss_and_grad(self.W, images, labels)[1]
    def get_loss_and_grad(self, W, batch_data, batch_labels, reg=0.1):
        p, N = softmax(batch_data @ W), len(batch_labels)
        loss = -np.log(p[np.arange(N), batch_labels]).mean() + reg * np.sum(W**2)
        return loss, batch_data.T @ (p - one_hot(batch_labels, p.shape[1])) / N + 2 * reg * W
"""


def test_a_linear_classifier_whose_method_takes_the_weights_is_asked_with_them():
    assert check_gradients(defined(OF_ONE_MATRIX, "Softmax")).passed
    wrong = OF_ONE_MATRIX.replace(" / N + 2 * reg * W", " / N")
    assert check_gradients(defined(wrong, "Softmax")).codes == ["l2_ignored"]


def test_a_penalty_that_a_linear_classifier_s_loss_lacks_is_no_penalty_of_its_bias():
    wrong = OF_ONE_MATRIX.replace(" + reg * np.sum(W**2)", "")
    assert check_gradients(defined(wrong, "Softmax")).codes == ["loss_mismatch"]


IN_COLUMNS = """
def f(stack, data, labels):
    h = [data]
    for l in stack[:-1]:
        h.append(np.maximum(l["W"] @ h[-1] + l["b"], 0))
    p = softmax((stack[-1]["W"] @ h[-1] + stack[-1]["b"]).T).T
    m = data.shape[1]
    loss = -np.log(p[labels, range(m)]).sum() / m
    p[labels, range(m)] -= 1
    d, g = p / m, [{} for _ in stack]
    for l in reversed(range(len(stack))):
        g[l]["W"], g[l]["b"] = d @ h[l].T, d.sum(1, keepdims=True)
        d = stack[l]["W"].T @ d * (h[l] > 0)
    return loss, g
"""
IN_JAX = """
import jax.numpy as jnp

def f(params, X, targets):
    a = [X]
    for w, b in params[:-1]:
        a.append(jnp.maximum(a[-1] @ w.T + b, 0))
    p = softmax(a[-1] @ params[-1][0].T + params[-1][1])
    d, g = (p - targets) / len(X), []
    for k in reversed(range(len(params))):
        g.insert(0, (d.T @ a[k], d.sum(0)))
        d = d @ params[k][0] * (a[k] > 0)
    return -jnp.mean(jnp.sum(jnp.log(p) * targets, axis=1)), g
"""


WITH_VECTORS = IN_COLUMNS.replace('+ l["b"]', '+ l["b"][:, None]').replace('["b"]).T', '["b"][:, None]).T')
WITH_VECTORS = WITH_VECTORS.replace(", keepdims=True", "")


@pytest.mark.parametrize(
    ("source", "derivative"),
    [
        (IN_COLUMNS, " * (h[l] > 0)"),
        (IN_COLUMNS.replace("[labels, range(m)]", "[labels == 1]"), " * (h[l] > 0)"),
        (WITH_VECTORS, " * (h[l] > 0)"),
        (IN_JAX, " * (a[k] > 0)"),
    ],
)
def test_containers_of_the_function_s_own_in_columns_and_in_jax(source, derivative):
    with jax.numpy_rank_promotion("allow"):
        report = check_gradients(defined(source, "f"))
        assert (report.codes, report.remarks) == ([], ["no_penalty"]), str(report)
        assert check_gradients(defined(source.replace(derivative, ""), "f")).codes == ["mask_missing"]


MORE_LAYERS = """
class Net:
    KEYS = ("W_in", "b_in"), ("W_hid", "b_hid"), ("W_out", "b_out")
    def __init__(self, input_dim, hidden_dim, num_classes):
        sizes = (input_dim, hidden_dim), (hidden_dim, hidden_dim), (hidden_dim, num_classes)
        self.params = {}
        for (w, b), size in zip(self.KEYS, sizes):
            self.params[w], self.params[b] = np.random.randn(*size), np.zeros(size[1])
    def loss(self, X, y):
        (A, a), (B, b), (C, c) = ([self.params[key] for key in pair] for pair in self.KEYS)
        h = np.maximum(X @ A + a, 0)
        k = np.maximum(h @ B + b, 0)
        p = softmax(k @ C + c)
        d = (p - one_hot(y, p.shape[1])) / len(y)
        dk = d @ C.T * (k > 0)
        dh = dk @ B.T * (h > 0)
        grads = (X.T @ dh, dh.sum(0)), (h.T @ dk, dk.sum(0)), (k.T @ d, d.sum(0))
        named = {key: g for pair, two in zip(self.KEYS, grads) for key, g in zip(pair, two)}
        return -np.log(p[np.arange(len(y)), y]).mean(), named
"""


def test_a_class_of_more_layers_than_were_found_is_judged_whole_or_refused():
    assert check_gradients(defined(MORE_LAYERS)).passed
    wrong = MORE_LAYERS.replace("(h.T @ dk,", "(0.5 * h.T @ dk,")
    report = check_gradients(defined(wrong))
    assert report.codes == ["constant_factor"], str(report)
    assert [row.leaf for row in report.leaves if row.verdict == "FAIL"] == ["W2"]
    mixed = wrong.replace('"W_in", "b_in"', '"W1", "b1"').replace('"W_out", "b_out"', '"W2", "b2"')
    with pytest.raises(UserError, match="has 3 layers of weights"):
        check_gradients(defined(mixed))


TWO_LOSSES = """
def sigmoid(t):
    return 1 / (1 + np.exp(-t))

def compute_loss(y, tx, w):
    return np.mean((y - tx @ w) ** 2) / 2

def compute_gradient(y, tx, w):
    return -tx.T @ (y - tx @ w) / len(y)

def calculate_loss(y, tx, w):
    p = sigmoid(tx @ w)
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

def calculate_gradient(y, tx, w):
    return tx.T @ (sigmoid(tx @ w) - y) / len(y)
"""


@pytest.mark.parametrize("name", ["compute_gradient", "calculate_gradient"])
def test_of_two_losses_beside_a_gradient_the_one_of_its_name_is_its_loss(name):
    report = check_gradients(defined(TWO_LOSSES, name))
    assert (report.codes, report.remarks) == ([], ["no_penalty", "other_loss"]), str(report)


OWN_GENERATOR = """
class Net:
    def __init__(self, n_features, hidden_size, n_classes, dropout=0.5, random_state=None):
        self.rng, self.dropout = np.random.RandomState(random_state), dropout
        self.coefs_ = [self.rng.randn(n_features, hidden_size), self.rng.randn(hidden_size, n_classes)]
        self.intercepts_ = [np.zeros(hidden_size), np.zeros(n_classes)]
    def mask(self, z):
        return (self.rng.rand(*z.shape) >= self.dropout) / (1 - self.dropout)
    def loss(self, X, y):
        (W1, W2), (b1, b2) = self.coefs_, self.intercepts_
        z = X @ W1 + b1
        mask = self.mask(z)
        h = np.maximum(z, 0) * mask
        p = softmax(h @ W2 + b2)
        d = (p - one_hot(y, p.shape[1])) / len(y)
        dz = d @ W2.T * mask * (z > 0)
        return -np.log(p[np.arange(len(y)), y]).mean(), [X.T @ dz, h.T @ d], [dz.sum(0), d.sum(0)]
"""


def test_a_mask_that_an_object_s_own_generator_draws_anew_is_a_fresh_mask():
    assert check_gradients(defined(OWN_GENERATOR)).passed
    wrong = OWN_GENERATOR.replace("d @ W2.T * mask", "d @ W2.T * self.mask(z)")
    assert check_gradients(defined(wrong)).codes == ["fresh_mask"]


def test_what_a_network_of_more_layers_misses_is_said(tmp_path):
    """And not which weights the usual network has not; a helper of a course is nothing to install."""
    source = """
from gc_utils import relu
def f(params, X, y):
    W1, b1, W2, b2, W3, b3 = (params[n] for n in ("W1", "b1", "W2", "b2", "W3", "b3"))
    a1 = relu(X @ W1 + b1)
    return {}
"""
    with pytest.raises(
        UserError, match=r"net.py:\d+: .*uses gc_utils, which is not installed .* here: put it beside"
    ):
        check(tmp_path, source, "f")
