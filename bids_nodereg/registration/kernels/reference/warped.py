"""An image seen through a displacement, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration.kernels.reference.filters import resize
from bids_nodereg.registration.kernels.reference.interpolation import sample
from bids_nodereg.registration.lattice import identity, lattice_ratio

if TYPE_CHECKING:
    from torch import Tensor


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """Read an image at ``x + u(x)``, linearly, edge values outside.

    Parameters
    ----------
    image
        ``1 c i j k``; it gets no gradient.
    displacement
        ``u``, ``1 3 x y z`` in voxels of its own lattice over the same extent, interpolated linearly where
        that is coarser. The values of an affine map at the eight corners (``x y z`` = 2 2 2) give the map
        itself.

    Returns
    -------
    Tensor
        ``1 c i j k``, differentiable with respect to the displacement.
    """
    i, j, k = image.shape[2:]
    if displacement.shape[2:] != image.shape[2:]:
        ratio = lattice_ratio(displacement.shape[2:], image.shape[2:], displacement)
        displacement = resize(displacement, (i, j, k)) * ratio
    return sample(image.detach(), identity((i, j, k), displacement) + displacement)
