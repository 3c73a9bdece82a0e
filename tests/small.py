"""One small network and recipe for many tests, since what one test has compiled the next one finds."""

import jax
import numpy as np

from mlp_jax.nn.config import MLPConfig
from mlp_jax.training.config import TrainConfig

MODEL = MLPConfig(hidden=(16,), inputs=192)
FAST = TrainConfig(learning_rate=0.02, batch_size=50, epochs=2, l2=1e-3)
LEAST = ("--dataset=synthetic", "--layers=1", "--epochs=1", "--seeds=1", "--learning_rate=0.1", "--hidden=4")
"""Flags of the smallest study of depths, for real processes."""


def bits(tree):
    """Type and bytes of every array of a tree."""
    return [(leaf.dtype, leaf.tobytes()) for leaf in map(np.asarray, jax.tree.leaves(tree))]


def same_bits(a, b):
    """Whether two results of training are the same to the last bit: where they stand, and how they came there."""
    return bits((a.state, a.history)) == bits((b.state, b.history))
