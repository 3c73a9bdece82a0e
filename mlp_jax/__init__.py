"""Plain networks in JAX: pure functions, hand-written gradients, and training runs that repeat bit for bit.

Import from the modules: `from mlp_jax.nn.model import init, forward`, `from mlp_jax.nn.config import MLPConfig`,
`from mlp_jax.nn.losses import loss`, `from mlp_jax.nn.gradients import gradients`,
`from mlp_jax.training.config import TrainConfig`, `from mlp_jax.training.population import train`.
"""
