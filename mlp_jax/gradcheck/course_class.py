"""Building and asking a class in the style of the course assignments, whatever its arguments are called."""

import contextlib
import inspect
import re
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.battery import Case
from mlp_jax.nn.config import MLPConfig

# how people call lambda
PENALTY_NAMES = (
    "l2", "reg", "lam", "lambda_", "lmbda", "lambd", "lamda", "weight_decay", "l2_reg", "l2_lambda", "lambda_reg",
    "reg_strength", "regularization", "wd", "alpha", "lambda_l2", "l2_strength", "l2_penalty", "reg_lambda",
    "lambda_val", "weight_decay_lambda", "regularization_strength", "reg_param", "Lambda", "lbd", "lmd",
)  # fmt: skip
INPUTS = (
    "input_size", "input_dim", "n_input", "n_inputs", "n_in", "input_features", "in_dim", "D", "num_inputs",
    "num_features", "n_features", "n_x", "input_nodes", "inputs", "in_features", "num_input", "D_in",
)  # fmt: skip
CLASSES = (
    "output_size", "num_classes", "output_dim", "n_output", "n_outputs", "n_classes", "n_out", "out_dim", "C",
    "n_y", "output_nodes", "outputs", "out_features", "num_outputs", "num_output", "D_out",
)  # fmt: skip
HIDDEN = (
    "hidden_size", "hidden_dim", "n_hidden", "hidden_units", "num_hidden", "hidden", "H", "n_h", "hidden_nodes",
    "hidden_s", "num_hiddens", "hidden_neurons", "hidden_features",
)  # fmt: skip
DEPTHS = (
    "hidden_dims", "hidden_sizes", "hidden_layers", "hidden_size_list", "hidden_layer_sizes", "hidden_layer_dims",
    "hidden_widths",
)  # fmt: skip
ALL_SIZES = (
    "layer_dims", "sizes", "layer_sizes", "layers", "layers_dims", "dims", "dimensions", "layers_sizes",
    "layer_dimensions", "layers_size", "architecture", "units", "widths", "size_list", "topology",
)  # fmt: skip
KEEP = ("dropout_keep_ratio", "keep_prob", "keep_ratio", "dropout_keep_prob", "keep_probability")
DROP = (
    "dropout", "dropout_ratio", "dropout_ration", "dropout_rate", "drop_prob", "dropout_prob", "p_dropout",
    "p_drop", "dropout_p", "drop_rate",
)  # fmt: skip
DATA, LABELS = ("X", "x", "X_train", "x_train"), ("y", "Y", "y_train", "labels")
METHODS = (
    "loss",
    "compute_loss",
    "loss_and_grads",
    "loss_and_gradients",
    "forward_backward",
    "cost",
    "compute_cost",
)
FORWARDS = (
    "forward", "forward_propagation", "forward_pass", "forward_prop", "feedforward", "feed_forward", "forwardprop",
    "forward_propogation", "_forward", "predict_proba", "__call__",
)  # fmt: skip
BACKWARDS = (
    "gradient", "gradients", "backward", "backprop", "backpropagation", "backward_propagation", "back_propagation",
    "backward_pass", "back_prop", "backward_prop", "compute_gradients", "compute_gradient", "_backward",
    "backward_propogation", "back_propogation",
)  # fmt: skip
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


WRAP = (
    "wrap it in a function f(params, x, y, l2) that sets W1, b1, W2, b2 from the dict params, runs forward and "
    "backward on the whole batch, and returns (loss, grads) with grads a dict of the same names"
)


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
    groups = [[n for n in names if n in parameters] for names in (INPUTS, HIDDEN, CLASSES)]
    numbered = numbered_widths(parameters)
    if numbered and len(numbered) == len(config.hidden):
        widths = dict(zip(numbered, config.hidden, strict=True))
        ends = {g[0]: n for g, n in zip(groups[::2], (config.inputs, config.classes), strict=True) if g}
        return target(**named, **widths, **ends) if len(ends) == 2 else target(*config.sizes, **named)
    if numbered or (len(config.hidden) > 1 and not groups[1]):
        depth = max(len(numbered), 1)
        raise UserError(f"{target.__name__} has {depth} hidden layer(s): name as many widths with --hidden")
    several = list(config.hidden)
    forms: list[Any] = [several] if len(several) > 1 else [several[0], several]
    return _built(target, groups, forms[::-1] if _is_list(parameters, groups[1]) else forms, config, named)


