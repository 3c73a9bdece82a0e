"""How a function wants its parameters and examples: what its arguments are called tells, and their defaults."""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

from mlp_jax.gradcheck.reading import signatures
from mlp_jax.gradcheck.reading.holders import Places
from mlp_jax.gradcheck.reading.layouts import FLAT, NAMINGS, ROWS, TREE, VECTOR, WITH_ROW, Layout
from mlp_jax.gradcheck.reading.names import (
    ALL_SIZES,
    BIAS_LISTS,
    WEIGHT_LISTS,
    is_input,
    is_label,
    is_params,
    is_penalty,
    numbers,
    size_of,
)

EXTRA = ("config", "key", "masks")
LEAF = re.compile(r"([wWbB]|[tT]heta)_?\d")
# (columns are examples, weights are the other way round)
ORDERS = ((False, False), (False, True), (True, False), (True, True))
ONE_LAYER = {"W", "w", "theta", "weights", "beta", "coef"}  # one array of weights may be called so
Kinds = dict[str, str]


class Convention(NamedTuple):
    """How a function wants its arrays, and its parameters.

    own: where the parameters are in a container of the candidate's own keys, if they are in one. style: "linear"
    or "one layer" for a function without hidden layers, of weights alone or with a bias.
    """

    arrays: str
    layout: Layout = Layout()
    by_name: bool = False
    own: Places | None = None
    style: str = ""

    @property
    def form(self) -> Layout | Places:
        """What holds the parameters, reads them and gradients, and names the leaves."""
        return self.own or self.layout


LETTERED = re.compile(r"([wWbB])_?(h|hid|hidden|xh|ih|o|out|output|y|hy|ho)")
HIDDEN = ("h", "hid", "hidden", "xh", "ih")


def numbered(name: str, beside: Iterable[str]) -> str:
    """The name; W1 for what is called W beside W2, W1 and W2 for Wh and Wo beside each other."""
    if (match := LETTERED.fullmatch(name)) is not None:
        layers = {each[2] in HIDDEN for n in beside if (each := LETTERED.fullmatch(n)) and each[1] == match[1]}
        return f"{match[1]}{1 if match[2] in HIDDEN else 2}" if len(layers) == 2 else name
    return f"{name}1" if f"{name}2" in beside else name


def kind_of(name: str, beside: set[str]) -> str | None:
    """What an argument is, by its name, and by what stands beside it."""
    if is_penalty(name):
        return "l2"
    if LEAF.fullmatch(numbered(name, beside)):
        return "leaf"
    if name in WEIGHT_LISTS and beside & set(BIAS_LISTS):
        return "weights"
    if name in BIAS_LISTS and beside & set(WEIGHT_LISTS):
        return "biases"
    if name == "weights" or is_params(name):
        return "params"
    if is_input(name) or is_label(name):
        return "x" if is_input(name) else "y"
    return "sizes" if name in ALL_SIZES else size_of(name)


def kinds_of(parameters: Mapping[str, inspect.Parameter]) -> Kinds | None:
    """What each argument without a default is, by its name; None if a name does not tell.

    Beside all that a network needs, the one that nothing tells is taken for lambda.
    """
    kinds: Kinds = {}
    untold = list[str]()
    for name, p in parameters.items():
        if p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        kind = kind_of(name, set(parameters))
        if name in ("W", "w") and kind is None:
            continue
        if kind is None and p.default is p.empty and name not in EXTRA:
            untold.append(name)
        if kind == "l2" and not numbers(parameters, [name]):
            continue
        if kind == "params" and isinstance(p.default, float):  # a probability, say
            continue
        if kind is not None:
            kinds[name] = kind
    there = set(kinds.values())
    alone = [name for name in ("W", "w") if name in parameters and "b" not in parameters and name not in kinds]
    if alone and "params" not in there:
        kinds[alone[0]] = "linear"
    if len(untold) == 1 and "l2" not in there:
        kinds[untold.pop()] = "l2"
    complete = {"x", "y"} <= there and {"params", "weights", "leaf", "linear"} & set(kinds.values())
    return kinds if complete and not untold else None


