"""The grid search's options, and the configurations and recipes that they name."""

from dataclasses import dataclass
from typing import Any

from experiments._space import Point, Space
from mlp_jax.data.dataset import Splits
from mlp_jax.errors import UserError
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import options
from mlp_jax.studies.options import option
from mlp_jax.studies.rows import Setting
from mlp_jax.training.config import TrainConfig, steps_per_epoch

DEFAULT = Point(hidden=50, batch_size=200, l2=0.25, learning_rate=1e-4)
DEFAULT_STEPS = 1000
REPORT_BEST, REPORT_DEFAULT = 0.533, 0.29  # of validation, after 5,000 and 1,000 steps
SEARCHES = ("grid", "random")


@dataclass(frozen=True)
class Config(options.Training):
    """Options of the search; None takes the value of the protocol and the dataset."""

    search: str | None = option(
        None, "grid or random; default grid if published, random if clean", choices=SEARCHES
    )
    trials: int | None = option(
        None,
        "random: number of draws, default 24 on cifar10, else 12; grid: that many of its points, default all",
        low=1,
        high=options.MOST_RUNS,
    )
    hidden: tuple[int, ...] | None = option(
        None, "hidden widths to try, with commas; default 50,100,200 on cifar10", low=1
    )
    batch_size: tuple[int, ...] | None = option(
        None, "batch sizes to try, with commas; default 64,128,200 on cifar10", low=1
    )
    l2: tuple[float, ...] | None = option(
        None, "grid: lambdas to try, with commas; default 0.001,0.01 on cifar10", low=0
    )
    learning_rate: tuple[float, ...] | None = option(
        None,
        "grid: learning rates to try, with commas; on cifar10 default 0.001,0.01 if published",
        low=0,
        open_low=True,
    )
    l2_range: tuple[float, ...] | None = option(
        None, "random: least and greatest lambda; default 0.0003,0.03 if clean", low=0, open_low=True
    )
    learning_rate_range: tuple[float, ...] | None = option(
        None,
        "random: least and greatest learning rate; default on cifar10 0.001,0.1 if clean",
        low=0,
        open_low=True,
    )
    steps: tuple[int, ...] | None = option(
        None, "published: lengths of the runs, with commas; default 3000,5000 on cifar10", low=1
    )
    epochs: int | None = option(None, "clean: length of the runs; default 12", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("l2_range", "learning_rate_range"):
            ends = getattr(self, name)
            if ends is not None and not (len(ends) == 2 and ends[0] < ends[1]):
                raise UserError(f"--{name} must be two numbers, 0 < least < greatest, not {options.written(ends)}")


# lists and ranges of each dataset; the digits' and the synthetic images have fewer pixels, and fewer of them
_SMALL = {
    "hidden": (10, 20, 40),
    "batch_size": (20, 40, 60),
    "steps": (300, 500),
    "l2": (0.01, 0.1),
    "learning_rate": (0.001, 0.01),
    "l2_range": (0.001, 0.1),
    "learning_rate_range": (0.0003, 0.03),
}
_REPORT = {
    "hidden": (50, 100, 200),
    "batch_size": (64, 128, 200),
    "steps": (3000, 5000),
    "l2": (0.001, 0.01),
    "learning_rate": (0.001, 0.01),
    "l2_range": (0.0001, 0.1),
    "learning_rate_range": (0.0001, 0.01),
}
DEFAULTS = {"cifar10": _REPORT, "digits": _SMALL, "synthetic": _SMALL}
# momentum and standardised pixels take rates of their own
_CLEAN_REPORT = {
    "l2": (0.001, 0.01),
    "learning_rate": (0.005, 0.02),
    "l2_range": (0.0003, 0.03),
    "learning_rate_range": (0.001, 0.1),
}
_CLEAN_SMALL = _CLEAN_REPORT | {"learning_rate": (0.02, 0.08), "learning_rate_range": (0.003, 0.3)}
CLEAN = {"cifar10": _CLEAN_REPORT, "digits": _CLEAN_SMALL, "synthetic": _CLEAN_SMALL}
TRIALS = {"cifar10": 24, "digits": 12, "synthetic": 12}


def kind_of_search(config: Config) -> str:
    """Grid or random."""
    return config.search or ("grid" if config.protocol == "published" else "random")


def space(config: Config) -> Space:
    """What --hidden ... --learning_rate, or their ranges, list. Raises UserError."""
    ranges = kind_of_search(config) == "random"
    end = "_range" if ranges else ""
    return Space(
        _values(config, "hidden"),
        _values(config, "batch_size"),
        _values(config, f"l2{end}"),
        _values(config, f"learning_rate{end}"),
        ranges,
    )


def _values(config: Config, name: str) -> tuple[Any, ...]:
    """What the user gave, or the default."""
    given: tuple[Any, ...] | None = getattr(config, name)
    defaults = DEFAULTS[config.dataset] | (CLEAN[config.dataset] if config.protocol == "clean" else {})
    return defaults[name] if given is None else given


def points(config: Config) -> list[Point]:
    """The configurations to try, each with the first seed."""
    if kind_of_search(config) == "random":
        return space(config).draw(config.trials or TRIALS[config.dataset], config.seed)
    grid = space(config)
    return grid.grid() if config.trials is None else grid.subset(config.trials, config.seed)


def lengths(config: Config) -> tuple[int | None, ...]:
    """Steps of the runs, shortest first; None if epochs say how long they are."""
    if config.protocol == "clean":
        return (None,)
    return tuple(sorted(_values(config, "steps")))


def recipe(config: Config, point: Point, steps: int | None) -> TrainConfig:
    """How the protocol trains a configuration."""
    published = config.protocol == "published"
    return TrainConfig(
        optimizer="sgd" if published else "momentum",
        learning_rate=point.learning_rate,
        l2=point.l2,
        batch_size=point.batch_size,
        epochs=12 if config.epochs is None else config.epochs,
        steps=steps,
        decay=0.95 if published else 0.75,
        decay_after_first_step=published,
        gradient=config.gradient,
    )


def network(config: Config, hidden: int, inputs: int = 3072, classes: int = 10) -> MLPConfig:
    """The two-layer network; the published start is N(0, 1e-4) with zero biases."""
    start: dict[str, Any] = {"init": "normal", "init_std": 1e-4} if config.protocol == "published" else {}
    return MLPConfig(hidden=(hidden,), precision=config.precision, inputs=inputs, classes=classes, **start)


def setting(config: Config, splits: Splits, kind: str, point: Point, steps: int | None) -> Setting:
    """A row to be: `kind` is grid, trial, best or default. Raises UserError for too large a batch."""
    trained = recipe(config, point, steps)
    per_epoch = steps_per_epoch(splits.train, trained)
    taken = trained.epochs * per_epoch if steps is None else steps
    model = network(config, point.hidden, splits.train.x.shape[1])
    label = {"kind": kind, **point._asdict(), "steps": taken}
    return Setting(label, model, (trained,), _report(config, kind, taken))


def _report(config: Config, kind: str, steps: int) -> dict[str, float] | None:
    """What the report has of the best and of the default, on validation."""
    if (config.dataset, config.protocol) != ("cifar10", "published"):
        return None
    stated = {("best", 5000): REPORT_BEST, ("default", DEFAULT_STEPS): REPORT_DEFAULT}
    value = stated.get((kind, steps))
    return None if value is None else {"validation_accuracy": value}


def check(config: Config) -> None:
    """Every option, before anything is loaded; one that would be ignored is a mistake too."""
    kind = kind_of_search(config)
    other = ("l2", "learning_rate") if kind == "random" else ("l2_range", "learning_rate_range")
    for name in other:
        if getattr(config, name) is not None:
            raise UserError(f"--{name} is not for --search={kind}: leave it out, or change --search")
    ignored = "epochs" if config.protocol == "published" else "steps"
    if getattr(config, ignored) is not None:
        raise UserError(f"--{ignored} is not for --protocol={config.protocol}: leave it out, or change --protocol")
    for point in points(config):
        for steps in lengths(config):
            config.check_batch(network(config, point.hidden), recipe(config, point, steps))
