"""A trained network as one portable file (safetensors), with all that is needed to classify a picture.

Tensors: layer1.w (inputs, outputs), layer1.b, with normalisation layer1.scale and layer1.shift, with batch
normalisation layer1.running_mean and layer1.running_var, and so on to the output layer; input.shift and
input.scale, which turn pixels into inputs. Metadata: one entry, mlp_jax, a JSON object of `FIELDS` and a digest of
them and the tensors. A file is untrusted: nothing in it is run (no pickle), and whatever does not fit is refused.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import jax
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as safetensors_bytes

from mlp_jax.data.dataset import Images
from mlp_jax.data.pixels import NORMALIZATIONS, Scaling, rows
from mlp_jax.errors import UserError, in_range, whole_number
from mlp_jax.files import printable, read_bounded, sha256, write
from mlp_jax.nn.config import WRITTEN, MLPConfig, as_written, norm_options
from mlp_jax.nn.model import Layer, NormLayer, Params, RunningStats, Stats, forward

FORMAT = "mlp_jax model 3"
FIELDS = ("format", "config", "normalization", "image_shape", "classes", "about")
DIGEST = "sha256"
LATER = ("layer_norm", "block", "expansion")  # options of a network that formats 1 and 2 do not have
FOLDED = ("logit_scale",)  # and that no format has, because it is a factor of the last layer's parameters
FORMATS = {"mlp_jax model 1": FIELDS, "mlp_jax model 2": (*FIELDS, DIGEST), FORMAT: (*FIELDS, DIGEST)}
ENTRY = "mlp_jax"
MOST_BYTES = 2**30
MOST_NAME = 100
MOST = 2**32

_deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = deserialize
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class About:
    """Where a model comes from. test_accuracy: a fraction, of that many test images, in evaluation mode."""

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
    """A network and what it needs to classify pictures. image_shape: (height, width, channels)."""

    config: MLPConfig
    params: Params
    stats: Stats
    scaling: Scaling
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    about: About

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Of uint8 images (N, height, width, channels), shape (N, classes), in evaluation mode."""
        x = rows(images, self.scaling, dtype=self.config.dtype)
        parts = [_forward(self.params, self.stats, x[i : i + 1000], self.config) for i in range(0, len(x), 1000)]
        return np.concatenate([np.asarray(part) for part in parts])

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """The softmax of the logits."""
        logits = self.logits(images).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@jax.jit(static_argnames="config")
def _forward(params: Params, stats: Stats, x: Any, config: MLPConfig) -> jax.Array:
    return forward(params, x, config, stats=stats)


