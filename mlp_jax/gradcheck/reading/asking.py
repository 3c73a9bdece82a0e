"""Asks an object of somebody's class for its loss and its gradients, by what its methods' arguments are called.

The loss comes from loss(X, y), or from forward and then a loss of its output; the gradients from the loss, from
gradient(X, y) or backward(...), or from where the object keeps them after that.
"""

import copy
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import building, holders
from mlp_jax.gradcheck.reading.answers import NAMES, plain
from mlp_jax.gradcheck.reading.arguments import call, kept, kind_of, required
from mlp_jax.gradcheck.reading.layouts import Layout
from mlp_jax.gradcheck.reading.names import is_step
from mlp_jax.gradcheck.reading.signatures import BACKWARDS, FORWARDS, METHODS, WRAP, method_of, signature
from mlp_jax.gradcheck.truth import Case

TRAINS = ("train", "fit", "train_step", "training")


class Plan(NamedTuple):
    """What a case that is not square told of an object: where its parameters are, and its gradients.

    grads: paths into what its backward pass returned; None if that has the usual names, or nothing was returned.
    """

    places: holders.Places
    grads: Mapping[holders.At, holders.Path] | None = None


def ask(target: Any, case: Case, layout: Layout, plan: Plan | None) -> tuple[Any, Any, Any, Any, Plan]:
    """(what was returned, with gradients, the object's parameters by leaf as they are then, x, y, the plan).

    Raises UserError if the object has no room for the case's parameters, or nothing gives gradients.
    """
    net = building.build(target, case, layout)
    try:
        places = plan.places if plan is not None else holders.parameters(net, case)
    except UserError as error:
        raise UserError(f"{error}: {WRAP}") from error
    for (k, field), path in places.paths.items():
        leaf = getattr(case.params[k], field)
        leaf = leaf.T if (k, field) in places.turned else leaf
        holders.put(net, path, leaf)
    before = {at: plain((holders.get(net, path),))[0] for at, path in places.paths.items()}
    sample = holders.get(net, places.paths[0, "w"])
    x, y = (holders.as_kept(sample, array) for array in layout.examples(case))
    result = _asked(net, target, {"x": x, "y": y, "l2": case.l2, "train": True}, case, layout, places)
    loss, grads = _split(result, linear=not case.config.hidden)
    paths = plan.grads if plan is not None else None
    if grads is None:
        own = holders.gradients(net, places, case)
        if not own:
            if any(
                not np.array_equal(plain((holders.get(net, p),))[0], before[at]) for at, p in places.paths.items()
            ):
                raise UserError(f"{target.__name__} makes an optimiser's step, and keeps no gradient: {WRAP}")
            kind = type(result[-1]).__name__ if result else "nothing"
            raise UserError(f"returned {kind}, not gradients, and keeps none called so: {WRAP}")
        grads = {f"{NAMES[f]}{k + 1}": holders.get(net, path) for (k, f), path in own.items()}
    else:
        named = holders.by_name(grads, places)
        if not named and paths is None and not _has_usual_names(grads):
            paths = holders.by_shape(list(holders.arrays(grads)), places.paths, case) or None
            _refuse_one_example(grads, paths, case, layout, target)
        if named or paths:
            found = (named or paths or {}).items()
            grads = {f"{NAMES[f]}{k + 1}": holders.get(grads, path) for (k, f), path in found}
    held = {at: holders.get(net, path) for at, path in places.paths.items()}
    return (grads if loss is None else (loss, grads)), held, x, y, Plan(places, paths)


def _refuse_one_example(grads: Any, paths: Any, case: Case, layout: Layout, target: Any) -> None:
    """Raises UserError where a batch of columns leaves every bias's gradient with a column per example."""
    batch = {(size, len(case.y)) for size in case.config.sizes[1:]}
    per_example = batch <= {np.shape(array) for _, array in holders.arrays(grads)}
    if layout.columns and per_example and not any(field == "b" for _, field in paths or ()):
        raise UserError(f"{target.__name__} takes one example at a time: {WRAP}")


def _has_usual_names(grads: Any) -> bool:
    return isinstance(grads, Mapping) and any(str(key).lower() in ("w1", "dw1", "b1", "db1") for key in grads)


def _split(result: tuple[Any, ...], *, linear: bool = False) -> tuple[Any, Any]:
    """(loss or None, the container of gradients or None) from all that was returned.

    linear: one array is the gradient, too.
    """
    flat = [part for each in result for part in (_together(each) if _is_pair(each) else (each,))]
    flat = [[part] if linear and holders.is_array(part) and np.ndim(part) == 2 else part for part in flat]
    grads = [part for part in flat if isinstance(part, (Mapping, list, tuple)) and _arrays_in(part)]
    numbers = [part for part in flat if not isinstance(part, (Mapping, list, tuple)) and _is_number(part)]
    return (numbers[0] if numbers else None), (grads[-1] if grads else None)


