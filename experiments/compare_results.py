"""Are two results the same, bit for bit? And if not, what differs, and what may be why?

  python -m experiments.compare_results A/results.json B/results.json

With the same options, machine and software the bits are the same. Says so and ends with exit status 0, or lists
which quantities of which rows differ, by how much at most, and what differs between the environments: status 1.
A file that cannot be compared is one line and 2. Times are left out.
"""

import sys
from collections.abc import Sequence

from mlp_jax.errors import UserError
from mlp_jax.studies.command import status_of
from mlp_jax.studies.differences import compared


def main(argv: Sequence[str] | None = None) -> int:
    """Gives the exit status; `argv` are two results files, or the folders that they lie in."""
    arguments = list(sys.argv[1:] if argv is None else argv)

    def job() -> int:
        if "--help" in arguments:
            print(__doc__.strip())
            return 0
        if len(arguments) != 2:
            raise UserError("give two results files, or the folders that they lie in (--help tells how)")
        same, told = compared((arguments[0], arguments[1]))
        print(told)
        return 0 if same else 1

    return status_of(job)


if __name__ == "__main__":
    raise SystemExit(main())
