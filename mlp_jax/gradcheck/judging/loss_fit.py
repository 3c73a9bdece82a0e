"""Which function is the returned loss? J~, J~ with another penalty, or another loss or network (`variants`)."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.gradcheck.judging import variants
from mlp_jax.gradcheck.judging.nearest import nearest
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
AT_ONCE = 64  # functions that are tried at once
Kind = tuple[Variant, tuple[int, int]]  # of a loss, with powers as above


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
        self.means = dict[Variant, np.ndarray]()

    def _penalties(self, each: bool, over_n: bool) -> "_Penalties":
        """Not lambda and lambda/N at once: nearly all cases have one N."""
        squares = np.array([[square(layer.w) for layer in case.params] for case in self.cases])
        total = squares.sum(axis=1, keepdims=True)
        l2, n = np.array([[case.l2] for case in self.cases]), self.sizes[:, :1] if over_n else 1.0
        biases = np.array([[square_of_biases(case)] for case in self.cases])
        columns = np.hstack([l2 * (squares if each else total), total, l2 * biases]) / n
        return _Penalties(columns, over_n, self._across(columns))

    def _learn(self, variants_: Sequence[Variant]) -> None:
        """Finds the mean data loss of variants in every case, those of one kind of loss at once."""
        new = dict.fromkeys(variant for variant in variants_ if variant not in self.means)
        for loss, same in groupby(sorted(new, key=lambda v: v.loss), key=lambda v: v.loss):
            kind = list(same)
            means = np.zeros((len(kind), len(self.cases)))
            for of_one_width in zip(*map(self._rows_of, kind), strict=True):
                first = of_one_width[0]
                scores = np.concatenate([rows.scores for rows in of_one_width])
                with np.errstate(all="ignore"):
                    losses = LOSSES[loss](np, scores, np.tile(first.labels, len(kind))).reshape(len(kind), -1)
                    sums = np.add.reduceat(losses, first.starts, axis=1)
                means[:, first.cases] = sums / self.sizes[first.cases, 0]
            self.means |= dict(zip(kind, means, strict=True))

    def _rows_of(self, variant: Variant) -> "list[_Rows]":
        if variant.options not in self.rows:
            self.rows[variant.options] = _rows(self.scores.of(variant), [case.y for case in self.cases])
        return self.rows[variant.options]

    def off(self, kinds: Sequence[Kind], penalties: "_Penalties") -> np.ndarray:
        """Returns the largest relative distance of the losses from the nearest function of each kind."""
        basis, data = penalties.basis, self._columns(kinds)
        with np.errstate(all="ignore"):
            y, data = self.y - basis @ (basis.T @ self.y), data - basis @ (basis.T @ data)
            factors = (y @ data) / (data**2).sum(axis=0)
            found = np.abs(y[:, None] - factors * data).max(axis=0)
        possible = (factors > 1 / MOST_FACTOR) & (factors < MOST_FACTOR)  # NaN is not
        return np.asarray(np.where(possible, found, np.inf))

    def first(self, kinds: Sequence[Kind], penalties: "_Penalties", *limits: float) -> list[Own | None]:
        """Returns, for each limit, the first of the functions that is so near, or None."""
        off = self.off(kinds, penalties)
        near = [kinds[int(np.argmax(off <= limit))] if (off <= limit).any() else None for limit in limits]
        return [Own(kind[0], self.fitted(kind, penalties)) if kind is not None else None for kind in near]

    def _columns(self, kinds: Sequence[Kind]) -> np.ndarray:
        """The data loss of each kind, weighted as the losses are."""
        self._learn([variant for variant, _ in kinds])
        scales = [(self.sizes ** np.array(powers, float)).prod(axis=1) for _, powers in kinds]
        means = [self.means[variant] for variant, _ in kinds]
        return np.asarray((np.array(means) * np.array(scales) * self.row).T)

    def _across(self, columns: np.ndarray) -> np.ndarray:
        """An orthonormal basis of the penalties' columns."""
        scaled = columns * self.row[:, None]
        used = scaled[:, np.linalg.norm(scaled, axis=0) > 0]
        u, s, _ = np.linalg.svd(used / np.linalg.norm(used, axis=0), full_matrices=False)
        return np.asarray(u[:, s > 1e-10 * s.max(initial=0.0)])

    def fitted(self, kind: Kind, penalties: "_Penalties") -> Fitted:
        """The numbers of the nearest function, as somebody may have written them."""
        powers = kind[1]
        matrix = np.column_stack([self._columns([kind])[:, 0], penalties.columns * self.row[:, None]])
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
    usable = [penalties for penalties in losses.penalties if penalties.columns.shape[1] + 3 <= len(told)]
    tried = _tried(config, dtype)
    # with all digits, another penalty of J~ cannot be taken for another network, and is told by a few products
    for penalties in usable if dtype == "float64" else []:
        if (found := losses.first(tried[: len(POWERS)], penalties, enough)[0]) is not None:
            return found
    for number, penalties in enumerate(usable):
        for kinds in (tried[at : at + AT_ONCE] for at in range(0, len(tried), AT_ONCE)):
            found, roughly = losses.first(kinds, penalties, enough, limit)
            if found is not None:
                return found
            nearly = nearly or roughly
        if dtype == "float64" and number < 2:

            def off_of(variant: Variant, penalties: _Penalties = penalties) -> float:
                return float(losses.off([(variant, (0, 0))], penalties)[0])

            near = nearest(off_of, config)
            found = None if near is None else losses.first([(near, (0, 0))], penalties, enough)[0]
            if found is not None:
                return found
    return nearly


def _tried(config: MLPConfig, dtype: str) -> list[Kind]:
    """One deviation first, then two; with few digits, no more than one."""
    plain, *others = variants.networks(config)
    names = list(LOSSES)
    single = [plain._replace(loss=name) for name in names]
    found = [(plain, powers) for powers in POWERS] + [(v, (0, 0)) for v in others]
    found += [(variant, powers) for variant in single for powers in POWERS]
    if dtype == "float64":
        found += [(v, (1, 0)) for v in others]
        found += [(v._replace(loss=name), (0, 0)) for v in others for name in names]
        # which are often a sum over the examples, or a mean over all numbers
        squared = [v._replace(loss=name) for v in others for name in names if name.startswith("squared error")]
        found += [(variant, powers) for powers in ((1, 0), (0, -1)) for variant in squared]
    return found
