"""Which function is the returned loss? J~, J~ with another penalty, or another loss or network (`variants`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np

from mlp_jax.gradcheck import variants
from mlp_jax.gradcheck.ops import softmax
from mlp_jax.gradcheck.other_losses import LOSSES, PLAIN, behind
from mlp_jax.gradcheck.truth import Case, Leaves, Truth, one_hot
from mlp_jax.gradcheck.variants import Variant
from mlp_jax.nn.config import MLPConfig

LOSS_TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-2}
CLOSE = 1e-9  # how well float64 losses agree with the function that they are the values of
DIGITS = {"float64": 7, "float32": 3, "float16": 1, "bfloat16": 1}
CONVENTIONS = {"full": 1.0, "half": 0.5}
OBJECTIVES = ("auto", "report")
FULL, HALF = "J~", "J~ with lambda/2 ||W||^2"
SMALL = 1e-3  # losses below this are compared absolutely
MOST_FACTOR = 1e4  # that may stand before a data loss
POWERS = ((0, 0), (1, 0), (-1, 0), (0, -1), (1, -1))  # of the examples and of the classes


class Objective(NamedTuple):
    """data * mean data loss + sum_k weights[k] ||W_k||^2 + biases ||b||^2, in one case.

    J~ has data = 1, weights[k] = lambda and biases = 0.
    """

    data: float
    weights: tuple[float, ...]
    biases: float


class Purpose(NamedTuple):
    """What a gradient may be meant for: an objective for every case, and its name."""

    objectives: tuple[Objective, ...]
    text: str


def j_tilde(cases: Sequence[Case], convention: str) -> Purpose:
    """J~ with the penalty lambda ||W||^2 ("full") or lambda/2 ||W||^2 ("half")."""
    factor = CONVENTIONS[convention]
    objectives = [Objective(1.0, (factor * case.l2,) * len(case.params), 0.0) for case in cases]
    return Purpose(tuple(objectives), FULL if convention == "full" else HALF)


def value(case: Case, truth: Truth, objective: Objective) -> float:
    """The objective's value in a case."""
    weights = sum(c * _square(layer.w) for c, layer in zip(objective.weights, case.params, strict=True))
    return objective.data * truth.data_loss + weights + objective.biases * _biases(case)


def gradient(case: Case, truth: Truth, objective: Objective) -> Leaves:
    """The objective's gradient in a case, from that of J~."""
    leaves: Leaves = []
    for layer, grads, weight in zip(case.params, truth.grads, objective.weights, strict=True):
        scaled = {field: objective.data * leaf for field, leaf in grads.items()}
        scaled["w"] = objective.data * (grads["w"] - 2 * case.l2 * layer.w) + 2 * weight * layer.w
        scaled["b"] = scaled["b"] + 2 * objective.biases * layer.b
        leaves.append(scaled)
    return leaves


def agrees(case: Case, truth: Truth, objective: Objective, loss: float, tolerance: float) -> bool:
    """Whether a loss is the objective's value, to a relative tolerance."""
    expected = value(case, truth, objective)
    return abs(loss - expected) <= tolerance * _inexact(truth) * max(SMALL, abs(expected))


def tells(case: Case, truth: Truth) -> bool:
    """Whether the loss can be compared: -log(psi) of a psi that underflows is another matter."""
    return float((softmax(truth.trace.logits) * one_hot(case)).sum(axis=1).min()) > 1e-30


def _inexact(truth: Truth) -> float:
    return max(1.0, 1e-6 * float(np.abs(truth.trace.logits).max()))


