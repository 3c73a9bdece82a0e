"""The whole check of one candidate: ask it, hold it against autodiff, name what is wrong."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlp_jax.errors import UserError, in_range, one_of
from mlp_jax.gradcheck import objective as objectives
from mlp_jax.gradcheck.battery import Case, Leaves, Truth, battery, evaluate
from mlp_jax.gradcheck.candidates import ARRAYS, NAMES, Answer, Candidate, Question
from mlp_jax.gradcheck.diagnosis import Mistake, cost, diagnose
from mlp_jax.gradcheck.hypotheses import Situation
from mlp_jax.gradcheck.mistakes import MISTAKES
from mlp_jax.gradcheck.objective import CONVENTIONS, Purpose
from mlp_jax.gradcheck.report import Finding, LeafRow, Report, equation, finding, leaf_equation
from mlp_jax.model import MLPConfig

# relative error that rounding may cause in a well-conditioned case; `_limit` adds what the case's own condition does
TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "float16": 5e-2, "bfloat16": 2e-1}
EPSILON = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
FIT_TOLERANCE = {"float64": 1e-7, "float32": 2e-3, "float16": 1e-1, "bfloat16": 3e-1}
OVERFLOW, KINK = "large logits", "pre-activations of 0"


class Asked(Protocol):
    """A candidate that can be asked: in this process (`InProcess`), or in another."""

    name: str

    def default_configs(self) -> list[MLPConfig]:
        """The networks to check when none is named."""

    def ask(self, questions: list[Question]) -> list[Answer]:
        """One answer per question. Raises UserError if the candidate cannot be used at all."""

    def leaf_name(self, k: int, field: str) -> str:
        """The candidate's own name of a leaf."""


class InProcess:
    """A class or function of this process."""

    def __init__(self, target: Any, arrays: str = "auto") -> None:
        one_of("arrays", arrays, ("auto", *ARRAYS))
        self._candidate = Candidate(target, arrays)
        self.name = self._candidate.name
        self.default_configs, self.leaf_name = self._candidate.default_configs, self._candidate.leaf_name

    def leaf_names(self, config: MLPConfig) -> dict[tuple[int, str], str]:
        """All names of a network's leaves, for another process."""
        return {(k, f): self.leaf_name(k, f) for k in range(len(config.hidden) + 1) for f in NAMES}

    def ask(self, questions: list[Question]) -> list[Answer]:
        """See `Asked`."""
        # where all dimensions are equal, even a forgotten transpose runs
        error = self._candidate.settle(questions[-1])
        answers = [self._candidate.answer(question) for question in questions]
        if all(answer.error for answer in answers):
            raise UserError(f"{self.name} gives no gradient: {error or answers[0].error}")
        return answers


def check_gradients(
    candidate: Any,
    config: MLPConfig | None = None,
    *,
    l2_convention: str = "auto",
    arrays: str = "auto",
    seed: int = 0,
    scale: float = 1.0,
) -> Report:
    """Checks a gradient on the battery of cases, and names the mistakes in it.

    candidate: a class or function, as described in `candidates`. config: the network whose gradient it is
    (widths, activation, normalisation, dropout); default: two layers and ReLU, or several depths for a class of
    any depth. l2_convention: "full" (lambda ||W||^2, the report's), "half" (lambda/2 ||W||^2), or "auto": half
    where the candidate's own loss has it. scale: multiplies inputs, weights and biases.

    Raises UserError if the candidate cannot be used: it fails in every case, or returns no gradients.
    """
    return check(InProcess(candidate, arrays), config, l2_convention=l2_convention, seed=seed, scale=scale)


def assert_gradients(candidate: Any, config: MLPConfig | None = None, **options: Any) -> None:
    """For test suites: raises AssertionError, with the report as its message, if the gradient is wrong.

    Arguments and UserError as for `check_gradients`.
    """
    report = check_gradients(candidate, config, **options)
    if not report.passed:
        raise AssertionError(f"\n{report}")


def check(
    asked: Asked, config: MLPConfig | None = None, *, l2_convention: str = "auto", seed: int = 0, scale: float = 1.0
) -> Report:
    """`check_gradients` for anything that can be asked."""
    one_of("l2_convention", l2_convention, ("auto", *CONVENTIONS))
    in_range("scale", scale, 0, open_low=True)
    configs = [replace(config, dtype="float64")] if config is not None else asked.default_configs()
    first: Report | None = None
    for each in configs:
        report = Check(asked, each, l2_convention, seed, scale).report()
        if not report.passed:
            return report
        first = first or report
    if first is None:
        raise ValueError("no network to check")
    return first


