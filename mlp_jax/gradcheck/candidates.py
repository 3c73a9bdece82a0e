"""Gradients as people have them: course classes and functions, with numpy, jax or torch arrays.

A class is built and asked as the course assignments do:
  TwoLayerNet(input_size, hidden_size, output_size, ...).loss(X, y, reg) -> (loss, grads)
  TwoLayerNet(input_dim, hidden_dim, num_classes, weight_scale, reg).loss(X, y)
  FullyConnectedNet(hidden_dims, input_dim=, num_classes=, reg=, weight_scale=, dtype=).loss(X, y)
with its parameters in `.params`: W1, b1, W2, b2, ... (and gamma1, beta1, ... under batch normalisation). It may
also keep them elsewhere (`holders`), and give its gradient by gradient(X, y), or by forward and backward
(`asking`), as two functions of a file may, too (`pairs`).

A function is f(params, x, y, l2) -> grads or (loss, grads); params is a dict with the names above (or with small
letters), or this package's tuple of layers. Arguments called `config`, `key` and `masks` are given if it has
them: the MLPConfig, the jax key of the dropout mask, and the masks themselves, per hidden layer (N, H), True
where a unit is kept. Everything runs under jax_enable_x64.
"""

import contextlib
import importlib.util
import inspect
import os
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import asking, building, pairs, signatures
from mlp_jax.gradcheck.answers import NAMES, Answer, Held, Question, leaves, parts, plain, same
from mlp_jax.gradcheck.asking import Plan
from mlp_jax.gradcheck.battery import Case, sample
from mlp_jax.gradcheck.holders import At
from mlp_jax.gradcheck.layouts import NAMINGS, Layout
from mlp_jax.gradcheck.masks import drawn
from mlp_jax.gradcheck.names import (
    ALL_SIZES,
    BIAS_LISTS,
    DEPTHS,
    WEIGHT_LISTS,
    is_input,
    is_label,
    is_params,
    is_penalty,
    is_sizes,
)
from mlp_jax.nn.config import MLPConfig

ARRAYS = ("numpy", "jax", "torch")
STEP_NAMES = {"dw", "dW", "dx", "grad", "grads", "gradients", "learning_rate", "lr", "optimizer", "velocity"}
"""Arguments that only what takes a gradient has, as an optimiser's step does."""


class Convention(NamedTuple):
    """How a function wants its parameters, and its arrays. style: "tree", or how the layout holds them."""

    style: str
    arrays: str
    layout: Layout = Layout()
    by_name: bool = False


