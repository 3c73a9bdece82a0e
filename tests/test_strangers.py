"""Gradients as strangers have them: taken as they are, right ones right and wrong ones wrong."""

import jax
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import check_gradients
from mlp_jax.nn.config import MLPConfig
from tests.strangers import BACKWARD_OF_ALL, HEAD, LISTED, PYTHON_2, STRANGERS, TRAINS, defined
from tests.test_target import check

pytestmark = pytest.mark.usefixtures("quick_targets")


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_gradient_of_this_kind(kind):
    source, name, (right, wrong), code = STRANGERS[kind]
    assert right in source
    report = check_gradients(defined(source, name))
    assert report.passed, str(report)
    report = check_gradients(defined(source.replace(right, wrong), name))
    assert not report.passed
    assert report.codes == [code] or not code


@pytest.mark.parametrize("bias", ["bs[k].ravel()", "bs[k]"])
def test_lists_of_weights_and_of_biases_by_names_of_their_own_in_three_layers(bias):
    source, config = LISTED.replace("bs[k].ravel()", bias), MLPConfig(hidden=(6, 4))
    assert check_gradients(defined(source, "f"), config).passed
    report = check_gradients(defined(source.replace(" * (a[k] > 0)", ""), "f"), config)
    assert report.codes == ["mask_missing"]


@pytest.mark.parametrize("keeps", ["", ", keepdims=True"])
def test_a_number_for_each_bias_is_one_mistake_at_both(keeps):
    """That of the last layer is 0 and tells nothing by itself."""
    source, name, _, _ = STRANGERS["the same with a bias summed over the units"]
    source = source.replace("axis=1, keepdims=True) / m", f"{keeps.removeprefix(', ')}) / m")
    assert "axis=1" not in source
    report = check_gradients(defined(source, name))
    assert report.codes == ["bias_over_classes"], str(report)


def test_a_file_of_python_2_with_what_python_3_reads_otherwise(tmp_path, capsys):
    assert check(tmp_path, PYTHON_2, "Net")[0]
    assert "net.py:11 wants a whole number" in capsys.readouterr().out
    passed, content = check(tmp_path, PYTHON_2.replace(" * (acts[0] > 0)", ""), "Net")
    assert (passed, content["codes"]) == (False, ["mask_missing"])


def test_a_backward_pass_that_takes_data_and_parameters_is_a_network_s(tmp_path):
    """Although a forward pass of its name stands beside it, as beside a layer's."""
    source = HEAD + BACKWARD_OF_ALL
    passed, content = check(tmp_path, source, "model_backward")
    assert (passed, content["remarks"]) == (True, ["penalty_over_n"])
    passed, content = check(tmp_path, source.replace("dZ2.sum(1", "(2 * dZ2).sum(1"), "model_backward")
    assert (passed, content["codes"]) == (False, ["constant_factor"])


def test_a_file_that_trains_is_what_it_defines(tmp_path, capsys):
    assert check(tmp_path, PYTHON_2 + TRAINS, "Net")[0]
    assert "it still runs after" in capsys.readouterr().out


def test_a_callable_object_without_a_hash_is_asked_by_the_names_of_its_arguments():
    source, name, (right, wrong), _ = STRANGERS["lists of weights and of biases, one-hot labels"]

    def held(text):
        function = defined(text, name)

        class Held:
            __hash__ = None

            def __call__(self, X, Y_onehot, weights, biases):
                return function(X, Y_onehot, weights, biases)

        return Held()

    assert check_gradients(held(source)).passed
    assert not check_gradients(held(source.replace(right, wrong))).passed


