"""Which mistakes explain a wrong gradient? A search for the fewest, from the loss down to the first layer.

The operations (`ops`) are walked in segments, from one product to the next below (`segment`). In each segment the
right step back and every alternative of the table are tried; the leaves tell which of them the candidate took. A
wrong cotangent is passed on to the segments below, so that one mistake explains all it spoils.
"""

from collections.abc import Iterator

import numpy as np

from mlp_jax.gradcheck.mistakes import fits
from mlp_jax.gradcheck.mistakes.factors import Array, Codes, Sizes, name_factor
from mlp_jax.gradcheck.mistakes.leaf import Leaf
from mlp_jax.gradcheck.mistakes.segment import Effort, Segment, Way
from mlp_jax.gradcheck.mistakes.situation import Delta, Mistake, Problem, Situation, State, of_network
from mlp_jax.gradcheck.mistakes.table import MISTAKES

ANOTHER_PLACE = 0.1  # cost of a mistake that is made once more, against 1 for another mistake
UNKNOWN = 10.0
BEAM = 6
ONE = 1.3  # what costs no more is one mistake, in whatever many places
WITHIN = 1.5  # more expensive ways than the best one that are followed
# a leaf that needs one of these to be explained by a cotangent does not speak for that cotangent
CANCELLING = {"batch_mean_missing", "batch_mean_twice", "bias_mean", "sign", "constant_factor", "mean_over_other"}


def cost(mistakes: frozenset[Mistake]) -> float:
    """Fewest different mistakes first, then fewest places; remarks count half, anything known before `unknown`."""
    known = [m.code for m in mistakes if m.code != "unknown"]
    codes = set(known)
    different = sum(MISTAKES[code].cost for code in codes)
    return different + ANOTHER_PLACE * (len(known) - len(codes)) + UNKNOWN * (len(mistakes) - len(known))


def diagnose(situations: list[Situation], tolerance: float) -> frozenset[Mistake]:
    """The cheapest set of mistakes that explains every leaf; `tolerance` is relative to each leaf's size.

    If one factor stands before the whole gradient, penalty and all, that counts as one mistake.
    """
    search = _Search(of_network(situations, tolerance))
    best = search.best(most=2)
    top = len(situations[0].observed) - 1
    if cost(best) <= ONE and not any(m.code == "constant_factor" for m in best):
        return best
    for factor, codes in _whole_factors(search):
        scaled = [
            s._replace(observed=[{f: leaf / factor[i] for f, leaf in layer.items()} for layer in s.observed])
            for i, s in enumerate(situations)
        ]
        found = _Search(of_network(scaled, tolerance)).best(most=1) | {
            Mistake(code, top, "all", detail) for code, detail in codes
        }
        best = min(best, found, key=cost)
    return best


def _whole_factors(search: "_Search") -> Iterator[tuple[Array, Codes]]:
    """Factors that may stand before the whole gradient: those that the top layer's right step back shows."""
    segment = search.segments[0]
    for leaf in segment.leaves:
        way = segment.explain(leaf, segment.run(search.start, ()))
        for fit, codes in way:
            if fit.factor_codes and fit.factor.all() and not codes:
                yield fit.factor, fit.factor_codes
                return


class _Search:
    """This is the search over all segments."""

    def __init__(self, problem: Problem) -> None:
        self.segments = [Segment(problem, number) for number in range(len(problem.segments))]
        self.start = State(frozenset(), problem.cotangents, [{} for _ in problem.cotangents])

    def best(self, most: int) -> frozenset[Mistake]:
        """Segment by segment; more than one mistake in one, and late ones, only where nothing else explains it."""
        beam = [self.start]
        for number, segment in enumerate(self.segments):
            if self._is_right_from(number, beam[0]):
                break  # whatever else explains what is above costs as much at least
            states = _steps(segment, beam, Effort(both=False))
            if _cost(states[0]) > _cost(beam[0]) + ONE:
                states = _steps(segment, beam, Effort())
            tries = [(Effort(late=True), BEAM), (Effort(changes=2), 2), (Effort(changes=2, late=True), 1)]
            if most == 1 or _cost(beam[0]) >= UNKNOWN:  # below what nothing explains, much is spoilt
                tries = tries[:1]
            for effort, width in tries:
                if _cost(states[0]) < UNKNOWN + _cost(beam[0]):
                    break
                states = sorted([*states, *_steps(segment, beam[:width], effort)], key=_cost)
            limit = _cost(states[0]) + WITHIN
            beam = [state for state in states[:BEAM] if _cost(state) <= limit]
        return beam[0].mistakes

    def _is_right_from(self, number: int, state: State) -> bool:
        """Whether the right steps explain every leaf from this segment on."""
        for segment in self.segments[number:]:
            below = _right_step(segment, state)
            if below is None:
                return False
            state = below
        return True


def _cost(state: State) -> float:
    return cost(state.mistakes)


def _steps(segment: Segment, beam: list[State], effort: Effort) -> list[State]:
    return sorted((state for above in beam for state in _step(segment, above, effort)), key=_cost)


