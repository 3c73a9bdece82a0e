"""A class that keeps no parameters: its method takes them as well, as scipy's optimisers and jax want it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from mlp_jax.gradcheck.battery import sample
from mlp_jax.gradcheck.reading import building, signatures
from mlp_jax.gradcheck.reading.answers import CONTAINERS
from mlp_jax.gradcheck.reading.conventions import kinds_of
from mlp_jax.gradcheck.reading.layouts import Layout
from mlp_jax.gradcheck.reading.signatures import BACKWARDS, METHODS

PARAMETERS = {"params", "weights", "leaf", "linear"}


def of_class(target: Any) -> Callable[..., Any] | None:
    """The method of a new object as a function of its own arguments; None if it takes no parameters.

    Where one method gives the loss, and another the gradient by the same arguments, the function gives both. It
    has the argument `config` too, for which the object is built, and `l2` where the constructor alone takes
    lambda.
    """
    methods = [method for names in (METHODS, BACKWARDS) if _takes_parameters(method := _method(target, names))]
    own = _arguments(methods[0]) if methods else {}
    methods = [method for method in methods if list(_arguments(method)) == list(own)]
    if not methods:
        return None
    by_constructor = "l2" not in (kinds_of(own) or {}).values() and signatures.takes_l2(target)
    more = ["config", "l2"] if by_constructor else ["config"]
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in more]
    takes = inspect.Signature([*own.values(), *keywords])

    @functools.wraps(methods[0])
    def run(*given: Any, **named: Any) -> Any:
        values = takes.bind(*given, **named)
        case = sample(values.arguments.pop("config"))
        case = case._replace(l2=values.arguments.pop("l2", case.l2)) if by_constructor else case
        net = building.build(target, case, Layout())
        first, *rest = (getattr(net, method.__name__) for method in methods)
        result = first(*values.args, **values.kwargs)
        is_loss = rest and not isinstance(result, CONTAINERS) and np.size(result) == 1
        return (result, rest[0](*values.args, **values.kwargs)) if is_loss else result

    run.__signature__ = takes  # type: ignore[attr-defined]
    return run


def _method(target: Any, names: tuple[str, ...]) -> Any:
    return signatures.method_of(target, names) if inspect.isclass(target) else None


def _arguments(method: Any) -> dict[str, inspect.Parameter]:
    return {name: p for name, p in signatures.signature(method).items() if name != "self"}


def _takes_parameters(method: Any) -> bool:
    """Whether it is a method that cannot be called without the network's parameters, examples and labels."""
    own = _arguments(method)
    kinds = kinds_of(own) or {}
    required = {kinds.get(name) for name in signatures.needed(own.values())}
    return "self" in signatures.signature(method) and bool(required & PARAMETERS)
