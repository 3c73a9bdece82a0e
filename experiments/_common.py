"""What the experiments share: their options, what they depend on, data, progress.

An experiment is a frozen dataclass of options, which inherits `Common`, and a function `run(config)` that takes
it as plain data; `_launch` turns the dataclass into command-line flags.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import jax
from tqdm import tqdm

from experiments import _machines, _place
from mlp_jax import data
from mlp_jax.data import DATASETS
from mlp_jax.errors import UserError, in_range, one_of, user_path, whole_number
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.matmul import PRECISIONS
from mlp_jax.studies import results
from mlp_jax.training import layout
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.layout import MOST_GB
from mlp_jax.training.recipes import RECIPES

PROTOCOLS = ("published", "clean")
# (training batch size, validation split of each protocol); the report's on CIFAR-10, small ones elsewhere.
BATCH_SIZE = {"cifar10": 200, "digits": 20, "synthetic": 20}
VALIDATION = {"published": 1000, "clean": 5000}
SMALL_VALIDATION = 200
MOST_RUNS, MOST_LAYERS = 10_000, 1000
"""Of seeds or trials, and of a network: a mistyped number shall not fill the memory with what is to be done."""

SEVERAL = tuple[str, ...]
"""The type of an option that may be given several times: `--name=a --name=b`, also `--name a b`."""


def option(default: Any, help: str) -> Any:
    """A dataclass field that is also a flag with this help text."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Basic:
    """The options of everything that reads data and writes results. Raises UserError for a value out of range."""

    dataset: str = option("digits", "digits (needs no network), cifar10 or synthetic")
    data_dir: str | None = option(None, "tensorflow-datasets folder; default TFDS_DATA_DIR, else tfds' own")
    archive: str | None = option(None, "cifar-10-binary.tar.gz, a file or URL to prepare cifar10 from")
    results_dir: str = option("results", "results go to RESULTS_DIR/NAME/results.json")
    seed: int = option(0, "the first seed")

    def __post_init__(self) -> None:
        one_of("dataset", self.dataset, DATASETS)
        whole_number("seed", self.seed, 0)
        self._check_seeds(1)
        for name in ("results_dir", "data_dir", "archive"):
            self._check_path(name)
            if getattr(self, name) is not None and name != "results_dir" and self.dataset != "cifar10":
                raise UserError(
                    f"--{name} is for --dataset=cifar10, not {self.dataset}: change or leave out one of them"
                )

    @classmethod
    def refuse_ignored(cls, given: Mapping[str, Any]) -> None:
        """Raises UserError if options, as they were given, exclude each other; where a default tells no more."""

    def _check_seeds(self, seeds: int) -> None:
        if self.seed + seeds > 2**32:  # jax would take it modulo 2**32, and repeat other runs in silence
            raise UserError(f"seeds must stay below {2**32}: choose a smaller --seed than {self.seed}")

    def _check_path(self, name: str) -> None:
        path = getattr(self, name)
        if path is None:
            return
        if not path:
            raise UserError(f"--{name} is empty: write a path, or leave it out")
        user_path(path)

    def folder(self, study: str) -> Path:
        """Where the study's results go; made, and proved to be writable."""
        return results.prepare_folder(user_path(self.results_dir) / study)

    def load(self) -> data.Dataset:
        """The dataset that the options name; process 0 first, which may have to prepare and to decode it."""
        if not _machines.is_writer():
            _machines.share(None)
        dataset = _dataset(self.dataset, self.data_dir, self.archive)
        if _machines.is_writer():
            _machines.share(None)
        return dataset

    @property
    def fingerprint(self) -> str:
        """Of the dataset, once this process has loaded it: where rows come from."""
        return _dataset(self.dataset, self.data_dir, self.archive).fingerprint


@functools.lru_cache(maxsize=1)
def _dataset(name: str, data_dir: str | None, archive: str | None) -> data.Dataset:
    """Read once for all studies of a process."""
    return data.load(name, data_dir=data_dir, archive=archive)


