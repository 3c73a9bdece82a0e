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
    marks = [begun]

    def mark() -> None:
        marks.append(time.perf_counter())

    import jax

    from mlp_jax import data
    from mlp_jax.files import digest
    from mlp_jax.training.config import hyper_from
    from mlp_jax.training.evaluate import evaluate, on_device
    from mlp_jax.training.recipes import RECIPES, fitted, network_inputs
    from mlp_jax.training.step import init_state, network, run_epoch

    jax.devices()
    mark()

    dataset = data.load(job.dataset, data_dir=job.data_dir, archive=job.archive)
    recipe = RECIPES[job.recipe].with_options(job.gradient, job.epochs)
    image, classes, examples = dataset.train_images.shape[1:], len(dataset.classes), len(dataset.train_labels)
    model, training = fitted(recipe, image, classes, examples)
    hyper = hyper_from(training, model)

    def compiled() -> Any:
        state = init_state(jax.random.key(job.seed), model, training, hyper)
        step = partial(run_epoch, hyper=hyper, model=model, config=training)
        width = inputs.count(image) * (1 if inputs.spectrum is None else 4)
        rows = jax.ShapeDtypeStruct((examples, width), model.dtype)
        labels = jax.ShapeDtypeStruct((examples,), dataset.train_labels.dtype)
        return state, jax.jit(step, donate_argnums=0).lower(state, data.Split(rows, labels)).compile()

    inputs = network_inputs(recipe, image)
    with ThreadPoolExecutor(1) as thread:
        compiling = thread.submit(compiled)
        by = inputs.learned(dataset.train_images)
        rows = inputs.rows(dataset.train_images, by, training=True)
        images = on_device(data.Split(rows, dataset.train_labels), model)
        test = on_device(data.Split(inputs.rows(dataset.test_images, by), dataset.test_labels), model)
        jax.block_until_ready((images, test))
        mark()
        state, epoch = compiling.result()
    mark()

    for _ in range(training.epochs):
        state, metrics = epoch(state, images)
    loss = float(metrics.loss.mean())
    mark()

    accuracy = evaluate(*network(state), test, model).accuracy
    mark()

    seconds = dict(zip(PARTS, (after - before for before, after in pairwise(marks)), strict=True))
    parameters = digest(jax.tree.leaves(network(state)[0]))
    return {"accuracy": accuracy, "loss": loss, "parameters": parameters, "seconds": seconds}


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
