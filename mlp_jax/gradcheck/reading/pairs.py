"""A network as two functions of a file: forward(X, parameters), and backward(...) with what forward gave.

They are joined into one function f(params, x, y, l2), which is asked as any other. What one gives and the other
takes is told by names: those of their arguments, and those that they return by. Two may also be a gradient and
the loss of the same arguments.
"""

import copy
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import arguments
from mlp_jax.gradcheck.reading.answers import CONTAINERS, plain
from mlp_jax.gradcheck.reading.beside import forward_beside
from mlp_jax.gradcheck.reading.conventions import kinds_of
from mlp_jax.gradcheck.reading.names import DROP, KEEP, plainly
from mlp_jax.gradcheck.reading.running import where
from mlp_jax.gradcheck.reading.signatures import FORWARDS, METHODS, WRAP, needed, signature

FORWARD_WORDS = ("forward_propagation", "forward_prop", "forward_pass", "forwardprop", "forward", "feed_forward")
LEAF = re.compile(r"^d?_?[wWbB]_?\d+$")
COUNTS = ("m", "n", "batchsize", "numexamples", "numsamples", "nsamples", "nexamples")
"""What people call the number of examples."""
DROPS, NO_COST, FAILURE = "_draws_dropout_masks", "_has_no_cost", "_loss_fails"
GRADIENT = re.compile(r"grad(ient)?s?|deriv(ative)?|backprop|back_prop|backward", re.IGNORECASE)
LOSS = re.compile(r"cost|loss|objective", re.IGNORECASE)
COSTS = (
    *METHODS, "cross_entropy_loss", "cross_entropy", "loss_function", "cost_function", "calculate_loss",
    "get_cost",
)  # fmt: skip


def joined(target: Any) -> Callable[..., Any] | None:
    """A function with the one beside it that it belongs to, as one: with a forward pass or a loss; else None."""
    return _with_forward(target) or _with_loss(target)


def _with_loss(target: Any) -> Callable[..., Any] | None:
    """A gradient function of a network, and the function beside it that gives the loss of the same arguments."""
    parameters, name = signature(target), getattr(target, "__name__", "")
    if inspect.isclass(target) or not GRADIENT.search(name) or kinds_of(parameters) is None:
        return None
    beside = getattr(inspect.unwrap(target), "__globals__", {}).items()
    losses = [f for name, f in beside if LOSS.search(name) and f is not target and inspect.isfunction(f)]
    losses.sort(key=lambda f: LOSS.sub("", f.__name__) != GRADIENT.sub("", name))  # logistic_loss, logistic_grad
    kinds = kinds_of(parameters) or {}
    loss = next((f for f in losses if list(signature(f)) == list(parameters)), None) or next(
        (f for f in losses if list((kinds_of(signature(f)) or {}).values()) == list(kinds.values())), None
    )
    if loss is None or len(signature(loss)) != len(parameters):
        return None
    names = dict(zip(parameters, signature(loss), strict=True))
    held = max(sum(kind in ("weights", "biases", "leaf") for kind in kinds.values()), 1)

    @functools.wraps(target)
    def run(*given: Any, **named: Any) -> Any:
        result, failure = None, ""
        try:
            result = loss(*copy.deepcopy(given), **{names[n]: copy.deepcopy(v) for n, v in named.items()})
        except Exception as error:
            failure = f"{loss.__name__} beside it fails, so its loss is not known: {where(error, None)}"
        grads, first = target(*given, **named), result[0] if isinstance(result, tuple) else result
        more = isinstance(grads, tuple) and len(grads) > held  # than the gradients, of which one may be a number
        setattr(run, FAILURE, failure)
        has_loss = more and not isinstance(grads[0], CONTAINERS) and np.size(grads[0]) == 1
        return grads if has_loss or first is None or np.size(first) != 1 else (first, grads)

    return run


def _with_forward(target: Any) -> Callable[..., Any] | None:
    """A backward function of a network, and the forward beside it, as one function; None if it is none.

    It takes labels and no parameters' dict with data, for that is a whole gradient function already.
    """
    kinds = {arguments.kind_of(name) for name in signature(target)}
    if (
        inspect.isclass(target)
        or not arguments.BACKWARD.search(getattr(target, "__name__", ""))
        or "y" not in kinds
    ):
        return None
    beside = getattr(inspect.unwrap(target), "__globals__", {})
    forward = _forward_of(target.__name__, beside)
    if forward is None or not _takes_parameters(forward):
        return None
    if not {"cache", "output"} & kinds and not set(arguments.returned(forward)) & set(signature(target)):
        return None
    return _asked_by_name(target, forward, _cost(beside, penalised="l2" in kinds))


def _forward_of(name: str, beside: Mapping[str, Any]) -> Any:
    names = [arguments.BACKWARD.sub(word, name, count=1) for word in FORWARD_WORDS]
    found = (forward_beside(name, beside), *(beside.get(n) for n in (*names, *FORWARD_WORDS, *FORWARDS)))
    return next((function for function in found if inspect.isfunction(function)), None)


