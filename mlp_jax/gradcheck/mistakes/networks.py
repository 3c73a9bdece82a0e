"""A network as a list of operations: from a case and the truth about it to the steps of its backward pass."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlp_jax.gradcheck.mistakes.layer_ops import Hinge, Softmax
from mlp_jax.gradcheck.mistakes.ops import Affine, Array, Dropout, Loss, Norm, Op, Skip, Slope
from mlp_jax.gradcheck.mistakes.slopes import of_product
from mlp_jax.gradcheck.other_losses import ON_SCORES, behind, hinge_of
from mlp_jax.gradcheck.softmax import probabilities, sigmoid


def network(case: Any, truth: Any, data: float, weights: Sequence[float]) -> list[list[Op]]:
    """Returns the operations of a case (`truth.Case`, `truth.Truth`), the loss first, in segments.

    Each segment ends in a product; the next begins with the way back through it. The objective is data * the mean
    loss + sum_k weights[k] ||W_k||^2.
    """
    config, trace, params, units = case.config, truth.trace, case.params, case.config.units
    products = _products(case, truth, weights)
    segments: list[list[Op]] = [[*_loss(case, truth, data * config.logit_scale), products[-1]]]
    for k in range(len(units) - 1, -1, -1):
        ops: list[Op] = [products[k + 1]]
        if k + 1 < len(units) and units[k + 1].norm_place == "input":
            ops.append(_norm(case, trace, k + 1, products[k].outputs[0]))
        starts = any(unit.skip and number - unit.skip == k for number, unit in enumerate(units))
        ops.append(Skip(k, units[k].skip, starts))
        hidden = trace.hidden[k]
        if hidden.mask is not None:
            ops.append(Dropout(k, hidden.mask, config.dropout))
        if units[k].norm_place == "after":
            ops.append(_norm(case, trace, k, truth.activated[k]))
        if units[k].active:
            tensors = _tensors(case, truth, products, k)
            activation = (units[k].activation, config.negative_slope)
            ops.append(Slope(k, hidden.z, truth.activated[k], truth.slopes[k], *activation, tensors))
        if units[k].norm_place == "before":
            ops.append(_norm(case, trace, k, hidden.inputs @ params[k].w + params[k].b))
        segments.append([*ops, products[k]])
    return segments


def _loss(case: Any, truth: Any, data: float) -> list[Op]:
    """The loss, and the activation that the scores go through before it, if there is one."""
    name, activation = behind(case.loss)
    z, k = truth.trace.logits, len(case.config.units)
    scores = np.asarray(ON_SCORES[activation](np, z)) if activation else z
    one_hot = case.y[:, None] * 1.0 if z.shape[1] == 1 else np.eye(z.shape[1])[case.y]
    psi, weight, hinge = probabilities(scores), data, hinge_of(name)
    if name.startswith("binary cross-entropy of the sigmoid"):
        psi = sigmoid(scores)
    elif name == "squared error":
        psi, weight = scores, 2 * data
    if hinge is not None:
        loss: Loss = Hinge(k, data * truth.d_scores, psi, one_hot, scores, data, *hinge)
    else:
        loss = Loss(k, data * truth.d_scores, psi, one_hot, scores, weight)
    if not activation:
        return [loss]
    d = np.sign(scores - one_hot) if name == "absolute error" else psi - one_hot
    d = loss.of_mask(loss.mask()) if isinstance(loss, Hinge) else d
    return [replace(loss, d=loss.weight * d / len(z)), _on_scores(k, activation, z, scores, case.params[-1].b)]


def _on_scores(k: int, activation: str, z: Array, a: Array, bias: Array) -> Op:
    """An activation (or a softmax) of the scores z."""
    if activation == "softmax":
        return Softmax(k, a)
    name, _, slope = activation.rstrip(")").partition("(")
    low = float(slope or 0.01) if name == "leaky_relu" else None
    return of_product(k, z, a, bias, name, low)


def _norm(case: Any, trace: Any, k: int, u: Array) -> Norm:
    norm, layer = trace.hidden[k].norm, case.params[k]
    axis, eps = case.config.units[k].norm_axis, case.config.norm_eps
    width = {f"the number of {('units', 'examples')[axis]}": u.shape[1 - axis]}
    sizes = {**width, "the number of features": case.config.inputs, "the number of classes": case.config.classes}
    return Norm(k, u, norm.normalized, norm.inverse_std, layer.scale, layer.shift, axis, eps, sizes=sizes)


def _products(case: Any, truth: Any, weights: Sequence[float]) -> list[Affine]:
    """The products, the lowest first; what a unit hands on is made again from what the trace has."""
    trace, products = truth.trace, list[Affine]()
    inputs = [*(hidden.inputs for hidden in trace.hidden), trace.inputs]
    for k, layer in enumerate(case.params):
        if k == len(trace.hidden):
            shifted = trace.logits - trace.logits.max(axis=1, keepdims=True)
            outputs = (trace.logits, shifted, probabilities(trace.logits))
        else:
            outputs = (inputs[k + 1], truth.activated[k], trace.hidden[k].z)
        before = tuple[tuple[str, Array], ...]()
        if k:
            below = trace.hidden[k - 1]
            undropped = truth.activated[k - 1]
            before = (("z", below.z),)
            if below.mask is not None:
                before += (("z", below.z * below.mask), ("undropped", undropped))
        penalty = 2 * weights[k] * layer.w
        below_b = case.params[k - 1].b if k else None
        products.append(Affine(k, inputs[k], layer.w, layer.b, outputs, before, below_b, penalty))
    return products


def _tensors(case: Any, truth: Any, products: list[Affine], k: int) -> dict[str, Array]:
    """Tensors of the shape of layer k's z that are not z."""
    trace, hidden, layer = truth.trace, truth.trace.hidden[k], case.params[k]
    place = case.config.units[k].norm_place
    tensors = {
        "without bias": hidden.z - (layer.shift if place == "before" else layer.b),
        "its inputs": hidden.inputs,
        "its outputs": products[k + 1].inputs,
        "the scores": trace.logits,
        **{f"z of layer {j + 1}": other.z for j, other in enumerate(trace.hidden) if j != k},
    }
    for name, w in (("its own weights", layer.w), ("the weights above", case.params[k + 1].w)):
        tensors |= {name: w, f"{name}, transposed": w.T}
    if place in ("before", "after"):
        tensors["what is normalised"] = hidden.norm.normalized
    if place == "before":
        tensors["what is not normalised yet"] = hidden.inputs @ layer.w + layer.b
    return {name: value for name, value in tensors.items() if value.shape == hidden.z.shape}


