"""Distance of two descriptors under a displacement, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels.reference.filters import resize
from bids_nodereg.registration.kernels.reference.interpolation import sample
from bids_nodereg.registration.lattice import identity, lattice_ratio

if TYPE_CHECKING:
    from torch import Tensor


def descriptor_distance(fixed: Tensor, moving: Tensor, displacement: Tensor, weight: Tensor) -> Tensor:
    """Mean over voxels and channels of the squared difference ``F(x) - M(x + u(x))``.

    Parameters
    ----------
    fixed, moving
        Descriptors, channels last: ``1 i j k c``.
    displacement
        ``u``, ``1 3 x y z`` in voxels of its own lattice over the same extent, interpolated where that is
        coarser; the only argument that gets a gradient.
    weight
        Weight of each voxel, ``1 1 i j k``; the mean is over its sum, never over all voxels.

    Returns
    -------
    Tensor
        A scalar.
    """
    shape = fixed.shape[1:4]
    if displacement.shape[2:] != shape:
        ratio = lattice_ratio(displacement.shape[2:], shape, displacement)
        displacement = resize(displacement, (shape[0], shape[1], shape[2])) * ratio
    points = identity(shape, displacement)
    warped = sample(moving.movedim(-1, 1), points + displacement)
    squared = (fixed.movedim(-1, 1) - warped).square().mean(1, keepdim=True)
    return (squared * weight).sum() / weight.sum()
