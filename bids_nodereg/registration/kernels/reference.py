"""The kernels in plain torch: what the others are tested against, and what any device can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import grid_sample

if TYPE_CHECKING:
    from torch import Tensor


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Interpolate ``image`` (``b c i j k``) at ``at`` (``b 3 x y z``, voxel index), edges outside.

    The only caller of ``grid_sample``. Torch wants positions in [-1, 1] with the last axis
    first; both conversions happen here and nowhere else.
    """
    last_index = torch.tensor(image.shape[2:], dtype=at.dtype, device=at.device).view(1, 3, 1, 1, 1) - 1
    unit = 2 * at / last_index - 1
    last_axis_first = unit.flip(1).movedim(1, -1)
    return grid_sample(image, last_axis_first, padding_mode="border", align_corners=True)


def descriptor_distance(fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor) -> Tensor:
    """Mean over voxels and channels of the squared difference ``F(x) - M(x + u(x))``.

    Parameters
    ----------
    fixed, moving
        Descriptors, channels last: ``1 i j k c``.
    displacement
        ``u``, ``1 3 i j k`` in voxels; the only argument that gets a gradient.
    weight
        Weight of each voxel, ``1 1 i j k``; the mean is over its sum, never over all voxels.

    Returns
    -------
    Tensor
        A scalar.
    """
    axes = [torch.arange(n, dtype=displacement.dtype, device=displacement.device) for n in fixed.shape[1:4]]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    warped = sample(moving.movedim(-1, 1), points + displacement)
    squared = (fixed.movedim(-1, 1) - warped).square().mean(1, keepdim=True)
    return (squared * weight).sum() / weight.sum()
