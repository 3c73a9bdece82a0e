"""Where a process stands in a job of several: what the flags say, or the cluster that it runs on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax._src.clusters import ClusterEnv  # detection is not public, and jax.distributed.initialize waits for all

from mlp_jax.errors import UserError, whole_number

LONGEST_START = 24 * 3600
"""Seconds."""


@dataclass(frozen=True)
class Place:
    """One process of a job; local_devices: the accelerators that it takes, or None for all that it sees."""

    host: str
    port: int
    processes: int
    process: int
    local_devices: Sequence[int] | None = None

    @property
    def local(self) -> bool:
        """Whether all processes are on this machine."""
        return self.host in ("localhost", "127.0.0.1")

    def name(self, number: int) -> str:
        """How messages name a process."""
        return f"process {number} of {self.processes}"


def check(flags: Any) -> None:
    """Raises UserError if the flags contradict each other or are out of range."""
    given = {name: getattr(flags, name) for name in ("coordinator", "num_processes", "process_id")}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    whole_number("--start_timeout", flags.start_timeout, 1, LONGEST_START)
    if not flags.distributed:
        if len(missing) < 3:
            raise UserError("--coordinator, --num_processes and --process_id are for --distributed: add it")
        if flags.start_timeout != type(flags).__dataclass_fields__["start_timeout"].default:
            raise UserError("--start_timeout is for --distributed: add it, or leave --start_timeout out")
        return
    if len(missing) == 3:
        return
    if missing:
        raise UserError(f"{' and '.join(missing)} must be given too, or all three left to the cluster")
    _address(flags.coordinator or "")
    whole_number("--num_processes", flags.num_processes, 1)
    whole_number("--process_id", flags.process_id, 0)
    if int(flags.process_id or 0) >= int(flags.num_processes or 0):
        raise UserError(
            f"--process_id={flags.process_id} must be less than --num_processes={flags.num_processes}: they count "
            "from 0"
        )


def place_of(flags: Any) -> Place | None:
    """This process's place; None without --distributed. Raises UserError if neither flags nor a cluster say it."""
    if not flags.distributed:
        return None
    if flags.coordinator is not None and flags.num_processes is not None and flags.process_id is not None:
        return Place(*_address(flags.coordinator), flags.num_processes, flags.process_id)
    try:
        address, processes, process, devices = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, flags.start_timeout
        )
    except Exception as error:  # each kind of cluster has its own: a missing variable, a network error, a refusal
        raise UserError(f"cannot tell this process's place in the cluster: {error}; {GIVE}") from error
    if address is None or processes is None or process is None:
        raise UserError(f"no cluster found (Slurm, Open MPI, Cloud TPU; Kubernetes needs jax[k8s]): {GIVE}")
    return Place(*_address(address), processes, process, devices)


GIVE = "give --coordinator=HOST:PORT, --num_processes and --process_id"


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise UserError(
            f"--coordinator must be HOST:PORT, process 0's machine and a free port there, not {text!r}"
        )
    return host.strip("[]"), int(port)
