"""What does the best model take your own pictures for? With probabilities, and without any training.

  python -m experiments.best_model                    trains and saves RESULTS_DIR/best_model/model.safetensors
  python -m experiments.predict a.png b.jpg           classifies with it; --model=FILE names another one

Pictures may have any size: each is resized, not cropped, to the model's; colour becomes grey, or grey colour, as
the model needs; what is transparent becomes white. The digits are light ink on a dark ground. Prints the two
likeliest classes of each picture, and writes RESULTS_DIR/best_model/predictions.json with the probability of every
class. A few seconds. Expected: as many right answers as the model had on its test images, on pictures like those.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mlp_jax.data.dataset import Images
from mlp_jax.data.pictures import read_picture
from mlp_jax.errors import UserError, user_path
from mlp_jax.fields import Names, option
from mlp_jax.files import as_json, printable
from mlp_jax.studies import command, results
from mlp_jax.studies.tables import Table
from mlp_jax.training import saved_model

FILE = "model.safetensors"


@dataclass(frozen=True)
class Config:
    """These are the model and the pictures; `pictures` are the plain arguments."""

    ARGUMENTS: ClassVar[str] = "pictures"

    model: str | None = option(None, f"a saved model; default RESULTS_DIR/best_model/{FILE}")
    results_dir: str = option("results", "where best_model's results are")
    pictures: Names = option((), "files to classify", empty=True, repeats=True)

    def __post_init__(self) -> None:
        if not self.pictures:
            raise UserError("name the pictures to classify: python -m experiments.predict PICTURE PICTURE")
        for name in ("model", "results_dir"):
            if getattr(self, name) == "":
                raise UserError(f"--{name} is empty: write a path, or leave it out")
        if not all(self.pictures):
            raise UserError("the name of a picture is empty: write its path")

    @property
    def folder(self) -> Path:
        """Here best_model has saved its model, and here predictions.json goes."""
        return user_path(self.results_dir) / "best_model"

    @property
    def model_file(self) -> Path:
        """Gives the saved model."""
        return self.folder / FILE if self.model is None else user_path(self.model)


def run(config: Config) -> bool:
    """Classifies the pictures; prints a table, writes predictions.json."""
    started = time.monotonic()
    if config.model is None and not config.model_file.exists():
        how = "run python -m experiments.best_model first, or give --model"
        raise UserError(f"there is no trained model at {config.model_file}: {how}")
    model = saved_model.load(config.model_file)
    target = results.prepare_folder(config.folder) / "predictions.json"
    results.refuse_folder(target)
    images = np.stack([read_picture(name, model.image_shape) for name in config.pictures])
    rows = predictions(model, config.pictures, images)
    print(table(rows))
    about, seconds, command = model.about, time.monotonic() - started, results.command_line()
    told = results.environment(wall_seconds=seconds, command=command, fingerprint=about.data_fingerprint)
    used = {"model": str(config.model_file), "pictures": [printable(name) for name in config.pictures]}
    content = {"study": "best_model_predictions", "config": used, "environment": told}
    results.write_file(target, as_json({**content, "model": dataclasses.asdict(about), "rows": rows}))
    print(
        f"model: {config.model_file}, trained on {about.dataset}; {100 * about.test_accuracy:.1f} % right on its "
        f"{about.test_images:,} test images; {target}"
    )
    return True


def predictions(model: saved_model.Model, names: tuple[str, ...], images: Images) -> list[results.Row]:
    """Gives a row per picture, with the probability of every class. Raises UserError if the model gives none."""
    probabilities = model.probabilities(images)
    if not np.isfinite(probabilities).all():
        raise UserError("the model's answer is not finite: train it anew, or give another --model")
    rows = []
    for name, line in zip(names, probabilities, strict=True):
        first, second = np.argsort(-line, kind="stable")[:2] if len(line) > 1 else (0, 0)
        rows.append(
            {
                "picture": printable(name),
                "class": model.classes[first],
                "probability": float(line[first]),
                "second_class": model.classes[second],
                "second_probability": float(line[second]),
                "probabilities": {c: float(p) for c, p in zip(model.classes, line, strict=True)},
            }
        )
    return rows


def table(rows: list[results.Row]) -> Table:
    """Gives the two likeliest classes of each picture, probabilities in %."""
    header = ["picture", "class", "probability %", "second class", "probability %"]
    lines = [
        [row["picture"], row["class"], f"{100 * row['probability']:.1f}",
         row["second_class"], f"{100 * row['second_probability']:.1f}"] for row in rows
    ]  # fmt: skip
    return Table(header, lines)


main = command.main_of(Config, run, __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
