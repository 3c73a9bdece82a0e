"""What is no gradient of a network is refused, in a sentence that says why and what would be one."""

import dis
import inspect
import itertools
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import signatures
from mlp_jax.gradcheck.reading.names import NORMALISED, is_input, is_label, size_of
from mlp_jax.gradcheck.reading.running import line

STEP_NAMES = {"dw", "dW", "dx", "grad", "grads", "gradients", "learning_rate", "lr", "optimizer", "velocity",
              "step"}  # fmt: skip
"""Arguments that only what takes a gradient has, as an optimiser's step does."""
TRAINING = re.compile(
    r"(n|num|max|number_?of)_?(iters?|iterations|epochs|passes|steps)|epochs|iterations|max_?iter"
)
"""Arguments that say how long a training goes on."""
UPSTREAM = re.compile("d[a-zA-Z_]*|grad.*|g|upstream.*")
"""What a layer's backward pass calls the gradient of its output."""
NOTHING = (["RETURN_CONST"], ["LOAD_CONST", "RETURN_VALUE"], ["BUILD_MAP", "RETURN_VALUE"])
"""The instructions of a function whose body is `pass`, or returns an empty dict."""


def by_signature(function: Any, name: str, parameters: dict[str, inspect.Parameter]) -> None:
    """Raises UserError for a function that is no gradient of a network by what its arguments are called."""
    if not parameters and inspect.isfunction(function):
        raise UserError(f"{name} takes no arguments, so that it cannot be asked: {signatures.WRAP}")
    if any(TRAINING.fullmatch(each.lower()) for each in parameters):
        raise UserError(f"{name} is a whole training, and its gradient is a part of it: {signatures.WRAP}")
    first = next(iter(parameters), "")
    if "backward" in name and UPSTREAM.fullmatch(first) and len(parameters) < 3:
        forward = name.replace("backward", "forward")
        raise UserError(
            f"{name} is a layer's backward pass without its forward pass: put {forward}, which returns the output "
            "and the cache, beside it in the file, or call mlp_jax.gradcheck.check_vjp(function, backward, x)"
        )
    if {"caches", "cache"} & set(parameters):
        raise UserError(f"{name} is a backward pass alone, which needs its forward's cache: {signatures.WRAP}")
    required = set(signatures.needed(parameters.values()))
    arrays = [n for n, p in parameters.items() if not isinstance(p.default, (bool, int, float, str))]
    few = len(arrays) < 3 and signatures.positions(parameters) < np.inf
    if few and [is_input(n) + 2 * is_label(n) for n in arrays] == [1, 2] and len(parameters) > 2:
        raise UserError(
            f"{name} takes examples and labels, but no parameters, as training does: {signatures.WRAP}"
        )
    if few and not signatures.takes_anything(parameters):
        how = "check_vjp(function, backward, x)"
        how = "check_custom_vjp(function, x)" if isinstance(function, jax.custom_vjp) else how
        raise UserError(
            f"{name} does not take parameters, examples and labels, as a network's gradient does: check the "
            f"derivative of a function by mlp_jax.gradcheck.{how}"
        )
    if STEP_NAMES & required:
        raise UserError(f"{name} is an optimiser's step, which takes a gradient: {signatures.WRAP}")


def refuse_a_step(name: str) -> None:
    """Raises UserError for a function that returns what its parameters become."""
    raise UserError(f"{name} is an optimiser's step, which returns parameters, not gradients: {signatures.WRAP}")


def most_telling(failures: Sequence[str], *, told: bool) -> str:
    """The error of the attempt that came furthest through the candidate's file.

    told: whether the names of its arguments tell that it is a network's gradient; else how to wrap it is said.
    """
    error = max(failures, key=line)
    return error if told or signatures.WRAP in error else f"{error}: {signatures.WRAP}"


