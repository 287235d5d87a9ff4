"""Ways to do the pairs of a run: an executor takes turns and gives statuses as they come."""

from __future__ import annotations

import logging
from contextlib import closing
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
from bids_nodereg.app.claims import Claims
from bids_nodereg.app.device import can_overlap, choose_hardware, use_threads
from bids_nodereg.app.images import PreparedImages, room_of
from bids_nodereg.app.pipeline import Stages, one_by_one, overlapping
from bids_nodereg.app.progress import PlainProgress, StoppingProgress
from bids_nodereg.app.retry import code_of, words_of
from bids_nodereg.app.shared import Run
from bids_nodereg.app.status import Status
from bids_nodereg.app.turns import WaitingTurns
from bids_nodereg.app.workers import Lost, Work, in_workers
from bids_nodereg.temporaries import remove_forgotten

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.pages import Pages
    from bids_nodereg.app.progress import Progress
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


def executor_of(config: RunConfig, run: Run, progress: Progress) -> Executor:
    """Give the way that the options ask for."""
    if config.resources.n_procs > 1 or config.resources.isolate:
        return partial(in_processes, config=config, run=run)
    return partial(in_this_process, config=config, run=run, progress=progress)


def in_this_process(
    turns: Sequence[Turn],
    after: Callable[[Turn, Status], Status],
    *,
    config: RunConfig,
    run: Run,
    progress: Progress,
) -> Generator[Status]:
    """One pair after the other, overlapping where the machine has room for that."""
    stages: Stages[Turn, tuple[Turn, Attempt], tuple[Turn, Attempt], Status] = Stages(
        open=lambda turn: (turn, open_attempt(_attempt(turn, run, progress), config, run)),
        solve=lambda held: (held[0], solve_attempt(held[1], config, run)),
        close=lambda held: after(held[0], close_attempt(held[1], config, run)),
        alone=lambda held: needs_all_memory(held[1], run),
    )
    # The first failure is to be the last thing that happens: nothing may be under way beside it.
    alone = config.fail_fast or any(turn.is_last for turn in turns)
    if alone or not can_overlap(run.hardware):
        yield from one_by_one(turns, stages)
    else:
        begin = partial(use_threads, run.hardware.threads)
        with closing(overlapping(turns, stages, run.stop, begin)) as ended:
            yield from ended


def in_processes(
    turns: Sequence[Turn], after: Callable[[Turn, Status], Status], *, config: RunConfig, run: Run
) -> Generator[Status]:
    """Several pairs at a time, each in a worker process; pairs that are tried again one at a time."""
    work = Work(prepare_worker, (config, run.run_id, run.folder, run.pages), WaitingTurns)
    count = 1 if any(turn.is_last for turn in turns) else config.resources.n_procs
    results = in_workers(turns, work, count)
    with closing(results) as ended:
        for turn, status in ended:
            yield after(turn, _lost(turn, status) if isinstance(status, Lost) else status)


def prepare_worker(config: RunConfig, run_id: str, folder: Path, pages: Pages) -> Callable[[Turn], Status]:
    """Make a worker process ready; gives what does one pair in it."""
    hardware = choose_hardware(config.resources)
    images = PreparedImages(config.settings, hardware.device, room_of(hardware))
    claims = Claims(config.output_dir)
    run = Run(run_id, folder, config.settings, hardware, images, pages, Event(), claims)

    def do(turn: Turn) -> Status:
        attempt = _attempt(turn, run, PlainProgress())
        return close_attempt(solve_attempt(open_attempt(attempt, config, run), config, run), config, run)

    return do


def _attempt(turn: Turn, run: Run, progress: Progress) -> Attempt:
    heard = progress.begin(turn.job.title, turn.number, turn.count)
    place = f"{turn.number}/{turn.count}"
    return Attempt(turn.job, place, StoppingProgress(heard, run.stop), is_last=turn.is_last)


def _lost(turn: Turn, lost: Lost) -> Status:
    """How a pair ended whose process died; what it was writing is cleared away."""
    name = turn.job.outputs.name
    for folder in (turn.job.outputs.folder, turn.job.outputs.figures_dir):
        remove_forgotten(folder)
    LOG.error("[%d/%d] %s: its process was %s.", turn.number, turn.count, name, lost.how)
    told = f"{lost.how}: {words_of('worker lost')}"
    code = code_of("worker lost")
    return Status(
        name, turn.job.pair.moving.subject, "failed", error=told, exit_code=code, trouble="worker lost"
    )


def as_last(turns: Sequence[Turn]) -> list[Turn]:
    """The same turns, to be tried for the last time."""
    return [replace(turn, is_last=True) for turn in turns]
