"""The reading of a candidate's answers that leaves the least to explain: which objective, and which mistakes."""

from typing import NamedTuple

import numpy as np

from mlp_jax.gradcheck import objective, variants
from mlp_jax.gradcheck.evidence import Evidence, explained_by_remarks
from mlp_jax.gradcheck.mistakes import MISTAKES
from mlp_jax.gradcheck.objective import CLOSE, LOSS_TOLERANCE, Fitted, Own, Purpose
from mlp_jax.gradcheck.ops import softmax
from mlp_jax.gradcheck.search import UNKNOWN, cost, diagnose
from mlp_jax.gradcheck.segment import Mistake, Situation
from mlp_jax.gradcheck.variants import Variant

FIT_TOLERANCE = {"float64": 1e-7, "float32": 2e-3, "float16": 1e-1, "bfloat16": 3e-1}
MASKS = ("mask_missing", "mask_wrong_tensor", "mask_without_bias")
ALIKE = 1e-6  # how far a bias's gradient may be from that of a network that explains it
FOLLOWED = 4  # networks that a gradient without a loss is held against

Remarks = tuple[tuple[str, str], ...]


class Judgement(NamedTuple):
    """The mistakes in a gradient, if it was meant for a purpose.

    mistakes: also those that are only remarks. about: (code, detail) of everything in which
    the purpose is not J~, where that is no mistake. mismatch: why the returned loss is one, or "".
    by_differences: the purpose is not known, and the gradient is right by differences of the returned loss.
    """

    evidence: Evidence
    purpose: Purpose
    mistakes: frozenset[Mistake]
    about: Remarks = ()
    mismatch: str = ""
    by_differences: bool = False

    @property
    def wrong(self) -> bool:
        """Whether the gradient is not the purpose's; remarks do not count."""
        return any(not MISTAKES[mistake.code].remark for mistake in self.mistakes)

    @property
    def price(self) -> float:
        """How much it leaves to explain."""
        return cost(self.mistakes) + bool(self.mismatch) + 0.1 * len(self.about)


def judge(evidence: Evidence, convention: str, asked_for: str = "auto") -> Judgement:
    """The cheapest reading, also of the arguments as the candidate left them if it changed them.

    convention: of the penalty (`objective.CONVENTIONS`), or "auto". asked_for: "auto" for the candidate's own
    loss, "report" for J~ alone.
    """
    changes = any(answer.mutated for answer in evidence.answers)
    readings = _readings(evidence, convention, asked_for, others=not changes)
    best = min(readings, key=lambda j: j.price)
    left = evidence.with_inputs_as_left() if best.price else None
    if left is not None:
        # what it did to its arguments explains more than another loss would
        best = min(best, *_readings(left, convention, asked_for, others=False), key=lambda j: j.price)
    if changes and best.price >= UNKNOWN:
        best = min(best, *_readings(evidence, convention, asked_for), key=lambda j: j.price)
    return best


def _readings(evidence: Evidence, convention: str, asked_for: str, *, others: bool = True) -> list[Judgement]:
    """Under every purpose that the candidate's loss allows, the likeliest first.

    others: whether losses and networks beside J~ are looked for.
    """
    chosen = "full" if convention == "auto" else convention
    base = objective.j_tilde(evidence.cases, chosen)
    if evidence.has_state:  # then nothing else is certain
        everywhere = Mistake("state_between_calls", len(evidence.cases[0].params) - 1, "all")
        return [Judgement(evidence, base, frozenset({everywhere}))]
    other = objective.j_tilde(evidence.cases, "half" if chosen == "full" else "full")
    for purpose in (base, other):
        evidence.settle_dtype(evidence.errors(purpose))
    losses = evidence.losses()
    if losses is None:
        return _without_losses(evidence, base, asked_for if others else "report")
    free = convention == "auto" and asked_for == "auto"
    own = None
    for closely in (True, False):
        # where the penalty is too small to show in the losses, they agree with both
        both = [_agrees(evidence, purpose, losses, closely=closely) for purpose in (base, other)]
        if both[1] and free:
            half = _half(evidence, other)
            if not half.wrong:
                return [*([_reading(evidence, base)] if both[0] else []), half]
            text = f"your loss is {other.text}, and the gradient has another penalty"
            return [_reading(evidence, base, mismatch="" if both[0] else text), half]
        if both[0]:
            return [_reading(evidence, base)]
        if both[1] and convention != "auto":
            return [_reading(evidence, base, mismatch="your loss is " + _j_text(other))]
        if closely and others:
            told = [(evidence.cases[i], evidence.truths[i], loss) for i, loss in losses]
            own = objective.own(told, evidence.cases[0].config, evidence.dtype)
            if own is not None:
                break
    strict = asked_for == "report"
    return _of_another_loss(evidence, base, other, own, free=free, strict=strict, differences=others)


