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

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import UserError, one_of
from mlp_jax.gradcheck.battery import sample
from mlp_jax.gradcheck.reading import building, calling, conventions, pairs, refusals, signatures, trees
from mlp_jax.gradcheck.reading.answers import (
    NAMES,
    Answer,
    Asked,
    Held,
    Question,
    alike,
    classes_changed,
    equal,
    fits,
    leaves,
    plain,
    same,
    units_changed,
    with_classes_changed,
    with_other_biases,
    with_units_changed,
)
from mlp_jax.gradcheck.reading.classes import Plans, ask_class, parts_of, unchecked
from mlp_jax.gradcheck.reading.conventions import Convention
from mlp_jax.gradcheck.reading.layouts import FLAT, TREE, Layout
from mlp_jax.gradcheck.reading.masks import drawn
from mlp_jax.gradcheck.reading.names import ALL_SIZES, DEPTHS, size_of
from mlp_jax.gradcheck.reading.running import line, quiet, where
from mlp_jax.nn.config import MLPConfig

ARRAYS = ("numpy", "jax", "torch")
WIDTHS = (6, 8, 9, 5)
DEEPER = (WIDTHS[:2], WIDTHS[:3])  # than a function whose arguments do not count its layers
ONE_WIDTH: tuple[int, ...] = (6, 6)  # of a class that has two hidden layers of one size


