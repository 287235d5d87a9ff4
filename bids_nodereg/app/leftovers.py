"""Clear away what runs have left that were killed."""

from __future__ import annotations

import logging
import os
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING

from bids_nodereg.app.claims import remove_dead_claims
from bids_nodereg.temporaries import remove_forgotten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bids_nodereg.app.jobs import Participant

LOG = logging.getLogger("nodereg")

LAST_RUNS = 100
"""Log folders of earlier runs that are looked into, the newest: a data set may have ten thousand."""


def clear_leftovers(participants: Iterable[Participant], out_dir: Path) -> None:
    """Remove temporary files and claims of dead runs from the folders that this run writes to.

    Those of living runs stay: :func:`bids_nodereg.temporaries.remove_forgotten` says how they are told
    apart.
    """
    folders = dict.fromkeys((out_dir, *_of_participants(participants, out_dir), *_of_logs(out_dir)))
    removed = [path for folder in folders for path in remove_forgotten(folder)]
    if removed:
        LOG.info("Removed %d temporary file(s) of a run that was killed.", len(removed))
    for path in removed:
        LOG.debug("    %s", path)
    remove_dead_claims(out_dir)


def _of_participants(participants: Iterable[Participant], out_dir: Path) -> Iterator[Path]:
    """Every folder of those whose images are in a pair; links are not followed, the topmost neither."""
    images = (
        image for each in participants for job in each.jobs for image in (job.pair.moving, job.pair.fixed)
    )
    for subject in dict.fromkeys(image.subject for image in images):
        top = out_dir / f"sub-{subject}"
        if not top.is_symlink():
            yield from (Path(folder) for folder, _, _ in os.walk(top))


def _of_logs(out_dir: Path) -> Iterator[Path]:
    """The folder of logs and the newest in it: their names begin with the time. Links are not followed."""
    logs = out_dir / "logs"
    if logs.is_symlink() or not logs.is_dir():
        return
    yield logs
    with os.scandir(logs) as entries:  # tells what each entry is without asking the file system again
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    yield from (logs / name for name in nlargest(LAST_RUNS, names))
