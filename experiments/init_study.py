"""Why did "more than 2 layers not update the weights"? Initialisations against depth (a remark in Question 4).

Hypothesis: a layer with weights N(0, s^2) scales what passes it by about s * sqrt(width), forward and backward, so
the gradient of small weights shrinks by orders of magnitude with every further layer; SGD then stands still, and
Adam, which divides by the gradient's size, does so later, where the gradient meets its eps of 1e-8. He's and the
framework's default (uniform_fan_in) keep the scale, or nearly so. `normal_1e-3` is the handed-out initialisation
of Question 4 (standard deviation 0.001), `normal_1e-4` that of Question 3.

For each initialisation, optimiser and depth: the root mean square of every layer's activations and weight gradient
on the first 200 training images, at the start and after every epoch; accuracy; and whether learning died, which
is: after the last epoch, validation accuracy is not above that of always answering the commonest class by more
than 2 of its standard errors.

Published protocol: inputs in [-1, 1], coupled weight decay 0.001, plain SGD or Adam. Clean protocol: standardised
inputs, no weight decay, momentum SGD or Adam. One learning rate per optimiser, for all initialisations and depths.

  TFDS_DATA_DIR=... python -m experiments.init_study --dataset=cifar10 [--protocol=published]

On the digits, the default (2 to 5 layers), about a CPU minute at the first start and half of it when nothing is to
be compiled; on CIFAR-10 (2 to 8) about 3 minutes on two cores. Expected figures: on the digits
normal_1e-3 and normal_1e-4 die under SGD from 3 layers on and under Adam from 4 or 5, he and uniform_fan_in at no
depth; each further layer divides the first gradient by about 200, 2000, 1 and 2.6. "moved" in the table tells two
deaths apart: near 0 the weights stood still; near 1, under Adam with coupled weight decay, they decayed to 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlp_jax.data.dataset import Split, Splits
from mlp_jax.errors import UserError, in_range, one_of
from mlp_jax.fields import Ints, Names, option, plain_number
from mlp_jax.nn.config import INITS
from mlp_jax.studies import figures as draw
from mlp_jax.studies import options, plotted, statistics, verdicts
from mlp_jax.studies.claims import Claim, one
from mlp_jax.studies.norms import observer, summary
from mlp_jax.studies.results import Row, by
from mlp_jax.studies.rows import Setting
from mlp_jax.studies.runs import Observe
from mlp_jax.studies.study import Shape, Study, Trained
from mlp_jax.studies.tables import measured, of_rows, status
from mlp_jax.training.config import TrainConfig

Array = NDArray[np.floating]
NAMES = {"sgd": "SGD", "adam": "Adam"}
SHOWN = {"activation": "RMS of the layer's activations", "gradient": "RMS of the layer's weight gradient"}
NORM_IMAGES = 200
NAMED = tuple(name for name in INITS if name != "normal")


def deviation(init: str) -> float | None:
    """Gives the S of normal_S; None for the others. Raises UserError for an initialisation that does not exist."""
    name, _, text = init.partition("normal_")
    if name or not text:
        one_of("init", init, ("normal_S", *NAMED))
        return None
    try:
        std = float(plain_number(text))
    except ValueError:
        raise UserError(f"in {init}, S of normal_S must be a standard deviation, such as 1e-3") from None
    # a smaller one is 0 in float32, and nothing could be told relative to the weights at the start
    in_range("the standard deviation in --inits=normal_S", std, float(np.finfo(np.float32).tiny))
    return std


@dataclass(frozen=True)
class Config(options.Training):
    """These are the options of the initialisation study; None takes the protocol's value."""

    USUAL: ClassVar[options.Places] = {
        "published": {
            "weight_decay": 1e-3, "decay": 0.95, "validate_in_training_mode": True,
            "sgd_learning_rate": 0.1, "adam_learning_rate": 1e-3,
        },
        "clean": {"decay": 1.0, "sgd_learning_rate": 0.02, "adam_learning_rate": 1e-3},
        "cifar10": {"epochs": 3, "layers": (2, 3, 4, 5, 6, 7, 8)},
        "else": {"epochs": 8, "layers": (2, 3, 4, 5)},
    }  # fmt: skip

    layers: Ints | None = option(None, "depths to compare: hidden layers + 1", low=1, high=options.MOST_LAYERS)
    inits: Names = option(
        ("normal_1e-4", "normal_1e-3", "he", "uniform_fan_in"),
        "initialisations: normal_S with S the standard deviation, uniform_fan_in, he, glorot, lecun",
        choices=deviation,
    )
    optimizers: Names = option(
        ("sgd", "adam"), "sgd (plain if published, with momentum if clean), adam, or both", choices=("sgd", "adam")
    )
    sgd_learning_rate: float | None = option(None, "learning rate of sgd", needs="optimizers=sgd")
    adam_learning_rate: float | None = option(None, "learning rate of adam", needs="optimizers=adam")
    hidden: int = option(50, "width of each hidden layer", low=1)
    activation: str = option("relu", "activation function")
    epochs: int | None = option(None, "epochs of each run", low=1)
    batch_size: int | None = option(None, "examples in a minibatch", low=1)


