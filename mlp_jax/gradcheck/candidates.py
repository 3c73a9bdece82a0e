"""Gradients as people have them: course classes and functions, with numpy, jax or torch arrays.

A class is built and asked as the course assignments do:
  TwoLayerNet(input_size, hidden_size, output_size, ...).loss(X, y, reg) -> (loss, grads)
  TwoLayerNet(input_dim, hidden_dim, num_classes, weight_scale, reg).loss(X, y)
  FullyConnectedNet(hidden_dims, input_dim=, num_classes=, reg=, weight_scale=, dtype=).loss(X, y)
with its parameters in `.params`: W1, b1, W2, b2, ... (and gamma1, beta1, ... under batch normalisation). It may
also keep them elsewhere (`holders`), and give its gradient by gradient(X, y), or by forward and backward
(`asking`), as two functions of a file may, too (`pairs`).

A function is f(params, x, y, l2) -> grads or (loss, grads); params is a dict with the names above (or with small
letters), this package's tuple of layers, or a container of the function's own keys (`trees`), with biases or
without. Arguments called `config`, `key` and `masks` are given if it has them: the MLPConfig, the jax key of the
dropout mask, and the masks themselves, per hidden layer (N, H), True where a unit is kept. Everything runs under
jax_enable_x64.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from mlp_jax.gradcheck.battery import sample
from mlp_jax.gradcheck.reading import building, calling, conventions
from mlp_jax.gradcheck.reading.answers import NAMES, Answer, Question
from mlp_jax.gradcheck.reading.conventions import Convention
from mlp_jax.gradcheck.reading.layouts import Layout
from mlp_jax.gradcheck.reading.names import ALL_SIZES, DEPTHS, size_of
from mlp_jax.gradcheck.reading.pairs import failure
from mlp_jax.gradcheck.reading.running import line, quiet
from mlp_jax.gradcheck.reading.settling import Called
from mlp_jax.nn.config import MLPConfig

WIDTHS = (6, 8, 9, 5)
DEEPER = (WIDTHS[:2], WIDTHS[:3])  # than a function whose arguments do not count its layers
SKIPS = ((6, 6), (6, 6, 6))  # the same where layers are added to what they are given
ONE_WIDTH: tuple[int, ...] = (6, 6)  # of a class that has two hidden layers of one size


class Candidate(Called):
    """A class or function of this process: networks it may be a gradient of, and names of their leaves."""

    def __init__(self, target: Any, arrays: str = "auto") -> None:
        super().__init__(target, arrays)
        defaults = [self.parameters[name].default for name in calling.chances(self.parameters)]
        if "use_dropout" not in self.parameters and any(isinstance(p, float) and 0 < p < 1 for p in defaults):
            self.drops = self._draws()

    def _draws(self) -> bool:
        """Whether it draws dropout masks as they can be given."""
        config = replace(self.default_configs()[0], dropout=0.5)
        case = sample(config)
        masks = [np.ones((len(case.y), unit.outputs), bool) for unit in config.units]
        question = Question(case, masks)
        return any(self.attempt(question, each).error is None for each in self.conventions_for(question))

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear classifier f(W, X, y, ...) without a bias."""
        return "linear" in (self.kinds or {}).values()

    def _argument(self, *kinds: str) -> str:
        """The name of its argument of one of the kinds."""
        return next(name for name, kind in (self.kinds or {}).items() if kind in kinds)

    def _place_of_bias(self) -> str:
        layout = Layout() if self.convention is None else self.convention.layout
        return "[0]" if self.outputs == 1 else "[:, -1]" if layout.turned else "[-1]"

    def others(self, config: MLPConfig) -> list[MLPConfig]:
        """Networks of one output, without a hidden layer, or with more, that it may be the gradient of."""
        outputs = (config.classes,) if config.has_running_stats else (1, config.classes)
        more = (ONE_WIDTH,) if self.is_class else DEEPER
        depths = [config.hidden, *([()] if self._may_be_one_layer else []), *more]
        tried = [replace(config, hidden=hidden, classes=n) for hidden in dict.fromkeys(depths) for n in outputs]
        tried += [] if self.is_class else [replace(config, hidden=hidden) for hidden in SKIPS]
        return [other for other in tried if other != config]

    @property
    def _may_be_one_layer(self) -> bool:
        """Whether nothing that it takes speaks of hidden layers."""
        if not self.is_class:
            kinds, named = set((self.kinds or {}).values()), conventions.ONE_LAYER & set(self.kinds or {})
            return bool(named or {"params", "classes"} <= kinds <= {"params", "x", "y", "l2", "input", "classes"})
        return not any(n in (*DEPTHS, *ALL_SIZES) or size_of(n) == "hidden" for n in self.parameters)

    def default_configs(self) -> list[MLPConfig]:
        """The networks to check when none is named: two layers, or several depths for a class of any depth."""
        if self.is_linear:
            return [MLPConfig(hidden=(), inputs=7, classes=4, dtype="float64")]
        depths = self._depths() if self.is_class else [WIDTHS[: conventions.hidden_layers(self.written)]]
        return [MLPConfig(hidden=hidden, inputs=7, classes=4, dtype="float64") for hidden in depths]

    def _depths(self) -> list[tuple[int, ...]]:
        """The hidden widths with which it gives gradients; one layer if it gives none, for that tells why."""
        given = len(building.numbered_widths(self.parameters))
        tried = [WIDTHS[:given]] if given else [(6, 8), (6,), (6, 8, 9)]
        failed = {hidden: error for hidden in tried if (error := self._failure(hidden)) is not None}
        works = [hidden for hidden in tried if hidden not in failed]
        if not works:
            others = (ONE_WIDTH, ()) if self._may_be_one_layer else (ONE_WIDTH,)
            works = [hidden for hidden in others if self._failure(hidden) is None][:1]
            if works:
                return works
        if not works and (of_one := [hidden for hidden in tried if building.ONE_OUTPUT in failed[hidden]]):
            return of_one  # whose layers are as many
        if len(works) > 1:  # of any depth, so that to fail at one is a mistake
            return tried
        if works and failed and {*DEPTHS, *ALL_SIZES} & set(self.parameters):
            least = min(failed, key=len)
            self.notes = (f"not checked with {len(least)} hidden layers, where it fails: {failed[least]}",)
        if works or given:
            return works or tried[:1]
        lines = {hidden: number for hidden, error in failed.items() if (number := line(error)) < np.inf}
        furthest = max(lines, key=lambda hidden: lines[hidden], default=(6,))
        return [furthest if lines.get(furthest, 0) > lines.get((6,), np.inf) else (6,)]

    def _failure(self, hidden: tuple[int, ...]) -> str | None:
        """The error in the first case of a network of these widths; None if there is none."""
        question = Question(sample(MLPConfig(hidden=hidden, inputs=7, classes=4)), [])
        failures = [self.attempt(question, convention).error for convention in self.conventions_for(question)]
        return None if None in failures else max(map(str, failures), key=line)

    def leaf_name(self, k: int, field: str) -> str:
        """The candidate's own name of a leaf: W1, or layer1.w."""
        convention = self.convention or Convention(self.arrays[0])
        if convention.style == "linear":  # whose bias is the weight of one more input
            return self._argument("linear", "params") + ("" if field == "w" else self._place_of_bias())
        if convention.style == "one layer":
            return self._argument("weights" if field == "w" else "biases")
        return convention.form.name(k, field)

    def leaf_names(self, config: MLPConfig) -> dict[tuple[int, str], str]:
        """All names of a network's leaves."""
        return {(k, f): self.leaf_name(k, f) for k in range(len(config.units) + 1) for f in NAMES}

    def ask(self, questions: list[Question]) -> list[Answer]:
        """One answer per question; an exception becomes part of it."""
        with quiet():
            return self._answers(questions)

    def _answers(self, questions: list[Question]) -> list[Answer]:
        # the first case tells a layout by its dimensions, which differ; where all are equal, as in the last case,
        # even a forgotten transpose runs
        error = self.settle(questions[0]) and self.settle(questions[-1])
        # a class that fails there may still answer in other cases, as it is asked first
        if error is not None and self.convention is None and not self.is_class:
            return [Answer(None, error=error) for _ in questions]
        convention = self.convention or Convention(self.arrays[0])
        asked = [any(question is other for other in questions[:n]) for n, question in enumerate(questions)]
        pairs = zip(questions, asked, strict=True)
        answers = [self.attempt(question, convention, twice=before) for question, before in pairs]
        if (why := failure(self.target)) and why not in self.notes:
            self.notes = (*self.notes, why)
        return answers
