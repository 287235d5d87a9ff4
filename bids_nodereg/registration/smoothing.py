"""Separable filters on the voxel lattice, with edge values outside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bids_nodereg.registration import kernels
from bids_nodereg.registration.kernels.reference.filters import box_kernel, gaussian_kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def separable(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlate each axis of ``b c i j k`` with the same odd kernel, edges replicated."""
    # Every channel of every image for itself: a batch is as good as channels.
    return kernels.separable(image.flatten(0, 1)[None], kernel).view_as(image)


def gaussian(image: Tensor, sigma_vox: float) -> Tensor:
    """Smooth ``b c i j k`` by a Gaussian of the given standard deviation; 0 changes nothing."""
    if sigma_vox <= 0:
        return image
    return separable(image, gaussian_kernel(sigma_vox, image))


def box(image: Tensor, radius: int) -> Tensor:
    """Mean over the cube of ``2 radius + 1`` voxels around each voxel."""
    if radius == 0:
        return image
    return separable(image, box_kernel(radius, image))


def coarser_shape(shape: Sequence[int], shrink: int) -> tuple[int, int, int]:
    """Lattice with at most ``shrink`` old voxels per new one over the same extent; at least 2."""
    i, j, k = (max(2, math.ceil((size - 1) / shrink) + 1) for size in shape)
    return (i, j, k)


def downsample(image: Tensor, shrink: int) -> Tensor:
    """Smooth against aliasing and interpolate on a coarser lattice over the same extent.

    The Gaussian has a full width at half maximum of one new voxel, less that of an old one.
    """
    if shrink == 1:
        return image
    sigma_vox = math.sqrt(shrink**2 - 1) / (2 * math.sqrt(2 * math.log(2)))
    return kernels.downsample(
        image, coarser_shape(image.shape[2:], shrink), gaussian_kernel(sigma_vox, image)
    )
