"""`gradient_check --target`: somebody's file, in a real second process."""

import importlib.util
import json

import pytest

from experiments import gradient_check
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import __main__
from mlp_jax.gradcheck.reading import magics
from mlp_jax.gradcheck.seeded_mistakes import CLASS, FUNCTION
from tests.commands import A_READER_LEAVES
from tests.studies import results_of

pytestmark = pytest.mark.usefixtures("quick_targets")  # those that `server` starts find their own


def check(tmp_path, source, name="TwoLayerNet", **options):
    """(passed, results.json) of the check of a source text."""
    (tmp_path / "net.py").write_text(source)
    config = gradient_check.Config(target=f"{tmp_path}/net.py:{name}", results_dir=str(tmp_path / "r"), **options)
    passed = gradient_check.STUDY.run(config)
    return passed, results_of(tmp_path / "r", "gradient_check")


def test_a_wrong_class(tmp_path, capsys):
    passed, content = check(tmp_path, CLASS.replace("(z2 > 0)", "(X @ W1 > 0)"))
    assert not passed
    assert content["codes"] == ["mask_without_bias"]
    rows = {row["leaf"]: row for row in content["rows"]}
    assert rows.keys() == {"W1", "b1", "W2", "b2"}
    for row in rows.values():
        assert row.keys() >= {"leaf", "equation", "relative_error", "index", "verdict", "codes"}
    assert rows["W1"]["verdict"] == "FAIL"
    assert rows["W1"]["codes"] == ["mask_without_bias"]
    assert rows["W2"]["verdict"] == "PASS"
    assert rows["W2"]["relative_error"] < 1e-12
    assert content["findings"][0]["equation"] == "11"
    assert "mask_without_bias: equation 11, at W1 and b1" in capsys.readouterr().out


def test_a_function_with_normalisation_and_dropout(tmp_path):
    passed, content = check(tmp_path, FUNCTION, "normalised", batch_norm="before", dropout=0.5)
    assert passed
    assert content["codes"] == []
    assert [row["leaf"] for row in content["rows"]] == ["W1", "b1", "gamma1", "beta1", "W2", "b2"]


def test_prints_and_relative_imports_do_not_disturb(tmp_path, capfd):
    (tmp_path / "helper.py").write_text("import numpy as np\n")
    noise = "print('noise'); import os, sys; os.write(1, b'noise'); sys.stderr.write('noise'); "
    source = f"from .helper import np\nprint('noise')\n{CLASS}".replace("N = X", f"{noise}N = X")
    passed, _ = check(tmp_path, source)
    assert passed
    assert "noise" not in "".join(capfd.readouterr())


def test_a_file_in_a_package(tmp_path, monkeypatch):
    folder = tmp_path / "course" / "mlp_jax"  # a name that is loaded already
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").touch()
    (folder.parent / "base.py").write_text("import numpy as np\n")
    (folder / "net.py").write_text(f"from ..base import np\n{CLASS}")
    monkeypatch.chdir(tmp_path)
    for target in (f"{folder}/net.py:TwoLayerNet", "course.mlp_jax.net:TwoLayerNet"):
        assert gradient_check.STUDY.run(gradient_check.Config(target=target, results_dir="r"))


UNUSABLE = [
    ("def broken(:", "net.py:1: SyntaxError"),
    ("import not_there; not_there.x()", "net.py:1: ModuleNotFoundError: uses not_there, which is not installed"),
    (
        "import not_there\nclass Part(not_there.Base): pass\nPart()",
        "net.py:3: ModuleNotFoundError: uses not_there, which is not installed",
    ),
    ("class Other: pass", "has no TwoLayerNet: it has Other"),
    (CLASS.replace("N = X.shape[0]", "N = X.shap[0]"), "net.py:13: AttributeError"),
    (CLASS.replace("N = X.shape[0]", "import os; os._exit(3)"), "ended its process (exit code 3)"),
    (CLASS.replace("N = X.shape[0]", "raise SystemExit"), "net.py:13: SystemExit"),
    (CLASS.replace("return loss, grads", "return loss"), "returned float64, not gradients"),
    ("raise SystemExit(0)", "net.py:1: SystemExit"),
    # dies before its first answer, mostly before the first question
    (
        "import os, threading, time\nthreading.Timer(0.02, os._exit, [4]).start()\n"
        + CLASS.replace("N = X.shape[0]", "time.sleep(9); N = X.shape[0]"),
        "ended its process (exit code 4)",
    ),
]


