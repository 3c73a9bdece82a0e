"""The checker on gradients of others: each mistake is named, alone and in pairs, and nothing else is."""

import functools
import itertools
import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.check import assert_gradients, check_gradients
from mlp_jax.gradcheck.mistakes import CODES, LAYER_ROWS, MISTAKES, ROWS
from mlp_jax.gradcheck.mistakes.ops import Loss
from mlp_jax.gradcheck.seeded_mistakes import CLASS, FUNCTION, NETWORKS, SEEDS, Seed, candidate, told
from mlp_jax.nn import gradients
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer
from tests.commands import python
from tests.solutions import bottleneck, solution

FULLY_CONNECTED = '''
import numpy as np

def affine_forward(x, w, b):
    return x @ w + b, (x, w)

def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)

def relu_forward(x):
    return np.maximum(0, x), x

def relu_backward(dout, cache):
    x = cache
    return dout * (x > 0)

def softmax_loss(x, y):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    n = x.shape[0]
    loss = -np.sum(np.log(p[np.arange(n), y])) / n
    dx = p.copy()
    dx[np.arange(n), y] -= 1
    dx /= n
    return loss, dx

class TwoLayerNet:  # the later assignments' names and conventions
    def __init__(self, hidden_dims, input_dim=3 * 32 * 32, num_classes=10, reg=0.0, weight_scale=1e-2,
                 dtype=np.float32):
        self.reg, self.dtype, self.L = reg, dtype, len(hidden_dims) + 1
        dims = [input_dim, *hidden_dims, num_classes]
        self.params = {}
        for i in range(self.L):
            self.params[f"W{i + 1}"] = weight_scale * np.random.randn(dims[i], dims[i + 1]).astype(dtype)
            self.params[f"b{i + 1}"] = np.zeros(dims[i + 1], dtype=dtype)
    def loss(self, X, y=None):
        out, caches = X.astype(self.dtype), []
        for i in range(1, self.L + 1):
            out, fc = affine_forward(out, self.params[f"W{i}"], self.params[f"b{i}"])
            if i < self.L:
                out, relu = relu_forward(out)
                caches.append((fc, relu))
        loss, dout = softmax_loss(out, y)
        grads = {}
        for i in range(self.L, 0, -1):
            W = self.params[f"W{i}"]
            loss += 0.5 * self.reg * np.sum(W * W)
            if i < self.L:
                fc, relu = caches[i - 1]
                dout = relu_backward(dout, relu)
            dout, dW, db = affine_backward(dout, fc)
            grads[f"W{i}"], grads[f"b{i}"] = dW + self.reg * W, db
        return loss, grads
'''  # fmt: skip

