"""Are two results the same, bit for bit? And if not, what differs, and what may be why?

  python -m experiments.compare_results A/results.json B/results.json

With the same options, machine and software the bits are the same. Says so and ends with exit status 0, or lists
which quantities of which rows differ, by how much at most, and what differs between the environments: status 1.
A file that cannot be compared is one line and 2. Times are left out.
"""

import sys
from collections.abc import Sequence

from absl import app

from mlp_jax.errors import UserError
from mlp_jax.studies import command, output
from mlp_jax.studies.differences import compared


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    try:
        if len(arguments) != 3:
            raise UserError("give two results files, or the folders that they lie in (--help tells how)")
        same, told = compared((arguments[1], arguments[2]))
    except UserError as error:
        command.fail(str(error))
    print(told)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    with output.kept():
        app.run(main, flags_parser=command.parse)
