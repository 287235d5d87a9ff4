"""How much each place counts on the working grid: nothing in a lesion, and how stiff it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.errors import DataError
from bids_nodereg.imaging.prepare import smoothly_sampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.prepare import Prepared
    from bids_nodereg.imaging.volume import Volume

LEAST_LESION_SHARE = 0.1
"""Part of a voxel that has to be lesion for the voxel to be excluded: rather too much than too little."""

STIFFNESS_RANGE = (0.1, 10.0)
"""Smallest and largest stiffness relative to the mean; beyond, the penalty is as good as off, or a wall."""


def cost_onto_grid(
    prepared: Prepared, grid: Grid, affine: NDArray[np.float64] | None = None
) -> NDArray[np.float32] | None:
    """Sample what is left out on a grid: 0 in the lesion, 1 elsewhere and beyond the image.

    Parameters
    ----------
    prepared, grid, affine
        As in :func:`onto_grid`.

    Returns
    -------
    ndarray or None
        ``(i, j, k)`` float32 on ``grid``; a voxel with a tenth of it in the lesion is 0. None where the
        image has no lesion.
    """
    if prepared.lesion is None:
        return None
    share = smoothly_sampled(prepared.lesion.astype(np.float32), prepared.volume.grid, grid, 0.0, affine)
    return (share < LEAST_LESION_SHARE).astype(np.float32)


def stiffness_onto_grid(stiffness: Volume, grid: Grid, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Sample a map of relative stiffness on a grid, its mean over the mask scaled to 1.

    Parameters
    ----------
    stiffness
        Positive values on any grid in the same world.
    grid
        Where it is wanted.
    mask
        ``(i, j, k)`` on ``grid``: the brain.

    Returns
    -------
    ndarray
        ``(i, j, k)`` float32 on ``grid``, clipped to :data:`STIFFNESS_RANGE`; 1 where the map says nothing.

    Raises
    ------
    DataError
        If a value is not above 0, or the map lies beside the mask.
    """
    values = stiffness.data
    bad = values.size - np.count_nonzero(values > 0)
    if bad:
        msg = (
            f"{stiffness.path}: {bad} of {values.size} values of the stiffness map are not above 0 (least "
            f"{values.min():g}). Expected relative weights, with the weight of ordinary tissue where nothing "
            "is known."
        )
        raise DataError(msg)
    sampled = smoothly_sampled(values, stiffness.grid, grid, np.nan)
    known = np.isfinite(sampled)
    if not (known & mask).any():
        msg = (
            f"{stiffness.path}: the stiffness map lies beside the mask of the fixed image. Check its header."
        )
        raise DataError(msg)
    mean = sampled[known & mask].mean(dtype=np.float64)
    relative = np.where(known, sampled / np.float32(mean), np.float32(1))
    return np.clip(relative, *STIFFNESS_RANGE).astype(np.float32, copy=False)
