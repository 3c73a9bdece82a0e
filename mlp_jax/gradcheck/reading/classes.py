"""Asks a class in a case, and brings what it keeps and gives into the case's form."""

import contextlib
import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.reading import asking, building, holders
from mlp_jax.gradcheck.reading.answers import At, Held, Question, leaves, parts, plain, same
from mlp_jax.gradcheck.reading.holders import Places
from mlp_jax.gradcheck.reading.layouts import FLAT, Layout
from mlp_jax.gradcheck.reading.masks import drawn
from mlp_jax.gradcheck.reading.names import NORMALISATIONS, NORMALISED, SCALES
from mlp_jax.gradcheck.reading.paths import Path, arrays, get, is_array, like_kept
from mlp_jax.gradcheck.reading.running import begin_anew
from mlp_jax.gradcheck.reading.signatures import WRAP, module_of, signature
from mlp_jax.gradcheck.truth import Case, Leaves

SETS_TO_0 = re.compile(r"zero_?grad|(zero|reset|clear)_?(the_)?(grad|dw|delta)|^(zero|reset)$", re.IGNORECASE)
UNCHECKED = "{} are not checked: " + NORMALISED


def unchecked(target: Any, question: Question, layout: Layout) -> tuple[str, ...]:
    """Notes on what a network without normalisation leaves unchecked: an option for one, scales and shifts."""
    if any(unit.norm != "none" for unit in question.case.config.units):
        return ()
    for kind, options in NORMALISATIONS.items():
        if (option := next((name for name in options if name in signature(target)), "")) != "":
            return (f"its {option} is not checked: --{kind}_norm=before does that",)
    paths = [path for path, _ in arrays(building.build(target, question.case, layout)) if path]
    names = dict.fromkeys(str(path[-1][1]) for path in paths if SCALES.fullmatch(str(path[-1][1])))
    return (UNCHECKED.format(", ".join(names)),) if names else ()


class Plan(NamedTuple):
    """What a case that is not square told of an object: where its parameters are, and its gradients.

    grads: paths into what its backward pass returned; None if that has the usual names, or nothing was returned.
    """

    places: Places
    grads: Mapping[At, Path] | None = None


Plans = dict[tuple[Any, ...], Plan]


def ask_class(
    target: Any, question: Question, layout: Layout, plans: Plans, *, twice: bool = False
) -> tuple[Any, Any, Any, Held]:
    """Its loss, its gradients by leaf, their dtypes, and its arguments then.

    twice: after a second time, where nothing beside the object sets to 0 what it adds up.
    Raises UserError if the object has no room for the case's parameters, or nothing gives gradients.
    """
    case = question.case
    key = (len(case.config.hidden), case.config.norm, case.config.classes == 1)
    with drawn(question.masks, case.config.dropout, columns=layout.columns):
        net = building.build(target, case, layout)
        plan = plans.get(key) or Plan(_places(net, case))
        plan.places.put(net, case)
        sample = get(net, plan.places.paths[0, "w"])
        again = twice and not question.masks and not _is_set_to_0(target)
        for number in range(1 + again):
            x, y = (like_kept(sample, array) for array in layout.examples(case))
            known = {"x": x, "y": y, "l2": case.l2, "train": True}
            may_fail = (Exception,) if number else ()  # a second time: then the first one is what there is
            with contextlib.suppress(*may_fail):
                begin_anew()
                plan.places.put(net, case)
                loss, grads, plan = _gradients(net, target, known, case, layout, plan)
    if len(set(case.config.sizes)) == len(case.config.sizes):
        plans[key] = plan
    found, dtypes = leaves({at: plan.places.arranged(at, leaf) for at, leaf in grads.items()}, case.config)
    _as_vectors(found, net, plan.places, case)
    x, y = (case.x, case.y) if layout.columns or layout.recodes else (x, y)
    loss = None if loss is None else float(plain(loss).reshape(()))
    return loss, found, dtypes, Held(plan.places.read(net, case), x, y, question.masks)


def _is_set_to_0(target: Any) -> bool:
    """Whether a method, or something beside the class, is called as what sets gradients to 0 is."""
    module = module_of(target)
    own = [c for c in module.values() if inspect.isclass(c) and c.__module__ == target.__module__]
    names = [*dir(target), *module, *(name for each in own for name in vars(each))]
    return any(SETS_TO_0.search(name) for name in names)


def _as_vectors(found: Leaves, net: Any, places: Places, case: Case) -> None:
    """Brings gradients of weights kept as a vector, as one output's may be, and of a single bias, into shape."""
    for (k, field), path in places.paths.items():
        leaf, kept = found[k].get(field), get(net, path)
        vector = field == "w" and np.ndim(kept) == 1
        if leaf is not None and leaf.size == np.size(kept) and (vector or leaf.ndim == 0):
            found[k][field] = leaf.reshape(np.shape(getattr(case.params[k], field)))


def _places(net: Any, case: Case) -> Places:
    try:
        return holders.parameters(net, case)
    except UserError as error:
        raise UserError(f"{error}: {WRAP}") from error


def _gradients(
    net: Any, target: Any, known: dict[str, Any], case: Case, layout: Layout, plan: Plan
) -> tuple[Any, dict[At, Any], Plan]:
    """The loss, the gradients as the object has them, and what is known of it then."""
    places, before = plan.places, plain(list(plan.places.leaves(net).values()))
    loss, grads, results = asking.ask(net, target, known, case, layout, places)
    if grads is None:
        kept = holders.gradients(net, places, case)
        if not kept and not same(before, plain(list(places.leaves(net).values()))):
            raise UserError(f"{target.__name__} makes an optimiser's step, and keeps no gradient: {WRAP}")
        if not kept:
            kind = type(results[-1]).__name__ if results else "nothing"
            if (
                results
                and isinstance(results[-1], tuple)
                and not any(is_array(part) or part for part in results[-1])
            ):
                kind = "None, or an empty container"
            raise UserError(f"returned {kind}, not gradients, and keeps none called so: {WRAP}")
        return loss, {at: get(net, path) for at, path in kept.items()}, plan
    found = holders.by_name(grads, places.paths) or plan.grads
    if not found and not _has_usual_names(grads):
        found = holders.by_shape(list(arrays(grads)), places.paths, case)
        _refuse_one_example(grads, found, case, layout, target)
        plan = plan._replace(grads=found or None)
    if not found:
        return loss, Layout().gradients(grads, case), plan
    return loss, {at: get(grads, path) for at, path in found.items()}, plan


def _refuse_one_example(grads: Any, paths: Mapping[At, Path], case: Case, layout: Layout, target: Any) -> None:
    """Raises UserError where a batch of columns leaves every bias's gradient with a column per example."""
    batch = {(size, len(case.y)) for size in case.config.sizes[1:]}
    per_example = batch <= {np.shape(array) for _, array in arrays(grads)}
    if layout.columns and per_example and not any(field == "b" for _, field in paths):
        raise UserError(f"{target.__name__} takes one example at a time: {WRAP}")


def _has_usual_names(grads: Any) -> bool:
    return isinstance(grads, Mapping) and any(str(key).lower() in ("w1", "dw1", "b1", "db1") for key in grads)


def parts_of(result: Any, layout: Layout) -> tuple[float | None, Any]:
    """(loss or None, gradients) from what was returned; a flat vector is gradients where parameters are one."""
    if layout.naming in FLAT:
        pair = result if isinstance(result, tuple) else (None, result)
        loss = None if pair[0] is None else float(np.asarray(pair[0]).reshape(()))
        return loss, pair[1]
    return parts(result)
