"""What a candidate is asked and what it answers: arrays of any library, in any arrangement, made numpy's."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading.paths import one_for_two
from mlp_jax.gradcheck.truth import Case, Leaves
from mlp_jax.nn.config import MLPConfig

DTYPES = ("bfloat16", "float16", "float32", "float64")  # the least exact first
CONTAINERS = (Mapping, tuple, list)
ASSUMED = "there is no cost beside it, so its one output is judged by the binary cross-entropy"  # a note
COLUMNS = "its columns are the examples"  # a note begins so
At = tuple[int, str]  # layer and field
NAMES = {"w": "W", "b": "b", "scale": "gamma", "shift": "beta"}


class Question(NamedTuple):
    """A case, and its dropout masks, as a candidate is asked."""

    case: Case
    masks: list[np.ndarray]


class Held(NamedTuple):
    """The arguments of one call."""

    params: Any
    x: Any
    y: Any
    masks: Any = ()


class Answer(NamedTuple):
    """What a candidate gave for one case.

    leaves: its gradient per layer and field in float64, without the leaves that it left out; None if it failed.
    loss: None if it returns none. dtypes: of its leaves, as they were returned. mutated: the names of the
    arguments that it changed, and `after` their content then. error: the exception, with the candidate's own line.
    """

    leaves: Leaves | None
    loss: float | None = None
    dtypes: Mapping[tuple[int, str], str] = {}
    mutated: tuple[str, ...] = ()
    after: Held | None = None
    error: str | None = None


class Asked(ABC):
    """A candidate that can be asked: in this process (`candidates`), or in another.

    takes_l2: whether lambda has a way into it. unbiased: which layers have no bias, by number from 0; it is known
    once it was asked. drops: whether it draws dropout masks unless it is told not to. layer: where the candidate
    is no network but a layer, or a file of layers: its report, for a seed and an objective.
    """

    name: str
    notes: Sequence[str] = ()
    takes_l2: bool = True
    unbiased: tuple[int, ...] = ()
    drops: bool = False
    layer: Callable[[int, str], Any] | None = None

    @abstractmethod
    def default_configs(self) -> list[MLPConfig]:
        """The networks to check when none is named."""

    @abstractmethod
    def ask(self, questions: list[Question]) -> list[Answer]:
        """One answer per question. Raises UserError if the candidate cannot be asked."""

    def others(self, config: MLPConfig) -> list[MLPConfig]:
        """Networks that it may be the gradient of, if it is not that of `config`, the likeliest first."""
        return []

    @abstractmethod
    def leaf_name(self, k: int, field: str) -> str:
        """The candidate's own name of a leaf."""


def plain(tree: Any) -> Any:
    """Tuples and lists of arrays, of numpy arrays. Raises UserError for what is no number."""
    return jax.tree.map(_numpy, tree, is_leaf=lambda leaf: not isinstance(leaf, (tuple, list)))


def double(tree: Any) -> np.ndarray:
    """A copy of any array, or of a list of such, of numpy in float64. Raises UserError for what is no number."""
    return np.array(plain(tree), np.float64)


