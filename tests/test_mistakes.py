"""Every way of making a mistake that the table knows, at both hidden layers, in several networks, is named."""

import os
import types

import numpy as np
import pytest

from mlp_jax.gradcheck.check import check_gradients
from mlp_jax.gradcheck.mistakes import ROWS
from mlp_jax.gradcheck.seeded_mistakes import told
from mlp_jax.nn.config import MLPConfig

SOURCE = """
import numpy as np

def f(params, x, y, l2, masks=None):
    P = {name: value.astype(T) for name, value in params.items()}
    x, l2, N = x.astype(T), T(l2), len(x)
    W1, b1, W2, b2, W3, b3 = (P[name] for name in ("W1", "b1", "W2", "b2", "W3", "b3"))
    a, kept, weights = x, {}, (W1, W2, W3)
    for k in (1, 2):
        inputs, z = a, a @ P[f"W{k}"] + P[f"b{k}"]
        n = std = u = None
        if PLACE == "before":
            u, (z, n, std) = z, norm_forward(z, P[f"gamma{k}"], P[f"beta{k}"])
        a = value = act(z)
        if PLACE == "after":
            u, (a, n, std) = a, norm_forward(a, P[f"gamma{k}"], P[f"beta{k}"])
        if masks:
            a = a * masks[k - 1] / T(0.5)
        kept[k] = inputs, z, value, n, std, u, a
    scores = a @ W3 + b3
    shifted = scores - scores.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    one_hot = np.eye(len(b3), dtype=T)[y]
    loss = -np.log(p[np.arange(N), y]).mean() + LAMBDA * l2 * sum((w**2).sum() for w in weights)
    d = (p - one_hot) / N
    # scores
    dW, db = {3: a.T @ d}, {3: d.sum(axis=0)}
    G, deltas = {}, {}
    for k in (2, 1):
        inputs, z, value, n, std, u, output = kept[k]
        W, b, bias = P[f"W{k + 1}"], P[f"b{k + 1}"], P[f"b{k}"]
        g = d @ W.T
        here = k in WHERE
        if here:
            pass
            # product
        drop = masks[k - 1] / T(0.5) if masks else 1
        slope = derivative(z, value)
        if here:
            pass
            # slope
        g = g * drop
        for place in ("after", "slope", "before"):
            if place == "slope":
                g = g * slope
            elif place == PLACE:
                gamma = P[f"gamma{k}"]
                d_gamma, d_beta = (g * n).sum(axis=0), g.sum(axis=0)
                dn, m, inverse, axis = g * gamma, g.shape[AXIS], 1 / std, AXIS
                mean, variance = dn.mean(axis=axis, keepdims=True), n * (dn * n).mean(axis=axis, keepdims=True)
                if here:
                    pass
                    # norm
                g = (dn - mean - variance) * inverse
                G[f"gamma{k}"], G[f"beta{k}"] = d_gamma, d_beta
        d = g
        if here:
            pass
            # delta
        deltas[k], dW[k], db[k] = d, inputs.T @ d, d.sum(axis=0)
        if here:
            pass
            # leaves
    penalty = {k: 2 * LAMBDA * l2 * w for k, w in enumerate(weights, 1)}
    # penalty
    for k in (1, 2, 3):
        G[f"W{k}"], G[f"b{k}"] = dW[k] + penalty[k], db[k]
    # end
    return loss, G

def norm_forward(u, gamma, beta):
    std = np.sqrt(u.var(axis=AXIS, keepdims=True) + T(1e-5))
    n = (u - u.mean(axis=AXIS, keepdims=True)) / std
    return gamma * n + beta, n, std
"""
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: (z > 0).astype(z.dtype)),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, z.dtype.type(0.1) * z),
        lambda z, a: np.where(z >= 0, 1, 0.1).astype(z.dtype),
    ),
    "tanh": (np.tanh, lambda z, a: 1 - a**2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a: a * (1 - a)),
}
PLAIN = ("plain",)
BATCH, LAYER, DROPOUT = ("batch before", "batch after"), ("layer before", "layer after"), ("plain dropout",)
NORMS = (*BATCH, *LAYER)
SIGMOID, TANH, SMOOTH, KINKED = ("sigmoid",), ("tanh",), ("tanh", "sigmoid"), ("relu", "leaky_relu")
ANY = ("relu", "tanh")

