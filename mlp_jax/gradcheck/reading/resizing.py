"""Gives an object that is built with sizes of its own the sizes of a case: its arrays are exchanged."""

from itertools import pairwise
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.holders import GRADIENT, OTHER, matches
from mlp_jax.gradcheck.reading.paths import arrays, exchange
from mlp_jax.gradcheck.reading.signatures import WRAP
from mlp_jax.gradcheck.truth import Case


def resize(net: Any, case: Case) -> None:
    """Puts zeros of the case's shapes where the object keeps weights and biases, in the order of its layers.

    Raises UserError if its weights are not those of a network of as many layers.
    """
    sizes = case.config.sizes
    held = [(p, a) for p, a in arrays(net) if np.ndim(a) and not (matches(p, GRADIENT) or matches(p, OTHER))]
    once = list({id(array): array for _, array in held}.values())  # some are kept under several names
    weights = _weights(once, len(sizes) - 1)
    shapes = [np.shape(array) for array in weights]
    turned = _is_chain([shape[::-1] for shape in shapes]) and not _is_chain(shapes)
    if len(weights) != len(sizes) - 1 or not (turned or _is_chain(shapes)):
        raise UserError(f"{type(net).__name__} has {len(weights)} layers of weights, in sizes of its own: {WRAP}")
    if (1 in shapes[-1]) != (case.config.classes == 1):
        outputs = "one output" if 1 in shapes[-1] else "several outputs"
        raise UserError(f"{type(net).__name__} has {outputs}, in sizes of its own: {WRAP}")
    biases = [array for array in once if not any(array is each for each in weights)]
    new: list[tuple[Any, tuple[int, ...]]] = []
    for k, (array, shape) in enumerate(zip(weights, shapes, strict=True)):
        new.append((array, sizes[k : k + 2][::-1] if turned else sizes[k : k + 2]))
        width = shape[0 if turned else 1]
        own = next((b for b in biases if np.size(b) == width == max(np.shape(b))), None)
        if own is not None:
            biases = [b for b in biases if b is not own]
            new.append((own, tuple(sizes[k + 1] if n == width else n for n in np.shape(own))))
    for array, shape in new:
        for path in (path for path, each in held if each is array):
            exchange(net, path, np.zeros(shape))


def _weights(once: list[Any], layers: int) -> list[Any]:
    """The matrices, and where one is wanting the line of weights, no bias, that may lead to one output."""
    wide = [array for array in once if np.ndim(array) == 2 and 1 not in np.shape(array)]
    lines = [array for array in once if np.ndim(array) == 2 and np.size(array) > 1 and 1 in np.shape(array)]
    with_one = [[*(np.shape(array) for array in wide), np.shape(line)] for line in lines]
    ends = [_is_chain(s) or _is_chain([shape[::-1] for shape in s]) for s in with_one]
    last = [line for line, fits in zip(lines, ends, strict=True) if fits][:1]
    return [*wide, *last] if len(wide) == layers - 1 > 0 else wide


def _is_chain(shapes: list[tuple[int, ...]]) -> bool:
    return all(a[1] == b[0] for a, b in pairwise(shapes))
