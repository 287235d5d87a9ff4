"""Ask for the memory that reading an image takes, before it is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bids_nodereg.errors import ShortOfMemoryError
from bids_nodereg.imaging.nifti_file import check_size, open_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.app.available import Room

BYTES_TO_READ = 8
"""Per voxel beside what is stored: scaled, and as float32. What preparing takes more is not counted, so that
nothing is refused that there may be room for."""

SMALL_BYTES = 300_000_000
"""What takes no more is read in any case: the plan of the pair says what lacks (:mod:`.memory`)."""

GB = 10**9


def refuse_what_has_no_room(path: Path, room: Room | None) -> None:
    """Refuse an image whose voxels the memory that is free cannot hold: a small file may declare very many.

    Parameters
    ----------
    path
        A NIfTI file; its header is read.
    room
        What is free; None where it is not known, which is no limit.

    Raises
    ------
    NodeRegError
        If the file cannot be used.
    ShortOfMemoryError
        If there is no room.
    """
    file = open_nifti(path)
    needed = math.prod(file.shape) * (file.dtype.itemsize + BYTES_TO_READ)
    if room is not None and needed > max(room.bytes, SMALL_BYTES):
        check_size(file)  # a header that cannot be true is another matter
        shape = " x ".join(map(str, file.shape))
        msg = (
            f"{path}: Not enough memory: reading {shape} voxels of {file.dtype} takes {needed / GB:.1f} GB, "
            f"there are {max(room.bytes, 0) / GB:.1f} GB ({room.source}). Give the run more, or crop it."
        )
        raise ShortOfMemoryError(msg)
