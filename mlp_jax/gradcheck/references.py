"""What the operations compute, from jax in float64, and how a layer's forward pass differs from that."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.gradcheck.comparison import compiled
from mlp_jax.gradcheck.mistakes import MISTAKES
from mlp_jax.gradcheck.operations import COLUMNS, OUT_IN
from mlp_jax.gradcheck.trials import Trial, distance, scaled

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
        function = _reference(operation, values, list(options.values()), layout)
        if function is None:
            return None
        with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
            if jax.eval_shape(function, *values).shape != dout.shape:
                return np.asarray(compiled(function)(*values)), []
            out, grads = compiled(partial(_with_vjp, function))(dout, *values)
    except (TypeError, ValueError, KeyError):  # other shapes or options than the operation has
        return None
    return np.asarray(out), [np.asarray(leaf) for leaf in grads]


def output(operation: str, leaves: list[Array], options: list[Any], layout: int) -> Array:
    """The output of an operation from jax, in float64; without numbers where the operation is not known."""
    function = _reference(operation, leaves, options, layout)
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        return np.zeros(0) if function is None else np.asarray(function(*map(jnp.asarray, leaves)))


def _with_vjp(function: Callable[..., Any], dout: Any, *at: Any) -> Any:
    out, pull = jax.vjp(function, *at)
    return out, pull(dout)


def _reference(operation: str, leaves: list[Array], options: list[Any], layout: int) -> Callable[..., Any] | None:
    shapes = [leaf.shape for leaf in leaves]
    if operation in _POINTWISE and len(leaves) == 1:
        return _POINTWISE[operation]
    if operation in ("affine", "affine_relu", "temporal") and len(leaves) == 3:
        return partial(_affine_reference, layout, operation)
    if operation in ("batchnorm", "layernorm") and len(leaves) == 3 and len(shapes[0]) == 2:
        axis = (0, 1)[(operation == "layernorm") != (layout == COLUMNS)]
        return partial(_norm_reference, axis)
    if operation == "spatial" and len(leaves) == 3 and len(options) == 1:
        return lambda x, gamma, beta: _norm_reference(
            (0, 2, 3), x, gamma.reshape(1, -1, 1, 1), beta.reshape(1, -1, 1, 1)
        )
    if operation == "softmax_loss" and len(options) == 1:
        y = options[0].argmax(axis=1) if options[0].ndim == 2 else options[0]
        return lambda x: -jnp.mean(jax.nn.log_softmax(x)[np.arange(len(y)), y])
    if operation == "svm_loss" and len(options) == 1:
        return partial(_hinge, options[0].argmax(axis=1) if options[0].ndim == 2 else options[0])
    if operation == "conv" and len(leaves) == 3 and len(options) == 1:
        return partial(_conv, options[0])
    if operation == "rnn_step" and len(leaves) == 5:
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


def _norm_reference(axis: Any, x: Any, gamma: Any, beta: Any, eps: float = 1e-5, ddof: int = 0) -> Any:
    var = x.var(axis=axis, keepdims=True, ddof=ddof)
    return (x - x.mean(axis=axis, keepdims=True)) / (var + eps) ** 0.5 * gamma + beta


def _hinge(y: Array, x: Any, margin: float = 1.0) -> Any:
    margins = x - x[np.arange(len(y)), y][:, None] + margin
    return ((margins * (margins > 0)).sum() - margin * len(y)) / len(y)


def _conv(param: Mapping[str, int], x: Any, w: Any, b: Any) -> Any:
    pad = (param["pad"], param["pad"])
    return jax.lax.conv_general_dilated(x, w, (param["stride"],) * 2, [pad, pad]) + b[:, None, None]


_POINTWISE: dict[str, Callable[[Any], Any]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "softmax": jax.nn.softmax,
}


def _normalised(keywords: dict[str, Any], trial: Trial) -> Any:
    x, gamma, beta = trial.inputs.values()
    return _norm_reference(x=x, gamma=gamma, beta=beta, **keywords)


def _others(operation: str) -> Iterator[tuple[str, Callable[[Trial], Any]]]:
    """Other forward passes that people have, in words."""
    if operation in ("batchnorm", "layernorm"):
        axis = int(operation == "layernorm")
        kinds: list[tuple[str, dict[str, Any]]] = [("the variance is divided by N - 1", {"axis": axis, "ddof": 1})]
        kinds += [(f"eps = {eps:g}", {"axis": axis, "eps": eps}) for eps in OTHER_EPS]
        kinds += [("mean and variance are those of the other axis", {"axis": 1 - axis})]
        for text, keywords in kinds:
            yield text, partial(_normalised, keywords)
    if operation == "svm_loss":
        yield "the margin of 1 is left out", partial(_other_hinge, 0.0, 0.0)
        yield "the true class is counted too, so that it is 1 too much", partial(_other_hinge, 1.0, 1.0)


def _other_hinge(margin: float, more: float, trial: Trial) -> Any:
    (y,), (x,) = trial.options.values(), trial.inputs.values()
    return _hinge(y.argmax(axis=1) if y.ndim == 2 else y, x, margin) + more


def describe(operation: str, pairs: Sequence[tuple[Trial, Array]]) -> str:
    """How an output is off: another eps or variance, a number in front of it, or a leaf that is not used."""
    for trial, true in pairs:
        if trial.output.shape != true.shape:
            return f"its shape is {trial.output.shape} in place of {true.shape}"
    for text, reference in _others(operation):
        outs = [reference(trial) for trial, _ in pairs]
        if all(distance(trial.output, out) < 1e-9 for (trial, _), out in zip(pairs, outs, strict=True)):
            return text
    told = scaled("out", [t._replace(found={"out": t.output}, true={"out": true}) for t, true in pairs])
    unused = [
        name
        for name in pairs[0][0].true
        if all(np.nan_to_num(np.abs(t.true[name])).max() < 1e-9 for t, _ in pairs)
    ]
    if told or not unused:
        return " and ".join(t.detail or MISTAKES[t.code].does for t in told)
    return f"it does not depend on {' and '.join(unused)}"


def eps_of(out: Array, u: Array, gamma: Array, beta: Array, axis: int) -> float:
    """The eps with which a normalisation of u gave `out`: 1e-5 if none is found."""
    for eps in (1e-5, *OTHER_EPS):
        if distance(out, _norm_reference(axis, u, gamma, beta, eps)) < 1e-9:
            return eps
    return 1e-5


def mask_of(trial: Trial) -> Array:
    """What a dropout layer multiplied its inputs by."""
    return np.asarray(trial.output / next(iter(trial.inputs.values())))


def fresh_mask(leaf: str, trials: Sequence[Trial]) -> bool:
    """Whether a dropout layer goes back through a mask that is not that of the forward pass."""
    other = False
    for trial in trials:
        found = trial.found.get(leaf)
        if found is None or found.shape != trial.dout.shape or not np.isfinite(found).all():
            return False
        mine, true = found / trial.dout, mask_of(trial)
        kept = mine[np.abs(mine) > 1e-12]
        if not len(kept) or not np.allclose(kept, kept[0]) or len(kept) == mine.size:
            return False
        other |= not np.array_equal(np.abs(mine) > 1e-12, np.abs(true) > 1e-12)
    return other
