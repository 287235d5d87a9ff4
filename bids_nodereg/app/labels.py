"""Label maps of a pair: looked at before time is spent on its map, and the names of their labels."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bids_nodereg.app.opening import refuse_what_has_no_room
from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.imaging.volume import read_labels
from bids_nodereg.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bids_nodereg.app.available import Room
    from bids_nodereg.bids.image import LabelMap
    from bids_nodereg.bids.pairs import Pair

LOG = logging.getLogger("nodereg")


def shared_labels(pair: Pair) -> tuple[LabelMap, LabelMap] | None:
    """First label map that both images have, fixed and moving: those are compared; None without one."""
    for moving in pair.moving_dseg:
        for fixed in pair.fixed_dseg:
            if fixed.desc == moving.desc:
                return fixed, moving
    return None


def refuse_damaged_labels(pair: Pair, room: Callable[[], Room | None]) -> None:
    """Read every label map that will be carried or compared, and keep none: only then is a map searched.

    Parameters
    ----------
    pair
        Names the label maps.
    room
        Tells what memory is free.

    Raises
    ------
    NodeRegError
        If one cannot be used, or the memory cannot hold it.
    """
    compared = shared_labels(pair) or ()
    for path in dict.fromkeys(each.path for each in (*pair.moving_dseg, *compared)):
        refuse_what_has_no_room(path, room())
        read_labels(path)


def read_lookup(path: Path) -> dict[int, str]:
    """Read the names of labels by their codes from a BIDS look-up table, columns ``index`` and ``name``.

    Raises
    ------
    MissingInputError
        If the file cannot be read.
    DataError
        If it is not such a table.
    """
    rows = read_table(path, ("index", "name"))
    try:
        return {int(row["index"]): row["name"] for _, row in rows}
    except ValueError as error:
        msg = f"{path}: column index needs whole numbers ({error})."
        raise DataError(msg) from error


def label_names(lookup: Path | None) -> dict[int, str]:
    """Names of labels by their codes, as far as known: a damaged table costs the names and no more."""
    try:
        return {} if lookup is None else read_lookup(lookup)
    except (DataError, MissingInputError) as error:
        LOG.warning("    The labels have no names: %s", error)
        return {}
