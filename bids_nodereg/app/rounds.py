"""All pairs of a run, and once more those whose trouble may pass."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING

from bids_nodereg.app.executors import Turn, as_last
from bids_nodereg.app.finishing import Finishing
from bids_nodereg.app.retry import PAUSE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.app.executors import Executor
    from bids_nodereg.app.jobs import Participant
    from bids_nodereg.app.shared import Run
    from bids_nodereg.app.status import Status
    from bids_nodereg.config import RunConfig

LOG = logging.getLogger("nodereg")


def register_all(
    config: RunConfig, participants: Sequence[Participant], run: Run, execute: Executor
) -> tuple[list[Status], set[int]]:
    """Do all pairs, and then those again that :func:`bids_nodereg.app.retry.may_pass` puts back.

    Returns
    -------
    statuses
        How each pair ended; without those that were not begun, because the run stopped early.
    codes
        Exit codes of writing statuses and pages.
    """
    jobs = [job for participant in participants for job in participant.jobs]
    turns = [Turn(job, number, len(jobs)) for number, job in enumerate(jobs, 1)]
    finishing = Finishing(participants, run)
    if not _round(turns, finishing, execute, config) and (again := finishing.take_put_back()):
        LOG.info("Trying %d pair(s) again, one at a time.", len(again))
        if finishing.needs_pause:
            time.sleep(PAUSE_S)
        _round(as_last(again), finishing, execute, config)
    return finishing.statuses, finishing.end()


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
