"""The truth about a case, from autodiff in float64, and how far rounding may carry an answer from it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mlp_jax.gradcheck import other_losses
from mlp_jax.gradcheck.comparison import compiled
from mlp_jax.gradcheck.mistakes import networks
from mlp_jax.nn import activations, losses, model
from mlp_jax.nn.config import MLPConfig, Unit
from mlp_jax.nn.model import Params, Trace

NumpyParams = Any  # model.Params with numpy arrays
NumpyTrace = Any  # model.Trace with numpy arrays
Leaves = list[dict[str, np.ndarray]]  # per layer, by field: w, b, scale, shift
# of scores (N, C) and labels (N,), the mean over the examples
DATA_LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    **{name: other_losses.mean_loss(name) for name in other_losses.LOSSES},
    other_losses.PLAIN: lambda scores, y: _cross_entropy(scores, y).mean(),
}


def _cross_entropy(scores: jax.Array, y: jax.Array) -> jax.Array:
    of_one_output = other_losses.LOSSES[other_losses.PLAIN]
    return of_one_output(jnp, scores, y) if scores.shape[1] == 1 else losses.cross_entropy(scores, y)


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


@functools.lru_cache(maxsize=256)
def _program(config: MLPConfig, loss: str) -> Callable[..., Any]:
    """One program for each network and loss; all cases of one shape, also of other batteries, share it."""
    return compiled(_run(config, loss))


def _run(config: MLPConfig, loss: str) -> Callable[..., Any]:
    of_scores = DATA_LOSSES[loss]

    def run(params: Params, x: jax.Array, y: jax.Array, l2: ArrayLike, key: jax.Array) -> Any:
        def objective(params: Params, added: jax.Array) -> tuple[jax.Array, tuple[jax.Array, Trace]]:
            traced = model.trace(params, x, config, key=key)
            data_loss = of_scores(traced.logits + added, y)  # the derivative by this is that by the scores
            return data_loss + l2 * losses.l2_penalty(params), (data_loss, traced)

        in_both = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
        (value, (data_loss, trace)), (grads, d_scores) = in_both(params, jnp.zeros((len(x), config.classes)))
        pairs = [(_activation(unit, config), h.z) for unit, h in zip(config.units, trace.hidden, strict=True)]
        activated, slopes = [a.function(z) for a, z in pairs], [a.derivative(z) for a, z in pairs]
        return grads, value, data_loss, trace, activated, slopes, d_scores

    return run


def _activation(unit: Unit, config: MLPConfig) -> activations.Activation:
    return activations.get(unit.activation, config.negative_slope) if unit.active else activations.get("identity")


def evaluated_at(cases: Sequence[Case], params: Sequence[NumpyParams], x: Sequence[np.ndarray]) -> list[Any]:
    """The same of the cases with other parameters and inputs, as `_run` returns it."""
    with jax.enable_x64(True):
        found = [
            _program(case.config, case.loss)(p, one, case.y, case.l2, jax.random.key(case.seed))
            for case, p, one in zip(cases, params, x, strict=True)
        ]
    return [jax.tree.map(np.asarray, one) for one in found]


def evaluate(*cases: Case) -> list[Truth]:
    """Returns loss, gradient (by `jax.grad`) and forward pass of each case."""
    found = evaluated_at(cases, [case.params for case in cases], [case.x for case in cases])
    gradients = [[layer._asdict() for layer in one[0]] for one in found]
    drifts = _drift(cases, gradients)
    return [_truth(*one) for one in zip(cases, found, gradients, drifts, strict=True)]


def _truth(case: Case, found: Any, leaves: Leaves, drift: list[dict[str, float]]) -> Truth:
    _, loss, data_loss, trace, activated, slopes, d_scores = found
    truth = Truth(float(loss), float(data_loss), leaves, trace, activated, slopes, d_scores, [], drift)
    terms = networks.term_sizes(networks.network(case, truth, 1.0, (case.l2,) * len(leaves)))
    size = [
        {field: max(_norm(leaf), 0.1 * terms[k][field]) for field, leaf in layer.items()}
        for k, layer in enumerate(leaves)
    ]
    return truth._replace(size=size)


def _drift(cases: Sequence[Case], leaves: Sequence[Leaves], step: float = 1e-7) -> list[list[dict[str, float]]]:
    """How far rounding errors of the inputs carry in each case; the largest of two random directions."""
    drifts = [[dict.fromkeys(layer, 0.0) for layer in of_case] for of_case in leaves]
    rngs = [np.random.default_rng(case.seed) for case in cases]
    for _ in range(2):
        at = [moved(case, rng, step) for case, rng in zip(cases, rngs, strict=True)]
        found = evaluated_at(cases, *zip(*at, strict=True))
        for one, true, drift in zip(found, leaves, drifts, strict=True):
            for layer, expected, worst in zip(one[0], true, drift, strict=True):
                for field, leaf in expected.items():
                    worst[field] = max(worst[field], _norm(getattr(layer, field) - leaf) / step)
    return drifts


def moved(case: Case, rng: np.random.Generator, step: float) -> Any:
    """Parameters and inputs with every number changed by `step` of itself, up or down at random."""
    return jax.tree.map(lambda a: a * (1 + step * rng.choice([-1, 1], a.shape)), (case.params, case.x))


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))


def one_hot(case: Case) -> np.ndarray:
    """Returns the report's Delta, (N, C); the labels themselves, (N, 1), where there is one output."""
    return np.asarray(case.y[:, None] * 1.0 if case.config.classes == 1 else np.eye(case.config.classes)[case.y])
