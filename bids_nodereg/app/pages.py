"""The pages of a participant: its report, and the viewers of its pairs where they are asked for."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg.app.present import sections_of, write_report
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
) -> int:
    """Write what a participant lacks: viewers, and the page where something happened that it does not tell.

    A page that cannot be made is logged and does not stop the others, whatever the reason.

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

    Returns
    -------
    int
        Exit code of the error that kept the report from being written; 0 for none.
    """
    if not participant.jobs:
        return 0
    page = participant.jobs[0].outputs.report_html
    try:
        _write_lacking(participant, statuses, pages, anyway=anyway)
    except NodeRegError as error:
        LOG.error("Report %s could not be written: %s", page, error)  # noqa: TRY400 - for the user
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever it is, the other participants must go on
        LOG.error(  # noqa: TRY400
            "Report %s could not be written by a fault of nodereg: %s: %s", page, type(error).__name__, error
        )
        LOG.debug(traceback.format_exc())
        return 1
    return 0


def is_registered(participant: Participant) -> bool:
    """Whether there is anything of a participant to report."""
    return bool(participant.jobs) and bool(sections_of(participant.jobs))


def _write_lacking(
    participant: Participant, statuses: Sequence[Status], pages: Pages, *, anyway: bool
) -> None:
    wanted = bool(pages.library) and any(map(lacks_viewer, participant.jobs))
    if wanted:
        write_viewers(participant.jobs, pages.library, pages.threads)
    if anyway or wanted or not _has_report(participant, statuses):
        write_report(participant.subject, participant.jobs, statuses, pages.run_id)
        LOG.info("Report: %s", participant.jobs[0].outputs.report_html)


def _has_report(participant: Participant, statuses: Sequence[Status]) -> bool:
    """Whether the page is there and nothing has happened that it does not tell.

    A run that was interrupted may have left sections that are newer than the page.
    """
    page = participant.jobs[0].outputs.report_html
    if not page.is_file() or any(status.status != "already done" for status in statuses):
        return False
    written = page.stat().st_mtime_ns
    return all(section.stat().st_mtime_ns <= written for section in sections_of(participant.jobs))
