"""Three stages of many pairs, one pair after the other or overlapping.

While one pair is solved, the next is read and prepared and the last is measured and written. At most three
pairs are held at a time, whatever their number: one ahead, one behind.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future

Task = TypeVar("Task")
Opened = TypeVar("Opened")
Solved = TypeVar("Solved")
Result = TypeVar("Result")

LOG = logging.getLogger("nodereg")

NICENESS = 5
"""Of the threads beside the main one: they take the cores that the registration leaves."""


@dataclass(frozen=True)
class Stages(Generic[Task, Opened, Solved, Result]):
    """What is done with each task.

    Attributes
    ----------
    open
        From a task to what is solved: reading and preparing.
    solve
        The registration; always in the thread that asks for the results.
    close
        From a solution to a result: measuring and writing. One at a time and in order.
    alone
        Whether there is no room for another task while this one is solved and closed.
    """

    open: Callable[[Task], Opened]
    solve: Callable[[Opened], Solved]
    close: Callable[[Solved], Result]
    alone: Callable[[Opened], bool] = lambda _opened: False


def one_by_one(
    tasks: Iterable[Task], stages: Stages[Task, Opened, Solved, Result]
) -> Generator[Result, None, None]:
    """Do all stages of a task before the next task is touched; results in the order of the tasks."""
    for task in tasks:
        yield stages.close(stages.solve(stages.open(task)))


def overlapping(
    tasks: Iterable[Task],
    stages: Stages[Task, Opened, Solved, Result],
    stop: threading.Event,
    begin: Callable[[], None] = lambda: None,
) -> Generator[Result, None, None]:
    """Open the next task and close the last one in threads beside the one that is solved.

    Where the system gives no more threads, the tasks are done one by one, which the log says.

    Parameters
    ----------
    tasks
        Asked for one ahead of the one that is solved.
    stages
        What is done. An exception of a stage is raised here, and ends everything; a stage that may fail
        for one task alone says so in what it returns.
    stop
        Set when the results end early, by an exception, a signal, or a caller that wants no more. The
        stages in threads are to look at it; they are waited for.
    begin
        Called first in each of the threads, for what libraries keep for each thread.

    Yields
    ------
    Result
        In the order of the tasks.
    """
    queue = iter(tasks)
    with _Beside("opening", begin) as opener, _Beside("closing", begin) as closer:
        if not (opener.is_there() and closer.is_there()):
            LOG.warning("The system gives no more threads (ulimit -u): pairs are done without overlap.")
            yield from one_by_one(queue, stages)
            return
        closing: deque[Future[Result]] = deque()
        try:
            opening = _next(queue, stages, opener)
            while opening is not None:
                opened = opening.result()
                alone = stages.alone(opened)
                while alone and closing:
                    yield closing.popleft().result()
                opening = None if alone else _next(queue, stages, opener)
                solved = stages.solve(opened)
                del opened  # what is solved is held by its solution alone
                while closing:
                    yield closing.popleft().result()
                closing.append(closer.submit(stages.close, solved))
                del solved
                while alone and closing:
                    yield closing.popleft().result()
                if alone:
                    opening = _next(queue, stages, opener)
            while closing:
                yield closing.popleft().result()
        except BaseException:
            stop.set()
            raise


def _next(
    queue: Iterator[Task], stages: Stages[Task, Opened, Solved, Result], opener: ThreadPoolExecutor
) -> Future[Opened] | None:
    """Begin to open the next task; None where there is none."""
    for task in queue:
        return opener.submit(stages.open, task)
    return None


class _Beside(ThreadPoolExecutor):
    """One thread of low priority; what it has not begun when it is left is not done."""

    def __init__(self, name: str, begin: Callable[[], None]) -> None:
        super().__init__(max_workers=1, thread_name_prefix=name, initializer=_begin, initargs=(begin,))

    def is_there(self) -> bool:
        """Start the thread; whether the system gave one."""
        try:
            self.submit(_nothing)
        except RuntimeError:
            return False
        return True

    def __exit__(self, *_error: object) -> None:
        self.shutdown(wait=True, cancel_futures=True)


def _nothing() -> None:
    """Work for a thread that has only to be there."""


def _begin(begin: Callable[[], None]) -> None:
    _be_nice()
    begin()


def _be_nice() -> None:
    """Leave the cores to the main thread, on Linux.

    Elsewhere the number of a thread is none of a process, and may be that of somebody else's.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
