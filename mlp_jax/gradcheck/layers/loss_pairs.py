"""A loss and its derivative, two functions or two methods, as one layer."""

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlp_jax.gradcheck.layers.losses import LossObject
from mlp_jax.gradcheck.layers.shapes import LABELS
from mlp_jax.gradcheck.reading.arguments import kind_of
from mlp_jax.gradcheck.reading.beside import PRIMES, methods_with_derivatives, with_derivative
from mlp_jax.gradcheck.reading.names import is_label
from mlp_jax.gradcheck.reading.paths import is_array
from mlp_jax.gradcheck.reading.running import quiet
from mlp_jax.gradcheck.reading.signatures import needed, positions_of, signature

OF_LOSS = ("loss_derivative", "loss_gradient", "loss_grad", "loss_prime", "cost_derivative", "cost_prime")
LOSS_METHODS = ("loss", "cost", "compute_loss", "compute_cost", "calculate_loss", "forward", "__call__",
                "function", "func", "fn", "f", "evaluate", "compute")  # fmt: skip


def joined(name: str, beside: Mapping[str, Any]) -> LossObject | None:
    """A function mse_grad(prediction, labels) and mse of the same arguments, as an object's class; None else."""
    pair = with_derivative(name, beside)
    return None if pair is None else _joined(name, *pair)


def of_methods(target: type) -> LossObject | None:
    """A class whose objects keep no weights, with loss(prediction, labels) and its derivative as a method.

    Those may be called forward and backward, too, if labels come first. A derivative that is given nothing is that
    of every example's own loss, where the loss was called last.
    """
    passes = [hasattr(target, name) for name in ("forward", "backward")]
    if any(hasattr(target, name) for name in ("fit", "train", "predict", "apply")) or (
        passes[1] and not (passes[0] and _has_labels_first(target))
    ):
        return None
    pairs = [(f, p) for f in LOSS_METHODS for p in (*PRIMES, *(f"{f}_{p}" for p in PRIMES), f"d{f}")]
    pairs += [*methods_with_derivatives(target), *((f, p) for f in LOSS_METHODS for p in OF_LOSS)]
    for names in [("forward", "backward")] if all(passes) else pairs:
        if all(callable(getattr(target, name, None)) for name in names):
            with quiet(), contextlib.suppress(Exception):  # it is not built without arguments
                made = target()
                if not any(map(is_array, vars(made).values())):
                    return _joined(target.__name__, *(getattr(made, name) for name in names))
    return None


def _has_labels_first(target: type) -> bool:
    """Whether both passes take labels and predictions, in this order."""
    for method in (target.forward, target.backward):  # type: ignore[attr-defined]
        names = needed(positions_of(method))
        if [n.lower() in LABELS or is_label(n) for n in names] != [True, False]:
            return False
    return True


def _joined(name: str, loss: Any, backward: Any) -> LossObject | None:
    takes = needed(signature(backward).values())
    labels = [n.lower() in LABELS or is_label(n) for n in takes or needed(signature(loss).values())]
    kept = any(kind_of(n) == "cache" for n in signature(backward))
    if kept or sorted(labels) != [False, True] or len(needed(signature(loss).values())) != 2:
        return None
    order = -1 if labels[0] else 1

    class Joined:
        joined_of = staticmethod(loss)

        def forward(self, x: Any, y: Any) -> Any:
            self._given = (x, y)[::order]
            found = loss(*self._given)
            return found if takes else np.sum(found)

        def backward(self) -> Any:
            return backward(*self._given) if takes else backward()

    Joined.__name__ = name
    return LossObject(Joined)
