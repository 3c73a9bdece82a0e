"""How a class or function is called: conventions are tried until one gives gradients of the right shapes."""

import functools
import inspect
import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import UserError, one_of
from mlp_jax.gradcheck.reading import (
    answers,
    beside,
    calling,
    conventions,
    forms,
    methods,
    pairs,
    refusals,
    signatures,
    trees,
)
from mlp_jax.gradcheck.reading.answers import Answer, Asked, Held, Question, leaves, plain, same
from mlp_jax.gradcheck.reading.classes import Plans, ask_class, parts_of, unchecked
from mlp_jax.gradcheck.reading.conventions import Convention
from mlp_jax.gradcheck.reading.layouts import FLAT, TREE, VECTOR, WITH_ROW, Layout
from mlp_jax.gradcheck.reading.masks import drawn
from mlp_jax.gradcheck.reading.names import EXAMPLES, is_step
from mlp_jax.gradcheck.reading.paths import is_array
from mlp_jax.gradcheck.reading.running import quiet, where

ARRAYS = ("numpy", "jax", "torch")
UNDEFINED = re.compile(r"NameError: (?:global )?name '(\w+)' is not defined")


class Called(Asked):
    """A class or function of this process, and how it is called. Raises UserError if it is neither.

    kinds: of a function's arguments, by name. outputs: how many the network had with which this was settled, and
    unbiased which layers had no bias; both known then.
    """

    def __init__(self, target: Any, arrays: str = "auto") -> None:
        one_of("arrays", arrays, ("auto", *ARRAYS))
        if not callable(target):
            raise UserError(f"{target!r} is neither a class nor a function: name one to check")
        self.target = methods.of_class(target) or pairs.joined(target) or beside.with_functions(target)
        self.name = getattr(target, "__name__", type(target).__name__)
        self.written = target  # by the user, where `target` is joined of two
        self.is_class = inspect.isclass(self.target)
        self._function = calling.Function.of(self.target)
        self.parameters = self._function.parameters
        likely = ("numpy",) if self.is_class else conventions.likely_arrays(self.target)
        self.arrays = likely if arrays == "auto" else (arrays,)
        self.convention: Convention | None = None
        self.takes_l2 = signatures.takes_l2(target) if self.is_class else conventions.takes_l2(self.parameters)
        self.kinds = None if self.is_class else self._function.kinds
        self.drops = pairs.drops(self.target)
        self.notes: tuple[str, ...] = ()
        self._counts: tuple[str, ...] = ()
        self._plans: Plans = {}
        self._of_a_vector, self.outputs = False, 0

    def settle(self, question: Question) -> str | None:
        """Finds out how it is called. Returns the most telling error if that cannot be."""
        if self.convention is not None and self._holds_for(question):
            return None
        if not self.is_class:
            refusals.by_signature(self.written, self.name, self.parameters)
        case, failures = question.case, list[str]()
        for convention in self.conventions_for(question):
            answer = self.attempt(question, convention)
            if answer.error is None and (case.name != "plain" or answers.fits(answer, case)):
                self._refuse_a_step(question, convention)
                self._take(*forms.with_labels(self.attempt, convention, question, answer))
                return None
            failures.append(answer.error or "returned gradients whose shapes are not the parameters'")
        failures += [f"how its vector holds the parameters cannot be told: {signatures.WRAP}"] * self._of_a_vector
        if case.name == "plain":
            refusals.by_answers(self.written, self.name, failures, joined=self.target is not self.written)
            self._refuse_one_example(question)
        return refusals.most_telling(failures, told=self.is_class or self.kinds is not None)

    def _holds_for(self, question: Question) -> bool:
        """Whether what was settled is still so: of other outputs a vector, or its bias, may lie elsewhere."""
        if self.is_class or self.outputs == question.case.config.classes or self.convention is None:
            return True
        return self.convention.layout.naming != VECTOR and self.convention.style != "linear"

    def _take(self, convention: Convention, question: Question, answer: Answer) -> None:
        self.convention, self.outputs = convention, question.case.config.classes
        if convention.layout.columns:
            given = "x, y and the weights" if convention.layout.turned else "x and y"
            before = (note for note in self.notes if not note.startswith(answers.COLUMNS))
            self.notes = (*before, f"{answers.COLUMNS}, so {given} are given transposed")
        if convention.layout.signs:
            self.notes += ("its labels are given as -1 and +1",)
        if self.outputs == 1 and pairs.has_no_cost(self.target):
            self.notes += (answers.ASSUMED,) if answers.ASSUMED not in self.notes else ()
        if self.is_class:
            with quiet():
                self.notes += unchecked(self.target, question, convention.layout)
        without = tuple(k for k, layer in enumerate(answer.leaves or []) if "w" in layer and "b" not in layer)
        other = answers.with_other_biases(question, without)
        if without and answers.equal(answer, self.attempt(other, convention)):
            self.unbiased = without
            names = ", ".join(f"b{k + 1}" for k in without)
            partly = not self.is_class and len(without) < len(question.case.params)  # it was given them in vain
            self.notes += (f"nothing that it returns depends on {names}, so {names} is not checked",) * partly

    def _refuse_a_step(self, question: Question, convention: Convention) -> None:
        """Raises UserError for a function that gives the parameters themselves where its learning rate is 0."""
        rates = [name for name in self.parameters if is_step(name)]
        if self.is_class or not rates:
            return
        function, resting = self._function, functools.partial(self.target, **{rates[0]: 0.0})
        try:
            self._function = calling.Function.of(resting)
            answer = self.attempt(question, convention)
        finally:
            self._function = function
        given = [layer._asdict() for layer in question.case.params]
        if answer.leaves is not None and answers.alike(answer.leaves, given):
            refusals.refuse_a_step(self.name)

    def _refuse_one_example(self, question: Question) -> None:
        """Raises UserError if the gradient of the first example alone, without a batch axis, is what is given."""
        case = question.case
        alone = question._replace(case=case._replace(x=case.x[0], y=case.y[0]))
        layouts = [Layout("W{}"), Layout(one_hot=True) if self.is_class else Layout(TREE)]
        for layout, arrays in product(layouts, self.arrays):
            answer = self.attempt(alone, Convention(arrays, layout))
            if answer.error is None and answers.fits(answer, case):
                raise UserError(f"{self.name} takes one example at a time: {signatures.WRAP}")

    def conventions_for(self, question: Question) -> Iterator[Convention]:
        """The likeliest first; what needs more of the case than names and rows last."""
        if self.is_class:
            yield from conventions.of_class(self.arrays[0])
            return
        if not question.case.config.hidden:
            for convention in conventions.of_one_layer(self.kinds, self.arrays, question.case.config.classes):
                if convention.layout.naming != VECTOR or self._has_classes(question, convention):
                    yield convention
            yield from conventions.usual(self.kinds, self.arrays)
            return
        yield from conventions.usual(self.kinds, self.arrays)
        yield from self._of_own_keys(question, conventions.ORDERS[:1])
        for convention in conventions.others(self.kinds, self.arrays[0]):
            if convention.layout.naming not in (*FLAT, *WITH_ROW) or self._has_layout(question, convention):
                yield convention
        yield from self._of_own_keys(question, conventions.ORDERS[1:])

    def _has_classes(self, question: Question, convention: Convention) -> bool:
        """Whether a vector is laid out so: then classes may change places; of one output there is but one way."""
        one = question.case.config.classes == 1
        return one or forms.may_change(self.attempt, convention, question)

    def _has_layout(self, question: Question, convention: Convention) -> bool:
        """Whether a flat vector, or a matrix with the bias, is laid out so: then hidden units may change places.

        The loss stays, and the gradients change places with them.
        """
        answer, other = (self.attempt(q, convention) for q in (question, forms.with_units_changed(question)))
        self._of_a_vector |= answer.leaves is not None and convention.layout.naming in FLAT
        return forms.stays(answer, other, forms.units_changed)

    def _of_own_keys(self, question: Question, orders: Sequence[tuple[bool, bool]]) -> Iterator[Convention]:
        """Containers of the function's own keys, learnt from what it asks for."""
        by_name = self.kinds is not None
        is_compiled = hasattr(self.target, "lower")  # by jax, which takes containers that it knows alone
        function = self._function._replace(call=inspect.unwrap(self.target)) if is_compiled else self._function
        ways = [(*order, biases) for order in orders for biases in ("b", "")[not order[0] :]]  # (out, 1) or (out,)
        for arrays, one_hot, (columns, turned, biases) in product(self.arrays, (False, True), ways):
            convert, layout = calling.converter(arrays), Layout(columns=columns, one_hot=one_hot != columns)

            def asked(given: Any, layout: Layout = layout, convert: Any = convert) -> None:
                x, y = map(convert, layout.examples(question.case))
                with quiet(), jax.enable_x64(True):
                    calling.call(function, given, (x, y), question.case, question.masks, by_name=by_name)

            if own := trees.learnt(asked, question.case, convert, turned=biases + "w" * (turned != columns)):
                yield Convention(arrays, layout, by_name, own)

    def attempt(self, question: Question, convention: Convention, *, twice: bool = False) -> Answer:
        """Its answer, if it is called so; an exception becomes part of it. twice: the second of one object.

        A file that was stopped, for want of its data, may lack the number of examples: that is put there.
        """
        space = signatures.globals_of(self.written)
        space |= dict.fromkeys(self._counts, np.size(question.case.y))
        answer = self._attempted(question, convention, twice=twice)
        for name in self._counts:  # what is the user's stays as it was
            space.pop(name, None)
        found = UNDEFINED.search(answer.error or "")
        if found is None or found[1] not in EXAMPLES or found[1] in space:
            return answer
        self._counts = (*self._counts, found[1])
        self.notes += (f"{found[1]} is not defined, and is taken for the number of examples",)
        return self.attempt(question, convention, twice=twice)

    def _attempted(self, question: Question, convention: Convention, *, twice: bool) -> Answer:
        case = question.case
        before = Held(case.params, case.x, case.y, question.masks)
        try:
            with quiet(), jax.enable_x64(True):
                if self.is_class:
                    loss, found, dtypes, held = ask_class(
                        self.target, question, convention.layout, self._plans, twice=twice
                    )
                else:
                    loss, found, dtypes, held = self._ask_function(question, convention)
                after = Held(*plain(held))
        except (Exception, SystemExit) as error:
            return Answer(None, error=where(error, self.written))
        changed = tuple(name for name, a, b in zip(Held._fields, after, before, strict=True) if not same(a, b))
        return Answer(found, loss, dtypes, changed, after if changed else None)

    def _ask_function(self, question: Question, convention: Convention) -> tuple[Any, Any, Any, Held]:
        """Its loss, its gradients by leaf, their dtypes, and its arguments then."""
        case = question.case
        if convention.style == "linear":
            result, held = calling.ask_linear(self._function, case, convention)
        else:
            masks = question.masks if self.drops or calling.chances(self.parameters) else []
            with drawn(masks, case.config.dropout, columns=convention.layout.columns):
                result, held = calling.ask(self._function, question, convention)
        if isinstance(result, list) and len(result) == 2 and is_array(result[1]) and np.size(result[0]) == 1:
            result = tuple(result)  # [J, grad]
        loss, grads = parts_of(result, convention.layout)
        found, dtypes = leaves(convention.form.gradients(grads, case), case.config)
        return loss, found, dtypes, held
