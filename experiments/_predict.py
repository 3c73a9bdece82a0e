"""`best_model --predict`: a saved model classifies a user's own pictures, and nothing is trained."""

import dataclasses
import io
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from experiments import _common
from mlp_jax import text
from mlp_jax.data.dataset import Images
from mlp_jax.errors import UserError, user_path
from mlp_jax.files import as_json, printable, read_bounded, write
from mlp_jax.studies import results
from mlp_jax.training import saved_model

if TYPE_CHECKING:
    from experiments.best_model import Config

# What a picture may be; others that Pillow knows start programs of their own (EPS) or hold many sizes (ICO).
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MOST_BYTES = 64 * 2**20
MOST_PIXELS = 64_000_000
WITH_PREDICT = ("predict", "model", "dataset", "results_dir")


def run(config: "Config", path: Path) -> bool:
    """Classifies the pictures with the model at `path`; prints a table, writes predictions.json."""
    started = time.monotonic()
    _check(config)
    names = pictures_named(config.predict)
    model = load_model(config, path)
    target = config.folder("best_model") / "predictions.json"
    refuse_folder(target)
    images = np.stack([read_picture(name, model.image_shape) for name in names])
    rows = predictions(model, names, images)
    print(table(rows))
    _write(target, config, model, rows, started)
    about = model.about
    print(
        f"model: {path}, trained on {about.dataset}; {100 * about.test_accuracy:.1f} % right on its "
        f"{about.test_images:,} test images; {target}"
    )
    return True


def refuse_folder(path: Path) -> None:
    """Raises UserError, before any work, if a folder stands where a file is to be written."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: move it away, or change --results_dir")


def _check(config: "Config") -> None:
    """Options of training are a mistake here: they would be ignored."""
    for field in dataclasses.fields(config):
        if field.name not in WITH_PREDICT and getattr(config, field.name) != field.default:
            raise UserError(f"--{field.name} is for training, and --predict trains nothing: leave one of them out")


def pictures_named(arguments: tuple[str, ...]) -> list[str]:
    """Files as the user names them: a,b is two files, unless there is one of that name."""
    names = []
    for argument in arguments:
        whole = "," not in argument or user_path(argument).exists()
        names += [argument] if whole else argument.split(",")
    if not all(names):
        raise UserError("--predict has an empty name: write --predict=PICTURE, or PICTURE,PICTURE")
    return names


def load_model(config: "Config", path: Path) -> saved_model.Model:
    """Raises UserError if there is no model, or --dataset names another than it was trained on."""
    if config.model is None and not path.exists():
        raise UserError(
            f"there is no trained model at {path}: run python -m experiments.best_model first, or give --model"
        )
    model = saved_model.load(path)
    default = type(config).__dataclass_fields__["dataset"].default
    if config.dataset not in (default, model.about.dataset):
        raise UserError(f"the model in {path} was trained on {model.about.dataset}, not {config.dataset}")
    return model


def read_picture(name: str, shape: tuple[int, int, int]) -> Images:
    """A picture file as uint8 pixels of this shape. Raises UserError, one line, if it cannot be one."""
    shown = printable(name)
    content = read_bounded(user_path(name), MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow about odd files
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise UserError(
                        f"{shown} has {width} x {height} pixels: make it smaller, at most {MOST_PIXELS:,}"
                    )
                if picture.format == "PNG":  # Pillow compares the pixels' checksums only when it is told to
                    with Image.open(io.BytesIO(content), formats=["PNG"]) as again:
                        again.verify()
                return pixels(picture, shape)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{shown} is not a picture of a known format ({', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{shown} has too many pixels: make it smaller, at most {MOST_PIXELS:,}") from None
    except Exception as error:  # Pillow raises whatever it stumbles over in a damaged file
        reason = printable(str(error)) or type(error).__name__
        raise UserError(f"{shown} cannot be decoded ({reason}): it may be cut or damaged") from error


def pixels(picture: Image.Image, shape: tuple[int, int, int]) -> Images:
    """The first frame, upright, on white, resized to (height, width, channels) and in its colours."""
    height, width, channels = shape
    if picture.mode == "F":
        raise ValueError("its values are not whole numbers")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        upright = _from_16_bits(upright)
    if upright.has_transparency_data:
        # resized first: it weighs colours by their opacity, and is less to work on
        small = upright.convert("RGBA").resize((width, height), Image.Resampling.BICUBIC)
        white = Image.new("RGBA", small.size, "white")
        small = Image.alpha_composite(white, small).convert("RGB")
    else:
        plain = upright if upright.mode == "L" else upright.convert("RGB")
        small = plain.resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(small.convert("L" if channels == 1 else "RGB"))
    return values.reshape(shape)


def _from_16_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its grey values are not of 8 or 16 bits")
    return Image.fromarray((values // 257).astype(np.uint8))


def predictions(model: saved_model.Model, names: list[str], images: Images) -> list[results.Row]:
    """A row per picture, with the probability of every class. Raises UserError if the model gives none."""
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


def table(rows: list[results.Row]) -> str:
    """The two likeliest classes of each picture, probabilities in %."""
    header = ["picture", "class", "probability %", "second class", "probability %"]
    return text.table(
        header,
        [
            [
                r["picture"],
                r["class"],
                _percent(r["probability"]),
                r["second_class"],
                _percent(r["second_probability"]),
            ]
            for r in rows
        ],
    )


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f}"


def _write(
    path: Path, config: "Config", model: saved_model.Model, rows: list[results.Row], started: float
) -> None:
    environment = results.environment(
        wall_seconds=time.monotonic() - started,
        command=results.command_line(),
        fingerprint=model.about.data_fingerprint,
    )
    content = {
        "study": "best_model_predictions",
        "config": _common.of_result(config),
        "environment": environment,
        "model": dataclasses.asdict(model.about),
        "rows": rows,
    }
    try:
        write(path, as_json(content))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; change --results_dir") from error
