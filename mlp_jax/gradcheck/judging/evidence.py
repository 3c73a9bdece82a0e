"""A candidate's answers beside the truth: what has no number or no fitting shape, and how far off the rest is."""

import copy
import re
from collections.abc import Sequence

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import objective
from mlp_jax.gradcheck.battery import KINK, OVERFLOW, evaluated
from mlp_jax.gradcheck.judging.variants import Variant
from mlp_jax.gradcheck.mistakes.situation import Mistake
from mlp_jax.gradcheck.objective import Purpose
from mlp_jax.gradcheck.reading.answers import DTYPES, Answer, Asked, Question
from mlp_jax.gradcheck.truth import Case, Leaves, Truth, evaluate
from mlp_jax.nn.config import MLPConfig

# relative error that rounding may cause in a well-conditioned case; `Evidence.limit` adds what a case's own does
TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "float16": 5e-2, "bfloat16": 2e-1}
EPSILON = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
LARGEST = {"float64": 700.0, "float32": 85.0, "float16": 10.0, "bfloat16": 85.0}  # whose exp is finite
NORMALIZED = 10
NOTHING = 1e-9  # what the sum of the derivatives by all scores is, but for rounding errors
ROUNDING = 50  # how much more than the inputs' own rounding errors a sum of products may gather

At = tuple[int, int, str]  # case, layer, field