@dataclass(frozen=True)
class Fitted:
    """a N^examples C^classes * mean data loss, and a penalty.

    The penalty: sum_k (lambda weights[k] + lambda/N over_n[k] + constant) ||W_k||^2
    + (lambda biases + lambda/N biases_over_n) ||b||^2.
    """

    data: float = 1.0
    examples: int = 0
    classes: int = 0
    weights: tuple[float, ...] = ()
    over_n: tuple[float, ...] = ()
    constant: float = 0.0
    biases: float = 0.0
    biases_over_n: float = 0.0

    def at(self, case: Case) -> Objective:
        """The objective in a case."""
        n = float(len(case.y))
        weights = tuple(
            case.l2 * (w + over / n) + self.constant for w, over in zip(self.weights, self.over_n, strict=True)
        )
        data = self.data * n**self.examples * float(case.config.classes) ** self.classes
        return Objective(data, weights, case.l2 * (self.biases + self.biases_over_n / n))

    def text(self, loss: str, mean: bool) -> str:
        """The function in words; mean: whether it has the factor 1 and is the mean over the examples."""
        kind = {0: "mean", 1: "sum", -1: "mean divided by N"}[self.examples]
        kind += " over the examples and classes" if self.classes else " over the examples"
        factor = "" if mean or _one(self.data) else f"{self.data:.4g} times the "
        parts = [f"{factor}{kind} of the {loss}", *self._terms("lambda", self.weights, self.biases)]
        parts += self._terms("lambda/N", self.over_n, self.biases_over_n)
        parts += [f"{self.constant:.4g} ||W||^2 whatever lambda is"] if self.constant else []
        return " + ".join(parts)

    def _terms(self, unit: str, weights: tuple[float, ...], biases: float) -> list[str]:
        terms = [(w, f"||W{k}||^2") for k, w in enumerate(weights, start=1)]
        if len(set(weights)) == 1:
            terms = [(weights[0], "||W||^2")]
        terms.append((biases, "||b||^2"))
        return [f"{'' if _one(factor) else f'{factor:.4g} '}{unit} {what}" for factor, what in terms if factor]

    @property
    def penalty_code(self) -> str:
        """The remark on the penalty of the weights; "" if it is lambda ||W||^2."""
        common = len(set(self.weights)) == len(set(self.over_n)) == 1 and not self.constant
        if not any((*self.weights, *self.over_n, self.constant)):
            return "no_penalty"
        if common and not self.over_n[0] and self.weights[0] in (1.0, 0.5):
            return "" if self.weights[0] == 1 else "half_penalty"
        return "penalty_over_n" if common and not self.weights[0] else "other_penalty"


def _one(factor: float) -> bool:
    return abs(factor - 1) < 1e-6


class Own(NamedTuple):
    """The function that the returned losses are the values of."""

    variant: Variant
    fitted: Fitted

    def purpose(self, cases: Sequence[Case]) -> Purpose:
        """What a gradient of it is meant for."""
        return Purpose(tuple(self.fitted.at(case) for case in cases), self.text())

    @property
    def is_j(self) -> bool:
        """Whether it is J~, or what replaces it within the rounding that keeps a log finite."""
        return not self.remarks()

    @property
    def clip(self) -> str:
        """What is added inside the log, or ""."""
        return self.variant.loss.split()[2] if " inside the log" in self.variant.loss else ""

    def text(self) -> str:
        """The function in words."""
        name = self.loss_name()
        network = network_text(self.variant)
        return self.fitted.text(name, False) + (f", of {network}" if network else "")

    def loss_name(self) -> str:
        """The data loss, and what stands on the scores."""
        name, activation = behind(self.variant.loss)
        name = "cross-entropy" if name == PLAIN else name
        return f"{name} behind {activation} on the scores" if activation else name

    def remarks(self) -> list[tuple[str, str]]:
        """(code, detail) for everything in which it is not J~."""
        name, activation = behind(self.variant.loss)
        found = []
        f = self.fitted
        if (name != PLAIN and not self.clip) or f.examples or f.classes or not _one(f.data):
            found.append(("other_loss", f"it is the {f.text(self.loss_name(), False)}"))
        options = dict(self.variant.options)
        if "norm_eps" in options:
            found.append(("bn_eps", network_text(self.variant)))
        elif options:
            found.append(("other_network", f"it is {network_text(self.variant)}"))
        if activation:
            found.append(("other_network", f"there is the activation {activation} on the scores"))
        if f.penalty_code:
            found.append((f.penalty_code, f"the loss is the {f.text(self.loss_name(), False)}"))
        if f.biases or f.biases_over_n:
            found.append(("biases_penalised", f"the loss is the {f.text(self.loss_name(), False)}"))
        return found