def _half(evidence: Evidence, purpose: Purpose) -> Judgement:
    return _reading(evidence, purpose, about=(("half_penalty", ""),))


def _j_text(purpose: Purpose) -> str:
    return purpose.text if purpose.text != objective.FULL else "J~ with lambda ||W||^2"


def _of_another_loss(
    evidence: Evidence,
    base: Purpose,
    other: Purpose,
    own: Own | None,
    *,
    free: bool,
    strict: bool,
    differences: bool,
) -> list[Judgement]:
    """The losses are not J~'s: the gradient may be theirs, or J~'s, or neither's."""
    first = []
    if own is not None:
        first = [_of_own(evidence, own, strict)]
        if own.is_j:
            return first if not first[0].wrong else [*first, _reading(evidence, base)]
        if not first[0].wrong:
            return first
    text = f": it is the {own.text()}" if own is not None else ""
    readings = [_reading(evidence, base, mismatch=f"your loss is not J~{text}")]
    if free or not strict:
        readings.append(_reading(evidence, other, mismatch=f"your loss is not J~{text}"))
    for j, reading in enumerate(readings):
        if not reading.wrong:
            of = f"the gradient is that of {_j_text(reading.purpose)}, so it is wrong for your own loss"
            readings[j] = reading._replace(
                mismatch=of + (f", which is the {own.text()}" if own is not None else "")
            )
    if differences and own is None and all(reading.wrong for reading in readings):
        slopes = evidence.own_slopes()
        if slopes and all(slopes.values()):
            return [_by_differences(evidence, base, strict)]
    too = ", and the gradient is wrong for your own loss too"
    return [*first, *(r._replace(mismatch=r.mismatch + too) if r.wrong else r for r in readings)]


def _of_own(evidence: Evidence, own: Own, strict: bool) -> Judgement:
    """The reading by the candidate's own loss."""
    best = None
    for variant in _ways_to_write(own.variant):
        there = evidence.under(variant)
        about = tuple(own.remarks())
        reading = _reading(there, own.purpose(there.cases), about=about)
        if best is None or reading.price < best.price:
            best = reading
        if not best.wrong:
            break
    assert best is not None
    if not strict or not best.about:
        return best
    text = f"right for your loss, but your loss is not J~: it is the {own.text()}"
    if best.wrong:
        text = f"your loss is not J~: it is the {own.text()}"
    return best._replace(about=(), mismatch=text)


def _ways_to_write(variant: Variant) -> list[Variant]:
    """The gradients that are taken for that of a loss: exact, or without what keeps a log or a root finite."""
    options = dict(variant.options)
    if "eps_place" in options:
        exact = tuple((options | {"eps_place": variants.OUTSIDE}).items())
        return [variant, variant._replace(options=exact)]
    return [variant._replace(loss=variants.PLAIN), variant] if " inside the log" in variant.loss else [variant]


def _by_differences(evidence: Evidence, base: Purpose, strict: bool) -> Judgement:
    detail = (
        "it is none of the losses and networks that are known here; by central differences of it in float64, "
        "in one case, the gradient is right for it"
    )
    if strict:
        text = f"right for your loss, but your loss is not J~: {detail}"
        return Judgement(evidence, base, frozenset(), (), text, by_differences=True)
    return Judgement(evidence, base, frozenset(), (("other_loss", detail),), by_differences=True)


def _agrees(
    evidence: Evidence, purpose: Purpose, losses: list[tuple[int, float]], *, closely: bool = False
) -> bool:
    tolerance = CLOSE if closely and evidence.dtype == "float64" else LOSS_TOLERANCE[evidence.dtype]
    return all(
        objective.agrees(evidence.cases[i], evidence.truths[i], purpose.objectives[i], loss, tolerance)
        for i, loss in losses
    )


# -- gradients without a loss


def _without_losses(evidence: Evidence, base: Purpose, asked_for: str) -> list[Judgement]:
    """J~ first. Another network or loss is meant only where it explains all that J~ leaves unexplained."""
    about: Remarks = ()
    if not evidence.asked.takes_l2:
        layers = len(evidence.cases[0].params)
        free = Fitted(weights=(0.0,) * layers, over_n=(0.0,) * layers)
        base = Own(Variant(), free).purpose(evidence.cases)
        about = (("no_penalty", "there is no argument for lambda"),)
    first = _reading(evidence, base, about=about)
    if asked_for == "report" or all(mistake.code != "unknown" for mistake in first.mistakes):
        return [first]
    readings = [first]
    for variant in _alike(evidence)[:FOLLOWED]:
        there, own = evidence.under(variant), Own(variant, _plain_penalty(evidence, base))
        for other in _ways_to_write(variant):
            there = evidence.under(other)
            remarks = (*[r for r in own.remarks() if r[0] != "no_penalty"], *about)
            readings.append(_reading(there, base._replace(text=own.text()), about=remarks))
            if not readings[-1].wrong:
                return [readings[-1]]
    return readings