# code, where in the source, what is done there, networks, activations
WAYS = [
    ("one_hot_missing", "scores", "d = p / N", PLAIN, ANY),
    ("one_hot_missing", "product", "g = p / N @ W.T if k == 2 else g", PLAIN, ANY),
    ("batch_mean_missing", "scores", "d = d * N", NORMS, ANY),
    ("batch_mean_missing", "delta", "d = d * N", PLAIN, ANY),
    ("batch_mean_twice", "end", "G = {name: g / N for name, g in G.items()}", PLAIN, ANY),
    ("batch_mean_twice", "leaves", "dW[k] = dW[k] / N", PLAIN, ANY),
    ("mean_over_other", "scores", "d = d * N / x.shape[1]", PLAIN, ANY),
    ("mean_over_other", "scores", "d = d / len(b3)", PLAIN, ANY),
    ("mean_over_other", "scores", "d = d * N / 64", PLAIN, ANY),
    ("mean_over_other", "delta", "d = d * N / len(bias)", PLAIN, ANY),
    ("constant_factor", "leaves", "dW[k] = 4 * dW[k]", NORMS, ANY),
    ("constant_factor", "leaves", "db[k] = 0 * db[k]", PLAIN, ANY),
    ("constant_factor", "end", "G = {name: 2 * g for name, g in G.items()}", PLAIN, ANY),
    ("constant_factor", "product", "g = 0.3 * g", PLAIN, ANY),
    ("sign", "delta", "d = -d", PLAIN, ANY),
    ("bias_mean", "leaves", "db[k] = d.mean(axis=0)", PLAIN, ANY),
    ("bias_mean", "norm", "d_beta = g.mean(axis=0)", NORMS, ANY),
    ("l2_factor", "penalty", "penalty = {k: 3 * v for k, v in penalty.items()}", PLAIN, ANY),
    ("l2_factor", "penalty", "penalty[2] = penalty[2] / N", PLAIN, ANY),
    ("l2_ignored", "penalty", "penalty[3] = 0", PLAIN, ANY),
    ("l2_constant", "penalty", "penalty[1] = W1 / 10", PLAIN, ANY),
    ("l2_on_bias", "leaves", "db[k] = db[k] + 2 * l2 * bias", PLAIN, ANY),
    ("penalty_value", "penalty", "penalty[1] = l2 * (W1**2).sum()", PLAIN, ANY),
    ("penalty_value", "penalty", "penalty[2] = l2 / 2 * sum((w**2).sum() for w in weights)", PLAIN, ANY),
    ("penalty_value", "penalty", "penalty[3] = penalty[3] + l2 * (W3**2).sum()", PLAIN, ANY),
    ("softmax_jacobian_diagonal", "scores", "d = one_hot * (p - 1) / N", PLAIN, ANY),
    ("softmax_derivative_missing", "scores", "d = -one_hot / p / N", PLAIN, ANY),
    ("softmax_derivative_missing", "scores", "d = -one_hot / N", PLAIN, ANY),
    ("softmax_derivative_twice", "scores", "d = d * p * (1 - p)", PLAIN, ANY),
    ("softmax_derivative_twice", "scores", "d = p * (d - (p * d).sum(axis=1, keepdims=True))", PLAIN, ANY),
    ("softmax_derivative_twice", "scores", "d = d * (1 - p**2)", PLAIN, ANY),
    ("softmax_derivative_twice", "scores", "e = np.exp(-abs(scores)); d = d * e / (1 + e) ** 2", PLAIN, ANY),
    ("softmax_derivative_twice", "scores", "d = d * (1 - np.tanh(scores) ** 2)", PLAIN, ANY),
    ("softmax_axis", "scores", "e = np.exp(shifted); d = (e / e.sum(axis=0) - one_hot) / N", PLAIN, ANY),
    ("softmax_axis", "scores", "e = np.exp(shifted); d = (e / e.sum() - one_hot) / N", PLAIN, ANY),
    ("softmax_axis", "scores",
     "e = np.exp(scores - scores.max(axis=0)); d = (e / e.sum(axis=0) - one_hot) / N", PLAIN, ANY),
    ("mask_missing", "slope", "slope = 1", (*PLAIN, *NORMS), ANY),
    ("mask_without_bias", "slope", "slope = derivative(z - bias, act(z - bias))", PLAIN, ANY),
    ("mask_wrong_tensor", "slope", "slope = derivative(g, act(g))", PLAIN, ANY),
    ("mask_wrong_tensor", "slope", "slope = derivative(-z, act(-z))", PLAIN, ("relu",)),
    ("mask_wrong_tensor", "slope", "slope = derivative(value, act(value))", PLAIN, SMOOTH),
    ("mask_wrong_tensor", "slope", "slope = derivative(n, act(n))", BATCH[:1], TANH),
    ("mask_wrong_tensor", "slope", "slope = derivative(u, act(u))", ("layer before",), ANY),
    ("mask_at_zero", "slope", "slope = (z >= 0)", PLAIN, ("relu",)),
    ("mask_at_zero", "slope", "slope = np.where(z > 0, 1, 0.1).astype(T)", PLAIN, ("leaky_relu",)),
    ("activation_for_derivative", "slope", "slope = value", PLAIN, (*ANY, "sigmoid")),
    ("output_form_at_z", "slope", "slope = 1 - z**2", PLAIN, TANH),
    ("output_form_at_z", "slope", "slope = z * (1 - z)", PLAIN, SIGMOID),
    ("other_activation", "slope", "slope = (z > 0)", PLAIN, SMOOTH),
    ("other_activation", "slope", "slope = 1 - value**2", PLAIN, SIGMOID),
    ("other_activation", "slope", "slope = value * (1 - value)", PLAIN, ANY),
    ("other_activation", "slope", "slope = np.where(z > 0, 1, 0.01).astype(T)", PLAIN, SMOOTH),
    ("leaky_slope", "slope", "slope = np.where(z > 0, 1, 0.01).astype(T)", PLAIN, KINKED),
    ("leaky_slope", "slope", "slope = np.where(z >= 0, 1, 0.3).astype(T)", PLAIN, KINKED),
    ("leaky_slope", "slope", "slope = (z > 0)", PLAIN, ("leaky_relu",)),
    ("pre_activation_used", "penalty", "dW[2] = kept[1][1].T @ deltas[2]", PLAIN, ANY),
    ("pre_activation_used", "norm", "d_gamma = (g * u).sum(axis=0)", NORMS, ANY),
    ("own_output", "leaves", "dW[k] = output.T @ d", PLAIN, ANY),
    ("own_output", "leaves", "dW[k] = z.T @ d", PLAIN, ANY),
    ("own_output", "leaves", "dW[3] = p.T @ ((p - one_hot) / N)", PLAIN, ANY),
    ("own_output", "norm", "d_gamma = (g * (gamma * n + P[f'beta{k}'])).sum(axis=0)", NORMS, ANY),
    ("transpose", "product", "g = d @ W", PLAIN, ANY),
    ("transpose", "leaves", "dW[k] = dW[k].T", PLAIN, ANY),
    ("upstream_lost", "product", "g = np.ones_like(d) @ W.T", PLAIN, ANY),
    ("upstream_lost", "slope", "g = np.ones_like(g)", (*PLAIN, *NORMS, *DROPOUT), ANY),
    ("updated_weights", "product", "g = d @ (W - 0.1 * dW[k + 1]).T", PLAIN, ANY),
    ("updated_weights", "product", "g = d @ (W - 0.5 * (dW[k + 1] + 2 * LAMBDA * l2 * W)).T", PLAIN, ANY),
    ("bias_in_product", "product", "g = g + bias", PLAIN, ANY),
    ("bias_in_product", "product", "g = d @ (W + b).T", PLAIN, ANY),
    ("bias_in_product", "leaves", "dW[k] = dW[k] + bias", PLAIN, ANY),
    ("bias_from_weights", "leaves", "db[k] = dW[k].sum(axis=0)", PLAIN, ANY),
    ("bias_from_weights", "leaves", "db[k] = dW[k].mean(axis=0)", PLAIN, ANY),
    ("bias_from_weights", "end", "G['b2'] = G['W2'].sum(axis=0)", PLAIN, ANY),
    ("bias_over_classes", "leaves", "db[k] = d.sum(axis=1)", PLAIN, ANY),
    ("bias_over_classes", "leaves", "db[k] = d.sum() + 0 * bias", PLAIN, ANY),
    ("bn_scale_dropped", "norm",
     "dn = g; mean, variance = dn.mean(axis=axis, keepdims=True), n * (dn * n).mean(axis=axis, keepdims=True)",
     NORMS, ANY),
    ("bn_mean_term_dropped", "norm", "mean = 0", NORMS, ANY),
    ("bn_variance_term_dropped", "norm", "variance = 0", NORMS, ANY),
    ("bn_mean_term_dropped bn_variance_term_dropped", "norm", "mean = variance = 0", NORMS, ANY),
    ("bn_n_missing", "norm", "d_gamma = g.sum(axis=0)", NORMS, ANY),
    ("bn_std_dropped", "norm", "inverse = 1", NORMS, ANY),
    ("bn_sum_for_mean", "norm", "mean, variance = m * mean, m * variance", NORMS, ANY),
    ("bn_sum_for_mean", "norm", "mean = m * mean", NORMS, ANY),
    ("bn_sum_for_mean", "norm", "variance = m * variance", NORMS, ANY),
    ("bn_sum_for_mean", "norm", "mean, variance = [t * m / u.shape[1 - axis] for t in (mean, variance)]",
     NORMS, ANY),
    ("bn_sum_for_mean", "norm", "variance = variance * m / x.shape[1]", NORMS, ANY),
    ("bn_ddof", "norm", "inverse = 1 / np.sqrt((std**2 - T(1e-5)) * m / (m - 1) + T(1e-5))", NORMS, ANY),
    ("bn_ddof", "norm", "variance = variance * m / (m - 1)", NORMS, ANY),
    ("bn_axis", "norm",
     "mean, variance = dn.mean(axis=1 - axis, keepdims=True), n * (dn * n).mean(axis=1 - axis, keepdims=True)",
     NORMS, ANY),
    ("bn_axis", "norm", "mean = (dn * inverse).sum(axis=1 - axis, keepdims=True) / m / inverse", NORMS, ANY),
    ("bn_axis", "norm", "variance = n * inverse * (dn * n / inverse).sum(axis=1 - axis, keepdims=True) / m",
     NORMS, ANY),
    ("bn_extra_term", "norm", "mean = mean + mean / m", NORMS, ANY),
    ("bn_extra_term", "norm", "mean = 2 * mean", NORMS, ANY),
    ("bn_extra_term", "norm", "variance = variance / 2", NORMS, ANY),
    ("dropout_mask_missing", "slope", "drop = 1", DROPOUT, ANY),
    ("dropout_mask_missing", "slope", "drop = 2", DROPOUT, ANY),
    ("dropout_mask_missing", "penalty", "dW[2] = act(kept[1][1]).T @ deltas[2]", DROPOUT, ANY),
    ("dropout_scale_missing", "slope", "drop = masks[k - 1]", DROPOUT, ANY),
    ("fresh_mask", "slope", "drop = (np.random.rand(*z.shape) < 0.5) / T(0.5)", DROPOUT, ANY),
    ("other_activation", "slope", "slope = (z >= 0)", PLAIN, SMOOTH),
    ("mask_missing", "slope", "slope = (z != 0)", (*PLAIN, *NORMS), ANY),
    ("penalty_value", "penalty", "penalty[2] = l2 * W2.sum()", PLAIN, ANY),
]  # fmt: skip


