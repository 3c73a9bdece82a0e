"""While earlier work runs, a study's next programs are compiled in threads of their own.

On small data nearly all of a study's time is compilation, and compiling one program keeps one core busy.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax

Item = TypeVar("Item")
AT_ONCE = min(4, os.cpu_count() or 1)


def prepared(items: Sequence[Item], tasks: Callable[[Item], Iterable[Callable[[], object]]]) -> Iterator[Item]:
    """Gives the items in their order, each when its tasks are done; those of the next `AT_ONCE` run meanwhile.

    An error of a task is raised where its item would come. A job of several processes prepares nothing: all of
    them must start their programs in one order.
    """
    if jax.process_count() > 1:
        yield from items
        return
    pool = ThreadPoolExecutor(AT_ONCE, "compile")
    try:
        waiting: deque[list[Future[object]]] = deque()
        for number, item in enumerate(items):
            for following in items[number + len(waiting) : number + AT_ONCE + 1]:
                waiting.append([pool.submit(task) for task in tasks(following)])
            for done in waiting.popleft():
                done.result()
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
