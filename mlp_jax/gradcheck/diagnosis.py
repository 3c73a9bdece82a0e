"""Which mistakes explain a wrong gradient? A search for the fewest, from the output layer down.

A leaf is fitted as factor * (data term) + coefficient * (parameter): the factors tell a missing 1/N, a doubled one
or a flipped sign, the coefficients what was made of the penalty. The data term comes from a hypothesis about the
layer's delta; a wrong delta is passed on to the layers below, so that one mistake explains all that it spoils.
"""

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
CANCELLING = {"batch_mean_missing", "batch_mean_twice", "bias_mean", "sign"}


class Mistake(NamedTuple):
    """A code, the layer (0 is the first), and its place there.

    place: a leaf's field; "delta" for all that hangs on the layer's delta; "all" for the whole gradient.
    """

    code: str
    layer: int
    place: str


class Leaf(NamedTuple):
    """One leaf in every situation where the candidate gave it: which situations, and how closely it must fit."""

    layer: int
    field: str
    at: list[int]
    values: Values
    tolerances: list[float]


def cost(mistakes: frozenset[Mistake]) -> float:
    """Fewest different mistakes first, then fewest places; remarks count half, anything known before `unknown`."""
    known = [m for m in mistakes if m.code != "unknown"]
    codes = {m.code for m in known}
    remarks = sum(MISTAKES[code].remark for code in codes)
    known_cost = len(codes) - remarks / 2 + ANOTHER_PLACE * (len(known) - len(codes))
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
    return Leaf(k, field, at, values, limits)


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
    states = []
    for i, delta in enumerate(deltas):
        users = sum(any(j == i and not CANCELLING & {*codes} for j, codes in ways) for ways in explained)
        if k == 0 and delta.deviations and users < min(2, len(leaves)):
            continue  # nothing lies below: what only one leaf shows is that leaf's own
        found = above.mistakes | {Mistake(code, k, "delta") for code in delta.codes}
        for leaf, ways in zip(leaves, explained, strict=True):
            found = _account(k, leaf, ways, deltas, i, found)
        states.append(State(found, delta.values))
    return sorted(states, key=lambda state: cost(state.mistakes))[: 2 * BEAM]


def _account(
    k: int,
    leaf: Leaf,
    ways: list[tuple[int, tuple[str, ...]]],
    deltas: list[Delta],
    passed: int,
    found: frozenset[Mistake],
) -> frozenset[Mistake]:
    """The mistakes with those that explain a leaf, if delta number `passed` is handed down.

    The leaf may have been computed from another delta than that: then its deviations are the leaf's own.
    """
    choices = [found | {Mistake("unknown", k, leaf.field)}]
    for i, codes in ways:
        own = [] if i == passed else deltas[i].codes
        if leaf.field in ("b", "shift"):  # a leaf of its own that is divided again: where it is a bias, by .mean()
            own = ["bias_mean" if code == "batch_mean_twice" else code for code in own]
        choices.append(found | {Mistake(code, k, leaf.field) for code in (*codes, *own)})
    return min(choices, key=cost)


def explain(situations: list[Situation], leaf: Leaf, delta: Delta) -> tuple[str, ...] | None:
    """The mistakes, beside those of the delta, that make the leaf what it is; () if none, None if nothing fits."""
    best: tuple[str, ...] | None = None
    for code, terms in _terms(situations, leaf, delta):
        for factor_codes, factors in _factors(situations, leaf):
            penalty = _penalty(situations, leaf, terms, factors)
            if penalty is None:
                continue
            codes = tuple(dict.fromkeys((*code, *factor_codes, *penalty)))
            if best is None or len(codes) < len(best):
                best = codes
            if best == ():
                return best
    return best


def _terms(situations: list[Situation], leaf: Leaf, delta: Delta) -> Iterator[tuple[tuple[str, ...], Values]]:
    """The leaf's data term from a delta, and every way of getting the product wrong."""
    chosen = [situations[i] for i in leaf.at]
    deltas = [delta.values[i] for i in leaf.at]
    if leaf.field == "b":
        yield (), [d.sum(axis=0) for d in deltas]
    elif leaf.field == "shift":
        yield (), [delta.normed[i].sum(axis=0) for i in leaf.at]
    elif leaf.field == "scale":
        norms = [s.truth.trace.hidden[leaf.layer].norm for s in chosen]
        normed = [delta.normed[i] for i in leaf.at]
        yield (), [(d * n.normalized).sum(axis=0) for d, n in zip(normed, norms, strict=True)]
    else:
        yield from _weight_terms(chosen, leaf.layer, deltas)


def _weight_terms(situations: list[Situation], k: int, deltas: Values) -> Iterator[tuple[tuple[str, ...], Values]]:
    traces = [s.truth.trace for s in situations]
    inputs = [t.inputs if k == len(t.hidden) else t.hidden[k].inputs for t in traces]
    yield (), [a.T @ d for a, d in zip(inputs, deltas, strict=True)]
    if k > 0:
        below = [t.hidden[k - 1] for t in traces]
        yield ("pre_activation_used",), [h.z.T @ d for h, d in zip(below, deltas, strict=True)]
        if below[0].mask is not None:
            yield ("pre_activation_used",), [(h.z * h.mask).T @ d for h, d in zip(below, deltas, strict=True)]
    for left, right in product((False, True), repeat=2):
        factors = [(a if left else a.T, d.T if right else d) for a, d in zip(inputs, deltas, strict=True)]
        if all(a.shape[0] == a.shape[1] and d.shape[0] == d.shape[1] for a, d in factors):
            products = [a @ d for a, d in factors]
            if left or right:
                yield ("transpose",), products
            yield ("transpose",), [p.T for p in products]


def _factors(situations: list[Situation], leaf: Leaf) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    """What may stand before the data term."""
    n = [situations[i].n for i in leaf.at]
    twice = "batch_mean_twice" if leaf.field in ("w", "scale") else "bias_mean"
    powers: list[tuple[tuple[str, ...], int]] = [((), 0), (("batch_mean_missing",), 1), ((twice,), -1)]
    for sign in (1.0, -1.0):
        for codes, power in powers:
            yield (codes if sign > 0 else (*codes, "sign")), [sign * float(v) ** power for v in n]


def _penalty(
    situations: list[Situation], leaf: Leaf, terms: Values, factors: list[float]
) -> tuple[str, ...] | None:
    """What is left of the leaf beside the data term, as a multiple of the parameter, and which mistake that is."""
    coefficients, limits = [], []
    rows = zip(leaf.at, leaf.values, terms, factors, leaf.tolerances, strict=True)
    for i, value, term, factor, tolerance in rows:
        rest = value - factor * term
        parameter = getattr(situations[i].case.params[leaf.layer], leaf.field)
        size = _norm(parameter)
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
