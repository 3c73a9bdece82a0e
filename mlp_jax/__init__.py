"""These are plain networks in JAX: pure functions, gradients by hand, and training that repeats bit for bit.

Import from the modules: `from mlp_jax.nn.model import init, forward`, `from mlp_jax.nn.config import MLPConfig`,
`from mlp_jax.nn.losses import loss`, `from mlp_jax.nn.gradients import gradients`,
`from mlp_jax.training.config import TrainConfig`, `from mlp_jax.training.population import train`.
"""