def settings(config: Config, shape: Shape) -> list[Setting]:
    """Gives a network of every depth, from every initialisation, under every optimiser."""
    return [
        Setting(
            {"init": init, "optimizer": optimizer, "layers": layers},
            config.network(**shape.sizes, hidden=(config.hidden,) * (layers - 1), **start(init)),
            (recipe(config, optimizer),),
        )
        for optimizer in config.optimizers
        for init in config.inits
        for layers in config.value("layers")
    ]


def start(init: str) -> dict[str, Any]:
    """Gives the options of a network with this initialisation."""
    std = deviation(init)
    return {"init": init} if std is None else {"init": "normal", "init_std": std}


def recipe(config: Config, optimizer: str) -> TrainConfig:
    """Tells how the protocol trains with this optimiser; the clean one's SGD has momentum."""
    name = "momentum" if (optimizer, config.protocol) == ("sgd", "clean") else optimizer
    return config.training(optimizer=name, learning_rate=config.value(f"{optimizer}_learning_rate"))


def observed(config: Config, setting: Setting, splits: Splits) -> Observe:
    """Tells what is noted after every epoch: the norms on the first training images."""
    batch = Split(*(np.asarray(values)[:NORM_IMAGES] for values in splits.train))
    return observer(batch, setting.model, config.gradient)


def with_norms(trained: Trained[Config]) -> Row:
    """Gives the norms of a setting, and how many of its runs have learned nothing."""
    split, accuracies = trained.splits.validation, trained.row["validation_accuracy"]["values"]
    chance = majority(split)
    dead = sum(is_dead(accuracy, chance, len(split.y)) for accuracy in accuracies)
    finished = [run for run in trained.runs if run.status == "finished"]
    return {"chance": chance, "dead": dead, "norms": summary(finished)}


def majority(split: Split) -> float:
    """Gives the accuracy of always answering the split's commonest class, as if the network saw nothing."""
    return float(np.bincount(np.asarray(split.y)).max() / len(split.y))


def is_dead(accuracy: float, chance: float, images: int) -> bool:
    """Tells whether an accuracy, counted on so many images, is not clearly above chance: by 2 standard errors."""
    return accuracy <= chance + 2 * statistics.accuracy_error(chance, images)


def dies(rows: Sequence[Row]) -> list[Row]:
    """Gives, for each optimiser and initialisation, the depth from which on every run is dead, or None."""
    found = []
    for (optimizer, init), own in by(rows, "optimizer", "init").items():
        alive = [row["layers"] for row in own if row["diverged"] or row["dead"] < len(row["seeds"])]
        dead = [row["layers"] for row in own if row["layers"] > max(alive, default=0)]
        found.append({"optimizer": optimizer, "init": init, "layers": min(dead, default=None)})
    return found


def first_gradient(row: Row) -> Array | None:
    """Gives the `_sizes` of the first layer's gradient at the start; None if no run finished."""
    return _sizes(row["norms"]["gradient"], 0)[:, 0] if row["norms"]["gradient"] else None


