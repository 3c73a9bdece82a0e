"""The backward pass as a list of operations, the one table of mistakes in it, and the search for them.

`ops` and `layer_ops` are the operations, and `networks` makes a list of them. A mistake is a `row` of the
`table` (`of_steps`, `of_layers`): where, what is computed instead (`deviations`, `slopes`), and what to say,
also of `columns`. A `situation` is what was observed; `search` goes through it, `segment` by segment, and
`fits` says what a `leaf` is made of.
"""

from mlp_jax.gradcheck.mistakes.table import CODES, LAYER_ROWS, MISTAKES, ROWS, Row

__all__ = ["CODES", "LAYER_ROWS", "MISTAKES", "ROWS", "Row"]
