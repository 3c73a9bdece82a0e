"""Plain networks in JAX: pure functions, hand-written gradients, and training runs that repeat bit for bit.

Import from the modules: `from mlp_jax.model import MLPConfig, init, forward`, `from mlp_jax.losses import loss`,
`from mlp_jax.gradients import gradients`, `from mlp_jax.train import TrainConfig, train`.
"""
