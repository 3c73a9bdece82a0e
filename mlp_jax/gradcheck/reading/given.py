"""What a constructor's arguments are given that are no widths: lambda, the dtype, data, normalisation."""

import inspect
import re
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import signatures
from mlp_jax.gradcheck.reading.layouts import Layout
from mlp_jax.gradcheck.reading.names import (
    DATA,
    DROP,
    KEEP,
    LABELS,
    NORMALISATIONS,
    SPREAD,
    is_generator,
    is_penalty,
    is_step,
    numbers,
    plainly,
)  # fmt: skip
from mlp_jax.gradcheck.reading.settings import activations_of
from mlp_jax.gradcheck.truth import Case

EPOCHS = re.compile(r"(n|num|max)?(epochs?|iters?|iterations?|steps)")
FILES = re.compile(r"path|file|folder|directory", re.IGNORECASE)


def told(target: Any, case: Case, parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
    """What the names tell, but for the widths: lambda, the dtype, the device, the data, normalisation."""
    named: dict[str, Any] = {name: 1e-2 for name in SPREAD if name in parameters}
    named |= {n: None for n, p in parameters.items() if FILES.search(n) and isinstance(p.default, str)}
    named |= {"device": "cpu"} if "device" in parameters else {}
    if "dtype" in parameters:
        named["dtype"] = _double(target)
    if (penalty := next((name for name in numbers(parameters, parameters) if is_penalty(name)), None)) is not None:
        named[penalty] = case.l2
    elif signatures.takes_anything(parameters) and not signatures.loss_takes_penalty(target):
        named["reg"] = case.l2
    named |= _normalisation(target, case, parameters)
    named |= activations_of(target, case, parameters)
    named |= _needed(target, case, [n for n in signatures.needed(parameters.values()) if n not in named])
    return named


def data(case: Case, parameters: dict[str, inspect.Parameter], layout: Layout) -> dict[str, Any]:
    """Data for a constructor that wants them: as many rows as have every class among their labels."""
    if not any(n in parameters for n in DATA):
        return {}
    rows, classes = max(case.config.classes, len(case.y)), max(case.config.classes, 2)
    all_classes = np.arange(rows) % classes
    x, y = layout.examples(case._replace(x=np.resize(case.x, (rows, case.config.inputs)), y=all_classes))
    return {n: x for n in DATA if n in parameters} | {n: y for n in LABELS if n in parameters}


def _needed(target: Any, case: Case, names: list[str]) -> dict[str, Any]:
    """Values for what has no default and does not matter to a gradient: a learning rate, epochs, a seed."""
    found: dict[str, Any] = {name: 1e-2 for name in names if is_step(name) or name == "alpha"}
    found |= {name: 1 for name in names if EPOCHS.fullmatch(plainly(name))}
    found |= {name: len(case.y) for name in names if plainly(name) in ("batchsize", "minibatchsize")}
    found |= {
        name: len(case.config.sizes) - 1 for name in names if plainly(name) in ("numlayers", "nlayers", "depth")
    }
    found |= {name: 0 for name in names if plainly(name) in ("seed", "randomseed", "randomstate", "momentum")}
    found |= {name: case.config.activation for name in names if name == "activation"}
    return found | {name: _generator(target) for name in names if is_generator(name)}


def _generator(target: Any) -> Any:
    """A key where the target's module has jax, else a generator of numpy."""
    of_jax = "jax" in signatures.libraries(signatures.module_of(target))
    return jax.random.PRNGKey(0) if of_jax else np.random.default_rng(0)


def _double(target: Any) -> Any:
    """The float64 of the library whose dtype is the default."""
    default = signatures.signature(target)["dtype"].default
    if type(default).__module__ == "torch":
        import torch  # type: ignore[import-not-found, unused-ignore]

        return torch.float64
    return np.float64


def _normalisation(target: Any, case: Case, parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if case.config.dropout:
        keep = [n for n in parameters if n in KEEP or (n in DROP and parameters[n].default == 1)]
        named = dict.fromkeys(keep, 1 - case.config.dropout)
        named = named or {n: case.config.dropout for n in DROP if n in parameters}
        if not named:
            raise UserError(
                f"{target.__name__} takes no dropout, by one of {', '.join((*KEEP, *DROP))}: "
                "leave --dropout out, or check a function with an argument masks instead"
            )
        named |= {"seed": 0} if "seed" in parameters else {}
        named |= {"use_dropout": True} if "use_dropout" in parameters else {}
    kind = case.config.norm if case.config.hidden else "none"
    if kind == "none":
        return named
    for name in NORMALISATIONS[kind]:
        if name in parameters:
            return {**named, name: f"{kind}norm" if name == "normalization" else True}
    if "gamma" in signatures.source_of(target):  # it is never without
        return named
    raise UserError(f"{target.__name__} takes no normalization=: leave --{kind}_norm out, or check a function")
