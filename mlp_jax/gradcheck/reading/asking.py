"""Asks an object of somebody's class for its loss and its gradients, by what its methods' arguments are called.

The loss comes from loss(X, y), or from forward and then a loss of its output; the gradients from the loss, from
gradient(X, y) or backward(...), or from where the object keeps them after that.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import holders, masks, signatures
from mlp_jax.gradcheck.reading.answers import plain, refuse_alike
from mlp_jax.gradcheck.reading.arguments import call, kept, kind_of, required, returned
from mlp_jax.gradcheck.reading.holders import Places
from mlp_jax.gradcheck.reading.layouts import Layout
from mlp_jax.gradcheck.reading.names import is_step
from mlp_jax.gradcheck.reading.paths import arrays, get, is_array, like_kept, one_for_two
from mlp_jax.gradcheck.reading.signatures import BACKWARDS, FORWARDS, METHODS, PRIMES, TRAINS, WRAP, method_of
from mlp_jax.gradcheck.truth import Case


def of_torch(target: type) -> bool:
    """Whether it is a torch.nn.Module, which has a method train."""
    return any(base.__module__ == "torch.nn.modules.module" for base in target.__mro__)


def _split(result: tuple[Any, ...], *, linear: bool = False) -> tuple[Any, Any]:
    """(loss or None, the container of gradients or None) from all that was returned.

    linear: arrays that lie in no container are gradients, too.
    """
    result = tuple(one_for_two(each) if isinstance(each, tuple) else each for each in result)
    for each in result:
        refuse_alike(each)
    flat = [part for each in result for part in (_together(each) if _is_pair(each) else (each,))]
    least = 1 if linear else 2  # dimensions of weights
    grads = [part for part in flat if isinstance(part, (Mapping, list, tuple)) and _arrays_in(part, least)]
    numbers = [part for part in flat if not isinstance(part, (Mapping, list, tuple)) and _is_number(part)]
    alone = [part for part in flat if linear and is_array(part) and np.size(part) > 1]
    if alone and not grads:  # of (loss, dw, db), where db may be a number
        grads = [[*alone, *numbers[1:]]]
    return (numbers[0] if numbers else None), (grads[-1] if grads else None)


def _together(pair: tuple[Any, ...]) -> tuple[Any, ...]:
    """(loss, weights', biases') with the two lists of gradients as one."""
    lists = tuple(part for part in pair if isinstance(part, (list, tuple)))
    return (*(part for part in pair if not isinstance(part, (list, tuple))), lists) if len(lists) > 1 else pair


def _is_pair(each: Any) -> bool:
    """Whether a tuple is (loss, gradients, ...), and no tuple of gradients."""
    return isinstance(each, tuple) and any(isinstance(part, Mapping) or _is_number(part) for part in each)


def _arrays_in(part: Any, least: int) -> bool:
    """Whether it holds an array of so many dimensions, which may be written as lists where it has a name."""
    named = list(part.values()) if isinstance(part, Mapping) else []
    as_lists = any(isinstance(value, list) and value and isinstance(value[0], list) for value in named)
    return as_lists or any(np.ndim(array) in (least, 2) for _, array in arrays(part))


def _is_number(part: Any) -> bool:
    return not isinstance(part, (str, Mapping, list, tuple)) and part is not None and np.size(plain(part)) == 1


def ask(
    net: Any, target: Any, known: dict[str, Any], case: Case, layout: Layout, places: Places
) -> tuple[Any, Any, tuple[Any, ...]]:
    """(loss or None, the container of gradients or None, all that the object's methods returned)."""
    results = _asked(net, target, known, case, layout, places)
    return *_split(results, linear=not case.config.hidden), results


def _asked(
    net: Any, target: Any, known: dict[str, Any], case: Case, layout: Layout, places: Places
) -> tuple[Any, ...]:
    results: list[Any] = []
    loss, forward, backward, prime = (method_of(net, names) for names in (METHODS, FORWARDS, BACKWARDS, PRIMES))
    backward = prime if prime is not None and required(prime, "x") and required(prime, "y") else backward
    if loss is None and backward is None and method_of(net, TRAINS) is not None:
        if of_torch(target):
            raise UserError(
                f"{target.__name__} leaves its gradients to autograd: nothing in it is written by hand"
            )
        raise UserError(f"{target.__name__} has no gradient but what its training subtracts: {WRAP}")
    if forward is not None and _needs_forward(loss, forward):
        output = call(forward, known, target)
        known |= kept(forward, output)
        if _is_number(known["output"]) and (case.config.classes > 1 or np.ndim(known["output"]) == 0):
            results.append(output)
    if loss is not None:
        results.append(call(loss, known, target))
    if _split(tuple(results), linear=not case.config.hidden)[1] is not None:
        return tuple(results)
    if backward is None:
        if callable(getattr(net, "numerical_gradient", None)):
            raise UserError(f"{target.__name__} has a numerical gradient alone, and no backward pass to check")
        if not results:
            raise UserError(f"{target.__name__} has no method loss(X, y): {WRAP}")
        return tuple(results)
    if results and _calls(loss, backward) and holders.gradients(net, places, case):
        return tuple(results)
    if results and any(_calls(backward, method) for method in (loss, forward)):
        masks.again()
    if required(backward, "upstream"):
        known["upstream"] = _upstream(net, known, case, layout, places)
    returned = _without_a_step(net, backward, known, target)
    return (*results, returned) if isinstance(returned, (Mapping, list, tuple)) else tuple(results)


def _calls(method: Any, other: Any) -> bool:
    """Whether one method calls the other: a loss its backward pass, or a gradient its forward pass."""
    code = getattr(method, "__code__", None)
    return code is not None and getattr(other, "__name__", None) in code.co_names


def _without_a_step(net: Any, backward: Any, known: dict[str, Any], target: Any) -> Any:
    """What the backward pass returns; a learning rate that only training sets is 0 in it."""
    try:
        return call(backward, known, target)
    except UserError as error:
        trains = method_of(net, TRAINS)
        if trains is None or WRAP not in str(error) or "is not known" not in str(error):
            raise
        told = str(error).replace(WRAP, f"{trains.__name__}, which calls it, is an optimiser's step: {WRAP}")
        raise UserError(told) from error
    except AttributeError as error:
        if error.obj is not net or not is_step(str(error.name)):
            raise
        setattr(net, str(error.name), 0.0)
        return call(backward, known, target)


def _needs_forward(loss: Any, forward: Any) -> bool:
    """Whether there is no loss(X, y), but none at all, or one of what forward returns, or of labels or nothing."""
    if loss is None or not signatures.signature(loss):
        return True
    names = signatures.needed(signatures.signature(loss).values())
    kinds = [kind_of(name) for name in names]
    return "output" in kinds or kinds == ["y"] or bool({*returned(forward)} & {*names} - {"x", "X"})


def _upstream(net: Any, known: dict[str, Any], case: Case, layout: Layout, places: Places) -> Any:
    """The derivative of the mean cross-entropy by what forward gave, scores or probabilities; 1 by a loss."""
    output = known.get("output")
    if output is not None and _is_number(output):
        return 1.0
    found = plain(output)
    found = found.T if layout.columns else found
    one_hot = np.eye(max(case.config.classes, 2))[case.y]
    if found.shape != one_hot.shape or case.config.classes == 1:
        raise UserError(f"{type(net).__name__}.forward gave no scores, one per example and class: {WRAP}")

    def given(upstream: np.ndarray) -> Any:
        return like_kept(output, (upstream.T if layout.columns else upstream) / len(one_hot))

    if np.allclose(found.sum(1), 1) and (found >= 0).all():
        through = _through_softmax(net, {**known, "upstream": given(np.ones_like(one_hot))}, case, places)
        return given(-one_hot / found if through else found - one_hot)
    exp = np.exp(found - found.max(1, keepdims=True))
    return given(exp / exp.sum(1, keepdims=True) - one_hot)


def _through_softmax(net: Any, known: dict[str, Any], case: Case, places: Places) -> bool:
    """Whether a backward pass, given ones for every class, does anything but pass them on to the last bias.

    The softmax's derivative makes nothing of equal numbers, and a wrong one no equal numbers of them.
    """
    other = copy.deepcopy(net)
    returned = call(method_of(other, BACKWARDS), known, type(net))
    root, found = other, holders.gradients(other, places, case)
    if not found:
        root = returned
        found = holders.by_name(root, places.paths) or holders.by_shape(list(arrays(root)), places.paths, case)
    last = max(places.paths)[0], "b"
    if last not in found:
        return False
    bias = plain(get(root, found[last])).ravel()
    return not (np.allclose(bias, bias[0]) and abs(bias[0]) > 1e-6)