def by_answers(target: Any, name: str, failures: Sequence[str], *, joined: bool = False) -> None:
    """Raises UserError where a sentence tells more than the candidate's own exceptions.

    joined: whether it was asked together with a function beside it.
    """
    furthest = max(failures, key=line)
    unwritten = next((failure for failure in failures if "NotImplementedError" in failure), "")
    refused = next((failure for failure in failures if signatures.WRAP in failure), None)
    raised = furthest.partition(":")[0].endswith((".py", ".ipynb"))
    if "is not known" not in (refused or "") and (refused is not None or not raised):
        unwritten = unwritten or _unwritten(target)
    if unwritten:
        raise UserError(f"{name} is not written yet: {unwritten}")
    missing = next((failure for failure in failures if ": ModuleNotFoundError: " in failure), refused)
    undefined = next((failure for failure in failures if ": NameError: " in failure), missing)
    if undefined is not None:
        raise UserError(f"{name} gives no gradient: {undefined}")
    if re.search(r"KeyError: '(gamma|beta)", furthest):
        raise UserError(f"{name} gives no gradient: {furthest}: {NORMALISED}")
    methods = (signatures.METHODS, signatures.BACKWARDS, signatures.PRIMES)
    if raised and inspect.isclass(target) and not any(signatures.method_of(target, names) for names in methods):
        raise UserError(
            f"{name} has no method loss(X, y) or backward for a batch, as where it takes one example, "
            f"or one number, at a time: {signatures.WRAP}"
        )
    if not inspect.isclass(target) and signatures.is_called(name, signatures.TRAINS):
        raise UserError(f"{name} is a training, by its name, and gives no gradient: {furthest}: {signatures.WRAP}")
    if joined:
        raise UserError(f"{name} and the function beside it give no gradient: {furthest}: {signatures.WRAP}")


def _unwritten(target: Any) -> str:
    """A sentence on what an assignment leaves to be written, if it is as it was handed out; "" if it is not."""
    if inspect.isabstract(target):
        return "it is abstract, so name a class that inherits from it"
    functions = _called(target) if inspect.isclass(target) else [target] if inspect.isfunction(target) else []
    for function in functions:
        code = inspect.unwrap(function).__code__
        steps = [each for each in dis.get_instructions(code) if each.opname not in ("RESUME", "NOP")]
        if [each.opname for each in steps] in NOTHING and not steps[0].argval and code.co_argcount > 1:
            return f"{function.__name__} is empty"
    return _placeholder(functions)


def _called(target: type) -> list[Any]:
    """The methods of a class that are asked, or that another method names."""
    own = [each for each in vars(target).values() if inspect.isfunction(each)]
    kinds = (signatures.METHODS, signatures.FORWARDS, signatures.BACKWARDS, ("__init__",))
    named = {name for each in own for name in inspect.unwrap(each).__code__.co_names}
    return [f for f in own if f.__name__ in named or any(signatures.is_called(f.__name__, k) for k in kinds)]


def _placeholder(functions: list[Any]) -> str:
    """The same for a body with a `pass` right below the lines of a TODO; behind `else:` a case may be left out."""
    for function in functions:
        lines = [line.strip() for line in signatures.source_of(function).splitlines() if line.strip()]
        for number, each in enumerate(lines):
            if not re.fullmatch(r"(pass|\.\.\.)\s*(#.*)?", each):
                continue
            comments = list(itertools.takewhile(lambda above: above.startswith("#"), reversed(lines[:number])))
            above = lines[number - len(comments) - 1]
            marker = next((m for m in ("TODO", "YOUR CODE") if m in " ".join([each, *comments, above])), "")
            if marker and not re.match(r"(else|elif|except)\b", above):
                return f"{function.__name__} has a `pass` below a line with {marker}"
    return ""


def refuse_pictures(target: Any, parameters: dict[str, inspect.Parameter]) -> None:
    """Raises UserError for a network of pictures, whose inputs have the shape (C, H, W)."""
    for p in parameters.values():
        if size_of(p.name) == "input" and isinstance(p.default, (tuple, list)) and len(p.default) > 1:
            raise UserError(
                f"{target.__name__} takes pictures ({p.name}={p.default}), not vectors: check the file of its "
                "layers, or mlp_jax.gradcheck.check_vjp(f, backward, W1, b1, ...) where f puts these into it and "
                "returns its loss"
            )
