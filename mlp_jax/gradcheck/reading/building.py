"""Builds an object of somebody's class for a network, by what its constructor's arguments are called."""

import contextlib
import inspect
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import holders
from mlp_jax.gradcheck.reading.answers import plain
from mlp_jax.gradcheck.reading.given import data, told
from mlp_jax.gradcheck.reading.layouts import Layout
from mlp_jax.gradcheck.reading.names import ALL_SIZES, DATA, DEPTHS, LABELS, numbers, size_of, width
from mlp_jax.gradcheck.reading.paths import arrays, exchange
from mlp_jax.gradcheck.reading.refusals import refuse_pictures
from mlp_jax.gradcheck.reading.settings import Settings, of_depth, settings_name
from mlp_jax.gradcheck.reading.signatures import TRAINS, WRAP, method_of, needed, signature, takes_anything
from mlp_jax.gradcheck.truth import Case
from mlp_jax.nn.config import MLPConfig

MAKERS = re.compile(
    r"_*(re)?(init(iali[sz](e|ation))?|build|make|create|setup|reset)(_?(weights?|param(eter)?s|network|net|model|layers?|and|biases))*"
)
ONE_OUTPUT = "has one output"  # what is said of a class, so
NUMBERED = re.compile(r"^(n_?)?h(id|idden)?_?(size|dim|layer|units)?_?\d(_\w+)?$")


def build(target: Any, case: Case, layout: Layout) -> Any:
    """An object of the class for the case's network. Raises UserError if the class has no room for it.

    layout: of the data, if the constructor wants them.
    """
    parameters = signature(target)
    refuse_pictures(target, parameters)
    given = told(target, case, parameters) | data(case, parameters, layout)
    try:
        if (settings := settings_name(parameters)) is not None:
            net = target(**given, **{settings: Settings(target, case, settings)})
        else:
            net = _sized(target, case, parameters, given)
    except TypeError as error:
        if f"{target.__name__}.__init__()" not in str(error):
            raise
        takes = ", ".join(parameters)
        raise UserError(
            f"{target.__name__} wants more than sizes: its constructor takes ({takes}): {WRAP}"
        ) from error
    _put_data(net, case, given, layout)
    if getattr(net, "W", given) is None and not case.config.hidden:  # which training would make
        net.W = np.zeros((case.config.inputs, case.config.classes))
    if not any(np.ndim(array) == 2 for _, array in arrays(net)):
        _make_parameters(net, case)
    return net


def _sized(target: Any, case: Case, parameters: dict[str, inspect.Parameter], named: dict[str, Any]) -> Any:
    """An object, its widths given as the constructor's arguments are called, else by place."""
    config = case.config
    if not config.hidden and not parameters:
        return target()
    by_kind = {kind: [n for n in parameters if size_of(n) == kind] for kind in ("input", "hidden", "classes")}
    groups = [numbers(parameters, names) for names in by_kind.values()]
    ends = {group[0]: n for group, n in zip(groups[::2], (config.inputs, config.classes), strict=True) if group}
    if not config.hidden and not groups[1]:
        rest = [n for n in needed(parameters.values()) if n not in {*named, *ends}]
        if ends or len(rest) == 1:  # the input's, whatever it is called
            return target(**named, **(ends or {rest[0]: config.inputs}))
    if len(ends) == 2 and set(parameters) == {*named, *ends}:  # the hidden width is the class's own
        net = target(**named, **ends)
        _resize(net, case)
        return net
    depths = next((name for name in DEPTHS if name in parameters), None)
    if depths is not None:
        has_ends = ends or any(n in named for n in DATA) or takes_anything(parameters)
        return target(**named, **{depths: list(config.hidden if has_ends else config.sizes)}, **ends)
    sizes = next((name for name in ALL_SIZES if name in parameters), None)
    if sizes is not None and len(ends) == 2:  # then it is the hidden ones'
        groups[1] = [sizes]
    elif sizes is not None:
        return target(**named, **{sizes: list(config.sizes)})
    numbered = numbered_widths(parameters)
    if numbered and len(numbered) == len(config.hidden):
        widths = dict(zip(numbered, config.hidden, strict=True))
        return target(**named, **widths, **ends) if len(ends) == 2 else target(*config.sizes, **named)
    if not numbered and not any(groups) and named.keys() >= set(needed(parameters.values())):
        net = target(**named)
        _resize(net, case, _forms(*_rows_and_labels(named), case))
        return net
    if numbered or (len(config.hidden) > 1 and not groups[1]):
        raise of_depth(target, max(len(numbered), 1))
    several = list(config.hidden)
    forms: list[Any] = [several, *several[:1]] if len(several) > 1 else [several[0], several]
    forms = forms[:1] if len(set(several)) > 1 else forms
    return _built(target, groups, forms[::-1] if _is_list(parameters, groups[1]) else forms, config, named)