def network_text(variant: Variant) -> str:
    """The network in words, or "" if it is the one that was asked for."""
    options = dict(variant.options)
    if "norm_eps" in options:
        place = "outside the root: sqrt(var) + eps" if options.get("eps_place") else "inside the root"
        return f"a network whose normalisation has eps = {options['norm_eps']:.4g} {place}"
    if "inactive" in options:
        return f"a network without an activation in hidden layer {options['inactive'][0] + 1}"
    if "activation" not in options:
        return ""
    name, slope = options["activation"], options["negative_slope"]
    if name == "identity":
        return "a network without an activation in its hidden layers (identity)"
    if name == "leaky_relu":
        option = f"--activation=leaky_relu --negative_slope={slope:.6g}"
        return f"a leaky_relu network with the slope {slope:.6g} ({option})"
    return f"a {name} network (--activation={name})"


class _Losses:
    """The returned losses beside what they may be made of; rows are divided by what is tolerated in them."""

    def __init__(self, told: Sequence[tuple[Case, Truth, float]], dtype: str) -> None:
        self.told, self.dtype = told, dtype
        self.cases = [case for case, _, _ in told]
        y = np.array([loss for _, _, loss in told])
        self.row = 1 / (np.maximum(SMALL, np.abs(y)) * np.array([_inexact(truth) for _, truth, _ in told]))
        self.y = y * self.row
        self.sizes = np.array([[float(len(c.y)), float(c.config.classes)] for c in self.cases])
        self.masks = [[hidden.mask for hidden in truth.trace.hidden] for _, truth, _ in told]
        self.layers = len(self.cases[0].params)
        self.penalties = [self._penalties(each, over_n) for each in (False, True) for over_n in (False, True)]
        self.scores: dict[tuple[tuple[str, object], ...], list[np.ndarray]] = {}
        self.means: dict[Variant, np.ndarray] = {}

    def _penalties(self, each: bool, over_n: bool) -> "_Penalties":
        """Not lambda and lambda/N at once: nearly all cases have one N."""
        squares = np.array([[_square(layer.w) for layer in case.params] for case in self.cases])
        total = squares.sum(axis=1, keepdims=True)
        l2 = np.array([[case.l2] for case in self.cases]) / (self.sizes[:, :1] if over_n else 1.0)
        biases = np.array([[_biases(case)] for case in self.cases])
        columns = np.hstack([l2 * (squares if each else total), total, l2 * biases])
        return _Penalties(columns, over_n, self._across(columns))

    def data(self, variant: Variant) -> np.ndarray:
        """The variant's mean data loss in every case."""
        if variant.options not in self.scores:
            self.scores[variant.options] = [
                variants.scores(case, masks, variant.at(case.config))
                for case, masks in zip(self.cases, self.masks, strict=True)
            ]
        if variant not in self.means:
            loss = LOSSES[variant.loss]
            with np.errstate(all="ignore"):
                pairs = zip(self.scores[variant.options], self.cases, strict=True)
                means = [float(np.mean(loss(np, scores, case.y))) for scores, case in pairs]
            self.means[variant] = np.array(means)
        return self.means[variant]

    def off(self, variant: Variant, penalties: "_Penalties", powers: tuple[int, int]) -> float:
        """The largest relative distance of the losses from the nearest function of this kind."""
        basis, data = penalties.basis, self._column(variant, powers)
        if not np.isfinite(data).all():
            return np.inf
        y, data = self.y - basis @ (basis.T @ self.y), data - basis @ (basis.T @ data)
        size = float(data @ data)
        factor = float(data @ y) / size if size else 0.0
        if not 1 / MOST_FACTOR < factor < MOST_FACTOR:
            return np.inf
        return float(np.abs(y - factor * data).max())

    def _column(self, variant: Variant, powers: tuple[int, int]) -> np.ndarray:
        return np.asarray(self.data(variant) * (self.sizes ** np.array(powers, float)).prod(axis=1) * self.row)

    def _across(self, columns: np.ndarray) -> np.ndarray:
        """An orthonormal basis of the penalties' columns."""
        scaled = columns * self.row[:, None]
        used = scaled[:, np.linalg.norm(scaled, axis=0) > 0]
        u, s, _ = np.linalg.svd(used / np.linalg.norm(used, axis=0), full_matrices=False)
        return np.asarray(u[:, s > 1e-10 * s.max(initial=0.0)])

    def fitted(self, variant: Variant, penalties: "_Penalties", powers: tuple[int, int]) -> Fitted:
        """The numbers of the nearest function, as somebody may have written them."""
        matrix = np.column_stack([self._column(variant, powers), penalties.columns * self.row[:, None]])
        size = np.linalg.norm(matrix, axis=0)
        size[size == 0] = 1
        found = np.linalg.lstsq(matrix / size, self.y, rcond=1e-10)[0] / size
        data, *weights, constant, biases = (_as_written(float(c), self.dtype) for c in found)
        terms = tuple(weights) * (self.layers if len(weights) == 1 else 1)
        none = (0.0,) * self.layers
        if penalties.over_n:
            return Fitted(data, *powers, none, terms, constant, 0.0, biases)
        return Fitted(data, *powers, terms, none, constant, biases, 0.0)


