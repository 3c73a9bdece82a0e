"""What a wrong backward pass computes: every known mistake, applied to the true forward pass.

A hypothesis is a delta, dJ/d(x w + b) of one layer in every case, together with the deviations that lead to it.
`diagnosis.py` looks for the hypotheses that explain a candidate's leaves.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax import activations
from mlp_jax.gradcheck.battery import Case, Leaves, Truth, one_hot, softmax
from mlp_jax.gradcheck.comparison import compiled
from mlp_jax.gradcheck.objective import Objective
from mlp_jax.model import MLPConfig


class Situation(NamedTuple):
    """One case: the truth, the candidate's leaves (a missing one left out), and the objective.

    rounding: per leaf, the norm of an error that rounding may cause.
    """

    case: Case
    truth: Truth
    observed: Leaves
    objective: Objective
    rounding: list[dict[str, float]]

    @property
    def n(self) -> int:
        """Examples in the batch."""
        return len(self.case.y)


Values = list[np.ndarray]  # one array per situation
Deviation = tuple[str, str]  # stage of the backward pass, what is done there instead


class Delta(NamedTuple):
    """dJ/d(x w + b), (N, H), per situation; `normed` is dJ/d(output of the normalisation), for scale and shift."""

    values: Values
    normed: Values
    deviations: frozenset[Deviation]

    @property
    def codes(self) -> list[str]:
        """The codes of its deviations."""
        codes = []
        for stage, what in sorted(self.deviations):
            parts = what.split(" and ") if stage == "norm" else [what]
            codes += [CODE_OF.get((stage, part), CODE_OF.get((stage, ""), "")) for part in parts]
        return codes


CODE_OF: dict[Deviation, str] = {
    ("upstream", "psi"): "one_hot_missing",
    ("factor", "N"): "batch_mean_missing",
    ("factor", "1/N"): "batch_mean_twice",
    ("sign", "-1"): "sign",
    ("product", "w"): "transpose",
    ("dropout", "none"): "dropout_mask_missing",
    ("dropout", "scale only"): "dropout_mask_missing",
    ("dropout", "unscaled"): "dropout_scale_missing",
    ("norm", "no scale"): "bn_scale_dropped",
    ("norm", "no mean"): "bn_mean_term_dropped",
    ("norm", "no variance"): "bn_variance_term_dropped",
    ("slope", "none"): "mask_missing",
    ("slope", "without bias"): "mask_without_bias",
    ("slope at 0", ""): "mask_at_zero",
    ("slope", ""): "mask_wrong_tensor",
}
NORM_TERMS = ("no scale", "no mean", "no variance")
FACTORS: dict[str, Callable[[int], float]] = {"N": lambda n: n, "1/N": lambda n: 1 / n}


def output_deltas(situations: list[Situation]) -> list[Delta]:
    """Equation 4, and every way of getting it wrong, the right one first."""
    options: list[Deviation] = [("upstream", "psi"), ("factor", "N"), ("factor", "1/N"), ("sign", "-1")]
    deltas = []
    for chosen in _subsets(options, 3):
        values = []
        for s in situations:
            psi = softmax(s.truth.trace.logits)
            delta = psi if ("upstream", "psi") in chosen else psi - one_hot(s.case)
            values.append(s.objective.data * delta / s.n * _factor(chosen, s.n))
        deltas.append(Delta(values, [], chosen))
    return deltas


def _subsets(options: list[Deviation], most: int) -> Iterator[frozenset[Deviation]]:
    """Sets of at most `most` deviations, of different stages, smallest first."""
    for size in range(most + 1):
        for chosen in combinations(options, size):
            if len({stage for stage, _ in chosen}) == size:
                yield frozenset(chosen)


def _factor(chosen: frozenset[Deviation], n: int) -> float:
    factor = -1.0 if ("sign", "-1") in chosen else 1.0
    for name, value in FACTORS.items():
        factor *= value(n) if ("factor", name) in chosen else 1.0
    return factor


class Layer:
    """The backward step through one hidden layer, k = 0 for the first, in every situation."""

    def __init__(self, situations: list[Situation], k: int, above: Values) -> None:
        self.situations, self.k, self.above = situations, k, above
        self.config: MLPConfig = situations[0].case.config
        self.hidden: list[Any] = [s.truth.trace.hidden[k] for s in situations]
        self.tensors = self._tensors()
        self.slopes: dict[str, Values] = {}
        self.reached: dict[tuple[bool, bool], Values] = {}

    def deltas(self, most: int) -> Iterator[Delta]:
        """The right delta and every wrong one with at most `most` deviations."""
        return (self.delta(chosen) for chosen in _subsets(self.options(), most))

    def options(self) -> list[Deviation]:
        """The deviations that are possible here, likeliest first."""
        options: list[Deviation] = [("slope", "none"), ("slope", "without bias")]
        options += [("slope at 0", str(value)) for value in self._conventions()]
        options += [("slope", name) for name in ("upstream", *self.tensors) if name != "without bias"]
        if self.config.dropout:
            options += [("dropout", "none"), ("dropout", "scale only"), ("dropout", "unscaled")]
        if self.config.normalized:
            options += [("norm", " and ".join(parts)) for n in (1, 2, 3) for parts in combinations(NORM_TERMS, n)]
        w = [s.case.params[self.k + 1].w for s in self.situations]
        if all(leaf.shape[0] == leaf.shape[1] for leaf in w):
            options.append(("product", "w"))
        if self.k == len(self.config.hidden) - 1:
            options.append(("upstream", "psi"))
        return [*options, ("factor", "N"), ("factor", "1/N"), ("sign", "-1")]

    def _conventions(self) -> list[float]:
        """Derivatives at a kink at 0 that others use: one side, the other, or half-way."""
        if self.config.activation not in ("relu", "leaky_relu") or not any((h.z == 0).any() for h in self.hidden):
            return []
        slope = 0.0 if self.config.activation == "relu" else self.config.negative_slope
        low, ours = 0.1 if slope is None else slope, float(self.config.activation == "leaky_relu")
        return [value for value in dict.fromkeys((1.0, low, (1 + low) / 2, 0.0)) if value != ours]

    def _tensors(self) -> dict[str, Values]:
        """Tensors that a mask is taken from by mistake, where the shapes conform in every situation."""
        pairs = list(zip(self.situations, self.hidden, strict=True))
        tensors: dict[str, Values] = {
            "without bias": [h.z - self._bias(s) for s, h in pairs],
            "the opposite of z": [-h.z for _, h in pairs],
            "inputs": [h.inputs for _, h in pairs],
            "outputs": [s.truth.trace.inputs if self._last else self._next(s).inputs for s, h in pairs],
            "scores": [s.truth.trace.logits for s, _ in pairs],
            "the delta above": self.above,
            "w": [s.case.params[self.k].w for s, _ in pairs],
            "w above": [s.case.params[self.k + 1].w for s, _ in pairs],
        }
        for j in range(len(self.config.hidden)):
            if j != self.k:
                tensors[f"z of layer {j + 1}"] = [s.truth.trace.hidden[j].z for s, _ in pairs]
        if self.config.normalized:
            tensors["normalised"] = [h.norm.normalized for h in self.hidden if h.norm is not None]
        if self.config.batch_norm == "before":
            tensors["before the normalisation"] = [
                h.inputs @ s.case.params[self.k].w + s.case.params[self.k].b for s, h in pairs
            ]
        for name in ("w", "w above"):
            tensors[f"{name}, transposed"] = [value.T for value in tensors[name]]
        return {
            name: values
            for name, values in tensors.items()
            if all(v.shape == h.z.shape for v, h in zip(values, self.hidden, strict=True))
        }

    @property
    def _last(self) -> bool:
        return self.k == len(self.config.hidden) - 1

    def _next(self, s: Situation) -> Any:
        return s.truth.trace.hidden[self.k + 1]

    def _bias(self, s: Situation) -> np.ndarray:
        layer = s.case.params[self.k]
        return np.asarray(getattr(layer, "shift", layer.b) if self.config.batch_norm == "before" else layer.b)

    def delta(self, chosen: frozenset[Deviation]) -> Delta:
        """The delta of this layer with the chosen deviations."""
        what = dict(chosen)
        at_norm = delta = self._below_dropout(what)
        if self.config.batch_norm == "after":
            delta = self._below_norm(delta, what)
        delta = [d * slopes for d, slopes in zip(delta, self._slopes(delta, what), strict=True)]
        if self.config.batch_norm == "before":
            at_norm, delta = delta, self._below_norm(delta, what)
        factors = [_factor(chosen, s.n) for s in self.situations]
        values, normed = ([d * f for d, f in zip(part, factors, strict=True)] for part in (delta, at_norm))
        return Delta(values, normed, chosen)

    def _below_dropout(self, what: dict[str, str]) -> Values:
        how = what.get("dropout")
        return [
            above if hidden.mask is None else above * self._dropped(hidden.mask, how)
            for above, hidden in zip(self._above(what), self.hidden, strict=True)
        ]

    def _below_norm(self, deltas: Values, what: dict[str, str]) -> Values:
        rows = zip(deltas, self.hidden, self.situations, strict=True)
        return [_norm_backward(d, h.norm, s.case.params[self.k].scale, what) for d, h, s in rows]

    def _dropped(self, mask: np.ndarray, how: str | None) -> np.ndarray | float:
        scale = 1 / (1 - self.config.dropout)
        if how is None:
            return mask
        return mask > 0 if how == "unscaled" else scale if how == "scale only" else 1.0

    def _above(self, what: dict[str, str]) -> Values:
        psi, straight = what.get("upstream") == "psi", what.get("product") == "w"
        if (psi, straight) not in self.reached:
            weights = [s.case.params[self.k + 1].w for s in self.situations]
            above = [s.objective.data * softmax(s.truth.trace.logits) / s.n for s in self.situations]
            rows = zip(above if psi else self.above, weights, strict=True)
            self.reached[psi, straight] = [np.asarray(a @ (w if straight else w.T)) for a, w in rows]
        return self.reached[psi, straight]

    def _slopes(self, deltas: Values, what: dict[str, str]) -> Values:
        name, z = what.get("slope"), [h.z for h in self.hidden]
        if name == "none":
            return [np.ones_like(values) for values in z]
        if name == "upstream":
            return self._slopes_of(deltas)
        slopes = self._slopes_at(name or "z")
        if "slope at 0" not in what:
            return slopes
        at_0 = float(what["slope at 0"])
        return [np.where(values == 0, at_0, slope) for values, slope in zip(z, slopes, strict=True)]

    def _slopes_at(self, name: str) -> Values:
        if name not in self.slopes:
            self.slopes[name] = self._slopes_of([h.z for h in self.hidden] if name == "z" else self.tensors[name])
        return self.slopes[name]

    def _slopes_of(self, tensors: Values) -> Values:
        """Of all situations at once: each call of a compiled function takes its time."""
        together = slope(self.config, np.concatenate([value.ravel() for value in tensors]))
        parts = np.split(together, np.cumsum([value.size for value in tensors])[:-1])
        return [p.reshape(v.shape) for p, v in zip(parts, tensors, strict=True)]


def _norm_backward(delta: np.ndarray, norm: Any, scale: np.ndarray, what: dict[str, str]) -> np.ndarray:
    left_out = what.get("norm", "")
    d = delta if "no scale" in left_out else delta * scale
    mean = 0 if "no mean" in left_out else d.mean(axis=0)
    variance = 0 if "no variance" in left_out else norm.normalized * (d * norm.normalized).mean(axis=0)
    return np.asarray((d - mean - variance) * norm.inverse_std)


_PADDED = 8192  # what all situations of a layer have together; a call takes longer than its numbers
_slopes: dict[tuple[str, float | None], Callable[[np.ndarray], np.ndarray]] = {}


def slope(config: MLPConfig, z: np.ndarray) -> np.ndarray:
    """The activation's derivative; compiled for one length, because jax compiles anew for every shape."""
    key = (config.activation, config.negative_slope)
    if key not in _slopes:
        _slopes[key] = compiled(activations.get(*key).derivative)
    flat = z.ravel()
    parts = []
    with jax.enable_x64(True):
        for start in range(0, flat.size, _PADDED):
            part = flat[start : start + _PADDED]
            parts.append(np.asarray(_slopes[key](np.pad(part, (0, _PADDED - part.size))))[: part.size])
    return np.concatenate(parts).reshape(z.shape)
