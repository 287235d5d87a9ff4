"""Tell of names that differ in case only, and refuse to write them where they would be one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bids_nodereg.bids.casing import clashes, misspelt_participants, takes_cases_for_one
from bids_nodereg.bids.names import DESCRIPTION
from bids_nodereg.errors import OutputError
from bids_nodereg.plain_text import first_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bids_nodereg.app.jobs import Participant
    from bids_nodereg.bids.dataset import Dataset

LOG = logging.getLogger("nodereg")
SHOWN = 3
"""Names in a message; a study may have thousands."""


def tell_cases(dataset: Dataset, participants: Sequence[Participant]) -> tuple[str, ...]:
    """Log which folders are not read, and which names clash; gives those names, two or more in each text."""
    if odd := misspelt_participants(dataset.root):
        LOG.warning(
            "%s: not read: %s. A participant's folder is called sub-<label>, in small letters: rename it.",
            dataset.root,
            first_of(odd, SHOWN),
        )
    if found := _clashing(dataset, participants):
        LOG.warning(
            "%s: names that differ in upper and lower case only: %s. Their results are one where a file "
            "system does not tell these apart, as those of Windows and macOS. Rename all but one.",
            dataset.root,
            first_of(found, SHOWN),
        )
    return found


def refuse_clash_on_disk(found: Sequence[str], output_dir: Path) -> None:
    """Refuse to write names that clash to a file system which takes them for one.

    Parameters
    ----------
    found
        What :func:`tell_cases` gave.
    output_dir
        Output data set with its ``dataset_description.json``.

    Raises
    ------
    OutputError
        If there are such names, and the file system is such a one.
    """
    if found and takes_cases_for_one(output_dir / DESCRIPTION):
        msg = (
            f"{output_dir}: this file system does not tell upper from lower case, and these names differ in "
            f"nothing else: {first_of(found, SHOWN)}. Rename all but one, or choose an output folder "
            "elsewhere."
        )
        raise OutputError(msg)


def _clashing(dataset: Dataset, participants: Sequence[Participant]) -> tuple[str, ...]:
    """Names that clash: of this run's participants with any of the data set, and of images of pairs."""
    here = {participant.subject.casefold() for participant in participants}
    labels = [group for group in clashes(dataset.subjects()) if group[0].casefold() in here]
    images = {
        image.relative
        for participant in participants
        for job in participant.jobs
        for image in (job.pair.fixed, job.pair.moving)
    }
    alike = [group for group in clashes(images) if len({name.split("/")[0] for name in group}) == 1]
    people = (" and ".join(f"sub-{label}" for label in group) for group in labels)
    return (*people, *(" and ".join(group) for group in alike))
