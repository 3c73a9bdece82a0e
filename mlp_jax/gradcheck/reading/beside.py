"""The forward pass beside a backward one, or the function beside its derivative, by their names."""

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any

from mlp_jax.gradcheck.reading import signatures

FORWARD = {"backward": "forward", "bwd": "fwd", "backprop": "forward"}
PASSES = tuple(FORWARD)
DERIVATIVES = (*PASSES, "gradient", "grad", "prime", "derivative", "deriv", "d_")
PRIMES = ("derivative", "gradient", "grad", "prime", "deriv", "diff")
"""A method that is the derivative of another one of the class is called so, or so behind the other's name."""
LOSSES = ("loss", "cost", "error")
FUNCTION = re.compile("_(func|function|fn|f)$")
SUFFIXES = ("_alt", "_naive", "_vectorized", "_fast", "_im2col", "_strides", "_loop", "_quick", "_ok")


def forward_beside(name: str, beside: Mapping[str, Any], words: tuple[str, ...] = PASSES) -> Any:
    """What is called as a backward function, but for one of the words in its name; None if nothing is.

    relu_backward has relu_forward or relu, conv_backward_fast has conv_forward_naive, grad_mse has mse, mse_grad
    mse_loss.
    """
    for word in words:
        if (start := name.lower().find(word)) < 0:
            continue
        forward = FORWARD.get(word, "")
        forward = forward.capitalize() if name[start].isupper() else forward
        before, after = name[:start], name[start + len(word) :]
        whole = f"{before}{forward}{after}"
        shorter = (whole.removesuffix(suffix) for suffix in SUFFIXES)
        bare = before.rstrip("_") or after.lstrip("_")
        losses = (f"{bare}_{kind}" for kind in LOSSES if word not in FORWARD)
        for candidate in (whole, *shorter, *(f"{whole}{suffix}" for suffix in SUFFIXES), bare, *losses):
            if candidate != name and callable(beside.get(candidate)):
                return beside[candidate]
    return None


def with_functions(function: Any) -> Any:
    """The function with the file's own ones given where it takes them: forward_prop as its forward_prop_func."""
    beside = signatures.globals_of(function) if inspect.isfunction(function) else {}
    stems = {name: FUNCTION.sub("", name) for name in signatures.needed(signatures.signature(function).values())}
    given = {name: beside.get(stem) for name, stem in stems.items() if stem != name}
    return functools.partial(function, **given) if given and all(map(callable, given.values())) else function


def with_derivative(name: str, beside: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """The function beside its derivative of this name, and that; None if either is no function."""
    pair = forward_beside(name, beside, DERIVATIVES), beside.get(name)
    return pair if all(map(inspect.isfunction, pair)) else None


def methods_with_derivatives(target: type) -> list[tuple[str, str]]:
    """The names of a class's methods, each with that of its derivative: value and derivative_value."""
    names = [name for name in dir(target) if name[:2] != "__" and callable(getattr(target, name))]
    pairs = [(re.sub(f"_?{word}", "", name).strip("_"), name) for name in names for word in PRIMES if word in name]
    return [(function, derivative) for function, derivative in pairs if function in names]


def backward_beside(name: str, beside: Mapping[str, Any]) -> str | None:
    """The backward function's name, from that of either function of a pair."""
    others = [name.replace(word, back) for back, word in FORWARD.items() if word in name]
    names = [name, *(other + suffix for other in others for suffix in ("", *SUFFIXES))]
    return next((n for n in names if n in beside and forward_beside(n, beside) is not None), None)
