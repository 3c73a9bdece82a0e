"""The numbers of windows, of convolutions and poolings: what people call them, alone or in a dict."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

OPERATIONS = ("conv", "depthwise", "pool", "pictures")  # of which channels may be the last axis
STRIDES, PADS = ("stride", "s", "strides"), ("pad", "padding", "p")
POOLS = (
    "pool_size", "size", "f", "kernel_size", "k", "pool_height", "pool_width", "pool_h", "pool_w", "filter_size",
    "ph", "pw",
)  # fmt: skip
OVERLAPPING = 1  # the number of a trial in which the windows of a pooling overlap, if it takes such
UNPADDED = 2  # that of a trial in which a convolution is not padded
HYPER = re.compile(r"(h|hyper|conv|pool)_?(param(eter)?s?|config)|params?|options")


def of(options: Mapping[str, Any]) -> dict[str, int] | None:
    """Stride, padding and size of the windows among the options; None if they do not tell."""
    of_dict = next(
        (option for option in options.values() if isinstance(option, dict) and "stride" in option), None
    )
    stride, pad, size = (
        next((options[n] for n in options if n.lower() in names), None) for names in (STRIDES, PADS, POOLS)
    )
    if of_dict is not None or stride is None:
        return of_dict
    return {"stride": stride, "pad": pad or 0, "pool_height": size or 2, "pool_width": size or 2}


def is_unpadded(options: Mapping[str, Any]) -> bool:
    """Whether the options have a padding, which is 0."""
    named = {k: v for o in (options, *options.values()) if isinstance(o, Mapping) for k, v in o.items()}
    return any(name.lower() in PADS and value == 0 for name, value in named.items() if isinstance(value, int))


def is_number(operation: str, p: inspect.Parameter) -> bool:
    """Whether an argument is a number of the windows, which is given although it has a default."""
    may_be = isinstance(p.default, int) or (p.default is None and p.name.lower() in STRIDES)
    return operation in OPERATIONS and p.name.lower() in (*STRIDES, *PADS, *POOLS) and may_be


def overlap(name: str, number: int) -> bool:
    """Whether the windows of a layer, a pooling by its name, overlap in a trial."""
    return "pool" in name.lower() and number == OVERLAPPING


def option(operation: str, name: str, number: int) -> Any:
    """An argument of an operation in a trial, or None if its name is none of these."""
    stride = 1 + number % 2 if operation != "pool" else 1 if overlap(operation, number) else 2
    pad = int(operation != "pool" and number != UNPADDED)
    if operation in (*OPERATIONS, "conv1d") and name in (*STRIDES, *PADS, *POOLS):
        return stride if name in STRIDES else pad if name in PADS else 2
    if name == "conv_param" or (operation in ("conv", "depthwise") and HYPER.fullmatch(name)):
        return {"stride": stride, "pad": pad, "padding": pad}
    if name == "pool_param" or (operation == "pool" and HYPER.fullmatch(name)):
        stride = stride if operation == "pool" else 2
        return {"pool_height": 2, "pool_width": 2, "stride": stride, "f": 2, "pool_size": 2, "size": 2}
    return None
