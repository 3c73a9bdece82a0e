"""Asks an object of somebody's class for its loss and its gradients, by what its methods' arguments are called.

The loss comes from loss(X, y), or from forward and then a loss of its output; the gradients from the loss, from
gradient(X, y) or backward(...), or from where the object keeps them after that.
"""

import ast
import copy
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck import building, holders, signatures
from mlp_jax.gradcheck.answers import NAMES, plain
from mlp_jax.gradcheck.battery import Case
from mlp_jax.gradcheck.layouts import Layout
from mlp_jax.gradcheck.names import is_input, is_label, is_output, is_params, is_penalty, is_step
from mlp_jax.gradcheck.signatures import BACKWARDS, FORWARDS, METHODS, WRAP, method_of, signature

KINDS = {
    "cache": ("cache", "caches", "memory", "ctx", "context", "tape"),
    "upstream": (
        "dout", "dscores", "grad_scores", "upstream", "dvalues", "grad_output", "d_out", "dL", "dloss", "grad",
        "dy", "loss_grad", "output_grad", "grad_out", "dlogits", "d_scores", "grad_outputs", "upstream_grad",
        "grad_logits",
    ),
    "train": ("train_flg", "train", "training", "is_training", "train_flag", "is_train"),
}  # fmt: skip

CALLED = {
    "l2": is_penalty,
    "params": is_params,
    "x": is_input,
    "y": is_label,
    "output": is_output,
    "step": is_step,
}
TRAINS = ("train", "fit", "train_step", "training")
BACKWARD = re.compile(r"back(ward)?_?prop([ao]gation)?|back(ward)?(_pass)?", re.IGNORECASE)


class Plan(NamedTuple):
    """What a case that is not square told of an object: where its parameters are, and its gradients.

    grads: paths into what its backward pass returned; None if that has the usual names, or nothing was returned.
    """

    places: holders.Places
    grads: Mapping[holders.At, holders.Path] | None = None


def kind_of(name: str) -> str | None:
    """What an argument is, by its name."""
    found = next((kind for kind, names in KINDS.items() if name in names), None)
    return found or next((kind for kind, is_called in CALLED.items() if is_called(name)), None)


def ask(target: Any, case: Case, layout: Layout, plan: Plan | None) -> tuple[Any, Any, Any, Any, Plan]:
    """(what was returned, with gradients, the object's parameters by leaf as they are then, x, y, the plan).

    Raises UserError if the object has no room for the case's parameters, or nothing gives gradients.
    """
    net = building.build(target, case)
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
    loss, grads = _split(result)
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


def _split(result: tuple[Any, ...]) -> tuple[Any, Any]:
    """(loss or None, the container of gradients or None) from all that was returned."""
    flat = [part for each in result for part in (each if _is_pair(each) else (each,))]
    grads = [part for part in flat if isinstance(part, (Mapping, list, tuple)) and _arrays_in(part)]
    numbers = [part for part in flat if not isinstance(part, (Mapping, list, tuple)) and _is_number(part)]
    return (numbers[0] if numbers else None), (grads[-1] if grads else None)


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
    if _split(tuple(results))[1] is not None:
        return tuple(results)
    if backward is None:
        if callable(getattr(net, "numerical_gradient", None)):
            raise UserError(f"{target.__name__} has a numerical gradient alone, and no backward pass to check")
        if not results:
            raise UserError(f"{target.__name__} has no method loss(X, y): {WRAP}")
        return tuple(results)
    if _required(backward, "upstream"):
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


def kept(forward: Any, output: Any) -> dict[str, Any]:
    """What a forward pass gave that a backward pass may want: by the names that it returns, else by place."""
    if isinstance(output, Mapping):  # everything that was computed, the last of it last
        arrays = [value for value in output.values() if holders.is_array(value)]
        return {"output": arrays[-1] if arrays else output, "cache": output}
    if not isinstance(output, tuple) or len(output) < 2:
        return {"output": output}
    named = dict(zip(names, output, strict=True)) if len(names := returned(forward)) == len(output) else {}
    outputs = [value for name, value in named.items() if kind_of(name) == "output"]
    rest = output[1] if len(output) == 2 else output[1:]
    return {"output": outputs[-1] if outputs else output[0], "cache": rest, **named}


def returned(function: Any) -> list[str]:
    """The names in a function's last `return a, b, c`; none if it returns otherwise, or has no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return []
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    last = values[-1] if values else None
    names = last.elts if isinstance(last, ast.Tuple) else []
    return [name.id for name in names if isinstance(name, ast.Name)] if len(names) > 1 else []


def _needs_forward(loss: Any) -> bool:
    """Whether there is no loss(X, y), but none at all, or one of an output, or of labels alone."""
    if loss is None:
        return True
    kinds = [kind_of(name) for name, p in signature(loss).items() if p.default is inspect.Parameter.empty]
    return "output" in kinds or (kinds == ["y"])


def _required(method: Any, kind: str) -> bool:
    return any(kind_of(n) == kind and p.default is inspect.Parameter.empty for n, p in signature(method).items())


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


def call(method: Any, known: dict[str, Any], target: Any) -> Any:
    """Calls a method with what its arguments are called; x, y and lambda by place where the names do not tell."""
    parameters = signature(method)
    named = {n: k for n in parameters if (k := n if n in known else kind_of(n)) in known}
    if any(kind_of(name) == "step" for name in parameters) and _required(method, "step"):
        raise UserError(f"{target.__name__}.{method.__name__} is an optimiser's step: {WRAP}")
    is_loss = name_of(method) in METHODS
    if is_loss:
        named |= _loss_arguments(parameters, named)
    mine = any(is_penalty(name) for name in signature(target))
    if is_loss and not mine and any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values()):
        return method(known["x"], known["y"], known["l2"])
    by_place = () if BACKWARD.search(name_of(method)) else ("x", "y", "l2") if is_loss else ("x", "y")
    left = [kind for kind in by_place if kind not in named.values()]
    for name, p in parameters.items():
        if name in named or p.default is not inspect.Parameter.empty or p.kind in VARIADIC:
            continue
        if not left:
            raise UserError(f"{target.__name__}.{method.__name__} needs {name}, which is not known: {WRAP}")
        named[name] = left.pop(0)
    only = inspect.Parameter.POSITIONAL_ONLY
    given = {n: known[k] for n, k in named.items() if parameters[n].kind is not only}
    if is_loss and not mine and signatures.takes_anything(parameters) and "l2" not in named.values():
        given["reg"] = known["l2"]
    return method(*(known[k] for n, k in named.items() if parameters[n].kind is only), **given)


def name_of(method: Any) -> str:
    """A function's name, or ''."""
    return str(getattr(method, "__name__", ""))


VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _loss_arguments(parameters: dict[str, inspect.Parameter], named: dict[str, str]) -> dict[str, str]:
    """x and y by place where their names do not tell, and the only keyword for lambda."""
    first = [name for name, p in parameters.items() if p.kind not in VARIADIC][:2]
    told = {"x", "y"} <= set(named.values()) or "output" in named.values() or list(named.values()) == ["y"]
    found = {} if told else dict(zip(first, ("x", "y"), strict=False))
    penalty = signatures.penalty_name(parameters)
    return found | ({penalty: "l2"} if penalty is not None and penalty not in named else {})
