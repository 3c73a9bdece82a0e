"""Other losses and other networks than the report's, which a candidate may have meant: what the truth is then.

A variant is a pair (network, loss): the network is an MLPConfig, or one with a layer without activation or with
eps outside the root of batch normalisation (`Network`); the loss is a name in LOSSES. The truth about a variant
comes from `jax.grad`, as for J~ (`truth.evaluate`). Which variant it is, its values tell: for that the forward
pass is here once more, in numpy, because hundreds of variants are tried and each would have to be compiled.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product, repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.gradcheck.comparison import compiled
from mlp_jax.gradcheck.other_losses import PLAIN, Array
from mlp_jax.gradcheck.truth import Case, Truth
from mlp_jax.nn import activations
from mlp_jax.nn.config import MLPConfig, Unit

OUTSIDE, ROUGHLY = "outside", "roughly outside"


@dataclass(frozen=True)
class Network(MLPConfig):
    """An MLPConfig with other options.

    activations: of each unit with an activation, first to last, that one in place of the network's, or "none".
    eps_place: "" for sqrt(var + eps); "outside" for sqrt(var) + eps; "roughly outside" for the latter with the
    derivative of the former, which is how it is usually written: it leaves out a term of the size of eps.
    scaled_dropout: whether dropout divides the kept units by 1 - dropout, or leaves them as they are.
    """

    activations: tuple[str, ...] = ()
    eps_place: str = ""
    scaled_dropout: bool = True

    @functools.cached_property
    def units(self) -> tuple[Unit, ...]:
        """What stands before the output layer, first to last."""
        names = iter(self.activations or repeat(self.activation))
        return tuple(u._replace(activation=next(names)) if u.active else u for u in super().units)

    def norm_offset(self, var: Array) -> Array:
        """What is added to the variance under the root."""
        if not self.eps_place:
            return self.norm_eps
        xp = np if isinstance(var, np.ndarray) else jnp
        root = xp.where(var > 0, xp.where(var > 0, var, 1) ** 0.5, 0)  # without 0/0 in its derivative
        offset = (root + self.norm_eps) ** 2 - var
        return jax.lax.stop_gradient(offset) if self.eps_place == ROUGHLY and xp is jnp else offset

    def dropout_factors(self, mask: Array) -> Array:
        """What units are multiplied by, from 0 where one is dropped, else 1 / (1 - dropout)."""
        return mask if self.scaled_dropout else (mask > 0).astype(mask.dtype)


class Variant(NamedTuple):
    """What another network has in place of a network's own options (by name, see `Network`), and a loss."""

    options: tuple[tuple[str, Any], ...] = ()
    loss: str = PLAIN

    def at(self, config: MLPConfig) -> MLPConfig:
        """The network like `config` that it is."""
        return _with(config, self.options) if self.options else config


@functools.lru_cache(maxsize=1024)  # the cases of a battery have two networks in all
def _with(config: MLPConfig, options: tuple[tuple[str, Any], ...]) -> Network:
    own = {field.name: getattr(config, field.name) for field in fields(config)}
    return Network(**{**own, **dict(options)})


# -- the forward pass in numpy