def _takes_parameters(forward: Any) -> bool:
    return any(arguments.kind_of(name) == "params" or LEAF.match(name) for name in signature(forward))


def _cost(beside: Mapping[str, Any], *, penalised: bool) -> Any:
    """The cost beside a backward function: with a penalty, if that has one and there are two; None without any."""
    named = [beside.get(name) for name in COSTS] + [f for name, f in beside.items() if name.startswith(COSTS)]
    costs = [cost for cost in named if _is_cost(cost)]
    has_penalty = {id(c): any(arguments.kind_of(name) == "l2" for name in signature(c)) for c in costs}
    return min(costs, key=lambda cost: has_penalty[id(cost)] != penalised, default=None)


def _is_cost(cost: Any) -> bool:
    if not inspect.isfunction(cost):
        return False
    kinds = [arguments.kind_of(name) for name in needed(signature(cost).values())]
    return "output" in kinds and set(kinds) <= {"output", "y", "l2", "params", "x"}


def drops(function: Any) -> bool:
    """Whether it is joined of two functions that draw masks with a probability that is an argument of theirs."""
    return bool(getattr(function, DROPS, False))


def has_no_cost(function: Any) -> bool:
    """Whether it is joined of two functions that have no cost beside them."""
    return bool(getattr(function, NO_COST, False))


def failure(function: Any) -> str:
    """Why the loss that it is joined with gave nothing when it was last called, or ""."""
    return str(getattr(function, FAILURE, ""))


def _asked_by_name(backward: Any, forward: Any, cost: Any) -> Callable[..., Any]:
    """The function, with arguments for lambda and for dropout if one of them takes these."""
    functions = [f for f in (backward, cost) if f is not None]
    wanted = [n for n in needed(signature(backward).values()) if arguments.kind_of(n) in (None, "output")]
    # what sees the output, the labels and caches alone may be of any loss
    sees_data = any(arguments.kind_of(n) in ("params", "x") for n in signature(backward))
    chances = [n for n in {**signature(forward), **signature(backward)} if n in (*KEEP, *DROP)]

    def run(params: Any, x: Any, y: Any, l2: float, config: Any) -> Any:
        dropout = config.dropout
        known: dict[str, Any] = {"params": params, "x": x, "y": y, "l2": l2, "train": True}
        known |= {name: 1 - dropout if name in KEEP else dropout for name in chances}
        if not isinstance(params, dict):
            raise TypeError("the two functions take no other container")
        leaves = {plainly(key): leaf for key, leaf in params.items()}
        asked = (*signature(forward), *signature(backward))
        known |= {n: leaves[plainly(n)] for n in asked if LEAF.match(n) and plainly(n) in leaves}
        known |= {n: _examples(x, y) for n in asked if plainly(n) in COUNTS}
        returned = arguments.call(forward, known, backward)
        known |= arguments.kept(forward, returned, [n for n in wanted if n not in known])
        loss = None if cost is None else arguments.call(cost, known, backward)
        if cost is None and _is_sigmoid(output := plain(known["output"])):
            if output.size != _examples(x, y) or not sees_data:
                raise UserError(f"{backward.__name__} has no cost beside it, nor a softmax's output: {WRAP}")
            loss = _binary_cross_entropy(output.ravel(), plain(y).ravel())
        grads = arguments.call(backward, known, backward)
        names = arguments.returned(backward)
        if isinstance(grads, tuple) and len(names) == len(grads) and all(map(LEAF.match, names)):
            grads = dict(zip(names, grads, strict=True))
        return grads if loss is None else (loss, grads)

    def without_l2(params: Any, x: Any, y: Any, config: Any) -> Any:
        return run(params, x, y, 0.0, config)

    takes_l2 = any(arguments.kind_of(name) == "l2" for f in functions for name in signature(f))
    made: Callable[..., Any] = run if takes_l2 else without_l2
    made.__name__ = backward.__name__
    setattr(made, DROPS, bool(chances))
    setattr(made, NO_COST, cost is None)
    return made


def _examples(x: Any, y: Any) -> int:
    """The number of examples, which are rows or columns of both."""
    rows = np.ndim(y) == 1 or np.shape(x)[0] == np.shape(y)[0]
    return int(np.shape(y)[0] if rows else np.shape(y)[1])


def _is_sigmoid(output: np.ndarray) -> bool:
    """Whether outputs are between 0 and 1, but no probabilities of classes: the loss is not known then."""
    sums = [output.sum(axis) for axis in range(output.ndim)]
    inside = bool(((output > 0) & (output < 1)).all())
    return inside and not any(np.allclose(each, 1) for each in sums)


def _binary_cross_entropy(output: np.ndarray, y: np.ndarray) -> float:
    """The mean cross-entropy of one sigmoid output, which is meant where nothing else is said."""
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(y == 1, output, 1 - output)).mean())
