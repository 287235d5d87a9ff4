"""What follows each pair of a run: another try or its status file, and the page of a participant."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from bids_nodereg.app.pages import write_pages
from bids_nodereg.app.retry import may_pass
from bids_nodereg.app.status import write_status
from bids_nodereg.errors import NodeRegError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.app.executors import Turn
    from bids_nodereg.app.jobs import Participant
    from bids_nodereg.app.shared import Run
    from bids_nodereg.app.status import Status

LOG = logging.getLogger("nodereg")


class Finishing:
    """Follows the pairs of a run, in whatever order they end.

    Parameters
    ----------
    participants
        All of the run.
    run
        Where statuses and pages go.
    """

    def __init__(self, participants: Sequence[Participant], run: Run) -> None:
        self._of_job = {job.outputs.name: each for each in participants for job in each.jobs}
        self._run = run
        self._ended: dict[str, list[Status]] = defaultdict(list)
        self._put_back: dict[str, Turn] = {}
        self._codes: set[int] = set()
        self.statuses: list[Status] = []
        """How the pairs ended for which this is decided."""
        self._tried: set[str] = set()
        self.needs_pause = False
        """Whether a trouble was of a kind that takes time to pass."""

    def after(self, turn: Turn, status: Status) -> Status:
        """Put a pair back whose trouble may pass, or write down how it ended; returns the status."""
        if not turn.is_last and self._is_worth_another(turn, status):
            LOG.warning("    %s is put back, and tried again when the others are done.", status.pair)
            self._put_back[status.pair] = turn
            self.needs_pause |= status.trouble == "storage"
            if status.trouble != "another run":
                self._tried.add(status.pair)
            return status
        if status.pair in self._tried:
            status = replace(status, tries=2)
        try:
            write_status(self._run.folder, status)
        except NodeRegError as error:
            LOG.error("Status of %s: %s", status.pair, error)  # noqa: TRY400 - for the user
            self._codes.add(error.exit_code)
        self.statuses.append(status)
        participant = self._of_job[status.pair]
        ended = self._ended[participant.subject]
        ended.append(status)
        if len(ended) == len(participant.jobs):
            self._write_page(participant)
        return status

    def comes_again(self, status: Status) -> bool:
        """Whether a pair was put back."""
        return status.pair in self._put_back

    def take_put_back(self) -> list[Turn]:
        """Give the turns to do again, in order."""
        turns = sorted(self._put_back.values(), key=lambda turn: turn.number)
        self._put_back.clear()
        return turns

    def end(self) -> set[int]:
        """Write the pages of participants that were left half-way; exit codes of writing everything."""
        for participant in {each.subject: each for each in self._of_job.values()}.values():
            if 0 < len(self._ended[participant.subject]) < len(participant.jobs):
                self._write_page(participant)
        return self._codes

    def _is_worth_another(self, turn: Turn, status: Status) -> bool:
        """Whether the trouble may pass, or a map failed for want of one that was put back."""
        wants = any(part.outputs.name in self._put_back for part in turn.job.parts)
        return may_pass(status.trouble) or (wants and status.status == "failed")

    def _write_page(self, participant: Participant) -> None:
        self._codes.add(write_pages(participant, self._ended[participant.subject], self._run.pages))