@dataclass(frozen=True)
class Common(Basic):
    """The options of every study. Raises UserError for a value out of range."""

    PROTOCOLS: ClassVar[Sequence[str]] = PROTOCOLS

    gradient: str = option("manual", "source of gradients: manual (hand-written) or autodiff (jax.grad)")
    seeds: int = option(3, "number of seeds")
    protocol: str = option("clean", "clean, or published: the report's scripts bug for bug")
    resume: bool = option(False, "keep what an interrupted run of the same options has finished")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("gradient", self.gradient, SOURCES)
        one_of("protocol", self.protocol, self.PROTOCOLS)
        whole_number("seeds", self.seeds, 1, MOST_RUNS)
        self._check_seeds(self.seeds)

    def split(self, dataset: data.Dataset) -> data.Splits:
        """The protocol's splits: published tests on the first 1,000 test images, clean on all of them."""
        validation = VALIDATION[self.protocol] if self.dataset == "cifar10" else SMALL_VALIDATION
        validation = min(validation, len(dataset.train_labels) // 2)
        test = min(1000, len(dataset.test_labels)) if self.protocol == "published" else None
        return data.split(dataset, validation=validation, test=test)

    def key(self, number: int) -> jax.Array:
        """The key of the run with this seed."""
        return jax.random.key(self.seed + number)


@dataclass(frozen=True)
class Training(Common):
    """The options of every experiment that trains: where and how exactly."""

    precision: str = option("float32", "of matrix products: float32, tf32 or bf16")
    max_memory_gb: float | None = option(
        None, "memory per device; more runs than fit are trained in turn; default: most of what is free"
    )
    checkpoint_minutes: float = option(5.0, "minutes between checkpoints; 0: one after every epoch")
    data_parallel: int = option(1, "number of devices that share each minibatch")
    distributed: bool = option(False, "one of several processes, on one machine or many, that do the job together")
    coordinator: str | None = option(None, "process 0's HOST:PORT; without it the cluster is asked for all three")
    num_processes: int | None = option(None, "number of processes")
    process_id: int | None = option(None, "which of them this is, from 0")
    start_timeout: int = option(60, "seconds in which all processes must have started")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("precision", self.precision, PRECISIONS)
        whole_number("data_parallel", self.data_parallel, 1)
        in_range("checkpoint_minutes", self.checkpoint_minutes, 0)
        if self.max_memory_gb is not None:
            in_range("max_memory_gb", self.max_memory_gb, 0, MOST_GB, open_low=True)
        _place.check(self)

    def check_batch(self, model: MLPConfig, recipe: TrainConfig) -> None:
        """Raises UserError if the minibatches are too small for the network, or not to be shared."""
        layout.check_batch(model, recipe, self.data_parallel)


@dataclass(frozen=True)
class Tuned(Training):
    """The options of a study that chooses a learning rate for each of its settings.

    Raises UserError for candidates that would be ignored.
    """

    learning_rate: float | None = option(None, "fixes the learning rate")
    learning_rates: str | None = option(None, "clean: the candidates to choose from on validation, with commas")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rates is not None and (self.protocol == "published" or self.learning_rate is not None):
            raise UserError("--learning_rates is for the clean protocol without --learning_rate: leave one out")

    def candidates(self, usual: tuple[float, ...]) -> tuple[float, ...]:
        """Learning rates to choose from: one if it is fixed, or published (Question 4: 0.001), else `usual`."""
        if self.learning_rate is not None:
            return (self.learning_rate,)
        if self.protocol == "published":
            return (1e-3,)
        if self.learning_rates is None:
            return usual
        return distinct("--learning_rates", real_numbers("--learning_rates", self.learning_rates))


WHILE = ("max_memory_gb", "checkpoint_minutes")
PROCESSES = ("distributed", "coordinator", "num_processes", "process_id", "start_timeout")


def of_result(config: Basic) -> dict[str, Any]:
    """What the numbers depend on: not where they are read from or written to, nor who computes them."""
    left_out = {"results_dir", "resume", "data_dir", "archive", "predict", "model", *WHILE, *PROCESSES}
    options = {k: v for k, v in dataclasses.asdict(config).items() if k not in left_out}
    # a recipe's name says nothing once somebody has edited it
    name = options.get("recipe")
    return options if name is None else {**options, "recipe_digest": RECIPES[name].digest}


def changed(then: Mapping[str, Any], config: Basic, *, resumed: bool = False) -> str:
    """Which options of a result differ from those now, in words; empty if none does.

    An option that did not exist then has its default. What is `resumed` may go on with another number of devices,
    whose sums are rounded otherwise.
    """
    now = json.loads(json.dumps(of_result(config)))
    then = {**{field.name: field.default for field in dataclasses.fields(config) if field.name in now}, **then}
    names = [name for name in {**now, **then} if now.get(name) != then.get(name)]
    names = [name for name in names if not (resumed and name == "data_parallel")]
    return "; ".join(f"{name}={then.get(name)!r} then, {now.get(name)!r} now" for name in names)


def of_job(config: Training) -> dict[str, Any]:
    """What all processes of a job must have alike."""
    alike = ("checkpoint_minutes", "resume")
    return {**of_result(config), **{name: getattr(config, name) for name in alike}}


def whole_numbers(what: str, text: str, low: int, high: int | None = None) -> tuple[int, ...]:
    """(2, 3) from "2,3". Raises UserError for anything else, or a number under `low` or over `high`."""
    if not re.fullmatch(r"-?[0-9]{1,9}(,-?[0-9]{1,9})*", text):
        raise UserError(f"{what} must be whole numbers with commas between them, not {text!r}")
    numbers = tuple(int(part) for part in text.split(","))
    for number in numbers:
        whole_number(what, number, low, high)
    return numbers


V = TypeVar("V")


def distinct(what: str, values: tuple[V, ...]) -> tuple[V, ...]:
    """The values. Raises UserError if one of them comes twice."""
    if len(set(values)) < len(values):
        raise UserError(f"{what} names a value twice: leave one out")
    return values


def plain_number(text: str) -> str:
    """The text. Raises ValueError if Python would read digits of other scripts, underscores or spaces in it."""
    if not re.fullmatch(r"[-+.a-zA-Z0-9]+", text):
        raise ValueError(f"{text!r} is not a number in plain digits")
    return text


def real_numbers(what: str, text: str) -> tuple[float, ...]:
    """(0.1, 0.3) from "0.1,0.3". Raises UserError for anything else."""
    try:
        return tuple(float(plain_number(part)) for part in text.split(","))
    except ValueError:
        raise UserError(f"{what} must be numbers with commas between them, not {text!r}") from None


def progress(total: int, unit: str) -> Any:
    """A progress bar on standard error when that is a terminal, else nothing; process 0 alone shows it."""
    hidden = None if _machines.is_writer() else True
    return tqdm(total=total, unit=unit, disable=hidden, dynamic_ncols=True, leave=False)
