"""Calls somebody's function as a convention has it, and brings what it holds and gives into the case's form."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import signatures
from mlp_jax.gradcheck.reading.answers import Held, Question, plain
from mlp_jax.gradcheck.reading.conventions import EXTRA, Convention, Kinds, kinds_of, numbered, takes_l2
from mlp_jax.gradcheck.reading.layouts import VECTOR
from mlp_jax.gradcheck.reading.names import DROP, KEEP, plainly
from mlp_jax.gradcheck.truth import Case

LARGE = 2.0**40


def converter(arrays: str) -> Callable[[np.ndarray], Any]:
    """What makes an array of a library of one of numpy's. Raises UserError if torch is wanted and missing."""
    if arrays == "torch":
        try:
            import torch  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise UserError(
                "the candidate wants torch arrays: install torch, which is not a dependency"
            ) from error
        return lambda array: torch.from_numpy(array)
    return jnp.asarray if arrays == "jax" else lambda array: array


class Function(NamedTuple):
    """A function, its arguments by name, and what each of them is, where their names tell (`kinds_of`)."""

    call: Any
    parameters: dict[str, inspect.Parameter]
    kinds: Kinds | None

    @classmethod
    def of(cls, target: Any) -> "Function":
        """The function with what its signature tells."""
        parameters = signatures.signature(target)
        return cls(target, parameters, kinds_of(parameters))


def ask(function: Function, question: Question, convention: Convention) -> tuple[Any, Held]:
    """(what it returned, its arguments then)."""
    case, layout, convert = question.case, convention.layout, converter(convention.arrays)
    given = convention.form.hold(case, convert)
    x, y = map(convert, layout.examples(case))
    masks = [convert(mask.copy()) for mask in question.masks]
    result = call(function, given, (x, y), case, masks, by_name=convention.by_name)
    held = convention.form.read(given, case)
    if not layout.columns and not layout.recodes:
        return result, Held(held, x, y, masks)
    return result, Held(held, x.T if layout.columns else x, case.y, masks)


def chances(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """The arguments that are the probability of dropout masks, which the function draws itself."""
    named = [n for n, p in parameters.items() if n in (*KEEP, *DROP) and (n != "p" or p.default is not p.empty)]
    return [] if "masks" in parameters else named


def call(
    function: Function, given: Any, examples: tuple[Any, Any], case: Case, masks: list[Any], *, by_name: bool
) -> Any:
    """What the function returns for these parameters, by what its arguments are called, else by place."""
    target, parameters, kinds = function
    extra: dict[str, Callable[[], Any]] = {
        "config": lambda: case.config,
        "key": lambda: jax.random.key(case.seed),
        "masks": lambda: masks if case.config.dropout else None,
    }
    options = {name: value() for name, value in extra.items() if name in parameters}
    if case.config.dropout:
        options |= {n: 1 - case.config.dropout if n in KEEP else case.config.dropout for n in chances(parameters)}
    if by_name and kinds is not None:
        values = {name: _value(numbered(name, kinds), kind, given, examples, case) for name, kind in kinds.items()}
        return signatures.call_by_name(target, parameters, values | options)
    if not takes_l2(parameters):
        return target(given, *examples, **options)
    name = signatures.penalty_name(parameters, others=EXTRA)
    if name is None and signatures.positions(parameters) < 4 and parameters:
        name = "l2" if signatures.takes_anything(parameters) else None
    last, named = ((), {name: case.l2}) if name is not None else ((case.l2,), {})
    return target(given, *examples, *last, **named, **options)


def ask_linear(function: Function, case: Case, convention: Convention) -> tuple[Any, Held]:
    """Asks f(W, X, y, lambda): the bias is the weight of an input so large that its penalty is nothing.

    For whether W has a bias is not known. Where loss and gradient do not agree on that penalty the input is 1, so
    that it is seen. It is the last input; of one output the first, where courses have what they do not penalise.
    """
    unseen = _ask_linear(function, case, convention, LARGE)
    if not isinstance(unseen[0], tuple):
        return unseen
    seen = _ask_linear(function, case, convention, 1.0)
    (loss, grads), (loss_with_it, grads_with_it) = unseen[0], seen[0]
    b = case.params[0].b
    of_loss = float(np.sum(plain(loss_with_it) - plain(loss)))
    of_gradient = plain(grads_with_it["b1"]) - plain(grads["b1"])
    limit = 1e-5 * np.abs(plain(grads["b1"])).max()
    agree = np.allclose(of_gradient, 2 * of_loss * b / (b @ b), rtol=1e-4, atol=limit)
    # the penalty itself, which is added to W as well
    is_number = b.size > 1 and np.ptp(of_gradient) <= limit < np.abs(of_gradient).min()
    if agree or is_number:
        return unseen
    without = _ask_linear(function, case._replace(l2=0.0), convention, 1.0)[0][0]
    return unseen if np.array_equal(plain(without), plain(loss_with_it)) else seen  # a loss without any penalty


def _ask_linear(function: Function, case: Case, convention: Convention, constant: float) -> tuple[Any, Held]:
    layer, layout, convert = case.params[0], convention.layout, converter(convention.arrays)
    first = case.config.classes == 1
    rows = [layer.w, layer.b[None] / constant][:: -1 if first else 1]
    matrix = layout._replace(naming="W{}").array("w", np.vstack(rows))
    columns = [case.x, np.full((len(case.x), 1), constant)][:: -1 if first else 1]
    wider = case._replace(x=np.hstack(columns), config=replace(case.config, inputs=case.config.inputs + 1))
    w = convert(matrix.ravel() if layout.naming == VECTOR else matrix)
    x, y = map(convert, layout.examples(wider))
    kinds = function.kinds or {}
    built_for = {"config": wider.config} if "config" in function.parameters else {}
    values = {name: _value(name, kind, w, (x, y), wider) for name, kind in kinds.items()}
    result = function.call(**values, **built_for)
    loss, grad = result if isinstance(result, tuple) else (None, result)
    if np.prod(np.shape(loss)) > np.prod(np.shape(grad)):
        loss, grad = grad, loss
    if np.shape(grad) != w.shape and not (first and np.prod(np.shape(grad)) == np.prod(w.shape)):
        raise UserError("returned a gradient that has not the shape of W")
    w, grad = (each.reshape(matrix.shape) for each in (w, grad))
    bias, rest = (0, slice(1, None)) if first else (-1, slice(-1))
    x, w, of = x.T if layout.columns else x, *((w.T, grad.T) if layout.turned else (w, grad))
    grads = {"W1": of[rest].T if layout.turned else of[rest], "b1": of[bias] / constant}
    held = Held((type(layer)(w[rest], w[bias] * constant),), x[:, rest], case.y if layout.recodes else y)
    return ((loss, grads) if loss is not None else grads), held


def _value(name: str, kind: str, given: Any, examples: tuple[Any, Any], case: Case) -> Any:
    config = case.config
    if kind == "leaf":
        return next(leaf for key, leaf in given.items() if plainly(key) == plainly(name))
    if kind in ("weights", "biases") and (not isinstance(given, Mapping) or kind in given):
        return given[kind]
    if kind in ("weights", "biases"):
        leaves = [leaf for key, leaf in given.items() if key[0] == ("W" if kind == "weights" else "b")]
        return leaves if case.config.hidden else leaves[0]
    widths = {"input": config.inputs, "hidden": config.sizes[1], "classes": config.classes}
    known = {
        "params": given,
        "linear": given,
        "x": examples[0],
        "y": examples[1],
        "l2": case.l2,
        "sizes": list(config.sizes),
    }
    return (known | widths)[kind]
