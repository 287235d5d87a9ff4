"""The dask cluster of a run: one that is given, or one of this machine that ends with the run."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.dask_worker import Environment, environment
from bids_nodereg.app.gpus import VARIABLE
from bids_nodereg.errors import NodeRegError, TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from distributed import Client, SpecCluster

LOG = logging.getLogger("nodereg")

LOOPBACK = "127.0.0.1"
CONNECT_S = 30.0
"""How long a scheduler is waited for."""
RETURN_S = 60
"""How long a worker of this machine that was lost may take to be there again before dask gives it up. Its own
15 s are short where Python is read from a slow disk."""


@dataclass(frozen=True)
class LocalWorkers:
    """Workers of a cluster of this machine.

    Attributes
    ----------
    count
        How many there are, where there is no GPU for them.
    gpus
        Name of each, and what it is to have as ``CUDA_VISIBLE_DEVICES``; empty for none.
    """

    count: int
    gpus: Mapping[str, str] = field(default_factory=dict)


def check_dask(*, is_given: bool) -> None:
    """Make sure that what dask needs is installed; nothing is loaded.

    Parameters
    ----------
    is_given
        Whether there is a cluster already: one of this machine also needs a key.

    Raises
    ------
    UsageError
        If it is not.
    """
    needed = ("dask", "distributed") if is_given else ("dask", "distributed", "cryptography")
    for name in needed:
        if find_spec(name) is None:
            what = f"there is no module {name!r}"
            raise _lacks(what)


def names_of_started(client: Client) -> list[str]:
    """Names of the workers of a cluster of this machine that are there, or are being started again."""
    gone = {"closing", "closing_gracefully", "closed", "failed"}
    cluster: Any = client.cluster
    return [str(name) for name, nanny in list(cluster.workers.items()) if nanny.status.name not in gone]


@contextmanager
def given_cluster(place: str) -> Iterator[Client]:
    """Connect to a scheduler.

    Parameters
    ----------
    place
        Its address, or the path of its scheduler file.

    Yields
    ------
    distributed.Client
        TLS and time-outs are those of dask's own configuration.

    Raises
    ------
    TemporaryError
        If nothing answers.
    UsageError
        If the address is none, or dask is not installed.
    NodeRegError
        If the scheduler has other versions.
    """
    is_file = Path(place).is_file()
    if not is_file and not re.search(r":\d+$", place):
        msg = (
            f"--dask-scheduler {place}: there is no such file; expected an address such as tcp://"
            "10.0.0.1:8786, with its port, or a scheduler file."
        )
        raise UsageError(msg)
    where = {"scheduler_file": place} if is_file else {"address": place}
    with _quiet():
        client = _connect(where, place)
        try:
            _check_scheduler(client, place)
            yield client
        finally:
            client.close(timeout=2)


@contextmanager
def local_cluster(workers: LocalWorkers) -> Iterator[Client]:
    """Start a scheduler in this process and workers in processes of their own, for this block.

    Nothing listens but on the loopback interface, and who connects has to have the key made for this run.

    Raises
    ------
    UsageError
        If dask is not installed.
    TemporaryError
        If no process can be started.
    """
    with _quiet(), _patient(), _cluster(workers) as cluster:
        client = _connect({"address": cluster}, "of this machine")
        try:
            yield client
        finally:
            client.close(timeout=2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave it to us to say what happens: dask tells of each worker that comes and goes, with tracebacks."""
    try:
        import distributed  # noqa: F401 - it sets up its loggers, once
    except ImportError as error:
        raise _lacks(str(error)) from error
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    theirs = [logger for logger in map(logging.getLogger, names) if not logger.disabled]
    for logger in theirs:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in theirs:
            logger.disabled = False


def _patient() -> AbstractContextManager[object]:
    """Have dask wait longer for a worker that is started again."""
    import dask

    return dask.config.set({"distributed.deploy.lost-worker-timeout": RETURN_S})


def _connect(where: Mapping[str, Any], place: str) -> Client:
    """Connect to a scheduler; see :func:`given_cluster`."""
    from distributed import Client

    try:
        return Client(**where, timeout=CONNECT_S, set_as_default=False)
    except OSError as error:  # a time-out too
        msg = (
            f"--dask-scheduler {place}: no scheduler answers there within {CONNECT_S:.0f} s "
            f"({_first_line(error)}). Start one (dask scheduler), or check address, firewall and TLS."
        )
        raise TemporaryError(msg) from error
    except (ValueError, TypeError) as error:
        msg = (
            f"--dask-scheduler {place}: expected an address such as tcp://10.0.0.1:8786, or a scheduler file "
            f"({_first_line(error)})."
        )
        raise UsageError(msg) from error


def _check_scheduler(client: Client, place: str) -> None:
    """Refuse a scheduler with another environment: it unpickles what goes to the workers.

    Raises
    ------
    UsageError
        If its versions differ.
    """
    try:
        theirs = client.run_on_scheduler(environment)
    except Exception as error:
        msg = f"--dask-scheduler {place}: it has no nodereg of this version ({_first_line(error)}). "
        msg += "Start scheduler and workers from the environment, or the container, of this program."
        raise UsageError(msg) from error
    if told := why_other(theirs):
        msg = f"--dask-scheduler {place}: {told}"
        raise UsageError(msg)


def why_other(theirs: Environment) -> str:
    """Say in what another process differs from this one; empty where it does not."""
    ours = environment()
    names = [name for name in ("nodereg", "torch", "python") if getattr(theirs, name) != getattr(ours, name)]
    if not names:
        return ""
    found = ", ".join(f"{name} {getattr(theirs, name)}" for name in names)
    wanted = ", ".join(f"{name} {getattr(ours, name)}" for name in names)
    return f"it has {found}; this program has {wanted}. Start all from one environment or container."


def _cluster(workers: LocalWorkers) -> SpecCluster:
    """Start the scheduler and the workers of this machine."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.security import Security

    try:
        security = Security.temporary()
    except ImportError as error:  # it needs cryptography
        raise _lacks(str(error)) from error
    # The web servers of dask cannot be left out: they have nothing to show, and nobody else reaches them.
    here = {
        "host": LOOPBACK,
        "protocol": "tls://",
        "security": security,
        "dashboard": False,
        "dashboard_address": f"{LOOPBACK}:0",
    }
    scheduler = {"cls": Scheduler, "options": here}
    specs = {
        name: {"cls": Nanny, "options": {**here, **options}} for name, options in _options_of(workers).items()
    }
    routes: dict[str, list[str]] = {f"distributed.{each}.http.routes": [] for each in ("scheduler", "worker")}
    try:
        with dask.config.set(routes):
            return SpecCluster(workers=specs, scheduler=scheduler, security=security, name="nodereg")
    except (RuntimeError, OSError) as error:
        msg = (
            f"the dask workers of this machine did not start ({_first_line(error)}). Use fewer, or --n-procs."
        )
        raise TemporaryError(msg) from error


def _options_of(workers: LocalWorkers) -> dict[str | int, dict[str, Any]]:
    """What each worker of this machine is started with, by its name: pairs plan their memory themselves."""
    one: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    if not workers.gpus:
        return dict.fromkeys(range(workers.count), one)
    return {
        name: {**one, "resources": {"GPU": 1}, "env": {VARIABLE: gpu}} for name, gpu in workers.gpus.items()
    }


def _lacks(what: str) -> NodeRegError:
    return UsageError(
        f'--executor dask needs what is not installed ({what}): pip install "bids-nodereg[cluster]", in a '
        'clone ".[cluster]".'
    )


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