VARIANTS = (
    Seed((), "dx /= n", "dx = dx / n", FULLY_CONNECTED),
    Seed(("batch_mean_missing",), "X.T @ dz2 +", "N * (X.T @ dz2) +"),
    Seed(("batch_mean_missing",), "return loss, grads", "return loss, {k: v * N for k, v in grads.items()}"),
    Seed(("batch_mean_twice",), "dz3 = dz3 / N", "dz3 = dz3 / N**2"),
    Seed(("batch_mean_twice",), "return loss, grads", "return loss, {k: v / N for k, v in grads.items()}"),
    Seed(("sign",), "return loss, grads", "return loss, {k: -v for k, v in grads.items()}"),
    Seed(("sign",), "+ 2 * reg * W1", "- 2 * reg * W1"),
    Seed(("sign",), "dz3.sum(axis=0)", "-dz3.sum(axis=0)"),
    Seed(("sign",), "da2 = dz3 @ W2.T", "da2 = -dz3 @ W2.T"),
    Seed(("l2_factor",), "2 * reg * W", "0.5 * reg * W"),
    Seed(("l2_factor",), "+ 2 * reg * W1", "+ 2 * reg * W1 / N"),
    Seed(("l2_factor",), "dW + self.reg * W, db", "dW + 3 * self.reg * W, db", FULLY_CONNECTED),
    Seed(("loss_mismatch",), "dW + self.reg * W, db", "dW + 2 * self.reg * W, db", FULLY_CONNECTED),
    Seed(("l2_constant",), "2 * reg * W", "1e-3 * W"),
    Seed(("l2_on_bias",), '"gamma1": (dz * n).sum(axis=0)', '"gamma1": (dz * n).sum(axis=0) + 2 * l2 * gamma',
         FUNCTION),
    Seed(("mask_missing",), '"b1": dz2.sum(axis=0)', '"b1": da2.sum(axis=0)'),
    Seed(("mask_without_bias",), "* (z > 0)", "* (gamma * n > 0)", FUNCTION),
    Seed(("mask_at_zero",), "(z2 > 0)", "(1 + np.sign(z2)) / 2"),
    Seed(("pre_activation_used",), "a.T @ d", "(z * masks[0] / (1 - 0.5)).T @ d", FUNCTION),
    Seed(("transpose",), "X.T @ dz2 + 2 * reg * W1", "(X.T @ dz2 + 2 * reg * W1).T"),
    Seed(("transpose",), "X.T @ dz2", "dz2.T @ X"),
    Seed(("softmax_unstable",), "x - x.max(axis=1, keepdims=True)", "x", FULLY_CONNECTED),
    Seed(("loss_mismatch",), "+ reg * (np.sum(W1**2) + np.sum(W2**2))", ""),
    Seed(("loss_mismatch",), "+ reg * (", "+ 0.5 * reg * ("),
    Seed(("loss_mismatch",), "np.sum(W1**2) +", "np.sum(W1**2) + np.sum(b1**2) +"),
    Seed(("loss_mismatch",), "loss = -np.log(probs[np.arange(N), y]).mean()", "loss = 0 * N"),
    Seed(("mutates_input",), "return loss, grads", "W1 *= 0.9; return loss, grads"),
    Seed(("mutates_input",), "return loss, grads", "y[:] = y[0]; return loss, grads"),
    Seed(("mutates_input",), "z = gamma * n + beta", "gamma *= 2; z = gamma * n + beta", FUNCTION),
    Seed(("state_between_calls",), "return loss, grads",
         "kept = vars(type(self)).get('K', {}); type(self).K = {k: v + kept.get(k, 0) for k, v in grads.items()}; "
         "return loss, type(self).K"),
    Seed(("state_between_calls",), "return loss, grads",
         "kept = vars(type(self)).get('K', {}); same = [k for k in kept if kept[k].shape == grads[k].shape]; "
         "type(self).K = grads | {k: grads[k] + kept[k] for k in same}; return loss, type(self).K"),
    Seed(("constant_factor",), '"b2": dz3.sum(axis=0)', '"b2": np.zeros_like(b2)'),
    Seed(("non_finite",), '"b1": dz2.sum(axis=0)', '"b1": dz2.sum(axis=0) / 0'),
    Seed(("non_finite",), "-np.log(probs[np.arange(N), y]).mean()", "np.log(-probs[np.arange(N), y]).mean()"),
    Seed(("wrong_shape",), '"b2": dz3.sum(axis=0)', '"b2": dz3.sum()'),
    Seed(("bias_over_classes",), '"b2": dz3.sum(axis=0)', '"b2": dz3.sum(axis=1)'),
    Seed(("wrong_shape",), '"b2": dz3.sum(axis=0),', ""),
    Seed(("constant_factor",), "X.T @ dz2 +", "1.01 * X.T @ dz2 +"),
    Seed(("fails",), "z2 = X @ W1 + b1", "assert len(X) != 64; z2 = X @ W1 + b1"),
)  # fmt: skip


def network_of(seed):
    return NETWORKS.get(seed.source)


def is_right(codes):
    return all(MISTAKES[code].remark for code in codes)


@pytest.mark.parametrize(
    "seed", [*SEEDS[::8], *VARIANTS], ids=lambda s: f"{'+'.join(s.codes) or 'right'}: {s.new[:40]}"
)
def test_one_change_gets_its_codes_and_no_other(seed):
    assert seed.source.count(seed.old) >= 1
    report = check_gradients(candidate(seed.source, seed.old, seed.new), network_of(seed))
    assert [c for c in told(report) if c in seed.codes or c != "half_penalty"] == list(seed.codes), str(report)
    assert report.passed == is_right(seed.codes)
    assert len([f for f in report.findings if not f.remark]) == len(
        [c for c in seed.codes if not MISTAKES[c].remark]
    )


