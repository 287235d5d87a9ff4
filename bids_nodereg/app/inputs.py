"""Both prepared images of a pair, and what there is to say about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bids_nodereg.bids.image import SideFile
    from bids_nodereg.imaging.prepare import Prepared
    from bids_nodereg.imaging.volume import Volume

GIVEN = "given"
NOT_FOUND = "no brain found"
"""In the origin of a mask where a brain was looked for in vain."""

CONSTANT_SHARE = 0.999
"""Share of the voxels outside the mask that must have one value; a few specks are allowed."""

LARGEST_BRAIN_MM3 = 2.4e6
"""A foreground beyond this volume is a head, not a brain alone: 2.4 litres. A mask that goes along the
skull can have 2.2 litres, a head without its neck has 3."""


@dataclass(frozen=True)
class Inputs:
    """Both prepared images of a pair, and the map of relative stiffness in the fixed world."""

    fixed: Prepared
    moving: Prepared
    stiffness: Volume | None = None


def lesion_note(lesion: SideFile | None, prepared: Prepared) -> str:
    """What a lesion mask leaves out, in words; empty where there is none."""
    if lesion is None:
        return ""
    if prepared.lesion is None:
        return f"lesion mask {lesion.path.name} is empty: nothing is left out"
    return f"lesion mask {lesion.path.name}: {prepared.excluded_ml:.2f} ml are not compared"


def head_note(prepared: Prepared) -> str:
    """What to tell where the measures are over a whole head; empty where they are over a brain."""
    if NOT_FOUND not in prepared.mask_origin and not _is_head(prepared):
        return ""
    return (
        f"{prepared.volume.path.name}: the mask is that of the head ({prepared.mask_origin}), and so are the "
        "measures. A closer fit: --derivatives (desc-brain_mask), --pairs-file or --brain-mask-method."
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
