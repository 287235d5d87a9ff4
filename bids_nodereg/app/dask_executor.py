"""Pairs on the workers of a dask cluster, told by the one process that has the run."""

from __future__ import annotations

import logging
import secrets
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from bids_nodereg.app.dask_cluster import LocalWorkers, given_cluster, local_cluster, why_other
from bids_nodereg.app.dask_crew import in_dask
from bids_nodereg.app.dask_terms import Terms
from bids_nodereg.app.dask_worker import look
from bids_nodereg.app.device import use_threads
from bids_nodereg.app.executors import lost_status, marks_cleared, prepare_worker, why_unfit
from bids_nodereg.app.turns import TimedTurns
from bids_nodereg.app.workers import Lost, Work
from bids_nodereg.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event

    from distributed import Client

    from bids_nodereg.app.dask_gpus import Places
    from bids_nodereg.app.dask_worker import Look, Machine
    from bids_nodereg.app.executors import Turn
    from bids_nodereg.app.pages import Pages
    from bids_nodereg.app.shared import Run
    from bids_nodereg.app.status import Status
    from bids_nodereg.config import Resources, RunConfig
    from bids_nodereg.errors import NodeRegError

LOG = logging.getLogger("nodereg")

GPU = {"GPU": 1.0}
"""What a worker with a GPU offers, by the custom of dask, and a pair takes."""
MEMORY_SHARE = 0.8
"""Of the ``--memory-limit`` of a worker: with more, dask gives it nothing to do, or ends it."""
MB = 10**6


def on_dask(
    turns: Sequence[Turn],
    after: Callable[[Turn, Status], Status],
    *,
    config: RunConfig,
    run: Run,
    places: Places,
) -> Generator[Status]:
    """As many pairs at a time as there are workers; pairs that are tried again one on each machine.

    A GPU that is lost is not used again, and its pair is put back; the loss of the last one ends the run.

    Raises
    ------
    NodeRegError
        If there is no cluster, it cannot be used, or it is lost.
    """
    if not turns:
        return
    waiting = TimedTurns(turns, run.limit)
    results = _results(turns, waiting, config, run, places)
    with closing(marks_cleared(results, waiting, run)) as ended:
        for turn, result in ended:
            yield after(turn, _status_of(turn, result, places))


def _results(
    turns: Sequence[Turn], waiting: TimedTurns, config: RunConfig, run: Run, places: Places
) -> Generator[tuple[Turn, Status | Lost]]:
    """What the workers of the cluster that was asked for give; it is left when this ends."""
    with _cluster(config.resources, places) as client:
        terms = _terms(client, turns, config, run, places)
        arguments = (_of_worker(config, terms), run.run_id, run.folder, run.pages)
        work = Work(prepare_pairs, arguments, lambda _turns: waiting, why_unfit=why_unfit)
        yield from in_dask(client, turns, work, terms)


def _terms(client: Client, turns: Sequence[Turn], config: RunConfig, run: Run, places: Places) -> Terms:
    """On which workers the turns are done, and how."""
    return Terms(
        f"{run.run_id}/{secrets.token_hex(4)}",  # what a round before has left is none of this one's
        partial(_refused, client, config, run.folder),
        _asked_of(client, config.resources),
        one_per_host=any(turn.is_last for turn in turns),
        is_ours=config.resources.dask_scheduler is None,
        places=places,
    )


def _of_worker(config: RunConfig, terms: Terms) -> RunConfig:
    """The configuration as a worker gets it: one that was taken for its GPU must not begin on the CPU."""
    device = "cuda" if terms.resources else config.resources.device
    return replace(config, resources=replace(config.resources, device=device))


def prepare_pairs(
    config: RunConfig, run_id: str, folder: Path, pages: Pages, machine: Machine, stop: Event
) -> Callable[[Turn], Status]:
    """Make a worker of a cluster ready; gives what does one pair in it."""
    resources = _of_machine(config.resources, machine)
    do = prepare_worker(replace(config, resources=resources), run_id, folder, pages, stop)
    threads = torch.get_num_threads()

    def do_in_thread(turn: Turn) -> Status:
        use_threads(threads)  # each task may have another thread of Python's
        return do(turn)

    return do_in_thread


def _cluster(resources: Resources, places: Places) -> AbstractContextManager[Client]:
    """The cluster that was asked for; on this machine, with the GPUs that are left.

    Raises
    ------
    TemporaryError
        If none of them is.
    """
    if resources.dask_scheduler is not None:
        LOG.info("Waiting for the dask scheduler %s", resources.dask_scheduler)
        return given_cluster(resources.dask_scheduler)
    places.check_gpus()
    gpus = places.gpus_left()
    count = len(gpus) or resources.n_procs
    LOG.info("Starting %d dask worker(s) on this machine", count)
    return local_cluster(LocalWorkers(count, gpus))


def _asked_of(client: Client, resources: Resources) -> Mapping[str, float]:
    """What a worker has to offer: a GPU where one is asked for, or where workers offer some."""
    if resources.device == "cpu":
        return {}
    if resources.device == "cuda":
        return GPU
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return GPU if any(told.get("resources", {}).get("GPU") for told in workers) else {}


def _of_machine(resources: Resources, machine: Machine) -> Resources:
    """What a pair may use on a worker: of a cluster that is given, what the worker was started with."""
    if resources.dask_scheduler is None:
        return resources
    limit = None if machine.memory is None else int(machine.memory * MEMORY_SHARE / MB)
    limits = [mb for mb in (resources.mem_mb, limit) if mb is not None]
    return replace(
        resources, omp_nthreads=resources.threads or machine.threads, mem_mb=min(limits, default=None)
    )


def _refused(
    client: Client, config: RunConfig, folder: Path, addresses: Sequence[str]
) -> dict[str, NodeRegError]:
    """Look at new workers; why those that cannot be used cannot."""
    to_read = (config.bids_dir, *config.derivatives.values())
    is_ours = config.resources.dask_scheduler is None
    seen = client.run(look, to_read, (folder,), is_ours, workers=list(addresses), on_error="return")
    found = {address: _why_refused(address, seen.get(address)) for address in addresses}
    return {address: error for address, error in found.items() if error is not None}


def _why_refused(address: str, seen: Look | BaseException | None) -> NodeRegError | None:
    """Say why a worker cannot be used; None where it can."""
    worker = f"dask worker {address}:"
    if seen is None or isinstance(seen, BaseException):
        return UsageError(
            f"{worker} it has no nodereg of this version ({type(seen).__name__}: {seen}). Start scheduler "
            "and workers from the environment, or the container, of this program."
        )
    if told := why_other(seen.environment):
        return UsageError(f"{worker} {told}")
    if seen.missing:
        return OutputError(
            f"{worker} {seen.missing[0]} is not there. Data and output have to be on a file system that all "
            "share, under the same paths."
        )
    if seen.read_only:
        return OutputError(f"{worker} {seen.read_only[0]} may not be written to. Mount it writable.")
    return None


def _status_of(turn: Turn, result: Status | Lost, places: Places) -> Status:
    """How a pair ended on a worker, told apart by whether others are left where a GPU was lost."""
    if isinstance(result, Lost):
        return lost_status(turn, result, "worker lost")
    is_one_of_many = result.trouble == "device lost" and places.has_left
    return replace(result, trouble="gpu lost") if is_one_of_many else result
