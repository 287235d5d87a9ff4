"""Joint histograms of two images, one for each patch of the lattice, in torch.

A voxel touches four bins of each image, so sixteen of the joint histogram; a table of voxels times bins
is never made. The operations are over chunks of voxels; on CUDA ``index_add_`` adds in any order, so two
calls may differ in the last bits unless ``torch.use_deterministic_algorithms`` is on.

The Parzen window is the cubic B-spline (P. Thevenaz and M. Unser, "Optimization of mutual information
for multiresolution image registration", IEEE Transactions on Image Processing 9(12), 2000; D. Mattes et
al., "PET-CT image registration in the chest using free-form deformations", IEEE Transactions on Medical
Imaging 22(1), 2003).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from bids_nodereg.registration.kernels.reference.warped import warp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from bids_nodereg.registration.tiling import Tiling

CHUNK = 2**20
"""Voxels handled at once, which bounds the temporaries."""


def warped_histograms(
    fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor, bins: int, tiles: Tiling
) -> Tensor:
    """Joint histograms of the fixed image and of the moving one read at ``x + u(x)``.

    Parameters
    ----------
    fixed, moving, weight, bins, tiles
        As :func:`joint_histograms` takes them. The images get no gradient.
    displacement
        ``u``, ``1 3 x y z`` in voxels of its own lattice, as :func:`.warped.warp` takes it.

    Returns
    -------
    Tensor
        ``patches bins bins``, differentiable once, with respect to the displacement.
    """
    return joint_histograms(fixed.detach(), warp(moving, displacement), weight, bins, tiles)


def joint_histograms(fixed: Tensor, moving: Tensor, weight: Tensor, bins: int, tiles: Tiling) -> Tensor:
    """Sum the weights of the voxels of each patch into bins of both intensities.

    Parameters
    ----------
    fixed, moving
        Images ``1 1 i j k``. Intensities below 0 or above 1 count as 0 and 1, and have no slope.
    weight
        ``1 1 i j k``, not negative; voxels of weight 0 are skipped. It gets no gradient.
    bins
        Bins of each image, 4 or more. [0, 1] spans ``bins - 3`` of them; the others hold the tails
        of the windows.
    tiles
        Patches, of the images' shape.

    Returns
    -------
    Tensor
        ``patches bins bins``, the fixed intensity's bins first. The bins of a patch sum to its weight.
        Differentiable once, with respect to both images.
    """
    arguments = (fixed, moving, weight, bins, tiles)
    result: Tensor = _JointHistograms.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result


class _JointHistograms(torch.autograd.Function):
    """The histograms; the way back visits the voxels again instead of keeping their windows."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, moving: Tensor, weight: Tensor, bins: int, tiles: Tiling) -> Tensor:
        images = [image.detach().contiguous() for image in (fixed, moving, weight)]
        ctx.save_for_backward(*images)
        ctx.tiles = tiles
        joint = fixed.new_zeros(tiles.patches, bins, bins)
        count(images[0], images[1], images[2], tiles, joint)
        return joint

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        fixed, moving, weight = ctx.saved_tensors
        slope = grad_outputs[0].contiguous()
        grads = torch.zeros_like(fixed), torch.zeros_like(moving)
        gather(fixed, moving, weight, ctx.tiles, slope, *grads)
        return *grads, None, None, None


def windows(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cubic B-spline at ``1 + t, t, 1 - t, 2 - t`` for ``t`` in [0, 1]; they sum to 1."""
    s = 1 - t
    return s * s * s / 6, (3 * t - 6) * t * t / 6 + 2 / 3, (3 * s - 6) * s * s / 6 + 2 / 3, t * t * t / 6


def slopes(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of :func:`windows` with respect to ``t``; they sum to 0."""
    s = 1 - t
    return -s * s / 2, (3 * t - 4) * t / 2, (4 - 3 * s) * s / 2, t * t / 2


def count(fixed: Tensor, moving: Tensor, weight: Tensor, tiles: Tiling, joint: Tensor) -> None:
    """Add the voxels of each patch to its bins."""
    bins = joint.shape[-1]
    for voxels in _foreground(weight):
        a, t, _ = _positions(fixed, voxels, bins)
        b, s, _ = _positions(moving, voxels, bins)
        share = weight.view(-1)[voxels]
        first = (tiles.patch_of(voxels) * bins + a) * bins + b
        f, m = windows(t), windows(s)
        for row, column in product(range(4), repeat=2):
            joint.view(-1).index_add_(0, first + (row * bins + column), share * (f[row] * m[column]))


def gather(
    fixed: Tensor,
    moving: Tensor,
    weight: Tensor,
    tiles: Tiling,
    slope: Tensor,
    grad_fixed: Tensor,
    grad_moving: Tensor,
) -> None:
    """Write for each voxel what the slope of its patch's bins means for both intensities."""
    bins = slope.shape[-1]
    for voxels in _foreground(weight):
        a, t, fixed_inside = _positions(fixed, voxels, bins)
        b, s, moving_inside = _positions(moving, voxels, bins)
        first = (tiles.patch_of(voxels) * bins + a) * bins + b
        f, m, df, dm = windows(t), windows(s), slopes(t), slopes(s)
        of_fixed, of_moving = torch.zeros_like(t), torch.zeros_like(s)
        for row, column in product(range(4), repeat=2):
            value = slope.view(-1)[first + (row * bins + column)]
            of_fixed += value * (df[row] * m[column])
            of_moving += value * (f[row] * dm[column])
        scale = weight.view(-1)[voxels] * (bins - 3)
        grad_fixed.view(-1)[voxels] = of_fixed * scale * fixed_inside
        grad_moving.view(-1)[voxels] = of_moving * scale * moving_inside


def _foreground(weight: Tensor) -> Iterator[Tensor]:
    """Flat indices of the voxels of positive weight, in chunks."""
    yield from (weight.view(-1) > 0).nonzero().squeeze(1).split(CHUNK)


def _positions(image: Tensor, voxels: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """First of the four bins of each voxel, place between the middle two, and whether there is a slope."""
    value = image.view(-1)[voxels]
    position = value.clamp(0, 1) * (bins - 3)
    # Clamped as integers: whatever a NaN becomes, the bin is valid and the NaN goes on in the place.
    first = position.long().clamp(0, bins - 4)
    return first, position - first, (value >= 0) & (value <= 1)
