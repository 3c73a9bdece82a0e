"""The comparison with what is committed tells an edit from a rounding."""

import pytest

from tests.committed import alike


@pytest.mark.parametrize(
    ("made", "committed", "same"),
    [
        ("52.1 ± 0.4 (4)", "52.1 ± 0.4 (4)", True),
        ("52.1 ± 0.4 (4)", "52.2 ± 0.4 (4)", True),  # half-way, and another last bit
        ("52.1 ± 0.4 (4)", "52.3 ± 0.4 (4)", False),
        ("52.1 ± 0.4 (4)", "52.1 ± 0.4 (5)", False),  # a count
        ("52.1", "52.10", False),
        ("52.1 reproduced", "52.1 not reproduced", False),
        ("jax 0.10.2", "jax 0.10.1", False),  # a version is no number
        ({"std": 0.00487361390551201, "n": 4}, {"std": 0.00487361390551192, "n": 4}, True),
        ({"std": 0.0048736, "n": 4}, {"std": 0.0048737, "n": 4}, False),
        ([1, 2.0], [1, 2], False),
        ([1], [1, 2], False),
    ],
)
def test_alike(made, committed, same):
    assert alike(made, committed) is same