def numbered_widths(parameters: dict[str, inspect.Parameter]) -> list[str]:
    """Arguments that are one hidden width each: hidden1, hidden_size_2, n_h1."""
    return [name for name in parameters if NUMBERED.match(name)]


def _is_list(parameters: dict[str, inspect.Parameter], names: list[str]) -> bool:
    """Whether a hidden width's default or annotation is a list."""
    kinds = [(parameters[name].default, str(parameters[name].annotation).lower()) for name in names]
    return any(
        isinstance(default, (list, tuple)) or "list" in words or "sequence" in words for default, words in kinds
    )


def _built(target: Any, groups: Any, widths: list[Any], config: MLPConfig, named: dict[str, Any]) -> Any:
    """An object, with the first form of the hidden width that it takes: a number, or a list."""
    try:
        return _by_width(target, groups, widths[0], config, named)
    except (TypeError, AttributeError):
        for width in widths[1:]:
            with contextlib.suppress(TypeError, AttributeError):
                return _by_width(target, groups, width, config, named)
        raise


def _by_width(target: Any, groups: list[list[str]], width: Any, config: MLPConfig, named: dict[str, Any]) -> Any:
    sizes = (config.inputs, width, config.classes)
    known = {g[0]: size for g, size in zip(groups, sizes, strict=True) if g}
    one_output = config.classes == 1 and all(groups[:2])
    if all(groups) or one_output or (groups[1] and any(n in named for n in DATA)):
        return target(**named, **known)
    if config.classes == 1 and len(needed(signature(target).values())) == 2 and not named:
        return target(*sizes[:2])  # the one output is the class's own
    try:
        inspect.signature(target).bind(*sizes, **named)
    except TypeError as error:
        raise UserError(
            f"{target.__name__} is not built by an input, a hidden and an output size: its constructor takes "
            f"({', '.join(signature(target)) or 'nothing'}): {WRAP}"
        ) from error
    except ValueError:  # it does not tell
        pass
    return target(*sizes, **named)


def _put_data(net: Any, case: Case, given: Mapping[str, Any], layout: Layout) -> None:
    """Puts the case's examples and labels where the object keeps those that it was built with."""
    rows, labels = _rows_and_labels(given)
    x, y = layout.examples(case)
    pairs = list(zip(_forms(rows, labels, case), _forms(x, None if labels is None else y, case), strict=False))
    for name, kept in list(getattr(net, "__dict__", {}).items()):
        equal = [new for old, new in pairs if isinstance(kept, np.ndarray) and np.array_equal(kept, old)]
        if equal:
            setattr(net, name, equal[0].copy())


