"""Read and prepare both images of a pair, with the masks that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.errors import DataError
from bids_nodereg.imaging.prepare import Prepared, prepare
from bids_nodereg.imaging.volume import read_image, read_labels, read_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.bids.image import SideFile
    from bids_nodereg.bids.pairs import Pair
    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.volume import Volume

GIVEN = "given"
CONSTANT_SHARE = 0.999
"""Share of the voxels outside the mask that must have one value; a few specks are allowed."""

LARGEST_BRAIN_MM3 = 2.2e6
"""A foreground beyond this volume is a head, not a brain alone: 2.2 litres."""


@dataclass(frozen=True)
class Inputs:
    """Both prepared images of a pair, and the map of relative stiffness in the fixed world."""

    fixed: Prepared
    moving: Prepared
    stiffness: Volume | None = None


def read_inputs(pair: Pair) -> Inputs:
    """Read both images and find their masks."""
    return Inputs(
        _read(pair.fixed.path, pair.fixed_mask, pair.fixed_lesion),
        _read(pair.moving.path, pair.moving_mask, pair.moving_lesion),
        None if pair.stiffness is None else read_image(pair.stiffness.path),
    )


def lesion_note(lesion: SideFile | None, prepared: Prepared) -> str:
    """What a lesion mask leaves out, in words; empty where there is none."""
    if lesion is None:
        return ""
    if prepared.lesion is None:
        return f"lesion mask {lesion.path.name} is empty: nothing is left out"
    return f"lesion mask {lesion.path.name}: {prepared.excluded_ml:.2f} ml are not compared"


def head_note(prepared: Prepared) -> str:
    """What to tell where no mask was given and the foreground is a whole head; empty otherwise."""
    if prepared.mask_origin.startswith(GIVEN) or not _is_head(prepared):
        return ""
    return (
        f"{prepared.volume.path.name}: no brain mask was given and the foreground is a whole head; the "
        "measures are over the head. A closer fit: --derivatives (desc-brain_mask) or --pairs-file."
    )


def looks_skull_stripped(prepared: Prepared) -> bool:
    """Whether an image shows the brain alone: a constant background and no more volume than a brain.

    A raw data set does not say it, and BIDS wants to know it of every derived image.
    """
    outside = prepared.volume.data[~prepared.mask]
    if outside.size == 0 or _is_head(prepared):
        return False
    return bool(np.mean(outside == np.median(outside)) > CONSTANT_SHARE)


def _is_head(prepared: Prepared) -> bool:
    """Whether the mask holds more than a brain can."""
    return bool(prepared.mask.sum() * prepared.volume.grid.voxel_volume > LARGEST_BRAIN_MM3)


def _read(path: Path, mask_path: Path | None, lesion_file: SideFile | None) -> Prepared:
    volume = read_image(path)
    lesion = None if lesion_file is None else _read_lesion(lesion_file.path, volume.grid)
    if mask_path is None:
        return prepare(volume, lesion=lesion)
    mask = read_mask(mask_path, volume.grid)
    return prepare(volume, mask, mask_origin=f"{GIVEN}: {mask_path.name}", lesion=lesion)


def _read_lesion(path: Path, grid: Grid) -> NDArray[np.bool_] | None:
    """Read a lesion mask like a brain mask; None for an empty one, as studies keep for the healthy."""
    try:
        return read_mask(path, grid)
    except DataError:
        if read_labels(path).data.any():
            raise
        return None
