"""Read and prepare both images of a pair, with the masks that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.imaging.prepare import Prepared, prepare
from bids_nodereg.imaging.volume import read_image, read_mask

if TYPE_CHECKING:
    from pathlib import Path

    from bids_nodereg.bids.pairs import Pair

GIVEN = "given"
CONSTANT_SHARE = 0.999
"""Share of the voxels outside the mask that must have one value; a few specks are allowed."""

LARGEST_BRAIN_MM3 = 2.2e6
"""A foreground beyond this volume is a head, not a brain alone: 2.2 litres."""


@dataclass(frozen=True)
class Inputs:
    """Both prepared images of a pair."""

    fixed: Prepared
    moving: Prepared


def read_inputs(pair: Pair) -> Inputs:
    """Read both images and find their masks."""
    return Inputs(_read(pair.fixed.path, pair.fixed_mask), _read(pair.moving.path, pair.moving_mask))


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


def _read(path: Path, mask_path: Path | None) -> Prepared:
    volume = read_image(path)
    if mask_path is None:
        return prepare(volume)
    return prepare(volume, read_mask(mask_path, volume.grid), mask_origin=f"{GIVEN}: {mask_path.name}")
