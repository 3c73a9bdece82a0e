"""How the processes of a job find each other: process 0 waits at the coordinator's address until all have come."""

import contextlib
import json
import os
import queue
import socket
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from mlp_jax.errors import UserError
from mlp_jax.studies.place import Place

LONGEST = 2**28  # bytes of a message
PATIENCE = 5.0  # seconds in which a process that has connected must say who it is
PROGRAM = "mlp_jax"


class Line:
    """The connection with another process."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        self.connection = Connection(connection.detach())
        self.heard = time.monotonic()
        self.values: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.over = threading.Event()
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        """To a process that has gone, nothing: its end is noticed where its messages are received."""
        with self._sending, contextlib.suppress(OSError):
            self.connection.send_bytes(json.dumps(message).encode())

    def receive(self) -> dict[str, Any]:
        """The next message. Raises OSError or EOFError if the other end has gone or is none of ours."""
        message = json.loads(self.connection.recv_bytes(LONGEST))
        self.heard = time.monotonic()
        if not isinstance(message, dict):
            raise OSError("not a message of this program")
        return message


def meet(place: Place, options: Mapping[str, Any], timeout: float) -> tuple[int, dict[int, Line]]:
    """The port of jax's coordinator on process 0's machine, and this process's lines, once all have come.

    Raises UserError, in all processes that have come, if one does not within `timeout` seconds, has other options
    or the number of one that is there; and if process 0 cannot listen, or does not answer.
    """
    hello = {"hello": PROGRAM, "process": place.process, "processes": place.processes, "options": options}
    hello = json.loads(json.dumps(hello))
    return _receive_all(place, hello, timeout) if place.process == 0 else _go_there(place, hello, timeout)


def _go_there(place: Place, hello: dict[str, Any], timeout: float) -> tuple[int, dict[int, Line]]:
    where = f"{place.host}:{place.port}"
    try:
        line = Line(connect(place.host, place.port, time.monotonic() + timeout))
    except OSError as error:
        raise UserError(
            f"{place.name(0)} did not start within {timeout:g} s: nothing answers at {where} "
            f"({error.strerror or error}); start it, or correct --coordinator"
        ) from error
    line.send(**hello)
    try:
        answer = line.receive() if line.connection.poll(timeout + PATIENCE) else {}
    except (OSError, EOFError, ValueError):
        answer = {}
    if "refused" in answer:
        raise UserError(answer["refused"])
    if "welcome" not in answer:
        raise UserError(
            f"what answers at {where} is not {place.name(0)}, or it has ended: see its message, or choose another "
            "port in --coordinator"
        )
    return answer["welcome"], {0: line}


def _receive_all(place: Place, mine: dict[str, Any], timeout: float) -> tuple[int, dict[int, Line]]:
    limit = time.monotonic() + timeout
    lines: dict[int, Line] = {}
    try:
        # the empty address is every network of this machine
        server = socket.create_server(("127.0.0.1" if place.local else "", place.port))
    except OSError as error:
        raise UserError(
            f"cannot listen at port {place.port}: {os.strerror(error.errno or 0)}: does another job use it? "
            "Choose another in --coordinator"
        ) from error
    with server:
        while len(lines) < place.processes - 1:
            ready = wait(
                [server, *(line.connection for line in lines.values())], max(0.0, limit - time.monotonic())
            )
            for number in [n for n, line in lines.items() if line.connection in ready]:
                del lines[number]  # it says nothing before the job starts: it has gone
            if server in ready:
                _admit(server.accept()[0], place, mine, lines)
            if time.monotonic() >= limit:
                missing = [str(n) for n in range(1, place.processes) if n not in lines]
                _refuse(
                    lines,
                    f"process{'es' * (len(missing) > 1)} {', '.join(missing)} of {place.processes} did not start "
                    f"within {timeout:g} s: start all, with the same --coordinator, or raise --start_timeout",
                )
    with socket.create_server(("", 0)) as free:
        port = int(free.getsockname()[1])
    for line in lines.values():
        line.send(welcome=port)
    return port, lines


def _admit(connection: socket.socket, place: Place, mine: dict[str, Any], lines: dict[int, Line]) -> None:
    """Takes a process in. Raises UserError, there and here, if it was started for another job than this."""
    line = Line(connection)
    try:
        theirs = line.receive() if line.connection.poll(PATIENCE) else {}
    except (OSError, EOFError, ValueError):
        theirs = {}
    if theirs.get("hello") != PROGRAM:
        return  # a stranger
    number = theirs["process"]
    ours, others = ({**side["options"], "num_processes": side["processes"]} for side in (mine, theirs))
    other = [f"{k}={others.get(k)!r} there, {v!r} on process 0" for k, v in ours.items() if others.get(k) != v]
    if other:
        _refuse({**lines, -1: line}, f"process {number} has other options: {'; '.join(other)}: give all the same")
    if number in lines:  # the job goes on without the second
        line.send(refused=f"{place.name(number)} is there already: choose another --process_id, or another port")
    else:
        lines[number] = line


def _refuse(lines: Mapping[int, Line], message: str) -> NoReturn:
    for line in lines.values():
        line.send(refused=message)
    raise UserError(message)


def connect(host: str, port: int, limit: float) -> socket.socket:
    """A connection as soon as somebody listens there. Raises OSError if nobody does until `limit`."""
    while True:
        try:
            made = socket.create_connection((host, port), timeout=max(0.1, min(5.0, limit - time.monotonic())))
            if made.getsockname() != made.getpeername():  # a port that nobody listens to can answer itself
                return made
            made.close()
            raise ConnectionRefusedError(0, "Connection refused")
        except OSError:
            if time.monotonic() >= limit:
                raise
            time.sleep(0.1)
