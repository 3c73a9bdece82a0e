"""Which mistakes explain a wrong gradient? A search for the fewest, from the output layer down.

A leaf is fitted as factor * (data term) + coefficient * (parameter): the factors tell a missing 1/N, a doubled one
or a flipped sign, the coefficients what was made of the penalty. The data term comes from a hypothesis about the
layer's delta; a wrong delta is passed on to the layers below, so that one mistake explains all that it spoils.
"""

import functools
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from mlp_jax.gradcheck.hypotheses import Delta, Layer, Situation, Values, output_deltas
from mlp_jax.gradcheck.mistakes import MISTAKES

ANOTHER_PLACE = 0.1  # cost of a mistake that is made once more, against 1 for another mistake
UNKNOWN = 10.0
BEAM = 6
# a leaf that needs one of these to be explained by a delta does not speak for that delta
REMARKS = {code for code, mistake in MISTAKES.items() if mistake.remark}
CANCELLING = {"batch_mean_missing", "batch_mean_twice", "bias_mean", "sign"}


class Mistake(NamedTuple):
    """A code, the layer (0 is the first), and its place there.

    place: a leaf's field; "delta" for all that hangs on the layer's delta; "all" for the whole gradient.
    """

    code: str
    layer: int
    place: str


Term = Callable[[int], np.ndarray]  # of the leaf's situations, counted from 0
Factors = list[tuple[tuple[str, ...], list[float]]]


class Leaf(NamedTuple):
    """One leaf in every situation where the candidate gave it: which situations, and how closely it must fit.

    parameters: what it is the gradient of; sizes: their norms. factors: what may stand before the data term, with
      their codes.
    """

    layer: int
    field: str
    at: list[int]
    values: Values
    tolerances: list[float]
    parameters: Values
    sizes: list[float]
    factors: Factors


def cost(mistakes: frozenset[Mistake]) -> float:
    """Fewest different mistakes first, then fewest places; remarks count half, anything known before `unknown`."""
    known = [m.code for m in mistakes if m.code != "unknown"]
    codes = set(known)
    known_cost = len(codes) - len(codes & REMARKS) / 2 + ANOTHER_PLACE * (len(known) - len(codes))
    return known_cost + UNKNOWN * (len(mistakes) - len(known))


def diagnose(situations: list[Situation], tolerance: float) -> frozenset[Mistake]:
    """The cheapest set of mistakes that explains every leaf; `tolerance` is relative to each leaf's size.

    If one factor stands before the whole gradient, penalty and all, that counts as one mistake.
    """
    best = _search(situations, tolerance, most=2)
    if cost(best) <= 1:
        return best
    top, codes = len(situations[0].observed) - 1, {mistake.code for mistake in best}
    for code, factor in GLOBAL.items():
        if not {code, "unknown"} & codes:
            continue
        scaled = [
            s._replace(observed=[{f: leaf * factor(s.n) for f, leaf in layer.items()} for layer in s.observed])
            for s in situations
        ]
        found = _search(scaled, tolerance, most=1) | {Mistake(code, top, "all")}
        best = min(best, found, key=cost)
    return best


# what undoes a factor that stands before the whole gradient
GLOBAL: dict[str, Callable[[int], float]] = {
    "sign": lambda n: -1.0,
    "batch_mean_twice": lambda n: float(n),
    "batch_mean_missing": lambda n: 1 / n,
}


class State(NamedTuple):
    """A way of going from the output down to a layer: the mistakes on it, and the delta that it hands down."""

    mistakes: frozenset[Mistake]
    delta: Values


def _search(situations: list[Situation], tolerance: float, most: int) -> frozenset[Mistake]:
    """Layer by layer; `most` deviations in one layer are tried only where one does not explain it."""
    beam = [State(frozenset(), [])]
    for k in range(len(situations[0].observed) - 1, -1, -1):
        leaves = [_leaf(situations, k, field, tolerance) for field in _fields(situations, k)]
        states = [state for above in beam for state in _step(situations, k, leaves, above, 1)]
        states.sort(key=lambda state: cost(state.mistakes))
        if most > 1 and cost(states[0].mistakes) >= UNKNOWN + cost(beam[0].mistakes):
            states += [state for above in beam[:2] for state in _step(situations, k, leaves, above, most)]
            states.sort(key=lambda state: cost(state.mistakes))
        limit = cost(states[0].mistakes) + 1.5
        beam = [state for state in states[:BEAM] if cost(state.mistakes) <= limit]
    return beam[0].mistakes


def _fields(situations: list[Situation], k: int) -> list[str]:
    return list(dict.fromkeys(field for s in situations for field in s.observed[k]))