def test_every_code_is_seeded():
    of_a_layer = {row.code for row in LAYER_ROWS}  # tried in test_layers.py
    assert {code for seed in SEEDS for code in seed.codes} == set(CODES) - of_a_layer


# what a loss is, beside what is wrong in its gradient, is told in test_judgement.py
OBJECTIVES = {
    "half_penalty", "penalty_over_n", "biases_penalised", "other_penalty", "no_penalty", "other_loss",
    "other_network", "bn_eps",
}  # fmt: skip
# of `unknown` nothing more can be said, `fails` is told where nothing else is, and what keeps a state hides all
ALONE = {"unknown", "fails", "state_between_calls", *OBJECTIVES}
SINGLES = [s for s in SEEDS if s.source is CLASS and len(s.codes) == 1 and not {*s.codes} & ALONE]
# together these are right again in one leaf, or a consistent objective of their own, or one hides the other
CANCEL = [
    {"batch_mean_missing", "batch_mean_twice"},
    {"batch_mean_missing", "bias_mean"},
    {"batch_mean_missing", "loss_mismatch"},
    {"mean_over_other", "batch_mean_twice"},
    {"mean_over_other", "bias_mean"},
    {"mean_over_other", "transpose"},
    {"upstream_lost", "transpose"},
    {"upstream_lost", "updated_weights"},
    {"upstream_lost", "bias_in_product"},
    # the number of the one is not known beside the other's
    {"updated_weights", "leaky_slope"},
    {"updated_weights", "mask_wrong_tensor"},
]
OF_SCORES = {row.code for row in ROWS if Loss in row.instead}


def pairs():
    """An eighth of them, in which each mistake meets others; all of them with MLP_JAX_FALSE_ALARMS."""
    every = 1 if "MLP_JAX_FALSE_ALARMS" in os.environ else 8
    return list(possible_pairs())[::every]


def possible_pairs():
    for a, b in itertools.combinations(SINGLES, 2):
        if a.old in b.old or b.old in a.old or a.old not in CLASS.replace(b.old, b.new):
            continue
        both = {*a.codes, *b.codes}
        if both not in CANCEL and not both <= OF_SCORES:  # two wrong formulas for equation 4 are a third
            yield a, b


@pytest.mark.parametrize(("a", "b"), list(pairs()), ids=lambda s: s.codes[0])
def test_pairs_get_both_codes(a, b):
    source = CLASS.replace(a.old, a.new)
    report = check_gradients(candidate(source, b.old, b.new))
    assert set(told(report)) == {*a.codes, *b.codes}, str(report)


NETS = [
    MLPConfig((6,), inputs=7, classes=4),
    MLPConfig((5, 5), "leaky_relu", negative_slope=0.1, inputs=7, classes=4),
    MLPConfig((6,), norm="batch", norm_place="after", dropout=0.5, inputs=7, classes=4),
    MLPConfig((6, 8), norm="layer", inputs=7, classes=4),
    MLPConfig((6,), norm="layer", norm_place="after", dropout=0.5, inputs=7, classes=4),
    MLPConfig((6, 6, 6), block="residual", inputs=7, classes=4),
    MLPConfig((6, 6), norm="layer", block="residual", dropout=0.5, inputs=7, classes=4),
]
FALSE_ALARMS = int(os.environ.get("MLP_JAX_FALSE_ALARMS", "21"))


def name_of(config):
    return f"{config.activation}-{config.norm}-{config.norm_place}-{config.block}-{len(config.hidden)}"


