"""What the search for mistakes is about: what was observed, mistakes, and ways through a network."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck.mistakes import networks
from mlp_jax.gradcheck.mistakes.factors import Array, Codes, Sizes
from mlp_jax.gradcheck.mistakes.leaf import Leaf
from mlp_jax.gradcheck.mistakes.row import Alternative
from mlp_jax.gradcheck.objective import Objective
from mlp_jax.gradcheck.truth import Case, Leaves, Truth
from mlp_jax.nn.config import MLPConfig

Values = list[Array]  # one array per case


class Situation(NamedTuple):
    """This is one case: the truth, the candidate's leaves (a missing one left out), and the objective.

    rounding: per leaf, the norm of an error that rounding may cause.
    """

    case: Case
    truth: Truth
    observed: Leaves
    objective: Objective
    rounding: list[dict[str, float]]


class Problem(NamedTuple):
    """A wrong gradient: the operations of a network in every case, and its leaves as the candidate gave them.

    segments: per segment, from the loss down, one list of operations for every case; each segment ends in a
    product, and the next begins with it. leaves: by (layer, field). cotangents: per case, what arrives at the
    first operation. squares: per case, ||w||^2 of all weights. in_layer: it is one leaf of a layer, which is
    explained by itself.
    """

    segments: Sequence[Sequence[Sequence[Any]]]
    leaves: Mapping[tuple[int, str], Leaf]
    sizes: Sizes
    cotangents: Values
    squares: Sequence[float]
    in_layer: bool = False


def of_network(situations: Sequence[Situation], tolerance: float) -> Problem:
    """The problem that a network's situations are; `tolerance` is relative to each leaf's size."""
    chains = [networks.network(s.case, s.truth, s.objective.data, s.objective.weights) for s in situations]
    observed = [(k, field) for k, layer in enumerate(situations[0].truth.grads) for field in layer]
    leaves = {at: leaf for at in observed if (leaf := _leaf(situations, tolerance, *at)) is not None}
    squares = [sum(float((p.w**2).sum()) for p in s.case.params) for s in situations]
    nothing = [np.zeros(0)] * len(situations)
    return Problem(list(zip(*chains, strict=True)), leaves, _sizes(situations), nothing, squares)


def _leaf(situations: Sequence[Situation], tolerance: float, k: int, field: str) -> Leaf | None:
    """One leaf, if the candidate gave it in any case."""
    given = [i for i, s in enumerate(situations) if field in s.observed[k]]
    if not given:
        return None
    chosen = [situations[i] for i in given]
    values = [s.observed[k][field] for s in chosen]
    norms = np.array([float(np.linalg.norm(value)) for value in values])
    limits = [
        max(tolerance * max(s.truth.size[k][field], norm), s.rounding[k][field])
        for s, norm in zip(chosen, norms, strict=True)
    ]
    parameters = [np.asarray(getattr(s.case.params[k], field)) for s in chosen]
    is_w = field == "w"
    expected = [2 * (s.objective.weights[k] if is_w else s.objective.biases * (field == "b")) for s in chosen]
    number = None
    if not any(expected) and all(p.size == 1 for p in parameters):  # of one number everything is a multiple
        number, parameters = np.array([p.item() for p in parameters]), [np.zeros_like(p) for p in parameters]
    kinds = (is_w, field in ("b", "shift"), None, number)
    return Leaf(k, field, given, values, norms, np.array(limits), parameters, np.array(expected), *kinds)


def sizes_of(config: MLPConfig) -> dict[str, float]:
    """The numbers beside N that somebody may divide by, by name."""
    widths = {f"the width of hidden layer {k + 1}": unit.outputs for k, unit in enumerate(config.units)}
    named = {"the number of features": config.inputs, "the number of classes": config.classes, **widths}
    return {name: float(number) for name, number in named.items()}


def _sizes(situations: Sequence[Situation]) -> Sizes:
    of_cases = [sizes_of(s.case.config) for s in situations]
    others = {name: np.array([sizes[name] for sizes in of_cases]) for name in of_cases[0]}
    n = np.array([float(len(s.case.y)) for s in situations])
    return Sizes(n, np.array([s.case.l2 for s in situations]), others)


class Mistake(NamedTuple):
    """A code, the layer (0 is the first), its place there, and what the code alone does not say, or "".

    place: a leaf's field; "delta" for all that hangs on the layer's step back; "all" for the whole gradient.
    """

    code: str
    layer: int
    place: str
    detail: str = ""


class State(NamedTuple):
    """A way of going down to a product: the mistakes on it, the cotangent that arrives, and those over skips."""

    mistakes: frozenset[Mistake]
    cotangent: Values
    pending: list[dict[int, Array]]


class Change(NamedTuple):
    """This is an alternative to the step back of operation `at` of a segment, and the codes of its mistakes."""

    codes: tuple[str, ...]
    at: int
    alternative: Alternative


class Delta(NamedTuple):
    """One way through a segment: what arrives at every operation with leaves, and at the end."""

    changes: tuple[Change, ...]
    entering: dict[int, Values]
    pending: list[dict[int, Array]]

    @property
    def codes(self) -> Codes:
        """Returns the mistakes on it."""
        return tuple((code, change.alternative.detail) for change in self.changes for code in change.codes)
