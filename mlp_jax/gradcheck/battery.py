"""The cases on which a candidate is checked, and the truth about each, from autodiff in float64.

Every case is there for a mistake that it shows: biases that are not 0 (a mask computed without the bias), several
lambdas (one that is hard-coded), equal dimensions (where a forgotten transpose conforms), and so on.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mlp_jax import activations, losses
from mlp_jax.gradcheck.comparison import compiled, random_params
from mlp_jax.model import MLPConfig, Params, Trace

NumpyParams = Any  # model.Params with numpy arrays
NumpyTrace = Any  # model.Trace with numpy arrays

Leaves = list[dict[str, np.ndarray]]  # per layer, by field: w, b, scale, shift
OVERFLOW, KINK = "large logits", "pre-activations of 0"  # the cases that a remark may explain
SATURATED = 1e-2  # slopes below this are differences of larger numbers
EQUAL = 5  # all dimensions, and the batch, of the cases in which a transpose conforms


class Case(NamedTuple):
    """A batch for one network, numpy arrays in float64 whose values float32 can hold.

    x (N, D), y (N,), lambda; `seed` gives the dropout mask: `jax.random.key(seed)`.
    """

    name: str
    config: MLPConfig
    params: NumpyParams
    x: np.ndarray
    y: np.ndarray
    l2: float
    seed: int

    def describe(self) -> str:
        """The case's name, dimensions and lambda."""
        sizes = "-".join(map(str, self.config.sizes))
        return f"{self.name} (N={len(self.y)}, {sizes}, lambda={self.l2:.3g})"


class Truth(NamedTuple):
    """What is right in a case: J~ and its two parts, the gradient, and the forward pass.

    size: per leaf, what an error is measured against: the gradient's norm, or a tenth of the norm of its terms'
      absolute values where that is larger. Terms that cancel leave rounding errors of the terms' size.
    drift: per leaf, norm of the change of the gradient for a relative change of 1 in every number that goes in.
    """

    loss: float
    data_loss: float
    grads: Leaves
    trace: NumpyTrace
    size: list[dict[str, float]]
    drift: list[dict[str, float]]

    @property
    def masks(self) -> list[np.ndarray]:
        """Per hidden layer with dropout: True where a unit is kept, shape (N, H)."""
        return [hidden.mask > 0 for hidden in self.trace.hidden if hidden.mask is not None]


def battery(config: MLPConfig, *, seed: int = 0, scale: float = 1.0) -> list[Case]:
    """The cases for networks like `config`, in its own shape and with all dimensions equal.

    `scale` multiplies inputs, weights and biases. Batch normalisation needs more than one row: its smallest
    batch is 4.
    """
    config = replace(config, dtype="float64")
    equal = replace(config, inputs=EQUAL, classes=EQUAL, hidden=(EQUAL,) * len(config.hidden))
    recipes = [
        ("plain", config, 5, 0.05),
        ("no penalty", config, 5, 0.0),
        ("strong penalty", config, 5, 0.3),
        ("smallest batch", config, 4 if config.normalized else 1, 0.1),
        ("large batch", config, 64, 0.02),
        ("dead units", config, 5, 0.15),
        (KINK, equal, EQUAL, 0.08),
        ("one class", config, 5, 0.07),
        (OVERFLOW, equal, EQUAL, 0.01),
        ("equal dimensions", equal, EQUAL, 0.06),
        ("equal dimensions, no penalty", equal, EQUAL, 0.0),
        ("equal dimensions, strong penalty", equal, EQUAL, 0.4),
    ]
    return [_case(*recipe, seed + 100 * number, scale) for number, recipe in enumerate(recipes)]


def _case(name: str, config: MLPConfig, batch: int, l2: float, seed: int, scale: float) -> Case:
    """The first draw in which no pre-activation is so close to the kink that rounding could move it across.

    In wide layers there may be none: then the last.
    """
    attempts = 20 if config.activation in ("relu", "leaky_relu") else 1
    for attempt in range(seed, seed + attempts):
        case = _draw(name, config, batch, l2, attempt, scale)
        if all(_clear_of_kinks(hidden.z) for hidden in evaluate(case).trace.hidden):
            break
    return case


def _draw(name: str, config: MLPConfig, batch: int, l2: float, seed: int, scale: float) -> Case:
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: scale * np.array(leaf), _numpy_params(rng, config))
    if config.normalized:  # scale and shift act on what is already normalised
        params = tuple(
            p._replace(scale=p.scale / scale, shift=p.shift / scale) if hasattr(p, "scale") else p for p in params
        )
    x, y = scale * rng.normal(size=(batch, config.inputs)), rng.integers(0, config.classes, batch)
    if name == "one class":
        y = np.full_like(y, config.classes - 1)
    if name == OVERFLOW:
        params[-1].b[:] += 1000  # the same for all classes: overflows exp, and changes nothing else
    for layer in params[:-1]:
        if name == KINK:
            layer.w[:, 0], layer.b[0] = 0, 0
            if hasattr(layer, "shift"):
                layer.shift[0] = 0
        if name == "dead units":
            (layer.shift if config.batch_norm == "before" else layer.b)[-1] = -30 * scale**2
    params, x = jax.tree.map(_as_float32_can_hold, (params, x))
    return Case(name, config, params, x, y.astype(np.int64), float(np.float32(l2)), seed)


def _numpy_params(rng: np.random.Generator, config: MLPConfig) -> NumpyParams:
    with jax.enable_x64(True):
        return random_params(rng, config)