class Candidate:
    """A class or function, and how it is called. Raises UserError if it is neither."""

    def __init__(self, target: Any, arrays: str = "auto") -> None:
        if not callable(target):
            raise UserError(f"{target!r} is neither a class nor a function: name one to check")
        self.target, self.name = pairs.joined(target) or target, getattr(target, "__name__", type(target).__name__)
        self._written = target  # by the user, where `target` is joined of two
        self.is_class = inspect.isclass(target)
        self.parameters = signatures.signature(self.target)
        self.arrays = self._likely_arrays() if arrays == "auto" else (arrays,)
        self.convention: Convention | None = None
        self.takes_l2 = signatures.takes_l2(target) if self.is_class else self._function_takes_l2()
        self.notes: tuple[str, ...] = ()
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def _function_takes_l2(self) -> bool:
        required = [p for p in self.parameters.values() if p.default is inspect.Parameter.empty]
        anything = signatures.takes_anything(self.parameters) or not self.parameters
        named = signatures.penalty_name(self.parameters, others=EXTRA) is not None
        return named or anything or (self._by_name() is None and len(required) > 3)

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear classifier f(W, X, y, ...) without a bias."""
        return not self.is_class and "linear" in (self._by_name() or {}).values()

    def _by_name(self) -> dict[str, str] | None:
        """What each argument without a default is, by its name; None if a name does not tell, or all are usual."""
        kinds = {}
        for name, p in self.parameters.items():
            if p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                continue
            kind = _kind(name, set(self.parameters))
            if name == "W" and kind is None:
                continue
            if kind is None and p.default is inspect.Parameter.empty and name not in EXTRA:
                return None
            if kind is not None:
                kinds[name] = kind
        there = set(kinds.values())
        if {"x", "y"} <= there and "W" in self.parameters and "b" not in self.parameters and "params" not in there:
            return {**kinds, "W": "linear"}
        complete = {"x", "y"} <= there and there & {"params", "weights", "leaf"}
        return kinds if complete else None

    def _likely_arrays(self) -> tuple[str, ...]:
        """For a class numpy; for a function torch first where its file names it, and last where it is loaded."""
        if self.is_class:
            return ("numpy",)
        space = getattr(inspect.unwrap(self._written), "__globals__", {})
        if any(getattr(value, "__name__", "").partition(".")[0] == "torch" for value in space.values()):
            return ("torch", "numpy")
        return ("numpy", "jax", "torch") if importlib.util.find_spec("torch") else ("numpy", "jax")

    def default_configs(self) -> list[MLPConfig]:
        """The networks to check when none is named: two layers, or several depths for a class of any depth."""
        if self.is_linear:
            return [MLPConfig(hidden=(), inputs=7, classes=4, dtype="float64")]
        depths = self._depths() if self.is_class else [(6,)]
        return [MLPConfig(hidden=hidden, inputs=7, classes=4, dtype="float64") for hidden in depths]

    def _depths(self) -> list[tuple[int, ...]]:
        """The hidden widths with which it gives gradients; one layer if it gives none, for that tells why."""
        given = len(building.numbered_widths(self.parameters))
        tried = [(6, 8, 9, 5)[:given]] if given else [(6, 8), (6,), (6, 8, 9)]
        failed = {hidden: error for hidden in tried if (error := self._failure(hidden)) is not None}
        works = [hidden for hidden in tried if hidden not in failed]
        if len(works) > 1:  # of any depth, so that to fail at one is a mistake
            return tried
        if works and failed and {*DEPTHS, *ALL_SIZES} & set(self.parameters):
            least = min(failed, key=len)
            self.notes = (f"not checked with {len(least)} hidden layers, where it fails: {failed[least]}",)
        return works or [tried[0] if given else (6,)]

    def _failure(self, hidden: tuple[int, ...]) -> str | None:
        """The error in the first case of a network of these widths; None if there is none."""
        question = Question(sample(MLPConfig(hidden=hidden, inputs=7, classes=4)), [])
        failures = [self._try(question, convention).error for convention in self._conventions()]
        return None if None in failures else max(map(str, failures), key=_line)

    def leaf_name(self, k: int, field: str) -> str:
        """The candidate's own name of a leaf: W1, or layer1.w."""
        if self.convention is not None and self.convention.style == "tree":
            return f"layer{k + 1}.{field}"
        if self.convention is not None and self.convention.style == "named":
            return self.convention.layout.name(k, field)
        name = f"{NAMES[field]}{k + 1}"
        return name.lower() if self.convention is not None and self.convention.style != "dict" else name

    def answer(self, question: Question) -> Answer:
        """The candidate's answer to one case; an exception becomes part of it."""
        return self._try(question, self.convention or Convention("dict", self.arrays[0]))

    def settle(self, question: Question) -> str | None:
        """Finds out how a function is called. Returns the most telling error if it cannot be."""
        if self.convention is not None:
            return None
        if not self.is_class and {"caches", "cache"} & set(self.parameters):
            raise UserError(
                f"{self.name} is a backward pass alone, which needs its forward's cache: {signatures.WRAP}"
            )
        required = {n for n, p in self.parameters.items() if p.default is inspect.Parameter.empty}
        if not self.is_class and STEP_NAMES & required:
            raise UserError(f"{self.name} is an optimiser's step, which takes a gradient: {signatures.WRAP}")
        failures = []
        for convention in self._conventions():
            answer = self._try(question, convention)
            if answer.error is None and (question.case.name != "plain" or _fits(answer, question.case)):
                self.convention = convention
                if convention.layout.columns:
                    self.notes += ("its columns are the examples, so x, y and the weights are given transposed",)
                return None
            failures.append(answer.error or "returned gradients whose shapes are not the parameters'")
        refused = next((failure for failure in failures if signatures.WRAP in failure), None)
        if refused is not None and question.case.name == "plain":
            raise UserError(f"{self.name} gives no gradient: {refused}")
        if not self.is_class and question.case.name == "plain":
            self._refuse_one_example(question)
        return max(failures, key=_line)  # the attempt that came furthest through the candidate's file

    def _refuse_one_example(self, question: Question) -> None:
        """Raises UserError if the gradient of the first example alone, without a batch axis, is what is given."""
        case = question.case
        alone = question._replace(case=case._replace(x=case.x[0], y=case.y[0]))
        for style, arrays in product(("dict", "tree"), self.arrays):
            answer = self._try(alone, Convention(style, arrays))
            if answer.error is None and _fits(answer, case):
                raise UserError(f"{self.name} takes one example at a time: {signatures.WRAP}")

    def _conventions(self) -> Iterator[Convention]:
        """The likeliest first: rows before columns, labels before one-hot, the usual names before others."""
        if self.is_class:
            for columns, one_hot in product((False, True), (False, True)):
                yield Convention("dict", self.arrays[0], Layout(columns=columns, one_hot=one_hot))
            return
        kinds = self._by_name()
        by_name = kinds is not None
        namings: tuple[str, ...] = NAMINGS
        if kinds is not None and "params" not in kinds.values():
            namings = ("W{}",)
        elif kinds is not None and "sizes" in kinds.values():
            namings = ("flat", *NAMINGS)
        plain: list[str] = [
            n for n in ("W{}", "tree", "w{}") if n in namings or (n == "tree" and len(namings) > 1)
        ]
        for naming, arrays in product(plain, self.arrays):
            yield Convention(STYLES.get(naming, naming), arrays, Layout(naming), by_name)
        orders = [(False, False), (False, True), (True, False)]
        for (columns, turned), one_hot, naming in product(orders, (True, False), namings):
            yield Convention("named", self.arrays[0], Layout(naming, columns, one_hot, turned), by_name)
            if not columns and not turned:
                yield Convention("named", self.arrays[0], Layout(naming), by_name)

    def _try(self, question: Question, convention: Convention) -> Answer:
        case = question.case
        before = Held(case.params, case.x, case.y, question.masks)
        try:
            with quiet(), jax.enable_x64(True):
                if self.is_class:
                    with drawn(question.masks, case.config.dropout):
                        result, held, places = self._ask_class(case, convention.layout)
                    held = held._replace(masks=question.masks)
                    loss, grads = parts_of(result, Layout())
                    found, dtypes = leaves(grads, case.config)
                    _as_kept(found, places)
                else:
                    result, held = self._ask_function(question, convention)
                    loss, grads = parts_of(result, convention.layout)
                    if convention.style != "tree" and (grads := convention.layout.leaves(grads, case)):
                        grads = {f"{NAMES[f]}{k + 1}": leaf for (k, f), leaf in grads.items()}
                    found, dtypes = leaves(grads, case.config)
                after = Held(*plain(held))
        except (Exception, SystemExit) as error:
            return Answer(None, error=where(error, self._written))
        changed = tuple(name for name, a, b in zip(Held._fields, after, before, strict=True) if not same(a, b))
        return Answer(found, loss, dtypes, changed, after if changed else None)

    def _ask_class(self, case: Case, layout: Layout) -> tuple[Any, Held, dict[At, int]]:
        """Its answer, its arguments then, and the places of its leaves: 1 for a bias of two dimensions, or
        weights (out, in).
        """
        key = (len(case.config.hidden), case.config.normalized)
        result, kept, x, y, plan = asking.ask(self.target, case, layout, self._plans.get(key))
        if len(set(case.config.sizes)) == len(case.config.sizes):
            self._plans[key] = plan
        values = {at: _plain(leaf) for at, leaf in kept.items()}
        other = {
            at: int(at in plan.places.turned or (at[1] != "w" and leaf.ndim == 2)) for at, leaf in values.items()
        }
        tree = tuple(
            type(layer)(
                *(_shaped(values[k, f], np.shape(leaf), other[k, f]) for f, leaf in layer._asdict().items())
            )
            for k, layer in enumerate(case.params)
        )
        one_hot = layout.columns or layout.one_hot
        return result, Held(tree, case.x if one_hot else x, case.y if one_hot else y), other

    def _ask_function(self, question: Question, convention: Convention) -> tuple[Any, "Held"]:
        case, convert = question.case, _converter(convention.arrays)
        if self.is_linear:
            return self._ask_linear(case)
        layout = convention.layout
        tree = convention.style == "tree"
        given: Any = jax.tree.map(np.copy, case.params) if tree else layout.hold(case)
        given = jax.tree.map(convert, given)
        x, y = map(convert, layout.examples(case))
        masks = [convert(mask.copy()) for mask in question.masks]
        extra = {
            "config": case.config,
            "key": jax.random.key(case.seed),
            "masks": masks if case.config.dropout else None,
        }
        options = {name: value for name, value in extra.items() if name in self.parameters}
        kinds = self._by_name() if convention.by_name else None
        if kinds is not None:
            values = {name: self._value(name, kind, given, x, y, case) for name, kind in kinds.items()}
            result = self.target(
                *_positional(self.parameters, values), **_keywords(self.parameters, values), **options
            )
        elif self.takes_l2:
            name = signatures.penalty_name(self.parameters, others=EXTRA)
            if name is None and signatures.positions(self.parameters) < 4 and self.parameters:
                name = "l2" if signatures.takes_anything(self.parameters) else None
            last, named = ((), {name: case.l2}) if name is not None else ((case.l2,), {})
            result = self.target(given, x, y, *last, **named, **options)
        else:
            result = self.target(given, x, y, **options)
        held = given if tree else layout.tree(given, case)
        if not layout.columns and not layout.one_hot:
            return result, Held(held, x, y, masks)
        return result, Held(held, x.T if layout.columns else x, case.y, masks)

    def _ask_linear(self, case: Case) -> tuple[Any, "Held"]:
        """Asks f(W, X, y, lambda): the bias is the weight of an input so large that its penalty is nothing."""
        layer = case.params[0]
        w = np.vstack([layer.w, layer.b / LARGE])
        x, y = np.hstack([case.x, np.full((len(case.x), 1), LARGE)]), case.y.copy()
        given = {"linear": w, "x": x, "y": y, "l2": case.l2}
        result = self.target(**{name: given[kind] for name, kind in (self._by_name() or {}).items()})
        loss, grad = result if isinstance(result, tuple) else (None, result)
        if np.shape(grad) != w.shape:
            raise UserError("returned a gradient that has not the shape of W")
        grads = {"W1": grad[:-1], "b1": grad[-1] / LARGE}
        held = Held((type(layer)(w[:-1], w[-1] * LARGE),), x[:, :-1], y)
        return ((loss, grads) if loss is not None else grads), held

    def _value(self, name: str, kind: str, given: Any, x: Any, y: Any, case: Case) -> Any:
        if kind == "leaf":
            return next(leaf for key, leaf in given.items() if key.lower() == name.lower().replace("_", ""))
        if kind in ("weights", "biases"):
            return [leaf for key, leaf in given.items() if key[0] == ("W" if kind == "weights" else "b")]
        return {"params": given, "x": x, "y": y, "l2": case.l2, "sizes": list(case.config.sizes)}[kind]


