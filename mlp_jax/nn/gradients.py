"""The backward pass is written by hand for every network that model.py can build; autodiff stands beside it.

Both sources have one signature and can be exchanged everywhere: `SOURCES["manual"]`, `SOURCES["autodiff"]`.
Suffixes of names are shapes: B batch, D inputs of a layer, H its outputs, C classes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float
from jaxtyping import PRNGKeyArray as Key

from mlp_jax.nn import activations, losses
from mlp_jax.nn.activations import Array
from mlp_jax.nn.checks import Inputs, Labels
from mlp_jax.nn.config import MLPConfig, Unit
from mlp_jax.nn.losses import Objective
from mlp_jax.nn.matmul import back, outer
from mlp_jax.nn.model import HiddenTrace, Layer, NormLayer, Params, Trace

Source = Callable[..., tuple[Objective, Params]]


def gradients(
    params: Params, x: Inputs, y: Labels, config: MLPConfig, *, l2: ArrayLike = 0.0, key: Key | None = None
) -> Params:
    """Returns the hand-written gradient of `losses.loss` by the parameters: the tree that `jax.grad(loss)` gives.

    In the two-layer case it is equations 7, 9, 12 and 13 of the report. Raises UserError as `losses.loss` does.
    """
    return manual(params, x, y, config, l2=l2, key=key)[1]


def manual(
    params: Params, x: Inputs, y: Labels, config: MLPConfig, *, l2: ArrayLike = 0.0, **options: Any
) -> tuple[Objective, Params]:
    """Returns the loss with its forward pass and its hand-written gradient; arguments as of `losses.objective`."""
    objective = losses.objective(params, x, y, config, l2=l2, **options)
    return objective, backward(params, objective.trace, y, config, l2=l2)


def autodiff(params: Params, x: Inputs, y: Labels, config: MLPConfig, **options: Any) -> tuple[Objective, Params]:
    """Returns the loss with its forward pass and its gradient by jax; arguments as of `losses.objective`."""

    def loss_and_trace(p: Params) -> tuple[jax.Array, Trace]:
        return losses.objective(p, x, y, config, **options)

    (loss, trace), grads = jax.value_and_grad(loss_and_trace, has_aux=True)(params)
    return Objective(loss, trace), grads


SOURCES: dict[str, Source] = {"manual": manual, "autodiff": autodiff}


def backward(params: Params, trace: Trace, y: Labels, config: MLPConfig, *, l2: ArrayLike) -> Params:
    """Goes from the logits back to the first layer; delta is always the loss's derivative by the value at hand."""
    delta = config.logit_scale * output_delta(trace.logits, y)
    grads: list[Layer | NormLayer] = [layer_gradients(params[-1], trace.inputs, delta, l2, config.precision)]
    units = config.units
    skipped: dict[int, jax.Array] = {}  # a skip adds this to the derivative by the output of the unit so numbered
    if units:
        delta = back(delta, params[-1].w, config.precision)
    for number in reversed(range(len(units))):
        layer, unit, hidden = params[number], units[number], trace.hidden[number]
        if number in skipped:
            delta = delta + skipped.pop(number)
        if unit.skip:
            skipped[number - unit.skip] = delta
        delta, norm_grads = hidden_delta(delta, layer, unit, hidden, config)
        w, b = layer_gradients(layer, hidden.inputs, delta, l2, config.precision)
        if number:  # nothing below the first is learned
            delta = back(delta, layer.w, config.precision)
        if unit.norm_place == "input":
            delta, norm_grads = norm_backward(delta, layer, unit, hidden)
        grads.append(NormLayer(w, b, *norm_grads) if norm_grads else Layer(w, b))
    # under x64, an l2 or x of float64 would leave its type in a float32 network's gradient
    typed: Params = jax.tree.map(lambda grad, leaf: grad.astype(leaf.dtype), tuple(grads[::-1]), params)
    return typed


