"""One training run is timed here as a whole: in a fresh process, from nothing to an accuracy on all test images.

`measure` starts `python -m mlp_jax.benchmark.timed_run JOB`, which prints one object as JSON: accuracy, loss,
digest of the parameters, and the seconds of each of its PARTS. Programs are compiled in a thread while the data
are read, and "compilation" is what is left of that when they are there.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.errors import UserError

PARTS = ("imports", "data", "compilation", "training", "evaluation")
ROOT = Path(__file__).resolve().parents[2]


class Job(NamedTuple):
    """A job trains a recipe of `training.recipes` (`epochs`: None for its own) on a set of `data.load`."""

    dataset: str
    data_dir: str | None
    archive: str | None
    recipe: str
    gradient: str
    epochs: int | None
    seed: int


def measure(job: Job, cache: Path) -> dict[str, Any]:
    """Runs the job in a process of its own; gives what it prints, and "total": seconds until it had.

    cache: the folder where its compiled programs are looked for, and left. Raises UserError if the process was
    ended from outside, and as `data.load` and `Recipe.with_options` do.
    """
    line = [sys.executable, "-m", "mlp_jax.benchmark.timed_run", json.dumps(job)]
    begun = time.perf_counter()
    # its standard input is never written to: where that ends, this process has, and the worker ends too. It has a
    # group of its own, so that Ctrl-C is for this process alone
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment(cache), process_group=0
    ) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        total = time.perf_counter() - begun
        process.wait()
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise UserError(f"the run of seed {job.seed} was ended by {name}: free some memory, or see who did it")
    if process.returncode or not told:
        raise RuntimeError(f"the run of seed {job.seed} ended with status {process.returncode}")
    found: dict[str, Any] = json.loads(told)
    if "error" in found:
        raise UserError(found["error"])
    return {**found, "total": total}


def _environment(cache: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {
        "JAX_NUM_CPU_DEVICES": "1",  # with all cores: there is one network to train
        **os.environ,
        "PYTHONPATH": path,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DEFAULT_MATMUL_PRECISION": "float32",  # an NVIDIA GPU would take TF32
    }


def run(job: Job, begun: float) -> dict[str, Any]:
    """Trains in this process. begun: the reading of the clock when it had imported nothing but Python's own."""
    import jax

    from mlp_jax import data
    from mlp_jax.files import digest
    from mlp_jax.training.evaluate import evaluate
    from mlp_jax.training.recipes import RECIPES, fitted, network_inputs
    from mlp_jax.training.step import network

    jax.devices()
    marks = [begun, time.perf_counter()]

    dataset = data.load(job.dataset, data_dir=job.data_dir, archive=job.archive)
    recipe = RECIPES[job.recipe].with_options(job.gradient, job.epochs)
    image, classes, examples = dataset.train_images.shape[1:], len(dataset.classes), len(dataset.train_labels)
    model, training = fitted(recipe, image, classes, examples)
    inputs = network_inputs(recipe, image)
    with ThreadPoolExecutor(1) as thread:
        compiling = thread.submit(_compiled, job.seed, model, training, inputs, dataset)
        images, test = _on_device(model, inputs, dataset)
        marks.append(time.perf_counter())
        state, epoch = compiling.result()
    marks.append(time.perf_counter())

    for _ in range(training.epochs):
        state, metrics = epoch(state, images)
    loss = float(metrics.loss.mean())
    marks.append(time.perf_counter())

    accuracy = evaluate(*network(state), test, model).accuracy
    marks.append(time.perf_counter())

    seconds = dict(zip(PARTS, (after - before for before, after in pairwise(marks)), strict=True))
    parameters = digest(jax.tree.leaves(network(state)[0]))
    return {"accuracy": accuracy, "loss": loss, "parameters": parameters, "seconds": seconds}


def _compiled(seed: int, model: Any, training: Any, inputs: Any, dataset: Any) -> Any:
    """Gives the first state, and the program of an epoch on all training images."""
    import jax

    from mlp_jax.data import Split
    from mlp_jax.training.config import hyper_from
    from mlp_jax.training.step import init_state, run_epoch

    hyper = hyper_from(training, model)
    state = init_state(jax.random.key(seed), model, training, hyper)
    step = partial(run_epoch, hyper=hyper, model=model, config=training)
    examples, *image = dataset.train_images.shape
    width = inputs.count(tuple(image)) * (1 if inputs.spectrum is None else 4)
    rows = jax.ShapeDtypeStruct((examples, width), model.dtype)
    labels = jax.ShapeDtypeStruct((examples,), dataset.train_labels.dtype)
    return state, jax.jit(step, donate_argnums=0).lower(state, Split(rows, labels)).compile()


def _on_device(model: Any, inputs: Any, dataset: Any) -> Any:
    """Gives training and test images as the network's inputs, once they are on the device."""
    import jax

    from mlp_jax.data import Split
    from mlp_jax.training.evaluate import on_device

    by = inputs.learned(dataset.train_images)
    rows = inputs.rows(dataset.train_images, by, training=True)
    images = on_device(Split(rows, dataset.train_labels), model)
    test = on_device(Split(inputs.rows(dataset.test_images, by), dataset.test_labels), model)
    return jax.block_until_ready((images, test))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Prints what became of the job in the argument, or {"error": a user's mistake}."""
    begun = time.perf_counter()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        told = run(Job(*json.loads(sys.argv[1])), begun)
    except UserError as error:
        told = {"error": str(error)}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
