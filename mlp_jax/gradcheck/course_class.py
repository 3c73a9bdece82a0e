"""Building and asking a class in the style of the course assignments, whatever its arguments are called."""

import inspect
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.battery import Case

# how people call lambda
PENALTY_NAMES = (
    "l2", "reg", "lam", "lambda_", "lmbda", "lambd", "lamda", "weight_decay", "l2_reg", "l2_lambda", "lambda_reg",
    "reg_strength", "regularization", "wd", "alpha", "lambda_l2", "l2_strength", "l2_penalty", "reg_lambda",
    "lambda_val", "weight_decay_lambda", "regularization_strength", "reg_param", "Lambda", "lbd", "lmd",
)  # fmt: skip
INPUTS = ("input_size", "input_dim", "n_input", "n_inputs", "n_in", "input_features", "in_dim", "D", "num_inputs")
CLASSES = (
    "output_size",
    "num_classes",
    "output_dim",
    "n_output",
    "n_outputs",
    "n_classes",
    "n_out",
    "out_dim",
    "C",
)
HIDDEN = ("hidden_size", "hidden_dim", "n_hidden", "hidden_units", "num_hidden", "hidden", "H")
DEPTHS = ("hidden_dims", "hidden_sizes", "hidden_layers", "hidden_size_list")
ALL_SIZES = ("layer_dims", "sizes", "layer_sizes", "layers", "layers_dims", "dims")
KEEP = ("dropout_keep_ratio", "keep_prob", "keep_ratio", "dropout_keep_prob")
DATA, LABELS = ("X", "x", "X_train", "x_train"), ("y", "Y", "y_train", "labels")
METHODS = (
    "loss",
    "compute_loss",
    "loss_and_grads",
    "loss_and_gradients",
    "forward_backward",
    "gradient",
    "forward",
)
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
        named["dtype"] = _double(target)
    if (penalty := next((name for name in parameters if name in PENALTY_NAMES), None)) is not None:
        named[penalty] = case.l2
    elif takes_anything(parameters) and not _loss_takes_penalty(target):
        named["reg"] = case.l2
    named |= _normalisation(target, case, parameters)
    rows = {
        n: np.resize(case.x, (max(config.classes, len(case.y)), config.inputs)) for n in DATA if n in parameters
    }
    if rows:  # as many rows as have every class among their labels
        labels = np.arange(max(config.classes, len(case.y))) % config.classes
        named |= rows | {n: labels for n in LABELS if n in parameters}
    depths = next((name for name in DEPTHS if name in parameters), None)
    if depths is not None:
        dims: dict[str, Any] = {depths: list(config.hidden)}
        dims |= {name: config.inputs for name in INPUTS if name in parameters}
        return target(**named, **dims, **{name: config.classes for name in CLASSES if name in parameters})
    sizes = next((name for name in ALL_SIZES if name in parameters), None)
    if sizes is not None:
        return target(**named, **{sizes: list(config.sizes)})
    if len(config.hidden) != 1:
        raise UserError(f"{target.__name__} has one hidden layer: leave --hidden out, or name one width")
    groups = [[n for n in names if n in parameters] for names in (INPUTS, HIDDEN, CLASSES)]
    known = {g[0]: size for g, size in zip(groups, config.sizes, strict=True) if g}
    if all(groups) or (groups[1] and any(n in named for n in DATA)):
        return target(**named, **known)
    return target(*config.sizes, **named)


def _double(target: Any) -> Any:
    """The float64 of the library whose dtype is the default."""
    default = signature(target)["dtype"].default
    if type(default).__module__ == "torch":
        import torch  # type: ignore[import-not-found, unused-ignore]

        return torch.float64
    return np.float64


def _normalisation(target: Any, case: Case, parameters: dict[str, inspect.Parameter]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if case.config.dropout:
        keep = next((name for name in KEEP if name in parameters), None)
        if keep is None or "seed" not in parameters:
            raise UserError(
                f"{target.__name__} draws its own dropout mask, and has no seed= with one of {', '.join(KEEP)}: "
                "check a function with an argument masks instead"
            )
        named = {keep: 1 - case.config.dropout, "seed": 0}
    if not case.config.normalized:
        return named
    if "normalization" in parameters:
        return {**named, "normalization": "batchnorm"}
    if "use_batchnorm" in parameters:
        return {**named, "use_batchnorm": True}
    raise UserError(f"{target.__name__} takes no normalization=: leave --batch_norm out, or check a function")


def _loss_takes_penalty(target: Any) -> bool:
    parameters = signature(_method(target))
    return penalty_name(parameters) is not None or positions(parameters) > 3


def _method(target: Any) -> Any:
    return next((getattr(target, name) for name in METHODS if callable(getattr(target, name, None))), None)


def takes_l2(target: Any) -> bool:
    """Whether lambda has a way in: an argument of the constructor or of the loss that is called so."""
    mine, its = signature(target), signature(_method(target))
    if penalty_name(its) or any(n in PENALTY_NAMES for n in mine) or takes_anything(mine) or takes_anything(its):
        return True
    return _takes_third(its)


def _takes_third(parameters: dict[str, inspect.Parameter]) -> bool:
    """Whether a third argument by place is needed, or any are taken."""
    required = [p for n, p in parameters.items() if n != "self" and p.default is inspect.Parameter.empty]
    return len(required) >= 3 or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in required)


