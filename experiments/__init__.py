"""One question per file; run each as `python -m experiments.NAME`."""

import sys

WORKERS = ("experiments._speedrun_worker",)
"""Processes whose start is measured: jax is imported where they use it, and not at all by those that do not."""

if not set(WORKERS) & set(sys.orig_argv):
    try:
        import jax  # noqa: F401
    except ValueError as error:  # a variable of the environment, JAX_..., has a value that jax cannot take
        print(f"error: jax cannot start: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
