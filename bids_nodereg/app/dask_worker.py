"""What runs in the processes of a dask cluster: a look around, and one pair after the other.

Nothing heavy is imported here: functions of this module are called in the event loops of scheduler and
workers, which must go on answering. What computes is unpickled in the thread of a task.
"""

from __future__ import annotations

import os
import pickle
import platform
import signal
import threading
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from bids_nodereg import __version__
from bids_nodereg.app.log import log_to
from bids_nodereg.app.served import resident_mib
from bids_nodereg.waiting import wait_asleep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """Versions of what decides the numbers and of what is sent between processes."""

    nodereg: str
    torch: str
    python: str


@dataclass(frozen=True)
class Look:
    """What a worker sees.

    Attributes
    ----------
    environment
        Its versions.
    missing
        Folders that are not there.
    read_only
        Folders that it may not write to.
    """

    environment: Environment
    missing: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What a worker may use, as it was started.

    Attributes
    ----------
    threads
        Its ``--nthreads``.
    memory
        Its ``--memory-limit`` in bytes; None for no limit.
    """

    threads: int
    memory: int | None


@dataclass(frozen=True)
class Done:
    """A task that came to its end: its result, None where the run was stopped, and the memory held then.

    Attributes
    ----------
    result
        What the task gave.
    rss_mib
        Resident memory of the worker.
    """

    result: Any
    rss_mib: float


def environment() -> Environment:
    """Versions of this process. Builds of torch for other devices are alike."""
    python = ".".join(platform.python_version_tuple()[:2])
    return Environment(__version__, metadata.version("torch").partition("+")[0], python)


def look(to_read: tuple[Path, ...], to_write: tuple[Path, ...], is_ours: bool) -> Look:  # noqa: FBT001
    """Look for folders. A worker of this run alone leaves signals to the driver from now on."""
    if is_ours:
        for name in ("SIGINT", "SIGUSR1"):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    missing = tuple(path for path in (*to_read, *to_write) if not path.is_dir())
    read_only = tuple(path for path in to_write if path not in missing and not os.access(path, os.W_OK))
    return Look(environment(), missing, read_only)


class _Bench:
    """Where this process works for one run.

    Parameters
    ----------
    tell
        Takes a line for the log of the run.
    work
        Pickled function that is called once and gives what does a task, and its arguments. It is called
        with two more: :class:`Machine`, and an event that is set when the run is to end.
    machine
        What it may use.
    """

    def __init__(self, tell: Callable[[int, str], None], work: bytes, machine: Machine) -> None:
        self.stop = threading.Event()
        log_to(tell)
        self._tell = tell
        wait_asleep()
        prepare, arguments = pickle.loads(work)  # noqa: S301 # nosec B301 - of our driver, as this function
        self._do: Callable[[Any], Any] = prepare(*arguments, machine, self.stop)

    def do(self, task: bytes) -> Any:
        """Do one task; None where the run was stopped meanwhile."""
        log_to(self._tell)  # another run may have been here
        try:
            return self._do(pickle.loads(task))  # noqa: S301 # nosec B301
        except KeyboardInterrupt:  # would end the worker, which may be others' too
            return None


@cache
def _benches() -> dict[str, _Bench]:
    """Every run that this process works for, by its name."""
    return {}


@cache
def _turn() -> threading.Lock:
    """Held by who computes: threads of the libraries and the log belong to the whole process."""
    return threading.Lock()


def begin(run: str, work: bytes) -> None:
    """Make this process ready for a run. A task of dask's.

    Raises
    ------
    Exception
        Whatever keeps it from being ready.
    """
    from distributed import get_worker

    worker = get_worker()

    def tell(level: int, text: str) -> None:
        worker.log_event(run, [level, text])

    machine = Machine(worker.state.nthreads, worker.memory_manager.memory_limit or None)
    with _turn():
        _benches()[run] = _Bench(tell, work, machine)


def do(run: str, task: bytes) -> Done:
    """Do one task of a run that this process is ready for. A task of dask's."""
    bench = _benches()[run]
    with _turn():
        result = None if bench.stop.is_set() else bench.do(task)
    return Done(result, resident_mib())


def end(run: str) -> None:
    """Let what is under way for a run end soon, and forget it. Called in the event loop."""
    bench = _benches().pop(run, None)
    if bench is not None:
        bench.stop.set()
