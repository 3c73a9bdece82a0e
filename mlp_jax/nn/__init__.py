"""The mathematics: networks, losses, and hand-written gradients beside autodiff's (on jax and numpy alone)."""