def shapes(config: MLPConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter and running statistic by its name in the file."""
    found: dict[str, tuple[int, ...]] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(config.sizes), start=1):
        found[f"layer{number}.w"] = (inputs, outputs)
        found[f"layer{number}.b"] = (outputs,)
    for number, unit in enumerate(config.units, start=1):
        names = () if unit.norm == "none" else NORM + RUNNING if unit.norm == "batch" else NORM
        found |= {f"layer{number}.{name}": (unit.norm_width,) for name in names}
    return found


NORM, RUNNING = ("scale", "shift"), ("running_mean", "running_var")


def check_size(config: MLPConfig) -> None:
    """Raises UserError if the file of such a network would be larger than `load` takes."""
    size = 4 * sum(math.prod(shape) for shape in shapes(config).values())
    if size > MOST_BYTES - 2**24:  # what is left is for the rest of the file
        raise UserError(f"the network would take {size / 1e9:.1f} GB to save, more than {MOST_BYTES / 1e9:.1f} GB")


def as_bytes(model: Model) -> bytes:
    """The whole file; equal models are equal files."""
    scale, (*below, last) = model.config.logit_scale, model.params
    config = replace(model.config, logit_scale=1.0)
    model = replace(model, config=config, params=(*below, Layer(scale * last.w, scale * last.b)))
    tensors: Tensors = {"input.shift": model.scaling.shift, "input.scale": model.scaling.scale}
    for number, layer in enumerate(model.params, start=1):
        tensors |= {f"layer{number}.{name}": np.asarray(value) for name, value in layer._asdict().items()}
    for number, running in enumerate(model.stats, start=1):
        tensors[f"layer{number}.running_mean"] = np.asarray(running.mean)
        tensors[f"layer{number}.running_var"] = np.asarray(running.var)
    metadata = {
        "format": FORMAT,
        "config": as_written(model.config),
        "normalization": model.scaling.how,
        "image_shape": model.image_shape,
        "classes": model.classes,
        "about": asdict(model.about),
    }
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    metadata[DIGEST] = _digest(metadata, contiguous)
    return safetensors_bytes(contiguous, {ENTRY: json.dumps(metadata)})  # one entry: several have no fixed order


def _digest(metadata: Mapping[str, Any], tensors: Tensors) -> str:
    """Of all that a file says: a damaged weight is a number like any other."""
    fields = {name: value for name, value in metadata.items() if name != DIGEST}
    arrays = sorted(tensors.items())
    parts: Any = ((f"{name} {a.dtype.str} {a.shape}", np.ascontiguousarray(a).data) for name, a in arrays)
    return sha256(json.dumps(fields, sort_keys=True), *itertools.chain.from_iterable(parts))


def save(path: Path, model: Model) -> bytes:
    """Writes the file all at once, and gives its bytes."""
    content = as_bytes(model)
    write(path, content)
    return content


def load(path: Path) -> Model:
    """The model in a file. Raises UserError, one line, if it is missing, too large, damaged or not one of ours."""
    content = read_bounded(path, MOST_BYTES)
    try:
        # by name: the library's order is random, and so would be which of two mistakes is told
        found = sorted(_deserialize(content), key=lambda entry: entry[0])
        tensors = {name: _array(name, entry) for name, entry in found}
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = _metadata(header.get("__metadata__"))
        model = _model(metadata, tensors)
        if metadata.get(DIGEST, digest := _digest(metadata, tensors)) != digest:
            raise ValueError("it was altered: train it anew, or take another copy")
        return model
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({printable(str(error))[:200]}): make it anew"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be used as a model: {error}") from error


def _array(name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    dtype = {"F32": "<f4", "F64": "<f8"}.get(entry["dtype"])
    if dtype is None or (dtype == "<f8") != name.startswith("input."):
        raise ValueError(f"tensor {name[:MOST_NAME]!r} is of type {entry['dtype']}")
    values = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    if not np.isfinite(values).all():
        raise ValueError(f"tensor {name[:MOST_NAME]!r} has values that are not finite")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _metadata(texts: Any) -> dict[str, Any]:
    if not isinstance(texts, dict) or set(texts) != {ENTRY}:
        raise ValueError(f"its metadata are not one entry named {ENTRY}")
    try:
        found = json.loads(texts[ENTRY], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its metadata are not JSON ({error})") from error
    if not isinstance(found, dict) or "format" not in found:
        raise ValueError(f"its metadata are not {', '.join(FIELDS)}")
    if (name := str(found["format"])) not in FORMATS:
        raise ValueError(f"its format is {name[:MOST_NAME]!r}, and this is {FORMAT!r}")
    if set(found) != set(FORMATS[name]):
        raise ValueError(f"its metadata are not {', '.join(FORMATS[name])}")
    return found


def _model(metadata: Mapping[str, Any], tensors: Tensors) -> Model:
    later = FOLDED if metadata["format"] == FORMAT else (*LATER, *FOLDED)
    options = _fields(MLPConfig, metadata["config"], later)
    norms = {name: options.pop(name) for name in WRITTEN.values() if name in options}
    config = MLPConfig(**options, **norm_options(**norms))
    if config.dtype != "float32":
        raise ValueError(f"its parameters are float32, but its dtype is {config.dtype}")
    shape, classes, how = (metadata[name] for name in ("image_shape", "classes", "normalization"))
    if not _list_of(shape, lambda v: type(v) is int and v >= 1) or len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError("image_shape must be height, width and channels, which are 1 or 3")
    if math.prod(shape) != config.inputs:
        raise ValueError(f"the network takes {config.inputs} inputs, but the pictures have {math.prod(shape)}")
    if not _list_of(classes, _is_name) or len(set(classes)) != len(classes) or len(classes) != config.classes:
        raise ValueError(f"classes must be {config.classes} different printable names")
    if how not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {', '.join(NORMALIZATIONS)}")
    height, width, channels = shape
    _check_tensors(tensors, config, how, (height, width, channels))
    scaling = Scaling(how, tensors["input.shift"], tensors["input.scale"])
    about = About(**_fields(About, metadata["about"]))
    return Model(config, *_network(tensors, config), scaling, (height, width, channels), tuple(classes), about)


def _list_of(value: Any, test: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(test(entry) for entry in value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MOST_NAME and value.isprintable()


def _fields(kind: type[MLPConfig] | type[About], values: Any, later: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a dataclass but `later` ones, of the right types; ranges are left to the dataclass."""
    types = get_type_hints(kind)  # a field's own `type` is a text where annotations are not evaluated
    written = {WRITTEN.get(field.name, field.name): types[field.name] for field in fields(kind)}
    names = {name: of for name, of in written.items() if name not in later}
    if not isinstance(values, dict) or values.keys() != names.keys():
        raise ValueError(f"its {kind.__name__} must have {', '.join(names)}, and no others")
    for name, of in names.items():
        if not _fits(values[name], of):
            raise ValueError(f"its {name} is of a wrong type or out of range")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _fits(value: Any, of: Any) -> bool:
    if of == tuple[int, ...]:
        return _list_of(value, lambda v: type(v) is int)
    if of is int:
        return type(value) is int and 0 <= value <= MOST
    if of is str:
        return _is_name(value)
    return (type(value) in (int, float) and abs(value) <= MOST) or (value is None and of == float | None)


def _check_tensors(tensors: Tensors, config: MLPConfig, how: str, image: tuple[int, int, int]) -> None:
    shift = {"mean_image": image, "unit_range": (1,), "standardize": image[2:]}[how]
    expected = shapes(config) | {"input.shift": shift, "input.scale": image[2:] if how == "standardize" else (1,)}
    for name in sorted(expected.keys() ^ tensors.keys()):
        raise ValueError(f"tensor {name[:MOST_NAME]!r} is {'missing' if name in expected else 'unknown'}")
    for name, values in tensors.items():
        if values.shape != expected[name]:
            raise ValueError(f"tensor {name!r} has shape {values.shape}, not {expected[name]}")
        if name.endswith("running_var") and (values < 0).any():
            raise ValueError(f"tensor {name!r} has negative variances")
    if (tensors["input.scale"] <= 0).any():
        raise ValueError("tensor 'input.scale' has values that are not positive")


def _network(tensors: Tensors, config: MLPConfig) -> tuple[Params, Stats]:
    params: list[Layer | NormLayer] = []
    stats: list[RunningStats] = []
    for number in range(1, len(config.sizes)):
        of_layer = {
            name: jax.numpy.asarray(tensors[f"layer{number}.{name}"])
            for name in ("w", "b", *NORM, *RUNNING)
            if f"layer{number}.{name}" in tensors
        }
        own = {name: of_layer.pop(name) for name in ("w", "b", *NORM) if name in of_layer}
        params.append(NormLayer(**own) if "scale" in own else Layer(**own))
        if of_layer:
            stats.append(RunningStats(*of_layer.values()))
    return tuple(params), tuple(stats)