def _together(pair: tuple[Any, ...]) -> tuple[Any, ...]:
    """(loss, weights', biases') with the two lists of gradients as one."""
    lists = tuple(part for part in pair if isinstance(part, (list, tuple)))
    return (*(part for part in pair if not isinstance(part, (list, tuple))), lists) if len(lists) > 1 else pair


def _is_pair(each: Any) -> bool:
    """Whether a tuple is (loss, gradients, ...), and no tuple of gradients."""
    return isinstance(each, tuple) and any(isinstance(part, Mapping) or _is_number(part) for part in each)


def _arrays_in(part: Any) -> bool:
    return any(np.ndim(array) == 2 for _, array in holders.arrays(part))


def _is_number(part: Any) -> bool:
    return (
        not isinstance(part, (str, Mapping, list, tuple)) and part is not None and np.size(plain((part,))[0]) == 1
    )


def _asked(
    net: Any, target: Any, known: dict[str, Any], case: Case, layout: Layout, places: holders.Places
) -> tuple[Any, ...]:
    """What the object's methods returned that may be a loss or gradients."""
    results: list[Any] = []
    loss, forward, backward = (method_of(net, names) for names in (METHODS, FORWARDS, BACKWARDS))
    if loss is None and backward is None and method_of(net, TRAINS) is not None:
        raise UserError(f"{target.__name__} has no gradient but what its training subtracts: {WRAP}")
    if forward is not None and _needs_forward(loss):
        output = call(forward, known, target)
        known |= kept(forward, output)
        if _is_number(known["output"]):
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
    if required(backward, "upstream"):
        known["upstream"] = _upstream(net, known, case, layout, places)
    returned = _without_a_step(net, backward, known, target)
    return (*results, returned) if isinstance(returned, (Mapping, list, tuple)) else tuple(results)


def _without_a_step(net: Any, backward: Any, known: dict[str, Any], target: Any) -> Any:
    """What the backward pass returns; a learning rate that only training sets is 0 in it."""
    try:
        return call(backward, known, target)
    except AttributeError as error:
        if error.obj is not net or not is_step(str(error.name)):
            raise
        setattr(net, str(error.name), 0.0)
        return call(backward, known, target)


def _needs_forward(loss: Any) -> bool:
    """Whether there is no loss(X, y), but none at all, or one of an output, or of labels alone."""
    if loss is None:
        return True
    kinds = [kind_of(name) for name, p in signature(loss).items() if p.default is inspect.Parameter.empty]
    return "output" in kinds or (kinds == ["y"])


def _upstream(net: Any, known: dict[str, Any], case: Case, layout: Layout, places: holders.Places) -> Any:
    """The derivative of the mean cross-entropy by what forward gave, scores or probabilities; 1 by a loss."""
    output = known.get("output")
    if output is not None and _is_number(output):
        return 1.0
    found = plain((output,))[0]
    found = found.T if layout.columns else found
    one_hot = np.eye(case.config.classes)[case.y]
    if found.shape != one_hot.shape:
        raise UserError(f"{type(net).__name__}.forward gave no scores, one per example and class: {WRAP}")

    def given(upstream: np.ndarray) -> Any:
        return holders.as_kept(output, (upstream.T if layout.columns else upstream) / len(one_hot))

    if np.allclose(found.sum(1), 1) and (found >= 0).all():
        through = _through_softmax(net, {**known, "upstream": given(np.ones_like(one_hot))}, case, places)
        return given(-one_hot / found if through else found - one_hot)
    exp = np.exp(found - found.max(1, keepdims=True))
    return given(exp / exp.sum(1, keepdims=True) - one_hot)


def _through_softmax(net: Any, known: dict[str, Any], case: Case, places: holders.Places) -> bool:
    """Whether a backward pass, given ones for every class, does anything but pass them on to the last bias.

    The softmax's derivative makes nothing of equal numbers, and a wrong one no equal numbers of them.
    """
    other = copy.deepcopy(net)
    returned = call(method_of(other, BACKWARDS), known, type(net))
    root, found = other, holders.gradients(other, places, case)
    if not found:
        root = returned
        found = holders.by_name(root, places) or holders.by_shape(list(holders.arrays(root)), places.paths, case)
    last = max(places.paths)[0], "b"
    if last not in found:
        return False
    bias = plain((holders.get(root, found[last]),))[0].ravel()
    return not (np.allclose(bias, bias[0]) and abs(bias[0]) > 1e-6)
