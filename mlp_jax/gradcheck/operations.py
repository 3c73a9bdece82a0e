"""The operations that a layer's name may say: random arguments, what comes out, and what a mistake computes.

Arguments are recognised by the names that CS231n's layers.py and its many relatives give them. For an operation
that is not known, `arguments` goes by these names alone.
"""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.vjp import Trial, distance

Array = np.ndarray
LABELS = ("y", "t", "labels", "targets", "target", "y_true", "label")
LAYOUTS = 4  # x of rank 4, x of rank 2, biases (1, M), columns = examples
SIZES = ((4, 6, 3), (5, 4, 7), (4, 4, 4), (2, 12, 5))  # N, D, M of each trial; one with all equal
INPUTS = ("x", "inputs", "input", "z", "a", "a_prev", "data", "logits", "scores", "x_in", "h", "features")
WEIGHTS = ("w", "weights", "weight", "theta")
BIASES = ("b", "bias", "biases")
SCALES = ("gamma", "beta", "scale", "shift")
FORMULAS: dict[str, dict[str, str]] = {
    "affine": {"x": "dout w^T", "w": "x^T dout", "b": "sum of dout over the examples"},
    "relu": {"x": "dout (x > 0)"},
    "leaky_relu": {"x": "dout (1 or the slope)"},
    "sigmoid": {"x": "dout a (1 - a)"},
    "tanh": {"x": "dout (1 - a^2)"},
    "softmax_loss": {"x": "(softmax - one-hot) / N"},
    "batchnorm": {
        "x": "(d - mean(d) - n mean(d n)) / std, d = dout gamma", "gamma": "sum of dout n", "beta": "sum of dout",
    },
    "layernorm": {
        "x": "(d - mean(d) - n mean(d n)) / std, d = dout gamma", "gamma": "sum of dout n", "beta": "sum of dout",
    },
    "dropout": {"x": "dout mask"},
}  # fmt: skip
_NAMES = (
    ("temporal", ""), ("rnn_step", "rnn_step"), ("rnn", "rnn"), ("lstm_step", "lstm_step"), ("lstm", "lstm"),
    ("spatial", "spatial"), ("embedding", "embedding"), ("conv", "conv"), ("pool", "pool"),
    ("softmax_loss", "softmax_loss"), ("svm_loss", "svm_loss"),
    ("_ln_", ""), ("_bn_", ""), ("norm_relu", ""), ("affine_relu", "affine_relu"), ("linear_activation", ""),
    ("batchnorm", "batchnorm"), ("batch_norm", "batchnorm"),
    ("layernorm", "layernorm"), ("layer_norm", "layernorm"),
    ("dropout", "dropout"), ("leaky", "leaky_relu"), ("relu", "relu"), ("sigmoid", "sigmoid"), ("tanh", "tanh"),
    ("affine", "affine"), ("linear", "affine"), ("dense", "affine"), ("fc_", "affine"),
)  # fmt: skip


def named(name: str) -> str:
    """The operation that a function's name says, or "" for none that is known."""
    return next((operation for word, operation in _NAMES if word in name.lower()), "")