class Scores:
    """The scores (N, C) of cases, each with the truth about it, in every variant of their network; kept.

    With them the inputs (N, H) of the last product.
    """

    def __init__(self, pairs: Sequence[tuple[Case, Truth]]) -> None:
        self._pairs = pairs
        self._held = dict[tuple[Any, int], tuple[np.ndarray, np.ndarray]]()

    def of(self, variant: Variant) -> list[np.ndarray]:
        """Returns the scores of every case in one variant."""
        return [self.of_case(variant, i)[0] for i in range(len(self._pairs))]

    def of_case(self, variant: Variant, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores of case `i` in one variant, and what the last product is of."""
        if (variant.options, i) not in self._held:
            case, truth = self._pairs[i]
            masks = [hidden.mask for hidden in truth.trace.hidden]
            self._held[variant.options, i] = _scores(case, masks, variant.at(case.config))
        return self._held[variant.options, i]


def _scores(case: Case, masks: list[Any], config: MLPConfig) -> tuple[np.ndarray, np.ndarray]:
    outputs: list[np.ndarray] = []
    a = case.x
    for layer, unit, mask in zip(case.params[:-1], config.units, masks, strict=True):
        a = _unit(layer, unit, a, mask, config)
        if unit.skip:
            a = a + outputs[-unit.skip]
        outputs.append(a)
    return np.asarray(config.logit_scale * (a @ case.params[-1].w + case.params[-1].b)), a


def _unit(layer: Any, unit: Unit, a: np.ndarray, mask: Any, config: MLPConfig) -> np.ndarray:
    def normalized(u: np.ndarray) -> np.ndarray:
        centred = u - u.mean(axis=unit.norm_axis, keepdims=True)
        var = (centred**2).mean(axis=unit.norm_axis, keepdims=True)
        with np.errstate(all="ignore"):
            return np.asarray(layer.scale * centred * (var + config.norm_offset(var)) ** -0.5 + layer.shift)

    if unit.norm_place == "input":
        a = normalized(a)
    z = a @ layer.w + layer.b
    if unit.norm_place == "before":
        z = normalized(z)
    a = activated(unit.activation, config.negative_slope, z) if unit.active else z
    if unit.norm_place == "after":
        a = normalized(a)
    return np.asarray(a if mask is None else a * config.dropout_factors(mask))


_PADDED = 4096  # a function is compiled for one length only


@functools.cache
def _activations() -> Callable[[int, np.ndarray], Any]:
    """All are one program: one for each would take longer to compile."""
    functions = [activation.function for activation in activations.ACTIVATIONS.values()]
    return compiled(lambda number, z: jax.lax.switch(number, functions, z))


def activated(name: str, negative_slope: float | None, z: np.ndarray) -> np.ndarray:
    """Returns an activation at z."""
    if name == "leaky_relu":
        return np.asarray(np.where(z >= 0, z, (0.1 if negative_slope is None else negative_slope) * z))
    if name == "relu":
        return np.asarray(np.maximum(z, 0))
    flat, parts, number = z.ravel(), list[np.ndarray](), list(activations.ACTIVATIONS).index(name)
    with jax.enable_x64(True):
        for start in range(0, flat.size, _PADDED):
            part = flat[start : start + _PADDED]
            parts.append(np.asarray(_activations()(number, np.pad(part, (0, _PADDED - part.size))))[: part.size])
    return np.asarray(np.concatenate(parts).reshape(z.shape))


# -- which networks may be meant

SLOPES = (0.01, 0.1, 0.2, 0.3, 0.05, 0.02, 0.001, 0.25, 0.5, 0.15, 0.4, 0.03, 0.005, 0.0001, 1 / 3, 1 / 5.5)
MIXED, MOST_MIXED = ("relu", "tanh", "sigmoid"), 3
"""The activations that layers of one network may have, and of how many layers that is tried."""
EPS = (1e-8, 1e-5, 1e-7, 1e-6, 1e-4, 1e-3, 1e-2, 1e-10, 1e-12, 0.0)


def networks(config: MLPConfig) -> Iterator[Variant]:
    """Yields the network itself, and those like it with something else, the likeliest first."""
    yield Variant()
    yield from map(variant_of, _other_activations(config))
    if any(unit.norm != "none" for unit in config.units):
        yield from (variant_of({"norm_eps": eps}) for eps in EPS if eps != config.norm_eps)
        yield from (variant_of({"norm_eps": eps, "eps_place": ROUGHLY}) for eps in EPS if eps)
    if config.dropout:
        yield variant_of({"scaled_dropout": False})


def variant_of(options: dict[str, Any]) -> Variant:
    """Returns the network with other options, by name."""
    return Variant(tuple(options.items()))


def _other_activations(config: MLPConfig) -> Iterator[dict[str, Any]]:
    number = sum(unit.active for unit in config.units)
    if not number:
        return
    for name in activations.ACTIVATIONS:
        if name not in (config.activation, "leaky_relu"):
            yield {"activation": name, "negative_slope": None}
    for slope in SLOPES:
        own = 0.1 if config.negative_slope is None else config.negative_slope
        if (config.activation, own) != ("leaky_relu", slope):
            yield {"activation": "leaky_relu", "negative_slope": slope}
    if number > 1 and config.activation != "identity":
        alike = (config.activation,) * number
        yield from ({"activations": (*alike[:k], "none", *alike[k + 1 :])} for k in range(number))
    if 1 < number <= MOST_MIXED:
        several = (
            {"activations": mixed, "negative_slope": None}
            for mixed in product(MIXED, repeat=number)
            if len(set(mixed)) > 1
        )
        yield from several
