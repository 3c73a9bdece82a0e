"""The options that the experiments share: typed fields with ranges, from which flags, checks and --help come.

An experiment is a frozen dataclass of options, which inherits `Common`, and a function `run(config)` that takes
it as plain data; `command` turns the dataclass into command-line flags.
"""

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from mlp_jax import data
from mlp_jax.data import DATASETS
from mlp_jax.errors import UserError, in_range, one_of, user_path, whole_number
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.nn.matmul import PRECISIONS
from mlp_jax.studies import processes, results
from mlp_jax.training import layout
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.layout import MOST_GB

PROTOCOLS = ("published", "clean")
# (training batch size, validation split of each protocol); the report's on CIFAR-10, small ones elsewhere.
BATCH_SIZE = {"cifar10": 200, "digits": 20, "synthetic": 20}
VALIDATION = {"published": 1000, "clean": 5000}
SMALL_VALIDATION = 200
MOST_RUNS, MOST_LAYERS = 10_000, 1000
"""Of seeds or trials, and of layers: a mistyped number shall not fill the memory with what is to be done."""

Field = dataclasses.Field[Any]


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    choices: Iterable[str] | Callable[[str], Any] = (),
    empty: bool = False,
    repeats: bool = False,
) -> Any:
    """A dataclass field that is also a flag with this help text.

    Its annotation is bool, int, float or str, or a tuple of one of the last three, which is written with commas;
    `| None` where the default depends on other options. A number lies in [low, high], without an end that is
    open; a name is one of `choices`, or one that the function `choices` takes without an error. A list is
    not empty unless `empty` is true, and has no value twice unless `repeats` is.
    """
    if not callable(choices):
        choices = tuple(choices)
    limits = {"low": low, "high": high, "open_low": open_low, "open_high": open_high}
    return dataclasses.field(
        default=default,
        metadata={"help": help, "choices": choices, "empty": empty, "repeats": repeats, "limits": limits},
    )


def kind(field: Field) -> tuple[type, bool]:
    """The type of the option's value, or of each of its values, and whether it takes several."""
    annotation: Any = field.type
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    return annotation, False


def parsed(field: Field, value: Any) -> Any:
    """The value of the option, given as itself or as the text of a list. Raises UserError if it cannot be one."""
    one, many = kind(field)
    if value is None or one is bool:
        return value
    if not many:
        _check(field, value)
        return value
    flag = f"--{field.name}"
    values = tuple(_read(flag, one, value)) if isinstance(value, str) else tuple(value)
    if not values and not field.metadata["empty"]:
        raise UserError(f"{flag} is empty: give at least one value, or leave it out")
    for entry in values:
        _check(field, entry)
    if len(set(values)) < len(values) and not field.metadata["repeats"]:
        raise UserError(f"{flag}={written(values)} names a value twice: leave one out")
    return values


def _read(flag: str, one: type, text: str) -> Iterable[Any]:
    parts = text.split(",") if text else []
    if one is int:
        if not all(re.fullmatch("-?[0-9]{1,9}", part) for part in parts):
            raise UserError(f"{flag} must be whole numbers with commas between them, not {text!r}")
        return map(int, parts)
    try:
        return [float(plain_number(part)) for part in parts] if one is float else parts
    except ValueError:
        raise UserError(f"{flag} must be numbers with commas between them, not {text!r}") from None


def _check(field: Field, value: Any) -> None:
    one, many = kind(field)
    choices, limits = field.metadata["choices"], field.metadata["limits"]
    flag = f"--{field.name}"
    if callable(choices):
        choices(value)
    elif choices:
        one_of(_singular(field.name) if many else field.name, value, choices)
    if limits["low"] is None:
        return
    if one is int:
        whole_number(flag, value, limits["low"], limits["high"])
    else:
        high = float("inf") if limits["high"] is None else limits["high"]
        in_range(flag, value, **{**limits, "high": high})


def _singular(name: str) -> str:
    """What one entry of a list is called: "activation" of --activations, "study" of --studies."""
    return re.sub("ies$", "y", name) if name.endswith("ies") else name.removesuffix("s")


def written(values: Sequence[Any]) -> str:
    """A list as it is written on a command line: "2,3", "0,0.2"."""
    return ",".join(f"{value:.12g}" if isinstance(value, float) else str(value) for value in values)


def plain_number(text: str) -> str:
    """The text. Raises ValueError if Python would read digits of other scripts, underscores or spaces in it."""
    if not re.fullmatch(r"[-+.a-zA-Z0-9]+", text):
        raise ValueError(f"{text!r} is not a number in plain digits")
    return text


@dataclass(frozen=True)
class Basic:
    """The options of everything that reads data and writes results. Raises UserError for a value out of range."""

    dataset: str = option("digits", "digits (needs no network), cifar10 or synthetic", choices=DATASETS)
    data_dir: str | None = option(None, "tensorflow-datasets folder; default TFDS_DATA_DIR, else tfds' own")
    archive: str | None = option(None, "cifar-10-binary.tar.gz, a file or URL to prepare cifar10 from")
    results_dir: str = option("results", "results go to RESULTS_DIR/NAME/results.json")
    seed: int = option(0, "the first seed", low=0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, parsed(field, getattr(self, field.name)))
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
        if not processes.writes():
            multihost_utils.sync_global_devices("data")
        dataset = _dataset(self.dataset, self.data_dir, self.archive)
        if processes.writes():
            multihost_utils.sync_global_devices("data")
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

    gradient: str = option(
        "manual", "source of gradients: manual (hand-written) or autodiff (jax.grad)", choices=SOURCES
    )
    seeds: int = option(3, "number of seeds", low=1, high=MOST_RUNS)
    protocol: str = option("clean", "clean, or published: the report's scripts bug for bug")
    resume: bool = option(False, "keep what an interrupted run of the same options has finished")

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("protocol", self.protocol, self.PROTOCOLS)
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
class Training(Common, processes.Processes):
    """The options of every experiment that trains: where and how exactly."""

    precision: str = option("float32", "of matrix products: float32, tf32 or bf16", choices=PRECISIONS)
    max_memory_gb: float | None = option(
        None,
        "memory per device; more runs than fit are trained in turn; default: most of what is free",
        low=0,
        high=MOST_GB,
        open_low=True,
    )
    checkpoint_minutes: float = option(5.0, "minutes between checkpoints; 0: one after every epoch", low=0)
    data_parallel: int = option(1, "number of devices that share each minibatch", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        processes.Processes.__post_init__(self)

    def check_batch(self, model: MLPConfig, recipe: TrainConfig) -> None:
        """Raises UserError if the minibatches are too small for the network, or not to be shared."""
        layout.check_batch(model, recipe, self.data_parallel)


@dataclass(frozen=True)
class Tuned(Training):
    """The options of a study that chooses a learning rate for each of its settings.

    Raises UserError for candidates that would be ignored.
    """

    learning_rate: float | None = option(None, "fixes the learning rate")
    learning_rates: tuple[float, ...] | None = option(
        None, "clean: the candidates to choose from on validation, with commas"
    )

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
        return usual if self.learning_rates is None else self.learning_rates


def progress(total: int, unit: str) -> Any:
    """A progress bar on standard error when that is a terminal, else nothing; process 0 alone shows it."""
    hidden = None if processes.writes() else True
    return tqdm(total=total, unit=unit, disable=hidden, dynamic_ncols=True, leave=False)
