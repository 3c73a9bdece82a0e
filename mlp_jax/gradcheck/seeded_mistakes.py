"""The checker's own check: every mistake that it can name, seeded into a right gradient.

The candidates are written the way course solutions are, and share no code with the checker; what is changed in
them is the example in the mistake's row (`gradcheck.mistakes.ROWS`).
"""

import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from mlp_jax.gradcheck.check import check_gradients
from mlp_jax.gradcheck.mistakes.table import CODES, MISTAKES, ROWS
from mlp_jax.gradcheck.report import Report
from mlp_jax.nn.config import MLPConfig

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

TANH = """
import numpy as np

def smooth(params, x, y, l2):
    W1, b1, W2, b2 = (params[n] for n in ("W1", "b1", "W2", "b2"))
    z = x @ W1 + b1
    a = np.tanh(z)
    scores = a @ W2 + b2
    probs = np.exp(scores - scores.max(axis=1, keepdims=True))
    d = probs / probs.sum(axis=1, keepdims=True)
    d[np.arange(len(y)), y] -= 1
    d = d / len(y)
    dz = (d @ W2.T) * (1 - a**2)
    return {"W1": x.T @ dz + 2 * l2 * W1, "b1": dz.sum(axis=0), "W2": a.T @ d + 2 * l2 * W2, "b2": d.sum(axis=0)}
"""

TOGETHER = TANH.replace("a = np.tanh(z)", "a, slope = np.tanh(z), 1 - np.tanh(z) ** 2").replace(
    "(1 - a**2)", "slope"
)

RESIDUAL = """
import numpy as np

def residual(params, x, y, l2):
    W1, b1, W2, b2, W3, b3 = (params[n] for n in ("W1", "b1", "W2", "b2", "W3", "b3"))
    z1 = x @ W1 + b1
    a1 = np.maximum(z1, 0)
    z2 = a1 @ W2 + b2
    a2 = np.maximum(z2, 0) + a1
    scores = a2 @ W3 + b3
    probs = np.exp(scores - scores.max(axis=1, keepdims=True))
    d = probs / probs.sum(axis=1, keepdims=True)
    d[np.arange(len(y)), y] -= 1
    d = d / len(y)
    da2 = d @ W3.T
    dz2 = da2 * (z2 > 0)
    da1 = dz2 @ W2.T + da2
    dz1 = da1 * (z1 > 0)
    return {
        "W1": x.T @ dz1 + 2 * l2 * W1, "b1": dz1.sum(axis=0),
        "W2": a1.T @ dz2 + 2 * l2 * W2, "b2": dz2.sum(axis=0),
        "W3": a2.T @ d + 2 * l2 * W3, "b3": d.sum(axis=0),
    }
"""

NETWORK = MLPConfig(hidden=(6,), norm="batch", dropout=0.5, inputs=7, classes=4)
NETWORKS = {
    CLASS: None,
    FUNCTION: NETWORK,
    TANH: MLPConfig(hidden=(6,), activation="tanh", inputs=7, classes=4),
    TOGETHER: MLPConfig(hidden=(6,), activation="tanh", inputs=7, classes=4),
    RESIDUAL: MLPConfig(hidden=(6, 6), block="residual", inputs=7, classes=4),
}
"""Right gradients, and the networks that they belong to."""


class Seed(NamedTuple):
    """A change of one line of a right gradient, and the codes that it must be given."""

    codes: tuple[str, ...]
    old: str
    new: str
    source: str = CLASS


def _example(code: str) -> Seed:
    """The example of a row, in the first source that has its right line."""
    old, new = MISTAKES[code].example
    return Seed((code,), old, new, next(source for source in NETWORKS if old in source))


SEEDS = (
    Seed((), "a2 = np.maximum(z2, 0)", "a2 = z2 * (z2 > 0)"),
    Seed((), "u.mean(axis=0)", "u.sum(axis=0) / len(y)", FUNCTION),
    *(_example(row.code) for row in ROWS),
    Seed(("one_hot_missing", "mask_missing"), "dz3[np.arange(N), y] -= 1", "z2 = 1 + abs(z2)"),
)
NAMES = ("TwoLayerNet", "normalised", "smooth", "residual")


def candidate(source: str, old: str = "", new: str = "") -> Any:
    """The class or function in a source, with one piece of its text replaced."""
    module = types.ModuleType("seeded")
    exec(compile(source.replace(old, new) if old else source, "<seeded>", "exec"), module.__dict__)
    return next(value for name, value in vars(module).items() if name in NAMES)


def told(report: Report) -> list[str]:
    """The codes of failures and remarks, in the table's order."""
    return [code for code in CODES if code in {*report.codes, *report.remarks}]


def mutation_rows() -> Iterator[dict[str, Any]]:
    """One row per seeded change: what was changed, which codes it must get, which it got, and what is said."""
    for seed in SEEDS:
        report = check_gradients(candidate(seed.source, seed.old, seed.new), NETWORKS[seed.source])
        found = told(report)
        # a gradient with remarks only is right
        failures = [code for code in seed.codes if not MISTAKES[code].remark]
        right = found == list(seed.codes) and report.passed == (not failures)
        right = right and len([f for f in report.findings if not f.remark]) == len(failures)  # each is told once
        yield {
            "case": "seeded mistakes",
            "seeded": list(seed.codes),
            "change": f"{seed.old} -> {seed.new or '(nothing)'}",
            "found": found,
            "said": " ".join(finding.sentence for finding in report.findings),
            "verdict": "PASS" if right else "FAIL",
        }
