"""Ideas for a faster step, each against the step as it is: `python -m experiments._step_ideas [--repeats=15]`.

Every idea is the same training (relu, SGD, L2 penalty, minibatches of 200 images of 3072 values) in another form;
all are measured in turn in one process, so that what disturbs the machine disturbs them alike. Prints a table of
time(as it is) / time(idea), above 1 if the idea is faster, and writes RESULTS_DIR/step_ideas/results.json.
Takes about five minutes on two cores.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments import _common, _launch, _study
from experiments._common import option
from mlp_jax import data, products, results
from mlp_jax.errors import whole_number
from mlp_jax.losses import cross_entropy
from mlp_jax.model import MLPConfig
from mlp_jax.train import Hyper, TrainConfig, init_state, run_epoch

BATCH, EXAMPLES, RATE, L2 = 200, 10_000, 0.01, 1e-3
SHAPES = {"3072-50-10": (50,), "3072-200-10": (200,), "400, 400, 400": (400, 400, 400)}


@dataclass(frozen=True)
class Config(_common.Common):
    """Options of the comparison; the data are synthetic."""

    repeats: int = option(15, "measurements of each idea, in turn")


@dataclass(frozen=True)
class Idea:
    """One form of the step: what differs from the defaults is the idea."""

    layout: str = (
        "transposed"  # weights held as (outputs, inputs) | "plain": as (inputs, outputs) | "naive": x^T delta
    )
    pad: int = 1  # hidden widths rounded up to a multiple
    ravelled: bool = False  # parameters as one vector
    unroll: int = 1  # steps in one iteration of the loop
    pixels: str = "float32"  # of the data on the device; "uint8" is normalised in each step
    sliced: bool = False  # minibatches sliced from a copy that is permuted once per epoch, instead of gathered
    donated: bool = True  # the state's buffers
    options: tuple[tuple[str, Any], ...] = field(default=())  # of XLA


IDEAS = {
    "x^T delta, weights (inputs, outputs)": Idea(layout="naive"),
    "(delta^T x)^T, weights (inputs, outputs)": Idea(layout="plain"),
    "hidden layers padded to 8": Idea(pad=8),
    "hidden layers padded to 16": Idea(pad=16),
    "hidden layers padded to 64": Idea(pad=64),
    "parameters ravelled": Idea(ravelled=True),
    "2 steps unrolled": Idea(unroll=2),
    "5 steps unrolled": Idea(unroll=5),
    "uint8 data": Idea(pixels="uint8"),
    "sliced from a permuted copy": Idea(sliced=True),
    "uint8, sliced": Idea(pixels="uint8", sliced=True),
    "no buffers donated": Idea(donated=False),
}
FLAGS: dict[str, dict[str, Any]] = {
    "cpu": {
        "xla_cpu_enable_fast_math": True,
        "xla_cpu_enable_concurrency_optimized_scheduler": True,
        "xla_cpu_prefer_vector_width": 512,
        "xla_cpu_enable_fast_min_max": True,
        "xla_cpu_multi_thread_eigen": False,
    },
    "gpu": {"xla_gpu_enable_command_buffer": "", "xla_gpu_graph_min_graph_size": 1, "xla_gpu_autotune_level": 4},
}


class Parameters(NamedTuple):
    """Weights, in the idea's layout, and biases."""

    w: list[jax.Array]
    b: list[jax.Array]