def term_sizes(segments: list[list[Op]]) -> list[dict[str, float]]:
    """Per leaf, the norm of what it would be if no term of its own unit's backward step cancelled another.

    The cotangent that is handed down is that of the true backward pass, so that nothing piles up with depth; but
    psi - Delta counts as a tenth of psi + Delta at least.
    """
    loss = segments[0][0]
    assert isinstance(loss, Loss)
    true = np.where(loss.d < 0, -1, 1) * loss.absolute().back(loss.d)
    size = np.maximum(np.abs(true), loss.terms())
    sizes: list[dict[str, float]] = [{} for _ in segments]
    pending = [dict[int, Array](), dict[int, Array]()]
    for ops in segments:
        for op in ops:
            sizes[op.layer] |= {} if op is ops[0] else _norms(_terms_of(op, size))
            if isinstance(op, Skip):
                true, pending[0] = op.carried(true, pending[0])
                size, pending[1] = op.carried(size, pending[1])
            elif op is not ops[-1] and not isinstance(op, Loss):
                size = op.absolute().back(np.abs(true) if isinstance(op, Affine) else size)
                true = op.back(true)
        pending[1] = {unit: np.abs(value) for unit, value in pending[0].items()}
    return sizes


def _terms_of(op: Op, size: Array) -> dict[str, Array]:
    leaves = op.absolute().leaves(size)
    return leaves | ({"w": leaves["w"] + np.abs(op.penalty)} if isinstance(op, Affine) else {})


def _norms(leaves: dict[str, Array]) -> dict[str, float]:
    return {field: float(np.linalg.norm(leaf)) for field, leaf in leaves.items()}
