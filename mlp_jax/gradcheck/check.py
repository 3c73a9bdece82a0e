"""The whole check of one candidate: ask it, hold it against autodiff, name what is wrong."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mlp_jax.errors import UserError, in_range, one_of
from mlp_jax.gradcheck import layers
from mlp_jax.gradcheck.candidates import Candidate
from mlp_jax.gradcheck.judging.evidence import Evidence
from mlp_jax.gradcheck.judging.judgement import judge
from mlp_jax.gradcheck.judging.probes import at_zero, with_every_class
from mlp_jax.gradcheck.judging.telling import tell
from mlp_jax.gradcheck.mistakes.columns import in_columns
from mlp_jax.gradcheck.networks import answers, gives, others
from mlp_jax.gradcheck.objective import CONVENTIONS, OBJECTIVES
from mlp_jax.gradcheck.reading.answers import ASSUMED, COLUMNS, Asked
from mlp_jax.gradcheck.reading.names import NORMALISED
from mlp_jax.gradcheck.report import AUTODIFF, Report
from mlp_jax.gradcheck.witness import trusted_witness
from mlp_jax.nn.config import MLPConfig

INSTEAD = "it is checked with the widths {}, because it gives no gradient with {}"
SCALES = (1e-6, 1e6)
DROPOUT = 0.4  # of what draws masks with a probability that is its argument
UNEXPLAINED = {"unknown", "loss_mismatch", "wrong_shape"}
AT_ZERO = "its derivative of relu at exactly 0 is {:.4g}, and any number from 0 to 1 is right there"


def check_gradients(
    candidate: Any,
    config: MLPConfig | None = None,
    *,
    l2_convention: str = "auto",
    objective: str = "auto",
    arrays: str = "auto",
    seed: int = 0,
    scale: float = 1.0,
) -> Report:
    """Checks a gradient on the battery of cases, and names the mistakes in it.

    candidate: a class or function, as described in `candidates`, or a layer's. config: the network whose gradient
    it is (widths, activation, normalisation, dropout); default: two layers and ReLU, or several depths for a class
    of any depth. l2_convention: "full" (lambda ||W||^2, the report's), "half" (lambda/2 ||W||^2), or "auto":
    half where the candidate's own loss and gradient have it. objective: "auto": by the loss that the
    candidate returns, with a remark where that is not J~; "report": J~ alone, and any other loss is a
    mistake. arrays: "numpy", "jax", "torch", or "auto". scale: multiplies inputs, weights and biases, 1e-6 to
    1e6.

    Raises UserError if the candidate cannot be used: it fails in every case, or returns no gradients; or if
    `jax.grad` itself is computed wrong here (`witness.trusted_witness`, once for a jaxlib: seconds).
    """
    asked = Candidate(candidate, arrays)
    if (beside := layers.beside(candidate)) is not None:
        asked.layer = partial(layers.check, asked.name, beside)
    return check(
        asked,
        config,
        l2_convention=l2_convention,
        objective=objective,
        seed=seed,
        scale=scale,
    )


def assert_gradients(candidate: Any, config: MLPConfig | None = None, **options: Any) -> None:
    """For test suites: raises AssertionError, with the report as its message, if the gradient is wrong.

    Arguments and UserError as for `check_gradients`.
    """
    report = check_gradients(candidate, config, **options)
    if not report.passed:
        raise AssertionError(f"\n{report}")


def check(
    asked: Asked,
    config: MLPConfig | None = None,
    *,
    l2_convention: str = "auto",
    objective: str = "auto",
    seed: int = 0,
    scale: float = 1.0,
) -> Report:
    """`check_gradients` for anything that can be asked."""
    one_of("l2_convention", l2_convention, ("auto", *CONVENTIONS))
    one_of("objective", objective, OBJECTIVES)
    in_range("scale", scale, *SCALES)
    if asked.layer is not None:
        if config is not None or l2_convention != "auto" or scale != 1:
            raise UserError(
                f"{asked.name} is a layer, not a network: only --seed, --objective and --timeout are for layers; "
                "leave the others out"
            )
        report = asked.layer(seed, objective)
        assert isinstance(report, Report)
        return report
    trusted_witness()
    configs = [replace(config, dtype="float64")] if config is not None else asked.default_configs()
    reports, options = list[Report](), (l2_convention, objective, seed, scale)
    if not answers(asked, configs[0]) and (tried := others(asked, configs[0])):
        best, of = _best(asked, [(each, partial(_report, asked, each, *options)) for each in tried])
        note = INSTEAD.format(*("-".join(map(str, each.sizes)) for each in (of, configs[0])))
        return replace(best, notes=(*best.notes, note))
    for each in configs:
        reports.append(_report(asked, each, *options))
        unsaid = [note for note in asked.notes if NORMALISED in note]
        if unsaid and config is None and not reports[-1].passed and reports[-1].against == AUTODIFF:
            raise UserError(f"{asked.name}: {unsaid[0]}")  # without a loss, J~ is not its own
        dubious = {*UNEXPLAINED, "bias_over_classes", *(() if each.hidden else ("mean_over_other",))}
        dubious &= set(reports[-1].codes)
        if dubious and not _has_right_scores(asked, each, reports[-1]):  # or it has one output
            one = [other for other in asked.others(each) if (other.hidden, other.classes) == (each.hidden, 1)]
            found = [_report(asked, other, *options) for other in one if gives(asked, other)]
            # a regression is of one output, whatever its loss
            of_one = [other for other in found if "binary cross-entropy" in other.about or not each.hidden]
            return min([reports[-1], *of_one], key=_unexplained)
        if not reports[-1].passed:
            return reports[-1]
    return reports[0]


def _best(asked: Asked, reports: Iterable[tuple[MLPConfig, Callable[[], Report]]]) -> tuple[Report, MLPConfig]:
    """The first that is right, at least in its scores, or else that leaves the least unexplained.

    It is of networks that can be asked.
    """
    seen, refusals = list[tuple[Report, MLPConfig]](), list[UserError]()
    for config, report in reports:
        try:
            seen.append((report(), config))
        except UserError as error:
            refusals.append(error)
            continue
        if seen[-1][0].passed or _has_right_scores(asked, config, seen[-1][0]):
            return seen[-1]
    if not seen:
        raise refusals[0]
    return min(seen, key=lambda pair: _unexplained(pair[0]))


def _has_right_scores(asked: Asked, config: MLPConfig, report: Report) -> bool:
    """Whether the last bias passes, whose gradient is the sum of the loss's by the scores."""
    last = asked.leaf_name(len(config.sizes) - 2, "b")
    return any(row.leaf == last and row.verdict == "PASS" for row in report.leaves)


def _unexplained(report: Report) -> tuple[bool, int, int]:
    return not report.passed, len(UNEXPLAINED & set(report.codes)), len(report.codes)


def _told(report: Report) -> int:
    return len(report.findings)


def _report(
    asked: Asked, config: MLPConfig, l2_convention: str, objective: str, seed: int, scale: float
) -> Report:
    if asked.drops and not config.dropout:
        config = replace(config, dropout=DROPOUT)
    evidence = Evidence(asked, config, seed, scale)
    evidence = _without_biases(evidence, asked.unbiased) if asked.unbiased else evidence
    report = tell(judge(evidence, l2_convention, objective), l2_convention)
    if len(report.findings) > 1 and (complete := with_every_class(evidence)) is not None:
        report = min(tell(judge(complete, l2_convention, objective), l2_convention), report, key=_told)
    if not report.passed and (kink := at_zero(evidence)) is not None:
        report = tell(judge(kink[0], l2_convention, objective), l2_convention)
        report = replace(report, notes=(*report.notes, AT_ZERO.format(kink[1])))
    notes = asked.notes
    if not report.passed and ASSUMED in notes and not _has_right_scores(asked, config, report):
        # it may be right for another loss
        other = tell(judge(_without_losses(evidence), l2_convention, objective), l2_convention)
        if other.passed:
            report, notes = other, [note for note in notes if note != ASSUMED]
    if any(note.startswith(COLUMNS) for note in notes):
        findings = tuple(each._replace(sentence=in_columns(each.sentence)) for each in report.findings)
        report = replace(report, findings=findings)
    return replace(report, notes=(*report.notes, *notes))


def _without_losses(evidence: Evidence) -> Evidence:
    """The evidence without what was taken for the candidate's loss."""
    return evidence.of(evidence.cases, evidence.truths, [a._replace(loss=None) for a in evidence.answers])


def _without_biases(evidence: Evidence, numbers: Sequence[int]) -> Evidence:
    """The evidence on a network whose layers of these numbers have no bias: it is 0, and none of the leaves."""

    def unbiased(k: int, layer: Any) -> Any:
        return layer._replace(b=np.zeros_like(layer.b)) if k in numbers else layer

    cases = [
        case._replace(params=tuple(unbiased(*each) for each in enumerate(case.params))) for case in evidence.cases
    ]
    without = {(k, "b") for k in numbers}
    return evidence.against(cases).restricted(leaves=[at for at in evidence.leaves if at not in without])
