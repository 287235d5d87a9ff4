"""Jacobian determinants of a map on the lattice, in every way that decides whether it folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bids_nodereg.registration.lattice import identity

if TYPE_CHECKING:
    from torch import Tensor


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
        unit[axis].fill_(1)
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
