"""Is somebody's gradient right? From any folder:

  python -m mlp_jax.gradcheck path/to/net.py:TwoLayerNet
  python -m mlp_jax.gradcheck notebook.ipynb:grads --activation=tanh

Prints the report. Exit status 0 if it is right, 1 if it is wrong, 2 if it cannot be used.
"""

import os
import sys
from collections.abc import Sequence

import jax
from absl import app, flags, logging

from mlp_jax.errors import UserError
from mlp_jax.gradcheck.check import check
from mlp_jax.gradcheck.process import Target
from mlp_jax.nn.config import MLPConfig, norm_options

flags.disclaim_key_flags()
logging.set_verbosity(logging.WARNING)  # as in the experiments' commands: jax tells which backends it has not
flags.DEFINE_string("hidden", None, "hidden widths, with commas; default 6, or several depths")
flags.DEFINE_string("activation", "relu", "activation function of the network")
flags.DEFINE_string("batch_norm", "none", "batch normalisation: none, before or after the activation")
flags.DEFINE_string("layer_norm", "none", "layer normalisation: none, before or after the activation")
flags.DEFINE_float("dropout", 0.0, "dropout probability, in [0, 1)")
flags.DEFINE_float("negative_slope", None, "slope of leaky_relu below 0; default 0.1")
flags.DEFINE_float("bn_eps", 1e-5, "what a normalisation adds to the variance")
flags.DEFINE_string("l2_convention", "auto", "penalty lambda ||W||^2 (full), half of it (half), or auto")
flags.DEFINE_string("objective", "auto", "judge by its own loss (auto), or by the report's alone (report)")
flags.DEFINE_string("arrays", "auto", "arrays that the target wants: numpy, jax, torch, or auto")
flags.DEFINE_integer("seed", 0, "seed of the cases", lower_bound=0)
flags.DEFINE_float("scale", 1.0, "multiplies the inputs, weights and biases")
flags.DEFINE_float("timeout", 60.0, "seconds that the target may take", lower_bound=1e-9)
NETWORK = ("hidden", "activation", "batch_norm", "layer_norm", "dropout", "negative_slope", "bn_eps")


def network() -> MLPConfig | None:
    """The network that the flags name; None if they name none, for then the target decides."""
    given = flags.FLAGS
    if all(given[name].value == given[name].default for name in NETWORK):
        return None
    try:
        hidden = tuple(int(width) for width in (given.hidden or "6").split(","))
    except ValueError as error:
        raise UserError(f"hidden must be whole numbers with commas, not {given.hidden!r}") from error
    return MLPConfig(
        hidden,
        given.activation,
        dropout=given.dropout,
        negative_slope=given.negative_slope,
        norm_eps=given.bn_eps,
        inputs=7,
        classes=4,
        **norm_options(given.batch_norm, given.layer_norm),
    )


def run(arguments: Sequence[str]) -> bool:
    """Checks the target, prints the report; True if it is right."""
    if len(arguments) != 1:
        raise UserError("name one target: python -m mlp_jax.gradcheck path/to/file.py:Name")
    given = flags.FLAGS
    with Target(arguments[0], given.arrays, given.timeout) as target:
        report = check(
            target,
            network(),
            l2_convention=given.l2_convention,
            objective=given.objective,
            seed=given.seed,
            scale=given.scale,
        )
    print(report)
    return report.passed


CLOSED = 128 + 13
"""Exit status where the reader of standard output left: what a shell gives for SIGPIPE."""


def main(arguments: Sequence[str]) -> None:
    """Ends with the exit status that the module's docstring names."""
    # the command writes nothing, and a program from a cache could make jaxlib print lines
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # for the target's process
    try:
        status = 0 if run(arguments[1:]) else 1
        sys.stdout.flush()
        sys.exit(status)
    except BrokenPipeError:  # the reader left, as `| head -1` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
