"""One run of the speedrun, in a process of its own: from nothing to an accuracy on all test images.

  python -m experiments._speedrun_worker JSON

Prints one object as JSON: the test accuracy, digests, and the seconds that each part of the run took.
"""

import json
import os
import sys
import threading
import time
from functools import partial
from itertools import pairwise
from typing import Any


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Trains the recipe that the job describes. Raises UserError as `data.load` does."""
    marks = [time.perf_counter()]

    import jax

    from experiments.speedrun import PARTS, Config, chosen
    from mlp_jax import data
    from mlp_jax.studies import compilation, results
    from mlp_jax.studies.study import shape_of
    from mlp_jax.training import step as train
    from mlp_jax.training.config import hyper_from
    from mlp_jax.training.evaluate import evaluate, on_device
    from mlp_jax.training.recipes import fitted

    config = Config(**job["config"])
    compilation.set_up()
    compilation.devices()
    marks.append(time.perf_counter())

    dataset = config.load()
    model, training = fitted(chosen(config), *shape_of(dataset))
    scaling = data.scaling(dataset.train_images, "standardize")
    images = on_device(data.Split(data.rows(dataset.train_images, scaling), dataset.train_labels), model)
    jax.block_until_ready(images.x)
    marks.append(time.perf_counter())

    hyper = hyper_from(training, model)
    state = train.init_state(jax.random.key(job["seed"]), model, training, hyper)
    step = partial(train.run_epoch, hyper=hyper, model=model, config=training)
    epoch = jax.jit(step, donate_argnums=0).lower(state, images).compile()
    marks.append(time.perf_counter())

    for _ in range(training.epochs):
        state, metrics = epoch(state, images)
    loss = float(metrics.loss.mean())
    marks.append(time.perf_counter())

    test = data.Split(data.rows(dataset.test_images, scaling), dataset.test_labels)
    accuracy = evaluate(*train.network(state), test, model).accuracy
    marks.append(time.perf_counter())

    seconds = dict(zip(PARTS, (after - before for before, after in pairwise(marks)), strict=True))
    parameters = results.digest(train.network(state)[0])
    return {"accuracy": accuracy, "loss": loss, "parameters": parameters, "seconds": seconds}


def main() -> None:
    """Tells what became of the job in its argument, or {"error": a user's mistake}."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from mlp_jax.errors import UserError

    try:
        told = run(json.loads(sys.argv[1]))
    except UserError as error:
        told = {"error": str(error)}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