def _leaf(situations: list[Situation], k: int, field: str, tolerance: float) -> Leaf:
    at = [i for i, s in enumerate(situations) if field in s.observed[k]]
    values = [situations[i].observed[k][field] for i in at]
    sizes = [situations[i].truth.size[k][field] for i in at]
    rounding = [situations[i].rounding[k][field] for i in at]
    limits = [
        max(tolerance * max(size, _norm(value)), error)
        for size, value, error in zip(sizes, values, rounding, strict=True)
    ]
    parameters = [np.asarray(getattr(situations[i].case.params[k], field)) for i in at]
    norms, factors = [_norm(p) for p in parameters], list(_factors([situations[i].n for i in at], field))
    return Leaf(k, field, at, values, limits, parameters, norms, factors)


def _step(situations: list[Situation], k: int, leaves: list[Leaf], above: State, most: int) -> list[State]:
    """The best ways of going through layer k: a delta to hand down, and the mistakes that explain the leaves."""
    if k == len(situations[0].observed) - 1:
        deltas = output_deltas(situations)
    else:
        deltas = list(Layer(situations, k, above.delta).deltas(most))
    explained = [
        [(i, codes) for i, delta in enumerate(deltas) if (codes := explain(situations, leaf, delta)) is not None]
        for leaf in leaves
    ]
    states, codes_of = [], [delta.codes for delta in deltas]
    for i, delta in enumerate(deltas):
        users = sum(any(j == i and not CANCELLING & {*codes} for j, codes in ways) for ways in explained)
        if k == 0 and delta.deviations and users < min(2, len(leaves)):
            continue  # nothing lies below: what only one leaf shows is that leaf's own
        found = above.mistakes | {Mistake(code, k, "delta") for code in codes_of[i]}
        for leaf, ways in zip(leaves, explained, strict=True):
            found = _account(k, leaf, ways, codes_of, i, found)
        states.append(State(found, delta.values))
    return sorted(states, key=lambda state: cost(state.mistakes))[: 2 * BEAM]


def _account(
    k: int,
    leaf: Leaf,
    ways: list[tuple[int, tuple[str, ...]]],
    codes_of: list[list[str]],
    passed: int,
    found: frozenset[Mistake],
) -> frozenset[Mistake]:
    """The mistakes with those that explain a leaf, if delta number `passed` is handed down.

    The leaf may have been computed from another delta than that: then its deviations are the leaf's own.
    """
    choices: dict[tuple[str, ...], None] = {("unknown",): None}  # without repetitions, in this order
    for i, codes in ways:
        if i == passed and not codes:
            return found  # nothing costs less
        own = [] if i == passed else codes_of[i]
        if leaf.field in ("b", "shift"):  # a leaf of its own that is divided again: where it is a bias, by .mean()
            own = ["bias_mean" if code == "batch_mean_twice" else code for code in own]
        choices[*codes, *own] = None
    return min((found | {Mistake(code, k, leaf.field) for code in codes} for codes in choices), key=cost)


def explain(situations: list[Situation], leaf: Leaf, delta: Delta) -> tuple[str, ...] | None:
    """The mistakes, beside those of the delta, that make the leaf what it is; () if none, None if nothing fits."""
    best: tuple[str, ...] | None = None
    for code, term in _terms(situations, leaf, delta):
        far = _far(leaf, term(0))
        for factor_codes, factors in leaf.factors:
            if far(factors[0]):
                continue
            penalty = _penalty(situations, leaf, term, factors)
            if penalty is None:
                continue
            codes = tuple(dict.fromkeys((*code, *factor_codes, *penalty)))
            if best is None or len(codes) < len(best):
                best = codes
            if best == ():
                return best
    return best


def _far(leaf: Leaf, term: np.ndarray) -> Callable[[float], bool]:
    """Whether the first situation alone, in a rough and quick calculation, tells that `_penalty` finds nothing.

    |rest|^2 beside the parameter's direction, expanded in powers of the factor; its rounding errors are below
    1e-12 of its parts.
    """
    value, parameter, tolerance = leaf.values[0], leaf.parameters[0], leaf.tolerances[0]
    across = parameter / (leaf.sizes[0] or 1.0)
    value, term = (a - float((a * across).sum()) * across for a in (value, term))
    vv, vt, tt = (float((a * b).sum()) for a, b in ((value, value), (value, term), (term, term)))

    def far(factor: float) -> bool:
        limit = 1.01 * tolerance * max(1.0, abs(factor))
        return vv - 2 * factor * vt + factor**2 * tt - 1e-12 * (vv + factor**2 * tt) > limit**2

    return far


def _terms(situations: list[Situation], leaf: Leaf, delta: Delta) -> Iterator[tuple[tuple[str, ...], Term]]:
    """The leaf's data term from a delta, and every way of getting the product wrong."""
    if leaf.field == "b":
        yield (), lambda j: delta.values[leaf.at[j]].sum(axis=0)
    elif leaf.field == "shift":
        yield (), lambda j: delta.normed[leaf.at[j]].sum(axis=0)
    elif leaf.field == "scale":
        norms = [situations[i].truth.trace.hidden[leaf.layer].norm for i in leaf.at]
        yield (), lambda j: (delta.normed[leaf.at[j]] * norms[j].normalized).sum(axis=0)
    else:
        chosen = [situations[i] for i in leaf.at]
        yield from _weight_terms(chosen, leaf.layer, [delta.values[i] for i in leaf.at])