def arguments(
    operation: str, parameters: Sequence[inspect.Parameter], rng: Any, number: int, layout: int
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Random leaves and the other arguments, for a forward pass with these parameters.

    Raises UserError if it cannot be told what an argument is.
    """
    n, d, m = SIZES[number]
    leaves: dict[str, Array] = {}
    options: dict[str, Any] = {}
    for p in parameters:
        name = p.name.lower()
        if name in LABELS and operation.endswith("loss"):
            options[p.name] = rng.integers(0, m, n)
        elif (shape := _shape(operation, name, n, d, m, layout, first=not leaves)) is not None:
            integers = operation == "embedding" and not leaves and not options
            if integers:
                options[p.name] = rng.integers(0, d, shape)
            else:
                leaves[p.name] = rng.normal(size=shape)
        elif (option := _option(operation, name, number)) is not None:
            options[p.name] = option
        elif p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            raise UserError(
                f"what its argument {p.name} is cannot be told: call it x, w, b, gamma, beta or ..._param, or use "
                "mlp_jax.gradcheck.check_vjp(f, backward, *args)"
            )
    return leaves, options


def _shape(
    operation: str, name: str, n: int, d: int, m: int, layout: int, *, first: bool
) -> tuple[int, ...] | None:
    name = name.removesuffix("_prev") if name not in ("a_prev",) else name
    if operation in ("rnn_step", "rnn", "lstm_step", "lstm"):
        return _recurrent(operation, name, n, d, m)
    if operation == "embedding":
        return (n, 3) if first and name == "x" else (d, m) if name in WEIGHTS else None
    picture = operation in ("conv", "pool", "spatial")
    if first and (name in INPUTS or name in ("x",)):
        if picture:
            return (2, 4 if operation == "spatial" else 2, 6, 4)
        if operation.endswith("loss"):
            return (n, m)
        rank4 = layout == 0 and operation in ("affine", "affine_relu")
        return (n, *_factors(d)) if rank4 else (d, n) if layout == 3 else (n, d)
    if name in WEIGHTS:
        return (3, 2, 3, 3) if operation == "conv" else (m, d) if layout == 3 else (d, m)
    if name in BIASES:
        return (3,) if operation == "conv" else ((m,), (m,), (1, m), (m, 1))[layout]
    if name in SCALES:
        width = m if operation == "" and layout < 3 and not first else d
        return (
            ((4,), (4,), (1, 4, 1, 1), (1, 4, 1, 1))[layout]
            if operation == "spatial"
            else ((width,) if layout < 2 else (1, width) if layout == 2 else (width, 1))
        )
    return None


def _factors(d: int) -> tuple[int, int]:
    return (2, d // 2)


def _recurrent(operation: str, name: str, n: int, d: int, m: int) -> tuple[int, ...] | None:
    gates = 4 * m if operation.startswith("lstm") else m
    shapes: dict[str, tuple[int, ...]] = {
        "x": (n, d) if operation.endswith("step") else (n, 3, d), "prev_h": (n, m), "h": (n, m), "h0": (n, m),
        "prev_c": (n, m), "wx": (d, gates), "wh": (m, gates), "b": (gates,),
    }  # fmt: skip
    return shapes.get(name)


def _option(operation: str, name: str, number: int) -> Any:
    if name == "conv_param":
        return {"stride": 1 + number % 2, "pad": 1}
    if name == "pool_param":
        return {"pool_height": 2, "pool_width": 2, "stride": 2}
    if name == "g":
        return 2
    if "drop" in name:
        return {"p": 0.6, "mode": "train", "seed": 3 + number}
    if name.endswith(("_param", "_params", "_config")):
        return {"mode": "train", "eps": 1e-5, "momentum": 0.9}
    return None


def fresh(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copies, because a forward pass may write running means into them."""
    return copy.deepcopy(dict(options))


def sizes(leaves: Mapping[str, Array], output: Array) -> dict[str, float]:
    """What somebody may divide by: N, the numbers of features and of outputs."""
    first = next(iter(leaves.values()))
    found = {"N": float(len(first))}
    if first.ndim > 1:
        found["the number of features"] = float(first[0].size)
    if output.ndim == 2:
        found["the number of outputs"] = float(output.shape[1])
    return found


def plausible(operation: str, leaves: Mapping[str, Array], output: Array) -> bool:
    """Whether the output has the shape that the operation gives, where one is known."""
    first = next(iter(leaves.values()))
    if operation in ("relu", "leaky_relu", "sigmoid", "tanh", "dropout", "batchnorm", "layernorm", "spatial"):
        return output.shape == first.shape
    if operation == "affine" and len(leaves) == 3:
        bias = list(leaves.values())[2]
        return output.shape in ((len(first), bias.size), (bias.size, first.shape[-1]))
    return True


def _flat(leaves: Mapping[str, Array]) -> list[Array]:
    return list(leaves.values())


def output(operation: str, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> Array | None:
    """What the operation gives, in numpy; None where nothing is known."""
    values = _flat(leaves)
    x = values[0]
    if operation in _POINTWISE and len(values) == 1:
        return np.asarray(_POINTWISE[operation][0](x))
    if operation == "affine" and len(values) == 3:
        w, b = values[1:]
        columns = b.ndim == 2 and b.shape[1] == 1 and len(b) > 1
        return np.asarray(w @ x + b if columns else x.reshape(len(x), -1) @ w + b)
    if operation in ("batchnorm", "layernorm") and len(values) == 3 and values[1].size == x.shape[-1]:
        n, _ = _normalised(operation, x)
        return np.asarray(n * values[1] + values[2])
    if operation == "softmax_loss":
        y = next(iter(options.values()))
        shifted = x - x.max(axis=1, keepdims=True)
        return np.asarray((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]).mean())
    if operation == "svm_loss":
        y = next(iter(options.values()))
        margins = np.maximum(0, x - x[np.arange(len(y)), y][:, None] + 1)
        margins[np.arange(len(y)), y] = 0
        return np.asarray(margins.sum() / len(y))
    return None


def _normalised(operation: str, x: Array) -> tuple[Array, Array]:
    axis = 0 if operation == "batchnorm" else 1
    std = np.sqrt(x.var(axis=axis, keepdims=True) + 1e-5)
    return (x - x.mean(axis=axis, keepdims=True)) / std, std


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


_POINTWISE: dict[str, tuple[Any, Any]] = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * (1 - _sigmoid(x))),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
}


