"""Ways to do the pairs of a run: an executor takes turns and gives statuses as they come."""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Protocol

from bids_nodereg.app.attempt import (
    Attempt,
    close_attempt,
    needs_all_memory,
    open_attempt,
    solve_attempt,
)
from bids_nodereg.app.begun import Begun
from bids_nodereg.app.claims import Claims
from bids_nodereg.app.device import can_overlap, choose_hardware, use_threads
from bids_nodereg.app.gpus import gpu_slots
from bids_nodereg.app.images import PreparedImages, room_of
from bids_nodereg.app.limits import TimeLimit
from bids_nodereg.app.pipeline import Stages, one_by_one, overlapping
from bids_nodereg.app.progress import PlainProgress, StoppingProgress
from bids_nodereg.app.retry import code_of, words_of
from bids_nodereg.app.shared import Run
from bids_nodereg.app.status import Status
from bids_nodereg.app.turns import TimedTurns, while_there_is_time
from bids_nodereg.app.workers import Lost, Work, in_workers
from bids_nodereg.errors import OutputError
from bids_nodereg.temporaries import remove_forgotten

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.pages import Pages
    from bids_nodereg.app.progress import Progress
    from bids_nodereg.app.retry import Trouble
    from bids_nodereg.app.slots import Slots
    from bids_nodereg.config import RunConfig

LOG = logging.getLogger("nodereg")


@dataclass(frozen=True)
class Turn:
    """One pair in the order of the run.

    Attributes
    ----------
    job
        The pair.
    number, count
        Its number, and how many there are.
    is_last
        Whether it is tried for the last time: by itself, and waiting for another run that has it.
    """

    job: Job
    number: int
    count: int
    is_last: bool = False


class Executor(Protocol):
    """Does pairs. Each turn's status is given to `after` in the order of the results, then to the caller.

    One for several machines or GPUs has the same two sides.
    """

    def __call__(self, turns: Sequence[Turn], after: Callable[[Turn, Status], Status]) -> Generator[Status]:
        """Do all turns; close the results to end early."""
        ...


def executors_of(
    config: RunConfig, run: Run, progress: Progress, gpus: tuple[str, ...] = ()
) -> tuple[Executor, Executor]:
    """Give the way to do pairs that the options ask for, and one that keeps each in a process of its own.

    Parameters
    ----------
    config, run, progress
        Of the run.
    gpus
        Names of those that have processes of their own. Both ways know which of them are lost.
    """
    resources = config.resources
    if resources.executor == "dask":
        from bids_nodereg.app.dask_executor import on_dask
        from bids_nodereg.app.dask_gpus import Places

        places = Places({f"GPU {gpu}": gpu for gpu in gpus})
        on_workers = partial(on_dask, config=config, run=run, places=places)
        return on_workers, on_workers
    slots = gpu_slots(gpus, resources.n_procs) if gpus else None
    apart = partial(in_processes, config=config, run=run, slots=slots)
    if slots is not None or resources.n_procs > 1 or resources.isolate:
        return apart, apart
    return partial(in_this_process, config=config, run=run, progress=progress), apart


def in_this_process(
    turns: Sequence[Turn],
    after: Callable[[Turn, Status], Status],
    *,
    config: RunConfig,
    run: Run,
    progress: Progress,
) -> Generator[Status]:
    """One pair after the other, overlapping where the machine has room for that."""

    def ended(turn: Turn, status: Status) -> Status:
        run.limit.end(turn.number)
        return after(turn, status)

    stages: Stages[Turn, tuple[Turn, Attempt], tuple[Turn, Attempt], Status] = Stages(
        open=lambda turn: (turn, open_attempt(_attempt(turn, run, progress), config, run)),
        solve=lambda held: (held[0], solve_attempt(held[1], config, run)),
        close=lambda held: ended(held[0], close_attempt(held[1], config, run)),
        alone=lambda held: needs_all_memory(held[1], run),
    )
    # The first failure is to be the last thing that happens: nothing may be under way beside it.
    alone = config.fail_fast or any(turn.is_last for turn in turns)
    in_time = while_there_is_time(turns, run.limit)
    if alone or not can_overlap(run.hardware):
        yield from one_by_one(in_time, stages)
    else:
        begin = partial(use_threads, run.hardware.threads)
        with closing(overlapping(in_time, stages, run.stop, begin)) as statuses:
            yield from statuses


