"""What somebody's class or function takes and offers: the arguments of callables, and the methods of a network."""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from mlp_jax.gradcheck.reading.names import is_label, is_penalty, numbers

METHODS = ("loss", "compute_loss", "loss_and_grads", "forward_backward", "cost", "compute_cost")
FORWARDS = (
    "forward", "forward_propagation", "forward_pass", "forward_prop", "feedforward", "feed_forward", "forwardprop",
    "forward_propogation", "_forward", "predict_proba", "__call__",
)  # fmt: skip
BACKWARDS = ("gradient", "gradients", "backward", "backprop", "backward_pass")
TRAINS = ("train", "fit", "train_step", "training")
PRIMES = ("costFunctionPrime",)
"""A derivative of the loss, which is asked before other backward passes: those may give it as a vector."""


def signature(target: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a callable by name, without self; empty if it does not tell."""
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return {}


def needed(parameters: Iterable[inspect.Parameter]) -> list[str]:
    """The names of those that have no default."""
    return [p.name for p in parameters if p.default is p.empty]


def positions_of(method: Any) -> list[inspect.Parameter]:
    """The positional parameters of a method without the first, which is the object."""
    parameters = list(signature(method).values())[1:]
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def source_of(target: Any) -> str:
    """The text of a class or function; "" where there is none."""
    try:
        return inspect.getsource(target)
    except (OSError, TypeError, SyntaxError):
        return ""


def module_of(target: Any) -> dict[str, Any]:
    """What the module has that a class or function is of, by name; {} if that is not loaded."""
    return vars(sys.modules.get(target.__module__, SimpleNamespace()))


def globals_of(target: Any) -> dict[str, Any]:
    """What a function, or the module of a class, sees by name; {} if that does not tell."""
    found: dict[str, Any] = getattr(inspect.unwrap(target), "__globals__", {})
    return module_of(target) if inspect.isclass(target) else found


def libraries_used(function: Any) -> set[str]:
    """The first names of the modules that a function's own code names."""
    space = globals_of(function)
    names = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_names", ())
    return libraries({name: space[name] for name in names if inspect.ismodule(space.get(name))})


def libraries(space: Mapping[str, Any]) -> set[str]:
    """The first names of the modules in a module, or in what a function sees."""
    return {getattr(value, "__name__", "").partition(".")[0] for value in space.values()}


def call_by_name(
    target: Any, parameters: Mapping[str, inspect.Parameter], values: Mapping[str, Any], **more: Any
) -> Any:
    """Calls a callable with its arguments by name, also with those that it takes by place alone."""
    by_place = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_ONLY and n in values]
    by_name = {name: value for name, value in values.items() if name not in by_place}
    return target(*(values[name] for name in by_place), **by_name, **more)


def takes_anything(parameters: dict[str, inspect.Parameter]) -> bool:
    """Whether there is a **kwargs."""
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def positions(parameters: dict[str, inspect.Parameter]) -> float:
    """How many positional arguments are taken."""
    kinds = [p.kind for p in parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return np.inf
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in by_place for kind in kinds)


def penalty_name(parameters: dict[str, inspect.Parameter], others: tuple[str, ...] = ()) -> str | None:
    """The argument that lambda goes into, if its name, or its being the only keyword-only one, tells."""
    by_name = next((name for name in numbers(parameters, parameters) if is_penalty(name)), None)
    only = [p for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY and n not in others]
    only = [p for p in only if p.default is p.empty or not callable(p.default)]
    return by_name or (only[0].name if len(only) == 1 else None)


WRAP = (
    "wrap it in a function f(params, x, y, l2) that sets W1, b1, W2, b2 from the dict params, runs forward and "
    "backward on the whole batch, and returns (loss, grads) with grads a dict of the same names"
)


COMPUTE = r"_*((compute|calc|calculate|get|eval|evaluate)_?)?"
GRADIENT = r"(grads?|gradients?|back(ward)?(_?prop([ao]gat(ion|e))?|_?pass)?)"
FORMS = {
    METHODS: re.compile(rf"{COMPUTE}(loss|cost|objective)(_?(function|fn|func))?((_?(and|with))?_?{GRADIENT})?"),
    BACKWARDS: re.compile(f"{COMPUTE}{GRADIENT}(_?(mini_?)?batch)?"),
    PRIMES: re.compile(rf"{COMPUTE}(loss|cost|objective)(_?(function|fn|func))?_?(prime|deriv(ative)?)"),
}
"""What else people call the methods, in small letters."""


def is_called(name: str, names: tuple[str, ...]) -> bool:
    """Whether a method is called so, or in such a form."""
    return name in names or (names in FORMS and FORMS[names].fullmatch(name.lower()) is not None)


def method_of(target: Any, names: tuple[str, ...]) -> Any:
    """The first method of a class or object that is called so, or in such a form; None if there is none."""
    others = [n for n in dir(target if isinstance(target, type) else type(target)) if is_called(n, names)]
    found = (
        getattr(target, name, None)
        for name in (*names, *others)
        if not (name == "__call__" and isinstance(target, type))
    )
    method = next((method for method in found if callable(method) and not inspect.isclass(method)), None)
    return _forward_with_gradients(target) if method is None and names is METHODS else method


def _forward_with_gradients(target: Any) -> Any:
    """The forward pass of a class without a backward one, if it takes labels and makes gradients too."""
    forward = method_of(target, FORWARDS)
    takes_labels = any(map(is_label, signature(forward)))
    alone = takes_labels and method_of(target, BACKWARDS) is None
    return forward if alone and re.search("grad|dw", source_of(forward), re.IGNORECASE) else None


def _methods(target: Any) -> list[dict[str, inspect.Parameter]]:
    """The arguments of the methods that may be asked: for the loss, else forward and backward."""
    found = [method_of(target, names) for names in (METHODS, FORWARDS, BACKWARDS)]
    return [signature(method) for method in found if method is not None]


def loss_takes_penalty(target: Any) -> bool:
    """Whether lambda is an argument of the loss, by its name or as the third by place."""
    by_name = any(penalty_name(parameters) is not None for parameters in _methods(target))
    return by_name or positions(signature(method_of(target, METHODS))) > 3


def takes_l2(target: Any) -> bool:
    """Whether lambda has a way in: an argument of the constructor or of the loss that is called so."""
    mine, its = signature(target), _methods(target)
    if any(is_penalty(n) for n in numbers(mine, mine)) or takes_anything(mine) or _reads_penalty(target, mine):
        return True
    if any(penalty_name(each) or takes_anything(each) for each in its):
        return True
    loss = signature(method_of(target, METHODS)).items()
    required = [p for n, p in loss if n != "self" and p.default is p.empty]
    return len(required) >= 3 or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in required)


def _reads_penalty(target: Any, parameters: dict[str, inspect.Parameter]) -> bool:
    """Whether the class reads lambda from a configuration: config.reg, or args["reg"]."""
    read = re.findall(r"\b(\w+)(?:\.|\[['\"]|\.get\(['\"])(\w+)", source_of(target))
    return any(holder in parameters and is_penalty(name) for holder, name in read)