def epoch_of(idea: Idea, hidden: tuple[int, ...]) -> tuple[Callable[..., Any], Any]:
    """(epoch(parameters, images, labels, key) -> (parameters, mean loss), parameters to start from)."""
    padded = [-(-width // idea.pad) * idea.pad for width in hidden]
    sizes, true = [3072, *padded, 10], [3072, *hidden, 10]
    rng = np.random.default_rng(0)
    start = Parameters([], [])
    for level, (inputs, outputs) in enumerate(pairwise(sizes)):
        real_in, real_out = true[level : level + 2]
        w = np.zeros((inputs, outputs), np.float32)  # padding units have zero weights: they stay zero
        w[:real_in, :real_out] = rng.uniform(-1, 1, (real_in, real_out)) / np.sqrt(real_in)
        start.w.append(jnp.asarray(w.T if idea.layout == "transposed" else w))
        start.b.append(jnp.zeros(outputs))
    flat, unravel = ravel_pytree(start)

    def gradients(parameters: Parameters, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Parameters]:
        transposed = idea.layout == "transposed"
        weights = [w.T for w in parameters.w] if transposed else parameters.w
        inputs = [x]
        for w, b in zip(weights[:-1], parameters.b[:-1], strict=True):
            inputs.append(jnp.maximum(_affine(inputs[-1], w, idea.layout) + b, 0))
        logits = _affine(inputs[-1], weights[-1], idea.layout) + parameters.b[-1]
        loss = cross_entropy(logits, y).mean() + L2 * sum(jnp.sum(w**2) for w in parameters.w)
        delta = (jax.nn.softmax(logits) - jax.nn.one_hot(y, 10)) / BATCH
        grads = Parameters([], [])
        for level in reversed(range(len(weights))):
            a, w = inputs[level], weights[level]
            grads.w.insert(0, (a.T @ delta if idea.layout == "naive" else products.outer(a, delta, "float32")))
            grads.b.insert(0, delta.sum(0))
            if level:
                delta = products.back(delta, w, "float32") * (a > 0)
        ordered = [g.T if transposed else g for g in grads.w]
        penalised = [g + 2 * L2 * w for g, w in zip(ordered, parameters.w, strict=True)]
        return loss, Parameters(penalised, grads.b)

    def epoch(held: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        order = jax.random.permutation(key, EXAMPLES)
        if idea.sliced:
            images, labels = images[order], labels[order]

        def step(held: Any, i: jax.Array) -> tuple[Any, jax.Array]:
            if idea.sliced:
                x, y = (jax.lax.dynamic_slice_in_dim(values, i * BATCH, BATCH) for values in (images, labels))
            else:
                chosen = jax.lax.dynamic_slice_in_dim(order, i * BATCH, BATCH)
                x, y = images[chosen], labels[chosen]
            if idea.pixels == "uint8":
                x = (x.astype(jnp.float32) - 127.5) / 64
            loss, grads = gradients(unravel(held) if idea.ravelled else held, x, y)
            moved = ravel_pytree(grads)[0] if idea.ravelled else grads
            return jax.tree.map(lambda p, g: p - RATE * g, held, moved), loss

        held, losses = jax.lax.scan(step, held, jnp.arange(EXAMPLES // BATCH), unroll=idea.unroll)
        return held, losses.mean()

    jitted = jax.jit(epoch, donate_argnums=0 if idea.donated else (), compiler_options=dict(idea.options))
    return jitted, flat if idea.ravelled else start


def _affine(x: jax.Array, w: jax.Array, layout: str) -> jax.Array:
    return x @ w if layout == "naive" else products.affine(x, w, "float32")


def library(hidden: tuple[int, ...]) -> tuple[Callable[..., Any], Any]:
    """The same training by `train.run_epoch`: what users run."""
    model = MLPConfig(hidden=hidden)
    config = TrainConfig("sgd", RATE, L2, batch_size=BATCH)
    state = init_state(jax.random.key(0), model, config)

    def epoch(state: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        hyper = Hyper(RATE, L2, 0.0, 0.0, 0.0)
        state, metrics = run_epoch(state, data.Split(images, labels), hyper, model=model, config=config)
        return state, jnp.mean(metrics.loss)

    return jax.jit(epoch, donate_argnums=0), state


def measured(shape: str, repeats: int) -> list[results.Row]:
    """A row for each idea on this shape: the median of its ratios to the step as it is, and their range."""
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, (EXAMPLES, 3072), dtype=np.uint8)
    labels = jnp.asarray(rng.integers(0, 10, EXAMPLES), jnp.int32)
    images = {"uint8": jnp.asarray(raw), "float32": jnp.asarray((raw.astype(np.float32) - 127.5) / 64)}
    platform = jax.default_backend()
    flags = {f"{name}={value}": Idea(options=((name, value),)) for name, value in FLAGS.get(platform, {}).items()}
    forms: dict[str, Any] = {"as it is": Idea(), "the library's run_epoch": None, **IDEAS, **flags}
    running: dict[str, Any] = {}
    rows: list[results.Row] = []
    losses: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    for name, idea in forms.items():
        try:
            epoch, state = library(SHAPES[shape]) if idea is None else epoch_of(idea, SHAPES[shape])
            pixels = images["float32" if idea is None else idea.pixels]
            state, loss = epoch(state, pixels, labels, jax.random.key(2))
            losses[name], times[name] = float(loss), []
            running[name] = [epoch, state, pixels]
        except jax.errors.JaxRuntimeError as error:  # an option that this version of XLA does not have
            rows.append({"shape": shape, "idea": name, "status": "refused", "reason": str(error)[:80]})
    for repeat in range(repeats):
        for name, entry in running.items():
            epoch, state, pixels = entry
            started = time.perf_counter()
            entry[1], loss = epoch(state, pixels, labels, jax.random.key(repeat))
            jax.block_until_ready((entry[1], loss))
            times[name].append(time.perf_counter() - started)
    for name, seconds in times.items():
        ratios = [base / own for base, own in zip(times["as it is"], seconds, strict=True)]
        rows.append(
            {
                "shape": shape,
                "idea": name,
                "status": "finished",
                "ms_per_step": round(1000 * statistics.median(seconds) / (EXAMPLES // BATCH), 4),
                "ratio": round(statistics.median(ratios), 3),
                "lowest": round(min(ratios), 3),
                "highest": round(max(ratios), 3),
                "first_epoch_loss": round(losses[name], 4),
            }
        )
    return rows


def run(config: Config) -> bool:
    """Measures all ideas on all shapes; True if they did the same training."""
    whole_number("--repeats", config.repeats, 1)
    study = _study.Study("step_ideas", replace(config, resume=False))
    for shape in SHAPES:
        study.rows += measured(shape, config.repeats)
    path = study.finish()
    print(table(study.rows))
    print(path)
    done = [row for row in study.rows if row["status"] == "finished"]
    return all(abs(row["first_epoch_loss"] - _base(study.rows, row["shape"])) < 0.05 for row in done)


def _base(rows: list[results.Row], shape: str) -> float:
    return next(
        float(row["first_epoch_loss"]) for row in rows if (row["shape"], row["idea"]) == (shape, "as it is")
    )


def table(rows: list[results.Row]) -> str:
    """Ratios by idea and shape."""
    names = list(dict.fromkeys(row["idea"] for row in rows))
    cells = {(row["idea"], row["shape"]): _cell(row) for row in rows}
    return results.table(["idea", *SHAPES], [[name, *(cells[name, shape] for shape in SHAPES)] for name in names])


def _cell(row: results.Row) -> str:
    if row["status"] != "finished":
        return str(row["status"])
    return f"{row['ratio']:.2f} ({row['lowest']:.2f} to {row['highest']:.2f})"


if __name__ == "__main__":
    _launch.launch(Config, run)
