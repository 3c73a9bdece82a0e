"""The experiments share these options, and what stands for those that are left out.

An experiment is a frozen dataclass of options, which inherits `Common`, and a function `run(config)` that takes
it as plain data; `command` turns the dataclass into command-line flags.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from mlp_jax import data
from mlp_jax.data import DATASETS
from mlp_jax.errors import UserError, one_of, user_path
from mlp_jax.fields import Floats, check_needs, parsed
from mlp_jax.fields import option as option
from mlp_jax.nn.config import MLPConfig, norm_options
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.matmul import PRECISIONS
from mlp_jax.studies import processes, results
from mlp_jax.training.config import OPTIMIZERS, TrainConfig
from mlp_jax.training.layout import MOST_GB

PROTOCOLS = ("published", "clean")
# each protocol has so many validation images on CIFAR-10; elsewhere there are few
VALIDATION = {"published": 1000, "clean": 5000}
SMALL_VALIDATION = 200
MOST_RUNS, MOST_LAYERS = 10_000, 1000
"""No more seeds, trials or layers are taken: a mistyped number shall not fill the memory with jobs."""
QUESTION_4 = {
    "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 1e-3, "epochs": 10, "decay": 0.95,
    "validate_in_training_mode": True,
}  # fmt: skip
"""The report's scripts of Question 4 train so."""

BATCHES = {"cifar10": {"batch_size": 200}, "else": {"batch_size": 20}}

Places = Mapping[str, Mapping[str, Any]]
"""These are values by where they hold, in words: "cifar10" or "else", "published" or "clean", "else clean"."""


def narrowest(places: Places, *here: str) -> dict[str, Any]:
    """Gives the values that hold here; the narrowest place wins, and of equally narrow ones the last."""
    found: dict[str, Any] = {}
    for where in sorted(places, key=lambda where: len(where.split())):
        if set(where.split()) <= set(here):
            found |= places[where]
    return found


def place(dataset: str) -> str:
    """Gives what `Places` call a data set."""
    return "cifar10" if dataset == "cifar10" else "else"


