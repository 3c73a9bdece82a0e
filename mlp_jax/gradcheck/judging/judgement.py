"""The reading of a candidate's answers that leaves the least to explain: which objective, and which mistakes."""

from dataclasses import replace

from mlp_jax.gradcheck import objective
from mlp_jax.gradcheck.judging import loss_fit, probes, variants
from mlp_jax.gradcheck.judging.alike import alike, of_another_penalty
from mlp_jax.gradcheck.judging.diagnosis import Judgement, Remarks, read
from mlp_jax.gradcheck.judging.differences import read_by_differences
from mlp_jax.gradcheck.judging.evidence import Evidence
from mlp_jax.gradcheck.judging.loss_fit import CLOSE
from mlp_jax.gradcheck.judging.own_loss import Fitted, Own
from mlp_jax.gradcheck.judging.probes import settle_dtype
from mlp_jax.gradcheck.judging.variants import Variant
from mlp_jax.gradcheck.mistakes.search import UNKNOWN
from mlp_jax.gradcheck.mistakes.situation import Mistake
from mlp_jax.gradcheck.objective import LOSS_TOLERANCE, Purpose
from mlp_jax.gradcheck.other_losses import CLIPPED, PLAIN

FOLLOWED = 4  # networks that a gradient without a loss is held against
OF_ONE_OUTPUT = "binary cross-entropy of one sigmoid output"
OF_ANOTHER = "it is that of {}, and right if your loss has that: then return the loss too"


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
    if changes and (best.price >= UNKNOWN or best.mismatch):
        best = min(best, *_readings(evidence, convention, asked_for), key=lambda j: j.price)
    return best if evidence.cases[0].config.classes > 1 else _of_one_output(best, asked_for)


def _of_one_output(judgement: Judgement, asked_for: str) -> Judgement:
    """J~ itself has two outputs or more: the cross-entropy of one is another loss."""
    if any(code == "other_loss" for code, _ in judgement.about):
        return judgement
    text = f"the mean over the examples of the {OF_ONE_OUTPUT}"
    if asked_for == "report":
        mismatch = judgement.mismatch or f"your loss is not J~: it is {text}"
        return judgement._replace(about=(), mismatch=mismatch)

    def said(words: str) -> str:
        return text if words == objective.FULL else words.replace("the cross-entropy", f"the {OF_ONE_OUTPUT}")

    about = (("other_loss", f"it is {text}"), *((code, said(detail)) for code, detail in judgement.about))
    return judgement._replace(about=about, purpose=judgement.purpose._replace(text=said(judgement.purpose.text)))


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
        settle_dtype(evidence, evidence.errors(purpose))
    losses = evidence.losses()
    if losses is None:
        return _readings_without_losses(evidence, base, asked_for if others else "report")
    free = convention == "auto" and asked_for == "auto"
    own = None
    for closely in (True, False):
        # where the penalty is too small to show in the losses, they agree with both
        both = [_agrees(evidence, purpose, losses, closely=closely) for purpose in (base, other)]
        if both[1] and free:
            half = read(evidence, other, about=(("half_penalty", ""),))
            if not half.wrong:
                return [*([read(evidence, base)] if both[0] else []), half]
            text = f"your loss is {other.text}, and the gradient has another penalty"
            return [read(evidence, base, mismatch="" if both[0] else text), half]
        if both[0]:
            return [read(evidence, base)]
        if both[1] and convention != "auto":
            return [read(evidence, base, mismatch="your loss is " + _j_text(other))]
        if closely and others:
            own = _own(evidence, losses)
            if own is not None:
                break
    strict = asked_for == "report"
    if own is None and others and evidence.cases[0].config.classes > 1:
        from_1 = evidence.with_labels_from_1()
        own = _own(from_1, losses)
        evidence = evidence if own is None else from_1
    return _of_another_loss(evidence, base, other, own, free=free, strict=strict, differences=others)


def _own(evidence: Evidence, losses: list[tuple[int, float]]) -> Own | None:
    told = [(evidence.cases[i], evidence.truths[i], loss) for i, loss in losses]
    return loss_fit.own(told, evidence.cases[0].config, evidence.dtype)


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
            return first if not first[0].wrong else [*first, read(evidence, base)]
        if not first[0].wrong:
            return first
    text = f": it is {own.text()}" if own is not None else ""
    purposes = [base, *([other] if free or not strict else [])]
    if own is None and free and (penalty := probes.penalty(evidence)) is not None:
        own_penalty = Own(Variant(), penalty).purpose(evidence.cases)
        purposes = [*([own_penalty] if own_penalty.objectives not in (base[0], other[0]) else []), *purposes]
    unknown = own is None and all(evidence.wrong(evidence.errors(purpose)) for purpose in purposes)
    if differences and unknown and (told := read_by_differences(evidence, purposes, strict=strict)) is not None:
        return [told]  # this is sooner told than how J~ is missed
    readings = [read(evidence, purpose, mismatch=f"your loss is not J~{text}") for purpose in purposes]
    for j, reading in enumerate(readings):
        if not reading.wrong:
            of = f"the gradient is that of {_j_text(reading.purpose)}, so it is wrong for your own loss"
            readings[j] = reading._replace(mismatch=of + (f", which is {own.text()}" if own is not None else ""))
    nearly = _of_nearly_own(evidence, own) if own is not None and all(r.wrong for r in readings) else None
    if nearly is not None:
        return [nearly]
    too = ", and the gradient is wrong for your own loss too"
    return [*first, *(r._replace(mismatch=r.mismatch + too) if r.wrong else r for r in readings)]


