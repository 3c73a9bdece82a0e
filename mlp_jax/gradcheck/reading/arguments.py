"""Calls somebody's functions and methods by what their arguments are called, and says what they return."""

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import signatures
from mlp_jax.gradcheck.reading.names import TRAINING, is_input, is_label, is_output, is_params, is_penalty, is_step
from mlp_jax.gradcheck.reading.paths import is_array
from mlp_jax.gradcheck.reading.signatures import METHODS, WRAP, signature

KINDS = {
    "cache": ("cache", "caches", "memory", "ctx", "context", "tape"),
    "upstream": (
        "dout", "dscores", "grad_scores", "upstream", "dvalues", "grad_output", "d_out", "dL", "dloss", "grad",
        "dy", "loss_grad", "output_grad", "grad_out", "dlogits", "d_scores", "grad_outputs", "upstream_grad",
        "grad_logits", "g", "gradient", "dpred", "dprobs", "douts", "d",
    ),
    "train": TRAINING,
}  # fmt: skip

CALLED = {
    "l2": is_penalty,
    "params": is_params,
    "x": is_input,
    "y": is_label,
    "output": is_output,
    "step": is_step,
}
UPSTREAM = re.compile(r"d_?[zZaAsSoOhH]_?\d?|delta_?\d?")  # dz2, as the derivative by the scores is called
BACKWARD = re.compile(r"back(ward)?_?prop([ao]gation)?|back(ward)?(_pass)?", re.IGNORECASE)


def kind_of(name: str) -> str | None:
    """What an argument is, by its name."""
    found = next((kind for kind, names in KINDS.items() if name in names), None)
    found = found or ("upstream" if UPSTREAM.fullmatch(name) else None)
    return found or next((kind for kind, is_called in CALLED.items() if is_called(name)), None)


def kept(forward: Any, output: Any, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """What a forward pass gave that a backward pass may want: by the names that it returns, else by place.

    wanted: the names that the backward pass needs beside. One that is returned without a name is the only one.
    """
    if isinstance(output, Mapping):  # everything that was computed, the last of it last
        arrays = [value for value in output.values() if is_array(value)]
        return {"output": arrays[-1] if arrays else output, "cache": output}
    names = returned(forward)
    if not isinstance(output, tuple) or len(output) < 2:
        return {"output": output} | dict.fromkeys(names if len(names) == 1 else [], output)
    missing = [name for name in wanted if name not in names]
    names = [name or missing[0] for name in names] if names.count("") == len(missing) == 1 else names
    named = dict(zip(names, output, strict=True)) if len(names) == len(output) and "" not in names else {}
    outputs = [value for name, value in named.items() if kind_of(name) == "output"]
    rest = output[1] if len(output) == 2 else output[1:]
    return {"output": outputs[-1] if outputs else output[0], "cache": rest, **named}


def returned(function: Any) -> list[str]:
    """The names in a function's last `return a, b, c` or `return a`, "" for an expression; none otherwise."""
    try:
        tree = ast.parse(textwrap.dedent(signatures.source_of(function)))
    except SyntaxError:
        return []
    values = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    last = values[-1] if values else None
    names = [getattr(each, "id", "") for each in (last.elts if isinstance(last, ast.Tuple) else [last])]
    return names if any(names) else []


def call(method: Any, known: dict[str, Any], target: Any) -> Any:
    """Calls a method with what its arguments are called; x, y and lambda by place where the names do not tell."""
    parameters = signature(method)
    named = {n: k for n in parameters if (k := n if n in known else kind_of(n)) in known}
    called = f"{target.__name__}.{method.__name__}" if inspect.isclass(target) else name_of(method)
    if any(kind_of(name) == "step" for name in parameters) and required(method, "step"):
        raise UserError(f"{called} is an optimiser's step: {WRAP}")
    is_loss = signatures.is_called(name_of(method), METHODS)
    if is_loss:
        named |= _loss_arguments(parameters, named)
    mine = any(is_penalty(name) for name in signature(target))
    if is_loss and not mine and any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters.values()):
        return method(known["x"], known["y"], known["l2"])
    by_place = () if BACKWARD.search(name_of(method)) else ("x", "y", "l2") if is_loss else ("x", "y")
    left = [kind for kind in by_place if kind not in named.values()]
    for name, p in parameters.items():
        if name in named or p.default is not p.empty or p.kind in VARIADIC:
            continue
        if not left:
            raise UserError(f"{called} needs {name}, which is not known: {WRAP}")
        named[name] = left.pop(0)
    more = is_loss and not mine and signatures.takes_anything(parameters) and "l2" not in named.values()
    given = {name: known[kind] for name, kind in named.items()}
    return signatures.call_by_name(method, parameters, given, **({"reg": known["l2"]} if more else {}))


def name_of(method: Any) -> str:
    """A function's name, or ''."""
    return str(getattr(method, "__name__", ""))


VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _loss_arguments(parameters: dict[str, inspect.Parameter], named: dict[str, str]) -> dict[str, str]:
    """x and y by place where their names do not tell, and the only keyword for lambda."""
    first = [name for name, p in parameters.items() if p.kind not in VARIADIC][:2]
    by_its_name = any(name == kind and kind not in CALLED for name, kind in named.items())  # A2, say
    told = {"x", "y"} <= set(named.values()) or "output" in named.values() or list(named.values()) == ["y"]
    told |= by_its_name
    found = {} if told else dict(zip(first, ("x", "y"), strict=False))
    penalty = signatures.penalty_name(parameters)
    return found | ({penalty: "l2"} if penalty is not None and penalty not in named else {})


def required(method: Any, kind: str) -> bool:
    """Whether a method cannot be called without an argument of this kind."""
    return any(kind_of(name) == kind for name in signatures.needed(signature(method).values()))
