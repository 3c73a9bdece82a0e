"""In which shapes a layer wants its arguments: what its passes take, and what their values tell."""

from typing import Any, NoReturn

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import operations, references, shapes
from mlp_jax.gradcheck.layers.asking import Layer, copies
from mlp_jax.gradcheck.layers.trials import Array, distance
from mlp_jax.gradcheck.reading.running import where

OTHER_ARGUMENTS = ": if it is for a sequence, or one example, use mlp_jax.gradcheck.check_vjp(f, backward, *args)"
PYTHON_2 = ": where Python 2 divided whole numbers with /, Python 3 does with //"
NEARLY = 1e-3  # an output with another eps
ASKED_BY_VALUE = ("batchnorm", "layernorm", "softmax", "log_softmax", "softmax_loss", "svm_loss")
"""The operations that take rows and columns alike, so that only their outputs tell which are the examples."""


def layout_of(layer: Layer, seed: int) -> int:
    """The first arrangement of shapes that both passes take, or, if none is, the forward pass.

    Where values tell rows from columns, it is the first in which the output is that of the operation.
    """
    first, forward, taken, fitted = "", None, list[int](), list[int]()
    untold: UserError | None = None
    operation = layer.operation
    for layout in layer.layouts():
        layer.operation = operation  # a draw may find that it is none
        try:
            leaves, options = layer.drawn(np.random.default_rng(seed), 0, layout)
            output, cache = layer.forward(copies(leaves), options)
            if not output.size or not operations.plausible(layer.operation, leaves, output, layout):
                continue
            forward = layout if forward is None else forward
            if layer.operation.endswith("loss") and not np.isfinite(output).all():
                continue
            found = layer.backward(np.ones_like(output), cache, leaves)
        except UserError as error:
            if untold is None and not isinstance(error, operations.Untold):
                raise
            untold = untold or error
            continue
        except Exception as error:
            first = first or where(error, layer.source)
            continue
        fitting = all(found[name].shape == leaf.shape for name, leaf in leaves.items() if name in found)
        if untold is not None and not (fitting and leaves.keys() <= found.keys()):
            continue  # only what fits in every gradient tells what an argument is
        taken.append(layout)
        fitted += [layout] * fitting
        agrees = _agrees(layer, leaves, options, layout, output)
        if agrees and (fitting or not (layer.several_shapes or layout in shapes.IN_COLUMNS)):
            return layout
        several = layer.several_shapes or layout in (*shapes.CHANNELS_LAST, *shapes.GUESSED)
        several = several or layer.operation in shapes.CHANNELS  # whose scales are (C,) or (1, C, 1, 1)
        if agrees is None and (fitting or not several):
            break  # of pictures whose channels are last, biases have several forms
    if taken:
        return fitted[0] if fitted else taken[0]
    if untold is not None:
        raise untold
    return _stopped(first or "another output was expected") if forward is None else forward


def _stopped(first: str) -> NoReturn:
    hint = OTHER_ARGUMENTS if "ValueError" in first or "IndexError" in first else ""
    hint = PYTHON_2 if "'float' object" in first else hint
    raise UserError(f"it stops in every shape that was tried: {first.rstrip('.')}{hint}")


def _agrees(layer: Layer, leaves: Any, options: Any, layout: int, output: Array) -> bool | None:
    """Whether the output, or a loss's mean, is the operation's in this layout; None where that tells nothing."""
    operation = layer.mistakes_of if layer.operation == "other_loss" else layer.operation
    named = {key: option for key, option in options.items() if key}
    known = operation in ASKED_BY_VALUE and references.truth(operation, leaves, named, layout, output)
    if not known:
        return None
    examples = operations.sizes(operation, leaves, output, layout)["N"]
    factors = (1.0, examples) if operation.endswith("loss") else (1.0,)
    return any(distance(output, factor * known[0]) < NEARLY for factor in factors)
