"""How a layer is asked: with random inputs, twice, in test mode, and at extremes."""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.layers import operations, references
from mlp_jax.gradcheck.layers.trials import (
    SINGLE,
    TOLERANCE,
    Array,
    Trial,
    differences,
    distance,
    is_right,
    looks_single,
)
from mlp_jax.gradcheck.reading.calling import converter

CLOSE = 1e-6
LOSS_TOLERANCE = 1e-4  # log(psi + 1e-7) is as good
Problems = list[tuple[str, str]]  # codes of how the candidate behaves, and details


class Layer:
    """A layer that can be asked: a pair of functions, a loss, or an object."""

    name = ""
    operation = ""
    mistakes_of = ""  # an operation whose mistakes it may have, where the truth is its own forward pass
    upstream = True
    only_inputs = False  # leaves are inputs all, none of them a parameter
    of_probabilities = False  # it is a loss of these
    of_output = False  # its derivative is right as one of the output
    loss_by_scores: Callable[[], bool] = bool  # whether a loss beside it gives the derivative by its inputs
    several_shapes = False  # only where gradients have the shapes of the inputs, these are what it wants
    source: Any = None
    notes: Sequence[str] = ()
    library = ""  # "torch" if it is given arrays of that

    def array(self, value: Any) -> Any:
        """An array as one of the layer's library, which shares its memory; what is none stays."""
        of_torch = self.library == "torch" and isinstance(value, np.ndarray)
        return converter("torch")(value) if of_torch else value

    def layouts(self) -> Sequence[int]:
        """The arrangements of shapes that are tried, the likeliest first."""
        return operations.layouts(self.operation)

    def drawn(self, rng: np.random.Generator, number: int, layout: int) -> tuple[dict[str, Array], dict[str, Any]]:
        """Random leaves by name, and the arguments that have no gradient."""
        raise NotImplementedError

    def forward(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> tuple[Array, Any]:
        """The output, and what backward needs."""
        raise NotImplementedError

    def backward(self, dout: Array, cache: Any, leaves: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients by the names of the leaves."""
        raise NotImplementedError

    def penalties(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Array]:
        """By leaf, the gradient of what a regulariser of the layer's own adds to the loss."""
        return {}

    def in_test_mode(self, leaves: Mapping[str, Array], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """The options that make it test mode; None if the backward pass has none."""
        return None


class Asked(NamedTuple):
    """A trial without its true gradients, and the operation's own output and gradients.

    moved: the candidate's own output, with one leaf in another place.
    """

    trial: Trial
    truth: tuple[Array, list[Array]] | None
    moved: Callable[[str, Array], Array]

    def value(self, name: str, at: Array) -> float:
        """Returns sum(out * dout), with one leaf moved."""
        return float((self.moved(name, at) * self.trial.dout).sum())


def copies(leaves: Mapping[str, Array]) -> dict[str, Array]:
    """The leaves, which a candidate may change then."""
    return {name: value.copy() for name, value in leaves.items()}


@contextlib.contextmanager
def _seeded(number: int) -> Iterator[None]:
    """Masks that a candidate draws without a seed of its own are the same every time."""
    np.random.seed(number)  # noqa: NPY002
    random.seed(number)
    made = np.random.default_rng
    np.random.default_rng = lambda seed=None: made(number if seed is None else seed)
    try:
        yield
    finally:
        np.random.default_rng = made


def ask(layer: Layer, leaves: Any, options: Any, rng: Any, layout: int) -> tuple[Asked, Problems]:
    """What a layer answers twice to the same inputs, beside what is true, and how it behaves."""
    problems, answers, outputs = list[tuple[str, str]](), list[dict[str, Array]](), list[Array]()
    dout = np.ones(())
    for call in range(2):
        mine = copies(leaves)
        with _seeded(0):
            output, cache = layer.forward(mine, options)
        outputs.append(output.copy())
        if not call:
            dout = rng.normal(size=output.shape) if layer.upstream else np.ones(output.shape)
        upstream = dout.copy()
        with _seeded(1):
            answers.append(layer.backward(upstream, cache, leaves))
        problems += [("mutates_input", n) for n in leaves if not np.array_equal(mine[n], leaves[n])]
        problems += [("upstream_changed", "dout")] if not np.array_equal(upstream, dout) else []
    repeats = np.array_equal(outputs[0], outputs[1], equal_nan=True)
    if not repeats and layer.operation != "dropout":
        raise UserError("its forward pass gives another output for the same inputs: fix its seed")
    increments = _increments(*answers) if repeats else {}
    problems += [("state_between_calls", "")] if increments else []
    problems += [("test_mode", name) for name in _wrong_in_test_mode(layer, leaves, options, rng)]
    shapes = ", ".join(f"{name} {leaf.shape}" for name, leaf in leaves.items())
    sizes = operations.sizes(layer.operation, leaves, outputs[0], layout)
    tolerance = TOLERANCE if layer.upstream else LOSS_TOLERANCE
    if looks_single([outputs[0], *list(answers[0].values())[:1]]) and layer.operation not in ("relu", "embedding"):
        tolerance = SINGLE
    named = {key: option for key, option in options.items() if key}
    penalties = layer.penalties(leaves, options)
    trial = Trial(leaves, outputs[0], dout, answers[0], {}, sizes, shapes, tolerance, named, penalties)
    trial = trial._replace(increments=increments)
    if layer.upstream and len(leaves) == 1 and repeats:
        trial = trial._replace(diagonal=_diagonal(layer, options, trial, rng))
    moved = partial(_moved, layer, leaves, options)
    if layer.upstream:
        trial = trial._replace(
            of_sum=lambda name: differences(lambda at: float(moved(name, at).sum()), leaves[name])
        )
    return Asked(trial, references.truth(layer.operation, leaves, named, layout, dout), moved), problems


def _increments(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, Array]:
    """By how much a second answer is another one, where it is."""
    differs = {n for n, g in first.items() if n in second and distance(second[n], g) > 1e-9}
    return {n: second[n] - first[n] if second[n].shape == first[n].shape else second[n] for n in differs}


def _diagonal(layer: Layer, options: Any, trial: Trial, rng: Any) -> frozenset[str]:
    """The one leaf, if its gradient is dout times an array that no dout changes."""
    factor = rng.normal(size=trial.dout.shape)
    with _seeded(0):
        _, cache = layer.forward(copies(trial.inputs), options)
    with _seeded(1):
        scaled = layer.backward(trial.dout * factor, cache, trial.inputs)
    return frozenset(
        name
        for name, found in trial.found.items()
        if found.shape == factor.shape and distance(scaled.get(name, found), found * factor) < CLOSE
    )


def _moved(layer: Layer, leaves: Any, options: Any, name: str, at: Array) -> Array:
    with _seeded(0):
        return layer.forward({**copies(leaves), name: at.copy()}, options)[0]


def _wrong_in_test_mode(layer: Layer, leaves: Any, options: Any, rng: Any) -> list[str]:
    """The leaves that are wrong in test mode, where the backward pass knows that there is one."""
    try:
        tested = layer.in_test_mode(copies(leaves), options)
        if tested is None:
            return []
        out, cache = layer.forward(copies(leaves), tested)
        dout = rng.normal(size=out.shape)
        found = layer.backward(dout.copy(), cache, leaves)
    except Exception:  # it has no such mode, or keeps nothing for it
        return []
    trial = Trial(leaves, out, dout, found, {}, {}, "")
    moved = Asked(trial, None, partial(_moved, layer, leaves, tested))
    true = {n: differences(partial(moved.value, n), leaf) for n, leaf in leaves.items()}
    trial = trial._replace(true=true)
    return [name for name in true if not is_right(name, trial)]


def _extremes(operation: str, leaves: Mapping[str, Array]) -> dict[str, Array] | None:
    """Inputs at which a softmax overflows, a ReLU has its kink, or a window has equal maxima."""
    name, x = next(iter(leaves.items()))
    if operation in ("softmax_loss", "temporal_loss"):
        return {**leaves, name: 1e4 + x}
    if operation == "pool":
        return {**leaves, name: np.round(x)}
    if operation == "relu":
        return {**leaves, name: np.where(np.abs(x) < np.median(np.abs(x)), 0, x)}
    return None


def at_extremes(layer: Layer, seed: int, layout: int) -> list[str]:
    """What happens at scores of thousands, at pre-activations of exactly 0, or at equal maxima."""
    leaves, options = layer.drawn(np.random.default_rng(seed), 0, layout)
    extremes = _extremes(layer.operation, leaves)
    if extremes is None:
        return []
    try:
        output, cache = layer.forward(copies(extremes), options)
        found = layer.backward(np.ones_like(output), cache, extremes)
    except Exception:  # an overflow that Python's own floats raise
        return ["softmax_unstable"] if layer.operation.endswith("loss") else []
    gradient, x = (next(iter(values.values())) for values in (found, extremes))
    finite = np.isfinite(output).all() and np.isfinite(gradient).all()
    if layer.operation.endswith("loss"):
        return [] if finite else ["softmax_unstable"]
    if not finite:
        return ["non_finite"]
    if layer.operation == "pool":
        of_maxima = output.max() == x.max()
        return ["pool_ties"] if of_maxima and gradient.sum() > output.size + 1e-6 else []
    return ["mask_at_zero"] if gradient.shape == x.shape and (gradient[x == 0] != 0).any() else []
