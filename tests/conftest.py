"""Shape annotations are executed, shapes that differ in rank do not broadcast, and warnings are errors."""

from jaxtyping import install_import_hook

# Before anything imports the package. The numeric tower lets an int stand where a float is asked for.
install_import_hook("mlp_jax", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import json  # noqa: E402
from pathlib import Path  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def toy():
    """The assignment's toy case at full precision: 4-10-3, five examples, lambda 0.05, zero biases."""
    return json.loads((Path(__file__).parent / "data" / "two_layer_toy.json").read_text())