LARGE = 2.0**20
EXTRA = ("config", "key", "masks")
STYLES = {"W{}": "dict", "w{}": "small letters"}


def _kind(name: str, beside: set[str]) -> str | None:
    """What an argument is, by its name."""
    if is_penalty(name):
        return "l2"
    if re.fullmatch(r"[wWb]_?\d", name):
        return "leaf"
    if name in WEIGHT_LISTS and beside & set(BIAS_LISTS):
        return "weights"
    if name in BIAS_LISTS and beside & set(WEIGHT_LISTS):
        return "biases"
    called = {"params": is_params, "x": is_input, "y": is_label, "sizes": is_sizes}
    return "params" if name == "weights" else next((kind for kind, is_it in called.items() if is_it(name)), None)


def _positional(parameters: Mapping[str, inspect.Parameter], values: Mapping[str, Any]) -> list[Any]:
    return [v for n, v in values.items() if parameters[n].kind is inspect.Parameter.POSITIONAL_ONLY]


def _keywords(parameters: Mapping[str, inspect.Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in values.items() if parameters[n].kind is not inspect.Parameter.POSITIONAL_ONLY}


def _fits(answer: Answer, case: Case) -> bool:
    """Whether each weight's gradient that there is has the weight's shape."""
    pairs = [
        (leaf, np.shape(case.params[k].w))
        for k, layer in enumerate(answer.leaves or [])
        if (leaf := layer.get("w")) is not None
    ]
    return all(leaf.shape == shape for leaf, shape in pairs)


def parts_of(result: Any, layout: Layout) -> tuple[float | None, Any]:
    """(loss or None, gradients) from what was returned; a flat vector is gradients where parameters are one."""
    if layout.naming == "flat":
        pair = result if isinstance(result, tuple) else (None, result)
        loss = None if pair[0] is None else float(np.asarray(pair[0]).reshape(()))
        return loss, pair[1]
    return parts(result)


def _shaped(value: np.ndarray, shape: tuple[int, ...], other: int) -> np.ndarray:
    return value.T if other and len(shape) == 2 else value.reshape(shape)


def _as_kept(leaves: list[dict[str, np.ndarray]], other: dict[At, int]) -> None:
    """Brings gradients of weights kept as (out, in), and of biases kept as rows or columns, into the case's."""
    for k, field in (at for at, there in other.items() if there):
        leaf = leaves[k].get(field, np.zeros(0))
        if leaf.ndim == 2:
            leaves[k][field] = leaf.T if field == "w" else leaf.reshape(-1) if 1 in leaf.shape else leaf


def _plain(value: Any) -> np.ndarray:
    return np.asarray(plain((value,))[0])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What a candidate prints, warns of, or changes in numpy's global state stays its own."""
    state = np.random.get_state()  # noqa: NPY002  # the candidate may use it
    np.random.seed(0)  # noqa: NPY002
    nowhere = open(os.devnull, "w")  # noqa: SIM115  # the candidate may close what is below it
    try:
        with (
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            np.errstate(all="ignore"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        with contextlib.suppress(OSError):
            nowhere.close()


def _converter(arrays: str) -> Callable[[np.ndarray], Any]:
    if arrays == "torch":
        try:
            import torch  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise UserError(
                "the candidate wants torch arrays: install torch, which is not a dependency"
            ) from error
        return lambda array: torch.from_numpy(array)
    return jnp.asarray if arrays == "jax" else lambda array: array


def _files(target: Any) -> set[str]:
    """The files in which a function, or the methods of a class, were written, also where a program made them."""
    functions = [target, *(vars(target).values() if inspect.isclass(target) else ())]
    codes = [getattr(inspect.unwrap(f), "__code__", None) for f in functions if callable(f)]
    return {code.co_filename for code in codes if code is not None}


def where(error: BaseException, target: Any) -> str:
    """`file.py:31: ValueError: message`, with the last line that lies in the candidate's own file."""
    if isinstance(error, UserError):
        return str(error)
    frames, files = traceback.extract_tb(error.__traceback__), _files(target)
    own = [frame for frame in frames if frame.filename in files]
    if not own and frames and os.path.dirname(frames[-1].filename) != os.path.dirname(__file__):
        own = frames[-1:]  # of code that has no file; no line of this package is the user's
    what = " ".join(str(error).split()) or "no message"
    place = f"{own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}: " if own else ""
    return f"{place}{type(error).__name__}: {what}"


def _line(message: str) -> float:
    """How far an attempt came: to a line of the candidate's, or to where a sentence says what is missing."""
    start, _, rest = message.partition(":")
    number = rest.partition(":")[0]
    return int(number) if number.isdigit() else 0 if start.endswith(("Error", "Exit")) else np.inf
