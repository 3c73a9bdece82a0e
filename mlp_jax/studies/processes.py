"""Several processes do one study together (`--distributed`) by jax's own `jax.distributed`, with JSON over it.

`initialize` before anything else, `join` once jax's devices are there, `finish` at the end. In between, every
process calls `share`, `agree` and what else is collective in the same order, and process 0 alone writes.

A process that fails leaves by `exit_status` at once. jax ends the others, with words and a status (134 is usual)
of its own: at once where their connection breaks, else after `--heartbeat_timeout` seconds.
"""

import contextlib
import importlib.metadata
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlp_jax.errors import UserError, whole_number
from mlp_jax.fields import option
from mlp_jax.files import sha256

GIVE = "give --coordinator=HOST:PORT, --num_processes and --process_id"
LONGEST = 24 * 3600  # no wait is longer, in seconds
GRACE = (
    2.0  # a failing process 0 stays so many seconds: jax ends the others with it, who may have to tell the same
)
PART = 2**26  # so many bytes are shared at once


@dataclass(frozen=True)
class Processes:
    """These flags say which process of a job this is, and how long it waits for the others.

    Raises UserError if they contradict each other or are out of range.
    """

    distributed: bool = option(False, "one of several processes, on one machine or many, that do the job together")
    coordinator: str | None = option(
        None, "process 0's HOST:PORT; without it the cluster is asked for all three", needs="distributed"
    )
    num_processes: int | None = option(None, "number of processes", needs="distributed")
    process_id: int | None = option(None, "which of them this is, from 0", needs="distributed")
    initialization_timeout: int = option(
        300, "seconds until jax ends a job in which a process is missing", low=1, high=LONGEST, needs="distributed"
    )
    heartbeat_timeout: int = option(
        100, "seconds until jax ends a job in which a process is silent", low=1, high=LONGEST, needs="distributed"
    )

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("coordinator", "num_processes", "process_id")}
        missing = [f"--{name}" for name, value in given.items() if value is None]
        if len(missing) == 3:
            return
        if missing:
            raise UserError(f"{' and '.join(missing)} must be given too, or all three left to the cluster")
        host, colon, port = (self.coordinator or "").rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            what = f"HOST:PORT, process 0's machine and a free port there, not {self.coordinator!r}"
            raise UserError(f"--coordinator must be {what}")
        whole_number("--num_processes", self.num_processes, 1)
        whole_number("--process_id", self.process_id, 0)
        if int(self.process_id or 0) >= int(self.num_processes or 0):
            raise UserError(
                f"--process_id={self.process_id} must be less than --num_processes={self.num_processes}: they "
                "count from 0"
            )


def initialize(options: Processes) -> None:
    """Makes jax's devices those of all processes of the job.

    Raises UserError if neither flags nor a cluster say which process this is. If a process is missing, jax itself
    ends this one.
    """
    _keep_standard_output()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM from ending the process
    host, _, port = (options.coordinator or "").rpartition(":")
    try:
        jax.distributed.initialize(
            options.coordinator,
            options.num_processes,
            options.process_id,
            cluster_detection_method="deactivate" if options.coordinator else None,
            coordinator_bind_address=f"127.0.0.1:{port}" if host in ("localhost", "127.0.0.1") else None,
            initialization_timeout=options.initialization_timeout,
            heartbeat_timeout_seconds=options.heartbeat_timeout,
        )
    except Exception as error:  # each kind of cluster has its own
        if options.coordinator:
            raise UserError(f"jax cannot start at --coordinator={options.coordinator}: {error}") from error
        raise UserError(
            f"no cluster (Slurm, Open MPI, Cloud TPU, Kubernetes with jax[k8s]) tells which process this is: "
            f"{GIVE} ({error})"
        ) from error


def _keep_standard_output() -> None:
    """Python alone writes to standard output from here on: gloo writes lines to its descriptor."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = os.fdopen(own, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def join(options: Mapping[str, Any]) -> None:
    """Only process 0 prints from here on. Raises UserError if processes run other programs, or with other options.

    `options` are JSON by the names of flags.
    """
    if jax.process_count() == 1:
        return
    if not writes():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    share(None)  # gloo connects at the first collective of a kind, and gives up if a process comes late to it
    main = getattr(sys.modules["__main__"], "__spec__", None)
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib")]
    agree("script or jax", [main.name if main else "", *versions, sorted(options)])
    for name, value in options.items():
        agree(f"--{name}", value)


def finish() -> None:
    """Waits until all processes are here, and takes the job apart: each of them then ends by itself."""
    if jax.distributed.is_initialized():
        multihost_utils.sync_global_devices("finish")  # without this, jax would wait for process 0 five minutes
        jax.distributed.shutdown()


def exit_status(job: Callable[[], int]) -> int:
    """Gives a job's exit status; if it fails before `finish`, this process ends with it here and at once.

    An ordinary end would wait for the others, which may wait for this process, and then abort.
    """
    try:
        status = job()
    except BaseException:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        status = 1
    if not jax.distributed.is_initialized():
        return status
    with contextlib.suppress(Exception):  # whatever jax raises if it found no devices
        if writes():
            time.sleep(GRACE)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def writes() -> bool:
    """Tells whether this process writes results and shows progress: process 0, or the only one."""
    return jax.process_index() == 0


def share(value: Any) -> Any:
    """Gives process 0's value, which is JSON, to every process."""
    if jax.process_count() == 1:
        return value
    return json.loads(share_bytes(json.dumps(value).encode() if writes() else b""))


def share_bytes(content: bytes) -> bytes:
    """Gives process 0's content to every process."""
    if jax.process_count() == 1:
        return content
    whole, rest = multihost_utils.broadcast_one_to_all(np.array(divmod(len(content), PART), np.int32))
    parts = []
    for number, size in enumerate([PART] * int(whole) + [int(rest)]):
        # there are few lengths, since each is a program of its own
        part = np.zeros(1 << max(0, size - 1).bit_length(), np.uint8)
        if writes():
            part[:size] = np.frombuffer(content[number * PART :][:size], np.uint8)
        parts.append(multihost_utils.broadcast_one_to_all(part)[:size].tobytes())
    return b"".join(parts)


def agree(what: str, value: Any) -> None:
    """Raises UserError, in every process, unless all of them have the same value: JSON."""
    digest = bytes.fromhex(sha256(json.dumps(value, sort_keys=True)))
    try:
        multihost_utils.assert_equal(np.frombuffer(digest, np.uint8), what)
    except AssertionError:
        raise UserError(f"the processes of this job differ in {what}: give all of them the same") from None