class Evidence:
    """These are the candidate's answers to the battery of one network.

    observed: its leaves in the parameters' shapes, without those that are not finite or cannot have that shape.
    shapes: what is wrong with the shapes, with a word on it. overflows: the cases whose large logits, and nothing
    else, made something infinite. non_finite: (layer, field) of leaves that are not finite elsewhere. has_state:
    the first question, asked again, has another answer.

    Raises UserError if the candidate failed in every case, or all it gives is a penalty's.
    """

    def __init__(self, asked: Asked, config: MLPConfig, seed: int, scale: float) -> None:
        cases, truths = zip(*evaluated(config, seed=seed, scale=scale), strict=True)
        questions = [Question(case, truth.masks) for case, truth in zip(cases, truths, strict=True)]
        # the first once more behind another, where what is kept from call to call shows
        answers = list(asked.ask([*questions[:2], questions[0], *questions[2:]]))
        again = answers.pop(2)
        kept = [i for i, answer in enumerate(answers) if answer.leaves is not None]
        if not kept:
            raise UserError(f"{asked.name} gives no gradient: {answers[-1].error}")
        self.asked, self.total = asked, len(cases)
        of_data = [layer for i in kept if not cases[i].l2 for layer in answers[i].leaves or []]
        if of_data and not any(leaf.any() for layer in of_data for leaf in layer.values()):
            raise UserError(f"{asked.name} is not written yet: all its gradients are 0 where lambda is 0")
        failed = [(case, a.error or "") for case, a in zip(cases, answers, strict=True) if a.leaves is None]
        self.raises_overflow = any(case.name == OVERFLOW and _is_overflow(error) for case, error in failed)
        self.failed = [pair for pair in failed if not (pair[0].name == OVERFLOW and _is_overflow(pair[1]))]
        self.cases: list[Case] = [cases[i] for i in kept]
        self.truths: list[Truth] = [truths[i] for i in kept]
        self.answers: list[Answer] = [answers[i] for i in kept]
        self.leaves = [(k, field) for k, layer in enumerate(truths[0].grads) for field in layer]
        self.dtypes = {
            at: min((a.dtypes.get(at, "float64") for a in self.answers), key=DTYPES.index) for at in self.leaves
        }
        self.dtype = min(self.dtypes.values(), key=DTYPES.index)
        self.float32_inside = self.labels_from_1 = False
        self.has_state = not _same(answers[0], again, TOLERANCE[self.dtype])
        self._observe()

    def _observe(self) -> None:
        """Looks at the answers: what has a fitting shape and is finite, and what has not."""
        self.observed: list[Leaves] = [[dict(layer) for layer in answer.leaves or []] for answer in self.answers]
        self.shapes = {m: note for k, field in self.leaves for m, note in self._shape(k, field)}
        self.overflows, self.non_finite, self.loss_is_finite = self._numbers()

    def _shape(self, k: int, field: str) -> list[tuple[Mistake, str]]:
        """Brings a leaf into its parameter's shape in every case, and says what was wrong with it."""
        pairs = [
            (leaves[k].get(field), t.grads[k][field].shape)
            for leaves, t in zip(self.observed, self.truths, strict=True)
        ]
        wrong = [(found, true) for found, true in pairs if found is None or found.shape != true]
        if not wrong:
            return []
        numbers = [found for found, true in wrong if found is not None and found.size == 1 < np.prod(true)]
        if field != "w" and len(numbers) == len(wrong) and max(np.abs(n).max() for n in numbers) > NOTHING:
            for leaves, (_, shape) in zip(self.observed, pairs, strict=True):  # the sum of everything, say
                leaves[k][field] = np.broadcast_to(leaves[k][field].ravel(), shape).copy()
            return [(Mistake("wrong_shape", k, field), f"{numbers[0].shape} in place of {wrong[0][1]}")]
        if all(found is not None and found.shape == true[::-1] for found, true in wrong):
            for leaves in self.observed:  # then also where the shape does not show it
                leaves[k][field] = leaves[k][field].T
            return [(Mistake("transpose", k, field), "")]
        sizes_fit = all(found is not None and found.size == np.prod(true) for found, true in wrong)
        for leaves, (found, true) in zip(self.observed, pairs, strict=True):
            if found is not None and found.size == np.prod(true):
                leaves[k][field] = leaves[k][field].reshape(true)
            elif found is not None:
                del leaves[k][field]
        lines = [found is not None and true in (found.shape[1:], found.shape[:1]) for found, true in wrong]
        found, true = next((pair for pair in wrong if pair[0] is None), wrong[0])
        note = "it is missing" if found is None else f"{found.shape} in place of {true}"
        return [(Mistake("bias_shape" if sizes_fit and all(lines) else "wrong_shape", k, field), note)]

    def _numbers(self) -> tuple[list[int], set[tuple[int, str]], bool]:
        """Takes leaves that are not finite out of `observed`; large logits excuse them in their own cases."""
        broken = [self._broken(i) for i in range(len(self.cases))]
        large = [float(np.abs(truth.trace.logits).max()) > LARGEST[self.dtype] for truth in self.truths]
        elsewhere = set.intersection(*broken)  # what is never a number has no excuse
        elsewhere = elsewhere.union(*(m for m, excused in zip(broken, large, strict=True) if not excused))
        overflows = [i for i, missing in enumerate(broken) if large[i] and missing - elsewhere]
        for leaves, missing in zip(self.observed, broken, strict=True):
            for k, field in missing - {LOSS}:
                del leaves[k][field]
        return overflows, elsewhere - {LOSS}, LOSS not in elsewhere

    def _broken(self, i: int) -> set[tuple[int, str]]:
        """The leaves that are not finite in a case; LOSS if the loss is not."""
        found = {(k, f) for k, f in self.leaves if not np.isfinite(self.observed[i][k].get(f, 0.0)).all()}
        loss = self.answers[i].loss
        told = loss is not None and objective.tells(self.cases[i], self.truths[i])
        return found | {LOSS} if told and not np.isfinite(loss or 0.0) else found

    def dtype_of(self, k: int, field: str) -> str:
        """The dtype that a leaf is judged by: its own, or float32 where others are, for that mixes unnoticed."""
        own = self.dtypes[k, field]
        return "float32" if own == "float64" and self.float32 else own

    @property
    def float32(self) -> bool:
        """Whether some results are, or were computed in, float32."""
        return self.float32_inside or "float32" in self.dtypes.values()

    def limit(self, i: int, k: int, field: str, dtype: str = "") -> float:
        """The relative error up to which a leaf counts as right in a case."""
        dtype, truth = dtype or self.dtype_of(k, field), self.truths[i]
        size = truth.size[k][field] or 1.0
        # a constant column is divided by sqrt(norm_eps), and so is the rounding error of its mean
        normalized = NORMALIZED if self.cases[i].config.has_running_stats else 1.0
        return normalized * TOLERANCE[dtype] + ROUNDING * EPSILON[dtype] * truth.drift[k][field] / size

    def rounding(self, i: int) -> list[dict[str, float]]:
        """Per leaf, the norm of the error up to which it counts as right in a case."""
        sizes = self.truths[i].size
        return [{f: size * self.limit(i, k, f) for f, size in layer.items()} for k, layer in enumerate(sizes)]

    def errors(self, purpose: Purpose) -> dict[At, float]:
        """Returns relative error by (case, layer, field), without the cases that overflow."""
        errors = {}
        for i, (case, truth) in enumerate(zip(self.cases, self.truths, strict=True)):
            true = objective.gradient(case, truth, purpose.objectives[i])
            for k, field in self.leaves:
                if field in self.observed[i][k] and i not in self.overflows:
                    distance = float(np.linalg.norm(self.observed[i][k][field] - true[k][field]))
                    size = truth.size[k][field]
                    errors[i, k, field] = distance / size if size else (np.inf if distance else 0.0)
        return errors

    def wrong(self, errors: dict[At, float], dtype: str = "") -> list[At]:
        """Where the error is over its limit."""
        return [at for at, error in errors.items() if not error <= self.limit(*at, dtype)]

    def losses(self) -> list[tuple[int, float]] | None:
        """(case, loss) of the cases whose loss can tell; None if the candidate returns none, or one not finite."""
        returned = [answer.loss for answer in self.answers if answer.loss is not None]
        if len(returned) < len(self.answers):
            return None
        found = [
            (i, loss)
            for i, loss in enumerate(returned)
            if i not in self.overflows and objective.tells(self.cases[i], self.truths[i])
        ]
        return found if np.isfinite([loss for _, loss in found]).all() else None

    def under(self, variant: Variant) -> "Evidence":
        """Returns the same answers, held against the truth about another network or loss."""
        if variant == Variant():
            return self
        return self.against(
            [case._replace(config=variant.at(case.config), loss=variant.loss) for case in self.cases]
        )

    def against(self, cases: Sequence[Case]) -> "Evidence":
        """Returns the same answers, held against the truth about other cases, one for each of these."""
        other = copy.copy(self)
        other.cases, other.truths = list(cases), evaluate(*cases)
        return other

    def with_labels_from_1(self) -> "Evidence":
        """Returns the same answers, of a candidate that takes the label 1 for the first class."""
        other = self.against([case._replace(y=(case.y - 1) % case.config.classes) for case in self.cases])
        other.labels_from_1 = True
        return other

    def of(self, cases: list[Case], truths: list[Truth], answers: list[Answer]) -> "Evidence":
        """Returns other answers, to other cases, in the place of these."""
        other = copy.copy(self)
        other.cases, other.truths, other.answers = cases, truths, answers
        other._observe()
        return other

    def restricted(
        self, *, cases: Sequence[int] | None = None, leaves: Sequence[tuple[int, str]] | None = None
    ) -> "Evidence":
        """Returns what is left of the evidence with some of the cases, by number, or some of the leaves alone."""
        other, kept = copy.copy(self), range(len(self.cases)) if cases is None else cases
        other.cases, other.truths = [self.cases[i] for i in kept], [self.truths[i] for i in kept]
        other.answers = [self.answers[i] for i in kept]
        if leaves is not None:
            other.leaves = list(leaves)
            other.dtype = min((self.dtypes[at] for at in leaves), key=DTYPES.index)
        other._observe()
        return other

    def with_inputs_as_left(self) -> "Evidence | None":
        """The same answers, held against the arguments as the candidate left them; None if it left them alone."""
        changed = [(i, a.after) for i, a in enumerate(self.answers) if a.mutated and a.after is not None]
        if not changed:
            return None
        other = copy.copy(self)
        other.cases, other.truths = list(self.cases), list(self.truths)
        for i, after in changed:
            case = self.cases[i]._replace(params=after.params, x=after.x, y=after.y)
            try:
                other.cases[i], other.truths[i] = case, evaluate(case)[0]
            except (UserError, TypeError, ValueError):  # no longer a batch for this network
                return None
        return other


def _same(first: Answer, second: Answer, tolerance: float) -> bool:
    """Whether two answers have the same leaves, but for rounding; what is not finite says nothing."""
    if (first.leaves is None) != (second.leaves is None):
        return False
    pairs = zip(first.leaves or [], second.leaves or [], strict=False)
    both = [(leaf, b[f]) for a, b in pairs for f, leaf in a.items() if f in b and b[f].shape == leaf.shape]
    finite = [(a, b) for a, b in both if np.isfinite(a).all() and np.isfinite(b).all()]
    return all(np.linalg.norm(a - b) <= tolerance * np.linalg.norm(a) for a, b in finite)


def _is_overflow(error: str) -> bool:
    """Whether an exception says that a number was too large."""
    return re.search("OverflowError|FloatingPointError|math (range|domain) error", error) is not None


LOSS, ORDINARY = (-1, "loss"), ("plain", "large batch", "equal dimensions")


def explained_by_remarks(case: Case, codes: Sequence[str]) -> bool:
    """Whether a remark is all that is to say about a case."""
    return case.name == KINK and "mask_at_zero" in codes