def hidden_layers(function: Any) -> int:
    """How many hidden layers a function has, if its arguments count the weights: W1, W2, W3; else one."""
    names = signatures.signature(function)
    weights = {name for name in names if re.fullmatch(r"([wW]|[tT]heta)_?\d", numbered(name, names))}
    return max(len(weights) - 1, 1)


def takes_l2(parameters: dict[str, inspect.Parameter]) -> bool:
    """Whether lambda has a way into a function: an argument that is called so, or a fourth that nothing tells."""
    anything = signatures.takes_anything(parameters) or not parameters
    named = signatures.penalty_name(parameters, others=EXTRA) is not None
    named = named or "l2" in (kinds_of(parameters) or {}).values()
    return named or anything or (kinds_of(parameters) is None and len(signatures.needed(parameters.values())) > 3)


def likely_arrays(*functions: Any) -> tuple[str, ...]:
    """torch first where the functions' file names it, but they not numpy alone; last where it was imported."""
    spaces = [getattr(inspect.unwrap(function), "__globals__", {}) for function in functions]
    if any("torch" in signatures.libraries(space) for space in spaces):
        used = set().union(*map(signatures.libraries_used, functions))
        return ("numpy", "torch") if "numpy" in used and "torch" not in used else ("torch", "numpy")
    return ("numpy", "jax", "torch") if "torch" in sys.modules else ("numpy", "jax")


def of_class(arrays: str) -> Iterator[Convention]:
    """The likeliest first: rows before columns, labels before one-hot."""
    for columns, one_hot in product((False, True), (False, True)):
        yield Convention(arrays, Layout(columns=columns, one_hot=one_hot))


def usual(kinds: Kinds | None, arrays: tuple[str, ...]) -> Iterator[Convention]:
    """The likeliest for a function: rows, labels, and the usual names, in any library's arrays."""
    namings, forms = _namings(kinds), ("W{}", TREE, "w{}")
    plain = [n for n in forms if n in namings or (n == TREE and len(namings) > 1)]
    for naming, library in product(plain, arrays):
        yield Convention(library, Layout(str(naming)), kinds is not None)


def of_one_layer(kinds: Kinds | None, arrays: tuple[str, ...], outputs: int) -> Iterator[Convention]:
    """Of a function without hidden layers: f(W, X, y), with the bias among the weights, or f(W, b, X, y).

    The weights of one output are a vector first, for a column of them may broadcast against the labels.
    """
    there = set((kinds or {}).values())
    style = "linear" if there & {"linear", "params"} else "one layer" if "weights" in there else ""
    namings = (VECTOR, "W{}") if outputs == 1 and style == "linear" else ("W{}", VECTOR)
    for library, (columns, turned), one_hot, naming in product(
        arrays, ORDERS, (False, True), namings if style else ()
    ):
        yield Convention(library, Layout(naming, columns, one_hot, turned), by_name=True, style=style)


def others(kinds: Kinds | None, arrays: str) -> Iterator[Convention]:
    """The other names and forms, rows before columns, one-hot labels too."""
    by_name = kinds is not None
    for (columns, turned), one_hot, naming in product(ORDERS, (True, False), _namings(kinds)):
        if naming.startswith(("flat theta", *WITH_ROW)) and (columns or turned):  # their order is in the name
            continue
        yield Convention(arrays, Layout(naming, columns, one_hot, turned), by_name)
        if not columns and not turned:
            yield Convention(arrays, Layout(naming), by_name)


def _namings(kinds: Kinds | None) -> tuple[str, ...]:
    if kinds is None:
        return NAMINGS
    if "params" not in kinds.values():
        with_column = any(name.lower().startswith("theta") for name, kind in kinds.items() if kind == "leaf")
        biases = any(name[0] == "b" for name in kinds)
        return ("W{}",) if biases else ("Theta+",) if with_column else ("W{}", *ROWS)
    if {"sizes", "input", "hidden", "classes"} & set(kinds.values()):
        return (*FLAT, *(n for n in NAMINGS if n not in FLAT))
    return NAMINGS
