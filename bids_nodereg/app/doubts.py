"""Doubts about a solved pair that only another look at the images can settle.

Is the moving image a mirror image? Is it of the same person at all? Is there anything in it? A similarity
alone cannot say, as nobody knows what it should be. So the image is compared with itself, made wrong on
purpose:

- **mirrored** left for right and aligned anew. A brain and its mirror image differ in every gyrus, about as
  two people do. So for one person the image as it is matches much better; for an image that was
  mirrored on the way, its mirror image does; and for two people neither.
- **turned over** by half a turn. Whatever there is to match, a brain upside down does not match it.

All of it happens after the affine alone, as a deformation hides part of the difference, and at 4 mm, or
finer for objects smaller than a brain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from bids_nodereg.imaging.interpolate import inside_buffer
from bids_nodereg.imaging.prepare import onto_grid, working_grid
from bids_nodereg.registration.affine import DESCRIPTOR, align, transform
from bids_nodereg.registration.descriptors import describe, masked_distance
from bids_nodereg.registration.image_pair import ImagePair
from bids_nodereg.registration.lattice import identity
from bids_nodereg.registration.settings import AffineSettings
from bids_nodereg.registration.warp import sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.app.inputs import Inputs
    from bids_nodereg.app.stages import Solution
    from bids_nodereg.registration.affine import Freedom

SPACING_MM = 4.0
"""Voxel size at which brains are compared."""

VOXELS_ACROSS = 16
"""Voxels that the cube of the fixed mask's volume has at least along an edge: a smaller object is compared
on smaller voxels, as the descriptors see three voxels far."""

MARGIN_VOXELS = 3
SHORT = AffineSettings(iterations=(25, 20), angles_deg=(0.0,), keep=1)
"""The mirror image starts nearly aligned: one start, few iterations. The voxel sizes are set for each."""

LEAST_OVERLAP = 0.1
"""Part of the fixed mask that both masks must share for a distance over them to mean anything."""

LEAST_DISTANCE = 1e-6
"""What an image has at least against itself, so that a ratio stays a number."""

HALF_TURNS = ((1, 2), (0, 2), (0, 1))
"""Axes that each half turn about the third one reverses."""

VIEW_STEP_MM = 6.0
"""Distance of the points at which the fixed field of view is asked for; one along an axis at least."""


def doubt_measures(
    inputs: Inputs, solution: Solution, freedom: Freedom, device: torch.device
) -> dict[str, float | None]:
    """Compare the affinely aligned moving image with itself, mirrored and turned over.

    Parameters
    ----------
    inputs
        The prepared images.
    solution
        Its affine is used, and its whole map for the field of view.
    freedom
        What the mirror image may do to align itself: what the image itself could.
    device
        Where the descriptors are computed.

    Returns
    -------
    dict
        Keys of the dictionary; a ratio is missing where the images hardly overlap. Nothing where the fixed
        mask is empty.
    """
    if not inputs.fixed.mask.any():
        return {}
    spacing_mm = _spacing_mm(inputs)
    grid = working_grid(inputs.fixed, spacing_mm, MARGIN_VOXELS * spacing_mm)
    moving, moving_mask = onto_grid(inputs.moving, grid, solution.affine)
    fixed, fixed_mask = onto_grid(inputs.fixed, grid)
    images = _Images(fixed, fixed_mask, moving, moving_mask)
    values: dict[str, float | None] = {"fixed_view_covered_fraction": _view_covered(inputs, solution)}
    if not fixed_mask.any():
        return values | {"turned_distance_ratio": None, "mirrored_distance_ratio": None}
    own = images.pair(device)
    turned = [_distance(images.reversed(axes).pair(device), DESCRIPTOR.reach) for axes in HALF_TURNS]
    least = min((found for found in turned if found is not None), default=None)
    values["turned_distance_ratio"] = _ratio(least, _distance(own, DESCRIPTOR.reach))
    mirrored = _aligned_mirror_image(images, spacing_mm, freedom, device)
    values["mirrored_distance_ratio"] = _ratio(_distance(mirrored), _distance(own))
    return values


def _spacing_mm(inputs: Inputs) -> float:
    volume_mm3 = np.count_nonzero(inputs.fixed.mask) * inputs.fixed.volume.grid.voxel_volume
    return float(min(SPACING_MM, np.cbrt(volume_mm3) / VOXELS_ACROSS))


def _ratio(wrong: float | None, own: float | None) -> float | None:
    """How much worse the wrong image matches; None where one of the two could not be measured."""
    return None if wrong is None or own is None else wrong / max(own, LEAST_DISTANCE)


@dataclass(frozen=True, eq=False)
class _Images:
    """Both images and masks on one grid, ``(i, j, k)``, axis 0 about from left to right."""

    fixed: NDArray[np.float32]
    fixed_mask: NDArray[np.bool_]
    moving: NDArray[np.float32]
    moving_mask: NDArray[np.bool_]

    def reversed(self, axes: tuple[int, ...]) -> _Images:
        """Reverse the moving image along axes about the middle of the fixed mask."""
        moving, mask = self.moving, self.moving_mask
        for axis in axes:
            where = np.flatnonzero(self.fixed_mask.any(axis=tuple(a for a in range(3) if a != axis)))
            size = self.fixed.shape[axis]
            # the voxel that the reversal about the middle puts here; beyond the grid its edge is repeated
            source = np.clip(where[0] + where[-1] - np.arange(size), 0, size - 1)
            moving, mask = moving.take(source, axis=axis), mask.take(source, axis=axis)
        return replace(self, moving=moving, moving_mask=mask)

    def pair(self, device: torch.device) -> ImagePair:
        """As ``1 1 i j k`` float32 tensors."""
        arrays = (self.fixed, self.moving, self.fixed_mask, self.moving_mask)
        tensors = (torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays)
        return ImagePair(*(tensor[None, None].to(device) for tensor in tensors))


def _aligned_mirror_image(
    images: _Images, spacing_mm: float, freedom: Freedom, device: torch.device
) -> ImagePair:
    """The pair with the mirror image of the moving one, as well aligned as it can be."""
    pair = images.reversed((0,)).pair(device)
    if not pair.moving_mask.any():
        return pair
    short = replace(SHORT, spacings_mm=(2 * spacing_mm, spacing_mm))
    found = align(pair, spacing_mm, short, freedom, told=torch.eye(4, dtype=torch.float64))
    points = transform(found.matrix.to(device), identity(pair.fixed.shape[2:], pair.fixed))
    moving, mask = sample(pair.moving, points), sample(pair.moving_mask, points)
    return replace(pair, moving=moving, moving_mask=(mask > 0.5).to(mask.dtype))


def _distance(pair: ImagePair, margin: int = 0) -> float | None:
    """Descriptor distance of two images on one grid, over what both masks share.

    Parameters
    ----------
    pair
        The images.
    margin
        Voxels to stay away from the edge of what is shared. The descriptors there see the edge, and two
        masks look alike whatever is in them.

    Returns
    -------
    float or None
        None where next to nothing is shared.
    """
    shared = _eroded(pair.fixed_mask * pair.moving_mask, margin)
    if float(shared.sum()) < LEAST_OVERLAP * float(pair.fixed_mask.sum()):
        return None
    with torch.no_grad():
        fixed = describe(pair.fixed, pair.fixed_mask, DESCRIPTOR)
        moving = describe(pair.moving, pair.moving_mask, DESCRIPTOR)
        return float(masked_distance(fixed, moving, shared))


def _eroded(mask: torch.Tensor, voxels: int) -> torch.Tensor:
    """Mask ``1 1 i j k`` without what is this near to its edge."""
    return -functional.max_pool3d(-mask, 2 * voxels + 1, stride=1, padding=voxels)


def _view_covered(inputs: Inputs, solution: Solution) -> float:
    """Part of the fixed image that the whole map sends into the moving image."""
    fixed, moving = inputs.fixed.volume.grid, inputs.moving.volume.grid
    steps = [
        max(1, min(count, round(VIEW_STEP_MM / size)))
        for count, size in zip(fixed.shape, fixed.spacing, strict=True)
    ]
    axes = [np.arange(step // 2, size, step) for step, size in zip(steps, fixed.shape, strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    landing = moving.to_index(solution.forward(fixed.to_world(index)))
    return float(np.mean(inside_buffer(landing, moving.shape)))
