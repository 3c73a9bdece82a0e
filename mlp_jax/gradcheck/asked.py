"""A candidate that can be asked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from mlp_jax.gradcheck.answers import Answer, Question
from mlp_jax.nn.config import MLPConfig


class Asked(ABC):
    """A candidate that can be asked: in this process (`check.InProcess`), or in another.

    layer: where the candidate is no network but a layer, or a file of layers: its report, for a seed and an
    objective.
    """

    name: str
    notes: Sequence[str] = ()
    takes_l2: bool = True
    layer: Callable[[int, str], Any] | None = None

    @abstractmethod
    def default_configs(self) -> list[MLPConfig]:
        """The networks to check when none is named."""

    @abstractmethod
    def ask(self, questions: list[Question]) -> list[Answer]:
        """One answer per question. Raises UserError if the candidate cannot be asked."""

    @abstractmethod
    def leaf_name(self, k: int, field: str) -> str:
        """The candidate's own name of a leaf."""
