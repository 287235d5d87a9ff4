"""Maps on the voxel lattice: sampling, composition, inversion, resizing.

Positions and displacements are in voxels, component order ``(i, j, k)`` as the array axes.
Tensors are ``b c i j k``. Outside the lattice an image has the value of its nearest edge voxel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bids_nodereg.registration import kernels
from bids_nodereg.registration.lattice import lattice_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def sample(image: Tensor, at: Tensor) -> Tensor:
    """Interpolate an image trilinearly at given positions.

    Parameters
    ----------
    image
        Values ``b c i j k`` on the lattice.
    at
        Positions ``b 3 x y z`` in voxel index of ``image``; 0 is the centre of the first voxel.
        A position outside takes the nearest edge value.

    Returns
    -------
    Tensor
        Values ``b c x y z``; differentiable with respect to both arguments.

    Raises
    ------
    ValueError
        If an axis of ``image`` has a single voxel: the index has no scale there.
    """
    return kernels.sample(image, at)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of ``(id + outer) o (id + inner)``; both ``1 3 i j k`` on the same lattice."""
    return kernels.compose(outer, inner)


def resize(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate values onto a lattice of another shape over the same extent (corner on corner)."""
    if tuple(image.shape[2:]) == tuple(shape):
        return image
    return kernels.resize(image, (shape[0], shape[1], shape[2]))


def resize_vectors(field: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize a displacement or velocity and express it in voxels of the new lattice."""
    return resize(field, shape) * lattice_ratio(field.shape[2:], shape, field)


def fixed_point_inverse(forward: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Improve an inverse displacement; see :func:`.kernels.reference.interpolation.fixed_point_inverse`."""
    return kernels.fixed_point_inverse(forward, start, iterations)


def balanced_inverse(forward: Tensor, inverse: Tensor) -> Tensor:
    """Share the rounding of the lattice between both orders of composition.

    Between voxels both maps are interpolated, so no inverse fits both orders: one that closes forward
    after inverse leaves twice the error of the plain flow in inverse after forward. Half a correction
    by that residual, ``w <- w - r(id + w) / 2`` with ``r`` of inverse after forward, evens them out.

    Parameters
    ----------
    forward, inverse
        Displacements ``1 3 i j k`` in voxels; the inverse closes forward after inverse.
    """
    half_back = compose(inverse, forward).mul_(-0.5)
    return compose(half_back, inverse)