def _numpy(value: Any) -> np.ndarray:
    """Any array, of numpy, jax or torch, in float64, or int64 for whole numbers. Raises UserError for the rest."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.double().numpy() if value.dtype.is_floating_point else value.numpy()
    try:
        array = np.array(value)
        array = array.real if array.dtype.kind == "c" and not array.imag.any() else array
        array = array.astype(np.float64) if array.dtype == object else array
    except (TypeError, ValueError):
        array = np.array("not numbers")
    if array.dtype.kind not in "fiub" and str(array.dtype) != "bfloat16":
        raise UserError(f"returned {type(value).__name__} where an array of real numbers belongs")
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64)


def same(a: Any, b: Any) -> bool:
    """Whether two trees of numpy arrays are equal; a NaN equals a NaN."""

    def equal(x: np.ndarray, y: np.ndarray) -> bool:
        return x.shape == y.shape and bool(np.all((x == y) | ((x != x) & (y != y))))

    return all(map(equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def parts(result: Any) -> tuple[float | None, Any]:
    """(loss or None, gradients) from what was returned."""
    if isinstance(result, tuple):
        result = one_for_two(result)
        result = result[0] if len(result) == 1 and isinstance(result[0], Mapping) else result
    if isinstance(result, tuple) and len(result) > 2 and sum(isinstance(part, Mapping) for part in result) == 1:
        grads = next(part for part in result if isinstance(part, Mapping))
        first = next((part for part in result if not isinstance(part, CONTAINERS) and np.ndim(part) == 0), None)
        if first is None:
            return None, grads
        result = (first, grads)
    if isinstance(result, tuple) and len(result) > 2 and len(result) % 2 and _is_loss_last(result):
        result = (result[-1], *result[:-1])
    if isinstance(result, tuple) and len(result) > 2 and not isinstance(result[0], CONTAINERS):
        result = _first_and_rest(result)
    if isinstance(result, (tuple, list)) and len(result) == 2:
        for loss, grads in (result, result[::-1]):
            if isinstance(grads, CONTAINERS) and not isinstance(loss, CONTAINERS) and np.size(_numpy(loss)) == 1:
                return float(_numpy(loss).reshape(())), grads
    refuse_alike(result)
    if not isinstance(result, CONTAINERS):
        kind = type(result).__name__
        raise UserError(f"returned {kind}, not gradients: return grads, or (loss, grads), with grads a dict")
    return None, result


def refuse_alike(result: Any) -> None:
    """Raises UserError for two dicts alike in a tuple: nothing tells which has gradients; a list is of layers."""
    pair = result if isinstance(result, tuple) and len(result) == 2 else ()
    shapes = [{n: getattr(v, "shape", None) for n, v in p.items()} for p in pair if isinstance(p, Mapping)]
    if len(shapes) == 2 and shapes[0] == shapes[1] != {}:
        raise UserError("returned two dicts of the same names: return grads, or (loss, grads), with grads a dict")


def _is_loss_last(result: tuple[Any, ...]) -> bool:
    """Whether a number follows gradients in pairs: (dw, db, loss)."""
    ends = result[0], result[-1]
    numbers = [p is None or (not isinstance(p, CONTAINERS) and np.size(_numpy(p)) == 1) for p in ends]
    return numbers == [False, True] and ends[1] is not None


def _first_and_rest(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """(loss, gradients) of (loss, dW1, db1, ...), (loss, weights', biases') or (loss, gradients, more)."""
    if result[0] is None or np.size(_numpy(result[0])) != 1:
        return result
    held = [part for part in result[1:] if isinstance(part, CONTAINERS)]
    return result[0], held[0] if len(held) == 1 else result[1:]


def places_of(config: MLPConfig) -> list[At]:
    """Layer and field of every parameter."""
    numbers = [*(2 if unit.norm == "none" else 4 for unit in config.units), 2]
    return [(k, field) for k, number in enumerate(numbers) for field in list(NAMES)[:number]]


def leaves(found: Mapping[At, Any], config: MLPConfig) -> tuple[Leaves, dict[At, str]]:
    """Gradients by layer and field in float64, and the dtypes they came in."""
    arrays: Leaves = [{} for _ in config.sizes[1:]]
    for k, field in places_of(config):
        if (k, field) in found:
            arrays[k][field] = _numpy(found[k, field]).astype(np.float64)
    dtypes = {at: str(getattr(leaf, "dtype", "")).removeprefix("torch.") for at, leaf in found.items()}
    return arrays, {at: dtype if dtype in DTYPES else "float64" for at, dtype in dtypes.items()}


def with_other_biases(question: Question, numbers: Sequence[int]) -> Question:
    """The same network with no numbers as the biases of these layers, which layers without any do not see."""
    layers = tuple(
        layer._replace(b=np.full_like(layer.b, np.nan)) if k in numbers else layer
        for k, layer in enumerate(question.case.params)
    )
    return question._replace(case=question.case._replace(params=layers))


def equal(a: Answer, b: Answer) -> bool:
    """Whether two answers are the same: then the network has nothing of what was changed between them."""
    pairs_of = zip(a.leaves or [], b.leaves or [], strict=False)
    return (
        b.error is None
        and a.loss == b.loss
        and all(np.array_equal(leaf, y.get(f, np.nan)) for x, y in pairs_of for f, leaf in x.items())
    )


def alike(a: Leaves, b: Leaves) -> bool:
    """Whether leaves are equal but for rounding."""
    pairs_of = ((leaf, other.get(f)) for layer, other in zip(a, b, strict=True) for f, leaf in layer.items())
    return all(
        other is None or (leaf.shape == other.shape and np.allclose(leaf, other, rtol=1e-6, atol=1e-12))
        for leaf, other in pairs_of
    )


def fits(answer: Answer, case: Case) -> bool:
    """Whether each weight's gradient that there is has the weight's shape."""
    pairs = zip(answer.leaves or [], case.params, strict=False)
    return all("w" not in layer or layer["w"].shape == np.shape(own.w) for layer, own in pairs)