@pytest.mark.parametrize("config", NETS, ids=name_of)
def test_no_false_alarm(config):
    """Random right candidates, scales of 1e-3 to 1e3; how many of them from MLP_JAX_FALSE_ALARMS."""
    slope = config.negative_slope or 0.0
    ours = float(bool(slope))
    for number in range(FALSE_ALARMS // len(NETS)):
        rng = np.random.default_rng(number)
        options = {
            "half": bool(rng.integers(2)),
            "dtype": [np.float64, np.float32][rng.integers(2)],
            "at_zero": [ours, slope, 1.0, (1 + slope) / 2][rng.integers(4)],
            "loops": bool(rng.integers(2)) and config.norm != "batch",
            "residual": config.block == "residual",
        }
        right = solution(
            normalisation=config.norm, place=config.norm_place, dropout=config.dropout, slope=slope, **options
        )
        report = check_gradients(right, config, scale=float(10 ** rng.uniform(-3, 3)), seed=number)
        expected = ["mask_at_zero"] if options["at_zero"] != ours else []
        assert report.passed, f"{options}\n{report}"
        assert set(told(report)) <= {*expected, "half_penalty"}, f"{options}\n{report}"


def leaf_factor(params, x, y, l2, *, right, leaf, factor):
    loss, grads = right(params, x, y, l2)
    return loss, {**grads, leaf: factor * grads[leaf]}


@pytest.mark.parametrize("config", [c for c in NETS if not c.dropout], ids=name_of)
@pytest.mark.parametrize("leaf", ["W1", "b1", "W2"])
def test_one_wrong_leaf_of_any_network_is_told_there_alone(config, leaf):
    right = solution(
        normalisation=config.norm, place=config.norm_place, slope=config.negative_slope or 0.0,
        residual=config.block == "residual", at_zero=float(config.activation == "leaky_relu"),
    )  # fmt: skip
    wrong = functools.partial(leaf_factor, right=right, leaf=leaf, factor=3)
    report = check_gradients(lambda params, x, y, l2: wrong(params, x, y, l2), config)
    assert {row.leaf for row in report.leaves if row.verdict == "FAIL"} == {leaf}
    (found,) = report.findings
    assert (found.code, found.leaves) == ("constant_factor", (leaf,)), str(report)
    assert "3 times" in found.sentence


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(
    ("wrong", "code"),
    [(None, None), ("mask", "mask_missing"), ("mean", "bn_mean_term_dropped"), ("skip", "skip_missing")],
)
def test_bottleneck_blocks(wrong, code, dropout):
    config = MLPConfig((6, 6, 6), block="bottleneck", dropout=dropout, expansion=2, inputs=7, classes=4)
    report = check_gradients(lambda params, x, y, l2, masks: bottleneck(params, x, y, l2, masks, wrong), config)
    assert told(report) == ([] if code is None else [code]), str(report)


def test_a_layer_that_is_wrong_only_in_deep_networks_is_found():
    change = ("if i < self.L:\n                fc, relu", "if i < min(self.L, 3):\n                fc, relu")
    assert not check_gradients(candidate(FULLY_CONNECTED, *change)).passed


def test_an_upstream_mistake_is_told_once_at_its_source():
    report = check_gradients(candidate(CLASS, "dz3[np.arange(N), y] -= 1", "pass"))
    (found,) = report.findings
    assert (found.code, found.equation, found.leaves) == ("one_hot_missing", "4", ("W2", "b2"))
    rows = {row.leaf: row for row in report.leaves}
    assert {row.verdict for row in rows.values()} == {"FAIL"}
    assert rows["W1"].codes == ()
    assert rows["W1"].follows == ("one_hot_missing",)
    assert rows["W2"].codes == ("one_hot_missing",)
    assert {leaf: row.equation for leaf, row in rows.items()} == {"W1": "12", "b1": "13", "W2": "7", "b2": "9"}


def test_a_row_shows_the_worst_element_with_both_values():
    def wrong(params, x, y, l2):
        loss, grads = solution()(params, x, y, l2)
        grads["W1"][2, 1] += 0.5
        return loss, grads

    report = check_gradients(wrong)
    row = next(row for row in report.leaves if row.leaf == "W1")
    assert row.index == (2, 1)
    np.testing.assert_allclose(row.yours - row.true, 0.5)
    assert 0 < row.cosine < 1
    assert row.relative_error > row.tolerance
    assert report.codes == ["unknown"]
    assert "[2, 1]" in str(report)
    assert "N=" in row.case


@pytest.mark.parametrize("own", ["sum", "squared error"])
def test_right_for_the_own_loss_which_is_not_j(own):
    if own == "sum":
        source = CLASS.replace(".mean() +", ".sum() +").replace("dz3 = dz3 / N", "pass")
    else:  # no multiple of the cross-entropy: only its differences can tell
        source = CLASS
        for old, new in [
            ("-np.log(probs[np.arange(N), y]).mean()", "0.5 * ((scores - np.eye(W2.shape[1])[y]) ** 2).sum() / N"),
            ("scores = scores - scores.max(axis=1, keepdims=True)", "pass"),
            ("np.exp(scores)", "np.exp(scores - scores.max(axis=1, keepdims=True))"),
            ("dz3 = probs.copy()", "dz3 = scores.copy()"),
        ]:
            source = source.replace(old, new)
    assert check_gradients(candidate(source)).remarks == ["other_loss"]
    report = check_gradients(candidate(source), objective="report")
    assert report.codes == ["loss_mismatch"], str(report)
    assert "right for your loss, but your loss is not J~" in " ".join(str(report).split())


def test_wrong_for_j_and_for_the_own_loss():
    source = CLASS.replace(".mean() +", ".sum() +").replace("da2 * (z2 > 0)", "da2")
    report = check_gradients(candidate(source))
    assert report.codes == ["mask_missing", "loss_mismatch"]
    assert "wrong for your own loss too" in " ".join(str(report).split())


@pytest.mark.parametrize(
    ("half", "convention", "codes"),
    [
        (True, "auto", []), (True, "half", []), (True, "full", ["l2_factor", "loss_mismatch"]),
        (False, "auto", []), (False, "full", []), (False, "half", ["l2_factor", "loss_mismatch"]),
    ],
)  # fmt: skip
def test_conventions_of_the_penalty(half, convention, codes):
    report = check_gradients(solution(half=half), l2_convention=convention)
    assert sorted(report.codes) == codes
    assert ("a convention, not a mistake" in " ".join(str(report).split())) == (half and convention == "auto")


def test_half_the_penalty_in_the_gradient_alone_is_a_mistake():
    assert check_gradients(lambda p, x, y, l2: solution(half=True)(p, x, y, l2)[1]).codes == ["l2_factor"]


def test_float32_is_judged_as_float32():
    report = check_gradients(solution(dtype=np.float32))
    assert report.passed
    assert any("float32" in note for note in report.notes)

    def inside_with(at_zero, params, x, y, l2):
        loss, grads = solution(dtype=np.float32, at_zero=at_zero)(params, x, y, l2)
        return float(loss), {name: grad.astype(np.float64) for name, grad in grads.items()}

    def inside(params, x, y, l2):
        return inside_with(0.0, params, x, y, l2)

    report = check_gradients(inside)
    assert report.passed
    assert any("only as exact as float32" in note for note in report.notes)
    other_at_zero = check_gradients(lambda p, x, y, l2: inside_with(at_zero=0.5, params=p, x=x, y=y, l2=l2))
    assert told(other_at_zero) == ["mask_at_zero"], str(other_at_zero)
    # in exact arithmetic, so little is not rounding
    almost = check_gradients(candidate(CLASS, "X.T @ dz2 +", "(1 + 1e-7) * X.T @ dz2 +"))
    assert almost.codes == ["constant_factor"]


@pytest.mark.parametrize("scale", [1e-3, 10.0, 1e3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_right_class_at_every_scale(scale, dtype):
    """-log(probs) is infinite where a probability underflows; that is no mistake."""
    report = check_gradients(
        candidate(CLASS, "N = X.shape[0]", f"N = X.shape[0]; X = X.astype('{dtype}')"), scale=scale
    )
    assert report.codes == [], str(report)


@pytest.mark.parametrize("hidden", [(8,) * 2, (8,) * 16], ids=len)
def test_normalised_layers_do_not_hide_a_mistake_however_many(hidden):
    right = solution(normalisation="batch")

    def wrong(params, x, y, l2):
        loss, grads = right(params, x, y, l2)
        grads["W1"] = 1.5 * grads["W1"]
        return loss, grads

    config = MLPConfig(hidden, norm="batch", inputs=7, classes=4)
    assert check_gradients(right, config).passed
    report = check_gradients(wrong, config)
    assert [row.leaf for row in report.leaves if row.verdict == "FAIL"] == ["W1"]
    assert report.leaves[0].relative_error > 0.05


def test_one_inexact_leaf_does_not_excuse_another():
    source = CLASS.replace('"b2": dz3.sum(axis=0)', '"b2": dz3.sum(axis=0).astype(np.float16)')
    assert check_gradients(candidate(source)).passed
    assert check_gradients(candidate(source, "X.T @ dz2 +", "1.02 * X.T @ dz2 +")).codes == ["constant_factor"]


def test_a_remark_does_not_excuse_a_small_error():
    source = CLASS.replace("(z2 > 0)", "(z2 >= 0)")
    report = check_gradients(candidate(source, "X.T @ dz2 +", "(1 + 1e-8) * X.T @ dz2 +"))
    assert told(report) == ["constant_factor", "mask_at_zero"]


# -- candidates as people have them ----------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["dict", "small letters", "tree", "tree as lists", "flat list", "d names"])
def test_functions_in_every_style(style):
    right = solution()

    def f(params, x, y, l2):
        if style.startswith("tree"):
            named = {
                f"{n}{k}": leaf for k, layer in enumerate(params, 1) for n, leaf in zip("Wb", layer, strict=True)
            }
        else:
            small = style == "small letters"
            named = {name: params[name.lower() if small else name] for name in ("W1", "b1", "W2", "b2")}
        loss, grads = right(named, x, y, l2)
        if style == "tree":
            return loss, (Layer(grads["W1"], grads["b1"]), Layer(grads["W2"], grads["b2"]))
        if style == "tree as lists":
            return [[grads["W1"], grads["b1"]], [grads["W2"], grads["b2"]]]
        if style == "flat list":
            return [grads[name] for name in ("W1", "b1", "W2", "b2")]
        prefix = "d" if style == "d names" else ""
        return loss, {f"{prefix}{n.lower() if style == 'small letters' else n}": g for n, g in grads.items()}

    report = check_gradients(f)
    assert report.passed, str(report)
    expected = "layer1.w" if style.startswith("tree") else "w1" if style == "small letters" else "W1"
    assert report.leaves[0].leaf == expected


def test_functions_that_need_jax_arrays():
    def needs_jax_arrays(params, x, y, l2):
        h = jnp.maximum(x @ params["W1"] + params["b1"][None], 0)
        scores = h @ params["W2"] + params["b2"][None]
        d = jax.nn.softmax(scores).at[jnp.arange(len(y)), y].add(-1) / len(y)
        dh = (d @ params["W2"].T).at[h <= 0].set(0)
        w = {"W2": h.T @ d + 2 * l2 * params["W2"], "b2": d.sum(0)}
        return {**w, "W1": x.T @ dh + 2 * l2 * params["W1"], "b1": x.at[:, 0].set(1)[:, 0] @ dh}

    assert check_gradients(needs_jax_arrays).passed


@pytest.mark.parametrize(
    "options",
    [{"norm": "batch", "dropout": 0.4}, {"norm": "batch", "norm_place": "after", "activation": "leaky_relu"}],
    ids=str,
)
def test_this_package(options):
    compiled = jax.jit(gradients.gradients, static_argnames="config")
    assert_gradients(compiled, MLPConfig(**{"hidden": (6,), "inputs": 7, "classes": 4, **options}))


HEAD = "input_size, hidden_size, output_size, std=1e-4"


@pytest.mark.parametrize(
    ("head", "call"),
    [
        ("n_in, hidden_size, n_out, std, reg=0.0", "self, X, y"),
        ("input_dim, hidden_size, n_out, *, std, lambd", "self, X, y"),
        (HEAD, "self, X, y, penalty"),
        (HEAD, "self, X, y, *, strength"),
        (HEAD, "self, X, y=None, *args"),
    ],
)
def test_constructors_and_losses_of_any_signature(head, call):
    names = [part.partition("=")[0] for part in head.replace("*, ", "").split(", ")]
    source = CLASS.replace(HEAD, head).replace("self, X, y, reg", call)
    for old, new in zip(("input_size", "hidden_size", "output_size"), names, strict=False):
        source = source.replace(f"({old}", f"({new}").replace(f", {old})", f", {new})")
    source = source.replace("zeros(output_size)", f"zeros({names[2]})").replace(
        "self.params =", "self.kept = locals(); self.params ="
    )
    penalty = {"reg": 'self.kept["reg"]', "lambd": 'self.kept["lambd"]', "*args": "args[0]"}
    last = (names[-1] if call == "self, X, y" else call.split(", ")[-1]).strip()
    source = source.replace("N = X.shape[0]", f"N = X.shape[0]; reg = {penalty.get(last, last)}")
    report = check_gradients(candidate(source))
    assert report.codes == [], str(report)


def test_a_class_that_holds_its_arrays_under_other_names():
    source = CLASS.replace("    def loss", "        self.held = dict(self.params)\n\n    def loss")
    assert check_gradients(candidate(source, "(self.params[name]", "(self.held[name]")).passed


def test_assert_gradients_fails_with_the_report():
    with pytest.raises(AssertionError, match="mask_missing: equation 11, at W1 and b1"):
        assert_gradients(candidate(CLASS, "da2 * (z2 > 0)", "da2"))


def test_what_a_candidate_prints_or_draws_stays_its_own(capfd):
    noise = "N = X.shape[0]; print('noise'); np.random.seed(1); np.seterr(all='warn')"
    source = CLASS.replace("N = X.shape[0]", noise)
    state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    before = np.geterr()
    assert check_gradients(candidate(source)).passed
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], state)  # noqa: NPY002
    assert np.geterr() == before


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (3, "neither a class nor a function"),
        (lambda params, x, y, l2: None, "is not written yet"),
        (lambda params, x, y, l2: {}, "is not written yet"),
        (lambda params, x, y, l2: {"W1": "a"}, "where an array of real numbers belongs"),
        (lambda params, x, y, l2: [1, 2], "returned 2 arrays, but there are 4"),
        (candidate(CLASS, "N = X.shape[0]", "N = X.shap[0]"), ": AttributeError: 'numpy.ndarray' object has no"),
        (candidate(CLASS, '"W2": std', '"W3": std'), "TwoLayerNet.params has no 'W2': it needs W1, b1, W2, b2"),
        (candidate(CLASS, "self.params =", "self.parms ="), "object has no attribute 'params'"),
        (candidate(CLASS, "np.zeros(hidden_size)", "np.zeros((2, hidden_size))"), "biases (out,)"),
        (types.SimpleNamespace, "gives no gradient"),
    ],
)  # fmt: skip
def test_candidates_that_cannot_be_used(target, words):
    with pytest.raises(UserError) as caught:
        check_gradients(target)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_exception_in_one_case_is_told_with_its_line():
    source = CLASS.replace("N = X.shape[0]", "N = X.shape[0]\n        if N == 1: raise RuntimeError('one')")
    line = 1 + source[: source.index("raise")].count("\n")
    report = check_gradients(candidate(source))
    assert not report.passed
    assert f":{line}: RuntimeError: one" in str(report)


