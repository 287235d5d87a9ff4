"""Worker processes under supervision: one that dies costs the task it had, and nothing else.

The standard pools break as a whole when one process is killed, or wait for it for ever. Here each worker has
a pipe of its own, so that nothing is shared that a dying process could leave locked.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from bids_nodereg.app.served import serve
from bids_nodereg.app.slots import Slots, environment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.context import SpawnProcess

    from bids_nodereg.app.slots import Slot

Task = TypeVar("Task")
Result = TypeVar("Result")

LOG = logging.getLogger("nodereg")

MOST_TASKS = 200
"""Tasks that one process does before it is replaced."""
MOST_GROWTH_MIB = 1024.0
"""Resident memory that a process may hold above that after its first task before it is replaced."""
FAREWELL_S = 1.0
"""How long workers may take to end by themselves when the run ends early."""


@dataclass(frozen=True)
class Lost:
    """In place of a result: the worker died over its task, or none could be started for it.

    Attributes
    ----------
    how
        In words, such as ``killed by SIGKILL``.
    is_place_lost
        Whether its place is not used again, because a process there ended before it was ready, or two in a
        row were killed before they were.
    """

    how: str
    is_place_lost: bool = False


class Waiting(Protocol[Task]):
    """Tasks that wait for a worker."""

    def __len__(self) -> int:
        """How many wait."""
        ...

    def has_ready(self) -> bool:
        """Whether there is one that need not wait for what others do."""
        ...

    def take(self, last: Task | None) -> Task | None:
        """Take the next task for a worker, whose last one is given; None where none is ready."""
        ...

    def end(self, task: Task) -> None:
        """Take note that a task that was taken has ended."""
        ...


@dataclass(frozen=True)
class Work(Generic[Task, Result]):
    """What workers do.

    Attributes
    ----------
    prepare
        Called once in each process; gives the function that does a task. Importable by its name.
    arguments
        Of `prepare`; sent to each process.
    wait
        Gives the line that the tasks wait in.
    slots
        Places to work at; None where all processes are alike.
    why_unfit
        From a result: why its place is not to be used again; empty where it is.
    """

    prepare: Callable[..., Callable[[Task], Result]]
    arguments: tuple[Any, ...]
    wait: Callable[[Sequence[Task]], Waiting[Task]]
    slots: Slots | None = None
    why_unfit: Callable[[Result], str] = lambda _result: ""


def in_workers(
    tasks: Sequence[Task], work: Work[Task, Result], count: int
) -> Generator[tuple[Task, Result | Lost]]:
    """Do tasks in several processes at a time; results as they come.

    The processes are started afresh (`spawn`), because libraries that use threads or a GPU do not survive
    a fork. They end when no more results are asked for, and by themselves when this process dies.

    Parameters
    ----------
    tasks
        In order of preference.
    work
        What is done with each.
    count
        Most processes at a time.

    Yields
    ------
    task, result
        `Lost` in place of a result where the process died over the task, or none could be started; it is
        not done again here.
    """
    crew = _Crew(tasks, work, count)
    try:
        while crew.hand_out():
            yield from crew.hear()
    finally:
        crew.end()


class _Worker(Generic[Task]):
    """One process, as its parent sees it."""

    def __init__(self, work: Work[Task, Any], slot: Slot) -> None:
        self.slot = slot
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=serve, args=(theirs, work.prepare, work.arguments), name="nodereg-worker", daemon=True
        )
        try:
            with environment_of(slot):
                self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()  # so that its death ends the pipe
        self.task: Task | None = None
        self.last: Task | None = None
        self.is_ready = False
        """Whether it has said that it is."""
        self._done = 0
        self._first_mib = 0.0

    def give(self, task: Task) -> None:
        """Send it a task. One that is dead is noticed when it is listened to."""
        self.task = task
        try:
            self.pipe.send(task)
        except OSError:
            LOG.debug("worker %s is dead", self.process.pid)

    def rest(self, rss_mib: float) -> bool:
        """Take note that its task is done; whether it is fit for another."""
        self.task, self.last = None, self.task
        self._done += 1
        self._first_mib = self._first_mib or rss_mib
        return self._done < MOST_TASKS and rss_mib < self._first_mib + MOST_GROWTH_MIB

    def how_it_died(self) -> str:
        """Say in words how the process ended."""
        self.process.join(FAREWELL_S)
        self.process.kill()  # it may have closed its pipe and hang
        self.process.join()
        code = self.process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class _Crew(Generic[Task, Result]):
    """The workers and what they have to do."""

    def __init__(self, tasks: Sequence[Task], work: Work[Task, Result], count: int) -> None:
        self._waiting = work.wait(tasks)
        self._work = work
        self._slots = Slots([("", {})] * count) if work.slots is None else work.slots
        self._count = count
        self._workers: list[_Worker[Task]] = []
        self._given_up: list[tuple[Task, Lost]] = []
        self._false_starts: set[str] = set()
        """Names of places whose last process was killed before it was ready."""

    def hand_out(self) -> bool:
        """Give every idle worker a task, and start those that are missing; whether anything is being done.

        Raises
        ------
        RuntimeError
            If tasks wait for one another.
        """
        for worker in self._workers:
            if worker.task is None:
                self._give_next(worker)
        self._start_missing()
        is_busy = bool(self._busy() or self._given_up)
        if len(self._waiting) and len(self._slots) and not is_busy:
            msg = f"{len(self._waiting)} tasks wait for one another"
            raise RuntimeError(msg)
        return is_busy

    def hear(self) -> Iterator[tuple[Task, Result | Lost]]:
        """Wait until workers say something, and give the results that there are."""
        if self._given_up:
            yield self._given_up.pop()
            return
        busy = {worker.pipe: worker for worker in self._busy()}
        for pipe in connection.wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            task = worker.task
            result = self._heard(worker)
            if task is not None and result is not None:
                self._waiting.end(task)
                yield task, result

    def end(self) -> None:
        """End all workers, gently at first."""
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + FAREWELL_S
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0))
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
            self._slots.give_back(worker.slot)
        self._workers.clear()

    def _start_missing(self) -> None:
        """Start the workers that there is something to do for; one that is refused costs a task at most."""
        while len(self._workers) < self._count and self._waiting.has_ready():
            slot = self._slots.take()
            if slot is None:
                return
            try:
                worker: _Worker[Task] = _Worker(self._work, slot)
            except OSError as error:  # too many processes, or no memory for another
                self._slots.give_back(slot)
                self._do_without(error)
                return
            self._workers.append(worker)
            self._give_next(worker)

    def _give_next(self, worker: _Worker[Task]) -> None:
        task = self._waiting.take(worker.last)
        if task is not None:
            worker.give(task)

    def _do_without(self, error: OSError) -> None:
        """Go on with the workers that there are; where there is none, give up a task."""
        reason = error.strerror or str(error)
        if self._workers:
            LOG.warning("No more than %d worker processes: %s.", len(self._workers), reason)
            self._count = len(self._workers)
        elif (task := self._waiting.take(None)) is not None:
            self._waiting.end(task)
            self._given_up.append((task, Lost(f"not started ({reason})")))

    def _heard(self, worker: _Worker[Task]) -> Result | Lost | None:
        """Take one message: a line for the log, that the worker is ready, or a result."""
        try:
            kind, *rest = worker.pipe.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if kind == "log":
            LOG.log(rest[0], "%s", rest[1])
            return None
        if kind == "ready":
            worker.is_ready = True
            self._false_starts.discard(worker.slot.name)
            return None
        result, rss_mib = rest
        is_fit = worker.rest(rss_mib)
        if why := self._work.why_unfit(result):
            self._dismiss(worker, why)
        elif not is_fit:
            self._dismiss(worker)
        return result  # type: ignore[no-any-return]

    def _died(self, worker: _Worker[Task]) -> Lost:
        """Take note of a death; a place where none gets ready is not tried with every task."""
        how = worker.how_it_died()
        is_place_lost = self._work.slots is not None and self._is_place_lost(worker)
        self._dismiss(worker, f"a process there could not begin ({how})" if is_place_lost else "")
        return Lost(how, is_place_lost)

    def _is_place_lost(self, worker: _Worker[Task]) -> bool:
        """Whether a death is the fault of its place.

        A process that was killed before it was ready may have been killed for want of memory; a second one
        in a row was not, nor one that ended by itself.
        """
        if worker.is_ready:
            return False
        name, is_first = worker.slot.name, worker.slot.name not in self._false_starts
        self._false_starts.add(name)
        return (worker.process.exitcode or 0) > 0 or not is_first

    def _dismiss(self, worker: _Worker[Task], why_unfit: str = "") -> None:
        """Let a worker go: an end of the pipe is an end of the work."""
        self._workers.remove(worker)
        worker.pipe.close()
        if why_unfit:
            self._slots.give_up(worker.slot, why_unfit)
        else:
            self._slots.give_back(worker.slot)

    def _busy(self) -> list[_Worker[Task]]:
        return [worker for worker in self._workers if worker.task is not None]
