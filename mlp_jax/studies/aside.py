"""A job that trains nothing runs in a second process while this one trains: one process uses Python in turns."""

import contextlib
import io
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import jax
from tqdm import tqdm

from mlp_jax.errors import UserError
from mlp_jax.machine import processor
from mlp_jax.nn.matmul import platform
from mlp_jax.studies import compilation


def worthwhile() -> bool:
    """Tells whether a second process helps: it would want an accelerator's memory, or the other's only core."""
    return jax.process_count() == 1 and platform() == "cpu" and (processor()["usable_cores"] or 1) > 1


@contextlib.contextmanager
def started(job: Callable[..., Any], *arguments: Any) -> Iterator[Callable[[], Any]]:
    """Starts job(*arguments) in a second process, and gives a function that waits for the answer and returns it.

    That function prints what the job printed; it raises the job's UserError, and RuntimeError with the traceback
    for any other error. The second process ends with the block, or with this process. Job, arguments and answer
    must be such as can be pickled.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, job, arguments))
    process.start()
    theirs.close()

    def answer() -> Any:
        try:
            printed, found = ours.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"the second process ended with exit code {process.exitcode}") from None
        print(printed, end="", flush=True)
        if isinstance(found, Exception):
            raise found
        return found

    try:
        yield answer
    finally:
        process.kill()
        process.join()
        ours.close()


def _serve(pipe: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Does the job in the second process, and sends what it printed and its answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the first process
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: wait([parent.sentinel]) and os._exit(1), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the first process shows a progress bar
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which outlives a process that is killed
    compilation.set_up()
    compilation.devices()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            found = job(*arguments)
        except UserError as error:
            found = error
        except Exception:
            found = RuntimeError(f"in the second process:\n{traceback.format_exc()}")
    pipe.send((printed.getvalue(), found))