@pytest.mark.parametrize(("options", "words"), [({"dropout": 0.5}, "mask"), ({"norm": "batch"}, "normalization=")])
def test_a_class_with_no_room_for_the_network(options, words):
    with pytest.raises(UserError, match=words):
        check_gradients(candidate(CLASS), MLPConfig(hidden=(6,), inputs=7, classes=4, **options))


@pytest.mark.parametrize("options", [{"l2_convention": "third"}, {"arrays": "lists"}, {"scale": 0.0}])
def test_wrong_options(options):
    with pytest.raises(UserError):
        check_gradients(candidate(CLASS), **options)


def test_a_class_of_a_notebook_whose_loss_raises_is_an_answer_and_no_crash():
    code = """
import numpy as np
class Net:
    def __init__(self, input_size, hidden_size, output_size):
        D, H, C = input_size, hidden_size, output_size
        shapes = {"W1": (D, H), "b1": H, "W2": (H, C), "b2": C}
        self.params = {name: np.zeros(shape) for name, shape in shapes.items()}
    def loss(self, X, y, reg):
        raise ValueError("my own mistake")
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import check_gradients
try:
    check_gradients(Net)
except UserError as error:
    print(error)
"""
    done = python("-c", code)
    assert done.status == 0, done.err
    assert "my own mistake" in done.out