class Candidate(Asked):
    """A class or function of this process, and how it is called. Raises UserError if it is neither.

    has_biases: whether its network has any; known once it was settled how it is called.
    """

    def __init__(self, target: Any, arrays: str = "auto") -> None:
        one_of("arrays", arrays, ("auto", *ARRAYS))
        if not callable(target):
            raise UserError(f"{target!r} is neither a class nor a function: name one to check")
        self.target, self.name = pairs.joined(target) or target, getattr(target, "__name__", type(target).__name__)
        self._written = target  # by the user, where `target` is joined of two
        self.is_class, self.has_biases = inspect.isclass(target), True
        self.parameters = signatures.signature(self.target)
        likely = ("numpy",) if self.is_class else conventions.likely_arrays(target)
        self.arrays = likely if arrays == "auto" else (arrays,)
        self.convention: Convention | None = None
        self.takes_l2 = signatures.takes_l2(target) if self.is_class else conventions.takes_l2(self.parameters)
        self._kinds = None if self.is_class else conventions.kinds_of(self.parameters)
        self.drops = pairs.drops(self.target)
        self.notes: tuple[str, ...] = ()
        self._plans: Plans = {}
        self._of_a_vector, self._outputs = False, 0

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear classifier f(W, X, y, ...) without a bias."""
        return "linear" in (self._kinds or {}).values()

    def _argument(self, *kinds: str) -> str:
        """The name of its argument of one of the kinds."""
        return next(name for name, kind in (self._kinds or {}).items() if kind in kinds)

    def _place_of_bias(self) -> str:
        layout = Layout() if self.convention is None else self.convention.layout
        return "[0]" if self._outputs == 1 else "[:, -1]" if layout.turned else "[-1]"

    def others(self, config: MLPConfig) -> list[MLPConfig]:
        """Networks of one output, without a hidden layer, or with more, that it may be the gradient of."""
        outputs = (config.classes,) if config.has_running_stats else (1, config.classes)
        depths = [config.hidden, *([()] if self._may_be_one_layer else []), *([] if self.is_class else DEEPER)]
        tried = [replace(config, hidden=hidden, classes=n) for hidden in dict.fromkeys(depths) for n in outputs]
        return [other for other in tried if other != config]

    @property
    def _may_be_one_layer(self) -> bool:
        """Whether nothing that it takes speaks of hidden layers."""
        if not self.is_class:
            return bool(conventions.ONE_LAYER & set(self._kinds or {}))
        return not any(n in (*DEPTHS, *ALL_SIZES) or size_of(n) == "hidden" for n in self.parameters)

    def default_configs(self) -> list[MLPConfig]:
        """The networks to check when none is named: two layers, or several depths for a class of any depth."""
        if self.is_linear:
            return [MLPConfig(hidden=(), inputs=7, classes=4, dtype="float64")]
        depths = self._depths() if self.is_class else [WIDTHS[: conventions.hidden_layers(self._written)]]
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
        if len(works) > 1:  # of any depth, so that to fail at one is a mistake
            return tried
        if works and failed and {*DEPTHS, *ALL_SIZES} & set(self.parameters):
            least = min(failed, key=len)
            self.notes = (f"not checked with {len(least)} hidden layers, where it fails: {failed[least]}",)
        return works or [tried[0] if given else (6,)]

    def _failure(self, hidden: tuple[int, ...]) -> str | None:
        """The error in the first case of a network of these widths; None if there is none."""
        question = Question(sample(MLPConfig(hidden=hidden, inputs=7, classes=4)), [])
        failures = [self._try(question, convention).error for convention in self._conventions(question)]
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
        # the first case tells a layout by its dimensions, which differ; where all are equal, as in the last case,
        # even a forgotten transpose runs
        error = self._settle(questions[0]) and self._settle(questions[-1])
        # a class that fails there may still answer in other cases, as it is asked first
        if error is not None and self.convention is None and not self.is_class:
            return [Answer(None, error=error) for _ in questions]
        convention = self.convention or Convention(self.arrays[0])
        return [self._try(question, convention) for question in questions]

    def _settle(self, question: Question) -> str | None:
        """Finds out how it is called. Returns the most telling error if that cannot be."""
        if self.convention is not None:
            return None
        if not self.is_class:
            refusals.by_signature(self._written, self.name, self.parameters)
        case, failures = question.case, []
        for convention in self._conventions(question):
            answer = self._try(question, convention)
            if answer.error is None and (case.name != "plain" or fits(answer, case)):
                self._take(*self._with_labels(convention, question, answer))
                return None
            failures.append(answer.error or "returned gradients whose shapes are not the parameters'")
        failures += [f"how its vector holds the parameters cannot be told: {signatures.WRAP}"] * self._of_a_vector
        if case.name == "plain":
            refusals.by_answers(self._written, self.name, failures, joined=self.target is not self._written)
            self._refuse_one_example(question)
        return max(failures, key=line)  # the attempt that came furthest through the candidate's file

    def _with_labels(
        self, convention: Convention, question: Question, answer: Answer
    ) -> tuple[Convention, Question, Answer]:
        """The convention with the other form of labels, where classes may change places only with these.

        A label of each example may be subtracted from the scores of all classes, if examples are columns.
        """
        case, layout = question.case, convention.layout
        other = convention._replace(layout=layout._replace(one_hot=not layout.one_hot))
        if case.config.classes > 1 and case.name == "plain" and not self._may_change(question, convention, answer):
            found = self._try(question, other)
            if found.error is None and fits(found, case) and self._may_change(question, other, found):
                return other, question, found
        return convention, question, answer

    def _may_change(self, question: Question, convention: Convention, answer: Answer) -> bool:
        """Whether classes may change places: the loss, or else the gradients, stay but for their places."""
        other = self._try(with_classes_changed(question), convention)
        if answer.leaves is None or other.leaves is None:
            return False
        if answer.loss is not None and other.loss is not None:
            return bool(np.isclose(answer.loss, other.loss, rtol=1e-6, atol=0))
        return alike(classes_changed(answer.leaves), other.leaves)

    def _take(self, convention: Convention, question: Question, answer: Answer) -> None:
        self.convention, self._outputs = convention, question.case.config.classes
        if convention.layout.columns:
            given = "x, y and the weights" if convention.layout.turned else "x and y"
            self.notes += (f"its columns are the examples, so {given} are given transposed",)
        if self.is_class:
            with quiet():
                self.notes += unchecked(self.target, question, convention.layout)
        if not any("b" in layer for layer in answer.leaves or []):
            self.has_biases = not equal(answer, self._try(with_other_biases(question), convention))

    def _refuse_one_example(self, question: Question) -> None:
        """Raises UserError if the gradient of the first example alone, without a batch axis, is what is given."""
        case = question.case
        alone = question._replace(case=case._replace(x=case.x[0], y=case.y[0]))
        layouts = [Layout("W{}"), Layout(one_hot=True) if self.is_class else Layout(TREE)]
        for layout, arrays in product(layouts, self.arrays):
            answer = self._try(alone, Convention(arrays, layout))
            if answer.error is None and fits(answer, case):
                raise UserError(f"{self.name} takes one example at a time: {signatures.WRAP}")

    def _conventions(self, question: Question) -> Iterator[Convention]:
        """The likeliest first; what needs more of the case than names and rows last."""
        if self.is_class:
            yield from conventions.of_class(self.arrays[0])
            return
        if not question.case.config.hidden:
            yield from conventions.of_one_layer(self._kinds, self.arrays, question.case.config.classes)
            yield from conventions.usual(self._kinds, self.arrays)
            return
        yield from conventions.usual(self._kinds, self.arrays)
        yield from self._of_own_keys(question, conventions.ORDERS[:1])
        for convention in conventions.others(self._kinds, self.arrays[0]):
            if convention.layout.naming not in FLAT or self._has_layout(question, convention):
                yield convention
        yield from self._of_own_keys(question, conventions.ORDERS[1:])

    def _has_layout(self, question: Question, convention: Convention) -> bool:
        """Whether a flat vector is laid out so: then hidden units may change places.

        The loss stays, and the gradients change places with them.
        """
        answer, other = (self._try(q, convention) for q in (question, with_units_changed(question)))
        self._of_a_vector |= answer.leaves is not None
        if answer.loss is not None and other.loss is not None:
            return bool(np.isclose(answer.loss, other.loss, rtol=1e-6, atol=0))
        if answer.leaves is None or other.leaves is None:
            return True
        return alike(units_changed(answer.leaves), other.leaves)

    def _of_own_keys(self, question: Question, orders: Sequence[tuple[bool, bool]]) -> Iterator[Convention]:
        """Containers of the function's own keys, learnt from what it asks for."""
        by_name = self._kinds is not None
        for arrays, one_hot, (columns, turned) in product(self.arrays, (False, True), orders):
            convert, layout = calling.converter(arrays), Layout(columns=columns, one_hot=one_hot or columns)

            def asked(given: Any, layout: Layout = layout, convert: Any = convert) -> None:
                x, y = map(convert, layout.examples(question.case))
                with quiet(), jax.enable_x64(True):
                    calling.call(self.target, given, (x, y), question.case, question.masks, by_name=by_name)

            if own := trees.learnt(asked, question.case, convert, turned=turned != columns):
                yield Convention(arrays, layout, by_name, own)

    def _try(self, question: Question, convention: Convention) -> Answer:
        case = question.case
        before = Held(case.params, case.x, case.y, question.masks)
        try:
            with quiet(), jax.enable_x64(True):
                if self.is_class:
                    loss, found, dtypes, held = ask_class(self.target, question, convention.layout, self._plans)
                else:
                    loss, found, dtypes, held = self._ask_function(question, convention)
                after = Held(*plain(held))
        except (Exception, SystemExit) as error:
            return Answer(None, error=where(error, self._written))
        changed = tuple(name for name, a, b in zip(Held._fields, after, before, strict=True) if not same(a, b))
        return Answer(found, loss, dtypes, changed, after if changed else None)

    def _ask_function(self, question: Question, convention: Convention) -> tuple[Any, Any, Any, Held]:
        """Its loss, its gradients by leaf, their dtypes, and its arguments then."""
        case = question.case
        if convention.style == "linear":
            result, held = calling.ask_linear(self.target, case, convention)
        else:
            masks = question.masks if self.drops else []
            with drawn(masks, case.config.dropout, columns=convention.layout.columns):
                result, held = calling.ask(self.target, question, convention)
        loss, grads = parts_of(result, convention.layout)
        found, dtypes = leaves(convention.form.gradients(grads, case), case.config)
        return loss, found, dtypes, held
