"""The operations that a layer's name may say, and random arguments for them; `shapes` says of which shapes."""

import copy
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import shapes, windows
from mlp_jax.gradcheck.reading.names import called, is_penalty

Array = np.ndarray
SIZES = ((4, 6, 3), (5, 4, 7), (4, 4, 4), (2, 12, 5))  # N, D, M of each trial; one with all equal
SIZES_OF_OBJECTS = ((5, 4, 3), (6, 3, 2), (3, 3, 3), (7, 2, 5))
MODES = ("mode", "train", "training", "is_training")
GROUPS = ("g", "groups", "num_groups", "n_groups")
_NORMALISED = {
    "x": "(d - mean(d) - n mean(d n)) / std, d = dout gamma", "gamma": "sum of dout n", "beta": "sum of dout",
}  # fmt: skip
FORMULAS: dict[str, dict[str, str]] = {
    "affine": {"x": "dout w^T", "w": "x^T dout", "b": "sum of dout over the examples"},
    "relu": {"x": "dout (x > 0)"},
    "leaky_relu": {"x": "dout (1 or the slope)"},
    "sigmoid": {"x": "dout a (1 - a)"},
    "tanh": {"x": "dout (1 - a^2)"},
    "softmax_loss": {"x": "(softmax - one-hot) / N"},
    "batchnorm": _NORMALISED,
    "layernorm": _NORMALISED,
    "spatial": _NORMALISED,
    "groupnorm": _NORMALISED,
    "dropout": {"x": "dout mask"},
}  # fmt: skip
_NAMES = (
    ("attention", "attention|attn|dot_product|sdpa"), ("temporal_loss", "temporal_softmax"),
    ("temporal", "temporal"), ("rnn_step", "rnn_(step|cell)"), ("rnn", "rnn"), ("lstm_step", "lstm_(step|cell)"),
    ("lstm", "lstm"), ("gru_step", "gru_(step|cell)"), ("gru", "gru"), ("conv1d", "conv_?1d"),
    ("depthwise", "depth_?wise"), ("spatial", "batchnorm2d"),
    ("instancenorm", "instance_?norm"), ("groupnorm", "group_?norm"), ("spatial", "spatial"),
    ("embedding", "embedding"), ("conv", "conv"), ("pool", "pool"), ("softmax_loss", "softmax_loss"),
    ("svm_loss", "svm_loss|hinge"), ("other_loss", "loss"), ("log_softmax", "log_?softmax"),
    ("other_loss", "entropy|xent|mse"), ("softmax", "softmax"), ("affine_relu", "affine_relu|linear_activation"),
    ("batchnorm", "batch_?norm"), ("layernorm", "layer_?norm"), ("batchnorm", "bn_"), ("layernorm", "ln_"),
    ("dropout", "dropout"), ("leaky_relu", "leaky|lrelu"),
    ("", "prelu|parametric|rrelu|relu6|hard|log_?sigmoid|shrink"), ("relu", "relu"), ("sigmoid", "sigmoid"),
    ("tanh", "tanh"), ("affine", "affine|linear|dense|fc_|lin_|fullyconnected"), ("norm", "norm"),
)  # fmt: skip
"""Operations and the form of their names; of several that fit, it is the first."""
_KINDS = {
    "affine": ("affine", "linear", "dense", "fc_"), "picture": ("conv", "pool"), "dropout": ("drop",),
    "norm": ("norm", "_bn", "_ln", "bn_", "ln_", "batch"), "relu": ("relu",), "squashing": ("sigmoid", "tanh"),
}  # fmt: skip


_FACTORS = called(
    r"alpha|beta|gamma|delta|margin|eps|epsilon|labelsmoothing|smoothing|temperature|temp|tau|scale|factor|power|exponent"
    r"|threshold|quantile|q"
)


class Untold(UserError):
    """It cannot be told what an argument is by its name alone."""


