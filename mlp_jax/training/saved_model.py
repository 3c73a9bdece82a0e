"""A trained network is saved as one portable file, with all that is needed to classify a picture.

`model_format` tells what the file holds. It is untrusted: nothing in it is run, and what does not fit is refused.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as safetensors_bytes
from scipy.special import softmax

from mlp_jax.data.dataset import Images, Split
from mlp_jax.data.pixels import Scaling, rows
from mlp_jax.errors import UserError, in_range, whole_number
from mlp_jax.files import printable, read_bounded, sha256, write
from mlp_jax.nn.config import MLPConfig
from mlp_jax.nn.model import Layer, NormLayer, Params, RunningStats, Stats, forward
from mlp_jax.training import model_format
from mlp_jax.training.evaluate import evaluate, on_device
from mlp_jax.training.model_format import Tensors
from mlp_jax.training.written import as_written

MOST_BYTES = 2**30

_deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = deserialize


@dataclass(frozen=True)
class About:
    """This tells where a model comes from.

    test_accuracy is a fraction, of so many test images, in evaluation mode.

    Raises UserError for an accuracy outside [0, 1] or no test images.
    """

    dataset: str
    data_fingerprint: str
    protocol: str
    seed: int
    test_accuracy: float
    test_images: int
    package_version: str

    def __post_init__(self) -> None:
        in_range("test_accuracy", self.test_accuracy, 0, 1)
        whole_number("test_images", self.test_images, 1)


@dataclass(frozen=True, eq=False)
class Model:
    """A model is a network and what it needs to classify pictures; image_shape is (height, width, channels)."""

    config: MLPConfig
    params: Params
    stats: Stats
    scaling: Scaling
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    about: About

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Returns the logits, (N, classes), of uint8 images (N, height, width, channels), in evaluation mode."""
        x = rows(images, self.scaling, dtype=self.config.dtype)
        parts = [_forward(self.params, self.stats, x[i : i + 1000], self.config) for i in range(0, len(x), 1000)]
        return np.concatenate([np.asarray(part) for part in parts])

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """Returns the softmax of the logits, (N, classes)."""
        return np.asarray(softmax(self.logits(images).astype(np.float64), axis=1))

    def accuracy(self, images: Split, **views: Any) -> float:
        """Returns the fraction of uint8 images that it classifies right; views: as `evaluate` has them."""
        split = on_device(Split(rows(images.x, self.scaling), images.y), self.config)
        return evaluate(self.params, self.stats, split, self.config, **views).accuracy


@jax.jit(static_argnames="config")
def _forward(params: Params, stats: Stats, x: Any, config: MLPConfig) -> jax.Array:
    return forward(params, x, config, stats=stats)


def check_size(config: MLPConfig) -> None:
    """Raises UserError if the file of such a network would be larger than `load` takes."""
    size = 4 * sum(math.prod(shape) for shape in model_format.shapes(config).values())
    if size > MOST_BYTES - 2**24:  # what is left is for the rest of the file
        raise UserError(f"the network would take {size / 1e9:.1f} GB to save, more than {MOST_BYTES / 1e9:.1f} GB")


def as_bytes(model: Model) -> bytes:
    """Returns the whole file; equal models are equal files."""
    scale, (*below, last) = model.config.logit_scale, model.params
    config = replace(model.config, logit_scale=1.0)
    model = replace(
        model, config=config, params=(*below, jax.tree.map(lambda leaf: scale * np.asarray(leaf), last))
    )
    tensors: Tensors = {"input.shift": model.scaling.shift, "input.scale": model.scaling.scale}
    for number, layer in enumerate(model.params, start=1):
        tensors |= {f"layer{number}.{name}": np.asarray(value) for name, value in layer._asdict().items()}
    for number, running in enumerate(model.stats, start=1):
        tensors[f"layer{number}.running_mean"] = np.asarray(running.mean)
        tensors[f"layer{number}.running_var"] = np.asarray(running.var)
    metadata = {
        "format": model_format.FORMAT,
        "config": as_written(model.config),
        "normalization": model.scaling.how,
        "image_shape": model.image_shape,
        "classes": model.classes,
        "about": asdict(model.about),
    }
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    metadata[model_format.DIGEST] = _digest(metadata, contiguous)
    # several entries of metadata would have no fixed order
    return safetensors_bytes(contiguous, {model_format.ENTRY: json.dumps(metadata)})


def _digest(metadata: Mapping[str, Any], tensors: Tensors) -> str:
    """Returns the digest of all that a file says, since a damaged weight is a number like any other."""
    fields = {name: value for name, value in metadata.items() if name != model_format.DIGEST}
    arrays = sorted(tensors.items())
    parts: Any = ((f"{name} {a.dtype.str} {a.shape}", np.ascontiguousarray(a).data) for name, a in arrays)
    return sha256(json.dumps(fields, sort_keys=True), *itertools.chain.from_iterable(parts))


def save(path: Path, model: Model) -> bytes:
    """Writes the file all at once, and returns its bytes."""
    content = as_bytes(model)
    write(path, content)
    return content


def load(path: Path) -> Model:
    """Returns the model in a file.

    Raises UserError, one line, if the file is missing, too large, damaged or not one of ours.
    """
    content = read_bounded(path, MOST_BYTES)
    try:
        # the library's order is random, and so would be which of two mistakes is told
        found = sorted(_deserialize(content), key=lambda entry: entry[0])
        tensors = {name: model_format.array(name, entry) for name, entry in found}
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = model_format.metadata_of(header.get("__metadata__"))
        model = _model(metadata, tensors)
        if metadata.get(model_format.DIGEST, digest := _digest(metadata, tensors)) != digest:
            raise ValueError("it was altered: train it anew, or take another copy")
        return model
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({printable(str(error))[:200]}): make it anew"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be used as a model: {error}") from error


def _model(metadata: Mapping[str, Any], tensors: Tensors) -> Model:
    config = model_format.config_of(metadata)
    image, how = model_format.image_of(metadata, config), metadata["normalization"]
    model_format.check_tensors(tensors, config, how, image)
    scaling = Scaling(how, tensors["input.shift"], tensors["input.scale"])
    about = About(**model_format.options_of(About, metadata["about"]))
    return Model(config, *network(tensors, config), scaling, image, tuple(metadata["classes"]), about)


def network(tensors: Tensors, config: MLPConfig) -> tuple[Params, Stats]:
    """Returns the parameters and running statistics of a network with these tensors, named as in `shapes`."""

    def taken(number: int, names: tuple[str, ...]) -> list[jax.Array]:
        return [jax.device_put(tensors[f"layer{number}.{name}"]) for name in names]

    units = list(enumerate(config.units, start=1))
    hidden = (
        Layer(*taken(n, Layer._fields)) if unit.norm == "none" else NormLayer(*taken(n, NormLayer._fields))
        for n, unit in units
    )
    stats = (RunningStats(*taken(n, model_format.RUNNING)) for n, unit in units if unit.norm == "batch")
    return (*hidden, Layer(*taken(len(units) + 1, Layer._fields))), tuple(stats)