def _weight_terms(situations: list[Situation], k: int, deltas: Values) -> Iterator[tuple[tuple[str, ...], Term]]:
    traces = [s.truth.trace for s in situations]
    inputs = [t.inputs if k == len(t.hidden) else t.hidden[k].inputs for t in traces]
    yield (), lambda j: inputs[j].T @ deltas[j]
    if k > 0:
        below = [t.hidden[k - 1] for t in traces]
        yield ("pre_activation_used",), lambda j: below[j].z.T @ deltas[j]
        if below[0].mask is not None:
            yield ("pre_activation_used",), lambda j: (below[j].z * below[j].mask).T @ deltas[j]
    if all(a.shape[0] == a.shape[1] and d.shape[0] == d.shape[1] for a, d in zip(inputs, deltas, strict=True)):
        for left, right in product((False, True), repeat=2):
            term = functools.partial(_transposed, inputs, deltas, left, right)
            if left or right:
                yield ("transpose",), term
            yield ("transpose",), functools.partial(term, whole=True)


def _transposed(
    inputs: Values, deltas: Values, left: bool, right: bool, j: int, *, whole: bool = False
) -> np.ndarray:
    """The product with the other factors transposed, or the whole of it."""
    found = (inputs[j] if left else inputs[j].T) @ (deltas[j].T if right else deltas[j])
    return np.asarray(found.T if whole else found)


def _factors(n: list[int], field: str) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    """What may stand before the data term, for batches of n."""
    twice = "batch_mean_twice" if field in ("w", "scale") else "bias_mean"
    powers: list[tuple[tuple[str, ...], int]] = [((), 0), (("batch_mean_missing",), 1), ((twice,), -1)]
    for sign in (1.0, -1.0):
        for codes, power in powers:
            yield (codes if sign > 0 else (*codes, "sign")), [sign * float(v) ** power for v in n]


def _penalty(situations: list[Situation], leaf: Leaf, term: Term, factors: list[float]) -> tuple[str, ...] | None:
    """What is left of the leaf beside the data term, as a multiple of the parameter, and which mistake that is."""
    coefficients, limits = [], []
    rows = zip(leaf.values, leaf.parameters, leaf.sizes, factors, leaf.tolerances, strict=True)
    for j, (value, parameter, size, factor, tolerance) in enumerate(rows):
        rest = value - factor * term(j)
        coefficient = float((rest * parameter).sum()) / size**2 if size else 0.0
        if not _norm(rest - coefficient * parameter) <= tolerance * max(1.0, abs(factor)):
            return None
        coefficients.append(coefficient)
        limits.append(2 * tolerance * max(1.0, abs(factor)) / size if size else np.inf)
    if leaf.field != "w":
        expected = np.array([2 * situations[i].objective.biases for i in leaf.at])
        return () if _equal(coefficients, expected, limits) else ("l2_on_bias",)
    expected = np.array([2 * situations[i].objective.weights[leaf.layer] for i in leaf.at])
    return _penalty_of_weights(
        np.array(coefficients), expected, np.array(factors), np.array(limits), situations, leaf
    )


def _penalty_of_weights(
    found: np.ndarray,
    expected: np.ndarray,
    factors: np.ndarray,
    limits: np.ndarray,
    situations: list[Situation],
    leaf: Leaf,
) -> tuple[str, ...] | None:
    if _equal(found, expected, limits):
        return ()
    if (factors != 1).any() and _equal(found, expected * factors, limits):
        return ()  # the factor stands before the whole leaf
    if _equal(found, 0 * expected, limits):
        return ("l2_ignored",)
    n = np.array([situations[i].n for i in leaf.at])
    l2 = np.array([2 * situations[i].case.l2 for i in leaf.at])
    for scale in (l2, l2 / n, l2 * n, l2**2):
        size = float(scale @ scale)
        factor = float(found @ scale) / size if size else 0.0
        if size and _equal(found, factor * scale, limits + 1e-6 * np.abs(found)):
            sign = ("sign",) if factor < 0 else ()
            unit = scale is l2 and abs(abs(factor) - 1) < 1e-4
            return sign or ("l2_factor",) if unit else (*sign, "l2_factor")
    constant = float(np.median(found))
    return (
        ("l2_constant",) if _equal(found, np.full_like(found, constant), limits + 1e-6 * abs(constant)) else None
    )


def _equal(found: np.ndarray | list[float], expected: np.ndarray, limits: np.ndarray | list[float]) -> bool:
    return bool(np.all(np.abs(np.asarray(found) - expected) <= np.asarray(limits)))


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array))
