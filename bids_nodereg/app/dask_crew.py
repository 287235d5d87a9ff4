"""The workers of a dask cluster, one task at a time each, and what the driver does when one is lost.

dask would run the task of a lost worker again by itself, three times on other workers. Here each task is
given to a worker by name: so the driver knows at once which pair was lost, at most as many futures are alive
as there are workers, and a worker keeps to the participant whose images it has read.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bids_nodereg.app.dask_cluster import names_of_started
from bids_nodereg.app.dask_member import Member, as_refusal, why
from bids_nodereg.app.dask_patience import Patience
from bids_nodereg.app.dask_worker import Done, begin, do, end
from bids_nodereg.app.workers import MOST_GROWTH_MIB, MOST_TASKS, Lost, Waiting, Work
from bids_nodereg.errors import NodeRegError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from distributed import Client, Future

    from bids_nodereg.app.dask_terms import Terms

Task = TypeVar("Task")
Result = TypeVar("Result")

LOG = logging.getLogger("nodereg")

POLL_S = 1.0
"""Least time between looks at which workers there are."""
POLL_S_EACH = 0.01
"""More time for each worker that there is: the scheduler has to describe them all."""
FAREWELL_S = 1.0
"""How long the driver tries to tell workers that the run ends early."""


def in_dask(
    client: Client, tasks: Sequence[Task], work: Work[Task, Result], terms: Terms
) -> Generator[tuple[Task, Result | Lost]]:
    """Do tasks on the workers of a cluster, those that come later too; results as they come.

    Parameters
    ----------
    client
        Of the cluster.
    tasks
        In order of preference.
    work
        What is done with each. `prepare` is called with two more arguments than `work` has:
        :class:`bids_nodereg.app.dask_worker.Machine`, and an event that is set when the run ends early.
    terms
        On which workers.

    Yields
    ------
    task, result
        `Lost` in place of a result where the worker was lost over the task; it is not done again here.

    Raises
    ------
    TemporaryError
        If the scheduler is lost, or has no worker that may be used and there is none to wait for.
    NodeRegError
        If no worker can be used: the reason of one.
    """
    crew = _Crew(client, tasks, work, terms)
    try:
        while crew.hand_out():
            yield from crew.hear()
    finally:
        crew.end()


@dataclass(frozen=True)
class _Said:
    """A line for the log."""

    level: int
    text: str


class _Crew(Generic[Task, Result]):
    """The workers and what they have to do."""

    def __init__(self, client: Client, tasks: Sequence[Task], work: Work[Task, Result], terms: Terms) -> None:
        self._client = client
        self._terms = terms
        self._waiting: Waiting[Task] = work.wait(tasks)
        self._work = pickle.dumps((work.prepare, work.arguments))
        self._why_unfit = work.why_unfit
        self._workers: dict[str, Member[Task]] = {}
        self._unfit: dict[str, NodeRegError] = {}
        self._leaving: set[str] = set()
        """Workers that others take the place of."""
        self._told: set[str] = set()
        self._given = 0
        self._has_worked = False
        """Whether a worker was ever ready."""
        self._heard: SimpleQueue[_Said | str] = SimpleQueue()
        self._looked = float("-inf")
        self._patience = Patience(is_ours=terms.is_ours)
        client.subscribe_topic(terms.run, self._take_line)
        self._look()

    def hand_out(self) -> bool:
        """Give idle workers something to do; whether anything is or will be done.

        Raises
        ------
        RuntimeError
            If tasks wait for one another.
        """
        for worker in self._workers.values():
            if worker.is_idle and worker.is_ready:
                self._give_next(worker)
        self._begin_missing()
        has_ready = self._waiting.has_ready()
        is_busy = any(worker.future is not None for worker in self._workers.values())
        if not len(self._waiting) or is_busy:
            return is_busy
        if not has_ready:
            msg = f"{len(self._waiting)} tasks wait for one another"
            raise RuntimeError(msg)
        self._check_patience()
        return True

    def hear(self) -> Iterator[tuple[Task, Result | Lost]]:
        """Wait until a worker says something, or it is time to look after them; the results there are."""
        try:
            said = self._heard.get(timeout=POLL_S)
        except Empty:
            pass
        else:
            yield from self._of(said)
        if time.monotonic() - self._looked > POLL_S + POLL_S_EACH * len(self._workers):
            yield from self._look_after_all()

    def end(self) -> None:
        """Let go of the workers; what is under way where the run ends early is told to end."""
        if self._client.status != "running":
            return
        for worker in self._all:
            if worker.future is not None:
                worker.future.cancel()
        known = [worker.address for worker in self._all if worker.is_ready or worker.future is not None]
        if known:
            tell = partial(self._client.run, end, self._terms.run, workers=known, on_error="ignore")
            _beside(tell).join(FAREWELL_S)

    def _take_line(self, event: tuple[float, list[Any]]) -> None:
        """Put a line of a worker in order with the results. Called in the thread of the client."""
        level, text = event[1]
        self._heard.put(_Said(level, text))

    def _of(self, said: _Said | str) -> Iterator[tuple[Task, Result | Lost]]:
        if isinstance(said, _Said):
            LOG.log(said.level, "%s", said.text)
            return
        worker = self._workers.get(said)
        if worker is not None and worker.future is not None and worker.future.done():
            yield from self._ended(worker, worker.future)

    def _ended(self, worker: Member[Task], future: Future[Any]) -> Iterator[tuple[Task, Result | Lost]]:
        """Take what a worker has done, or how it failed."""
        worker.future = None
        task, worker.task = worker.task, None
        done = _outcome(future)
        if task is None:
            self._begun(worker, done)
            return
        worker.last = task
        if isinstance(done, Done):
            self._waiting.end(task)
            if done.result is not None and (told := self._why_unfit(done.result)):
                self._lose_place(worker, TemporaryError(f"dask worker {worker.place}: {told}."))
            self._renew(worker, done.rss_mib)
            stopped = Lost(f"stopped with the dask worker {worker.name}")
            yield task, stopped if done.result is None else done.result
            return
        _workers_of(self._client)  # a scheduler that is lost is no fault of the pair
        self._waiting.end(task)
        self._workers.pop(worker.address, None)  # looked at anew, should it be there still
        yield task, Lost(f"lost with the dask worker {worker.name}{why(done)}")

    def _lose_place(self, worker: Member[Task], reason: NodeRegError) -> None:
        """Use the place of a worker no more in this run."""
        self._terms.places.lose(worker.place, reason, self._count_others(worker))
        self._dismiss(worker, reason)

    def _count_others(self, worker: Member[Task]) -> int:
        """How many workers there are beside one; where none is known, those that are new are looked for."""
        if not any(each is not worker for each in self._all):
            self._look()
        return sum(each is not worker for each in self._all)

    def _renew(self, worker: Member[Task], rss_mib: float) -> None:
        """Have a worker started afresh that has done its share, or has grown."""
        worker.done += 1
        worker.first_mib = worker.first_mib or rss_mib
        is_fit = worker.done < MOST_TASKS and rss_mib < worker.first_mib + MOST_GROWTH_MIB
        if self._terms.is_ours and not is_fit and worker.address in self._workers:
            del self._workers[worker.address]
            self._leaving.add(worker.address)
            _beside(partial(self._client.restart_workers, [worker.address], raise_for_error=False))

    def _begun(self, worker: Member[Task], done: Any) -> None:
        """Take note that a worker is ready, or why it is not."""
        worker.is_ready = not isinstance(done, BaseException)
        self._has_worked |= worker.is_ready
        if worker.is_ready:
            self._patience.begun()
        elif type(done).__name__ == "KilledWorker":
            self._count_false_start(worker)
        else:
            _workers_of(self._client)
            self._lose_place(worker, as_refusal(worker, done))

    def _count_false_start(self, worker: Member[Task]) -> None:
        """A worker died before it was ready."""
        self._workers.pop(worker.address, None)
        self._patience.lose(worker.name)

    def _give_next(self, worker: Member[Task]) -> None:
        if self._terms.one_per_host and self._is_host_busy(worker.host):
            return
        task = self._waiting.take(worker.last)
        if task is not None:
            worker.task = task
            self._submit(worker, do, pickle.dumps(task))

    def _is_host_busy(self, host: str) -> bool:
        return any(each.host == host and each.future is not None for each in self._workers.values())

    def _begin_missing(self) -> None:
        """Let workers get ready, as many as there is something to do for."""
        if not self._waiting.has_ready():
            return
        wanted = len(self._waiting) - sum(each.future is not None and each.task is None for each in self._all)
        for worker in [each for each in self._all if each.is_idle and not each.is_ready][: max(wanted, 0)]:
            if not (self._terms.one_per_host and self._is_host_busy(worker.host)):
                self._submit(worker, begin, self._work)

    @property
    def _all(self) -> list[Member[Task]]:
        return list(self._workers.values())

    def _submit(self, worker: Member[Task], function: Callable[..., Any], content: bytes) -> None:
        self._given += 1
        worker.future = self._client.submit(
            function,
            self._terms.run,
            content,
            key=f"nodereg-{self._terms.run}-{self._given}",
            workers=[worker.address],
            resources=dict(self._terms.resources),
            pure=False,
            retries=0,
        )
        worker.future.add_done_callback(lambda _, address=worker.address: self._heard.put(address))

    def _look_after_all(self) -> Iterator[tuple[Task, Result | Lost]]:
        """See which workers are lost, and which are new."""
        there = self._look()
        for worker in [each for each in self._all if each.address not in there]:
            future = worker.future
            del self._workers[worker.address]
            if future is None:
                continue
            if future.done():  # its result came just before
                yield from self._ended(worker, future)
            else:
                yield from self._lost(worker, future)

    def _lost(self, worker: Member[Task], future: Future[Any]) -> Iterator[tuple[Task, Result | Lost]]:
        future.cancel()  # else dask would do it again on a worker of the same address
        if worker.task is None:
            self._count_false_start(worker)
            return
        self._waiting.end(worker.task)
        yield worker.task, Lost(f"lost with the dask worker {worker.name}")

    def _look(self) -> Mapping[str, Any]:
        """Ask the scheduler for its workers, and take note of the new ones.

        Raises
        ------
        TemporaryError
            If it does not answer.
        """
        there = _workers_of(self._client)
        self._looked = time.monotonic()
        for address, told in there.items():
            if address in self._workers:
                self._workers[address].is_running = told.get("status", "running") == "running"
        self._meet({address: told for address, told in there.items() if self._is_new(address)})
        is_useful = any(worker.is_running for worker in self._workers.values())
        self._patience.see(is_useful=is_useful, may_come=is_useful or self._may_come())
        return there

    def _may_come(self) -> bool:
        """Whether a worker of use may still come; to a given cluster one always may."""
        if not self._terms.is_ours:
            return True
        return any(self._terms.places.why_lost(name) is None for name in names_of_started(self._client))

    def _is_new(self, address: str) -> bool:
        return not any(address in known for known in (self._workers, self._unfit, self._leaving))

    def _meet(self, new: Mapping[str, Mapping[str, Any]]) -> None:
        """Take new workers in, or note why one cannot be used."""
        refused = self._terms.refused(new)
        for address, told in new.items():
            worker: Member[Task] = Member(address, told, has_lasting_name=self._terms.is_ours)
            if (lost := self._terms.places.why_lost(worker.place)) is not None:
                self._unfit[address] = lost  # which was said when it was lost
            elif address in refused:
                self._dismiss(worker, refused[address])
            else:
                self._workers[address] = worker

    def _dismiss(self, worker: Member[Task], reason: NodeRegError) -> None:
        """Use a worker no more; each reason is said once."""
        self._workers.pop(worker.address, None)
        self._unfit[worker.address] = reason
        general = str(reason).replace(worker.address, "")
        if general not in self._told:
            self._told.add(general)
            LOG.warning("%s It is not used.", str(reason)[:1].upper() + str(reason)[1:])

    def _check_patience(self) -> None:
        """Raise an error where no worker can be used and none is to be expected."""
        if self._unfit and not self._workers and not (self._has_worked and self._terms.places.has_left):
            raise self._why_none()
        self._patience.check(paused=len(self._workers))

    def _why_none(self) -> NodeRegError:
        """Say why no worker is used."""
        lost = self._terms.places.first_loss()
        if lost is None:
            return next(iter(self._unfit.values()))
        is_passing = self._has_worked or isinstance(lost, TemporaryError)
        return self._terms.places.none_left() if is_passing else lost


def _beside(call: Callable[[], Any]) -> threading.Thread:
    """Do something that need not be waited for."""
    thread = threading.Thread(target=call, name="nodereg-dask", daemon=True)
    thread.start()
    return thread


def _workers_of(client: Client) -> Mapping[str, Any]:
    """Every worker that the scheduler has, by its address.

    Raises
    ------
    TemporaryError
        If the scheduler is lost.
    """
    try:
        if client.status == "running":
            workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
            return workers
    except (OSError, TimeoutError) as error:
        LOG.debug("scheduler: %s", error)
    address = getattr(client.scheduler, "address", "")
    msg = f"the dask scheduler {address} is lost. Run the same command again, with one that runs, to go on."
    raise TemporaryError(msg)


def _outcome(future: Future[Any]) -> Any:
    """Result of a future that has ended, or what kept it from one."""
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - of a worker, whatever it is
        return error
