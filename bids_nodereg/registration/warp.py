"""Maps on the voxel lattice: identity, sampling, composition, inversion, Jacobian determinants.

Positions and displacements are in voxels, component order ``(i, j, k)`` as the array axes.
Tensors are ``b c i j k``. Outside the lattice an image has the value of its nearest edge voxel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from bids_nodereg.registration import kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def identity(shape: Sequence[int], like: Tensor) -> Tensor:
    """Positions of all voxels: ``1 3 i j k`` in voxel index, dtype and device of ``like``."""
    axes = [torch.arange(size, dtype=like.dtype, device=like.device) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


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
    if min(image.shape[2:]) < 2:
        msg = f"sample: image needs 2 voxels or more along every axis, got {tuple(image.shape[2:])}"
        raise ValueError(msg)
    return kernels.sample(image, at)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of ``(id + outer) o (id + inner)``; both ``b 3 i j k`` on the same lattice."""
    return inner + sample(outer, identity(inner.shape[2:], inner) + inner)


def resize(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate values onto a lattice of another shape over the same extent (corner on corner)."""
    if tuple(image.shape[2:]) == tuple(shape):
        return image
    return functional.interpolate(image, tuple(shape), mode="trilinear", align_corners=True)


def resize_vectors(field: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize a displacement or velocity and express it in voxels of the new lattice."""
    return resize(field, shape) * lattice_ratio(field.shape[2:], shape, field)


def lattice_ratio(old: Sequence[int], new: Sequence[int], like: Tensor) -> Tensor:
    """New voxels per old voxel along each axis, as ``1 3 1 1 1``, when corners coincide."""
    ratio = [(n - 1) / (o - 1) for o, n in zip(old, new, strict=True)]
    return torch.tensor(ratio, dtype=like.dtype, device=like.device).view(1, 3, 1, 1, 1)


def fixed_point_inverse(forward: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Improve an inverse displacement by the fixed point of ``w = -u(id + w)``.

    The residual shrinks by the Lipschitz constant of ``u`` per iteration where that is below 1;
    elsewhere the better of the old and the new value is kept, voxel by voxel.
    """
    points = identity(forward.shape[2:], forward)
    inverse = start
    proposal = -sample(forward, points + inverse)
    error = _residual(proposal, inverse)
    for _ in range(iterations):
        next_proposal = -sample(forward, points + proposal)
        next_error = _residual(next_proposal, proposal)
        better = next_error < error
        inverse = torch.where(better, proposal, inverse)
        error = torch.where(better, next_error, error)
        proposal = next_proposal
    return inverse


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
    residual = compose(inverse, forward)
    return inverse - sample(residual, identity(inverse.shape[2:], inverse) + inverse) / 2


def _residual(proposal: Tensor, inverse: Tensor) -> Tensor:
    """Norm of ``w + u(id + w)``, given ``proposal = -u(id + w)``."""
    return (proposal - inverse).square().sum(1, keepdim=True)


def corner_determinants(displacement: Tensor) -> Tensor:
    """Jacobian determinants of ``id + u`` by all eight choices of one-sided differences.

    At a voxel each axis has a forward and a backward difference; every combination spans one of
    the eight tetrahedra at that corner. All positive is (nearly, see
    :func:`tetrahedron_determinants`) what keeps the trilinear cell from folding, while the
    central difference can hide a fold (Liu et al., IJCV 2024).

    Parameters
    ----------
    displacement
        ``u``, ``b 3 i j k`` in voxels.

    Returns
    -------
    Tensor
        ``b 8 i-1 j-1 k-1``: the determinants in the lattice *cells*, one for each of the cell's
        eight corners, taken with the three edges of the cell that meet there.
    """
    edges = _cell_edges(displacement)
    determinants = [
        _triple(edges[0][dj][dk], edges[1][di][dk], edges[2][di][dj])
        for di in (0, 1)
        for dj in (0, 1)
        for dk in (0, 1)
    ]
    return torch.stack(determinants, 1)


def _cell_edges(displacement: Tensor) -> list[list[list[Tensor]]]:
    """Edge vectors of every lattice cell after deformation.

    ``edges[axis][a][b]`` is the edge along ``axis`` at the cell's side ``(a, b)`` of the other two
    axes in order: ``b 3 i-1 j-1 k-1``.
    """
    near, far = slice(None, -1), slice(1, None)
    sides = (near, far)
    edges = []
    for axis in range(3):
        step = displacement.diff(dim=axis + 2)
        unit = torch.zeros(3, dtype=step.dtype, device=step.device)
        unit[axis] = 1
        step = step + unit.view(1, 3, 1, 1, 1)
        rows = []
        for first in sides:
            row = []
            for second in sides:
                index = [slice(None)] * 5
                others = [a for a in range(3) if a != axis]
                index[others[0] + 2], index[others[1] + 2] = first, second
                row.append(step[tuple(index)])
            rows.append(row)
        edges.append(rows)
    return edges


def tetrahedron_determinants(displacement: Tensor) -> Tensor:
    """The two inner tetrahedra of each cell, whose volume the corner determinants do not see.

    A cube splits into four corner tetrahedra and one inner one, in two ways (Liu et al., IJCV
    2024). Six times the signed volume of an inner tetrahedron is a determinant too; on the
    identity it is 2, so half of it is returned.

    Returns
    -------
    Tensor
        ``b 2 i-1 j-1 k-1``.
    """
    position = identity(displacement.shape[2:], displacement) + displacement
    near, far = slice(None, -1), slice(1, None)

    def corner(di: int, dj: int, dk: int) -> Tensor:
        i, j, k = ((near, far)[side] for side in (di, dj, dk))
        return position[:, :, i, j, k]

    even = [corner(*c) for c in ((0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1))]
    odd = [corner(*c) for c in ((1, 1, 1), (0, 1, 0), (0, 0, 1), (1, 0, 0))]
    return torch.stack([_inner_volume(even), _inner_volume(odd)], 1)


def _inner_volume(vertices: list[Tensor]) -> Tensor:
    """Half the determinant of the three edges from the first vertex, positive for the identity."""
    origin, a, b, c = vertices
    return _triple(b - origin, a - origin, c - origin) / 2


def _triple(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Scalar triple product ``a . (b x c)`` along the component axis 1."""
    return (
        a[:, 0] * (b[:, 1] * c[:, 2] - b[:, 2] * c[:, 1])
        - a[:, 1] * (b[:, 0] * c[:, 2] - b[:, 2] * c[:, 0])
        + a[:, 2] * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    )
