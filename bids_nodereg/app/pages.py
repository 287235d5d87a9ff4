"""The pages of a participant: its report, and the viewers of its pairs where they are asked for."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg.app.present import write_report
from bids_nodereg.app.viewer import lacks_viewer, write_viewers
from bids_nodereg.errors import NodeRegError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bids_nodereg.app.jobs import Participant
    from bids_nodereg.app.status import Status

LOG = logging.getLogger("nodereg")


@dataclass(frozen=True)
class Pages:
    """How the pages of a run are made.

    Attributes
    ----------
    run_id
        Shown on the page.
    threads
        For the interpolation of what a viewer shows.
    library
        Text of NiiVue; empty for no viewers.
    """

    run_id: str
    threads: int
    library: str = ""


def write_pages(
    participant: Participant, statuses: Sequence[Status], pages: Pages, *, anyway: bool = False
) -> None:
    """Write what a participant lacks: viewers, and the page where something happened that it does not tell.

    A page that cannot be made does not stop the others.

    Parameters
    ----------
    participant
        With all its pairs.
    statuses
        How its pairs ended in this run.
    pages
        What all participants share.
    anyway
        Write the page although nothing has happened.
    """
    if not participant.jobs:
        return
    wanted = bool(pages.library) and any(map(lacks_viewer, participant.jobs))
    if wanted:
        write_viewers(participant.jobs, pages.library, pages.threads)
    if anyway or wanted or not _has_report(participant, statuses):
        _write_page(participant, statuses, pages.run_id)


def _write_page(participant: Participant, statuses: Sequence[Status], run_id: str) -> None:
    page = participant.jobs[0].outputs.report_html
    try:
        write_report(participant.subject, participant.jobs, statuses, run_id)
        LOG.info("Report: %s", page)
    except NodeRegError as error:
        LOG.error("Report %s could not be written: %s", page, error)  # noqa: TRY400


def _has_report(participant: Participant, statuses: Sequence[Status]) -> bool:
    """Whether the page is there and nothing has happened that it does not tell."""
    is_quiet = all(status.status == "already done" for status in statuses)
    return is_quiet and participant.jobs[0].outputs.report_html.is_file()
