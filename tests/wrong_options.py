"""Wrong values of every option, made from what the option says of itself: its type, range and choices."""

import dataclasses
import importlib
import shlex
from collections.abc import Iterator
from typing import Any, cast

from mlp_jax.fields import Field, kind
from tests.commands import SCRIPTS

PATHS = ("data_dir", "archive", "results_dir", "model")
UNKNOWN_HOME = "~nobody-of-this-name/x"
NO_NUMBERS = ("", "x", "nan", "1_0", "\u0663", " 1", "1 2")  # U+0663 is a digit of another script
OUTSIDE = {
    "seed": ("4294967296",), "epochs": ("-1", "1000001"), "decay": ("0", "2"), "dropout": ("-0.1", "1"),
    "l2": ("-1", "1e39"), "weight_decay": ("-1",), "init_std": ("-1", "1e300"), "negative_slope": ("1e300",),
    "learning_rate": ("0", "-1", "1e39", "1e-50"), "sgd_learning_rate": ("0",), "adam_learning_rate": ("-1",),
    "bn_eps": ("-1",),
}  # fmt: skip
"""Values that the network, or its training, refuses: of these options the range is not told by themselves."""
JOINED = "--distributed --num_processes=2 --process_id=0 --coordinator=h:1"
TARGET = "--target=a:b"
CONTEXT = {
    "coordinator": JOINED, "num_processes": JOINED, "process_id": JOINED, "heartbeat_timeout": "--distributed",
    "initialization_timeout": "--distributed", "init_std": "--init=normal",
    "negative_slope": "--activation=leaky_relu",
    "grid_search l2": "--protocol=published", "grid_search learning_rate": "--protocol=published",
    "grid_search steps": "--protocol=published", "gradient_check hidden": TARGET,
    "gradient_check activation": TARGET, "gradient_check batch_norm": TARGET, "gradient_check dropout": TARGET,
    "gradient_check negative_slope": f"{TARGET} --activation=leaky_relu", "layer_norm": TARGET,
    "bn_eps": f"{TARGET} --batch_norm=before", "l2_convention": TARGET, "objective": TARGET,
    "arrays": TARGET, "gradient_check scale": TARGET, "timeout": TARGET, "model": "a.png",
    "predict results_dir": "a.png",
}  # fmt: skip
"""Other options, without which this one would be refused as useless before its value is looked at."""


def options() -> Iterator[tuple[str, Field]]:
    """Every option with the first script that has it; one that another script defines otherwise counts anew."""
    seen = set()
    for script in SCRIPTS:
        module = importlib.import_module(f"experiments.{script}")
        for field in dataclasses.fields(getattr(module, "Config", object())) if hasattr(module, "Config") else ():
            known = field.name, str(field.type), repr(field.metadata)
            if known not in seen and field.name != getattr(module.Config, "ARGUMENTS", None):
                seen.add(known)
                yield script, field


def wrong_values(field: Field) -> list[str]:
    """Texts that this option must refuse."""
    one, several = kind(field)
    if one is bool:
        return ["maybe"]
    if field.name in PATHS:
        return ["", UNKNOWN_HOME]
    values = names(field) if one is str else numbers(field, one)
    if not several:
        return values
    if field.metadata["empty"]:
        values.remove("")
    good = good_value(field)
    values += [f"{good},{value}" for value in values if value]
    return [*values, f"{good},", f"{good};{good}", *([] if field.metadata["repeats"] else [f"{good},{good}"])]


def names(field: Field) -> list[str]:
    """No name, one that means nothing, and a choice with a letter too few."""
    choices = field.metadata["choices"]
    return ["", "xyz", *([] if callable(choices) or not choices else [choices[0][:-1]])]


def numbers(field: Field, one: type) -> list[str]:
    """What is no plain number, and the nearest ones outside the range."""
    limits = field.metadata["limits"]
    low, high = limits["low"], limits["high"]
    values = [*NO_NUMBERS, *(("1.5", "1e3") if one is int else ("inf",)), *OUTSIDE.get(field.name, ())]
    if low is not None:  # else the range is that of the network or of its training
        values.append(str(low if limits["open_low"] else low - 1))
    if low is not None and high is not None:
        values.append(str(high if limits["open_high"] else high + 1))
    return values


def good_value(field: Field) -> str:
    """One that a list may have, once."""
    choices, default = field.metadata["choices"], cast(Any, field.default)
    if choices and not callable(choices):
        return str(choices[0])
    if default:
        return str(default[-1])
    return {int: "3", float: "0.5", str: "depth_study"}[kind(field)[0]]


def commands() -> Iterator[tuple[str, str, str]]:
    """(option, value, script and its arguments) for every option and value."""
    for script, field in options():
        more = CONTEXT.get(f"{script} {field.name}", CONTEXT.get(field.name, ""))
        for value in wrong_values(field):
            yield field.name, value, f"{script} {more} {shlex.quote(f'--{field.name}={value}')}".replace("  ", " ")
