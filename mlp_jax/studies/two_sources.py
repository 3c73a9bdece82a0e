"""Two sources of gradients side by side: error per leaf, loss curves, time per step, what the compiler counts.

Behind `python -m experiments.gradient_check --compare=autodiff,manual`; errors and ratios are the second source's
against the first's.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax import data
from mlp_jax.errors import UserError
from mlp_jax.gradcheck import comparison
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.model import Params
from mlp_jax.studies import options, statistics
from mlp_jax.studies.results import Row
from mlp_jax.studies.tables import Table
from mlp_jax.training import population
from mlp_jax.training import step as train
from mlp_jax.training.config import TrainConfig, hyper_from, steps_per_epoch
from mlp_jax.training.evaluate import on_device
from mlp_jax.training.history import Result
from mlp_jax.training.step import TrainState

REPEATS, REPEAT_SECONDS = 7, 0.1  # one epoch of a small dataset is too short to time

Programs = dict[str, jax.stages.Compiled]  # by source


def sources(text: str) -> tuple[str, str]:
    """("autodiff", "manual") from "autodiff,manual". Raises UserError unless these are two different sources."""
    names = text.split(",")
    if len(names) != 2 or len({*names} & {*SOURCES}) != 2:
        raise UserError(f"--compare must be two of {', '.join(SOURCES)} with a comma between, not {text!r}")
    return names[0], names[1]


class _Case(NamedTuple):
    """What is compared; `recipes`, by source, differ only in the source. Arrays are on the device."""

    model: MLPConfig
    recipes: dict[str, TrainConfig]
    train: data.Split
    batch: data.Split  # the first examples of the training split
    start: TrainState  # of the first seed
    l2: float
    steps: int  # in an epoch


def compare(
    config: options.Common, splits: data.Splits, model: MLPConfig, train_config: TrainConfig, pair: tuple[str, str]
) -> list[Row]:
    """Rows of kind "leaf" (each at the first seed's "start" and "end"), "training" (per seed) and "step" (one).

    Of `config` only the seeds are used, of `train_config` all but `gradient`; `splits` are normalised. Losses are
    in nats, accuracies fractions, times seconds. Steps count from 0: a step's number is that of the updates before
    its loss. What is not finite, or what the compiler does not tell, is null.

    Raises UserError, before any training, as `train.train` does, and if there is no step to compare.
    """
    steps = steps_per_epoch(splits.train, train_config)
    if not (train_config.epochs if train_config.steps is None else train_config.steps):
        raise UserError("there is no step to compare: choose epochs of at least 1")
    splits = splits._replace(train=on_device(splits.train, model), validation=on_device(splits.validation, model))
    recipes = {name: replace(train_config, gradient=name) for name in pair}
    keys = [config.key(number) for number in range(config.seeds)]
    runs = [{name: population.train(key, splits, model, recipes[name]) for name in pair} for key in keys]
    batch = data.Split(*(values[: train_config.batch_size] for values in splits.train))
    start = train.init_state(keys[0], model, train_config)
    case = _Case(model, recipes, splits.train, batch, start, train_config.l2, steps)
    gradients = {name: _gradient_program(case, name) for name in pair}
    leaves = _leaf_rows(case, gradients, {"start": start, "end": runs[0][pair[0]].state})
    trainings = [{**training_row(run), "seed": config.seed + number} for number, run in enumerate(runs)]
    return [*leaves, *trainings, _step_row(case, gradients)]


def _arguments(case: _Case, state: TrainState) -> tuple[Any, ...]:
    return state.params, *case.batch, case.l2, train.step_key(state)


def _gradient_program(case: _Case, name: str) -> jax.stages.Compiled:
    """One source alone: in a program with both, XLA would merge what they share, and compare it with itself."""

    def loss_and_gradient(params: Params, x: Any, y: Any, l2: Any, key: Any) -> tuple[jax.Array, Params]:
        (loss, _), grads = SOURCES[name](params, x, y, case.model, l2=l2, key=key)
        return loss, grads

    return jax.jit(loss_and_gradient).lower(*_arguments(case, case.start)).compile()


def _step_program(case: _Case, name: str) -> jax.stages.Compiled:
    step = jax.jit(train.train_step, static_argnames=("model", "config", "steps_per_epoch"))
    arguments = (case.start, case.batch, hyper_from(case.recipes[name]))
    options: dict[str, Any] = {"config": case.recipes[name], "steps_per_epoch": case.steps}
    return step.lower(*arguments, model=case.model, **options).compile()


def _leaf_rows(case: _Case, programs: Programs, states: dict[str, TrainState]) -> list[Row]:
    """Every leaf of both gradients on one minibatch, in each state."""
    rows: list[Row] = []
    for when, state in states.items():
        grads = {name: jax.device_get(program(*_arguments(case, state))[1]) for name, program in programs.items()}
        first, second = grads.values()
        leaves = zip(*map(jax.tree.leaves, grads.values()), strict=True)
        for check, pair in zip(comparison.compare(second, first, case.model), leaves, strict=True):
            values = {name: _finite(leaf[check.worst]) for name, leaf in zip(grads, pair, strict=True)}
            row = {"kind": "leaf", "leaf": check.leaf, "when": when, "index": list(check.worst), "values": values}
            rows.append({**row, "relative_error": _finite(f"{check.relative_error:.3g}")})
    return rows


def _finite(value: Any) -> float | None:
    """The shortest decimal that reads back as the same number of its type; null if it is not finite."""
    return number if math.isfinite(number := float(str(value))) else None


def parting(first: np.ndarray, second: np.ndarray) -> Row:
    """When and how far two loss curves of shape (steps,) part.

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
    """One seed's run by each source; `same_parameters`: at the end, bit for bit."""
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


def _step_row(case: _Case, gradients: Programs) -> Row:
    """Each quantity by source, with the "ratio" of the second to the first."""
    seconds, steps = _seconds_per_step(case), {name: _step_program(case, name) for name in case.recipes}
    first, second = seconds.values()
    spreads = {}
    for name, values in {**seconds, "ratio": second / first}.items():
        low, median, high = np.quantile(statistics.finite(values), (0, 0.5, 1)).tolist()
        spreads[name] = {"median": median, "min": low, "max": high, "values": values.tolist()}
    return {"kind": "step", "seconds": spreads, "step": _counts(steps), "gradient": _counts(gradients)}


def _seconds_per_step(case: _Case) -> dict[str, np.ndarray]:
    """Of whole compiled epochs, shape (REPEATS,). The sources take turns: what disturbs one disturbs the other."""
    epoch = jax.jit(train.run_epoch, static_argnames=("model", "config"), donate_argnames=("state",))

    def seconds(recipe: TrainConfig, epochs: int) -> float:
        state = jax.tree.map(jnp.copy, case.start)
        begun = time.perf_counter()
        for _ in range(epochs):
            state, metrics = epoch(state, case.train, hyper_from(recipe), model=case.model, config=recipe)
        metrics.loss.block_until_ready()
        return (time.perf_counter() - begun) / (epochs * case.steps)

    recipes = case.recipes.values()
    for recipe in recipes:
        seconds(recipe, 1)  # compiles
    epochs = math.ceil(REPEAT_SECONDS / case.steps / max(seconds(recipe, 1) for recipe in recipes))
    turns = np.array([[seconds(recipe, epochs) for recipe in recipes] for _ in range(REPEATS)])
    return dict(zip(case.recipes, turns.T, strict=True))


def _counts(programs: Programs) -> Row:
    """What the compiler says of one call of each."""
    counts: Row = {"flops": {}, "bytes accessed": {}, "temporary bytes": {}}
    for name, program in programs.items():
        # jax promises no structure: a dict in 0.10 and 0.11, once a list of them, nothing or -1 on some backends
        cost = program.cost_analysis() or {}
        told = dict(cost[0] if isinstance(cost, list) else cost)
        told["temporary bytes"] = getattr(program.memory_analysis(), "temp_size_in_bytes", -1)
        for what, by_source in counts.items():
            by_source[name] = int(told[what]) if told.get(what, -1) >= 0 else None
    for by_source in counts.values():
        first, second = by_source.values()
        by_source["ratio"] = round(second / first, 4) if first and second is not None else None
    return counts


def tables(rows: list[Row]) -> str:
    """The rows of `compare` as text: leaves, trainings, a step; and two sentences."""
    leaves, trainings, (step,) = ([r for r in rows if r["kind"] == kind] for kind in ("leaf", "training", "step"))
    a, b, _ = step["seconds"]
    cells = [[r["leaf"], r["when"], r["relative_error"], r["index"], *r["values"].values()] for r in leaves]
    parts = [_table(["leaf", "when", f"error of {b}", "worst element", a, b], cells)]
    header = ["seed", f"{a}: validation accuracy", f"{b}: validation accuracy", "largest difference"]
    header += [f"part by {size} at step" for size in trainings[0]["parted_at"]]
    cells = [
        [r["seed"], *r["validation_accuracy"].values(), r["relative_difference"], *r["parted_at"].values()]
        for r in trainings
    ]
    parts.append(_table(header, cells))
    cells = [[f"{what}: {n}", *v.values()] for what in ("step", "gradient") for n, v in step[what].items()]
    times = [f"{t['median']:#.3g} ({t['min']:#.3g} to {t['max']:#.3g})" for t in step["seconds"].values()]
    parts.append(_table(["", a, b, f"{b} / {a}"], [["step: seconds", *times], *cells]))
    return "\n\n".join([*map(str, parts), _sentences(trainings, step, a, b)])


def _table(header: list[str], lines: Sequence[Sequence[Any]]) -> Table:
    numbers = [[f"{v:.8g}" if isinstance(v, float) else v for v in line] for line in lines]
    return Table(header, [["-" if v is None else str(v) for v in line] for line in numbers])


def _sentences(trainings: list[Row], step: Row, a: str, b: str) -> str:
    steps, count, same = trainings[0]["steps"], len(trainings), sum(row["same_parameters"] for row in trainings)
    losses = f"are the same bit for bit through all {steps} steps, for {count} of {count} seeds"
    if parted := [at for row in trainings if (at := row["parted_at"]["any bit"]) is not None]:
        losses = f"part at step {min(parted)} of {steps} at the earliest, for {len(parted)} of {count} seeds"
    ratios = {"time": step["seconds"]["ratio"]["median"], **{w: c["ratio"] for w, c in step["step"].items()}}
    known = ", ".join(f"{ratio:.2f} times the {what}" for what, ratio in ratios.items() if ratio is not None)
    return (
        f"The losses of {a} and {b} {losses}; the final parameters are the same bit for bit for {same}.\n"
        f"A step with {b} takes {known} of one with {a}."
    )
