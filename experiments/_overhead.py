"""What a study costs beside its training.

  TFDS_DATA_DIR=... python -m experiments._overhead --dataset=cifar10 --learning_rate=0.08

Runs the depth study twice in one process, the second time with nothing left to compile, and times on that second
run: the programs that train and validate, reading the data, the final tests. What is left is the host's: progress,
bookkeeping between epochs, statistics, results files. Takes the options of the depth study; prints a table and
writes RESULTS_DIR/overhead/results.json. About three minutes on two cores with the options above.
"""

import contextlib
import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax

from experiments import _launch, _study, depth_study
from mlp_jax import data, evaluation, population, programs, results


@contextlib.contextmanager
def timed(spent: "defaultdict[str, float]") -> Iterator[None]:
    """Adds to `spent` the seconds in the programs, in reading the data and in the final tests."""

    def wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            found = jax.block_until_ready(function(*arguments, **options))
            spent[name] += time.perf_counter() - begun
            return found

        return call

    def compiled(*arguments: Any) -> tuple[Any, ...]:
        start, epoch = programs.compiled(*arguments)
        return wrapped("training", start), wrapped("training", epoch)

    with (
        mock.patch.object(population, "compiled", compiled),
        mock.patch.object(depth_study, "evaluate", wrapped("tests", evaluation.evaluate)),
        mock.patch.object(depth_study, "on_device", wrapped("data", evaluation.on_device)),
        mock.patch.object(data, "normalize", wrapped("data", data.normalize)),
        mock.patch.object(data, "load", wrapped("data", data.load)),
    ):
        yield


def run(config: depth_study.Config) -> bool:
    """Measures, prints the table; True if the study succeeded."""
    study = _study.Study("overhead", config)
    with contextlib.redirect_stdout(io.StringIO()):
        depth_study.run(config)
        spent: defaultdict[str, float] = defaultdict(float)
        begun = time.perf_counter()
        with timed(spent):
            ok = depth_study.run(config)
    whole = time.perf_counter() - begun
    spent["all else"] = whole - sum(spent.values())
    written = results.read_json(study.folder.parent / "depth_study" / "results.json")
    study.fingerprint = written["environment"]["data_fingerprint"]
    study.rows += [{"part": k, "seconds": round(v, 3), "share": round(v / whole, 5)} for k, v in spent.items()]
    path = study.finish()
    lines = [[row["part"], f"{row['seconds']:.2f}", f"{100 * row['share']:.2f}"] for row in study.rows]
    print(results.table(["part", "seconds", "% of the study"], lines))
    print(path)
    return ok


if __name__ == "__main__":
    _launch.launch(depth_study.Config, run)