def cases():
    """Every way in one of its networks, or some; in all of them with MLP_JAX_FALSE_ALARMS.

    Networks, activations, layers, dtypes and conventions change from way to way.
    """
    for number, (codes, at, change, networks, activations) in enumerate(WAYS):
        turns = range(max(len(networks), len(activations)))
        if "MLP_JAX_FALSE_ALARMS" not in os.environ:
            turns = turns[number % min(3, len(turns)) :: 3]
        for turn in turns:
            yield (
                codes.split(),
                at,
                change,
                networks[turn % len(networks)],
                activations[turn % len(activations)],
                ((1,), (2,), (1, 2))[(number + turn) % 3],
                ("float64", "float32")[(number // 3 + turn) % 2],
                (1, 0.5)[(number // 2 + turn) % 2],
            )


def gradient(at, change, network, activation, where, dtype, factor):
    """The source's function with one change, and its network."""
    kind, _, place = network.partition(" ")
    act, derivative = ACTIVATIONS[activation]
    module = types.ModuleType("changed")
    names = {
        "T": getattr(np, dtype), "LAMBDA": factor, "WHERE": where, "AXIS": int(kind == "layer"), "PLACE": place,
    }  # fmt: skip
    vars(module).update(names, act=act, derivative=derivative)
    assert SOURCE.count(f"# {at}\n") == 1
    exec(compile(SOURCE.replace(f"# {at}\n", f"{change}\n"), "<changed>", "exec"), vars(module))
    norm = {} if kind == "plain" else {"norm": kind, "norm_place": place}
    dropout = 0.5 * (place == "dropout")
    return module.f, MLPConfig((6, 8), activation, inputs=7, classes=4, dropout=dropout, **norm)


@pytest.mark.parametrize(
    ("codes", "at", "change", "network", "activation", "where", "dtype", "factor"), list(cases())
)
def test_every_way_of_making_a_mistake_is_named(codes, at, change, network, activation, where, dtype, factor):
    f, config = gradient(at, change, network, activation, where, dtype, factor)
    report = check_gradients(f, config)
    found = [code for code in told(report) if code != "half_penalty"]  # some of the ways have that convention
    assert found == sorted(codes, key=[row.code for row in ROWS].index), str(report)


def test_every_row_that_computes_something_else_has_a_way():
    assert {row.code for row in ROWS if row.instead} - {"skip_missing"} <= {
        c for way in WAYS for c in way[0].split()
    }
