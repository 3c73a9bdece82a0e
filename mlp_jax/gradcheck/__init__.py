"""Is a hand-written gradient right, and if not, which mistake is it?

`check_gradients(candidate)` and `assert_gradients(candidate)` check anyone's gradient; `comparison` has the plain
leaf-by-leaf check of this package's own.
"""

from mlp_jax.gradcheck.check import assert_gradients, check, check_gradients
from mlp_jax.gradcheck.comparison import (
    NORMALIZED_TOLERANCE,
    TOLERANCE,
    LeafCheck,
    TwoLayerCase,
    check_backward,
    check_equations,
    check_leaf,
    compare,
    compiled,
    random_params,
    two_layer_case,
)
from mlp_jax.gradcheck.report import Finding, LeafRow, Report
from mlp_jax.gradcheck.vjp import check_custom_vjp, check_vjp
from mlp_jax.gradcheck.witness import check_witness, trusted_witness

__all__ = [
    "NORMALIZED_TOLERANCE",
    "TOLERANCE",
    "Finding",
    "LeafCheck",
    "LeafRow",
    "Report",
    "TwoLayerCase",
    "assert_gradients",
    "check",
    "check_backward",
    "check_custom_vjp",
    "check_equations",
    "check_gradients",
    "check_leaf",
    "check_vjp",
    "check_witness",
    "compare",
    "compiled",
    "random_params",
    "trusted_witness",
    "two_layer_case",
]
