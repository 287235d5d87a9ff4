"""Separable filters on the voxel lattice, with edge values outside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration.warp import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def gaussian_kernel(sigma_vox: float, like: Tensor) -> Tensor:
    """Sampled Gaussian, truncated at 3 sigma and normalised to sum 1."""
    radius = max(1, math.ceil(3 * sigma_vox))
    x = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    kernel = torch.exp(-0.5 * (x / sigma_vox) ** 2)
    return kernel / kernel.sum()


def gaussian(image: Tensor, sigma_vox: float) -> Tensor:
    """Smooth ``b c i j k`` by a Gaussian of the given standard deviation; 0 changes nothing."""
    if sigma_vox <= 0:
        return image
    return separable(image, gaussian_kernel(sigma_vox, image))


def box(image: Tensor, radius: int) -> Tensor:
    """Mean over the cube of ``2 radius + 1`` voxels around each voxel."""
    if radius == 0:
        return image
    width = 2 * radius + 1
    kernel = torch.full((width,), 1 / width, dtype=image.dtype, device=image.device)
    return separable(image, kernel)


def separable(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlate each axis of ``b c i j k`` with the same odd kernel, edges replicated.

    Written as a sum of shifted slices: for the few taps used here this is several times quicker
    on a CPU than a depth-wise convolution, and the gradient is the same sum backwards.
    """
    radius = (kernel.numel() - 1) // 2
    taps = kernel.unbind()
    for axis in (2, 3, 4):
        size = image.shape[axis]
        padding = [0] * 6
        padding[2 * (4 - axis)] = padding[2 * (4 - axis) + 1] = radius
        padded = functional.pad(image, padding, mode="replicate")
        result = padded.narrow(axis, 0, size) * taps[0]
        for offset, tap in enumerate(taps[1:], start=1):
            result = torch.addcmul(result, padded.narrow(axis, offset, size), tap)
        image = result
    return image


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
    return resize(gaussian(image, sigma_vox), coarser_shape(image.shape[2:], shrink))