def _rows_and_labels(given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The data among a constructor's arguments; None for what is not among them."""
    rows, labels = (next((given[n] for n in names if n in given), None) for names in (DATA, LABELS))
    return rows, labels


def _forms(x: Any, y: Any, case: Case) -> list[np.ndarray]:
    """The data as an object may keep them: labels one-hot too, and all of it transposed; none without x."""
    if x is None:
        return []
    found = [x, *([] if y is None else [y])]
    found += [np.eye(max(case.config.classes, 2))[y]] if y is not None and y.ndim == 1 else []
    return [*found, *(each.T for each in found)]


def _make_parameters(net: Any, case: Case) -> None:
    """Calls the method that makes the parameters of an object that is built without any."""
    config = case.config
    maker = next(
        (m for n in dir(net) if MAKERS.fullmatch(n) and n != "__init__" and callable(m := getattr(net, n))), None
    )
    if maker is None:
        return
    ends, sizes = [config.inputs, config.classes], list(config.sizes)
    count = len(needed(signature(maker).values()))
    named = [width(name, config) for name in signature(maker)]
    tries: dict[int, list[list[Any]]] = {0: [[]], 1: [[sizes], [ends], [ends[0]]], 2: [ends, sizes[:2]]}
    for arguments in [named] if None not in named else tries.get(count, [sizes] if count == len(sizes) else []):
        with contextlib.suppress(Exception):
            maker(*arguments)
            holders.parameters(net, case)
            return


def _resize(net: Any, case: Case, data_: Sequence[np.ndarray] = ()) -> None:
    """Puts zeros of the case's shapes where the object keeps weights and biases, in the order of its layers.

    data_: what it may keep of the data that it was built with, as zeros of their shape will be its outputs.

    Raises UserError if its weights are not those of a network of as many layers.
    """
    sizes = case.config.sizes
    held = [(path, array) for path, array in holders.own_arrays(net) if np.ndim(array)]
    held = [(path, array) for path, array in held if not any(_is_of_data(plain(array), each) for each in data_)]
    once = list({id(array): array for _, array in held}.values())  # some are kept under several names
    weights = _weights(once, len(sizes) - 1)
    shapes = [np.shape(array) for array in weights]
    turned = _is_chain([shape[::-1] for shape in shapes]) and not _is_chain(shapes)
    if not weights:
        trains = method_of(net, TRAINS)
        steps = [getattr(net, name, None) for name in ("step", "update", "__call__")]
        is_optimiser = any({"grad", "grads", "gradients"} & signature(each).keys() for each in steps)
        does = "is an optimiser, whose step takes a gradient" if is_optimiser else "keeps no weights"
        does = f"makes its weights in {trains.__name__}, by an optimiser's steps" if trains else does
        raise UserError(f"{type(net).__name__} {does}: {WRAP}")
    if len(weights) != len(sizes) - 1 or not (turned or _is_chain(shapes)):
        raise UserError(f"{type(net).__name__} has {len(weights)} layers of weights, in sizes of its own: {WRAP}")
    if (1 in shapes[-1]) != (case.config.classes == 1):
        has = ONE_OUTPUT if 1 in shapes[-1] else "has several outputs"
        raise UserError(f"{type(net).__name__} {has}, in sizes of its own: {WRAP}")
    biases = [array for array in once if not any(array is each for each in weights)]
    new: list[tuple[Any, tuple[int, ...]]] = []
    for k, (array, shape) in enumerate(zip(weights, shapes, strict=True)):
        new.append((array, sizes[k : k + 2][::-1] if turned else sizes[k : k + 2]))
        width = shape[0 if turned else 1]
        own = next((b for b in biases if np.size(b) == width == max(np.shape(b))), None)
        if own is not None:
            biases = [b for b in biases if b is not own]
            new.append((own, tuple(sizes[k + 1] if n == width else n for n in np.shape(own))))
    for array, shape in new:
        for path in (path for path, each in held if each is array):
            exchange(net, path, np.zeros(shape))


def _is_of_data(array: np.ndarray, data_: np.ndarray) -> bool:
    return array.shape == data_.shape and (not array.any() or np.array_equal(array, data_))


def _weights(once: list[Any], layers: int) -> list[Any]:
    """The matrices, and where one is wanting the line of weights, no bias, that may lead to one output."""
    wide = [array for array in once if np.ndim(array) == 2 and 1 not in np.shape(array)]
    lines = [array for array in once if np.ndim(array) == 2 and np.size(array) > 1 and 1 in np.shape(array)]
    with_one = [[*(np.shape(array) for array in wide), np.shape(line)] for line in lines]
    ends = [_is_chain(s) or _is_chain([shape[::-1] for shape in s]) for s in with_one]
    last = [line for line, fits in zip(lines, ends, strict=True) if fits][:1]
    return [*wide, *last] if len(wide) == layers - 1 > 0 else wide


def _is_chain(shapes: list[tuple[int, ...]]) -> bool:
    return all(a[1] == b[0] for a, b in pairwise(shapes))
