"""Building and asking a class in the style of the course assignments, whatever its arguments are called."""

import inspect
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.battery import Case

# how people call lambda
PENALTY_NAMES = (
    "l2", "reg", "lam", "lambda_", "lmbda", "lambd", "lamda", "weight_decay", "l2_reg", "l2_lambda", "lambda_reg",
    "reg_strength", "regularization", "wd", "alpha",
)  # fmt: skip
INPUTS, CLASSES = ("input_size", "input_dim"), ("output_size", "num_classes", "output_dim")
HIDDEN = ("hidden_size", "hidden_dim")
SPREAD = ("std", "weight_scale", "init_std", "weight_init_std")


def signature(target: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a callable by name, without self; empty if it does not tell."""
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return {}


def takes_anything(parameters: dict[str, inspect.Parameter]) -> bool:
    """Whether there is a **kwargs."""
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def positions(parameters: dict[str, inspect.Parameter]) -> float:
    """How many positional arguments are taken."""
    kinds = [p.kind for p in parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return np.inf
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in by_place for kind in kinds)


def penalty_name(parameters: dict[str, inspect.Parameter], others: tuple[str, ...] = ()) -> str | None:
    """The argument that lambda goes into, if its name, or its being the only keyword-only one, tells."""
    by_name = next((name for name in parameters if name in PENALTY_NAMES), None)
    only = [n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY and n not in others]
    return by_name or (only[0] if len(only) == 1 else None)


def build(target: Any, case: Case) -> Any:
    """An object of the class for the case's network. Raises UserError if the class has no room for it."""
    config, parameters = case.config, signature(target)
    named: dict[str, Any] = {name: 1e-2 for name in SPREAD if name in parameters}
    if "dtype" in parameters:
        named["dtype"] = np.float64
    if (penalty := next((name for name in parameters if name in PENALTY_NAMES), None)) is not None:
        named[penalty] = case.l2
    elif takes_anything(parameters) and not _loss_takes_penalty(target):
        named["reg"] = case.l2
    named |= _normalisation(target, case, parameters)
    if "hidden_dims" in parameters:
        dims: dict[str, Any] = {"hidden_dims": list(config.hidden)}
        dims |= {name: config.inputs for name in INPUTS if name in parameters}
        return target(**named, **dims, **{name: config.classes for name in CLASSES if name in parameters})
    if len(config.hidden) != 1:
        raise UserError(f"{target.__name__} has one hidden layer: leave --hidden out, or name one width")
    groups = [[n for n in names if n in parameters] for names in (INPUTS, HIDDEN, CLASSES)]
    if all(groups):
        return target(**named, **{g[0]: size for g, size in zip(groups, config.sizes, strict=True)})
    return target(*config.sizes, **named)


def _normalisation(target: Any, case: Case, parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
    if case.config.dropout:
        raise UserError(
            f"{target.__name__} draws its own dropout mask: check a function with an argument masks instead"
        )
    if not case.config.normalized:
        return {}
    if "normalization" in parameters:
        return {"normalization": "batchnorm"}
    if "use_batchnorm" in parameters:
        return {"use_batchnorm": True}
    raise UserError(f"{target.__name__} takes no normalization=: leave --batch_norm out, or check a function")


def _loss_takes_penalty(target: Any) -> bool:
    parameters = signature(getattr(target, "loss", None))
    return penalty_name(parameters) is not None or positions(parameters) > 3


def ask(target: Any, case: Case, values: dict[str, np.ndarray]) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """What `.loss` returned, the object, and x and y as they are then.

    Raises UserError if `.params` has not the case's names and shapes, or lambda has no way in.
    """
    net, x, y = build(target, case), case.x.copy(), case.y.copy()
    _set_params(net, target.__name__, values)
    parameters = signature(net.loss)
    name = penalty_name(parameters)
    if name is not None:
        return net.loss(x, y, **{name: case.l2}), net, x, y
    mine = signature(target)
    if any(n in PENALTY_NAMES for n in mine) or (takes_anything(mine) and positions(parameters) < 3):
        return net.loss(x, y), net, x, y
    if positions(parameters) >= 3:
        return net.loss(x, y, case.l2), net, x, y
    if takes_anything(parameters):
        return net.loss(x, y, reg=case.l2), net, x, y
    raise UserError(
        f"cannot tell where lambda goes: give {target.__name__}.loss a third argument, or the constructor one "
        "called reg"
    )


def _set_params(net: Any, name: str, values: dict[str, np.ndarray]) -> None:
    held = getattr(net, "params", None)
    if not isinstance(held, dict):
        raise UserError(f"{name} has no dict .params with {', '.join(values)}")
    for key, value in values.items():
        if key not in held:
            raise UserError(f"{name}.params has no {key!r}: it needs {', '.join(values)}")
        if np.shape(held[key]) != value.shape:
            raise UserError(f"{name}.params[{key!r}] has shape {np.shape(held[key])}, not {value.shape}")
        array = held[key]
        if isinstance(array, np.ndarray) and array.dtype == np.float64 and array.flags.writeable:
            array[...] = value  # the object may hold it under other names too
        else:
            held[key] = value.copy()
