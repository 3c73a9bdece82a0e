"""Networks and their training as files and digests have them, so that earlier files stay readable and equal."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from mlp_jax.nn.config import LATER, MLPConfig

WRITTEN = {"norm": "batch_norm", "norm_place": "layer_norm"}
"""These fields of `MLPConfig` have other names and values in files: those of `nn.config.norm_options`."""


def as_written(config: Any) -> dict[str, Any]:
    """Returns the options of a configuration, a dataclass, by name, as files have them.

    Those of `MLPConfig` have `norm_options`' two, in their places. Options that came `later` are left out at their
    default, so that what was written before there were any is still the same.
    """
    return {name: as_written(v) if is_dataclass(v) else v for name, v in _written(config)}


def as_text(config: Any) -> str:
    """Returns `as_written` as one line, from which digests are made."""
    options = (f"{name}={as_text(v) if is_dataclass(v) else repr(v)}" for name, v in _written(config))
    return f"{type(config).__name__}({', '.join(options)})"


def _written(config: Any) -> Iterator[tuple[str, Any]]:
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name in WRITTEN and isinstance(config, MLPConfig):
            name = WRITTEN[each.name]
            yield name, config.norm_place if name == f"{config.norm}_norm" else "none"
        elif not (LATER in each.metadata and value == each.default):
            yield each.name, value
