"""A few examples of every fuzz target, always the same ones, and all that once were findings.

`python -m tests.fuzz --target=NAME --minutes=10` is the long run.
"""

import importlib

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase

from tests.fuzz import TARGETS
from tests.fuzz.__main__ import strategy
from tests.fuzz.server import FAILED, Client

EXAMPLES = {"command_lines": 10, "records": 12, "result_files": 10, "gradients": 2, "checkpoints": 8, "caches": 15}
KEPT = [
    pytest.param(name, example, id=f"{name} {number}")
    for name in TARGETS
    for number, example in enumerate(importlib.import_module(f"tests.fuzz.{name}").KEPT)
]


@pytest.fixture(scope="module")
def client():
    """Slow to start, so one for all."""
    with Client() as opened:
        yield opened


def holds(client, name, example):
    outcome = client.run(name, example)
    assert outcome.kind != FAILED, f"{name}, {example!r}:\n{outcome.text}"


@pytest.mark.parametrize("name", TARGETS)
def test_a_few_examples(client, name):
    @hypothesis.settings(
        max_examples=EXAMPLES.get(name, 30), deadline=None, derandomize=True, database=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @hypothesis.given(strategy(name))
    def every(example):
        holds(client, name, example)

    every()


@pytest.mark.parametrize(("name", "example"), KEPT)
def test_what_was_found_once(client, name, example):
    holds(client, name, example)
