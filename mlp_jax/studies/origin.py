"""Do earlier results still fit? This tells what a study's numbers depend on, and which of it differs."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from mlp_jax.fields import written
from mlp_jax.studies import processes
from mlp_jax.studies.options import Basic, Training
from mlp_jax.training.recipes import RECIPES

WHILE = ("max_memory_gb", "checkpoint_minutes")
PROCESSES = tuple(field.name for field in dataclasses.fields(processes.Processes))


def of_result(config: Basic) -> dict[str, Any]:
    """Gives what the numbers depend on: not where they are read from or written to, nor who computes them."""
    left_out = {"results_dir", "resume", "data_dir", "archive", *WHILE, *PROCESSES}
    options = {k: plain(v) for k, v in dataclasses.asdict(config).items() if k not in left_out}
    # a recipe's name says nothing once somebody has edited it
    name = options.get("recipe")
    return options if name is None else {**options, "recipe_digest": RECIPES[name].digest}


def plain(value: Any) -> Any:
    """Gives the option's value as a command line has it: lists as text."""
    return written(value) if isinstance(value, tuple) else value


def differing(then: Mapping[str, Any], config: Basic, *, resumed: bool = False) -> str:
    """Tells which options of a result differ from those now, in words; empty if none does.

    An option that did not exist then has its default, and one that is gone had no effect if it was not given. What
    is `resumed` may go on with another number of devices, whose sums are rounded otherwise.
    """
    now = json.loads(json.dumps(of_result(config)))
    defaults = {field.name: plain(field.default) for field in dataclasses.fields(config) if field.name in now}
    then = defaults | {name: value for name, value in then.items() if name in now or value}
    names = [name for name in {**now, **then} if now.get(name) != then.get(name)]
    names = [name for name in names if not (resumed and name == "data_parallel")]
    return "; ".join(f"{name}={then.get(name)!r} then, {now.get(name)!r} now" for name in names)


def unfit(left: Mapping[str, Any], config: Basic, fingerprint: str) -> str:
    """Tells in words why a study cannot go on from what an interrupted run has left; empty if it can.

    fingerprint: of the data, as far as they are known.
    """
    if changed := differing(left["config"], config, resumed=True):
        return changed
    return "its data are others" if fingerprint not in ("", left["environment"]["data_fingerprint"]) else ""


def of_job(config: Training) -> dict[str, Any]:
    """Gives what all processes of a job must have alike."""
    alike = ("checkpoint_minutes", "resume")
    return {**of_result(config), **{name: getattr(config, name) for name in alike}}