def output_delta(logits_BC: Float[Array, "batch classes"], y: Labels) -> Float[jax.Array, "batch classes"]:
    """Returns dJ/dlogits = (softmax - one_hot) / B, equation 4; soft labels, which sum to 1, replace one_hot.

    The order of operations is autodiff's, so that both sources round alike and relu networks train bit for bit the
    same with either: over thousands of steps, a last bit that differs grows into other accuracies.
    """
    batch, classes = logits_BC.shape
    if y.ndim == 2:
        one_hot_BC = jnp.asarray(y, logits_BC.dtype)
    else:
        one_hot_BC = jax.nn.one_hot(jnp.asarray(y, jnp.int32), classes, dtype=logits_BC.dtype)
    exp_BC = jnp.exp(logits_BC - logits_BC.max(axis=1, keepdims=True))
    return exp_BC * ((1 / batch) / exp_BC.sum(axis=1, keepdims=True)) - one_hot_BC / batch


def layer_gradients(
    layer: Layer | NormLayer, a_BD: jax.Array, delta_BH: jax.Array, l2: ArrayLike, precision: str = "float32"
) -> Layer:
    """Returns dJ~/dw = a^T delta + l2 (2 w) and dJ~/db = column sums of delta (equations 7, 9, 12, 13).

    The penalty is multiplied in autodiff's order: with (2 l2) w, jaxlib 0.12 fuses AdamW's and Muon's updates
    otherwise than after autodiff, and the two sources part in the last bit.
    """
    return Layer(outer(a_BD, delta_BH, precision) + l2 * (2 * layer.w), delta_BH.sum(axis=0))


class NormGradients(NamedTuple):
    """These are the derivatives by the scale and the shift of a normalisation, of their shapes."""

    scale: jax.Array
    shift: jax.Array


def hidden_delta(
    delta_BH: jax.Array, layer: Layer | NormLayer, unit: Unit, hidden: HiddenTrace, config: MLPConfig
) -> tuple[jax.Array, NormGradients | None]:
    """Goes from a unit's output, without its skip, back to its product x w + b."""
    norm_grads = None
    if hidden.mask is not None:
        delta_BH = delta_BH * hidden.mask
    if unit.norm_place == "after":
        delta_BH, norm_grads = norm_backward(delta_BH, layer, unit, hidden)
    if unit.active:
        activation = activations.get(unit.activation, config.negative_slope)
        delta_BH = delta_BH * activation.derivative(hidden.z)
    if unit.norm_place == "before":
        delta_BH, norm_grads = norm_backward(delta_BH, layer, unit, hidden)
    return delta_BH, norm_grads


def norm_backward(
    delta_BH: jax.Array, layer: Layer | NormLayer, unit: Unit, hidden: HiddenTrace
) -> tuple[jax.Array, NormGradients]:
    """Goes back through u -> scale * (u - mean) / std + shift, with mean and std functions of u.

    With n the normalised input and d = delta * scale: dJ/du = (d - mean(d) - n * mean(d * n)) / std. The second
    term is the mean's part, the third the variance's. Means are over the batch (Ioffe & Szegedy 2015, section 3,
    simplified) or, in layer normalisation, over the row (Ba et al. 2016).
    """
    assert isinstance(layer, NormLayer)
    assert hidden.norm is not None
    n_BH, axis = hidden.norm.normalized, unit.norm_axis
    d_scale, d_shift = (delta_BH * n_BH).sum(axis=0), delta_BH.sum(axis=0)
    d_BH = delta_BH * layer.scale[None]
    mean_term = d_BH.mean(axis=axis, keepdims=True)
    variance_term_BH = n_BH * (d_BH * n_BH).mean(axis=axis, keepdims=True)
    d_input_BH = (d_BH - mean_term - variance_term_BH) * jnp.expand_dims(hidden.norm.inverse_std, axis)
    return d_input_BH, NormGradients(d_scale, d_shift)
