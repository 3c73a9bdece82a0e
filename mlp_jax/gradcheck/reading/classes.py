"""Asks a class in a case, and brings what it keeps and gives into the case's form."""

from typing import Any

import numpy as np

from mlp_jax.gradcheck.reading import asking
from mlp_jax.gradcheck.reading.answers import Held, Question, leaves, parts, plain
from mlp_jax.gradcheck.reading.asking import Plan
from mlp_jax.gradcheck.reading.holders import At
from mlp_jax.gradcheck.reading.layouts import FLAT, Layout
from mlp_jax.gradcheck.reading.masks import drawn

Plans = dict[tuple[Any, ...], Plan]


def ask_class(target: Any, question: Question, layout: Layout, plans: Plans) -> tuple[Any, Any, Any, Held]:
    """Its loss, its gradients by leaf, their dtypes, and its arguments then.

    A bias of two dimensions, and weights (out, in), are brought into the case's form.
    """
    case = question.case
    key = (len(case.config.hidden), case.config.has_running_stats)
    with drawn(question.masks, case.config.dropout):
        result, kept, x, y, plan = asking.ask(target, case, layout, plans.get(key))
    if len(set(case.config.sizes)) == len(case.config.sizes):
        plans[key] = plan
    values = {at: np.asarray(plain((leaf,))[0]) for at, leaf in kept.items()}
    other = {at: at in plan.places.turned or (at[1] != "w" and leaf.ndim == 2) for at, leaf in values.items()}
    tree = tuple(
        layer._replace(
            **{
                f: _shaped(values[k, f], np.shape(leaf), other=other[k, f])
                for f, leaf in layer._asdict().items()
                if (k, f) in values
            }
        )
        for k, layer in enumerate(case.params)
    )
    one_hot = layout.columns or layout.one_hot
    loss, grads = parts_of(result, Layout())
    found, dtypes = leaves(grads, case.config)
    _as_kept(found, other)
    return loss, found, dtypes, Held(tree, case.x if one_hot else x, case.y if one_hot else y, question.masks)


def parts_of(result: Any, layout: Layout) -> tuple[float | None, Any]:
    """(loss or None, gradients) from what was returned; a flat vector is gradients where parameters are one."""
    if layout.naming in FLAT:
        pair = result if isinstance(result, tuple) else (None, result)
        loss = None if pair[0] is None else float(np.asarray(pair[0]).reshape(()))
        return loss, pair[1]
    return parts(result)


def _shaped(value: np.ndarray, shape: tuple[int, ...], *, other: bool) -> np.ndarray:
    return value.T if other and len(shape) == 2 else value.reshape(shape)


def _as_kept(leaves: list[dict[str, np.ndarray]], other: dict[At, bool]) -> None:
    """Brings gradients of weights kept as (out, in), and of biases kept as rows or columns, into the case's."""
    for k, field in (at for at, there in other.items() if there):
        leaf = leaves[k].get(field, np.zeros(0))
        if leaf.ndim == 2:
            leaves[k][field] = leaf.T if field == "w" else leaf.reshape(-1) if 1 in leaf.shape else leaf
