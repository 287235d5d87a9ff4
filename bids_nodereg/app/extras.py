"""Which files are carried along with a moving image; :mod:`bids_nodereg.app.extra_files` writes them."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from bids_nodereg.bids.derivatives import velocity_desc
from bids_nodereg.bids.extras import ALWAYS, find_extras, read_wanted
from bids_nodereg.bids.image import RAW
from bids_nodereg.bids.names import clean_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bids_nodereg.app.jobs import Job
    from bids_nodereg.bids.dataset import Dataset
    from bids_nodereg.bids.extras import Extra
    from bids_nodereg.bids.names import FileName
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.config import Selection, Settings

LOG = logging.getLogger("nodereg")


def with_extras(pairs: Sequence[Pair], dataset: Dataset, selection: Selection) -> list[Pair]:
    """Give each pair the files of its moving image that are carried along.

    Those that were asked for are looked for in the derivative data sets, then in the data set itself;
    brain mask and tissue maps in the derivative data sets alone. One that was asked for and that no pair
    has is told.

    Raises
    ------
    UsageError
        If what is asked for is not spelled as a file name.
    """
    wanted = [read_wanted(text) for text in selection.apply_to]
    always = ALWAYS if selection.carry else ()
    places = (
        *((derivative, (*always, *wanted)) for derivative in dataset.derivatives),
        ((RAW, dataset.root), wanted),
    )
    found: list[Pair] = []
    names: list[FileName] = []
    for pair in pairs:
        taken = {label_map.path for label_map in pair.moving_dseg}
        extras = find_extras(places, pair.moving, taken)
        names += [extra.name for extra in extras]
        found.append(replace(pair, moving_extras=_without_label_maps(pair, extras)))
    for each in wanted:
        if pairs and not any(each.matches(name) for name in names):
            LOG.warning("--apply-to %s: sub-%s has no such file", each, pairs[0].moving.subject)
    return found


def _without_label_maps(pair: Pair, extras: Sequence[Extra]) -> tuple[Extra, ...]:
    """Leave out label maps that would have the name of one of the pair's own once carried."""
    own = {clean_label(label_map.desc).casefold() for label_map in pair.moving_dseg}
    clashing = [each for each in extras if each.suffix == "dseg" and each.desc.casefold() in own]
    for each in clashing:
        LOG.warning("%s is not carried: another label map would have its name.", each.path)
    return tuple(each for each in extras if each not in clashing)


def labels_used(jobs: Iterable[Job], settings: Settings) -> dict[str, str]:
    """What the ``desc-`` labels of a run mean that not every run has."""
    meanings: dict[str, str] = {}
    for job in jobs:
        out, contrast = job.outputs, job.pair.moving.suffix
        for label_map in job.pair.moving_dseg:
            meanings[out.carried_desc(label_map.desc)] = f"{label_map.desc} labels of the {contrast} image"
        for extra in job.pair.moving_extras:
            what = f"{extra.desc} file" if extra.desc else "File"
            meanings[out.extra_desc(extra)] = f"{what} of the {contrast} image, carried onto another grid"
    parts = settings.registration.velocity.time_parts if settings.write_velocity else 0
    for part in range(1, parts + 1):
        what = "Stationary velocity field"
        if parts > 1:
            what = f"Velocity field from time {part - 1}/{parts} to {part}/{parts}"
        words = f"{what}; its flow at time 1 is the displacement part; ITK field in mm per unit time"
        meanings[velocity_desc(part, parts)] = words
    return meanings
