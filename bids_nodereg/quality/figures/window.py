"""Which intensities are shown as black and white."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_BRAIN_ML = 2200.0
"""A mask of more than this is that of a head: human brains are smaller."""
BENEATH_THE_SKULL_MM = 25.0
"""Deeper in a head than this lies hardly anything but brain."""
COARSE_MM = 4.0
DARKEST_MIDDLE = 0.4
"""The median of the tissue is shown at least this bright: bright fluid must not make the brain dark."""


def grey_window(
    volume: NDArray[np.floating], mask: NDArray[np.bool_], spacing: NDArray[np.floating]
) -> tuple[float, float]:
    """Intensities shown as black and white: a little beyond the 0.5th and 99.7th percentile of the tissue.

    White comes earlier where fluid is so bright that the brain would be dark.

    Parameters
    ----------
    volume
        ``(i, j, k)`` intensities.
    mask
        ``(i, j, k)``, brain or head; of a head only what lies deep inside is looked at, as fat of the
        scalp outshines the brain.
    spacing
        Voxel size in mm.
    """
    steps, tissue = tissue_of(mask, spacing)
    inside = volume[steps][tissue]
    if inside.size == 0:
        return (0.0, 1.0)
    low, middle, high = np.percentile(inside, [0.5, 50, 99.7])
    # The darkest tissue stays apart from the background, which is zero around a brain without skull.
    black = float(min(0.7 * low, 0.5 * middle)) if low > 0 else float(low)
    white = float(min(1.04 * high, black + (middle - black) / DARKEST_MIDDLE))
    return (black, white if white > black else black + 1.0)


def tissue_of(
    mask: NDArray[np.bool_], spacing: NDArray[np.floating]
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """Give the part of a mask whose intensities count, and the steps at which it was looked at.

    Returns
    -------
    tuple of slice, ndarray
        Steps along each axis, and a mask of the voxels at these steps: the mask itself, unless it is
        that of a head.
    """
    whole = (slice(None), slice(None), slice(None))
    if mask.sum() * float(np.prod(spacing)) <= LARGEST_BRAIN_ML * 1000:
        return whole, mask
    i, j, k = (slice(None, None, max(1, round(COARSE_MM / float(size)))) for size in spacing)
    coarse = mask[i, j, k]
    depth = ndimage.distance_transform_edt(
        coarse, sampling=[s.step * w for s, w in zip((i, j, k), spacing, strict=True)]
    )
    deep = depth > BENEATH_THE_SKULL_MM
    return ((i, j, k), deep) if deep.any() else (whole, mask)