@pytest.mark.parametrize(("source", "words"), UNUSABLE)
def test_targets_that_cannot_be_used(source, words, tmp_path):
    with pytest.raises(UserError) as caught:
        check(tmp_path, source)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "source", ["while True: pass", CLASS.replace("N = X.shape[0]", "\n        while True: pass")]
)
def test_a_target_that_never_ends_is_ended(source, server, tmp_path):
    """In its own time, and with nothing left behind that the command would wait for."""
    (tmp_path / "net.py").write_text(source)
    done = server.run("gradient_check", "--target=net.py:TwoLayerNet", "--timeout=0.5", folder=tmp_path)
    assert done.status == 2
    assert "longer than 0.5 seconds and was ended" in done.err
    assert done.err.count("\n") == 1


def test_an_earlier_result_survives_a_target_that_cannot_be_used(tmp_path):
    check(tmp_path, CLASS)
    file = tmp_path / "r" / "gradient_check" / "results.json"
    before = file.read_text()
    with pytest.raises(UserError):
        check(tmp_path, "1 / 0")
    assert file.read_text() == before


DOORS = {
    "a folder above without __init__.py": ({"p/__init__.py": "", "p/base.py": "A = 1\n"}, "p/q/net.py",
                                           "from ..base import *\n"),
    "a sibling in Python 2": (
        {"p/__init__.py": "", "p/q/__init__.py": "from p.q.other import *\n",
         "p/q/other.py": "class A:\n  print 'x'\n bad\n"},
        "p/q/net.py",
        "",
    ),
    "Python 2's names": ({}, "net.py", "from past.builtins import xrange\nfrom future.utils import iteritems\n"
                        "from future import standard_library\nstandard_library.install_aliases()\n"),
    "Python 2 itself": ({}, "net.py", "def show(x):\n    print 'loss %d' % x\n"),
    "data beside it": ({"d.txt": "1"}, "net.py", "D = open('d.txt').read()\n"),
    "a package of its own name": ({"net/__init__.py": "", "net/base.py": "A = 1\n"}, "net/net.py",
                                  "from net.base import A\n\ndef more(x=A + 1):\n    return x\n"),
    "a package with a member of its name": (
        {"src/net/net.py": "A = 1\n", "src/net/base.py": "from net.net import A\n"},
        "src/net/parts/mlp.py",
        "from net.net import A\nfrom net.base import *\n",
    ),
    "a package with a file of its name in a folder of it": ({"net/base.py": "A = 1\n"}, "net/parts/net.py",
                                                            "from net.base import A\n"),
    "a module for pictures": ({}, "net.py", "import no_such_plots.colours as c\nfrom no_such_data import load\n"),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_a_file_is_imported_as_from_its_own_folder(door, tmp_path):
    files, place, head = DOORS[door]
    for name, text in {**files, place: f"{head}{CLASS}"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    config = gradient_check.Config(target=f"{tmp_path}/{place}:TwoLayerNet", results_dir=str(tmp_path / "r"))
    assert gradient_check.STUDY.run(config)


def test_a_class_may_be_derived_from_what_a_missing_module_has(tmp_path):
    assert check(tmp_path, f"import not_there\nclass Part(not_there.Base): pass\n{CLASS}")[0]


def test_a_missing_module_is_named(tmp_path, capsys):
    assert check(tmp_path, f"import no_such_plots\n{CLASS}")[0]
    assert "no_such_plots" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"net.py:\d+: .*pip install no_such_plots"):
        check(tmp_path, f"import no_such_plots\n{CLASS}".replace("N = X.shape[0]", "N = no_such_plots.f(X)"))


@pytest.mark.parametrize("line", ["no_such_plots.set(font='serif')", "raise ValueError", "import no_such_data"])
def test_a_file_beside_it_is_what_it_defines_where_it_stops(line, tmp_path, capsys):
    (tmp_path / "helpers.py").write_text(f"import no_such_plots\n\ndef same(x):\n    return x\n\n{line}\n")
    wanted = "    def loss("
    assert check(tmp_path, "from helpers import same\n" + CLASS.replace(wanted, f"    same = same\n{wanted}"))[0]
    assert ("helpers.py:6" in capsys.readouterr().out) == ("import" not in line)


def notebook(tmp_path, name, *texts):
    """Whether the check of what a notebook with these cells defines passes."""
    cells = [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in texts]
    (tmp_path / "net.ipynb").write_text(json.dumps({"cells": cells}))
    config = gradient_check.Config(target=f"{tmp_path}/net.ipynb:{name}", results_dir=str(tmp_path / "r"))
    return gradient_check.STUDY.run(config)


def test_a_notebook_is_what_it_defines(tmp_path):
    first, last = "%matplotlib inline\n!ls\nimport numpy as np", "data = input('?')\nTwoLayerNet.loss = None"
    assert notebook(tmp_path, "TwoLayerNet", first, CLASS, last, "%%bash\nls")
    assert notebook(tmp_path, "TwoLayerNet", first, CLASS, "grader = Grader()", "grader[1] = TwoLayerNet")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("%%time\n", ""),
        ("%%capture out --no-stderr\n%%timeit -n1\n!pip install \\\n  x\n", "\nTwoLayerNet?"),
        ("files = !ls\nt = %timeit -o sum(range(3))\na, b = !ls\n", "\n?TwoLayerNet.loss\nTwoLayerNet??\n"),
        ("if files is None:\n    !echo \"it's\nelse:\n    %cd x\n    np?\n", ""),
    ],
)
def test_a_cell_with_magics_is_the_python_that_it_has(before, after, tmp_path):
    other = ["%%writefile numpy.py\nraise OSError", "%%html\n<b>", "%%bash\nexit 1", "%%capture\n%%sh\nexit 1"]
    assert notebook(tmp_path, "TwoLayerNet", *other, "import numpy as np", before + CLASS + after)