TODO = """
class f:
    def __init__(self, D, H, C):
        self.params = {}
        # TODO
        pass
    def loss(self, X, y):
        return 0.0, {}
"""
ABSTRACT = """
import abc

class f(abc.ABC):
    @abc.abstractmethod
    def loss(self, X, y):
        return 0.0
"""
PLACEHOLDER = """
class f:
    def __init__(self, D, H, C):
        self.W1, self.b1, self.W2, self.b2 = np.zeros((D, H)), np.zeros(H), np.zeros((H, C)), np.zeros(C)
    def loss(self, X, y, reg=0.0):
        # *** YOUR CODE
        pass
        return None, {}
"""
UNWRITTEN = {
    "an abstract class": ABSTRACT,
    "nothing": "def f(params, X, y, reg):\n    pass\n",
    "NotImplementedError": "def f(params, X, y, reg):\n    raise NotImplementedError('later')\n",
    "a TODO": TODO,
    "a place for code": f"import numpy as np\n{PLACEHOLDER}",
}


def test_a_solution_that_keeps_its_todo_and_pass_is_judged(tmp_path):
    source = PYTHON_2.replace("    def loss(", "    # TODO\n    def loss(", 1)
    source = source.replace("        return ", "        pass\n        return ", 1)
    assert "# TODO" in source
    assert "pass\n" in source
    assert check(tmp_path, source, "Net")[0]


ONE_BY_ONE = """
class Net:
    def __init__(self, sizes):
        self.weights = [np.zeros((b, a)) for a, b in zip(sizes, sizes[1:])]
        self.biases = [np.zeros((b, 1)) for b in sizes[1:]]
    def backprop(self, x, y):
        a, zs = [x], []
        for W, b in zip(self.weights, self.biases):
            zs.append(W @ a[-1] + b)
            a.append(np.tanh(zs[-1]))
        d, nabla_b, nabla_w = self.cost_derivative(a[-1], y), [], []
        for k in reversed(range(len(zs))):
            nabla_b, nabla_w = [d, *nabla_b], [d @ a[k].T, *nabla_w]
            d = self.weights[k].T @ d
        return nabla_b, nabla_w
    def cost_derivative(self, output_activations, y):
        \"\"\"The derivative.\"\"\"
        return output_activations - y
"""


def test_a_short_method_is_not_taken_for_an_unwritten_one():
    with pytest.raises(UserError, match="one example at a time"):
        check_gradients(defined(ONE_BY_ONE, "Net"))


def test_a_vector_whose_layout_nothing_tells_is_refused():
    source = STRANGERS["a vector of matrices with a column of biases, without a loss"].source
    with pytest.raises(UserError, match="how its vector holds the parameters cannot be told"):
        check_gradients(defined(source.replace(".ravel() for", "[::-1].ravel() for"), "theta_gradient"))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(z):\n    return z * (1 - z)\n", "f does not take parameters.*check_vjp"),
        ("def f(y_true, y_score, k=5):\n    return np.take(y_true, y_score[:k])\n", "f does not take parameters"),
        ("def f(X, y, n_hidden=10, lr=0.1):\n    return np.zeros((X.shape[1], n_hidden))\n", "as training does"),
    ],
)
def test_what_takes_too_little_for_a_network_is_refused_with_what_would_do(source, told):
    with pytest.raises(UserError, match=told):
        check_gradients(defined(source, "f"))


def test_a_custom_vjp_function_is_refused_with_what_would_do():
    with pytest.raises(UserError, match=r"check_custom_vjp\(function, x\)"):
        check_gradients(jax.custom_vjp(lambda x: x))


def test_what_is_empty_is_said_to_be():
    source = PLACEHOLDER.replace("# *** YOUR CODE", "").replace("pass", "")
    with pytest.raises(UserError, match="returned None, or an empty container, not gradients"):
        check_gradients(defined(source, "f"))


@pytest.mark.parametrize("what", UNWRITTEN)
def test_what_is_not_written_yet_is_refused_as_that(what, tmp_path):
    with pytest.raises(UserError, match="f is not written yet"):
        check(tmp_path, UNWRITTEN[what], "f")


def test_a_name_from_a_module_that_is_not_there(tmp_path):
    source = "from no_such_common import *\n\ndef f(params, X, y):\n    return affine(X)\n"
    with pytest.raises(UserError, match="'affine' is not defined, which may come from no_such_common"):
        check(tmp_path, source, "f")


