"""Gradients as people have them: course classes and functions, with numpy, jax or torch arrays.

A class is built and asked as the course assignments do:
  TwoLayerNet(input_size, hidden_size, output_size, ...).loss(X, y, reg) -> (loss, grads)
  TwoLayerNet(input_dim, hidden_dim, num_classes, weight_scale, reg).loss(X, y)
  FullyConnectedNet(hidden_dims, input_dim=, num_classes=, reg=, weight_scale=, dtype=).loss(X, y)
with its parameters in `.params`: W1, b1, W2, b2, ... (and gamma1, beta1, ... under batch normalisation).

A function is f(params, x, y, l2) -> grads or (loss, grads); params is a dict with the names above (or with small
letters), or this package's tuple of layers. Arguments called `config`, `key` and `masks` are given if it has
them: the MLPConfig, the jax key of the dropout mask, and the masks themselves, per hidden layer (N, H), True
where a unit is kept. Everything runs under jax_enable_x64.
"""

import contextlib
import importlib.util
import inspect
import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import course_class
from mlp_jax.gradcheck.answers import NAMES, Answer, Held, Question, leaves, parts, plain, same
from mlp_jax.gradcheck.battery import Case
from mlp_jax.model import MLPConfig, Params

ARRAYS = ("numpy", "jax", "torch")
STYLES = ("dict", "tree", "small letters")


class Convention(NamedTuple):
    """How a function wants its parameters, and its arrays."""

    style: str
    arrays: str


class Candidate:
    """A class or function, and how it is called. Raises UserError if it is neither."""

    def __init__(self, target: Any, arrays: str = "auto") -> None:
        if not callable(target):
            raise UserError(f"{target!r} is neither a class nor a function: name one to check")
        self.target, self.name = target, getattr(target, "__name__", type(target).__name__)
        self.is_class = inspect.isclass(target)
        self.parameters = course_class.signature(target)
        self.arrays = self._likely_arrays() if arrays == "auto" else (arrays,)
        self.convention: Convention | None = Convention("dict", self.arrays[0]) if self.is_class else None

    def _likely_arrays(self) -> tuple[str, ...]:
        """For a class numpy; for a function torch first where its file names it, and last where it is loaded."""
        if self.is_class:
            return ("numpy",)
        space = getattr(inspect.unwrap(self.target), "__globals__", {})
        if any(getattr(value, "__name__", "").partition(".")[0] == "torch" for value in space.values()):
            return ("torch", "numpy")
        return ("numpy", "jax", "torch") if importlib.util.find_spec("torch") else ("numpy", "jax")

    def default_configs(self) -> list[MLPConfig]:
        """The networks to check when none is named: two layers, or several depths for a class of any depth."""
        depths = [(6, 8), (6,), (6, 8, 9)] if self.is_class and "hidden_dims" in self.parameters else [(6,)]
        return [MLPConfig(hidden=hidden, inputs=7, classes=4, dtype="float64") for hidden in depths]

    def leaf_name(self, k: int, field: str) -> str:
        """The candidate's own name of a leaf: W1, or layer1.w."""
        if self.convention is not None and self.convention.style == "tree":
            return f"layer{k + 1}.{field}"
        name = f"{NAMES[field]}{k + 1}"
        return name.lower() if self.convention is not None and self.convention.style != "dict" else name

    def answer(self, question: Question) -> Answer:
        """The candidate's answer to one case; an exception becomes part of it."""
        return self._try(question, self.convention or Convention("dict", self.arrays[0]))

    def settle(self, question: Question) -> str | None:
        """Finds out how a function is called. Returns the most telling error if it cannot be."""
        if self.convention is not None:
            return None
        failures = []
        for style, arrays in product(STYLES, self.arrays):
            error = self._try(question, Convention(style, arrays)).error
            if error is None:
                self.convention = Convention(style, arrays)
                return None
            failures.append(error)
        return max(failures, key=_line)  # the attempt that came furthest through the candidate's file

    def _try(self, question: Question, convention: Convention) -> Answer:
        case = question.case
        before = Held(case.params, case.x, case.y, question.masks)
        try:
            with _quiet(), jax.enable_x64(True):
                if self.is_class:
                    result, held = self._ask_class(case)
                    held = held._replace(masks=question.masks)
                else:
                    result, held = self._ask_function(question, convention)
                after = Held(*plain(held))
                loss, grads = parts(result)
                found, dtypes = leaves(grads, case.config)
        except (Exception, SystemExit) as error:
            return Answer(None, error=where(error, self.target))
        changed = tuple(name for name, a, b in zip(Held._fields, after, before, strict=True) if not same(a, b))
        return Answer(found, loss, dtypes, changed, after if changed else None)

    def _ask_class(self, case: Case) -> tuple[Any, "Held"]:
        result, net, x, y = course_class.ask(self.target, case, _named(case.params, "dict"))
        return result, Held(_tree(net.params, case.params, "dict"), x, y)

    def _ask_function(self, question: Question, convention: Convention) -> tuple[Any, "Held"]:
        case, convert = question.case, _converter(convention.arrays)
        given: Any = jax.tree.map(lambda leaf: convert(leaf.copy()), case.params)
        if convention.style != "tree":
            given = _named(given, convention.style)
        x, y = convert(case.x.copy()), convert(case.y.copy())
        masks = [convert(mask.copy()) for mask in question.masks]
        extra = {
            "config": case.config,
            "key": jax.random.key(case.seed),
            "masks": masks if case.config.dropout else None,
        }
        options = {name: value for name, value in extra.items() if name in self.parameters}
        name = course_class.penalty_name(self.parameters, others=tuple(extra))
        if name is None and course_class.positions(self.parameters) < 4 and self.parameters:
            name = "l2" if course_class.takes_anything(self.parameters) else None
        if name is not None:
            result = self.target(given, x, y, **{name: case.l2}, **options)
        else:
            result = self.target(given, x, y, case.l2, **options)
        held = given if convention.style == "tree" else _tree(given, case.params, convention.style)
        return result, Held(held, x, y, masks)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


def _named(params: Params, style: str) -> dict[str, Any]:
    names = {f: n if style == "dict" else n.lower() for f, n in NAMES.items()}
    return {
        f"{names[field]}{k}": leaf for k, layer in enumerate(params, 1) for field, leaf in layer._asdict().items()
    }


def _tree(named: Mapping[str, Any], like: Params, style: str) -> Params:
    """The dict's arrays as layers; an empty array where the candidate has taken one away."""
    names = iter(_named(like, style))
    layers = [[named.get(next(names), np.zeros(0)) for _ in layer] for layer in like]
    return tuple(type(layer)(*leaves) for layer, leaves in zip(like, layers, strict=True))


def where(error: BaseException, target: Any) -> str:
    """`file.py:31: ValueError: message`, with the last line that lies in the candidate's own file."""
    if isinstance(error, UserError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    try:
        file = inspect.getsourcefile(inspect.unwrap(target)) if target is not None else None
    except (TypeError, OSError):  # made by a program; defined in a notebook
        file = None
    own = [frame for frame in frames if frame.filename == file]
    what = " ".join(str(error).split()) or "no message"
    place = f"{own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}: " if own else ""
    return f"{place}{type(error).__name__}: {what}"


def _line(message: str) -> float:
    """How far an attempt came: to a line, or to the end, with something returned that will not do."""
    number = message.partition(":")[2].partition(":")[0]
    return int(number) if number.isdigit() else np.inf if message.startswith("returned") else 0