_MORE: dict[str, Sequence[int]] = {
    "": (*shapes.GUESSED, *shapes.MORE_AXES, *shapes.SQUARES),
    "affines": (*shapes.SQUARES,),
    **dict.fromkeys(("relu", "leaky_relu", "sigmoid", "tanh", "softmax", "log_softmax"), shapes.GUESSED),
    **dict.fromkeys(("layernorm", "norm", "batchnorm", "affine", "affine_relu"), shapes.MORE_AXES),
    **dict.fromkeys(("softmax_loss", "svm_loss", "other_loss"), (shapes.COLUMNS_ONE_HOT,)),
}
_ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh")
_OF_ONE_SHAPE = (*_ACTIVATIONS, "dropout", "batchnorm", "layernorm", *shapes.CHANNELS)
"""The operations whose outputs have the shape of their inputs."""


def named(name: str, arguments: Sequence[str] = ()) -> str:
    """The operation that a function's name says, or "" for none that is known.

    Several in a row are "pictures" or "affines", for the shapes, or "": nothing is known of what they compute. An
    activation that is given weights, too, stands behind their product.
    """
    operation = next((operation for operation, form in _NAMES if re.search(form, name.lower())), "")
    kinds = {kind for kind, words in _KINDS.items() if any(word in name.lower() for word in words)}
    if len(kinds) < 2 and operation in _ACTIVATIONS and {*shapes.WEIGHTS} & {a.lower() for a in arguments}:
        return "affine_relu" if operation == "relu" else "affines"
    if len(kinds) < 2 or operation.endswith("loss") or (operation == "affine_relu" and len(kinds) == 2):
        return operation
    return "pictures" if "picture" in kinds else "affines" if "affine" in kinds else ""


def is_factor(name: str) -> bool:
    """Whether an argument of a loss, behind its labels, is a number by its name; lambda is a network's."""
    return _FACTORS(name) and not is_penalty(name)


def layouts(operation: str) -> Sequence[int]:
    """The arrangements of shapes that an operation may want."""
    if operation in windows.OPERATIONS or operation == "conv1d":
        return range(8)
    return (*range(5), *_MORE.get(operation, ()))