def _plain_penalty(evidence: Evidence, base: Purpose) -> Fitted:
    layers = len(evidence.cases[0].params)
    factor = 0.0 if not evidence.asked.takes_l2 else 0.5 if base.text == objective.HALF else 1.0
    return Fitted(weights=(factor,) * layers, over_n=(0.0,) * layers)


def _alike(evidence: Evidence) -> list[Variant]:
    """Networks and losses whose derivative by the last bias is the candidate's in every case; nearest first."""
    chosen = [i for i in range(len(evidence.cases)) if i not in evidence.overflows]
    top = len(evidence.cases[0].params) - 1
    chosen = [i for i in chosen if "b" in evidence.observed[i][top]]
    if not chosen:
        return []
    tolerance = ALIKE if evidence.dtype == "float64" else 10 * LOSS_TOLERANCE[evidence.dtype]
    held: dict[tuple[tuple[str, object], ...], list[np.ndarray]] = {}

    def off(variant: Variant, enough: float = np.inf) -> float:
        if variant.options not in held:
            held[variant.options] = [_scores(evidence, i, variant) for i in chosen]
        worst = 0.0
        for i, scores in zip(chosen, held[variant.options], strict=True):
            true = _bias_gradient(variant.loss, scores, evidence.cases[i].y)
            distance = float(np.linalg.norm(evidence.observed[i][top]["b"] - true))
            worst = max(worst, distance / (float(np.linalg.norm(true)) or 1.0))
            if not worst <= enough:
                break
        return worst

    config = evidence.cases[0].config
    tried = [v._replace(loss=name) for v in variants.networks(config) for name in variants.LOSSES]
    found = [variant for variant in tried if off(variant, tolerance) <= tolerance]
    if evidence.dtype == "float64" and (near := variants.nearest(off, config)) is not None:
        found += [near] if off(near) <= tolerance else []
    # another eps, or one inside the log, makes little difference
    return sorted(found, key=off)


def _scores(evidence: Evidence, i: int, variant: Variant) -> np.ndarray:
    masks = [hidden.mask for hidden in evidence.truths[i].trace.hidden]
    return variants.scores(evidence.cases[i], masks, variant.at(evidence.cases[i].config))


def _bias_gradient(name: str, scores: np.ndarray, y: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The derivative of the mean loss by the last bias, (C,), exact to some 1e-9."""
    loss = variants.LOSSES[name]
    if name == variants.PLAIN:
        return np.asarray((softmax(scores) - np.eye(scores.shape[1])[y]).mean(axis=0))
    with np.errstate(all="ignore"):
        return np.array(
            [
                float(np.mean(loss(np, scores + step * unit, y) - loss(np, scores - step * unit, y))) / (2 * step)
                for unit in np.eye(scores.shape[1])
            ]
        )


# -- the mistakes


def _reading(evidence: Evidence, purpose: Purpose, *, about: Remarks = (), mismatch: str = "") -> Judgement:
    wrong = evidence.wrong(evidence.errors(purpose))
    if not wrong:
        return Judgement(evidence, purpose, frozenset(), about, mismatch)
    used = [i for i in range(len(evidence.cases)) if i not in evidence.overflows]
    situations = [
        Situation(
            evidence.cases[i],
            evidence.truths[i],
            evidence.observed[i],
            purpose.objectives[i],
            evidence.rounding(i),
        )
        for i in used
    ]
    # coarsely first, for what a mistake does to rounding; a small mistake shows only beside rounding alone
    found = _told(diagnose(situations, FIT_TOLERANCE[evidence.dtype]) or diagnose(situations, 0.0))
    codes = [mistake.code for mistake in found]
    if all(MISTAKES[code].remark for code in codes):
        # what a remark does not excuse is too far off for rounding, and too close for any mistake on the list
        rest = [at for at in wrong if not explained_by_remarks(evidence.cases[at[0]], codes)]
        closely = _told(diagnose(situations, 0.0)) if rest else found
        if all(m.code != "unknown" for m in closely):
            found = closely
        else:
            found |= {Mistake("unknown", *max(rest, key=lambda at: at[1])[1:])}
    return Judgement(evidence, purpose, found, about, mismatch)


def _told(mistakes: frozenset[Mistake]) -> frozenset[Mistake]:
    """Without what says nothing: layers below one that is unexplained, and what a wrong mask is at 0."""
    unknown = {(m.layer, m.place) for m in mistakes if m.code == "unknown"}
    lowest = max((k for k, place in unknown if place == "b" and (k, "w") in unknown), default=0)
    kept = [m for m in mistakes if m.layer >= lowest]
    wrong_masks = {m.layer for m in kept if m.code in MASKS}
    return frozenset(m for m in kept if m.code != "mask_at_zero" or m.layer not in wrong_masks)