def test_what_only_looks_like_a_magic_stays():
    text = "last = (7\n  % 4\n)\ns = '''\n!ls\n%cd x\nwhat?\n'''\nprint('a=%d' % last)\nlast = 7 \\\n  % 4\n"
    assert magics.python(text) == text
    assert magics.python(f"%cd x\n{text}") == f"pass\n{text}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("input('seed?')", "asks for input"),
        ("import sys; sys.stdin.readline()", "asks for input"),
        ("open('no.npy')", "needs this file when"),
    ],
)
def test_what_an_import_asks_for_is_said(line, words, tmp_path):
    with pytest.raises(UserError, match=words):
        check(tmp_path, f"{line}\n{CLASS}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("net = TwoLayerNet(sizes)", "NameError: name 'sizes' is not defined"),
        (
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('data')\np.parse_args()",
            "asks for arguments",
        ),
    ],
)
def test_a_file_that_stops_is_what_it_defines(line, words, tmp_path, capsys):
    assert check(tmp_path, f"{CLASS}\n{line}\n")[0]
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("import sys; sys.exit(3)", "net.py", "net has no layer.*for it stops: net.py:1: SystemExit: 3"),
        ("import sys; sys.exit(3)", "net.py:Net", "cannot import .*net.py:1: SystemExit: 3"),
        ("1 / 0", "net.py", "for it stops: net.py:1: ZeroDivisionError"),
        ("def f_backward(dout, cache): pass\nraise SystemExit", "net.py", "for it stops: net.py:2: SystemExit"),
    ],
)
def test_where_a_file_without_what_was_named_stops_is_said(line, name, words, tmp_path):
    (tmp_path / "net.py").write_text(line)
    with pytest.raises(UserError, match=words):
        gradient_check.STUDY.run(
            gradient_check.Config(target=f"{tmp_path}/{name}", results_dir=str(tmp_path / "r"))
        )


def test_what_a_notebook_has_are_its_own_names(tmp_path):
    with pytest.raises(UserError, match=r"has no Nothing: it has TwoLayerNet$"):
        notebook(tmp_path, "Nothing", "import numpy as np", CLASS)


def test_reshape_has_the_argument_that_numpy_1_had(tmp_path):
    assert check(tmp_path, CLASS.replace("N = X.shape[0]", "X = np.reshape(X, newshape=X.shape); N = len(X)"))[0]


FORWARD_CELL = """
def forward_prop(W1, B1, W2, B2, X):
    Z1 = X @ W1 + B1
    A1 = np.maximum(Z1, 0)
    E = np.exp(A1 @ W2 + B2)
    A2 = E / E.sum(1, keepdims=True)
    return Z1, A1, A2
"""
BACKWARD_CELL = """
def back_prop(Z1, A1, A2, W2, X, Y):
    d = (A2 - Y) / len(X)
    dW2, dB2 = A1.T @ d, d.sum(0)
    d = d @ W2.T * (Z1 > 0)
    dW1, dB1 = X.T @ d, d.sum(0)
    return dW1, dB1, dW2, dB2
"""


