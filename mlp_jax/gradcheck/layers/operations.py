"""The operations that a layer's name may say, and random arguments for them.

Arguments are recognised by the names that CS231n's layers.py and its many relatives give them. For an operation
that is not known, `arguments` goes by these names alone.
"""

import copy
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import windows

Array = np.ndarray
SIZES = ((4, 6, 3), (5, 4, 7), (4, 4, 4), (2, 12, 5))  # N, D, M of each trial; one with all equal
RANK_4, PLAIN, ROW_BIAS, COLUMNS, OUT_IN = range(5)  # of x, of biases (1, M), columns = examples, w (M, D)
ONE_HOT = 1  # the labels of a loss are one-hot in this layout
LAST, LAST_BIAS, LAST_FILTERS = range(5, 8)  # pictures (N, H, W, C); kernels (h, w, C, F), or (F, h, w, C)
CHANNELS_LAST = (LAST, LAST_BIAS, LAST_FILTERS)
CHANNELS = ("spatial", "groupnorm")  # operations whose scale is one number for each channel
PICTURES = ("conv", "pool", "pictures", *CHANNELS)  # operations of inputs (N, C, H, W)
LABELS = ("y", "t", "labels", "label", "targets", "target", "targ", "y_true", "truth", "y_labels", "ys", "true",
          "reference_answers", "answers", "expected")  # fmt: skip
INPUTS = ("x", "inputs", "input", "z", "a", "a_prev", "data", "logits", "scores", "x_in", "h", "features")
WEIGHTS = ("w", "weights", "weight", "theta")
BIASES = ("b", "bias", "biases")
SCALES = ("gamma", "beta", "scale", "shift")
# of an attention, by the shape that they have: queries, keys, values, and the matrices that make them of x
QUERIES = re.compile(r"q|query|queries|qs")
KEYS = re.compile(r"k|key|keys|ks")
VALUES = re.compile(r"v|value|values|vs")
NORMS = ("batchnorm", "layernorm", "spatial", "groupnorm", "norm")  # of "norm" nothing is known but its shapes
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
    ("attention", "attention"), ("attn", "attention"), ("dot_product", "attention"), ("sdpa", "attention"),
    ("temporal_softmax", "temporal_loss"), ("temporal", "temporal"), ("rnn_step", "rnn_step"),
    ("rnn_cell", "rnn_step"), ("rnn", "rnn"), ("lstm_step", "lstm_step"), ("lstm_cell", "lstm_step"),
    ("lstm", "lstm"), ("groupnorm", "groupnorm"), ("group_norm", "groupnorm"), ("spatial", "spatial"),
    ("embedding", "embedding"), ("conv", "conv"), ("pool", "pool"), ("softmax_loss", "softmax_loss"),
    ("svm_loss", "svm_loss"), ("hinge", "svm_loss"), ("loss", "other_loss"), ("logsoftmax", "log_softmax"),
    ("log_softmax", "log_softmax"), ("entropy", "other_loss"), ("xent", "other_loss"), ("mse", "other_loss"),
    ("softmax", "softmax"), ("affine_relu", "affine_relu"), ("linear_activation", "affine_relu"),
    ("batchnorm", "batchnorm"), ("batch_norm", "batchnorm"), ("layernorm", "layernorm"),
    ("layer_norm", "layernorm"), ("bn_", "batchnorm"), ("ln_", "layernorm"), ("dropout", "dropout"),
    ("leaky", "leaky_relu"), ("relu", "relu"), ("sigmoid", "sigmoid"), ("tanh", "tanh"), ("affine", "affine"),
    ("linear", "affine"), ("dense", "affine"), ("fc_", "affine"), ("lin_", "affine"),
    ("fullyconnected", "affine"), ("norm", "norm"),
)  # fmt: skip
_KINDS = {
    "affine": ("affine", "linear", "dense", "fc_"), "picture": ("conv", "pool"), "dropout": ("drop",),
    "norm": ("norm", "_bn", "_ln", "bn_", "ln_", "batch"), "relu": ("relu",), "squashing": ("sigmoid", "tanh"),
}  # fmt: skip


def named(name: str) -> str:
    """The operation that a function's name says, or "" for none that is known.

    Several in a row are "pictures" or "affines", for the shapes, or "": nothing is known of what they compute.
    """
    operation = next((operation for word, operation in _NAMES if word in name.lower()), "")
    kinds = {kind for kind, words in _KINDS.items() if any(word in name.lower() for word in words)}
    if len(kinds) < 2 or operation.endswith("loss") or (operation == "affine_relu" and len(kinds) == 2):
        return operation
    return "pictures" if "picture" in kinds else "affines" if "affine" in kinds else ""