def _of_own(evidence: Evidence, own: Own, strict: bool) -> Judgement:
    """Returns the reading by the candidate's own loss."""
    best = min(_in_every_way(evidence, own, tuple(own.remarks())), key=lambda j: j.price)
    if not strict or not best.about:
        return best
    right = "" if best.wrong else "right for your loss, but "
    return best._replace(about=(), mismatch=f"{right}your loss is not J~: it is {own.text()}")


def _in_every_way(evidence: Evidence, own: Own, about: Remarks) -> list[Judgement]:
    """The readings by each way to write a loss's gradient, up to one that is right."""
    readings = list[Judgement]()
    for variant in _ways_to_write(own.variant):
        there = evidence.under(variant)
        readings.append(read(there, own.purpose(there.cases), about=about))
        if not readings[-1].wrong:
            break
    return readings


def _of_nearly_own(evidence: Evidence, own: Own) -> Judgement | None:
    """The reading by what the loss lacks: a mean over the examples, or a penalty that the gradient has."""
    for near in own.near():
        for variant in _ways_to_write(near.variant):
            there = evidence.under(variant)
            purpose = near.purpose(there.cases)
            if not there.wrong(there.errors(purpose)):
                of = f"the gradient is that of {near.text()}, so it is wrong for your own loss"
                return Judgement(there, purpose, frozenset(), (), f"{of}, which is {own.text()}")
    return None


def _ways_to_write(variant: Variant) -> list[Variant]:
    """The gradients that are taken for that of a loss: exact, or without what keeps a log or a root finite."""
    options = dict(variant.options)
    if "eps_place" in options:
        exact = tuple((options | {"eps_place": variants.OUTSIDE}).items())
        return [variant, variant._replace(options=exact)]
    return [variant._replace(loss=PLAIN), variant] if CLIPPED in variant.loss else [variant]


def _agrees(
    evidence: Evidence, purpose: Purpose, losses: list[tuple[int, float]], *, closely: bool = False
) -> bool:
    tolerance = CLOSE if closely and evidence.dtype == "float64" else LOSS_TOLERANCE[evidence.dtype]
    return all(
        objective.agrees(evidence.cases[i], evidence.truths[i], purpose.objectives[i], loss, tolerance)
        for i, loss in losses
    )


def _readings_without_losses(evidence: Evidence, base: Purpose, asked_for: str) -> list[Judgement]:
    """J~ first. Another network or loss is meant only where it explains all that J~ leaves unexplained."""
    about: Remarks = ()
    factor = 0.0 if not evidence.asked.takes_l2 else 0.5 if base.text == objective.HALF else 1.0
    penalty = Fitted(weights=(factor,) * len(evidence.cases[0].params))
    if not factor:
        base = Own(Variant(), penalty).purpose(evidence.cases)
        about = (("no_penalty", "there is no argument for lambda"),)
    strict, others = asked_for == "report", None
    if not strict and _scores_differ(evidence, base):  # then another network is likelier, and sooner told
        others = _under_others(evidence, penalty, about)
        if any(not reading.wrong for reading in others):
            return others[-1:]
    first = read(evidence, base, about=about)
    if {m.code for m in first.mistakes} == {"l2_factor"} and (other := of_another_penalty(evidence)):
        detail = OF_ANOTHER.format(other)
        return [first._replace(mistakes=frozenset(m._replace(detail=detail) for m in first.mistakes))]
    if strict or all(mistake.code != "unknown" for mistake in first.mistakes):
        return [first]
    others = _under_others(evidence, penalty, about) if others is None else others
    if any(not reading.wrong for reading in others):
        return others[-1:]
    # a network of which the last layer is explained says more than one of which it is not
    missed = {mistake.layer for mistake in first.mistakes if mistake.code == "unknown"}
    return others if others and len(evidence.cases[0].params) - 1 in missed else [first, *others]


def _scores_differ(evidence: Evidence, base: Purpose) -> bool:
    """Whether the gradient of the last bias, which depends on the scores alone, is not J~'s."""
    top = len(evidence.cases[0].params) - 1
    return any(at[1:] == (top, "b") for at in evidence.wrong(evidence.errors(base)))


def _under_others(evidence: Evidence, penalty: Fitted, about: Remarks) -> list[Judgement]:
    """The readings under other networks and losses, the likeliest first, or the one that is right alone."""
    followed = list[tuple[Own, Remarks]]()
    for variant, fitted in alike(evidence)[:FOLLOWED]:
        own = Own(variant, replace(fitted, weights=penalty.weights))
        followed.append((own, (*[r for r in own.remarks() if r[0] != "no_penalty"], *about)))
    first = evidence.restricted(cases=[0])  # what is not right in one case costs no program of the others
    for own, remarks in followed:
        if any(_is_right(first.under(way), own) for way in _ways_to_write(own.variant)):
            *_, last = _in_every_way(evidence, own, remarks)
            if not last.wrong:
                return [last]
    unclipped = [each for each in followed if CLIPPED not in each[0].variant.loss]  # a clip explains no mistake
    return [reading for each in unclipped or followed for reading in _in_every_way(evidence, *each)]


def _is_right(evidence: Evidence, own: Own) -> bool:
    return not evidence.wrong(evidence.errors(own.purpose(evidence.cases)))
