"""Functions of torch, and classes written like them: static forward(ctx, ...) and backward(ctx, dout)."""

import inspect
from typing import Any

from mlp_jax.gradcheck.layers.functions import Pair
from mlp_jax.gradcheck.reading.conventions import likely_arrays
from mlp_jax.gradcheck.reading.signatures import signature


def function_of_torch(target: Any) -> Pair:
    """A torch.autograd.Function as a pair: torch runs its backward pass from the output's gradient."""

    def forward(*given: Any) -> tuple[Any, Any]:
        tensors = [each.clone().requires_grad_() if hasattr(each, "detach") else each for each in given]
        out = target.apply(*tensors)
        return out, (out, [each for each in tensors if hasattr(each, "detach")])

    def backward(dout: Any, cache: Any) -> list[Any]:
        out, tensors = cache
        out.backward(dout)
        return [each.grad for each in tensors]

    return _without_context(target, forward, backward, "torch")


class Context:
    """What a static forward pass saves arrays in, for its backward pass."""

    needs_input_grad = (True,) * 8

    def save_for_backward(self, *values: Any) -> None:
        """Keeps the values, under the names that are usual."""
        self.saved_values = self.saved_tensors = values


def function_of_context(target: Any) -> Pair:
    """A class of static forward(ctx, ...) and backward(ctx, dout) as a pair, whose cache is the context."""
    made = inspect.unwrap(target.forward).__globals__.get("Context", Context)

    def forward(*given: Any) -> tuple[Any, Any]:
        ctx = made()
        return target.forward(ctx, *given), ctx

    def backward(dout: Any, cache: Any) -> Any:
        return target.backward(cache, dout)

    return _without_context(target, forward, backward, likely_arrays(target.forward)[0])


def _without_context(target: Any, forward: Any, backward: Any, library: str) -> Pair:
    """The pair of a class; forward takes the arguments of its static forward pass behind ctx."""
    arguments = list(signature(target.forward).values())[1:]
    forward.__signature__ = inspect.Signature(arguments)
    return Pair(target.__name__, forward, backward, library)