def _as_float32_can_hold(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32).astype(np.float64)


def _clear_of_kinks(z: np.ndarray) -> bool:
    size = np.abs(z)
    return bool(size[size > 0].min(initial=np.inf) > 1e-5 * size.max())


@functools.lru_cache(maxsize=64)
def _program(config: MLPConfig) -> Callable[..., Any]:
    def run(params: Params, x: jax.Array, y: jax.Array, l2: ArrayLike, key: jax.Array) -> Any:
        def loss(params: Params) -> tuple[jax.Array, Trace]:
            return losses.objective(params, x, y, config, l2=l2, key=key)

        (value, trace), grads = jax.value_and_grad(loss, has_aux=True)(params)
        slopes = [activations.get(config.activation, config.negative_slope).derivative(h.z) for h in trace.hidden]
        return value, losses.cross_entropy(trace.logits, y).mean(), grads, trace, slopes

    return compiled(run)


def _evaluate(case: Case, params: NumpyParams, x: np.ndarray) -> Any:
    with jax.enable_x64(True):
        answer = _program(case.config)(params, x, case.y, case.l2, jax.random.key(case.seed))
        return jax.tree.map(np.asarray, answer)


def evaluate(case: Case) -> Truth:
    """Loss, gradient (by `jax.grad`) and forward pass of a case."""
    loss, data_loss, grads, trace, slopes = _evaluate(case, case.params, case.x)
    leaves = [layer._asdict() for layer in grads]
    terms = _terms(case, trace, slopes)
    size = [
        {field: max(_norm(leaf), 0.1 * _norm(terms[k][field])) for field, leaf in layer.items()}
        for k, layer in enumerate(leaves)
    ]
    return Truth(float(loss), float(data_loss), leaves, trace, size, _drift(case, leaves))


def _drift(case: Case, leaves: Leaves, step: float = 1e-7) -> list[dict[str, float]]:
    """How far rounding errors of the inputs carry; the largest of two random directions."""
    rng = np.random.default_rng(case.seed)
    drift = [dict.fromkeys(layer, 0.0) for layer in leaves]
    for _ in range(2):
        moved = jax.tree.map(lambda a: a * (1 + step * rng.choice([-1, 1], a.shape)), (case.params, case.x))
        for found, layer, worst in zip(_evaluate(case, *moved)[2], leaves, drift, strict=True):
            for field, leaf in layer.items():
                worst[field] = max(worst[field], _norm(getattr(found, field) - leaf) / step)
    return drift


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


def _terms(case: Case, trace: NumpyTrace, slopes: list[np.ndarray]) -> Leaves:
    """Per leaf, what it would be if no term of its own layer's backward step cancelled another.

    The delta that is handed down is that of the true backward pass, so that nothing piles up with depth; but
    psi - Delta, which may cancel to nothing itself, counts as a tenth of psi + Delta at least.
    """
    psi, delta_y = softmax(trace.logits), one_hot(case)
    true = psi - delta_y
    delta = np.where(true < 0, -1, 1) * np.maximum(np.abs(true), 0.1 * (psi + delta_y)) / len(case.y)
    leaves = [_layer_terms(case, -1, trace.inputs, np.maximum(np.abs(delta), (psi + delta_y) / len(case.y)))]
    for k in range(len(trace.hidden) - 1, -1, -1):
        hidden, w = trace.hidden[k], case.params[k + 1].w
        mask = 1 if hidden.mask is None else hidden.mask
        # whatever the convention at a kink is, and what is left of 1 where a smooth unit saturates
        slope = np.where(hidden.z == 0, 1, np.maximum(np.abs(slopes[k]), SATURATED * (slopes[k] != 0)))
        terms, norm = _hidden_terms(case, k, hidden, np.abs(delta) @ np.abs(w).T * mask, slope, absolute=True)
        leaves.append({**_layer_terms(case, k, hidden.inputs, terms), **norm})
        delta, _ = _hidden_terms(case, k, hidden, delta @ w.T * mask, slope, absolute=False)
    return leaves[::-1]


def _hidden_terms(
    case: Case, k: int, hidden: Any, delta: np.ndarray, slope: np.ndarray, *, absolute: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Back through activation and normalisation, with signs or with absolute values; scale and shift's terms."""
    norm: dict[str, np.ndarray] = {}
    for place in ("after", "before"):
        if place == "before":
            delta = delta * slope
        if hidden.norm is None or case.config.batch_norm != place:
            continue
        n, scale = hidden.norm.normalized, case.params[k].scale
        norm = {"scale": np.abs(delta * n).sum(0), "shift": np.abs(delta).sum(0)}
        sign = -1
        if absolute:
            n, scale, sign = np.abs(n), np.abs(scale), 1
        d = delta * scale
        delta = (d + sign * d.mean(0) + sign * n * (d * n).mean(0)) * hidden.norm.inverse_std
    return delta, norm


def _layer_terms(case: Case, k: int, inputs: np.ndarray, delta: np.ndarray) -> dict[str, np.ndarray]:
    w = np.abs(inputs).T @ delta + 2 * case.l2 * np.abs(case.params[k].w)
    return {"w": w, "b": delta.sum(0)}


def softmax(logits: np.ndarray) -> np.ndarray:
    """psi: softmax over each row of logits (N, C)."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def one_hot(case: Case) -> np.ndarray:
    """The report's Delta, (N, C)."""
    return np.asarray(np.eye(case.config.classes)[case.y])
