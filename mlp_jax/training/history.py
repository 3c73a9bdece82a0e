"""What a run has shown so far, and its result."""

import math
from typing import NamedTuple

import numpy as np

from mlp_jax.training.evaluate import Evaluation
from mlp_jax.training.step import Metrics, TrainState


class History(NamedTuple):
    """The minibatches' loss and accuracy, shape (steps,); the validation split's, shape (epochs,)."""

    loss: np.ndarray
    accuracy: np.ndarray
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray


Observed = tuple[np.ndarray, ...]
"""What `population.Epoch.observe` keeps of one epoch of one run."""


class Result(NamedTuple):
    """The state that was reached, what was recorded on the way, and "finished", "diverged" or "unfinished".

    An unfinished one stands between two epochs, after `len(history.validation_loss)` of them.
    """

    state: TrainState
    history: History
    status: str
    observed: tuple[Observed, ...] = ()


class Book:
    """What one run of so many epochs has shown so far."""

    def __init__(self, length: int, reached: Result | None = None) -> None:
        self.length, self.diverged = length, False
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
        """Epochs so far, without one that diverged."""
        return len(self.evaluations)

    def add(self, metrics: Metrics, evaluation: Evaluation) -> bool:
        """Takes in one more epoch; gives whether the run has not diverged in it."""
        self.metrics.append(metrics)
        # the last update of an epoch shows in the validation loss only
        self.diverged = not (np.isfinite(metrics.loss).all() and math.isfinite(evaluation.loss))
        if not self.diverged:
            self.evaluations.append(evaluation)
        return not self.diverged

    def result(self, state: TrainState) -> Result:
        """The result of the run, which has come to this state."""
        ended = "finished" if self.epochs == self.length else "unfinished"
        return Result(state, self.history(), "diverged" if self.diverged else ended, tuple(self.observed))

    def history(self) -> History:
        """All epochs so far."""
        losses, accuracies = (
            np.concatenate([getattr(m, name) for m in self.metrics]) if self.metrics else np.zeros(0)
            for name in Metrics._fields
        )
        validation = (np.array([getattr(e, name) for e in self.evaluations]) for name in Evaluation._fields)
        return History(losses, accuracies, *validation)