def arguments(
    operation: str, parameters: Sequence[inspect.Parameter], rng: Any, number: int, layout: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Returns random leaves and the other arguments, for a forward pass with these parameters.

    Raises UserError if it cannot be told what an argument is.
    """
    of = shapes.Shapes(operation, *SIZES[number], layout)
    leaves: dict[str, Array] = {}
    options: dict[str, Any] = {}
    for p in parameters:
        name = p.name.lower()
        if name in shapes.LABELS and operation.endswith("loss"):
            labels = rng.integers(0, of.m, of.labels)
            options[p.name] = _labels(labels, of.m, layout)
        elif operation.endswith("loss") and p is parameters[0]:
            leaves[p.name] = _drawn(operation, layout, rng, of.first())
        elif operation.endswith("loss") and is_factor(name):
            options |= {p.name: 0.7} if p.default is p.empty else {}
        elif operation == "temporal_loss" and name == "mask":
            options[p.name] = rng.random(of.labels) < 0.7
        elif operation == "embedding" and not leaves and not options:
            options[p.name] = rng.integers(0, of.d, (of.n, 3))
        elif (shape := of.of(name)) is not None:
            leaves[p.name] = _drawn(operation, layout, rng, shape)
        elif (option := _option(operation, name, number)) is not None and (
            p.default is p.empty or isinstance(option, dict) or name in GROUPS or windows.is_number(operation, p)
        ):
            options[p.name] = option
        elif p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            first = not leaves and p is parameters[0]
            if first or layout in shapes.GUESSED:
                leaves[p.name] = _drawn(operation, layout, rng, of.first() if first else of.guessed())
                continue
            raise Untold(
                f"what its argument {p.name} is cannot be told: call it x, w, b, gamma, beta or ..._param, or use "
                "mlp_jax.gradcheck.check_vjp(f, backward, *args)"
            )
    return leaves, options


def _labels(labels: Array, classes: int, layout: int) -> Array:
    """Labels as classes, or one-hot in rows or in columns."""
    one_hot: Array = np.eye(classes)[labels]
    if layout in (shapes.ONE_HOT, shapes.OUT_IN):
        return one_hot
    return one_hot.T if layout == shapes.COLUMNS_ONE_HOT else labels


def _drawn(operation: str, layout: int, rng: Any, shape: tuple[int, ...]) -> Array:
    array = shapes.drawn(rng, shape)
    probabilities = operation.endswith("loss") and layout == shapes.OUT_IN
    return 1 / (1 + np.exp(-array)) if probabilities else array


def _option(operation: str, name: str, number: int) -> Any:
    if (of_window := windows.option(operation, name, number)) is not None:
        return of_window
    if "drop" in name and "param" in name:
        return {"p": 0.6, "mode": "train", "seed": 3 + number}
    if name.endswith(("_param", "_params", "_config")):
        return {"mode": "train", "eps": 1e-5, "momentum": 0.9}
    if name in ("p", "keep_prob", "keep", "rate", "drop_prob", "dropout_rate", "prob", "p_dropout"):
        return 0.6
    if name in (*GROUPS, "num_heads", "n_heads", "heads", "n_head"):
        return 2
    if name in ("constant", "const", "scalar", "factor", "temperature", "temp", "tau"):
        return 1.7
    if name in ("power", "exponent"):
        return 3.0
    return {"mode": "train", "train": True, "training": True, "is_training": True, "activation": "relu",
            "alpha": 0.1, "negative_slope": 0.1, "slope": 0.1, "eps": 1e-5, "epsilon": 1e-5}.get(name)  # fmt: skip


def classes_of(labels: Array, layout: int = shapes.PLAIN) -> Array:
    """The classes (N,) of labels, which may be one-hot, (N, C), or (C, N) where columns are examples."""
    return labels.argmax(axis=0 if layout in shapes.IN_COLUMNS else 1) if labels.ndim == 2 else labels


def fresh(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copies, because a forward pass may write running means into them."""
    return copy.deepcopy(dict(options))


def in_test_mode(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options with the mode of testing, or None if none of them names a mode."""
    tested: dict[str, Any] = {}
    for name, option in options.items():
        if isinstance(option, dict) and "mode" in option:
            tested[name] = {**option, "mode": "test"}
        elif name.lower() in MODES:
            tested[name] = "test" if isinstance(option, str) else False
    return {**options, **tested} if tested else None


def sizes(operation: str, leaves: Mapping[str, Array], output: Array, layout: int) -> dict[str, float]:
    """What somebody may divide by: N, the numbers of features and of outputs; N counts what a bias sums over."""
    first = next(iter(leaves.values()))
    if not first.ndim:
        return {}
    if operation == "temporal":
        return {"N": first.size / first.shape[-1], "the number of sequences": float(len(first))}
    if operation in shapes.CHANNELS:
        return {"N": first.size / first.shape[1], "the number of examples": float(len(first))}
    if operation == "attention":
        return {"N": float(len(first)), "the root of the number of features": float(first.shape[-1]) ** 0.5}
    examples = first.shape[-1] if layout in shapes.IN_COLUMNS else len(first)
    found = {"N": float(examples)}
    if first.ndim > 1:
        found["the number of features"] = float(first.size / examples)
    if output.ndim == 2:
        found["the number of outputs"] = float(output.size / examples)
    return found


def plausible(operation: str, leaves: Mapping[str, Array], output: Array, layout: int) -> bool:
    """Whether the output has the shape that the operation gives, where one is known."""
    first, of_channels = next(iter(leaves.values())), 3 if layout in shapes.CHANNELS_LAST else 1
    if operation in ("conv", "depthwise", "pool") and output.ndim == 4:
        channels = list(leaves.values())[-1].size if operation == "conv" else first.shape[of_channels]
        return output.shape[of_channels] == channels and len(output) == len(first)
    if operation in _OF_ONE_SHAPE:
        return output.shape == first.shape
    if operation == "attention":
        return output.shape[:-1] == first.shape[:-1]
    if operation in ("affine", "affine_relu") and len(leaves) == 3:
        width = list(leaves.values())[2].size
        return output.shape == ((width, first.shape[-1]) if layout in shapes.IN_COLUMNS else (len(first), width))
    return True
