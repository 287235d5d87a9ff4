"""Distance of two descriptors under a displacement, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels.reference.warped import warp
from bids_nodereg.registration.stored import Stored

if TYPE_CHECKING:
    from torch import Tensor


def stored(descriptor: Tensor, bounds: tuple[float, float]) -> Stored:
    """Arrange a descriptor for :func:`descriptor_distance`; done once, read at every iteration.

    Parameters
    ----------
    descriptor
        ``1 c i j k``; it gets no gradient.
    bounds
        Least and largest value that the descriptor can have. An implementation may store fewer digits,
        evenly between them.

    Returns
    -------
    Stored
        Here the numbers as they are, in their own precision.
    """
    del bounds
    return Stored(descriptor.detach().movedim(1, -1).contiguous(), descriptor.shape[1])


def descriptor_distance(fixed: Stored, moving: Stored, displacement: Tensor, weight: Tensor) -> Tensor:
    """Mean over voxels and channels of the squared difference ``F(x) - M(x + u(x))``.

    Parameters
    ----------
    fixed, moving
        Descriptors of one lattice, stored with the same bounds.
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
    channels = fixed.channels
    here, there = (of.values[..., :channels].movedim(-1, 1).to(displacement.dtype) for of in (fixed, moving))
    squared = (here - warp(there, displacement)).square().mean(1, keepdim=True)
    return (squared * weight).sum() / weight.sum() * fixed.unit**2