def _step(segment: Segment, above: State, effort: Effort) -> list[State]:
    """The best ways through a segment: a cotangent to hand down, and the mistakes that explain the leaves."""
    right = _right_step(segment, above)
    if right is not None:
        return [right]
    deltas = list(segment.deltas(above, effort))
    explained = [
        [(i, way) for i, delta in enumerate(deltas) for way in segment.explain(leaf, delta, both=effort.both)]
        for leaf in segment.leaves
    ]
    states = []
    for i, delta in enumerate(deltas):
        factors: dict[bytes, tuple[Array, Codes]] = {b"": (np.ones_like(segment.sizes.n), ())}
        for ways in explained:
            for j, (fit, _) in ways:
                if j == i and fit.factor_codes and fit.factor.all():
                    factors[fit.factor.round(9).tobytes()] = (fit.factor, _of_delta(fit.factor_codes))
        for factor, factor_codes in factors.values():
            codes, users = (*delta.codes, *factor_codes), _users(explained, i, factor)
            if segment.k == 0 and codes and users < min(2, len(segment.leaves)):
                continue  # nothing lies below: what only one leaf shows is that leaf's own
            found = above.mistakes | {Mistake(code, segment.k, "delta", detail) for code, detail in codes}
            found = _accounted(segment, explained, deltas, i, factor, found)
            if users < 2 and _far_fetched(codes) and any(m.code == "unknown" for m in found - above.mistakes):
                continue
            values = [g * f for g, f in zip(delta.entering[segment.last], factor, strict=True)]
            states.append(State(found, values, delta.pending))
            if factor_codes and any(delta.pending):  # the factor may also stand where a skip ends
                scaled = [{u: g * f for u, g in p.items()} for p, f in zip(delta.pending, factor, strict=True)]
                states.append(State(found, values, scaled))
    return sorted(states, key=_cost)[: 2 * BEAM]


def _right_step(segment: Segment, above: State) -> State | None:
    """The right way through a segment, if it explains every leaf there."""
    right = segment.run(above, ())
    ways = [segment.explain(leaf, right) for leaf in segment.leaves]
    if ways and all(any(not (fit.factor_codes or own or fit.rest) for fit, own in each) for each in ways):
        return State(above.mistakes, right.entering[segment.last], right.pending)
    return None


def _of_delta(codes: Codes) -> Codes:
    return tuple(("batch_mean_twice" if code == "bias_mean" else code, detail) for code, detail in codes)


def _far_fetched(codes: Codes) -> bool:
    """Whether this explains nothing beside a leaf that nothing explains."""
    return len(codes) > 1 or any(code == "constant_factor" for code, _ in codes)


def _users(explained: list[list[tuple[int, Way]]], i: int, factor: Array) -> int:
    """How many leaves are explained by a way through the segment, with a factor, and nothing that cancels it."""
    return sum(
        any(
            j == i
            and np.allclose(fit.factor, factor, rtol=1e-6)
            and not CANCELLING & {code for code, _ in (*own, *fit.rest)}
            for j, (fit, own) in ways
        )
        for ways in explained
    )


def _accounted(
    segment: Segment,
    explained: list[list[tuple[int, Way]]],
    deltas: list[Delta],
    passed: int,
    factor: Array,
    found: frozenset[Mistake],
) -> frozenset[Mistake]:
    """The mistakes with those that explain the leaves, if way number `passed` is handed down with a factor.

    A leaf may have been computed from another way: then its mistakes are the leaf's own. Beside a leaf of the same
    layer that nothing explains, two mistakes in another leaf, or another way, explain nothing either.
    """
    own = list[tuple[frozenset[Mistake], bool]]()
    for (at, leaf), ways in zip(segment.leaves, explained, strict=True):
        layer = segment.rows[at][0].layer
        choices = [(frozenset({Mistake("unknown", layer, leaf.field)}), False)]
        for i, (fit, codes) in ways:
            if i == passed:
                of_factor = _ratio(segment.sizes, leaf, fit, factor)
                if of_factor is None:
                    continue
                all_codes = (*codes, *of_factor, *fit.rest)
            else:
                all_codes = (*deltas[i].codes, *codes, *fit.factor_codes, *fit.rest)
            mistakes = _placed(all_codes, layer, leaf.field)
            choices.append((mistakes, len(mistakes) > 1 or bool(i != passed and deltas[i].changes)))
        own.append(min(choices, key=lambda choice: cost(found | choice[0])))
        found |= own[-1][0]
    unknown = any(m.code == "unknown" for mistakes, _ in own for m in mistakes)
    dubious = [m for mistakes, far_fetched in own if unknown and far_fetched for m in mistakes]
    return found - set(dubious) | {m._replace(code="unknown", detail="") for m in dubious}


def _placed(codes: Codes, layer: int, place: str) -> frozenset[Mistake]:
    return frozenset(Mistake(code, layer, place, detail) for code, detail in codes)


def _ratio(sizes: Sizes, leaf: Leaf, fit: fits.Fit, factor: Array) -> Codes | None:
    """The mistakes in a leaf's factor, beside a factor that is handed down."""
    if (factor == 1).all():
        return fit.factor_codes
    ratio = fit.factor / factor

    def agrees(values: Array) -> Array:
        return np.asarray(np.isclose(values, ratio, rtol=1e-6, atol=0).all(axis=1))

    named = name_factor(sizes, agrees, lambda values: np.median(ratio / values, axis=1), of_sum=leaf.of_sum)
    return None if named is None else named[1]


def of_leaf(problem: Problem) -> Codes | None:
    """The cheapest mistakes that explain the one leaf of a layer's problem; None where nothing does.

    Nothing lies below a layer, so that no leaf speaks for what another one was computed from.
    """
    search = _Search(problem)
    (segment,) = search.segments
    ((at, leaf),) = segment.leaves
    for late in (False, True):
        ways = [
            (*delta.codes, *own, *fit.factor_codes, *fit.rest)
            for delta in segment.deltas(search.start, Effort(late=late))
            if all(change.at < at for change in delta.changes)
            for fit, own in segment.explain((at, leaf), delta)
        ]
        if ways:
            return min(ways, key=_price)
    return None


def _price(codes: Codes) -> tuple[float, bool]:
    return cost(_placed(codes, 0, "")), any(code in CANCELLING for code, _ in codes)
