"""What the operations compute, from jax in float64."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.gradcheck.comparison import compiled
from mlp_jax.gradcheck.layers import windows
from mlp_jax.gradcheck.layers.operations import classes_of
from mlp_jax.gradcheck.layers.shapes import CHANNELS_LAST, COLUMNS, IN_COLUMNS, LAST_FILTERS, OUT_IN
from mlp_jax.gradcheck.layers.trials import Trial, distance

Array = np.ndarray
OTHER_EPS = (0, 1e-8, 1e-7, 1e-6, 1e-3)  # than 1e-5, in normalisation


def truth(
    operation: str, leaves: Mapping[str, Array], options: Mapping[str, Any], layout: int, dout: Array
) -> tuple[Array, list[Array]] | None:
    """The operation's output and its vjp of dout from jax, in float64; None where the operation is not known.

    There is no vjp, [], if the output has another shape than dout.
    """
    values = list(leaves.values())
    try:
        function = _reference(operation, values, options, layout)
        if function is None:
            return None
        with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
            if jax.eval_shape(function, *values).shape != dout.shape:
                return np.asarray(compiled(function)(*values)), []
            out, grads = compiled(partial(_with_vjp, function))(dout, *values)
    except (TypeError, ValueError, KeyError):  # other shapes or options than the operation has
        return None
    return np.asarray(out), [np.asarray(leaf) for leaf in grads]


def output(operation: str, leaves: list[Array], options: Mapping[str, Any], layout: int) -> Array:
    """The output of an operation from jax, in float64; without numbers where the operation is not known."""
    function = _reference(operation, leaves, options, layout)
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        return np.zeros(0) if function is None else np.asarray(function(*map(jnp.asarray, leaves)))


def _with_vjp(function: Callable[..., Any], dout: Any, *at: Any) -> Any:
    out, pull = jax.vjp(function, *at)
    return out, pull(dout)


def _reference(
    operation: str, leaves: list[Array], named: Mapping[str, Any], layout: int
) -> Callable[..., Any] | None:
    options, window = list(named.values()), windows.of(named)
    shapes = [leaf.shape for leaf in leaves]
    in_columns = layout in IN_COLUMNS
    if operation in _POINTWISE and len(leaves) == 1:
        of_columns = in_columns and operation in ("softmax", "log_softmax")
        return partial(_POINTWISE[operation], axis=0) if of_columns else _POINTWISE[operation]
    if operation in ("affine", "affine_relu", "temporal") and len(leaves) == 3:
        return partial(_affine_reference, layout, operation)
    if operation in ("batchnorm", "layernorm") and len(leaves) == 3 and len(shapes[0]) == 2:
        axis = (0, 1)[(operation == "layernorm") != (layout == COLUMNS)]
        return partial(normalised, axis)
    if operation == "spatial" and len(leaves) == 3 and len(options) == 1:
        return partial(_of_channels, 0)
    if operation == "groupnorm" and len(leaves) == 3 and (groups := groups_of(options)):
        return partial(_of_channels, groups)
    if operation == "softmax_loss" and len(options) == 1:
        y = classes_of(options[0], layout)
        return lambda x: -jnp.mean(jax.nn.log_softmax(x.T if in_columns else x)[np.arange(len(y)), y])
    if operation == "svm_loss" and len(options) == 1:
        y = classes_of(options[0], layout)
        return lambda x: hinge(y, x.T if in_columns else x)
    if operation == "conv" and len(leaves) == 3 and window is not None:
        return partial(_conv, window, layout)
    if operation == "rnn_step" and len(leaves) == 5:
        if layout == COLUMNS:
            return lambda x, h, wx, wh, b: jnp.tanh(wx @ x + wh @ h + b)
        return lambda x, h, wx, wh, b: jnp.tanh(x @ wx + h @ wh + b)
    if operation == "embedding" and len(leaves) == 1 and len(options) == 1:
        return lambda w: w[options[0]]
    return None


def _affine_reference(layout: int, operation: str, x: Any, w: Any, b: Any) -> Any:
    if layout == COLUMNS:
        out = w @ x + b
    else:
        flat = x if operation == "temporal" else x.reshape(len(x), -1)
        out = flat @ (w.T if layout == OUT_IN else w) + b
    return jax.nn.relu(out) if operation == "affine_relu" else out


def normalised(
    axis: Any, x: Any, gamma: Any, beta: Any, eps: float = 1e-5, ddof: int = 0, *, outside: bool = False
) -> Any:
    """Returns the normalisation of x over the axis, scaled and shifted; outside: eps is added to the root."""
    var = x.var(axis=axis, keepdims=True, ddof=ddof)
    std = var**0.5 + eps if outside else (var + eps) ** 0.5
    return (x - x.mean(axis=axis, keepdims=True)) / std * gamma + beta


def groups_of(options: Sequence[Any]) -> int:
    """The number of groups among the options of a group normalisation; 0 without one."""
    return next((option for option in options if isinstance(option, int)), 0)


def _of_channels(groups: int, x: Any, gamma: Any, beta: Any) -> Any:
    """Spatial batch normalisation of x (N, C, H, W); with groups, group normalisation (Wu & He 2018)."""
    grouped = x.reshape(len(x), groups, -1) if groups else x
    n = normalised(2 if groups else (0, 2, 3), grouped, 1.0, 0.0).reshape(x.shape)
    return n * gamma.reshape(1, -1, 1, 1) + beta.reshape(1, -1, 1, 1)


def hinge(y: Array, x: Any, margin: float = 1.0) -> Any:
    """Returns the mean hinge loss of scores x (N, C) and labels y (N,)."""
    margins = x - x[np.arange(len(y)), y][:, None] + margin
    return ((margins * (margins > 0)).sum() - margin * len(y)) / len(y)


def _conv(window: Mapping[str, int], layout: int, x: Any, w: Any, b: Any) -> Any:
    pad = (window["pad"], window["pad"])
    kernel = "OHWI" if layout == LAST_FILTERS else "HWIO"
    forms = ("NHWC", kernel, "NHWC") if layout in CHANNELS_LAST else ("NCHW", "OIHW", "NCHW")
    out = jax.lax.conv_general_dilated(x, w, (window["stride"],) * 2, [pad, pad], dimension_numbers=forms)
    return out + (b.ravel() if layout in CHANNELS_LAST else b.reshape(-1, 1, 1))


_POINTWISE: dict[str, Callable[..., Any]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
}


def eps_of(out: Array, u: Array, gamma: Array, beta: Array, axis: int) -> float:
    """The eps with which a normalisation of u gave `out`: 1e-5 if none is found."""
    for eps in (1e-5, *OTHER_EPS):
        if distance(out, normalised(axis, u, gamma, beta, eps)) < 1e-9:
            return eps
    return 1e-5


def mask_of(trial: Trial) -> Array:
    """What a dropout layer multiplied its inputs by."""
    return np.asarray(trial.output / trial.x)
