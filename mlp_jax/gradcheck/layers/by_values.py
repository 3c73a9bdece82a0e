"""Layers that their values tell, whatever they are called: operations, whose mistakes have names.

A product of two matrices, or the sum of two such, with an activation on it, a convolution, the maxima of windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from mlp_jax.gradcheck.layers import shapes
from mlp_jax.gradcheck.layers.elementwise import named, same
from mlp_jax.gradcheck.layers.network import LayerNetwork, View, is_turned
from mlp_jax.gradcheck.layers.trials import Array, Trial
from mlp_jax.gradcheck.mistakes.layer_ops import Conv, MaxPool
from mlp_jax.gradcheck.mistakes.ops import Affine, Op
from mlp_jax.gradcheck.mistakes.slopes import of_product

SIZES, STRIDES, PADS = (2, 3), (1, 2, 3), (0, 1, 2)
"""These windows, steps and paddings are tried."""
MOST = 3  # arguments of one product: x, w, b


def network_of(layout: int, trials: Sequence[Trial], leaf: str = "") -> LayerNetwork | None:
    """The layer as operations; None if its outputs are of none of these. leaf: all that is asked for."""
    if len(trials[0].inputs) > MOST:
        of_pairs = (_of_one_product(layout, trials, leaf, turned=turned) for turned in (False, True))
        return next((found for found in of_pairs if found is not None), None)
    pictures = all(map(_is_of_pictures, trials))
    if not pictures and layout == shapes.RANK_4 and any(map(is_turned, trials)):
        layout = shapes.OUT_IN
    views = [
        View("conv" if pictures else "affine", layout, _in_2d(trial) if pictures else trial) for trial in trials
    ]
    try:
        chains = _windows(views) if pictures else _dense(views)
        cotangents = [view.cotangent() for view in views]
    except (ValueError, IndexError):  # arguments of other shapes
        return None
    if not chains:
        return None
    last = len(chains[0])
    places = dict(zip(trials[0].inputs, ((last + 1, "x"), (last, "w"), (last, "b")), strict=False))
    return LayerNetwork(
        chains,
        cotangents,
        places,
        lambda field, array, i: views[i].seen(field, _high(array) if pictures else array),
    )


def _of_one_product(layout: int, trials: Sequence[Trial], leaf: str, *, turned: bool) -> LayerNetwork | None:
    """The network with the product that a leaf is of; the other one, of x wx + h wh + b, counts as a part of b.

    turned: the weights of x stand behind those of h.
    """
    found = list[Trial]()
    for trial in trials:
        matrices = [name for name, array in trial.inputs.items() if array.size > max(array.shape, default=1)]
        biases = [name for name in trial.inputs if name not in matrices]
        if len(matrices) != 4 or trial.output.ndim != 2:
            return None
        pairs = list(zip(matrices[:2], matrices[2:][:: -1 if turned else 1], strict=True))
        mine, other = pairs if leaf not in pairs[1] else pairs[::-1]
        x, w = (trial.inputs[name] for name in other)
        try:
            rest = (w @ x if layout in shapes.IN_COLUMNS else x @ (w.T if layout == shapes.OUT_IN else w)) + sum(
                trial.inputs[name] for name in biases
            )
        except ValueError:
            return None
        inputs = {name: trial.inputs[name] for name in mine} | {leaf if leaf in biases else "": rest}
        found.append(trial._replace(inputs=inputs))
    return network_of(layout, found)


def _is_of_pictures(trial: Trial) -> bool:
    """Whether inputs and outputs are (N, C, H, W), or (N, C, W), and the weights have as many axes."""
    x, *rest = trial.inputs.values()
    return x.ndim == trial.output.ndim and x.ndim in (3, 4) and all(w.ndim == x.ndim for w in rest[:1])


def _high(array: Array) -> Array:
    """Returns pictures (N, C, W), or kernels of such, with a height of 1."""
    return array[:, :, None] if array.ndim == 3 else array


def _in_2d(trial: Trial) -> Trial:
    inputs = {name: _high(array) for name, array in trial.inputs.items()}
    return trial._replace(inputs=inputs, output=_high(trial.output), dout=_high(trial.dout))


def _dense(views: Sequence[View]) -> list[list[Op]]:
    """x w + b and an activation of it in every trial; [] if the outputs are not these."""
    products, outputs = [_product(view) for view in views], [view.rows(view.trial.output) for view in views]
    name, low = named([each.outputs[0] for each in products], outputs)
    if name == "identity":
        return [[each] for each in products]
    pairs = zip(products, outputs, strict=True)
    return (
        [[of_product(0, p.outputs[0], a, p.b, name, low), replace(p, outputs=(a, *p.outputs))] for p, a in pairs]
        if name
        else []
    )


def _product(view: View) -> Affine:
    """The product, with a bias of 0 where there is none; ValueError if the arguments are not of one."""
    x, w, *rest = view.trial.inputs.values()
    if w.ndim != 2 or len(rest) > 1:
        raise ValueError(w.shape)
    inputs, w = view.rows(x), w.T if view.turned else w
    whole = bool(rest) and rest[0].shape == view.trial.output.shape
    b = (view.rows(rest[0]) if whole else rest[0].ravel()) if rest else np.zeros(w.shape[1])
    return Affine(0, inputs, w, b, (inputs @ w + b,))


def _windows(views: Sequence[View]) -> list[list[Op]]:
    """A convolution or maxima of windows in every trial; [] if the outputs are not these."""
    chains = list[list[Op]]()
    for view in views:
        a = view.channels_first(view.trial.output)
        op = next((op for op in _of_windows(view) if same(a, op.forward())), None)
        if op is None:
            return []
        chains.append([op])
    return chains


def _of_windows(view: View) -> Iterator[Conv | MaxPool]:
    """The operations that may be meant in a trial."""
    if len(view.trial.inputs) == 1:
        for size, stride in product(SIZES, STRIDES):
            x = view.channels_first(view.trial.x)
            yield MaxPool(0, x, stride, 0, (min(size, x.shape[2]), size))
    elif len(view.trial.inputs) == 3:
        for stride, pad in product(STRIDES, PADS):
            yield _conv(view, stride, pad)


def _conv(view: View, stride: int, pad: int) -> Conv:
    x, w, b = view.trial.inputs.values()
    if w.ndim != 4:
        raise ValueError(w.shape)
    kernel = view.kernel(w)
    return Conv(0, view.channels_first(x), stride, pad, kernel.shape[2:], kernel, b.ravel())
