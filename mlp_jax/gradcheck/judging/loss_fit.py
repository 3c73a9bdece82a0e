"""Which function is the returned loss? J~, J~ with another penalty, or another loss or network (`variants`)."""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck.judging import variants
from mlp_jax.gradcheck.judging.own_loss import Fitted, Own
from mlp_jax.gradcheck.judging.variants import Variant
from mlp_jax.gradcheck.objective import LOSS_TOLERANCE, SMALL, inexact, square, square_of_biases
from mlp_jax.gradcheck.other_losses import LOSSES
from mlp_jax.gradcheck.truth import Case, Truth
from mlp_jax.nn.config import MLPConfig

CLOSE = 1e-9  # how well float64 losses agree with the function that they are the values of
DIGITS = {"float64": 7, "float32": 3, "float16": 1, "bfloat16": 1}
MOST_FACTOR = 1e4  # that may stand before a data loss
POWERS = ((0, 0), (1, 0), (-1, 0), (0, -1), (1, -1))  # of the examples and of the classes


class _Losses:
    """The returned losses beside what they may be made of; rows are divided by what is tolerated in them."""

    def __init__(self, told: Sequence[tuple[Case, Truth, float]], dtype: str) -> None:
        self.told, self.dtype = told, dtype
        self.cases = [case for case, _, _ in told]
        y = np.array([loss for _, _, loss in told])
        self.row = 1 / (np.maximum(SMALL, np.abs(y)) * np.array([inexact(truth) for _, truth, _ in told]))
        self.y = y * self.row
        self.sizes = np.array([[float(len(c.y)), float(c.config.classes)] for c in self.cases])
        self.layers = len(self.cases[0].params)
        self.penalties = [self._penalties(each, over_n) for each in (False, True) for over_n in (False, True)]
        self.scores = variants.Scores([(case, truth) for case, truth, _ in told])
        self.rows = dict[Any, list[_Rows]]()  # by the options of a variant
        self.columns = dict[tuple[Variant, tuple[int, int]], np.ndarray]()

    def _penalties(self, each: bool, over_n: bool) -> "_Penalties":
        """Not lambda and lambda/N at once: nearly all cases have one N."""
        squares = np.array([[square(layer.w) for layer in case.params] for case in self.cases])
        total = squares.sum(axis=1, keepdims=True)
        l2, n = np.array([[case.l2] for case in self.cases]), self.sizes[:, :1] if over_n else 1.0
        biases = np.array([[square_of_biases(case)] for case in self.cases])
        columns = np.hstack([l2 * (squares if each else total), total, l2 * biases]) / n
        return _Penalties(columns, over_n, self._across(columns))

    def _data(self, variant: Variant) -> np.ndarray:
        """The variant's mean data loss in every case."""
        if variant.options not in self.rows:
            self.rows[variant.options] = _rows(self.scores.of(variant), [case.y for case in self.cases])
        means = np.zeros(len(self.cases))
        for rows in self.rows[variant.options]:
            with np.errstate(all="ignore"):
                losses = LOSSES[variant.loss](np, rows.scores, rows.labels)
                means[rows.cases] = np.add.reduceat(losses, rows.starts) / self.sizes[rows.cases, 0]
        return means

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
        if (variant, powers) not in self.columns:
            scale = (self.sizes ** np.array(powers, float)).prod(axis=1) * self.row
            self.columns[variant, powers] = self._data(variant) * scale
        return self.columns[variant, powers]

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
        return Fitted(data, *powers, terms, constant, biases, penalties.over_n)


class _Rows(NamedTuple):
    """The examples of all cases with one number of scores, one below another; `starts` says where each begins."""

    cases: list[int]
    starts: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def _rows(scores: list[np.ndarray], labels: list[np.ndarray]) -> list[_Rows]:
    found = list[_Rows]()
    for width in sorted({each.shape[1] for each in scores}):
        cases = [i for i, each in enumerate(scores) if each.shape[1] == width]
        starts = np.cumsum([0, *(len(labels[i]) for i in cases[:-1])])
        one_below_another = (np.concatenate([arrays[i] for i in cases]) for arrays in (scores, labels))
        found.append(_Rows(cases, starts, *one_below_another))
    return found


class _Penalties(NamedTuple):
    """Columns: lambda ||W||^2 (the sum, or of every layer), ||W||^2, lambda ||b||^2.

    over_n: they are divided by N. basis: orthonormal, of the columns' rows as they are weighted.
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
        found += [(v, (1, 0)) for v in others]
        found += [(v._replace(loss=name), (0, 0)) for v in others for name in names]
    return found