def test_two_functions_in_two_cells_of_a_notebook(tmp_path):
    assert notebook(tmp_path, "back_prop", "%matplotlib inline\nimport numpy as np", FORWARD_CELL, BACKWARD_CELL)


NET_CELL = """
class Net:
    def __init__(self, input_size, hidden_size, output_size):
        self.W1, self.b1 = np.random.randn(input_size, hidden_size), np.zeros(hidden_size)
        self.W2, self.b2 = np.random.randn(hidden_size, output_size), np.zeros(output_size)
"""
METHODS_CELL = """
def forward(self, X):
    self.X, self.h = X, np.tanh(X @ self.W1 + self.b1)
    s = self.h @ self.W2 + self.b2
    return np.exp(s - s.max(1)[:, None]) / np.exp(s - s.max(1)[:, None]).sum(1)[:, None]

def backward(self, output, y):
    d = (output - np.eye(output.shape[1])[y]) / len(y)
    dz = d @ self.W2.T * (1 - self.h**2)
    self.dW1, self.db1, self.dW2, self.db2 = self.X.T @ dz, dz.sum(0), self.h.T @ d, d.sum(0)

Net.forward = forward
Net.backward = backward
net = Net(784, 100, 10)
net.train(undefined)
"""


def test_methods_that_a_cell_of_a_notebook_gives_a_class(tmp_path):
    assert notebook(tmp_path, "Net", "import numpy as np", NET_CELL, METHODS_CELL)


NORMALISED = """
import numpy as np

class Net:
    def __init__(self, input_dim, hidden_dim, num_classes):
        self.params = {"W1": np.zeros((input_dim, hidden_dim)), "b1": np.zeros(hidden_dim)}
        self.params |= {"gamma1": np.ones(hidden_dim), "beta1": np.zeros(hidden_dim)}
        self.params |= {"W2": np.zeros((hidden_dim, num_classes)), "b2": np.zeros(num_classes)}
    def loss(self, X, y):
        p, N = self.params, len(y)
        z = X @ p["W1"] + p["b1"]
        std = np.sqrt(z.var(0) + 1e-5)
        n = (z - z.mean(0)) / std
        a = p["gamma1"] * n + p["beta1"]
        s = np.maximum(a, 0) @ p["W2"] + p["b2"]
        q = np.exp(s - s.max(1, keepdims=True))
        q = q / q.sum(1, keepdims=True)
        d = (q - np.eye(q.shape[1])[y]) / N
        da = d @ p["W2"].T * (a > 0)
        dn = da * p["gamma1"]
        dz = (dn - dn.mean(0) - n * (dn * n).mean(0)) / std
        grads = {"W2": np.maximum(a, 0).T @ d, "b2": d.sum(0), "gamma1": (da * n).sum(0), "beta1": da.sum(0)}
        return -np.log(q[range(N), y]).mean(), {**grads, "W1": X.T @ dz, "b1": dz.sum(0)}
"""


def test_a_class_that_is_always_normalised(tmp_path, capsys):
    assert check(tmp_path, NORMALISED, "Net")[0]
    assert "gamma1, beta1 are not checked" in " ".join(capsys.readouterr().out.split())
    passed, content = check(tmp_path, NORMALISED.replace("(da * n)", "da"), "Net", batch_norm="before")
    assert (passed, content["codes"]) == (False, ["bn_n_missing"])


def test_a_class_that_is_always_normalised_and_gives_no_loss_is_asked_for_the_option(tmp_path):
    without = NORMALISED.replace("return -np.log(q[range(N), y]).mean(), ", "return ")
    with pytest.raises(UserError, match="Net: gamma1, beta1 are not checked: say what is normalised by --batch"):
        check(tmp_path, without, "Net")
    assert check(tmp_path, without, "Net", batch_norm="before")[0]


LINEAR_IN_TORCH = """
import torch

def softmax_loss(W: torch.Tensor, X: torch.Tensor, y: torch.Tensor, reg: float):
    dW = torch.zeros_like(W)
    p = torch.softmax(X.mm(W), dim=1)
    loss = -p[torch.arange(len(y)), y].log().mean() + reg * (W * W).sum()
    p[torch.arange(len(y)), y] -= 1
    return loss, dW + X.t().mm(p) / len(y) + 2 * reg * W
"""


