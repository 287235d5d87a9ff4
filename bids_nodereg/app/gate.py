"""End a run with an error where the quality of a pair is not good enough for those who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.json_files import read_json
from bids_nodereg.quality.verdict import STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.app.status import Status

EXIT_CODE = 1
"""Some pair failed (docs: exit codes)."""


def kept_verdict(job: Job) -> str:
    """Verdict of a pair that was done earlier; empty where its quality file cannot be read."""
    try:
        return str(read_json(job.outputs.qc_json, is_ours=True)["Verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def refused(statuses: Iterable[Status], level: Literal["fail", "check"] | None) -> list[str]:
    """Tell which pairs are at or beyond a verdict, as ``name (verdict)``; none where no level is set.

    A pair that ended in an error has no verdict and counts as failed anyway; of one that is there, a verdict
    that cannot be read is no pass.
    """
    if level is None:
        return []
    bad = STATUSES[STATUSES.index(level) :]
    return [
        f"{status.pair} ({status.verdict or 'no verdict that can be read'})"
        for status in statuses
        if status.verdict in bad or (status.status != "failed" and not status.verdict)
    ]
