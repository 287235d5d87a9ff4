"""What finding a brain needs besides a registration: pure functions of arrays on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid

HEAD_DEPTH_MM = 155.0
"""From the vertex down to the lowest slice of the head template."""

BRAIN_MM3 = (0.7e6, 2.2e6)
"""Volumes of an adult's brain with the fluid around it, with room: 0.7 to 2.2 litres."""

LEAST_CUT_BRAIN_MM3 = 0.15e6
"""Least volume of brain in a field of view that cuts it."""

CUT_MM2 = 2000.0
"""A brain whose mask meets the image's faces in more than this is cut by the field of view: 20 cm2, as
the brain stem alone takes up to 10."""

CUT_HEAD_MM2 = 6000.0
"""A foreground that meets the faces in more than this is a head cut by the field of view, not a brain
alone: 60 cm2."""

BINS = 16
"""Classes of template intensities, on either side of the brain's edge."""
CORE_MM = 3.0
"""The mask's edge may still be off by this: intensities within it come from deeper inside."""
LEAST_CORE_VOXELS = 30


def contact_mm2(mask: NDArray[np.bool_], grid: Grid) -> float:
    """Area in which a mask meets the six faces of its image."""
    voxel = grid.voxel_volume
    faces = (
        np.count_nonzero(mask.take(end, axis=axis)) * voxel / grid.spacing[axis]
        for axis in range(3)
        for end in (0, -1)
    )
    return float(sum(faces))


def top_of_head(head: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """Cut the neck off: keep what is at most :data:`HEAD_DEPTH_MM` below the highest part of the head.

    Heights are those of the world (RAS+), so the header has to say where up is.
    """
    steps = np.ogrid[tuple(slice(size) for size in grid.shape)]
    parts = [(step * rise).astype(np.float32) for step, rise in zip(steps, grid.affine[2, :3], strict=True)]
    heights = parts[0] + parts[1] + parts[2]  # above the first voxel; float32, as an image may be large
    highest = np.percentile(heights[head], 99.9, overwrite_input=True)
    return np.asarray(head & (heights > np.float32(highest - HEAD_DEPTH_MM)))


def near(mask: NDArray[np.bool_], grid: Grid, reach_mm: float) -> NDArray[np.bool_]:
    """Grow a mask by a distance in mm; a negative one shrinks it."""
    inside = mask if reach_mm < 0 else ~mask
    distance = ndimage.distance_transform_edt(inside, sampling=grid.spacing)
    return np.asarray(distance > -reach_mm if reach_mm < 0 else distance <= reach_mm)


def painted(
    template: NDArray[np.float32],
    brain: NDArray[np.bool_],
    around: NDArray[np.bool_],
    seen: NDArray[np.float32],
    grid: Grid,
) -> NDArray[np.float32]:
    """Give a template the contrast of an image that lies roughly in place.

    Each class of template intensities, inside and outside the brain, takes the median of what the image
    shows there. It is the conditional mean behind the correlation ratio (Roche et al., MICCAI 1998), made
    robust. The two dark things around a brain, fluid and bone, are told apart by the template's mask, and
    so get the two brightnesses that they have in a T2-weighted image.

    Parameters
    ----------
    template
        Intensities ``(i, j, k)``.
    brain
        Its brain.
    around
        The brain and what is close to it: where classes are made and medians taken.
    seen
        ``(i, j, k)``: the image, sampled on the template's grid.
    grid
        Grid of all of them.

    Returns
    -------
    ndarray
        ``(i, j, k)`` float32: the template in the image's contrast.
    """
    edges = np.quantile(template[around], np.linspace(0, 1, BINS + 1)[1:-1])
    classes = np.digitize(template, edges)
    out = np.zeros_like(template)
    for side, core in ((brain, near(brain, grid, -CORE_MM)), (~brain, ~brain)):
        for number in range(BINS):
            where = side & (classes == number)
            best = where & around & core
            if np.count_nonzero(best) < LEAST_CORE_VOXELS:
                best = where & around
            if best.any():
                out[where] = np.median(seen[best])
    return out


def agreement(one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Pearson correlation of two images on one grid; 0 where one of them is constant."""
    a, b = (values[where].astype(np.float64) for values in (one, other))
    if a.size == 0 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def depth_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Distance to the edge of a mask, in mm: positive inside, negative outside; ``(i, j, k)``.

    It is interpolated better than the mask itself, whose edge is as coarse as its voxels.
    """
    inside, outside = (ndimage.distance_transform_edt(each, sampling=grid.spacing) for each in (mask, ~mask))
    half = min(grid.spacing) / 2  # the edge lies between the voxels
    return np.where(mask, inside - half, half - outside).astype(np.float32)


def why_no_brain(mask: NDArray[np.bool_], grid: Grid) -> str:
    """Say in words why a mask cannot be that of an adult's brain; empty when it can."""
    volume = float(np.count_nonzero(mask)) * grid.voxel_volume
    is_cut = contact_mm2(mask, grid) > CUT_MM2
    least = LEAST_CUT_BRAIN_MM3 if is_cut else BRAIN_MM3[0]
    if least <= volume <= BRAIN_MM3[1]:
        return ""
    return f"{volume / 1e6:.2f} l, expected {least / 1e6:g} to {BRAIN_MM3[1] / 1e6:g} l"
