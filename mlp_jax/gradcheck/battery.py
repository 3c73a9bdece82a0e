"""The cases on which a candidate is checked, and the truth about each, from autodiff in float64.

Every case is there for a mistake that it shows: biases that are not 0 (a mask computed without the bias), several
lambdas (one that is hard-coded), equal dimensions (where a forgotten transpose conforms), and so on.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from mlp_jax.gradcheck import ops, variants
from mlp_jax.gradcheck.comparison import compiled, random_params
from mlp_jax.gradcheck.ops import softmax
from mlp_jax.nn import activations, losses, model
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Params, Trace

__all__ = [
    "DATA_LOSSES", "KINK", "OVERFLOW", "Case", "Leaves", "Truth", "battery", "evaluate", "evaluated", "one_hot",
    "slopes_of", "softmax",
]  # fmt: skip

NumpyParams = Any  # model.Params with numpy arrays
NumpyTrace = Any  # model.Trace with numpy arrays

Leaves = list[dict[str, np.ndarray]]  # per layer, by field: w, b, scale, shift
OVERFLOW, KINK = "large logits", "pre-activations of 0"  # the cases that a remark may explain
EQUAL = 5  # all dimensions, and the batch, of the cases in which a transpose conforms
# of scores (N, C) and labels (N,), the mean over the examples
DATA_LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    **{name: variants.mean_loss(name) for name in variants.LOSSES},
    variants.PLAIN: lambda scores, y: losses.cross_entropy(scores, y).mean(),
}


class Case(NamedTuple):
    """A batch for one network, numpy arrays in float64 whose values float32 can hold.

    x (N, D), y (N,), lambda; `seed` gives the dropout mask: `jax.random.key(seed)`. loss: a name in DATA_LOSSES.
    """

    name: str
    config: MLPConfig
    params: NumpyParams
    x: np.ndarray
    y: np.ndarray
    l2: float
    seed: int
    loss: str = "cross_entropy"

    def describe(self) -> str:
        """The case's name, dimensions and lambda."""
        sizes = "-".join(map(str, self.config.sizes))
        return f"{self.name} (N={len(self.y)}, {sizes}, lambda={self.l2:.3g})"


class Truth(NamedTuple):
    """What is right in a case: J~ and its two parts, the gradient, and the forward pass.

    activated, slopes: per hidden layer the activation at z and its derivative, (N, H); z and 1 without one.
    d_scores: the derivative of the data loss by the scores, (N, C).
    size: per leaf, what an error is measured against: the gradient's norm, or a tenth of the norm of its terms'
      absolute values where that is larger. Terms that cancel leave rounding errors of the terms' size.
    drift: per leaf, norm of the change of the gradient for a relative change of 1 in every number that goes in.
    """

    loss: float
    data_loss: float
    grads: Leaves
    trace: NumpyTrace
    activated: list[np.ndarray]
    slopes: list[np.ndarray]
    d_scores: np.ndarray
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
    return _drawn([(*recipe, seed + 100 * number, scale) for number, recipe in enumerate(recipes)])


ATTEMPTS = 20


def sample(config: MLPConfig) -> Case:
    """One ordinary case of a network, without a look at its kinks: enough to see how a candidate is called."""
    return _draw("plain", replace(config, dtype="float64"), 5, 0.05, 0, 1.0)


def _drawn(recipes: list[tuple[str, MLPConfig, int, float, int, float]]) -> list[Case]:
    """Of each recipe the first draw that keeps all pre-activations so far from the kink that rounding moves none
    across. In wide layers there may be none: then the last.
    """
    attempt, cases = [0] * len(recipes), [_draw(*recipe) for recipe in recipes]
    for _ in range(ATTEMPTS - 1):
        found = _evaluate(cases, [case.params for case in cases], [case.x for case in cases])
        near = [
            number
            for number, (case, one) in enumerate(zip(cases, found, strict=True))
            if case.config.activation in ("relu", "leaky_relu")
            and not all(_clear_of_kinks(hidden.z) for hidden in one[3].hidden)
        ]
        if not near:
            break
        for number in near:
            attempt[number] += 1
            name, config, batch, l2, seed, scale = recipes[number]
            cases[number] = _draw(name, config, batch, l2, seed + attempt[number], scale)
    return cases


def _draw(name: str, config: MLPConfig, batch: int, l2: float, seed: int, scale: float) -> Case:
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda leaf: scale * np.array(leaf), _numpy_params(rng, config))
    if any(unit.norm != "none" for unit in config.units):  # scale and shift act on what is already normalised
        params = tuple(
            p._replace(scale=p.scale / scale, shift=p.shift / scale) if hasattr(p, "scale") else p for p in params
        )
    x, y = scale * rng.normal(size=(batch, config.inputs)), rng.integers(0, config.classes, batch)
    if name == "one class":
        y = np.full_like(y, config.classes - 1)
    if name == OVERFLOW:
        params[-1].b[:] += 1000  # the same for all classes: overflows exp, and changes nothing else
    for layer, unit in zip(params[:-1], config.units, strict=True):
        if name == KINK:
            layer.w[:, 0], layer.b[0] = 0, 0
            if unit.norm != "none":
                layer.shift[0] = 0
            if (
                unit.norm == "before" and config.norm_axis == 1
            ):  # there a column of equal numbers is not normalised to 0
                layer.scale[0] = 0
        if name == "dead units" and unit.active:
            (layer.shift if unit.norm == "before" else layer.b)[-1] = -30 * scale**2
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
def _program(kinds: tuple[tuple[MLPConfig, str], ...]) -> Callable[..., Any]:
    """One program for all cases of a battery: compiling it costs little more than compiling one of them."""
    runs = [_run(*kind) for kind in kinds]
    return compiled(lambda arguments: [run(*given) for run, given in zip(runs, arguments, strict=True)])