class _Penalties(NamedTuple):
    """Columns: lambda ||W||^2 (the sum, or of every layer), ||W||^2, lambda ||b||^2.

    over_n: lambda/N stands for lambda. basis: orthonormal, of the columns' rows as they are weighted.
    """

    columns: np.ndarray
    over_n: bool
    basis: np.ndarray


def _as_written(number: float, dtype: str) -> float:
    """The number that somebody wrote, as 0.5, 1/3 or 0.0123, without the fit's own rounding."""
    least = {"float64": 1e-5, "float32": 1e-2}.get(dtype, 0.1)
    if abs(number) < least:
        return 0.0
    fraction = float(Fraction(number).limit_denominator(1000 if dtype == "float64" else 10))
    return fraction if abs(fraction - number) < 0.1 * least * abs(number) else float(f"{number:.{DIGITS[dtype]}g}")


def own(told: Sequence[tuple[Case, Truth, float]], config: MLPConfig, dtype: str) -> Own | None:
    """The function that the losses (case, truth, loss) are the values of; None if it is none of these.

    Of two that agree with the losses, the one that has less in which it is not J~ comes first.
    """
    losses, nearly = _Losses(told, dtype), None
    limit = LOSS_TOLERANCE[dtype]
    enough = CLOSE if dtype == "float64" else limit
    for number, penalties in enumerate(losses.penalties):
        if penalties.columns.shape[1] + 3 > len(told):
            continue
        for variant, powers in _tried(config, dtype):
            off = losses.off(variant, penalties, powers)
            if off <= enough:
                return Own(variant, losses.fitted(variant, penalties, powers))
            if off <= limit and nearly is None:
                nearly = variant, penalties, powers
        if dtype == "float64" and number < 2:
            found = variants.nearest(partial(losses.off, penalties=penalties, powers=(0, 0)), config)
            if found is not None and losses.off(found, penalties, (0, 0)) <= enough:
                return Own(found, losses.fitted(found, penalties, (0, 0)))
    return None if nearly is None else Own(nearly[0], losses.fitted(*nearly))


def _tried(config: MLPConfig, dtype: str) -> list[tuple[Variant, tuple[int, int]]]:
    """One deviation first, then two; with few digits, no more than one."""
    plain, *others = variants.networks(config)
    names = list(LOSSES)
    single = [plain._replace(loss=name) for name in names]
    found = [(plain, powers) for powers in POWERS] + [(v, (0, 0)) for v in others]
    found += [(variant, powers) for variant in single for powers in POWERS]
    if dtype == "float64":
        found += [(v._replace(loss=name), (0, 0)) for v in others for name in names]
    return found


def _square(array: np.ndarray) -> float:
    return float((np.asarray(array) ** 2).sum())


def _biases(case: Case) -> float:
    return sum(_square(layer.b) for layer in case.params)