@dataclass(frozen=True)
class Basic:
    """All that reads data and writes results has these. Raises UserError for a value out of range."""

    dataset: str = option("digits", "digits (needs no network), cifar10 or synthetic", choices=DATASETS)
    data_dir: str | None = option(
        None, "tensorflow-datasets folder; default TFDS_DATA_DIR, else tfds' own", needs="dataset=cifar10"
    )
    archive: str | None = option(
        None, "cifar-10-binary.tar.gz, a file or URL to prepare cifar10 from", needs="dataset=cifar10"
    )
    results_dir: str = option("results", "results go to RESULTS_DIR/NAME/results.json")
    seed: int = option(0, "the first seed", low=0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, parsed(field, getattr(self, field.name)))
        self._check_seeds(1)
        for name in ("results_dir", "data_dir", "archive"):
            if getattr(self, name) == "":
                raise UserError(f"--{name} is empty: write a path, or leave it out")
            user_path(getattr(self, name) or "")
        check_needs(self)

    def changed(self) -> dict[str, Any]:
        """Gives the options that differ from their defaults."""
        values = {field: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {field.name: value for field, value in values.items() if value != field.default}

    @classmethod
    def refuse_ignored(cls, given: Mapping[str, Any]) -> None:
        """Raises UserError if options, as they were given, exclude each other; where a default tells no more."""

    def _check_seeds(self, seeds: int) -> None:
        if self.seed + seeds > 2**32:  # jax would take it modulo 2**32, and repeat other runs in silence
            raise UserError(f"seeds must stay below {2**32}: choose a smaller --seed than {self.seed}")

    def folder(self, study: str) -> Path:
        """Makes the folder where the study's results go, and proves that it is writable."""
        return results.prepare_folder(user_path(self.results_dir) / study)

    def load(self) -> data.Dataset:
        """Gives the dataset that the options name; process 0 first, which may have to prepare and to decode it."""
        if not processes.writes():
            multihost_utils.sync_global_devices("data")
        dataset = _dataset(self.dataset, self.data_dir, self.archive)
        if processes.writes():
            multihost_utils.sync_global_devices("data")
        return dataset

    @property
    def fingerprint(self) -> str:
        """This tells where rows come from, once this process has loaded the dataset."""
        return _dataset(self.dataset, self.data_dir, self.archive).fingerprint


@functools.lru_cache(maxsize=1)
def _dataset(name: str, data_dir: str | None, archive: str | None) -> data.Dataset:
    """This is read once for all studies of a process."""
    return data.load(name, data_dir=data_dir, archive=archive)


@dataclass(frozen=True)
class Common(Basic):
    """These are the options of every study. Raises UserError for a value out of range."""

    PROTOCOLS: ClassVar[Sequence[str]] = PROTOCOLS
    USUAL: ClassVar[Places] = {}
    """What stands for an option that is None, and how protocols train beside that."""

    gradient: str = option("manual", "gradients: manual (hand-written) or autodiff (jax.grad)", choices=SOURCES)
    seeds: int = option(3, "number of seeds", low=1, high=MOST_RUNS)
    protocol: str = option("clean", "clean, or published: the report's scripts bug for bug")
    resume: bool = option(False, "keep what an interrupted run of the same options has finished")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("protocol", self.protocol, self.PROTOCOLS)
        self._check_seeds(self.seeds)

    @property
    def validation(self) -> int:
        """Gives the number of validation images on CIFAR-10."""
        return VALIDATION[self.protocol]

    def split(self, dataset: data.Dataset) -> data.Splits:
        """Gives the protocol's splits: published tests on the first 1,000 test images, clean on all of them."""
        validation = self.validation if self.dataset == "cifar10" else SMALL_VALIDATION
        validation = min(validation, len(dataset.train_labels) // 2)
        test = min(1000, len(dataset.test_labels)) if self.protocol == "published" else None
        return data.split(dataset, validation=validation, test=test)

    def key(self, number: int) -> jax.Array:
        """Gives the key of the run with this seed."""
        return jax.random.key(self.seed + number)

    def value(self, name: str) -> Any:
        """Gives what was given for this option, else what is usual here; None if there is neither."""
        given = getattr(self, name, None)
        if given is not None:
            return given
        here = (place(self.dataset), self.protocol)
        return {**narrowest(BATCHES, *here), **narrowest(self.USUAL, *here)}.get(name)

    def network(self, **more: Any) -> MLPConfig:
        """Gives the network that the options describe; `more` goes before them."""
        norm = norm_options(getattr(self, "batch_norm", "none"), getattr(self, "layer_norm", "none"))
        return MLPConfig(**{**self._values(MLPConfig), **norm, **more})

    def training(self, **more: Any) -> TrainConfig:
        """Tells how the protocol trains, where the options do not say otherwise; `more` goes before both."""
        return TrainConfig(**{**self._values(TrainConfig), **more})

    def _values(self, kind: type[MLPConfig | TrainConfig]) -> dict[str, Any]:
        """Gives the fields of this dataclass of which an option, or what is usual, tells the value."""
        values = {field.name: self.value(field.name) for field in dataclasses.fields(kind)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Training(Common, processes.Processes):
    """These are the options of every experiment that trains: where and how exactly."""

    precision: str = option("float32", "of matrix products: float32, tf32 or bf16", choices=PRECISIONS)
    max_memory_gb: float | None = option(
        None, "memory per device; runs beyond it take turns; default: most that is free", above=0, high=MOST_GB
    )
    checkpoint_minutes: float = option(5.0, "minutes between checkpoints; 0: one after every epoch", low=0)
    data_parallel: int = option(1, "number of devices that share each minibatch", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        processes.Processes.__post_init__(self)


@dataclass(frozen=True)
class Tuned(Training):
    """These options are of a study that chooses each setting's learning rate, and say how all are trained.

    None leaves an option to the protocol: `USUAL`. Raises UserError for candidates that would be ignored.
    """

    learning_rate: float | None = option(None, "fixes the learning rate")
    learning_rates: Floats | None = option(None, "candidates to choose from on validation", needs="protocol=clean")
    optimizer: str | None = option(None, "how parameters are updated", choices=OPTIMIZERS)
    l2: float | None = option(None, "lambda of the penalty")
    weight_decay: float | None = option(None, "times each parameter, added to its gradient")
    epochs: int | None = option(None, "epochs of each run")
    decay: float | None = option(None, "learning rate times this per epoch")
    batch_size: int | None = option(None, "examples in a minibatch", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rates is not None and self.learning_rate is not None:
            raise UserError("--learning_rate fixes what --learning_rates would choose: leave one out")

    def candidates(self) -> Floats:
        """Gives the learning rates to choose from: one if it is fixed, or published."""
        fixed = self.value("learning_rate")
        return self.value("learning_rates") if fixed is None else (fixed,)

    def recipes(self, **more: Any) -> tuple[TrainConfig, ...]:
        """Gives the `training` with each of the `candidates`."""
        return tuple(self.training(**{**more, "learning_rate": rate}) for rate in self.candidates())


def progress(total: int, unit: str) -> Any:
    """Shows a progress bar on standard error, if that is a terminal; process 0 alone does."""
    hidden = None if processes.writes() else True
    return tqdm(total=total, unit=unit, disable=hidden, dynamic_ncols=True, leave=False)
