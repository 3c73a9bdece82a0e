"""Training: a step, an epoch, many runs at once, and what is kept of them."""