def in_processes(
    turns: Sequence[Turn],
    after: Callable[[Turn, Status], Status],
    *,
    config: RunConfig,
    run: Run,
    slots: Slots | None = None,
) -> Generator[Status]:
    """Several pairs at a time, each in a worker process; pairs that are tried again one at a time.

    A GPU that is lost is not used again, and its pair is put back; the loss of the last one ends the run.
    """
    waiting = TimedTurns(turns, run.limit)
    arguments = (config, run.run_id, run.folder, run.pages)
    work = Work(prepare_worker, arguments, lambda _turns: waiting)
    if slots is not None:
        work = replace(work, slots=slots, why_unfit=why_unfit)
    count = 1 if any(turn.is_last for turn in turns) else config.resources.n_procs
    results = in_workers(turns, work, count)
    with closing(marks_cleared(results, waiting, run)) as ended:
        for turn, result in ended:
            yield after(turn, _status_of(turn, result, slots))


def marks_cleared(
    results: Generator[tuple[Turn, Status | Lost]], waiting: TimedTurns, run: Run
) -> Generator[tuple[Turn, Status | Lost]]:
    """Give what workers give, and take away the marks that those leave who do not end by themselves."""
    try:
        with closing(results) as ended:
            for turn, result in ended:
                if isinstance(result, Lost):
                    clear_mark(turn, run)
                yield turn, result
    finally:
        for turn in waiting.under_way.values():  # their processes were ended, and did not die
            clear_mark(turn, run)


def clear_mark(turn: Turn, run: Run) -> None:
    """Take away the mark that a worker of this run has left, unless another run has the pair by now."""
    outputs = turn.job.outputs
    with suppress(OutputError):  # a mark that stays costs a pair its place in the order, and no result
        if run.claims.take(outputs.claim):
            run.begun.remove_of_worker(outputs.name)
            run.claims.give_back(outputs.claim)


def why_unfit(status: Status) -> str:
    """Say why the place of a worker is of no more use, given how its pair ended; empty where it is."""
    return status.error.rstrip(".") if status.trouble == "device lost" else ""


def _status_of(turn: Turn, result: Status | Lost, slots: Slots | None) -> Status:
    """How a pair ended in a worker, told apart by whether other GPUs are left where one was lost."""
    if not isinstance(result, Lost):
        if slots is None or not len(slots) or result.trouble != "device lost":
            return result
        return replace(result, trouble="gpu lost")
    if not result.is_place_lost or slots is None:
        return lost_status(turn, result, "worker lost")
    return lost_status(turn, result, "gpu lost" if len(slots) else "device lost")


def prepare_worker(
    config: RunConfig, run_id: str, folder: Path, pages: Pages, stop: Event | None = None
) -> Callable[[Turn], Status]:
    """Make a worker process ready; gives what does one pair in it, and ends early when `stop` is set."""
    hardware = choose_hardware(config.resources)
    images = PreparedImages(config.settings, hardware.device, room_of(hardware))
    claims, begun = Claims(config.output_dir), Begun(config.output_dir, run_id)
    stop = stop or Event()
    run = Run(run_id, folder, config.settings, hardware, images, pages, stop, claims, begun, TimeLimit())

    def do(turn: Turn) -> Status:
        attempt = _attempt(turn, run, PlainProgress())
        with claims, begun:  # the mark goes while the claim is held
            return close_attempt(solve_attempt(open_attempt(attempt, config, run), config, run), config, run)

    return do


def _attempt(turn: Turn, run: Run, progress: Progress) -> Attempt:
    heard = progress.begin(turn.job.title, turn.number, turn.count)
    place = f"{turn.number}/{turn.count}"
    return Attempt(turn.job, place, StoppingProgress(heard, run.stop), is_last=turn.is_last)


def lost_status(turn: Turn, lost: Lost, trouble: Trouble) -> Status:
    """How a pair ended whose process died; what it was writing is cleared away."""
    name, outputs = turn.job.outputs.name, turn.job.outputs
    for folder in (outputs.folder, outputs.figures_dir, outputs.out_dir / "logs"):
        remove_forgotten(folder)
    LOG.error("[%d/%d] %s: its process was %s.", turn.number, turn.count, name, lost.how)
    told = f"{lost.how}: {words_of(trouble)}"
    subject = turn.job.pair.moving.subject
    return Status(name, subject, "failed", error=told, exit_code=code_of(trouble), trouble=trouble)


def as_last(turns: Sequence[Turn]) -> list[Turn]:
    """The same turns, to be tried for the last time."""
    return [replace(turn, is_last=True) for turn in turns]