def describe(operation: str, pairs: Sequence[tuple[Trial, Array]]) -> str:
    """How an output is off, where that is a number in front of it or a leaf that is not used."""
    ratios = []
    for trial, true in pairs:
        if trial.output.shape != true.shape:
            return f"its shape is {trial.output.shape} in place of {true.shape}"
        size = float((true**2).sum())
        ratio = float((trial.output * true).sum()) / size if size else np.nan
        if not np.isfinite(ratio) or distance(trial.output, ratio * true) > 1e-6:
            break
        ratios.append(ratio)
    else:
        n = [trial.sizes["N"] for trial, _ in pairs]
        if np.allclose(ratios, n):
            return "it is N times what it should be: a sum, where the mean belongs"
        if np.allclose(np.array(ratios) * n, 1):
            return "it is divided by N once too often"
        if np.allclose(ratios, ratios[0]):
            return f"it is {ratios[0]:.4g} times what it should be"
    unused = [
        name
        for name in pairs[0][0].true
        if all(np.nan_to_num(np.abs(t.true[name])).max() < 1e-9 for t, _ in pairs)
    ]
    return f"it does not depend on {' and '.join(unused)}" if unused else ""


def alternatives(operation: str, leaf: str, trial: Trial) -> Iterator[tuple[str, str, Array]]:
    """What the known mistakes compute in place of one leaf: (code, detail, value)."""
    x, g = next(iter(trial.inputs.values())), trial.dout
    number = list(trial.inputs).index(leaf)
    if operation == "affine" and len(trial.inputs) == 3:
        yield from _affine(number, trial, x, g)
    elif operation in ("relu", "leaky_relu", "sigmoid", "tanh") and g.shape == x.shape:
        yield from _slope(operation, x, trial.output, g)
    elif operation in ("batchnorm", "layernorm") and g.shape == x.shape and x.ndim == 2 and len(trial.inputs) == 3:
        yield from _norm(operation, number, trial, x, g)
    elif operation == "dropout" and g.shape == x.shape:
        mask = np.where(x == 0, 0, trial.output / np.where(x == 0, 1, x))
        yield "dropout_mask_missing", "", g
        yield "dropout_scale_missing", "", g * (mask != 0)
        yield "upstream_lost", "", mask
    elif operation == "softmax_loss":
        p = np.exp(x - x.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        yield "one_hot_missing", "", p / len(x)


def _affine(number: int, trial: Trial, x: Array, g: Array) -> Iterator[tuple[str, str, Array]]:
    _, w, b = trial.inputs.values()
    columns = b.ndim == 2 and b.shape[1] == 1 and len(b) > 1
    flat = x.T if columns else x.reshape(len(x), -1)
    w2, g2 = (w.T, g.T) if columns else (w, g)
    one = np.ones_like(g2)

    def shaped(value: Array) -> Array:
        return value.T if columns else value.reshape(x.shape)

    def turned(value: Array) -> Array:
        return value.T if columns else value

    if number == 0:
        yield "upstream_lost", "", shaped(one @ w2.T)
        if w2.shape[0] == w2.shape[1]:
            yield "transpose", "", shaped(g2 @ w2)
        yield "bias_in_product", "", shaped(g2 @ (w2 + b.ravel()).T)
    elif number == 1:
        yield "upstream_lost", "", turned(flat.T @ one)
        if w2.shape[0] == w2.shape[1]:
            yield "transpose", "", turned(g2.T @ flat)
            out = trial.output.T if columns else trial.output
            yield "own_output", "", turned(out.T @ g2)
    else:
        yield "upstream_lost", "", one.sum(axis=0).reshape(b.shape)
        yield "upstream_lost", "", np.ones_like(b)
        yield "bias_over_classes", "", np.full(b.shape, g2.sum())
        if g2.shape[0] == g2.shape[1]:
            yield "bias_over_classes", "", g2.sum(axis=1).reshape(b.shape)
        yield "bias_from_weights", "", (flat.T @ g2).sum(axis=0).reshape(b.shape)


def _slope(operation: str, x: Array, out: Array, g: Array) -> Iterator[tuple[str, str, Array]]:
    yield "mask_missing", "", g
    slope = _POINTWISE[operation][1](x) if operation in _POINTWISE else np.where(x > 0, 1, 0.01)
    yield "upstream_lost", "", slope
    if operation in ("relu", "leaky_relu"):
        yield "mask_wrong_tensor", "at dout", g * (g > 0)
        yield "mask_wrong_tensor", "at the opposite of x", g * (x < 0)
    yield "activation_for_derivative", "", g * out
    for name, form in (("1 - z^2", 1 - x**2), ("z (1 - z)", x * (1 - x))):
        yield "output_form_at_z", name, g * form
    for other, (_, derivative) in _POINTWISE.items():
        if other != operation:
            yield "other_activation", f"that of {other}", g * derivative(x)
    yield "other_activation", "that of tanh, taken at a", g * (1 - out**2)
    yield "other_activation", "that of the sigmoid, taken at a", g * out * (1 - out)
    for low in (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5):
        yield "leaky_slope", f"a slope of {low:g}", g * np.where(x > 0, 1, low)


def _norm(operation: str, number: int, trial: Trial, x: Array, g: Array) -> Iterator[tuple[str, str, Array]]:
    axis = 0 if operation == "batchnorm" else 1
    _, gamma, _ = trial.inputs.values()
    n, std = _normalised(operation, x)
    if number == 1:
        yield "upstream_lost", "", n.sum(axis=0).reshape(gamma.shape)
        yield "pre_activation_used", "x in place of n", (g * x).sum(axis=0).reshape(gamma.shape)
        yield "own_output", "", (g * trial.output).sum(axis=0).reshape(gamma.shape)
    elif number == 0:
        m = x.shape[axis]
        var = x.var(axis=axis, keepdims=True)
        unbiased = np.sqrt(var * m / (m - 1) + 1e-5)

        def back(d: Array, mean: float = 1, variance: float = 1, by: Array = std, along: int = axis) -> Array:
            parts = mean * d.mean(axis=along, keepdims=True) + variance * n * (d * n).mean(
                axis=along, keepdims=True
            )
            return np.asarray((d - parts) / by)

        d = g * gamma
        yield "bn_scale_dropped", "", back(g)
        yield "bn_mean_term_dropped", "", back(d, mean=0)
        yield "bn_variance_term_dropped", "", back(d, variance=0)
        yield "bn_variance_term_dropped", "and the mean's", back(d, mean=0, variance=0)
        yield "bn_std_dropped", "", back(d, by=np.ones_like(std))
        yield "bn_sum_for_mean", "", back(d, mean=m, variance=m)
        yield "bn_sum_for_mean", "of d", back(d, mean=m)
        yield "bn_sum_for_mean", "of d n", back(d, variance=m)
        yield "bn_ddof", "", back(d, by=unbiased)
        yield "bn_ddof", "", back(d, variance=m / (m - 1))
        yield "bn_ddof", "", back(d, mean=m / (m - 1), variance=m / (m - 1))
        yield "bn_ddof", "", back(d, variance=m / (m - 1), by=unbiased)
        yield "bn_axis", "", back(d, along=1 - axis)
        yield "bn_extra_term", "the mean's twice", back(d, mean=2)
        yield "bn_extra_term", "the variance's twice", back(d, variance=2)
        yield "upstream_lost", "", back(np.broadcast_to(gamma, g.shape))