def test_a_class_that_only_trains_is_refused_in_a_sentence():
    class Net:
        def __init__(self, sizes):
            a, h, c = sizes
            self.W1, self.b1, self.W2, self.b2 = np.zeros((a, h)), np.zeros(h), np.zeros((h, c)), np.zeros(c)

        def train(self, X, y):
            self.W1 -= X.T @ X

    with pytest.raises(UserError, match="no gradient but what its training subtracts"):
        check_gradients(Net)


ADDED_UP = """
class Net:
    def __init__(self, D, H, C):
        self.W1, self.b1, self.W2, self.b2 = np.zeros((D, H)), np.zeros(H), np.zeros((H, C)), np.zeros(C)
        self.dW1, self.db1, self.dW2, self.db2 = (0 * a for a in (self.W1, self.b1, self.W2, self.b2))
    def forward(self, X):
        self.X, self.h = X, np.maximum(X @ self.W1 + self.b1, 0)
        self.p = softmax(self.h @ self.W2 + self.b2)
        return self.p
    def backward(self, y):
        d = (self.p - one_hot(y, self.p.shape[1])) / len(y)
        self.dW2 += self.h.T @ d
        self.db2 += d.sum(0)
        d = d @ self.W2.T * (self.h > 0)
        self.dW1 += self.X.T @ d
        self.db1 += d.sum(0)
"""


def test_gradients_that_are_added_up_from_call_to_call_are_found_unless_something_sets_them_to_0():
    assert check_gradients(defined(ADDED_UP)).codes == ["state_between_calls"]
    assert check_gradients(defined(ADDED_UP.replace("+=", "="))).passed
    assert check_gradients(defined(f"{ADDED_UP}    def zero_grad(self):\n        self.dW1[:] = 0\n")).passed


STEP = """
def train_step(params, X, y, lr=0.1):
    grads = gradient(params, X, y)
    return {k: params[k] - lr * grads[k] for k in params}

def gradient(params, X, y):
    h = np.maximum(X @ params["W1"] + params["b1"], 0)
    p = softmax(h @ params["W2"] + params["b2"])
    labels = np.eye(y.max() + 1)[y]
    d = (p - labels) / len(y)
    dh = d @ params["W2"].T * (h > 0)
    return {"W1": X.T @ dh, "b1": dh.sum(0), "W2": h.T @ d, "b2": d.sum(0)}
"""


def test_an_optimisers_step_that_has_a_learning_rate_of_its_own_is_refused():
    with pytest.raises(UserError, match="train_step is an optimiser's step, which returns parameters"):
        check_gradients(defined(STEP, "train_step"))


def test_where_it_stops_is_told_where_nothing_else_is_wrong():
    report = check_gradients(defined(STEP, "gradient"))
    assert (report.codes, report.remarks, report.passed) == (["fails"], ["no_penalty"], False)
    assert len(report.notes) == 1
    assert "a class is missing from the labels" in " ".join(str(report).split())
    *leaves, call = report.leaves
    assert all(row.verdict == "PASS" for row in leaves)
    assert (call.verdict, call.codes) == ("FAIL", ("fails",))


BY_LABELS = """
def f(params, X, y):
    W1, b1, W2, b2 = (params[k] for k in ("W1", "b1", "W2", "b2"))
    z = X @ W1 + b1
    h = np.maximum(z, 0)
    p = softmax(h @ W2 + b2)
    T = 1.0 * (y[:, None] == np.unique(y))
    d = (p - T) / len(y)
    dz = d @ W2.T * (z > 0)
    return -np.sum(T * np.log(p)) / len(y), {"W1": X.T @ dz, "b1": dz.sum(0), "W2": h.T @ d, "b2": d.sum(0)}
"""


def test_a_loss_of_the_labels_that_there_are_is_no_other_loss():
    report = check_gradients(defined(BY_LABELS, "f"))
    assert [finding.code for finding in report.findings] == ["no_penalty", "fails"], str(report)
    assert len(report.notes) == 1


def test_a_bias_that_a_function_leaves_out_is_told():
    source = STRANGERS["a function without a bias of the scores"].source
    report = check_gradients(defined(source, "f"))
    assert report.passed
    assert any("b2 is not checked" in note for note in report.notes)
