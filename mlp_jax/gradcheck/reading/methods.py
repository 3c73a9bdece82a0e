"""A class that keeps no parameters: its method takes them as well, as scipy's optimisers and jax want it."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mlp_jax.gradcheck.battery import sample
from mlp_jax.gradcheck.reading import building, signatures
from mlp_jax.gradcheck.reading.conventions import kinds_of
from mlp_jax.gradcheck.reading.layouts import Layout

PARAMETERS = {"params", "weights", "leaf"}


def of_class(target: Any) -> Callable[..., Any] | None:
    """The method of a new object as a function of its own arguments; None if it takes no parameters.

    The function has the argument `config` too, for which the object is built, and `l2` where the constructor alone
    takes lambda.
    """
    method = signatures.method_of(target, signatures.METHODS) if inspect.isclass(target) else None
    own = signatures.signature(method)
    of_object = own.pop("self", None) is not None
    kinds = kinds_of(own) or {}
    required = {kind for name, kind in kinds.items() if own[name].default is inspect.Parameter.empty}
    if method is None or not (of_object and required & PARAMETERS):
        return None
    more = ["config"] if "l2" in kinds.values() or not signatures.takes_l2(target) else ["config", "l2"]
    keywords = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in more]
    takes = inspect.Signature([*own.values(), *keywords])

    @functools.wraps(method)
    def run(*given: Any, **named: Any) -> Any:
        values = takes.bind(*given, **named)
        case = sample(values.arguments.pop("config"))
        case = case._replace(l2=values.arguments.pop("l2", case.l2)) if "l2" in more else case
        net = building.build(target, case, Layout())
        return getattr(net, method.__name__)(*values.args, **values.kwargs)

    run.__signature__ = takes  # type: ignore[attr-defined]
    return run