def _run(config: MLPConfig, loss: str) -> Callable[..., Any]:
    activation, of_scores = activations.get(config.activation, config.negative_slope), DATA_LOSSES[loss]

    def run(params: Params, x: jax.Array, y: jax.Array, l2: ArrayLike, key: jax.Array) -> Any:
        def objective(params: Params) -> tuple[jax.Array, Trace]:
            traced = model.trace(params, x, config, key=key)
            return of_scores(traced.logits, y) + l2 * losses.l2_penalty(params), traced

        (value, trace), grads = jax.value_and_grad(objective, has_aux=True)(params)
        data_loss, d_scores = jax.value_and_grad(of_scores)(trace.logits, y)
        pairs = list(zip(config.units, trace.hidden, strict=True))
        activated = [activation.function(h.z) if unit.active else h.z for unit, h in pairs]
        slopes = [activation.derivative(h.z) if unit.active else jax.numpy.ones_like(h.z) for unit, h in pairs]
        return grads, value, data_loss, trace, activated, slopes, d_scores

    return run


def _evaluate(cases: Sequence[Case], params: Sequence[NumpyParams], x: Sequence[np.ndarray]) -> list[Any]:
    with jax.enable_x64(True):
        program = _program(tuple((case.config, case.loss) for case in cases))
        arguments = [
            (p, one, case.y, case.l2, jax.random.key(case.seed))
            for case, p, one in zip(cases, params, x, strict=True)
        ]
        found: list[Any] = jax.tree.map(np.asarray, program(arguments))
        return found


def evaluate(*cases: Case) -> list[Truth]:
    """Loss, gradient (by `jax.grad`) and forward pass of each case."""
    found = _evaluate(cases, [case.params for case in cases], [case.x for case in cases])
    gradients = [[layer._asdict() for layer in one[0]] for one in found]
    drifts = _drift(cases, gradients)
    return [_truth(*one) for one in zip(cases, found, gradients, drifts, strict=True)]


def _truth(case: Case, found: Any, leaves: Leaves, drift: list[dict[str, float]]) -> Truth:
    _, loss, data_loss, trace, activated, slopes, d_scores = found
    truth = Truth(float(loss), float(data_loss), leaves, trace, activated, slopes, d_scores, [], drift)
    terms = ops.term_sizes(ops.network(case, truth, 1.0, (case.l2,) * len(leaves)))
    size = [
        {field: max(_norm(leaf), 0.1 * terms[k][field]) for field, leaf in layer.items()}
        for k, layer in enumerate(leaves)
    ]
    return truth._replace(size=size)


@functools.lru_cache(maxsize=32)
def evaluated(
    config: MLPConfig, *, seed: int = 0, scale: float = 1.0, loss: str = "cross_entropy"
) -> tuple[tuple[Case, Truth], ...]:
    """The battery of a network beside the truth about each case; kept, so that no array may be written to."""
    cases = [case._replace(loss=loss) for case in battery(config, seed=seed, scale=scale)]
    return tuple(zip(cases, evaluate(*cases), strict=True))


def _drift(cases: Sequence[Case], leaves: Sequence[Leaves], step: float = 1e-7) -> list[list[dict[str, float]]]:
    """How far rounding errors of the inputs carry in each case; the largest of two random directions."""
    drifts = [[dict.fromkeys(layer, 0.0) for layer in of_case] for of_case in leaves]
    rngs = [np.random.default_rng(case.seed) for case in cases]
    for _ in range(2):
        moved = [_moved(case, rng, step) for case, rng in zip(cases, rngs, strict=True)]
        found = _evaluate(cases, *zip(*moved, strict=True))
        for one, true, drift in zip(found, leaves, drifts, strict=True):
            for layer, expected, worst in zip(one[0], true, drift, strict=True):
                for field, leaf in expected.items():
                    worst[field] = max(worst[field], _norm(getattr(layer, field) - leaf) / step)
    return drifts


def _moved(case: Case, rng: np.random.Generator, step: float) -> Any:
    return jax.tree.map(lambda a: a * (1 + step * rng.choice([-1, 1], a.shape)), (case.params, case.x))


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


def one_hot(case: Case) -> np.ndarray:
    """The report's Delta, (N, C)."""
    return np.asarray(np.eye(case.config.classes)[case.y])


_PADDED = 8192  # what all tensors of a layer have together; a call takes longer than its numbers


Kind = tuple[str, float | None]  # an activation, and the slope that replaces leaky_relu's own


@functools.lru_cache
def _derivatives(kinds: tuple[Kind, ...]) -> Callable[[np.ndarray], list[np.ndarray]]:
    return compiled(lambda z: [activations.get(*kind).derivative(z) for kind in kinds])


def slopes_of(kinds: tuple[Kind, ...], tensors: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Per activation, its derivative at each of the tensors; compiled together, and for one length only."""
    flat, sizes = np.concatenate([tensor.ravel() for tensor in tensors]), [tensor.size for tensor in tensors]
    padded = np.pad(flat, (0, -flat.size % _PADDED)).reshape(-1, _PADDED)
    with jax.enable_x64(True):
        rows = [jax.tree.map(np.asarray, _derivatives(kinds)(row)) for row in padded]
    cuts = np.cumsum(sizes)
    return [
        [part.reshape(t.shape) for part, t in zip(np.split(np.concatenate(of_one), cuts), tensors, strict=False)]
        for of_one in zip(*rows, strict=True)
    ]