class Judgement(NamedTuple):
    """What was found under one purpose: every leaf's error, and the mistakes."""

    purpose: Purpose
    mistakes: frozenset[Mistake]
    wrong: bool
    mismatch: bool
    own: bool = False  # the gradient is right for the candidate's own loss, whatever that is

    @property
    def price(self) -> float:
        """For choosing the purpose that leaves the least to explain."""
        return cost(self.mistakes) + self.mismatch


class Check:
    """The check of one candidate on one network."""

    def __init__(self, asked: Asked, config: MLPConfig, convention: str, seed: int, scale: float) -> None:
        self.asked, self.config, self.convention = asked, config, convention
        cases = battery(config, seed=seed, scale=scale)
        truths = [evaluate(case) for case in cases]
        answers = asked.ask([Question(case, truth.masks) for case, truth in zip(cases, truths, strict=True)])
        self.notes: list[str] = []
        self.total = len(cases)
        self.failed = [(c, a.error) for c, a in zip(cases, answers, strict=True) if a.leaves is None]
        kept = [i for i, answer in enumerate(answers) if answer.leaves is not None]
        self.cases = [cases[i] for i in kept]
        self.truths = [truths[i] for i in kept]
        self.answers = [answers[i] for i in kept]
        self.leaves = [(k, field) for k, layer in enumerate(truths[0].grads) for field in layer]
        self.observed, self.shape_mistakes, self.shape_notes = self._shaped()
        self.dtype = min((a.dtype for a in self.answers), key=list(EPSILON)[::-1].index)
        self.overflows = self._overflows()
        self.non_finite = self._non_finite()

    # -- what was answered -------------------------------------------------------------------------------------

    def _shaped(self) -> tuple[list[Leaves], set[Mistake], dict[tuple[int, str], str]]:
        """The leaves in their parameters' shapes where that can be done, and the mistakes in the shapes."""
        mistakes, notes = set(), {}
        observed = [[dict(layer) for layer in a.leaves or []] for a in self.answers]
        for k, field in self.leaves:
            code, note, lost = "", "", False
            for leaves, truth in zip(observed, self.truths, strict=True):
                true, found = truth.grads[k][field].shape, leaves[k].get(field)
                if found is None:
                    code, note, lost = "wrong_shape", "it is missing", True
                elif found.shape == true:
                    continue
                elif found.shape == true[::-1]:
                    code = code or "transpose"
                else:
                    code, note = "wrong_shape", f"{found.shape} in place of {true}"
                    if found.size == np.prod(true):
                        leaves[k][field] = found.reshape(true)
                    else:
                        lost = True
            if lost:  # where the shape fits by accident, the values cannot
                for leaves in observed:
                    leaves[k].pop(field, None)
            elif code == "transpose":  # then also where the shape does not show it
                for leaves in observed:
                    leaves[k][field] = leaves[k][field].T
            if code:
                mistakes.add(Mistake(code, k, field))
                notes[k, field] = note
        return observed, mistakes, notes

    def _overflows(self) -> list[int]:
        """The cases where large logits, and nothing else, give NaN or infinity."""
        elsewhere: set[Any] = set().union(*(self._broken(i) for i, c in enumerate(self.cases) if c.name != OVERFLOW))
        return [i for i, c in enumerate(self.cases) if c.name == OVERFLOW and self._broken(i) - elsewhere]

    def _broken(self, i: int) -> set[Any]:
        """The leaves, and "loss", that are not finite in a case."""
        leaves = {(k, f) for k, f in self.leaves if not np.isfinite(self.observed[i][k].get(f, 0.0)).all()}
        loss = self.answers[i].loss
        return leaves if loss is None or np.isfinite(loss) else leaves | {"loss"}

    def _non_finite(self) -> dict[tuple[int, str], list[int]]:
        """Per leaf, the cases where it is not finite without such an excuse; they are taken out of `observed`."""
        found: dict[tuple[int, str], list[int]] = {}
        for i in range(len(self.cases)):
            for k, field in self.leaves:
                leaf = self.observed[i][k].get(field)
                if leaf is not None and not np.isfinite(leaf).all():
                    if i not in self.overflows:
                        found.setdefault((k, field), []).append(i)
                    del self.observed[i][k][field]
        return found

    # -- holding it against a purpose --------------------------------------------------------------------------

    def _limit(self, i: int, k: int, field: str, dtype: str) -> float:
        truth = self.truths[i]
        return TOLERANCE[dtype] + 50 * EPSILON[dtype] * truth.drift[k][field] / (truth.size[k][field] or 1.0)

    def _error(self, i: int, k: int, field: str, true: np.ndarray) -> float:
        distance = float(np.linalg.norm(self.observed[i][k][field] - true))
        size = self.truths[i].size[k][field]
        return distance / size if size else (np.inf if distance else 0.0)

    def _errors(self, purpose: Purpose) -> dict[tuple[int, int, str], float]:
        """Relative error by (case, layer, field)."""
        errors = {}
        for i, (case, truth) in enumerate(zip(self.cases, self.truths, strict=True)):
            true = objectives.gradient(case, truth, purpose.objectives[i])
            for k, field in self.leaves:
                if field in self.observed[i][k] and i not in self.overflows:
                    errors[i, k, field] = self._error(i, k, field, true[k][field])
        return errors

    def _settle_dtype(self, errors: dict[tuple[int, int, str], float]) -> None:
        """float64 results that are only as exact as float32, all of them, were computed in float32."""
        if self.dtype != "float64" or all(e <= self._limit(*at, "float64") for at, e in errors.items()):
            return
        ordinary = [e for (i, _, _), e in errors.items() if self.cases[i].name in ("plain", "large batch")]
        if min(ordinary, default=0) > 1e-12 and all(e <= self._limit(*at, "float32") for at, e in errors.items()):
            self.dtype = "float32"
            self.notes.append("its results are float64, but only as exact as float32, and are judged as such")

    def _judge(self, purpose: Purpose, mismatch: bool) -> Judgement:
        errors = self._errors(purpose)
        self._settle_dtype(errors)
        if all(e <= self._limit(*at, self.dtype) for at, e in errors.items()):
            return Judgement(purpose, frozenset(), False, mismatch)
        used = [i for i in range(len(self.cases)) if i not in self.overflows]
        situations = [
            Situation(self.cases[i], self.truths[i], self.observed[i], purpose.objectives[i]) for i in used
        ]
        found = _told(diagnose(situations, FIT_TOLERANCE[self.dtype]))
        if not found:  # too far off for rounding, too close for any mistake on the list
            wrong = [(k, f) for (i, k, f), e in errors.items() if e > self._limit(i, k, f, self.dtype)]
            found = frozenset({Mistake("unknown", *max(wrong))})
        return Judgement(purpose, found, True, mismatch)

    def _judgements(self) -> list[Judgement]:
        """Under every purpose that the candidate's loss allows, likeliest first."""
        losses = [answer.loss for answer in self.answers]
        known = [i for i in range(len(losses)) if i not in self.overflows]
        chosen = "full" if self.convention == "auto" else self.convention
        base = objectives.j_tilde(self.cases, chosen)
        if any(losses[i] is None or not np.isfinite(losses[i] or 0.0) for i in known):
            return [self._judge(base, False)]
        values = [float(losses[i] or 0.0) for i in known]

        def among(purpose: Purpose) -> Purpose:
            return replace(purpose, objectives=tuple(purpose.objectives[i] for i in known))

        cases, truths = [self.cases[i] for i in known], [self.truths[i] for i in known]
        if objectives.agrees(among(base), cases, truths, values, self.dtype):
            return [self._judge(base, False)]
        judged = [self._judge(base, True)]
        other = objectives.j_tilde(self.cases, "half" if chosen == "full" else "full")
        if objectives.agrees(among(other), cases, truths, values, self.dtype):
            return [*judged, self._judge(other, False)] if self.convention == "auto" else judged
        own = objectives.fit(cases, truths, values, self.dtype)
        if own is None and judged[0].wrong and self._own_slope_is_right():
            return [judged[0]._replace(mistakes=frozenset(), wrong=False, own=True)]
        if own is not None:
            pairs = iter(own.objectives)
            whole = [next(pairs) if i in known else base.objectives[i] for i in range(len(self.cases))]
            judged.append(self._judge(replace(own, objectives=tuple(whole)), True))
        return judged

    def _own_slope_is_right(self) -> bool | None:
        """Whether the gradient is that of the candidate's own loss, by central differences; None without a loss.

        Directions are random; the step balances truncation and rounding, and the tolerance is what it leaves.
        """
        i = next((i for i, case in enumerate(self.cases) if case.name in ("plain", "equal dimensions")), None)
        if i is None or self.answers[i].loss is None:
            return None
        case, rng = self.cases[i], np.random.default_rng(0)
        step = EPSILON[self.dtype] ** (1 / 3)
        for k, field in self.leaves:
            if field not in self.observed[i][k]:
                return False
            leaf = getattr(case.params[k], field)
            direction = rng.normal(size=leaf.shape) * max(float(np.abs(leaf).mean()), 1e-3)
            losses = []
            for sign in (1, -1):
                layer = case.params[k]._replace(**{field: leaf + sign * step * direction})
                moved = case._replace(params=(*case.params[:k], layer, *case.params[k + 1 :]))
                losses.append(self.asked.ask([Question(moved, self.truths[i].masks)])[0].loss)
            if None in losses:
                return None
            slope = (losses[0] - losses[1]) / (2 * step)
            expected = float((self.observed[i][k][field] * direction).sum())
            if not abs(slope - expected) <= 100 * EPSILON[self.dtype] ** (2 / 3) * max(abs(losses[0]), abs(slope)):
                return False
        return True

    # -- the report --------------------------------------------------------------------------------------------

    def _best(self) -> tuple["Check", Judgement]:
        """The judgement that leaves the least to explain, also for the arguments as the candidate left them."""
        judged = min(self._judgements(), key=lambda j: j.price)
        changed = [i for i, answer in enumerate(self.answers) if answer.mutated]
        if not changed or not judged.price:
            return self, judged
        left = copy.copy(self)
        left.cases, left.truths, left.notes = list(self.cases), list(self.truths), list(self.notes)
        for i in changed:
            after = self.answers[i].after or self.cases[i]
            try:
                left.cases[i] = self.cases[i]._replace(params=after.params, x=after.x, y=after.y)
                left.truths[i] = evaluate(left.cases[i])
            except (UserError, TypeError, ValueError):
                return self, judged
        other = min(left._judgements(), key=lambda j: j.price)
        return (left, other) if other.price < judged.price else (self, judged)

    def report(self) -> Report:
        """Everything that was found."""
        check, judged = self._best()
        mistakes = set(judged.mistakes) | check._whole_mistakes()
        findings = check._findings(mistakes, judged)
        errors = check._errors(objectives.j_tilde(check.cases, "full") if judged.purpose.own else judged.purpose)
        mismatch = (judged.purpose.own or judged.own) and judged.mismatch
        rows = [check._row(k, field, errors, mistakes, judged, mismatch) for k, field in check.leaves]
        return Report(self.asked.name, tuple(rows), tuple(findings), tuple(check._all_notes(judged, findings)), self.total)

    def _whole_mistakes(self) -> set[Mistake]:
        """Shapes and values that are no numbers; what the latter spoil further down is not told again."""
        found = set(self.shape_mistakes)
        if self.non_finite:
            top = max(k for k, _ in self.non_finite)
            found |= {Mistake("non_finite", k, field) for k, field in self.non_finite if k == top}
        return found

    def _findings(self, mistakes: set[Mistake], judged: Judgement) -> list[Finding]:
        layers = len(self.cases[0].params)
        findings = []
        if judged.mismatch:
            findings.append(finding("loss_mismatch", "J~", (), self._about_the_loss(judged)))
        for code in MISTAKES:
            places = sorted((m for m in mistakes if m.code == code), key=lambda m: -m.layer)
            if places:
                where = dict.fromkeys(equation(m, layers) for m in places)
                leaves = dict.fromkeys(name for m in places for name in self._names(m))
                details = {self.shape_notes.get((m.layer, m.place), "") for m in places} - {""}
                findings.append(finding(code, ", ".join(where), tuple(leaves), "; ".join(sorted(details))))
        if any("loss" in self._broken(i) for i in range(len(self.cases)) if i not in self.overflows):
            findings.append(finding("non_finite", "J~", (), "in the loss"))
        if self.overflows:
            findings.append(finding("softmax_unstable", "4", ()))
        changed = dict.fromkeys(name for answer in self.answers for name in answer.mutated)
        if changed:
            findings.append(finding("mutates_input", "-", (), f"it changes {' and '.join(changed)}"))
        if self.failed and not any(not f.remark for f in findings):
            findings.append(finding("unknown", "-", (), f"it fails: {self.failed[0][1]}"))
        return findings

    def _names(self, mistake: Mistake) -> list[str]:
        if mistake.place not in ("delta", "all"):
            return [self.asked.leaf_name(mistake.layer, mistake.place)]
        every = mistake.place == "all"
        return [
            self.asked.leaf_name(k, field)
            for k, field in self.leaves
            if every or (k == mistake.layer and (field in ("w", "b") or mistake.code not in NORM_CODES))
        ]

    def _about_the_loss(self, judged: Judgement) -> str:
        text = f": it is {judged.purpose.text}" if judged.purpose.own else ""
        if judged.own or (judged.purpose.own and not judged.wrong):
            return f"right for your loss, but your loss is not J~{text}"
        if not judged.wrong:
            return "the gradient is that of J~, so it is wrong for your own loss"
        return f"your loss is not J~{text}, and the gradient is wrong for your own loss too"

    def _row(
        self,
        k: int,
        field: str,
        errors: dict[tuple[int, int, str], float],
        mistakes: set[Mistake],
        judged: Judgement,
        mismatch: bool,
    ) -> LeafRow:
        """The leaf's worst case, relative to its tolerance; cases that a remark explains do not count."""
        layers = len(self.cases[0].params)
        name, number = self.asked.leaf_name(k, field), leaf_equation(k, field, layers)
        here = [m for m in mistakes if m.layer == k and m.place in (field, "delta", "all")]
        codes = tuple(code for code in MISTAKES if code in {m.code for m in here})
        above = {m.code for m in mistakes if m.layer > k and m.place in ("delta", "all")}
        remarks = {m.code for m in mistakes} & {c for c, text in MISTAKES.items() if text.remark}
        counted = {
            i: e for (i, j, f), e in errors.items()
            if (j, f) == (k, field) and not (self.cases[i].name == KINK and "mask_at_zero" in remarks)
        }  # fmt: skip
        limits = {i: self._limit(i, k, field, self.dtype) for i in counted}
        shape = [m for m in self.shape_mistakes if (m.layer, m.place) == (k, field)]
        bad = bool(shape) or (k, field) in self.non_finite or any(not e <= limits[i] for i, e in counted.items())
        follows = tuple(c for c in MISTAKES if c in above and bad and not MISTAKES[c].remark)
        if mismatch and bad and not codes:
            follows = ("loss_mismatch", *follows)
        verdict = "FAIL" if bad else "PASS"
        if not counted:
            return LeafRow(name, number, None, TOLERANCE[self.dtype], (), None, None, None, "", verdict, codes, follows)
        i = max(counted, key=lambda i: counted[i] / limits[i])
        purpose = objectives.j_tilde(self.cases, "full") if judged.purpose.own else judged.purpose
        true = objectives.gradient(self.cases[i], self.truths[i], purpose.objectives[i])[k][field]
        mine = self.observed[i][k][field]
        index = np.unravel_index(int(np.argmax(np.abs(mine - true))), true.shape)
        norms = float(np.linalg.norm(mine) * np.linalg.norm(true))
        return LeafRow(
            name, number, counted[i], limits[i], tuple(map(int, index)), float(mine[index]), float(true[index]),
            float((mine * true).sum()) / norms if norms else None, self.cases[i].describe(), verdict, codes, follows,
        )  # fmt: skip

    def _all_notes(self, judged: Judgement, findings: list[Finding]) -> list[str]:
        notes = [*self.notes]
        if self.dtype != "float64":
            notes.append(f"judged as {self.dtype}: relative errors up to {TOLERANCE[self.dtype]:.0e} are rounding")
        half = judged.purpose.objectives[0].weights and judged.purpose == objectives.j_tilde(self.cases, "half")
        if half and self.convention == "auto":
            notes.append("loss and gradient agree on the penalty lambda/2 ||W||^2: a convention, not a mistake")
        for case, error in self.failed:
            notes.append(f"it fails in the case {case.describe()}: {error}")
        return notes


NORM_CODES = ("bn_scale_dropped", "bn_mean_term_dropped", "bn_variance_term_dropped")


def _told(mistakes: frozenset[Mistake]) -> frozenset[Mistake]:
    """Where a whole layer is unexplained, nothing can be said of the layers below it."""
    whole = [m.layer for m in mistakes if m.code == "unknown" and m.place == "b"]
    whole = [k for k in whole if Mistake("unknown", k, "w") in mistakes]
    kept = [m for m in mistakes if not whole or m.layer >= max(whole)]
    wrong_masks = {m.layer for m in kept if m.code in ("mask_missing", "mask_wrong_tensor", "mask_without_bias")}
    # what a wrong mask is at 0 is no convention
    return frozenset(m for m in kept if m.code != "mask_at_zero" or m.layer not in wrong_masks)
