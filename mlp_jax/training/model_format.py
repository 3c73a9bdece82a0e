"""A model file is a safetensors file; its tensors and its metadata are described, and checked, here.

Tensors are layer1.w (inputs, outputs), layer1.b, with normalisation layer1.scale and layer1.shift, with batch
normalisation layer1.running_mean and layer1.running_var, and so on to the output layer; and input.shift and
input.scale, which turn pixels into inputs. The metadata are one entry, mlp_jax, a JSON object of `FIELDS` and a
digest of them and the tensors. Whatever does not fit is a ValueError that says what.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NoReturn, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mlp_jax.data.pixels import NORMALIZATIONS
from mlp_jax.data.spectrum import Image
from mlp_jax.nn.config import MLPConfig, norm_options
from mlp_jax.training.written import WRITTEN

FORMAT = "mlp_jax model 3"
FIELDS = ("format", "config", "normalization", "image_shape", "classes", "about")
DIGEST = "sha256"
LATER = ("layer_norm", "block", "expansion")  # formats 1 and 2 do not have these options of a network
FOLDED = ("logit_scale",)  # no format has it, because it is a factor of the last layer's parameters
FORMATS = {"mlp_jax model 1": FIELDS, "mlp_jax model 2": (*FIELDS, DIGEST), FORMAT: (*FIELDS, DIGEST)}
ENTRY = "mlp_jax"
MOST_NAME = 100
MOST = 2**32

Tensors = dict[str, NDArray[Any]]
NORM, RUNNING = ("scale", "shift"), ("running_mean", "running_var")


def shapes(config: MLPConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter and running statistic by its name in the file."""
    found: dict[str, tuple[int, ...]] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(config.sizes), start=1):
        found[f"layer{number}.w"] = (inputs, outputs)
        found[f"layer{number}.b"] = (outputs,)
    for number, unit in enumerate(config.units, start=1):
        names = () if unit.norm == "none" else NORM + RUNNING if unit.norm == "batch" else NORM
        found |= {f"layer{number}.{name}": (unit.norm_width,) for name in names}
    return found


def metadata_of(texts: Any) -> dict[str, Any]:
    """Returns what the metadata of a safetensors file say, if they are `FIELDS` of a format that is known."""
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


def config_of(metadata: Mapping[str, Any]) -> MLPConfig:
    """Returns the network that the metadata describe."""
    later = FOLDED if metadata["format"] == FORMAT else (*LATER, *FOLDED)
    options = options_of(MLPConfig, metadata["config"], later)
    norms = {name: options.pop(name) for name in WRITTEN.values() if name in options}
    config = MLPConfig(**options, **norm_options(**norms))
    if config.dtype != "float32":
        raise ValueError(f"its parameters are float32, but its dtype is {config.dtype}")
    return config


def image_of(metadata: Mapping[str, Any], config: MLPConfig) -> Image:
    """Returns the pictures' height, width and channels, if they, and the classes, are those of the network."""
    shape, classes = metadata["image_shape"], metadata["classes"]
    if not _list_of(shape, lambda v: type(v) is int and v >= 1) or len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError("image_shape must be height, width and channels, which are 1 or 3")
    if math.prod(shape) != config.inputs:
        raise ValueError(f"the network takes {config.inputs} inputs, but the pictures have {math.prod(shape)}")
    if not _list_of(classes, _is_name) or len(set(classes)) != len(classes) or len(classes) != config.classes:
        raise ValueError(f"classes must be {config.classes} different printable names")
    height, width, channels = shape
    return height, width, channels


def array(name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    """Returns a tensor as safetensors has deserialised it: float64 for the inputs' scaling, else float32."""
    dtype = {"F32": "<f4", "F64": "<f8"}.get(entry["dtype"])
    if dtype is None or (dtype == "<f8") != name.startswith("input."):
        raise ValueError(f"tensor {name[:MOST_NAME]!r} is of type {entry['dtype']}")
    values = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    if not np.isfinite(values).all():
        raise ValueError(f"tensor {name[:MOST_NAME]!r} has values that are not finite")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def options_of(kind: type[Any], values: Any, later: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the values of a dataclass but `later` ones, of the right types; ranges are left to the dataclass."""
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


def _list_of(value: Any, test: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(test(entry) for entry in value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MOST_NAME and value.isprintable()


def check_tensors(tensors: Tensors, config: MLPConfig, how: str, image: Image) -> None:
    """Refuses tensors that are not those of this network, or of the normalisation `how` of these images."""
    if how not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {', '.join(NORMALIZATIONS)}")
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