def ask(target: Any, case: Case, values: dict[str, np.ndarray]) -> tuple[Any, Any, Any, Any]:
    """(what was returned, with gradients, parameters as they are then, x, y).

    Raises UserError if the parameters have not the case's names and shapes, or nothing gives gradients.
    """
    net, x, y = build(target, case), case.x.copy(), case.y.copy()
    held = _set_params(net, target.__name__, values)
    if any(type(value).__module__ == "torch" for value in held.values()):
        import torch  # type: ignore[import-not-found, unused-ignore]

        x, y = torch.from_numpy(x), torch.from_numpy(y)
    method = _method(net)
    if method is None:
        raise UserError(f"{target.__name__} has no method loss(X, y): {WRAP}")
    parameters = signature(method)
    name = penalty_name(parameters)
    if name is not None:
        result = method(x, y, **{name: case.l2})
    elif any(n in PENALTY_NAMES for n in signature(target)) or not takes_l2(target):
        result = method(x, y)
    elif _takes_third(parameters):
        result = method(x, y, case.l2)
    else:
        result = method(x, y, reg=case.l2) if takes_anything(parameters) else method(x, y)
    return _with_gradients(net, result, x, y, method), held, x, y


STEP_NAMES = {"dw", "dW", "dx", "grad", "grads", "gradients", "learning_rate", "lr", "optimizer", "velocity"}
"""Arguments that only what takes a gradient has, as an optimiser's step does."""

WRAP = (
    "wrap it in a function f(params, x, y, l2) that sets W1, b1, W2, b2 from the dict params, runs forward and "
    "backward on the whole batch, and returns (loss, grads) with grads a dict of the same names"
)


def _with_gradients(net: Any, result: Any, x: Any, y: Any, method: Any) -> Any:
    """The result, or (loss, gradients) with those that the object keeps or computes in a second call."""
    parts = result if isinstance(result, tuple) else (result,)
    if any(isinstance(part, (dict, list)) for part in parts):
        return result
    gradient = getattr(net, "gradient", None)
    if callable(gradient) and gradient != method:
        return parts[0], gradient(x, y)
    backward = getattr(net, "backward", None)
    if callable(backward) and not any(isinstance(getattr(net, n, None), dict) for n in ("grads", "gradients")):
        needed = [p for p in signature(backward).values() if p.default is inspect.Parameter.empty]
        grads = backward(*(x, y)[: len(needed)])
        if isinstance(grads, dict):
            return parts[0], grads
    for name in ("grads", "gradients", "grad"):
        kept = getattr(net, name, None)
        if isinstance(kept, dict) and kept:
            return parts[0], kept
    return result


def _set_params(net: Any, name: str, values: dict[str, np.ndarray]) -> dict[str, Any]:
    held = next(
        (h for n in ("params", "weights", "parameters") if isinstance(h := getattr(net, n, None), dict)), None
    )
    if (
        held is None
        and callable(getattr(net, "backprop", None))
        and isinstance(getattr(net, "weights", None), list)
    ):
        raise UserError(f"{name}.backprop takes one example at a time: {WRAP}")
    if held is None and all(hasattr(net, key) for key in values):
        held = vars(net)
    if held is None:
        raise UserError(f"{name} has no dict .params with {', '.join(values)}: {WRAP}")
    for key, value in values.items():
        if key not in held:
            raise UserError(f"{name}.params has no {key!r}: it needs {', '.join(values)}")
        array, shape = held[key], tuple(np.shape(held[key]))
        if shape != value.shape and (key[0] != "b" or sorted(shape) != sorted((1, *value.shape))):
            raise UserError(
                f"{name}.params[{key!r}] has another shape than it needs: "
                "weights are (in, out), biases (out,) or (1, out)"
            )
        if type(array).__module__ == "torch":
            import torch

            held[key] = torch.from_numpy(value.reshape(shape).copy()).to(array.dtype)
        elif isinstance(array, np.ndarray) and array.dtype == np.float64 and array.flags.writeable:
            array[...] = value.reshape(shape)  # the object may hold it under other names too
        else:
            held[key] = value.reshape(shape).copy()
    return {key: held[key] for key in values}
