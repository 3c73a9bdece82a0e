"""Is somebody's gradient right? From any folder:

  python -m mlp_jax.gradcheck path/to/net.py:TwoLayerNet
  python -m mlp_jax.gradcheck notebook.ipynb:grads --activation=tanh

Prints the report. Exit status 0 if it is right, 1 if it is wrong, 2 if it cannot be used.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax
from absl import logging

from mlp_jax import flags
from mlp_jax.errors import UserError
from mlp_jax.fields import option, parsed
from mlp_jax.gradcheck.check import check
from mlp_jax.gradcheck.options import Options
from mlp_jax.gradcheck.process import Target, foresee

CLOSED = 128 + 13
"""Exit status where the reader of standard output left: what a shell gives for SIGPIPE."""


@dataclass(frozen=True)
class Command(Options):
    """The options of this command, whose one argument is the target."""

    ARGUMENTS: ClassVar[str] = "target"

    seed: int = option(0, "seed of the cases", low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, parsed(field, getattr(self, field.name)))
        self.checked()


def run(arguments: Sequence[str]) -> bool | None:
    """Checks the target, prints the report; True if it is right, None if only the help was asked for."""
    found = flags.read(Command, __doc__ or "", arguments)
    if found is None:
        return None
    values, _ = found
    targets = values.pop("target")
    if len(targets) != 1:
        raise UserError("name one target: python -m mlp_jax.gradcheck path/to/file.py:Name")
    given = Command(target=targets[0], **values)
    # the command writes nothing, and a program from a cache could make jaxlib print lines
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # for the target's process
    how = {name: getattr(given, name) for name in ("l2_convention", "objective", "seed", "scale")}
    config = given.checked()
    foreseen = foresee(config, given.seed, given.scale)
    with Target(targets[0], given.arrays, given.timeout, foreseen) as target:
        report = check(target, config, **how)
    print(report)
    return report.passed


def main(arguments: Sequence[str]) -> int:
    """Gives the exit status that the module's docstring names."""
    logging.set_verbosity(logging.WARNING)  # as in the experiments' commands: jax tells which backends it has not
    try:
        status = 1 if run(arguments) is False else 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader left, as `| head -1` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except UserError as error:
        return flags.fail(str(error))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