def shrinkage(rows: Sequence[Row], init: str) -> float | None:
    """Gives by what each further layer divides the first layer's gradient at the start: a geometric mean."""
    own = {row["layers"]: first_gradient(row) for row in rows if row["init"] == init}
    sizes = {layers: size[0] for layers, size in own.items() if size is not None}
    first, last = min(sizes, default=0), max(sizes, default=0)
    if first == last or not sizes[last]:
        return None
    return float((sizes[first] / sizes[last]) ** (1 / (last - first)))


table = of_rows({
    "optimizer": "optimizer",
    "init": "init",
    "layers": "layers",
    "validation %": measured("validation_accuracy"),
    "test %": measured("test_accuracy"),
    "dead": lambda row: f"{row['dead']} of {len(row['seeds']) + row['diverged']}",
    "first gradient": lambda row: "-" if (found := first_gradient(row)) is None else f"{found[0]:.1e}",
    "moved": lambda row: f"{row['norms']['moved'][0]:.2g}" if row["norms"]["moved"] else "-",
    "status": status,
})  # fmt: skip


def finding(content: Row) -> str:
    """Tells where learning dies, and what a layer does to the gradient."""
    rows = content["rows"]
    deepest = max(row["layers"] for row in rows)
    parts = []
    for optimizer, found in by(content["dies"], "optimizer").items():
        own = {each["init"]: each["layers"] for each in found}
        told = [f"{init} from {layers} layers on" for init, layers in own.items() if layers is not None]
        if alive := [init for init, layers in own.items() if layers is None]:
            told.append(f"{', '.join(alive)} at no depth up to {deepest}")
        parts.append(f"under {NAMES[optimizer]}: {', '.join(told)}")
    factors = {init: factor for init in by(rows, "init") if (factor := shrinkage(rows, init)) is not None}
    shrinks = ", ".join(f"{f:{'.0f' if f > 99 else '.2g'}} ({init})" for init, f in factors.items())
    more = f" At the start, each further layer divides the first layer's gradient by {shrinks}." if shrinks else ""
    return f"Learning dies {'; '.join(parts)}.{more}"


def norms_by_layer(rows: Sequence[Row], layers: int) -> draw.Figure:
    """Draws networks of one depth: activations above, gradients below; the start, then the end by optimiser."""
    own = by((row for row in rows if row["layers"] == layers), "optimizer")
    epochs, ticks = rows[0]["recipe"]["epochs"], range(1, layers + 1)
    columns = [("at the start", next(iter(own)), 0)]
    columns += [(f"after {epochs} epochs of {NAMES[name]}", name, -1) for name in own]
    panels: list[draw.Panel] = []
    for quantity, words in SHOWN.items():
        for title, optimizer, when in columns:
            lines = [
                draw.Line(row["init"], ticks, *_sizes(norms, when), number=number)
                for number, row in enumerate(own[optimizer])
                if (norms := row["norms"][quantity]) is not None
            ]
            ylabel, legend = ("" if len(panels) % len(columns) else words), ("" if panels else "best")
            panels.append(draw.Panel(lines, "layer", ylabel, title, yscale="log", xticks=ticks, legend=legend))
    return draw.Figure(
        draw.lines(panels, columns=len(columns)),
        f"Networks of {layers} layers: root mean square of each layer's activations and weight gradient, at "
        f"the start and after {epochs} epochs, on a logarithmic scale; geometric mean and standard deviation "
        "over seeds. There is no point where a seed's value is exactly 0, which does not fit the scale.",
    )


def _sizes(found: Row, when: int) -> Array:
    """Gives every layer's geometric mean, and one geometric deviation below and above it: (3, layers)."""
    middle = np.array(found["mean"][when])
    spread = np.array(found["spread"][when]) if found["spread"] else np.ones_like(middle)
    return np.array([middle, middle / spread, middle * spread])


