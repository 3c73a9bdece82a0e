"""One question per file; run each as `python -m experiments.NAME`."""

import sys

try:
    import jax  # noqa: F401
except ValueError as error:  # a variable of the environment, JAX_..., has a value that jax cannot take
    print(f"error: jax cannot start: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
