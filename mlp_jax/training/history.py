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
"""What `population.train_population`'s `observe` gives for one epoch of one run."""


class Result(NamedTuple):
    """The state that was reached, what was recorded on the way, and "finished", "diverged" or "unfinished".

    An unfinished one stands between two epochs, after `len(history.validation_loss)` of them.
    """

    state: TrainState
    history: History
    status: str
    observed: tuple[Observed, ...] = ()


class Book:
    """What one run has shown so far."""

    def __init__(self, reached: Result | None) -> None:
        self.metrics: list[Metrics] = []
        self.evaluations: list[Evaluation] = []
        self.observed: list[Observed] = []
        self.diverged = False
        if reached is not None:
            history = reached.history
            self.metrics = [Metrics(history.loss, history.accuracy)]
            pairs = zip(history.validation_loss.tolist(), history.validation_accuracy.tolist(), strict=True)
            self.evaluations = [Evaluation(*pair) for pair in pairs]
            self.observed = list(reached.observed)

    def add(self, metrics: Metrics, evaluation: Evaluation) -> None:
        """Takes in one more epoch."""
        self.metrics.append(metrics)
        # the last update of an epoch shows in the validation loss only
        self.diverged = not (np.isfinite(metrics.loss).all() and math.isfinite(evaluation.loss))
        if not self.diverged:
            self.evaluations.append(evaluation)

    def result(self, state: TrainState, epochs: int) -> Result:
        """The result of a run of so many epochs."""
        ended = "finished" if len(self.evaluations) == epochs else "unfinished"
        return Result(state, self.history(), "diverged" if self.diverged else ended, tuple(self.observed))

    def history(self) -> History:
        """All epochs so far."""
        losses, accuracies = (
            np.concatenate([getattr(m, name) for m in self.metrics]) if self.metrics else np.zeros(0)
            for name in Metrics._fields
        )
        validation = (np.array([getattr(e, name) for e in self.evaluations]) for name in Evaluation._fields)
        return History(losses, accuracies, *validation)
