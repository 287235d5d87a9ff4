"""The anatomy behind the demo images: tissue fractions of the MNI152 average brain.

nilearn carries the ICBM 152 2009a T1w average and its grey and white matter maps as packaged
files, so nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from bids_nodereg.geometry import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

TISSUES = ("cerebrospinal fluid", "grey matter", "white matter")
CHANNELS = (*TISSUES, "texture", "brain")
AIR_T1W = 0.08
"""T1w values of the stripped template (0 to 1) up to here are outside the brain."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A continuous brain: what is where in the world.

    Attributes
    ----------
    channels
        float32 ``(5, i, j, k)`` in the order of :data:`CHANNELS`: fractions of the three tissues
        (they add up to ``brain``), T1w intensity that the tissues do not explain (in units of the
        T1w range), and whether the point is in the brain (0 to 1).
    grid
        Where the voxels of ``channels`` are.
    """

    channels: NDArray[np.float32]
    grid: Grid

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Interpolate all channels linearly at world points ``(..., 3)`` in mm; ``(5, ...)``, 0 outside."""
        index = np.moveaxis(self.grid.to_index(points), -1, 0)
        return np.stack([map_coordinates(channel, index, order=1) for channel in self.channels])

    def brain_points(self, *, every: int = 2) -> NDArray[np.float64]:
        """World positions ``(n, 3)`` in mm of every so-many-th voxel of the brain along each axis."""
        inside = np.argwhere(self.channels[CHANNELS.index("brain"), ::every, ::every, ::every] > 0.5)
        return self.grid.to_world(inside * every)


def load_mni152() -> Anatomy:
    """Read the average brain that nilearn carries.

    Returns
    -------
    Anatomy
        On the template's own 1 mm grid, world = MNI space.
    """
    from nilearn.datasets import (
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )

    t1w, grey, white = (
        load(resolution=1)
        for load in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    )
    arrays = [np.asarray(image.dataobj, dtype=np.float32) for image in (t1w, grey, white)]
    unit = [(array / array.max()).astype(np.float32) for array in arrays]
    return anatomy_from_maps(unit[0], unit[1], unit[2], Grid(t1w.shape, t1w.affine))


def anatomy_from_maps(
    t1w: NDArray[np.float32], grey: NDArray[np.float32], white: NDArray[np.float32], grid: Grid
) -> Anatomy:
    """Turn a stripped T1w image and its tissue probabilities into a continuous anatomy.

    An average of many brains is blurred, so a probability is not a fraction. Raising the
    probabilities to a power and normalising them narrows the transition between tissues to what a
    single brain shows. What is neither grey nor white in the brain is called fluid.

    Parameters
    ----------
    t1w
        ``(i, j, k)``, 0 to 1, 0 outside the brain.
    grey, white
        Probabilities ``(i, j, k)``, 0 to 1.
    grid
        Where the voxels are.
    """
    brain = (t1w > AIR_T1W).astype(np.float32)
    fluid = np.clip(1 - grey - white, 0, 1)
    sharp = np.stack([fluid, grey, white]) ** 2.2
    fractions = brain * sharp / np.maximum(sharp.sum(axis=0), 1e-6)
    means = [float((t1w * part).sum() / part.sum()) for part in fractions]
    explained = sum(part * mean for part, mean in zip(fractions, means, strict=True))
    texture = np.clip(brain * (t1w - explained), -0.15, 0.15)
    edge = gaussian_filter(brain, 0.7)
    return Anatomy(np.stack([*fractions, texture, edge]).astype(np.float32), grid)