def by_depth(rows: Sequence[Row], y: Callable[[Row], Any], ylabel: str, **more: Any) -> draw.Panel:
    """Draws a quantity of one optimiser's rows against depth, a line per initialisation."""
    lines, depths = plotted.grouped(rows, "init", "layers", y), sorted(by(rows, "layers"))
    return draw.Panel(lines, "layers (hidden layers + 1)", ylabel, xticks=depths, **more)


def figures(content: Row) -> dict[str, draw.Figure]:
    """Draws accuracy and the first layer's gradient against depth; norms by layer for 5 layers and the deepest."""
    rows = sorted(content["rows"], key=lambda row: int(row["layers"]))
    optimizers, depths = by(rows, "optimizer"), {row["layers"] for row in rows}
    accuracy, chance = plotted.in_percent("validation_accuracy"), {"commonest class": 100 * rows[0]["chance"]}
    accuracies = [
        by_depth(own, accuracy, "validation accuracy [%]", title=NAMES[name], levels=chance, legend=legend)
        for (name, own), legend in zip(optimizers.items(), ("best", ""), strict=False)
    ]
    own = next(iter(optimizers.values()))  # at the start the optimiser does not matter yet
    gradients = by_depth(own, first_gradient, "RMS of the first layer's weight gradient", yscale="log")
    shown = sorted({5, max(depths)} & depths)
    return {
        "accuracy.svg": draw.Figure(
            draw.lines(accuracies),
            "Validation accuracy after the last epoch against depth: mean over seeds, band of one standard "
            "deviation. Dashed: the accuracy of always answering the commonest class.",
        ),
        "first_gradient.svg": draw.Figure(
            draw.lines([gradients]),
            "Root mean square of the first layer's weight gradient at the start against depth, logarithmic scale.",
        ),
        **{f"norms_{layers}_layers.svg": norms_by_layer(rows, layers) for layers in shown},
    }


def handed_out_dies(content: Row) -> Row:
    """Judges whether 3 layers do not learn from the handed-out start under Adam; tells of SGD too."""
    row = one(content, init="normal_1e-3", optimizer="adam", layers=3)
    runs = len(row["seeds"]) + row["diverged"]
    first = {found["optimizer"]: found["layers"] for found in content["dies"] if found["init"] == "normal_1e-3"}
    deepest = max(row["layers"] for row in content["rows"])

    def where(layers: int | None) -> str:
        return f"none learns from {layers} layers on" if layers else f"no depth up to {deepest} fails in every run"

    text = f"Adam: {row['dead']} of {runs} runs with 3 layers do not learn; {where(first['adam'])}"
    if "sgd" in first:
        text += f". SGD: {where(first['sgd'])}"
    return {"text": text, "verdict": verdicts.judge_event(row["dead"], runs)}


STUDY = Study(
    name="init_study",
    title="Initialisation: at which depth does learning die?",
    caveat=(
        "The learning rate of each optimiser is fixed over initialisations and depths, and training is short: a "
        "rate tuned for each setting, or more epochs, could wake some of the networks that are called dead here."
    ),
    doc=__doc__,
    options=Config,
    settings=settings,
    table=table,
    finding=finding,
    figures=figures,
    beside=lambda config, rows: {"dies": dies(rows)},
    observe=observed,
    more=with_norms,
    left_out=("curves", "first_losses", "choice", "report"),
    passed=lambda rows: True,  # that runs diverge is a result
    claims=(
        Claim("init", "With more than 2 layers the handed-out initialisation, N(0, 0.001), does not learn",
              "in words", handed_out_dies),
    ),
    part="Question 4: deeper networks",
    scales={
        "smoke": {"layers": "2,3", "inits": "normal_1e-3,uniform_fan_in", "epochs": 3},
        "smoke cifar10": {"epochs": 1},
        "smoke else": {"optimizers": "adam"},
        "standard else": {"layers": "2,3,5", "inits": "normal_1e-3,he,uniform_fan_in"},
        "full": {"layers": "2,3,4,5,6,7,8,12,16"},
    },
)  # fmt: skip
main = STUDY.main

if __name__ == "__main__":
    raise SystemExit(main())
