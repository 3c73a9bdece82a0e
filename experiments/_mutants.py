"""The checker's own check: every mistake that it can name, seeded into a right gradient.

The candidates are written the way course solutions are, and share no code with the checker.
"""

import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from mlp_jax import results
from mlp_jax.gradcheck import check_gradients
from mlp_jax.gradcheck.mistakes import MISTAKES
from mlp_jax.model import MLPConfig

CLASS = """
import numpy as np

class TwoLayerNet:
    def __init__(self, input_size, hidden_size, output_size, std=1e-4):
        self.params = {
            "W1": std * np.random.randn(input_size, hidden_size), "b1": np.zeros(hidden_size),
            "W2": std * np.random.randn(hidden_size, output_size), "b2": np.zeros(output_size),
        }

    def loss(self, X, y, reg):
        W1, b1, W2, b2 = (self.params[name] for name in ("W1", "b1", "W2", "b2"))
        N = X.shape[0]
        z2 = X @ W1 + b1
        a2 = np.maximum(z2, 0)
        scores = a2 @ W2 + b2
        scores = scores - scores.max(axis=1, keepdims=True)
        probs = np.exp(scores)
        probs = probs / probs.sum(axis=1, keepdims=True)
        loss = -np.log(probs[np.arange(N), y]).mean() + reg * (np.sum(W1**2) + np.sum(W2**2))
        dz3 = probs.copy()
        dz3[np.arange(N), y] -= 1
        dz3 = dz3 / N
        da2 = dz3 @ W2.T
        dz2 = da2 * (z2 > 0)
        grads = {
            "W1": X.T @ dz2 + 2 * reg * W1, "b1": dz2.sum(axis=0),
            "W2": a2.T @ dz3 + 2 * reg * W2, "b2": dz3.sum(axis=0),
        }
        return loss, grads
"""

FUNCTION = """
import numpy as np

def normalised(params, x, y, l2, masks):
    W1, b1, gamma, beta, W2, b2 = (params[n] for n in ("W1", "b1", "gamma1", "beta1", "W2", "b2"))
    u = x @ W1 + b1
    std = np.sqrt(u.var(axis=0) + 1e-5)
    n = (u - u.mean(axis=0)) / std
    z = gamma * n + beta
    a = np.maximum(z, 0) * masks[0] / (1 - 0.5)
    scores = a @ W2 + b2
    probs = np.exp(scores - scores.max(axis=1, keepdims=True))
    d = probs / probs.sum(axis=1, keepdims=True)
    d[np.arange(len(y)), y] -= 1
    d = d / len(y)
    dz = (d @ W2.T) * masks[0] / (1 - 0.5) * (z > 0)
    dn = dz * gamma
    du = (dn - dn.mean(axis=0) - n * (dn * n).mean(axis=0)) / std
    return {
        "W1": x.T @ du + 2 * l2 * W1, "b1": du.sum(axis=0), "gamma1": (dz * n).sum(axis=0),
        "beta1": dz.sum(axis=0), "W2": a.T @ d + 2 * l2 * W2, "b2": d.sum(axis=0),
    }
"""

NETWORK = MLPConfig(hidden=(6,), batch_norm="before", dropout=0.5, inputs=7, classes=4)


class Seed(NamedTuple):
    """A change of one line of a right gradient, and the codes that it must be given."""

    codes: tuple[str, ...]
    old: str
    new: str
    source: str = CLASS