def layouts(operation: str) -> Sequence[int]:
    """The arrangements of shapes that an operation may want."""
    return range(8) if operation in windows.OPERATIONS else range(5)


def arguments(
    operation: str, parameters: Sequence[inspect.Parameter], rng: Any, number: int, layout: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Returns random leaves and the other arguments, for a forward pass with these parameters.

    Raises UserError if it cannot be told what an argument is.
    """
    shapes = _Shapes(operation, *SIZES[number], layout)
    leaves: dict[str, Array] = {}
    options: dict[str, Any] = {}
    for p in parameters:
        name = p.name.lower()
        if name in LABELS and operation.endswith("loss"):
            labels = rng.integers(0, shapes.m, shapes.labels)
            options[p.name] = np.eye(shapes.m)[labels] if layout == ONE_HOT else labels
        elif operation == "temporal_loss" and name == "mask":
            options[p.name] = rng.random(shapes.labels) < 0.7
        elif operation == "embedding" and not leaves and not options:
            options[p.name] = rng.integers(0, shapes.d, (shapes.n, 3))
        elif (shape := shapes.of(name)) is not None:
            leaves[p.name] = rng.normal(size=shape)
        elif (option := _option(operation, name, number)) is not None and (
            p.default is p.empty or isinstance(option, dict) or name in GROUPS or windows.is_number(operation, p)
        ):
            options[p.name] = option
        elif p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            raise UserError(
                f"what its argument {p.name} is cannot be told: call it x, w, b, gamma, beta or ..._param, or use "
                "mlp_jax.gradcheck.check_vjp(f, backward, *args)"
            )
    return leaves, options


class _Shapes:
    """The shapes of arguments by their names, in the order of a forward pass: a weight changes the width."""

    def __init__(self, operation: str, n: int, d: int, m: int, layout: int) -> None:
        self.operation, self.n, self.d, self.m, self.layout = operation, n, d, m, layout
        self.temporal, self.picture = operation.startswith("temporal"), operation in PICTURES
        self.kernel = operation in ("conv", "pictures")
        self.width, self._first = (4 if operation in CHANNELS else d), True
        self.last = layout in CHANNELS_LAST
        self.labels = (n, 3) if self.temporal else (n,)

    def of(self, name: str) -> tuple[int, ...] | None:
        """The shape of the next argument, or None if its name says none."""
        recurrent = self.operation in ("rnn_step", "rnn", "lstm_step", "lstm")
        attended = self._attended(name) if self.operation == "attention" else None
        shape = self._recurrent(name) if recurrent else self._plain(name.rstrip("0123456789_") or name)
        shape = shape if attended is None else attended
        if shape is None and name in ("h", "prev_h", "h_prev", "hidden"):
            shape = (self.n, self.m)
        self._first = self._first and shape is None
        return shape

    def _attended(self, name: str) -> tuple[int, ...] | None:
        """Of attention: with a batch, of one sequence, or of several heads; also where all lengths are equal."""
        before = {PLAIN: (), COLUMNS: (), OUT_IN: (2, 2)}.get(self.layout, (2,))
        equal = self.layout in (ROW_BIAS, COLUMNS)
        queries, keys, d, v = (3, 3, 4, 4) if equal else (self.n, self.m, self.d, self.d + 1)
        if name in INPUTS:
            return (*before, queries, d)
        for form, shape in ((QUERIES, (queries, d)), (KEYS, (keys, d)), (VALUES, (keys, v))):
            if form.fullmatch(name):
                return (*before, *shape)
        matrix = re.fullmatch(r"(weights?|w)_?(.+)|(.+)_(weights?|w)", name)
        of = (matrix[2] or matrix[3]) if matrix else ""
        return next(((d, d) for form in (QUERIES, KEYS, VALUES, re.compile("o|out")) if form.fullmatch(of)), None)

    def _plain(self, name: str) -> tuple[int, ...] | None:
        if self._first and name in INPUTS:
            return self._input()
        if self.operation in NORMS and name in (*WEIGHTS, *BIASES):
            name = SCALES[0]
        if name in WEIGHTS:
            self.width = 3 if self.kernel else self.m
            if self.kernel:
                return {LAST_FILTERS: (3, 3, 3, 2)}.get(self.layout, (3, 3, 2, 3) if self.last else (3, 2, 3, 3))
            return (self.m, self.d) if self.layout in (COLUMNS, OUT_IN) else (self.d, self.m)
        if name in BIASES:
            width = self.width if self.width != self.d or self.kernel else self.m
            forms = {ROW_BIAS: (1, width), COLUMNS: (width, 1), LAST_BIAS: (1, 1, 1, width)}
            return forms.get(self.layout, (width,))
        if name in SCALES and self.operation in CHANNELS:
            return (1, 4, 1, 1) if self.layout in (ROW_BIAS, COLUMNS) else (4,)
        if name in SCALES:
            return {ROW_BIAS: (1, self.width), COLUMNS: (self.width, 1)}.get(self.layout, (self.width,))
        return None

    def _input(self) -> tuple[int, ...]:
        if self.picture:
            channels = self.operation in CHANNELS
            height = 3 if channels else 4
            width = height if self.layout == OUT_IN else 6  # some take only square pictures
            size = (width, height, 4 if channels else 2)
            return (min(self.n, 3), *(size if self.last else (size[2], *size[:2])))
        if self.operation.endswith("loss"):
            return (*self.labels, self.m)
        if self.temporal:
            return (self.n, 3, self.d)
        if self.layout == RANK_4 and "affine" in self.operation:
            return (self.n, 2, self.d // 2)
        return (self.d, self.n) if self.layout == COLUMNS else (self.n, self.d)

    def _recurrent(self, name: str) -> tuple[int, ...] | None:
        gates = 4 * self.m if self.operation.startswith("lstm") else self.m
        step = self.operation.endswith("step")
        state = (self.n, self.m)
        return {
            "x": (self.n, self.d) if step else (self.n, 3, self.d), "prev_h": state, "h_prev": state, "h": state,
            "h0": state, "prev_c": state, "c_prev": state, "wx": (self.d, gates), "wh": (self.m, gates),
            "b": (gates,),
        }.get(name)  # fmt: skip


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
    return {"mode": "train", "train": True, "training": True, "is_training": True, "activation": "relu",
            "alpha": 0.1, "negative_slope": 0.1, "slope": 0.1, "eps": 1e-5, "epsilon": 1e-5}.get(name)  # fmt: skip


def classes_of(labels: Array) -> Array:
    """The classes (N,) of labels, which may be one-hot, (N, C)."""
    return labels.argmax(axis=1) if labels.ndim == 2 else labels


def fresh(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copies, because a forward pass may write running means into them."""
    return copy.deepcopy(dict(options))


def in_test_mode(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options with the mode of testing, or None if none of them names a mode."""
    tested: dict[str, Any] = {}
    for name, option in options.items():
        if isinstance(option, dict) and "mode" in option:
            tested[name] = {**option, "mode": "test"}
        elif name.lower() in ("mode", "train", "training", "is_training"):
            tested[name] = "test" if isinstance(option, str) else False
    return {**options, **tested} if tested else None


def sizes(operation: str, leaves: Mapping[str, Array], output: Array, layout: int) -> dict[str, float]:
    """What somebody may divide by: N, the numbers of features and of outputs; N counts what a bias sums over."""
    first = next(iter(leaves.values()))
    if operation == "temporal":
        return {"N": first.size / first.shape[-1], "the number of sequences": float(len(first))}
    if operation in CHANNELS:
        return {"N": first.size / first.shape[1], "the number of examples": float(len(first))}
    if operation == "attention":
        return {"N": float(len(first)), "the root of the number of features": float(first.shape[-1]) ** 0.5}
    examples = first.shape[-1] if layout == COLUMNS else len(first)
    found = {"N": float(examples)}
    if first.ndim > 1:
        found["the number of features"] = float(first.size / examples)
    if output.ndim == 2:
        found["the number of outputs"] = float(output.size / examples)
    return found


def attends(names: Sequence[str]) -> bool:
    """Whether the first arguments are called as queries, keys and values are."""
    forms = (QUERIES, KEYS, VALUES)
    return len(names) > 2 and all(f.fullmatch(n.lower()) for f, n in zip(forms, names, strict=False))


def plausible(operation: str, leaves: Mapping[str, Array], output: Array, layout: int) -> bool:
    """Whether the output has the shape that the operation gives, where one is known."""
    first, of_channels = next(iter(leaves.values())), 3 if layout in CHANNELS_LAST else 1
    if operation in ("conv", "pool") and output.ndim == 4:
        channels = first.shape[of_channels] if operation == "pool" else list(leaves.values())[-1].size
        return output.shape[of_channels] == channels and len(output) == len(first)
    if operation in ("relu", "leaky_relu", "sigmoid", "tanh", "dropout", "batchnorm", "layernorm", *CHANNELS):
        return output.shape == first.shape
    if operation == "attention":
        return output.shape[:-1] == first.shape[:-1]
    if operation in ("affine", "affine_relu") and len(leaves) == 3:
        width = list(leaves.values())[2].size
        return output.shape == ((width, first.shape[-1]) if layout == COLUMNS else (len(first), width))
    return True
