"""All pairs of a run, once more those whose trouble may pass, and last those that a run died at."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING

from bids_nodereg.app.begun import APART_AFTER
from bids_nodereg.app.executors import Turn, as_last
from bids_nodereg.app.finishing import Finishing
from bids_nodereg.app.retry import PAUSE_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_nodereg.app.executors import Executor
    from bids_nodereg.app.jobs import Participant
    from bids_nodereg.app.shared import Run
    from bids_nodereg.app.status import Status
    from bids_nodereg.config import RunConfig

LOG = logging.getLogger("nodereg")


def register_all(
    config: RunConfig, participants: Sequence[Participant], run: Run, execute: Executor, apart: Executor
) -> tuple[list[Status], set[int]]:
    """Do all pairs, then those again that :func:`bids_nodereg.app.retry.may_pass` puts back, then suspects.

    A suspect is a pair that was under way when a run died. It is done when nothing else is left to do, by
    itself, so that whatever it does to the run, all others are done.

    Parameters
    ----------
    config, participants, run
        Of the run.
    execute
        Does pairs.
    apart
        Does them in a process of their own.

    Returns
    -------
    statuses
        How each pair ended; without those that were not begun, because the run stopped early.
    codes
        Exit codes of writing statuses and pages.
    """
    jobs = [job for participant in participants for job in participant.jobs]
    deaths = run.begun.deaths()
    turns = [Turn(job, number, len(jobs)) for number, job in enumerate(jobs, 1)]
    suspects = [turn for turn in turns if _deaths_of(turn, deaths)]
    others = [turn for turn in turns if not _deaths_of(turn, deaths)]
    finishing = Finishing(participants, run)
    stops = _round(others, finishing, execute, config)
    if not stops and (again := finishing.take_put_back()):
        LOG.info("Trying %d pair(s) again, one at a time.", len(again))
        if finishing.needs_pause and not run.limit.is_reached:
            time.sleep(PAUSE_S)
        stops = _round(as_last(again), finishing, execute, config)
    if suspects and not stops:
        told = "a run died while it was at them, or is at them now"
        LOG.info("%d pair(s) are done last, one at a time: %s.", len(suspects), told)
        is_apart = max(_deaths_of(turn, deaths) for turn in suspects) >= APART_AFTER
        _round(as_last(suspects), finishing, apart if is_apart else execute, config)
    return finishing.statuses, finishing.end()


def _deaths_of(turn: Turn, deaths: Mapping[str, int]) -> int:
    """How often a run died at a pair, or at one that its map is made of."""
    jobs = (turn.job, *turn.job.parts)
    return max(deaths.get(job.outputs.name, 0) for job in jobs)


def _round(turns: Sequence[Turn], finishing: Finishing, execute: Executor, config: RunConfig) -> bool:
    """Do turns; whether the run has to stop."""
    with closing(execute(turns, finishing.after)) as ended:
        return any(_stops(status, finishing, config) for status in ended)


def _stops(status: Status, finishing: Finishing, config: RunConfig) -> bool:
    """Whether nothing more is to be done: the GPU is lost, or a failure is to be the last."""
    if status.trouble == "device lost":
        LOG.error("The GPU is lost; the run ends here. Run the same command again to go on.")
        return True
    return config.fail_fast and status.status == "failed" and not finishing.comes_again(status)