SEEDS = (
    Seed((), "a2 = np.maximum(z2, 0)", "a2 = z2 * (z2 > 0)"),
    Seed((), "u.mean(axis=0)", "u.sum(axis=0) / len(y)", FUNCTION),
    Seed(("batch_mean_missing",), "dz3 = dz3 / N", "pass"),
    Seed(("batch_mean_twice",), "a2.T @ dz3", "a2.T @ dz3 / N"),
    Seed(("sign",), "dz3 = dz3 / N", "dz3 = -dz3 / N"),
    Seed(("l2_factor",), "+ 2 * reg * W2", "+ reg * W2"),
    Seed(("l2_ignored",), "+ 2 * reg * W1", ""),
    Seed(("l2_constant",), "+ 2 * reg * W2", "+ 2 * 0.05 * W2"),
    Seed(("l2_on_bias",), "dz3.sum(axis=0)", "dz3.sum(axis=0) + 2 * reg * b2"),
    Seed(("one_hot_missing",), "dz3[np.arange(N), y] -= 1", "pass"),
    Seed(("mask_missing",), "da2 * (z2 > 0)", "da2"),
    Seed(("mask_without_bias",), "(z2 > 0)", "(X @ W1 > 0)"),
    Seed(("mask_wrong_tensor",), "(z2 > 0)", "(da2 > 0)"),
    Seed(("mask_at_zero",), "(z2 > 0)", "(z2 >= 0)"),
    Seed(("pre_activation_used",), "a2.T @ dz3", "z2.T @ dz3"),
    Seed(("transpose",), "dz3 @ W2.T", "dz3 @ W2"),
    Seed(("bias_mean",), "dz2.sum(axis=0)", "dz2.mean(axis=0)"),
    Seed(("softmax_unstable",), "scores = scores - scores.max(axis=1, keepdims=True)", "pass"),
    Seed(("bn_scale_dropped",), "dn = dz * gamma", "dn = dz", FUNCTION),
    Seed(("bn_mean_term_dropped",), "dn - dn.mean(axis=0)", "dn", FUNCTION),
    Seed(("bn_variance_term_dropped",), "- n * (dn * n).mean(axis=0)", "", FUNCTION),
    Seed(("dropout_mask_missing",), "* masks[0] / (1 - 0.5) * (z > 0)", "* (z > 0)", FUNCTION),
    Seed(("dropout_scale_missing",), "* masks[0] / (1 - 0.5) * (z > 0)", "* masks[0] * (z > 0)", FUNCTION),
    Seed(("loss_mismatch",), ".mean() +", ".sum() +"),
    Seed(("mutates_input",), "N = X.shape[0]", "N = X.shape[0]; X -= X.mean(axis=0)"),
    Seed(("non_finite",), "(z2 > 0)", "(1 + z2 / abs(z2)) / 2"),
    Seed(("wrong_shape",), "dz2.sum(axis=0)", "dz2.sum(axis=0, keepdims=True)"),
    Seed(("unknown",), "da2 * (z2 > 0)", "np.tanh(da2) * (z2 > 0)"),
    Seed(("one_hot_missing", "mask_missing"), "dz3[np.arange(N), y] -= 1", "z2 = 1 + abs(z2)"),
)


def candidate(source: str, old: str = "", new: str = "") -> Any:
    """The class or function in a source, with one piece of its text replaced."""
    module = types.ModuleType("seeded")
    exec(compile(source.replace(old, new) if old else source, "<seeded>", "exec"), module.__dict__)
    return next(value for name, value in vars(module).items() if name in ("TwoLayerNet", "normalised"))


def mutation_rows() -> Iterator[results.Row]:
    """One row per seeded change: what was changed, which codes it must get, which it got."""
    for seed in SEEDS:
        config = NETWORK if seed.source is FUNCTION else None
        report = check_gradients(candidate(seed.source, seed.old, seed.new), config)
        # a gradient with remarks only is right
        right = report.codes == list(seed.codes) and report.passed == all(MISTAKES[c].remark for c in seed.codes)
        yield {
            "case": "seeded mistakes",
            "seeded": list(seed.codes),
            "change": f"{seed.old} -> {seed.new or '(nothing)'}",
            "found": report.codes,
            "verdict": "PASS" if right else "FAIL",
        }


def mutation_table(rows: list[results.Row]) -> str:
    """Every mistake, what it is, how it was seeded, and what was found, as a Markdown table."""
    lines = []
    for row in rows:
        does = " and ".join(MISTAKES[code].does for code in row["seeded"]) or "is right"
        found = ", ".join(row["found"]) or "(none)"
        lines.append(
            [", ".join(row["seeded"]) or "(none)", f"the code {does}", f"`{row['change']}`", found, row["verdict"]]
        )
    return results.table(["mistake", "what it is", "seeded as", "found", ""], lines)
