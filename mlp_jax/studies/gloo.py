"""jax in several processes: gloo between CPUs, and a coordinator whose end ends nobody else."""

import contextlib
import socket
import threading
import time

import jax

from mlp_jax.studies.meeting import connect
from mlp_jax.studies.place import Place

NEVER = 10**6  # seconds: jax's own timeouts would abort the process with a stack trace


def _relay(host: str, port: int, patience: float) -> int:
    """A port of this machine that leads to jax's coordinator, and stays open when that has gone.

    jax aborts a process as soon as its connection with the coordinator closes, before anybody can say a word.
    """
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, last: bool) -> None:
        with contextlib.suppress(OSError):
            while some := source.recv(2**16):
                sink.sendall(some)
        if last:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            near, _ = server.accept()
            far = connect(host, port, time.monotonic() + patience)
            far.settimeout(None)
            for source, sink, last in ((near, far, True), (far, near, False)):
                threading.Thread(target=pump, args=(source, sink, last), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(server.getsockname()[1])


def start_jax(place: Place, port: int, patience: float) -> None:
    """Makes jax's devices those of all processes; process 0's coordinator listens at the port, and has `patience`
    seconds to do so.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM from ending the process
    jax.distributed.initialize(
        f"127.0.0.1:{port if place.process == 0 else _relay(place.host, port, patience)}",
        place.processes,
        place.process,
        local_device_ids=place.local_devices,
        cluster_detection_method="deactivate",
        coordinator_bind_address=f"{'127.0.0.1' if place.local else '[::]'}:{port}",
        initialization_timeout=NEVER,
        heartbeat_timeout_seconds=NEVER,
        shutdown_timeout_seconds=NEVER,
    )
    jax.devices()
