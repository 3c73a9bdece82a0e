"""What is no gradient of a network is refused, in a sentence that says why and what would be one."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import signatures
from mlp_jax.gradcheck.reading.running import line

STEP_NAMES = {"dw", "dW", "dx", "grad", "grads", "gradients", "learning_rate", "lr", "optimizer", "velocity"}
"""Arguments that only what takes a gradient has, as an optimiser's step does."""


def by_signature(function: Any, name: str, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Raises UserError for a function that is no gradient of a network by what its arguments are called."""
    if not parameters and inspect.isfunction(function):
        raise UserError(f"{name} takes no arguments, so that it cannot be asked: {signatures.WRAP}")
    if {"caches", "cache"} & set(parameters):
        raise UserError(f"{name} is a backward pass alone, which needs its forward's cache: {signatures.WRAP}")
    required = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
    if STEP_NAMES & required:
        raise UserError(f"{name} is an optimiser's step, which takes a gradient: {signatures.WRAP}")


def by_answers(target: Any, name: str, failures: Sequence[str]) -> None:
    """Raises UserError where a sentence tells more than the candidate's own exceptions."""
    furthest = max(failures, key=line)
    unwritten = next((failure for failure in failures if "NotImplementedError" in failure), "")
    refused = next((failure for failure in failures if signatures.WRAP in failure), None)
    raised = furthest.partition(":")[0].endswith((".py", ".ipynb"))
    if "is not known" not in (refused or "") and (refused is not None or not raised):
        unwritten = unwritten or _unwritten(target)
    if unwritten:
        raise UserError(f"{name} is not written yet: {unwritten}")
    if refused is not None:
        raise UserError(f"{name} gives no gradient: {refused}")


def _unwritten(target: Any) -> str:
    """A sentence on what an assignment leaves to be written, if it is as it was handed out; "" if it is not."""
    functions = [
        f for f in (vars(target).values() if inspect.isclass(target) else [target]) if inspect.isfunction(f)
    ]
    for function in functions:
        code = inspect.unwrap(function).__code__
        if code.co_consts[1:] in ((), (None,)) and not code.co_names and code.co_argcount > 1:
            return f"{function.__name__} is empty"
    return _placeholder(functions)


def _placeholder(functions: list[Any]) -> str:
    """The same for a body that begins with `pass` between the lines of a TODO."""
    for function in functions:
        try:
            source = inspect.getsource(function)
        except (OSError, TypeError, SyntaxError):
            continue
        body = re.sub(r"#.*", "", source)
        if "TODO" in source and re.search(r"^\s+(pass|\.\.\.)\s*$", body, re.MULTILINE):
            return f"{function.__name__} has a `pass` below a TODO"
    return ""
