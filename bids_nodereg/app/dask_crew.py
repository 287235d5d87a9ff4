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
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bids_nodereg.app.dask_places import Places
from bids_nodereg.app.dask_worker import Done, begin, do, end
from bids_nodereg.app.workers import MOST_GROWTH_MIB, MOST_TASKS, Lost, Waiting, Work
from bids_nodereg.errors import NodeRegError, TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from distributed import Client, Future

Task = TypeVar("Task")
Result = TypeVar("Result")

LOG = logging.getLogger("nodereg")

POLL_S = 1.0
"""Least time between looks at which workers there are."""
POLL_S_EACH = 0.01
"""More time for each worker that there is: the scheduler has to describe them all."""
PATIENCE_S = 300.0
"""How long a cluster without a worker is waited for."""
FAREWELL_S = 1.0
"""How long the driver tries to tell workers that the run ends early."""
MOST_FALSE_STARTS = 5
"""Workers that may be lost one after the other before one is ready."""


@dataclass(frozen=True)
class Terms:
    """On which workers a run works, and how.

    Attributes
    ----------
    run
        Its name: unique among all that use the cluster.
    check
        Takes addresses of new workers; gives for those that cannot be used the reason.
    resources
        What dask sets aside on a worker for each task, as ``{"GPU": 1}``; a worker that does not offer it is
        not used.
    one_per_host
        Whether a task is to have the machine for itself.
    is_ours
        Whether the workers are of this run alone: then they are started afresh as those of
        :mod:`bids_nodereg.app.workers` are, and one that is started again has the name that it had.
    places
        Which workers are not used any more; those whose place is lost are added to it.
    """

    run: str
    check: Callable[[Sequence[str]], Mapping[str, NodeRegError]]
    resources: Mapping[str, float] = field(default_factory=dict)
    one_per_host: bool = False
    is_ours: bool = False
    places: Places = field(default_factory=Places)


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
        If the scheduler is lost, has no worker for :data:`PATIENCE_S`, or none but such as are lost.
    NodeRegError
        If no worker can be used: the reason of one.
    """
    crew = _Crew(client, tasks, work, terms)
    try:
        while crew.hand_out():
            yield from crew.hear()
    finally:
        crew.end()


class _Worker(Generic[Task]):
    """One worker, as the driver sees it."""

    def __init__(self, address: str, told: Mapping[str, Any], terms: Terms) -> None:
        self.address = address
        self.host = str(told.get("host", address))
        name = str(told.get("name", address))
        self.name = address if name == address else f"{address} ({name})"
        self.place = name if terms.is_ours else address
        """What stays the same when it is started again on the GPU that it had, as far as can be known."""
        self.is_running = True
        self.is_ready = False
        """Whether it has said that it is ready."""
        self.future: Future[Any] | None = None
        """What it is doing: getting ready, or its task."""
        self.task: Task | None = None
        self.last: Task | None = None
        self.done = 0
        self.first_mib = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it may be given something."""
        return self.future is None and self.is_running


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
        self._workers: dict[str, _Worker[Task]] = {}
        self._unfit: dict[str, NodeRegError] = {}
        self._leaving: set[str] = set()
        """Workers that others take the place of."""
        self._told: set[str] = set()
        self._given = 0
        self._false_starts = 0
        self._has_worked = False
        """Whether a worker was ever ready."""
        self._heard: SimpleQueue[_Said | str] = SimpleQueue()
        self._looked = float("-inf")
        self._useful = time.monotonic()
        """When there was a worker last."""
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

    def _ended(self, worker: _Worker[Task], future: Future[Any]) -> Iterator[tuple[Task, Result | Lost]]:
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
            if done.result is not None and (why := self._why_unfit(done.result)):
                self._dismiss(worker, self._terms.places.lose(worker.place, why, self._count_others(worker)))
            self._renew(worker, done.rss_mib)
            stopped = Lost(f"stopped with the dask worker {worker.name}")
            yield task, stopped if done.result is None else done.result
            return
        _workers_of(self._client)  # a scheduler that is lost is no fault of the pair
        self._waiting.end(task)
        self._workers.pop(worker.address, None)  # looked at anew, should it be there still
        yield task, Lost(f"lost with the dask worker {worker.name}{_why(done)}")

    def _count_others(self, worker: _Worker[Task]) -> int:
        """How many workers there are beside one; where none is known, those that are new are looked for."""
        if not any(each is not worker for each in self._all):
            self._look()
        return sum(each is not worker for each in self._all)

    def _renew(self, worker: _Worker[Task], rss_mib: float) -> None:
        """Have a worker started afresh that has done its share, or has grown."""
        worker.done += 1
        worker.first_mib = worker.first_mib or rss_mib
        is_fit = worker.done < MOST_TASKS and rss_mib < worker.first_mib + MOST_GROWTH_MIB
        if self._terms.is_ours and not is_fit and worker.address in self._workers:
            del self._workers[worker.address]
            self._leaving.add(worker.address)
            _beside(partial(self._client.restart_workers, [worker.address], raise_for_error=False))

    def _begun(self, worker: _Worker[Task], done: Any) -> None:
        """Take note that a worker is ready, or why it is not."""
        worker.is_ready = not isinstance(done, BaseException)
        self._has_worked |= worker.is_ready
        if worker.is_ready:
            self._false_starts = 0
        elif type(done).__name__ == "KilledWorker":
            self._count_false_start(worker)
        else:
            _workers_of(self._client)
            self._dismiss(worker, _as_refusal(worker, done))

    def _count_false_start(self, worker: _Worker[Task]) -> None:
        """A worker died before it was ready; another may take its place, but not for ever."""
        self._workers.pop(worker.address, None)
        self._false_starts += 1
        if self._false_starts == MOST_FALSE_STARTS:
            msg = (
                f"{self._false_starts} dask workers were lost before they were ready, the last was "
                f"{worker.name}. Look into their logs, and for the kernel's out-of-memory messages (dmesg)."
            )
            raise TemporaryError(msg)

    def _give_next(self, worker: _Worker[Task]) -> None:
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
    def _all(self) -> list[_Worker[Task]]:
        return list(self._workers.values())

    def _submit(self, worker: _Worker[Task], function: Callable[..., Any], content: bytes) -> None:
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

    def _lost(self, worker: _Worker[Task], future: Future[Any]) -> Iterator[tuple[Task, Result | Lost]]:
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
        if any(worker.is_running for worker in self._workers.values()):
            self._useful = self._looked
        return there

    def _is_new(self, address: str) -> bool:
        return not any(address in known for known in (self._workers, self._unfit, self._leaving))

    def _meet(self, new: Mapping[str, Mapping[str, Any]]) -> None:
        """Take new workers in, or note why one cannot be used."""
        poor = [address for address, told in new.items() if not _offers(told, self._terms.resources)]
        refused: dict[str, NodeRegError] = {address: _no_offer(address, self._terms) for address in poor}
        if able := [address for address in new if address not in refused]:
            refused.update(self._terms.check(able))
        for address, told in new.items():
            worker: _Worker[Task] = _Worker(address, told, self._terms)
            if (lost := self._terms.places.why_lost(worker.place)) is not None:
                self._unfit[address] = lost  # which was said when it was lost
            elif address in refused:
                self._dismiss(worker, refused[address])
            else:
                self._workers[address] = worker

    def _dismiss(self, worker: _Worker[Task], reason: NodeRegError) -> None:
        """Use a worker no more; each reason is said once."""
        self._workers.pop(worker.address, None)
        self._unfit[worker.address] = reason
        general = str(reason).replace(worker.address, "")
        if general not in self._told:
            self._told.add(general)
            LOG.warning("%s It is not used.", str(reason)[:1].upper() + str(reason)[1:])

    def _check_patience(self) -> None:
        """Raise an error where no worker can be used and none is to be expected."""
        places = self._terms.places
        if self._unfit and not self._workers and not (self._has_worked and places.has_left):
            if (lost := places.first_loss()) is None:
                raise next(iter(self._unfit.values()))
            msg = f"No dask worker is left that may be used. Run the same command again to go on. {lost}"
            raise TemporaryError(msg)
        if time.monotonic() - self._useful > PATIENCE_S:
            paused = f", and {len(self._workers)} that are paused (--memory-limit)" if self._workers else ""
            msg = (
                f"the dask scheduler has had no worker of use for {PATIENCE_S / 60:.0f} min{paused}. "
                "Start workers (dask worker ADDRESS), and run the same command again to go on."
            )
            raise TemporaryError(msg)


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


def _why(done: object) -> str:
    """What kept a task from its result, where that is more than the loss of its worker."""
    if done is None:
        return ""
    return f" [{type(done).__name__}: {str(done).partition(chr(10))[0][:300]}]"


def _as_refusal(worker: _Worker[Any], error: BaseException) -> NodeRegError:
    """Say why a worker did not get ready, as an error of ours."""
    if isinstance(error, NodeRegError):
        return type(error)(f"dask worker {worker.address}: {error}")
    return TemporaryError(f"dask worker {worker.address} did not get ready{_why(error)}.")


def _offers(told: Mapping[str, Any], resources: Mapping[str, float]) -> bool:
    offered = told.get("resources", {})
    return all(offered.get(name, 0) >= amount for name, amount in resources.items())


def _no_offer(address: str, terms: Terms) -> NodeRegError:
    asked = " ".join(f"{name}={amount:g}" for name, amount in terms.resources.items())
    return UsageError(
        f"dask worker {address} does not offer {asked}. Start each with one GPU to see and "
        f'dask worker ADDRESS --resources "{asked}", or use --device cpu.'
    )