def numbered_widths(parameters: dict[str, inspect.Parameter]) -> list[str]:
    """Arguments that are one hidden width each: hidden1, hidden_size_2, n_h1."""
    return [
        name for name in parameters if re.match(r"^(n_?)?h(id|idden)?_?(size|dim|layer|units)?_?\d(_\w+)?$", name)
    ]


def _is_list(parameters: dict[str, inspect.Parameter], names: list[str]) -> bool:
    """Whether a hidden width's default or annotation is a list."""
    kinds = [(parameters[name].default, str(parameters[name].annotation).lower()) for name in names]
    return any(
        isinstance(default, (list, tuple)) or "list" in told or "sequence" in told for default, told in kinds
    )


def _built(target: Any, groups: Any, widths: list[Any], config: MLPConfig, named: dict[str, Any]) -> Any:
    """An object, with the first form of the hidden width that it takes: a number, or a list."""
    try:
        return _by_width(target, groups, widths[0], config, named)
    except (TypeError, AttributeError):
        for width in widths[1:]:
            with contextlib.suppress(TypeError, AttributeError):
                return _by_width(target, groups, width, config, named)
        raise


def _by_width(target: Any, groups: list[list[str]], width: Any, config: MLPConfig, named: dict[str, Any]) -> Any:
    sizes = (config.inputs, width, config.classes)
    known = {g[0]: size for g, size in zip(groups, sizes, strict=True) if g}
    if all(groups) or (groups[1] and any(n in named for n in DATA)):
        return target(**named, **known)
    try:
        inspect.signature(target).bind(*sizes, **named)
    except TypeError as error:
        raise UserError(
            f"{target.__name__} is not built by an input, a hidden and an output size: its constructor takes "
            f"({', '.join(signature(target)) or 'nothing'}): {WRAP}"
        ) from error
    except ValueError:  # it does not tell
        pass
    return target(*sizes, **named)


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
    if not case.config.normalized:
        return named
    if "normalization" in parameters:
        return {**named, "normalization": "batchnorm"}
    for name in ("use_batchnorm", "use_batch_norm", "batch_norm", "batchnorm"):
        if name in parameters:
            return {**named, name: True}
    raise UserError(f"{target.__name__} takes no normalization=: leave --batch_norm out, or check a function")


def method_of(target: Any, names: tuple[str, ...]) -> Any:
    """The first method of a class or object that is called so; None if there is none."""
    found = (
        getattr(target, name, None) for name in names if not (name == "__call__" and isinstance(target, type))
    )
    return next((method for method in found if callable(method)), None)


def _methods(target: Any) -> list[dict[str, inspect.Parameter]]:
    """The arguments of the methods that may be asked: for the loss, else forward and backward."""
    found = [method_of(target, names) for names in (METHODS, FORWARDS, BACKWARDS)]
    return [signature(method) for method in found if method is not None]


def _loss_takes_penalty(target: Any) -> bool:
    by_name = any(penalty_name(parameters) is not None for parameters in _methods(target))
    return by_name or positions(signature(method_of(target, METHODS))) > 3


def takes_l2(target: Any) -> bool:
    """Whether lambda has a way in: an argument of the constructor or of the loss that is called so."""
    mine, its = signature(target), _methods(target)
    if any(n in PENALTY_NAMES for n in mine) or takes_anything(mine):
        return True
    if any(penalty_name(each) or takes_anything(each) for each in its):
        return True
    return takes_third(signature(method_of(target, METHODS)))


def takes_third(parameters: dict[str, inspect.Parameter]) -> bool:
    """Whether a third argument by place is needed, or any are taken."""
    required = [p for n, p in parameters.items() if n != "self" and p.default is inspect.Parameter.empty]
    return len(required) >= 3 or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in required)
