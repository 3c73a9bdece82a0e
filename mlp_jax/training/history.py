"""A run's history is what it has shown so far; its result has that and the state that it reached."""

import math
from typing import NamedTuple

import numpy as np

from mlp_jax.training.evaluate import Evaluation
from mlp_jax.training.step import Metrics, TrainState


class History(NamedTuple):
    """It has the minibatches' loss and accuracy, shape (steps,), and the validation split's, shape (epochs,)."""

    loss: np.ndarray
    accuracy: np.ndarray
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray


Observed = tuple[np.ndarray, ...]
"""`population.Epoch.observe` keeps this of one epoch of one run."""


class Result(NamedTuple):
    """A run reached this state, recorded this on the way, and has "finished", "diverged" or is "unfinished".

    An unfinished one stands between two epochs, after `len(history.validation_loss)` of them.
    """

    state: TrainState
    history: History
    status: str
    observed: tuple[Observed, ...] = ()


class Book:
    """A book takes down what one run of so many epochs shows."""

    def __init__(self, length: int, reached: Result | None = None) -> None:
        self.length, self.diverged = length, False
        self.end: TrainState | None = None
        """Where a run that has diverged stood then."""
        self.metrics: list[Metrics] = []
        self.evaluations: list[Evaluation] = []
        self.observed: list[Observed] = []
        if reached is not None:
            history = reached.history
            self.metrics = [Metrics(history.loss, history.accuracy)] if len(history.loss) else []
            pairs = zip(history.validation_loss.tolist(), history.validation_accuracy.tolist(), strict=True)
            self.evaluations = [Evaluation(*pair) for pair in pairs]
            self.observed = list(reached.observed)

    @property
    def epochs(self) -> int:
        """Counts the epochs so far, without one that diverged."""
        return len(self.evaluations)

    def add(self, metrics: Metrics, evaluation: Evaluation) -> bool:
        """Takes in one more epoch, and tells whether the run goes on: it has not diverged."""
        self.metrics.append(metrics)
        # the last update of an epoch shows in the validation loss only
        self.diverged = not (np.isfinite(metrics.loss).all() and math.isfinite(evaluation.loss))
        if not self.diverged:
            self.evaluations.append(evaluation)
        return not self.diverged

    def result(self, state: TrainState) -> Result:
        """Returns the result of the run, which has come to this state, unless it has diverged before."""
        ended = "finished" if self.epochs == self.length else "unfinished"
        return Result(
            self.end or state, self._history(), "diverged" if self.diverged else ended, tuple(self.observed)
        )

    def _history(self) -> History:
        losses, accuracies = (
            np.concatenate([getattr(m, name) for m in self.metrics]) if self.metrics else np.zeros(0)
            for name in Metrics._fields
        )
        validation = (np.array([getattr(e, name) for e in self.evaluations]) for name in Evaluation._fields)
        return History(losses, accuracies, *validation)
