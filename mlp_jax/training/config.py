"""How a network is trained is plain data: a part is compiled into a program, and programs share the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mlp_jax.data.dataset import Split
from mlp_jax.errors import UserError, float32, in_range, one_of, whole_number
from mlp_jax.nn.config import MLPConfig, later
from mlp_jax.nn.gradients import SOURCES
from mlp_jax.training.augment import Augmentation

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "lion", "muon")
ADAMS = ("adam", "adamw", "muon")
DECOUPLED = ("adamw", "lion", "muon")
SIZE: Mapping[str, Any] = {"low": 0}
SHARE: Mapping[str, Any] = {"low": 0, "high": 1, "open_high": True}
FACTOR: Mapping[str, Any] = {"low": 0, "high": 1, "open_low": True}
RANGES: Mapping[str, Mapping[str, Any]] = {
    "learning_rate": {"low": 0, "open_low": True},
    **dict.fromkeys(("l2", "weight_decay", "bias_rate", "last_layer_rate"), SIZE),
    **dict.fromkeys(("momentum", "beta2", "warmup", "label_smoothing", "average_start", "accumulate_from"), SHARE),
    **dict.fromkeys(("decay", "lookahead_rate"), FACTOR),
}
"""These options are numbers; each has its arguments of `errors.in_range`."""
COUNTS = {
    "batch_size": (1, None),
    "epochs": (0, 10**6),
    "steps": (0, 2**31 - 1),  # they are counted in int32
    "muon_steps": (1, 100),
    **dict.fromkeys(("muon_every", "accumulate"), (1, 1000)),
}
"""These options are whole numbers: the least and the greatest."""
CHOICES = {
    "optimizer": OPTIMIZERS,
    "gradient": SOURCES,
    "schedule": ("decay", "cosine", "one_cycle"),
    "muon_coefficients": ("standard", "polar_express"),
    "muon_layers": ("all", "hidden"),
}


@dataclass(frozen=True)
class TrainConfig:
    """These options say how one network is trained.

    optimizer: optax's "sgd", "momentum" (sgd with heavy-ball `momentum`), "adam", "adamw" (Loshchilov & Hutter
      2019), "lion" (Chen et al. 2023) or "muon" (Jordan 2024: Nesterov's `momentum` made orthogonal
      in `muon_steps` Newton-Schulz iterations, for weights; biases and normalisation go to AdamW, with the same
      rate). muon_coefficients: of these iterations; "polar_express" (Amsel et al. 2025) needs fewer of them than
      "standard". muon_layers: "all", or "hidden": first and last layer go to AdamW too, as its authors advise.
      muon_every: the iterations are made in every so many steps; in between, what they did to that step's momentum
      is done to the new one (`muon.scale_by_muon`).
    beta2: how slowly Adam's second moment forgets, in [0, 1), with adam, adamw, and muon's other parameters.
    bias_rate, last_layer_rate: factors on the learning rate, of biases, scales and shifts, and of the last layer;
      its bias has both.
    l2: lambda of J~. weight_decay: with sgd, momentum and adam, added to the gradient of every parameter, biases
      and normalisation too, before the optimiser sees it ("coupled", as in the report's Question 4); with the
      others, learning rate times weight_decay is taken off the weights alone ("decoupled").
    schedule: of the learning rate. "decay": multiplied by `decay` after each epoch; with decay_after_first_step
      also after the very first step, as the report's scripts do. "cosine": up from 0 in the first `warmup` of the
      run (a share, in [0, 1)), then down to 0 as a cosine. "one_cycle": up from 1/25 in the first `warmup` of the
      run, then down to all but 0, in straight lines.
    epochs, steps: length of the run; `steps`, if given, replaces `epochs` and may end inside an epoch. An epoch
      is the training split // batch_size steps: what is left over of its permutation is not seen in it.
    validate_in_training_mode: validation with the batch statistics and dropout of training, moving the running
      statistics, as the report's Question 4 scripts do.
    gradient: "manual" or "autodiff".
    label_smoothing: share, in [0, 1), of every label that is given to all classes alike (Szegedy et al. 2016); the
      minibatches' loss is then that of the smoothed labels, the validation loss is not.
    augmentation: of the minibatches (`augmentation`); None for none.
    average_decay: validation and tests use an average of the parameters and running statistics over the steps
      from `average_start` (a share of the run) on: exponential below 1, their plain mean at 1
      (`optimizers.average`). None: the last ones.
    lookahead: slow parameters, which are validated and tested, go `lookahead_rate` of the way to those that are
      trained in every so many steps, and these go on from there (Zhang et al. 2019); running statistics alike.
      None: no such thing.
    accumulate: from `accumulate_from` of the run (a share, in [0, 1)) on, an update is made of the mean gradient
      of so many minibatches, as if the batch had risen to their sum (Smith et al. 2018).

    Raises UserError for a value out of range, or an option that would be ignored.
    """

    optimizer: str = "momentum"
    learning_rate: float = 0.01
    l2: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 200
    epochs: int = 10
    steps: int | None = None
    decay: float = 0.95
    decay_after_first_step: bool = False
    validate_in_training_mode: bool = False
    gradient: str = "manual"
    schedule: str = "decay"
    warmup: float = 0.0
    label_smoothing: float = 0.0
    augmentation: Augmentation | None = None
    average_decay: float | None = None
    average_start: float = 0.0
    muon_steps: int = 5
    muon_coefficients: str = "standard"
    muon_layers: str = "all"
    muon_every: int = later(1)
    beta2: float = 0.999
    bias_rate: float = later(1.0)
    last_layer_rate: float = later(1.0)
    lookahead: int | None = later(None)
    lookahead_rate: float = later(0.5)
    accumulate: int = later(1)
    accumulate_from: float = later(0.0)

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            one_of(name, getattr(self, name), valid)
        for name, limits in RANGES.items():
            in_range(name, getattr(self, name), **limits)
        for name, (least, most) in COUNTS.items():
            if name != "steps" or self.steps is not None:
                whole_number(name, getattr(self, name), least, most)
        self._check_optimizer()
        self._check_schedule()
        self._check_average()
        self._check_lookahead()
        if self.accumulate_from and self.accumulate == 1:
            raise UserError("accumulate_from is for accumulate: give both, or leave it out")
        for name in ("learning_rate", "l2", "weight_decay", "bias_rate", "last_layer_rate"):
            float32(name, getattr(self, name))

    def _check_optimizer(self) -> None:
        """Refuses what this optimiser would ignore."""
        if self.beta2 != TrainConfig.beta2 and self.optimizer not in ADAMS:
            raise UserError(f"beta2 is for {', '.join(ADAMS)}, not {self.optimizer}: leave it out")
        for name in ("muon_steps", "muon_coefficients", "muon_layers", "muon_every"):
            if getattr(self, name) != getattr(TrainConfig, name) and self.optimizer != "muon":
                raise UserError(f"{name} is for the optimizer muon, not {self.optimizer}: leave it out")

    def _check_schedule(self) -> None:
        """Refuses what this schedule would ignore."""
        if self.schedule == "decay" and self.warmup:
            raise UserError("warmup is for the schedules cosine and one_cycle: choose one, or leave it out")
        if self.schedule != "decay" and self.decay_after_first_step:
            raise UserError(f"decay_after_first_step is for the schedule decay, not {self.schedule}: leave it out")

    def _check_lookahead(self) -> None:
        if self.lookahead is None:
            if self.lookahead_rate != TrainConfig.lookahead_rate:
                raise UserError("lookahead_rate is for lookahead: give both, or leave it out")
            return
        whole_number("lookahead", self.lookahead, 1, 1000)
        if self.average_decay is not None or self.validate_in_training_mode:
            raise UserError("lookahead excludes average_decay and validate_in_training_mode: choose one of them")

    def _check_average(self) -> None:
        if self.average_decay is None:
            if self.average_start:
                raise UserError("average_start is for average_decay: give both, or leave it out")
            return
        in_range("average_decay", self.average_decay, 0, 1)
        if self.validate_in_training_mode:
            raise UserError("validation in training mode moves statistics, which average_decay would average")

    @property
    def decoupled(self) -> bool:
        """Tells whether weight_decay acts on the weights themselves, and not through the gradient."""
        return self.optimizer in DECOUPLED

    @property
    def knows_its_end(self) -> bool:
        """Tells whether what a step does depends on the length of the run."""
        starts_late = self.accumulate_from > 0 or (self.average_decay is not None and self.average_start > 0)
        return self.schedule != "decay" or starts_late

    def total_steps(self, steps_per_epoch: int) -> int:
        """Returns the steps of the whole run."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps


class Run(NamedTuple):
    """Runs with one key share initial draws, minibatches and dropout masks, whatever else differs."""

    key: PRNGKeyArray
    model: MLPConfig
    config: TrainConfig


def key_data(key: PRNGKeyArray) -> np.ndarray:
    """Returns a key's bits, whether it is a typed one or not."""
    return np.asarray(jax.random.key_data(key))


class Hyper(NamedTuple):
    """These hyperparameters are traced: runs that differ only in them share one compiled program.

    dropout and init_scale are the network's; None takes those of the configuration that a function is given.
    """

    learning_rate: jax.Array | float
    l2: jax.Array | float
    momentum: jax.Array | float
    weight_decay: jax.Array | float
    dropout: jax.Array | float | None = None
    init_scale: jax.Array | float | None = None


def hyper_from(config: TrainConfig, model: MLPConfig | None = None) -> Hyper:
    """Returns the traced part of a configuration, and of a network's if it is given."""
    traced = {name: getattr(config, name) for name in Hyper._fields if hasattr(config, name)}
    if model is not None:
        scale = model.init_scale * (model.init_std if model.init == "normal" else 1.0)
        traced |= {"dropout": model.dropout, "init_scale": scale}
    return Hyper(**traced)


def program(model: MLPConfig, config: TrainConfig) -> tuple[MLPConfig, TrainConfig]:
    """Returns what is compiled: both configurations, with one value for all that `Hyper` and the length cover.

    Whether there is dropout at all stays: without it, no mask is drawn. So does a length that steps depend on.
    """
    model = replace(model, dropout=0.5 if model.dropout else 0.0, init_std=1.0, init_scale=1.0)
    defaults = TrainConfig()
    length = () if config.knows_its_end else ("epochs", "steps")
    names = [name for name in (*Hyper._fields, *length) if hasattr(defaults, name)]
    return model, replace(config, **{name: getattr(defaults, name) for name in names})


def drawn(model: MLPConfig) -> MLPConfig:
    """Returns the network that programs know once its parameters are drawn, since these are like any numbers."""
    return replace(model, init=MLPConfig.init, init_std=MLPConfig.init_std, init_scale=MLPConfig.init_scale)


def steps_per_epoch(data: Split, config: TrainConfig) -> int:
    """Counts the full minibatches in a split. Raises UserError if there is none."""
    examples = data.y.shape[0]
    if config.batch_size > examples:
        raise UserError(
            f"batch_size {config.batch_size} is larger than the training split of {examples}: "
            f"choose at most {examples}"
        )
    return int(examples // config.batch_size)
