"""How a layer's forward pass differs from the operation that its name says."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from mlp_jax.gradcheck.layers.diagnosis import explained
from mlp_jax.gradcheck.layers.operations import classes_of
from mlp_jax.gradcheck.layers.references import OTHER_EPS, hinge, normalised
from mlp_jax.gradcheck.layers.shapes import IN_COLUMNS
from mlp_jax.gradcheck.layers.trials import Array, Trial, distance
from mlp_jax.gradcheck.mistakes.table import MISTAKES


def _with(keywords: dict[str, Any], trial: Trial) -> Any:
    x, gamma, beta = trial.inputs.values()
    return normalised(x=x, gamma=gamma, beta=beta, **keywords)


def _others(operation: str, layout: int) -> Iterator[tuple[str, Callable[[Trial], Any]]]:
    """Other forward passes that people have, in words."""
    if operation in ("batchnorm", "layernorm"):
        axis = int((operation == "layernorm") != (layout in IN_COLUMNS))
        kinds: list[tuple[str, dict[str, Any]]] = [("the variance is divided by N - 1", {"axis": axis, "ddof": 1})]
        kinds += [(f"eps = {eps:g}", {"axis": axis, "eps": eps}) for eps in OTHER_EPS]
        more = {"axis": axis, "outside": True}
        kinds += [(f"eps = {eps:g} is added to the root", {**more, "eps": eps}) for eps in (1e-5, *OTHER_EPS)]
        kinds += [("mean and variance are those of the other axis", {"axis": 1 - axis})]
        for text, keywords in kinds:
            yield text, partial(_with, keywords)
    if operation == "svm_loss":
        yield "the margin of 1 is left out", partial(_other_hinge, layout, 0.0, 0.0)
        yield "the true class is counted too, so that it is 1 too much", partial(_other_hinge, layout, 1.0, 1.0)


def _other_hinge(layout: int, margin: float, more: float, trial: Trial) -> Any:
    (y,), (x,) = trial.options.values(), trial.inputs.values()
    return hinge(classes_of(y, layout), x.T if layout in IN_COLUMNS else x, margin) + more


def describe(operation: str, layout: int, pairs: Sequence[tuple[Trial, Array]]) -> str:
    """How an output is off: another eps or variance, a number in front of it, or a leaf that is not used."""
    for trial, true in pairs:
        if trial.output.shape != true.shape:
            return f"its shape is {trial.output.shape} in place of {true.shape}"
    for text, reference in _others(operation, layout):
        outs = [reference(trial) for trial, _ in pairs]
        if all(distance(trial.output, out) < 1e-9 for (trial, _), out in zip(pairs, outs, strict=True)):
            return text
    outputs = [t._replace(found={"out": t.output}, true={"out": true}, penalty={}) for t, true in pairs]
    told = explained("out", outputs, None, range(len(outputs)))
    unused = [
        name
        for name in pairs[0][0].true
        if all(np.nan_to_num(np.abs(t.true[name])).max() < 1e-9 for t, _ in pairs)
    ]
    if told or not unused:
        return " and ".join(detail or MISTAKES[code].does for code, detail in told or ())
    return f"it does not depend on {' and '.join(unused)}"
