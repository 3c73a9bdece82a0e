"""Two sources of gradients are compared here: error per leaf, and when their loss curves part.

This is behind `python -m experiments.gradient_check --compare=autodiff,manual`; errors are the second source's
against the first's. `experiments.benchmark` has the times of both.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from mlp_jax import data
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import comparison
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.model import Params
from mlp_jax.studies import options
from mlp_jax.studies.results import Row
from mlp_jax.studies.tables import Table
from mlp_jax.training import population
from mlp_jax.training import step as train
from mlp_jax.training.config import TrainConfig, steps_per_epoch
from mlp_jax.training.evaluate import on_device
from mlp_jax.training.history import Result
from mlp_jax.training.step import TrainState


def sources(text: str) -> tuple[str, str]:
    """Reads ("autodiff", "manual") from "autodiff,manual". Raises UserError unless they are two sources."""
    names = text.split(",")
    if len(names) != 2 or len({*names} & {*SOURCES}) != 2:
        raise UserError(f"--compare must be two of {', '.join(SOURCES)} with a comma between, not {text!r}")
    return names[0], names[1]


def compare(
    config: options.Common, splits: data.Splits, model: MLPConfig, train_config: TrainConfig, pair: tuple[str, str]
) -> list[Row]:
    """Gives rows of kind "leaf" (each at the first seed's "start" and "end") and "training" (one for each seed).

    Of `config` only the seeds are used, of `train_config` all but `gradient`; `splits` are normalised. Losses are
    in nats, accuracies fractions. Steps count from 0: a step's number is that of the updates before its loss. What
    is not finite is null.

    Raises UserError, before any training, as `train.train` does, and if there is no step to compare.
    """
    steps_per_epoch(splits.train, train_config)
    if not (train_config.epochs if train_config.steps is None else train_config.steps):
        raise UserError("there is no step to compare: choose epochs of at least 1")
    splits = splits._replace(train=on_device(splits.train, model), validation=on_device(splits.validation, model))
    recipes = {name: replace(train_config, gradient=name) for name in pair}
    keys = [config.key(number) for number in range(config.seeds)]
    runs = [{name: population.train(key, splits, model, recipes[name]) for name in pair} for key in keys]
    batch = data.Split(*(values[: train_config.batch_size] for values in splits.train))
    states = {"start": train.init_state(keys[0], model, train_config), "end": runs[0][pair[0]].state}
    trainings = [{**training_row(run), "seed": config.seed + number} for number, run in enumerate(runs)]
    return [*_leaf_rows(model, train_config.l2, batch, states, pair), *trainings]


def _leaf_rows(
    model: MLPConfig, l2: float, batch: data.Split, states: Mapping[str, TrainState], pair: tuple[str, str]
) -> list[Row]:
    """Gives every leaf of both gradients on one minibatch, in each state.

    Each source is a program of its own: in one with both, XLA would merge what they share, and compare it with
    itself.
    """

    @functools.partial(jax.jit, static_argnames="source")
    def gradient(params: Params, x: Any, y: Any, l2: Any, key: Any, source: str) -> Params:
        return SOURCES[source](params, x, y, model, l2=l2, key=key)[1]

    rows: list[Row] = []
    for when, state in states.items():
        given = (state.params, *batch, l2, train.step_key(state))
        grads = {name: jax.device_get(gradient(*given, source=name)) for name in pair}
        first, second = grads.values()
        leaves = zip(*map(jax.tree.leaves, grads.values()), strict=True)
        for check, values in zip(comparison.compare(second, first, model), leaves, strict=True):
            worst = {name: _finite(leaf[check.worst]) for name, leaf in zip(grads, values, strict=True)}
            row = {"kind": "leaf", "leaf": check.leaf, "when": when, "index": list(check.worst), "values": worst}
            rows.append({**row, "relative_error": _finite(f"{check.relative_error:.3g}")})
    return rows


def _finite(value: Any) -> float | None:
    """Gives the shortest decimal that reads back as the same number of its type; null if it is not finite."""
    return number if math.isfinite(number := float(str(value))) else None


def parting(first: np.ndarray, second: np.ndarray) -> Row:
    """Tells when and how far two loss curves of shape (steps,) part.

    `parted_at` has the first step where they differ in any bit, and by more than a share of the larger value; null
    if never. A curve that ends before the other parts there. The largest difference is null if it is not finite.
    """
    steps = min(len(first), len(second))
    a, b = first[:steps], second[:steps]
    bits = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
    with np.errstate(invalid="ignore"):
        gap = np.where(bits, np.abs(a.astype(np.float64) - b), 0)
        share = gap / np.maximum(np.maximum(np.abs(a), np.abs(b)), np.finfo(a.dtype).tiny)
    share = np.where(bits, np.nan_to_num(share, nan=np.inf, posinf=np.inf), 0)
    masks = {"any bit": bits, "1e-6": share > 1e-6, "1e-3": share > 1e-3}
    end = None if len(first) == len(second) else steps
    parted = {size: int(np.argmax(mask)) if mask.any() else end for size, mask in masks.items()}
    largest = {"difference": _finite(f"{gap.max():.3g}"), "relative_difference": _finite(f"{share.max():.3g}")}
    return {"parted_at": parted, **largest}


def training_row(runs: dict[str, Result]) -> Row:
    """Gives one seed's run by each source; `same_parameters`: at the end, bit for bit."""
    losses = [run.history.loss for run in runs.values()]
    finished = {name: run.history.validation_accuracy for name, run in runs.items() if run.status == "finished"}
    first, second = (jax.tree.leaves(jax.device_get(run.state.params)) for run in runs.values())
    return {
        "kind": "training",
        "status": "finished" if len(finished) == 2 else "diverged",
        "steps": max(map(len, losses)),
        "validation_accuracy": {name: float(finished[name][-1]) if name in finished else None for name in runs},
        **parting(*losses),
        "same_parameters": all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True)),
    }


def tables(rows: list[Row]) -> str:
    """Gives the rows of `compare` as text: leaves, trainings, and a sentence."""
    leaves, trainings = ([row for row in rows if row["kind"] == kind] for kind in ("leaf", "training"))
    a, b = trainings[0]["validation_accuracy"]
    cells = [[r["leaf"], r["when"], r["relative_error"], r["index"], *r["values"].values()] for r in leaves]
    parts = [_table(["leaf", "when", f"error of {b}", "worst element", a, b], cells)]
    header = ["seed", f"{a}: validation accuracy", f"{b}: validation accuracy", "largest difference"]
    header += [f"part by {size} at step" for size in trainings[0]["parted_at"]]
    cells = [
        [r["seed"], *r["validation_accuracy"].values(), r["relative_difference"], *r["parted_at"].values()]
        for r in trainings
    ]
    parts.append(_table(header, cells))
    steps, count, same = trainings[0]["steps"], len(trainings), sum(row["same_parameters"] for row in trainings)
    losses = f"are the same bit for bit through all {steps} steps, for {count} of {count} seeds"
    if parted := [at for row in trainings if (at := row["parted_at"]["any bit"]) is not None]:
        losses = f"part at step {min(parted)} of {steps} at the earliest, for {len(parted)} of {count} seeds"
    told = f"The losses of {a} and {b} {losses}; the final parameters are the same bit for bit for {same}."
    return "\n\n".join([*map(str, parts), told])


def _table(header: list[str], lines: Sequence[Sequence[Any]]) -> Table:
    numbers = [[f"{v:.8g}" if isinstance(v, float) else v for v in line] for line in lines]
    return Table(header, [["-" if v is None else str(v) for v in line] for line in numbers])