def test_a_linear_classifier_of_torch(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("NOT TESTED: torch is not installed")
    assert check(tmp_path, LINEAR_IN_TORCH, "softmax_loss")[0]
    assert not check(tmp_path, LINEAR_IN_TORCH.replace("2 * reg * W", "reg * W"), "softmax_loss")[0]


def test_a_reader_that_leaves_early_is_no_error(server, tmp_path):
    (tmp_path / "net.py").write_text("def neg_forward(x): return -x, 0\ndef neg_backward(d, cache): return -d\n")
    assert server.checked(f"{tmp_path}/net.py:neg_backward", first=A_READER_LEAVES) == (141, "", "")


def test_a_file_beside_that_does_not_compile_is_named_where_it_is_used(tmp_path):
    (tmp_path / "common.py").write_text("def softmax(:\n")
    source = "from common import softmax\n\n\ndef f(params, x, y, l2):\n    return softmax(x)\n"
    with pytest.raises(UserError, match="uses common") as told:
        check(tmp_path, source, "f")
    assert "pip install" not in str(told.value)
    assert "\n" not in str(told.value)


IN_TORCH = """
import torch

def f(params, x, y, l2):
    weights = {name: value.clone().requires_grad_() for name, value in params.items()}
    hidden = torch.relu(x @ weights["W1"] + weights["b1"])
    loss = torch.nn.functional.cross_entropy(hidden @ weights["W2"] + weights["b2"], y)
    loss = loss + l2 * sum((weights[name] ** 2).sum() for name in ("W1", "W2"))
    grads = torch.autograd.grad(loss, list(weights.values()))
    return loss, dict(zip(weights, grads))
"""


def test_a_gradient_of_torch(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("NOT TESTED: torch is not installed")
    assert check(tmp_path, IN_TORCH, "f", arrays="torch")[0]
    twice = IN_TORCH.replace("zip(weights, grads)", "zip(weights, (2 * grad for grad in grads))")
    passed, content = check(tmp_path, twice, "f", arrays="torch")
    assert (passed, content["codes"]) == (False, ["constant_factor"])


IN_GRAD = """
import torch

class Net:
    def __init__(self, input_dim, hidden_dim, output_dim):
        self.W1, self.b1 = torch.randn(input_dim, hidden_dim) * .1, torch.zeros(hidden_dim)
        self.W2, self.b2 = torch.randn(hidden_dim, output_dim) * .1, torch.zeros(output_dim)

    def forward(self, X):
        self.X, self.z = X, X @ self.W1 + self.b1
        self.h = self.z.clamp(min=0)
        self.p = torch.softmax(self.h @ self.W2 + self.b2, dim=1)
        return self.p

    def backward(self, y):
        d = self.p.clone()
        d[torch.arange(len(y)), y] -= 1
        d /= len(y)
        self.W2.grad, self.b2.grad = self.h.t() @ d, d.sum(0)
        dz = d @ self.W2.t() * (self.z > 0)
        self.W1.grad, self.b1.grad = self.X.t() @ dz, dz.sum(0)
"""


def test_a_gradient_of_torch_that_is_left_in_grad(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("NOT TESTED: torch is not installed")
    assert check(tmp_path, IN_GRAD, "Net")[0]
    passed, content = check(tmp_path, IN_GRAD.replace(" * (self.z > 0)", ""), "Net")
    assert (passed, content["codes"]) == (False, ["mask_missing"])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        *((f"--timeout={value}", "--timeout must be a number in (0") for value in ("inf", "nan", "0", "-3")),
        ("--timeout=abc", "--timeout must be a number, not 'abc'"),
        *((f"--seed={value}", "--seed must be a whole number") for value in ("-1", "abc", "1.5", "4294967296")),
        ("--nosuch=1", "'nosuch'"),
        ("--bn_eps=-1", "--bn_eps must be"),
        ("--scale=0", "--scale must be"),
        ("--dropout=1", "dropout must be"),
        ("--activation=rleu", "Did you mean 'relu'?"),
        ("--arrays=list", "unknown arrays 'list'"),
        ("--hidden=100000000", "--hidden must be a whole number of at most 1000"),
        ("--hidden=5,x", "--hidden must be whole numbers"),
        ("--negative_slope=0.3", "is of a network with --activation=leaky_relu"),
        ("another.py", "name one target"),
    ],
)
def test_a_bad_option_is_told_in_one_line(option, words, capsys):
    assert __main__.main(["net.py:Net", option]) == 2
    out, told = capsys.readouterr()
    assert (out, told[:7], told.count("\n"), words in told) == ("", "error: ", 1, True), told


def test_the_help_of_the_command(capsys):
    assert __main__.main(["--help"]) == 0
    assert "--timeout" in capsys.readouterr().out
