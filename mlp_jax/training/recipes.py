"""Recipes for CIFAR-10 have names here: they show how far a plain network goes, and how fast.

Choices were made on 5,000 of the training images. `experiments.ablation` tells what each ingredient is worth on
the last 5,000; experiments/results/README.md has its table, and says when test images were looked at.
`best_model --recipe=NAME` trains on all but HELD_OUT of the 50,000 images, `speedrun --recipe=NAME` on all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mlp_jax.data.spectrum import Spectrum
from mlp_jax.files import sha256
from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.augment import Augmentation
from mlp_jax.training.config import TrainConfig
from mlp_jax.training.inputs import Inputs
from mlp_jax.training.written import as_text

HELD_OUT = 1000


ONE_CORE, TWO_CORES = "one x86-64 core with AVX-512", "two x86-64 cores with AVX-512"


@dataclass(frozen=True)
class Expected:
    """These were measured: mean test accuracy (a fraction, all 10,000 images) over `seeds`, and seconds per run.

    Of `best_model` seconds are those of its whole process over the number of seeds, of `speedrun` those from the
    start of a process that compiles anew.
    """

    accuracy: float
    seeds: int
    seconds: float
    hardware: str

    def __str__(self) -> str:
        return (
            f"expect {100 * self.accuracy:.1f} % on all test images (mean, n = {self.seeds}) in "
            f"{self.seconds / 60:.1f} minutes per run, on {self.hardware}"
        )


@dataclass(frozen=True)
class Recipe:
    """A recipe is a network and how it is trained.

    target: test accuracy, a fraction, that `speedrun` is to reach. expected: None where it was not run.
    spectrum, flatness: what the network sees, as `Inputs` has them; with neither, each channel normalised.

    Raises UserError for an augmentation that frequencies cannot have, or as `Inputs` does.
    """

    about: str
    model: MLPConfig
    training: TrainConfig
    target: float | None = None
    expected: Expected | None = None
    spectrum: Spectrum | None = None
    flatness: float | None = None

    def __post_init__(self) -> None:
        Inputs(self.spectrum, self.flatness)
        if self.training.augmentation is not None:
            replace(self.training.augmentation, spectrum=self.spectrum)

    @property
    def digest(self) -> str:
        """Tells whether network or training have changed since something was run."""
        seen = [as_text(self.spectrum)] if self.spectrum is not None else []
        seen += [f"flatness={self.flatness}"] if self.flatness is not None else []
        return sha256(f"({', '.join([as_text(self.model), as_text(self.training), *seen])})")[:12]

    def with_options(self, gradient: str, epochs: int | None) -> "Recipe":
        """Returns the same with that source of gradients, and another length if one is given.

        Raises UserError for what cannot be.
        """
        epochs = self.training.epochs if epochs is None else epochs
        return replace(self, training=replace(self.training, gradient=gradient, epochs=epochs))


REPORT = MLPConfig(
    hidden=(400, 400, 400),
    activation="leaky_relu",
    negative_slope=0.1,
    norm="batch",
    norm_place="after",
    precision="bf16",
)
SMALL = MLPConfig(hidden=(400, 400, 400), activation="gelu_tanh", norm="batch", init="he", precision="bf16")
LARGE = replace(SMALL, hidden=(1024, 1024, 1024))
WIDE = MLPConfig(hidden=(1024, 1024), norm="layer", init="he")
BOTTLENECK = MLPConfig(hidden=(512, 512, 512), block="bottleneck", init="he")
FLIPS, SHORT, MIDDLE = (Augmentation(crop=crop, flip=True) for crop in (0, 2, 3))
LONG = Augmentation(crop=4, flip=True, mixup=0.3)
ADAMW = TrainConfig(
    optimizer="adamw",
    learning_rate=2e-3,
    schedule="one_cycle",
    warmup=0.25,
    label_smoothing=0.1,
    batch_size=500,
    augmentation=SHORT,
)
FAST = replace(ADAMW, learning_rate=8e-3, beta2=0.95, weight_decay=0.1)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "report": Recipe(
            "the report's best network; what it sees, how it is trained and its bfloat16 products are new",
            REPORT,
            replace(FAST, epochs=60),
            expected=Expected(0.6700, 4, 28, TWO_CORES),
            spectrum=Spectrum(),
        ),
        "plain": Recipe(
            "no augmentation: the images as they are",
            replace(SMALL, dropout=0.3),
            replace(FAST, epochs=15, augmentation=None),
            expected=Expected(0.584, 3, 34, TWO_CORES),
            spectrum=Spectrum(),
        ),
        "augmented": Recipe(
            "1024-1024-1024; flips, crops and mixup",
            LARGE,
            replace(FAST, epochs=60, augmentation=replace(MIDDLE, mixup=0.3)),
            expected=Expected(0.7020, 3, 379, ONE_CORE),
            spectrum=Spectrum(),
        ),
        "long": Recipe(
            "twice as wide, with dropout, and more than three times as long",
            replace(LARGE, hidden=(2048, 2048, 2048), dropout=0.2),
            replace(FAST, epochs=200, learning_rate=6e-3, augmentation=replace(MIDDLE, mixup=0.3)),
            expected=Expected(0.7326, 1, 3160, ONE_CORE),
            spectrum=Spectrum(),
        ),
        "bottleneck": Recipe(
            "inverted bottlenecks on pixels, with flips and crops",
            BOTTLENECK,
            replace(ADAMW, epochs=25, learning_rate=1e-3, augmentation=MIDDLE),
            expected=Expected(0.6224, 3, 459, ONE_CORE),
        ),
        "speedrun": Recipe(
            "the report's 56.4 %, as soon as possible",
            SMALL,
            replace(FAST, epochs=3, augmentation=FLIPS),
            target=0.564,
            expected=Expected(0.5830, 5, 7, TWO_CORES),
            spectrum=Spectrum(),
        ),
        "speedrun_60": Recipe(
            "60 %, as soon as possible",
            SMALL,
            replace(FAST, epochs=8, augmentation=Augmentation(crop=1, flip=True)),
            target=0.60,
            expected=Expected(0.6206, 5, 10, TWO_CORES),
            spectrum=Spectrum(),
        ),
        "speedrun_65": Recipe(
            "65 %, as soon as possible",
            SMALL,
            replace(FAST, epochs=28),
            target=0.65,
            expected=Expected(0.6655, 5, 21, TWO_CORES),
            spectrum=Spectrum(),
        ),
        "pixels": Recipe(
            "how `speedrun` was until its networks saw frequencies, to be compared with",
            replace(REPORT, precision="float32"),
            replace(ADAMW, epochs=8),
            target=0.564,
        ),
        "augmented_gpu": Recipe(
            "for a GPU, not run yet: twice as wide as `long`, and ten times as long",
            replace(WIDE, hidden=(4096, 4096), precision="bf16"),
            replace(ADAMW, epochs=2000, batch_size=512, learning_rate=1e-3, augmentation=replace(LONG, mixup=0.5)),
        ),
        "bottleneck_gpu": Recipe(
            "for a GPU, not run yet: the inverted bottlenecks of 'Scaling MLPs'",
            replace(BOTTLENECK, hidden=(1024,) * 7, expansion=4, precision="bf16"),
            replace(ADAMW, epochs=2000, batch_size=512, learning_rate=5e-4, augmentation=replace(LONG, mixup=0.5)),
        ),
        "speedrun_gpu": Recipe(
            "for a GPU, not run yet: 70 %, as soon as possible",
            replace(WIDE, hidden=(2048, 2048), precision="bf16"),
            replace(ADAMW, epochs=400, batch_size=512, augmentation=LONG),
            target=0.70,
        ),
    }
)


def fitted(
    recipe: Recipe, image: tuple[int, int, int], classes: int, examples: int
) -> tuple[MLPConfig, TrainConfig]:
    """Returns the recipe's network and training for images of this shape, of which `examples` are trained on.

    Elsewhere than on CIFAR-10, images are of another size, and minibatches no larger than there are examples.
    """
    inputs = network_inputs(recipe, image)
    model = replace(recipe.model, inputs=inputs.count(image), classes=classes)
    training = replace(recipe.training, batch_size=min(recipe.training.batch_size, examples))
    augmentation = training.augmentation or (Augmentation() if inputs.spectrum else None)
    if augmentation is not None:
        training = replace(training, augmentation=replace(augmentation, image=image, spectrum=inputs.spectrum))
    return model, training


def network_inputs(recipe: Recipe, image: tuple[int, int, int]) -> Inputs:
    """Returns how images of this shape become the recipe's inputs."""
    spectrum = None if recipe.spectrum is None else replace(recipe.spectrum, image=image)
    return Inputs(spectrum, recipe.flatness)
