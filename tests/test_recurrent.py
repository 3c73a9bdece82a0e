"""Recurrent cells: right ones with their weights in a dict, and mistakes by name."""

import re
import types

import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import layers

COLUMNS = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def rnn_cell_forward(xt, a_prev, parameters):  # columns are examples; the scores have no upstream gradient
    Wax, Waa, ba = parameters["Wax"], parameters["Waa"], parameters["ba"]
    a_next = np.tanh(Wax @ xt + Waa @ a_prev + ba)
    scores = parameters["Wya"] @ a_next + parameters["by"]
    return a_next, scores, (a_next, a_prev, xt, parameters)

def rnn_cell_backward(da_next, cache):
    a_next, a_prev, xt, parameters = cache
    dz = (1 - a_next**2) * da_next
    return {
        "dxt": parameters["Wax"].T @ dz, "da_prev": parameters["Waa"].T @ dz,
        "dWax": dz @ xt.T, "dWaa": dz @ a_prev.T, "dba": dz.sum(axis=1, keepdims=True),
    }

def lstm_cell_forward(xt, a_prev, c_prev, parameters):
    both = np.vstack([a_prev, xt])
    f, i, o = (sigmoid(parameters[f"W{g}"] @ both + parameters[f"b{g}"]) for g in "fio")
    c_new = np.tanh(parameters["Wc"] @ both + parameters["bc"])
    c_next = f * c_prev + i * c_new
    a_next = o * np.tanh(c_next)
    return a_next, c_next, parameters["Wy"] @ a_next, (both, c_prev, f, i, o, c_new, c_next, parameters)

def lstm_cell_backward(da_next, dc_next, cache):
    both, c_prev, f, i, o, c_new, c_next, parameters = cache
    dc = dc_next + da_next * o * (1 - np.tanh(c_next) ** 2)
    dz = {"f": dc * c_prev * f * (1 - f), "i": dc * c_new * i * (1 - i),
          "o": da_next * np.tanh(c_next) * o * (1 - o), "c": dc * i * (1 - c_new**2)}
    dboth = sum(parameters[f"W{g}"].T @ d for g, d in dz.items())
    grads = {"da_prev": dboth[: len(f)], "dxt": dboth[len(f) :], "dc_prev": dc * f}
    for g, d in dz.items():
        grads |= {f"dW{g}": d @ both.T, f"db{g}": d.sum(axis=1, keepdims=True)}
    return grads

def rnn_forward(x, a0, parameters):
    a, caches, a_next = np.zeros((*a0.shape, x.shape[2])), [], a0
    for t in range(x.shape[2]):
        a_next, _, cache = rnn_cell_forward(x[:, :, t], a_next, parameters)
        a[:, :, t] = a_next
        caches.append(cache)
    return a, (caches, x)

def rnn_backward(da, caches):
    cells, x = caches
    found, da_prev = {"dx": np.zeros_like(x)}, 0
    for t in reversed(range(x.shape[2])):
        grads = rnn_cell_backward(da[:, :, t] + da_prev, cells[t])
        da_prev, found["dx"][:, :, t] = grads["da_prev"], grads["dxt"]
        for name in ("dWax", "dWaa", "dba"):
            found[name] = found.get(name, 0) + grads[name]
    return {**found, "da0": da_prev}
"""
ROWS = """
import numpy as np

def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)

def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    dz = dnext_h * (1 - next_h**2)
    return dz @ Wx.T, dz @ Wh.T, x.T @ dz, prev_h.T @ dz, dz.sum(axis=0)

def linear_forward(x, params):
    return x @ params["W"] + params["b"], (x, params)

def linear_backward(dout, cache):
    x, params = cache
    return dout @ params["W"].T, {"W": x.T @ dout, "b": dout.sum(axis=0)}
"""


def module(source):
    found = types.ModuleType("student")
    exec(compile(source, "student.py", "exec"), vars(found))
    return found


@pytest.mark.parametrize("source", [COLUMNS, ROWS], ids=["columns", "rows"])
def test_right_cells(source):
    report = layers.check_module(module(source))
    assert (report.codes, report.remarks, report.refused) == ([], [], ()), str(report)
    assert len(report.layers) == len(re.findall(r"def \w+_backward", source))


def test_weights_on_which_no_output_with_a_gradient_depends_are_no_leaves():
    report = layers.check_layer("rnn_cell_backward", module(COLUMNS))
    assert [row.leaf for row in report.leaves] == ["xt", "a_prev", "Wax", "Waa", "ba"]


@pytest.mark.parametrize(
    ("name", "old", "new", "code", "leaves"),
    [
        ("rnn_cell_backward", "(1 - a_next**2) * da_next", "da_next", "mask_missing", "xt a_prev Wax Waa ba"),
        ("rnn_cell_backward", "(1 - a_next**2) * ", "a_next * (1 - a_next) * ", "other_activation",
         "xt a_prev Wax Waa ba"),
        ("rnn_cell_backward", "dz @ a_prev.T", "dz @ a_next.T", "own_output", "Waa"),
        ("rnn_cell_backward", "dz.sum(axis=1", "dz.mean(axis=1", "bias_mean", "ba"),
        ("rnn_cell_backward", 'parameters["Waa"].T @ dz', 'parameters["Waa"] @ dz', "transpose", "a_prev"),
        ("rnn_cell_backward", '"dba": dz.sum(axis=1, keepdims=True)', '"dba": dz', "wrong_shape", "ba"),
        ("lstm_cell_backward", '"dc_prev": dc * f', '"dc_prev": -dc * f', "sign", "c_prev"),
        ("rnn_backward", "found.get(name, 0) + grads[name]", "-(grads[name] - found.get(name, 0))", "sign",
         "Wax Waa ba"),
    ],
)  # fmt: skip
def test_mistakes_in_cells_with_their_weights_in_a_dict(name, old, new, code, leaves):
    assert COLUMNS.count(old) == 1
    report = layers.check_layer(name, module(COLUMNS.replace(old, new)))
    assert report.codes == [code]
    assert [row.leaf for row in report.leaves if row.verdict == "FAIL"] == leaves.split()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("dnext_h * (1 - next_h**2)", "dnext_h", "mask_missing"),
        ("prev_h.T @ dz", "next_h.T @ dz", "own_output"),
        ("dz @ Wh.T", "dnext_h @ Wh.T", "mask_missing"),
    ],
)
def test_mistakes_in_a_step_of_rows(old, new, code):
    assert layers.check_layer("rnn_step_backward", module(ROWS.replace(old, new))).codes == [code]


def test_a_key_whose_name_tells_no_shape_is_named():
    source = ROWS.replace('params["b"]', 'params["thing"]')
    with pytest.raises(UserError, match="what thing is cannot be told") as told:
        layers.check_layer("linear_backward", module(source))
    assert "\n" not in str(told.value)
