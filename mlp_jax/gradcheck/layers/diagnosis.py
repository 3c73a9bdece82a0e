"""The mistakes at one leaf of a layer, or of any function: a network of one segment, which `search` explains."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, combinations

import numpy as np

from mlp_jax.gradcheck.layers.network import LayerNetwork, alone
from mlp_jax.gradcheck.layers.trials import Array, Trial, distance, floor, is_right
from mlp_jax.gradcheck.mistakes import search
from mlp_jax.gradcheck.mistakes.factors import Codes, Sizes
from mlp_jax.gradcheck.mistakes.layer_ops import Inputs, Upstream
from mlp_jax.gradcheck.mistakes.leaf import Leaf
from mlp_jax.gradcheck.mistakes.ops import Slope
from mlp_jax.gradcheck.mistakes.situation import Problem

NetworkOf = Callable[[str], LayerNetwork | None]
UNKNOWN: Codes = (("unknown", ""),)
STATE: Codes = (("state_between_calls", ""),)
SKIP: Codes = (("skip_missing", ""),)
LOST: Codes = (("upstream_lost", ""),)
OTHER_SLOPE: Codes = (("other_activation", "dout is multiplied by numbers that are not the derivative"),)
CLOSE = 1e-5  # how far a leaf may be from what a mistake makes of it, relative to the leaf
BIAS = re.compile(r"_*(b\w{,2}|bias(es)?|beta|shift)", re.IGNORECASE)


def mistakes_at(leaf: str, trials: Sequence[Trial], network_of: NetworkOf) -> Codes:
    """The mistakes at one leaf; () if it is right. network_of: gives None where the operations are not known.

    A leaf that adds up from call to call is judged by what a call adds to it.
    """
    if all(leaf in trial.increments for trial in trials):
        added = [t._replace(found={**t.found, leaf: t.increments[leaf]}, increments={}) for t in trials]
        told = mistakes_at(leaf, added, network_of)
        return (*STATE, *(told if told not in (UNKNOWN, OTHER_SLOPE) else ()))
    given = [i for i, trial in enumerate(trials) if leaf in trial.found]
    if not all(np.isfinite(trials[i].found[leaf]).all() for i in given):
        return (("non_finite", ""),)
    shaped = [i for i in given if trials[i].found[leaf].shape == trials[i].true[leaf].shape]
    everywhere = len(shaped) == len(trials)
    if everywhere and all(is_right(leaf, trial) for trial in trials):
        return ()
    network = network_of(leaf)
    codes = explained(leaf, trials, network, shaped or given) if given else None
    if everywhere:
        skipped = [t.true[leaf] - t.dout if t.true[leaf].shape == t.dout.shape else None for t in trials]
        if not codes and _agree(leaf, trials, skipped):
            return SKIP
        of_sums = [None if t.of_sum is None else t.of_sum(leaf) for t in ([] if codes else trials)]
        if of_sums and _agree(leaf, trials, of_sums):
            return LOST
        return codes or (OTHER_SLOPE if _is_of_another(leaf, trials, network) else UNKNOWN)
    # where all dimensions are equal a mistake may have the right shape, and a name says more than a shape
    if codes and not search.CANCELLING & {code for code, _ in codes}:
        return codes
    return _of_shape(leaf, trials) or UNKNOWN


def _is_of_another(leaf: str, trials: Sequence[Trial], network: LayerNetwork | None) -> bool:
    """Whether dout is multiplied element by element, as the derivative of another activation would be."""
    activation = network is not None and isinstance(next(iter(network.chains[0]), None), Slope)
    return activation and all(leaf in trial.diagonal for trial in trials)


def explained(
    leaf: str, trials: Sequence[Trial], network: LayerNetwork | None, compared: Sequence[int]
) -> Codes | None:
    """The mistakes that make a leaf in the compared trials: () if it is right, None where nothing explains it."""
    try:
        return _explained(leaf, trials, network or alone(leaf, trials), compared)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError):  # another thing than the name says
        return _explained(leaf, trials, alone(leaf, trials), compared)


def _explained(leaf: str, trials: Sequence[Trial], network: LayerNetwork, compared: Sequence[int]) -> Codes | None:
    # coarsely first, for what a mistake does to rounding; a small mistake shows only beside rounding alone
    for closely in (False, True):
        codes = search.of_leaf(_problem(leaf, trials, network, compared, closely=closely))
        if codes != ():
            return codes
    return ()


def _problem(
    name: str, trials: Sequence[Trial], network: LayerNetwork, compared: Sequence[int], *, closely: bool
) -> Problem:
    chains = [
        [Upstream(0), *(replace(op, layer=n) for n, op in enumerate(ops, start=1)), Inputs(len(ops) + 1)]
        for ops in network.chains
    ]
    leaf = _leaf(name, trials, network, compared, closely=closely)
    squares = [0.0] * len(trials)
    leaves = {(leaf.layer, leaf.field): leaf}
    return Problem([chains], leaves, _sizes(name, trials), network.cotangents, squares, in_layer=True)


def _leaf(
    name: str, trials: Sequence[Trial], network: LayerNetwork, compared: Sequence[int], *, closely: bool
) -> Leaf:
    layer, field = network.places[name]
    values, parameters, true, tolerances = list[Array](), list[Array](), list[Array](), list[float]()
    for i in compared:
        trial, found = trials[i], trials[i].found[name]
        nothing = np.zeros_like(found)
        part = trial.penalty.get(name, nothing) if found.shape == trial.true[name].shape else nothing
        values.append(network.seen(field, found, i))
        parameters.append(network.seen(field, part, i))
        true.append(network.seen(field, trial.true[name] - part if part.any() else trial.true[name], i))
        relative = trial.tolerance if closely else max(10 * trial.tolerance, CLOSE)
        tolerances.append(relative * max(float(np.linalg.norm(found)), floor(trial), 1e-9))
    norms = np.array([float(np.linalg.norm(value)) for value in values])
    expected = np.array([float(part.any()) for part in parameters])
    of_sum = BIAS.fullmatch(name) is not None or _summed(name, trials) is not None
    kinds = (bool(expected.any()), of_sum, true)
    return Leaf(layer, field, list(compared), values, norms, np.array(tolerances), parameters, expected, *kinds)


def _sizes(name: str, trials: Sequence[Trial]) -> Sizes:
    names = set.intersection(*(set(trial.sizes) for trial in trials)) - {"N"}
    others = {name: np.array([trial.sizes[name] for trial in trials]) for name in sorted(names)}
    n = np.array([trial.sizes.get("N", 1.0) for trial in trials])
    return Sizes(n, np.zeros(len(trials)), others, trials[0].output.ndim == 0, _summed(name, trials))


def _summed(name: str, trials: Sequence[Trial]) -> Array | None:
    """Of how many numbers of dout each number of a leaf is the sum, in every trial; None if it is none."""
    for trial in trials:
        true, of_dout = trial.true[name], range(trial.dout.ndim)
        axes = chain.from_iterable(combinations(of_dout, number) for number in range(1, trial.dout.ndim + 1))
        sums = (trial.dout.sum(axis=each).ravel() for each in axes)
        if not any(each.size == true.size and np.allclose(each, true.ravel(), rtol=1e-5) for each in sums):
            return None
    return np.array([trial.dout.size / trial.true[name].size for trial in trials])


def _of_shape(leaf: str, trials: Sequence[Trial]) -> Codes:
    """What a leaf of another shape is; () if it has no other shape."""
    pairs = [(trial.found.get(leaf), trial) for trial in trials]
    if all(found is None for found, _ in pairs):
        return (("wrong_shape", "it gives nothing"),)
    if _agree(leaf, trials, [t.true[leaf].T if t.true[leaf].ndim == 2 else None for t in trials]):
        return (("transpose", "the transposed gradient is right"),)
    if _agree(leaf, trials, [_like(t.true[leaf], t.found[leaf]) if leaf in t.found else None for t in trials]):
        return (("bias_shape", ""),)
    other = next(((f, t) for f, t in pairs if f is not None and f.shape != t.true[leaf].shape), None)
    return (("wrong_shape", f"{other[0].shape} in place of {other[1].true[leaf].shape}"),) if other else ()


def _agree(leaf: str, trials: Sequence[Trial], expected: Sequence[Array | None]) -> bool:
    """Whether the candidate's leaf is what is expected in every trial."""
    return all(
        value is not None and leaf in t.found and distance(t.found[leaf], value) <= max(10 * t.tolerance, CLOSE)
        for t, value in zip(trials, expected, strict=True)
    )


def _like(true: Array, found: Array) -> Array | None:
    same = found.size == true.size and [n for n in found.shape if n > 1] == [n for n in true.shape if n > 1]
    return true.reshape(found.shape) if same else None
