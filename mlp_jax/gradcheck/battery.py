"""The cases on which a candidate is checked, and the truth about each, from autodiff in float64.

Every case is there for a mistake that it shows: biases that are not 0 (a mask computed without the bias), several
lambdas (one that is hard-coded), equal dimensions (where a forgotten transpose conforms), and so on.
"""

import functools
from dataclasses import replace

import jax
import numpy as np

from mlp_jax.gradcheck.comparison import numpy_params
from mlp_jax.gradcheck.truth import Case, Truth, evaluate, evaluated_at
from mlp_jax.nn.config import MLPConfig

OVERFLOW, KINK = "large logits", "pre-activations of 0"  # the cases that a remark may explain
EQUAL = 5  # all dimensions, and the batch, of the cases in which a transpose conforms


def battery(config: MLPConfig, *, seed: int = 0, scale: float = 1.0) -> list[Case]:
    """Returns the cases for networks like `config`, in its own shape and with all dimensions equal.

    `scale` multiplies inputs, weights and biases. Batch normalisation needs more than one row: its smallest
    batch is 4.
    """
    config = replace(config, dtype="float64")
    equal, classes = square(config), config.classes
    recipes = [
        ("plain", config, 5, 0.05),
        ("no penalty", config, 5, 0.0),
        ("strong penalty", config, 5, 0.3),
        ("smallest batch", config, 4 if config.has_running_stats else 1, 0.1),
        ("large batch", config, 64, 0.02),
        ("dead units", config, 5, 0.15),
        (KINK, equal, EQUAL, 0.08),
        ("one class", config, 5, 0.07),
        (OVERFLOW, equal, EQUAL, 0.01),
        ("equal dimensions", equal, EQUAL, 0.06),
        ("equal dimensions, no penalty", equal, EQUAL, 0.0),
        ("equal dimensions, strong penalty", equal, EQUAL, 0.4),
    ]
    numbered = [(*recipe, seed + 100 * number, scale) for number, recipe in enumerate(recipes)]
    return _drawn([recipe for recipe in numbered if recipe[0] != OVERFLOW or classes > 1])


def square(config: MLPConfig) -> MLPConfig:
    """The network with all dimensions equal, but for one output."""
    classes = EQUAL if config.classes > 1 else 1
    return replace(config, inputs=EQUAL, classes=classes, hidden=(EQUAL,) * len(config.hidden))


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
        found = evaluated_at(cases, [case.params for case in cases], [case.x for case in cases])
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
    params = jax.tree.map(lambda leaf: scale * leaf, numpy_params(rng, config))
    if any(unit.norm != "none" for unit in config.units):  # scale and shift act on what is already normalised
        params = tuple(
            p._replace(scale=p.scale / scale, shift=p.shift / scale) if hasattr(p, "scale") else p for p in params
        )
    x, y = scale * rng.normal(size=(batch, config.inputs)), rng.integers(0, max(config.classes, 2), batch)
    if name == "one class":
        y = np.full_like(y, max(config.classes, 2) - 1)
    if name == OVERFLOW:
        params[-1].b[:] += 1000  # the same for all classes: overflows exp, and changes nothing else
    for layer, unit in zip(params[:-1], config.units, strict=True):
        if name == KINK:
            layer.w[:, 0], layer.b[0] = 0, 0
            if unit.norm != "none":
                layer.shift[0] = 0
            if (unit.norm, unit.norm_place) == ("layer", "before"):  # where equal numbers do not become 0
                layer.scale[0] = 0
        if name == "dead units" and unit.active:
            (layer.shift if unit.norm_place == "before" else layer.b)[-1] = -30 * scale**2
    params, x = jax.tree.map(_as_float32_can_hold, (params, x))
    return Case(name, config, params, x, y.astype(np.int64), float(np.float32(l2)), seed)


def _as_float32_can_hold(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32).astype(np.float64)


def _clear_of_kinks(z: np.ndarray) -> bool:
    size = np.abs(z)
    return bool(size[size > 0].min(initial=np.inf) > 1e-5 * size.max())


@functools.lru_cache(maxsize=32)
def evaluated(config: MLPConfig, *, seed: int = 0, scale: float = 1.0) -> tuple[tuple[Case, Truth], ...]:
    """The battery of a network beside the truth about each case; kept, so that no array may be written to."""
    cases = battery(config, seed=seed, scale=scale)
    return tuple(zip(cases, evaluate(*cases), strict=True))
