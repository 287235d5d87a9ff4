"""Points through affines and a displacement field in one compiled pass.

A step of a map takes a point ``p`` to

    y = B (x + u(x))    with    x = A p

with affines ``A`` and ``B`` and a displacement ``u``, which is linear between the voxels of its grid and zero
beyond ITK's buffer. An image has ten million voxels; a pass for each operation would read and write all
their points, 24 bytes each, six times.

The loops release the interpreter lock, so callers may run them in threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bids_nodereg.compiled import compiled
from bids_nodereg.imaging.neighbours import neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid

    Points = NDArray[np.float64]


def move(
    points: Points,
    before: NDArray[np.float64],
    grid: Grid,
    vectors: NDArray[np.float32],
    after: NDArray[np.float64],
) -> Points:
    """Take points through an affine, a displacement and another affine.

    Parameters
    ----------
    points
        ``(n, 3)``; voxel indices or mm, as ``before`` takes them.
    before
        ``A``, 4 x 4: to the world of the displacement, RAS+ mm.
    grid
        Where the vectors are.
    vectors
        ``(i, j, k, 3)`` float32, C order, RAS+ mm.
    after
        ``B``, 4 x 4: from that world.

    Returns
    -------
    NDArray[np.float64]
        ``(n, 3)``.
    """
    out = np.empty_like(points)
    _move_loop(points, _rows(before), _rows(np.linalg.inv(grid.affine)), vectors, _rows(after), out)
    return out


def move_by_affine(points: Points, matrix: NDArray[np.float64]) -> Points:
    """Take points ``(n, 3)`` through a 4 x 4 affine."""
    out = np.empty_like(points)
    _affine_loop(points, _rows(matrix), out)
    return out


def growth(
    points: Points, before: NDArray[np.float64], grid: Grid, vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Determinant of ``I + grad u`` at ``A p``, no unit.

    The gradient is the difference between the displacements half a voxel of the field before and after the
    point, which at a voxel centre is the usual central difference; at the border of the field it is
    one-sided. The jump of a field that is not zero at its border is no part of it, and beyond the field the
    determinant is 1.

    Parameters
    ----------
    points, before, grid, vectors
        As for :func:`move`.

    Returns
    -------
    NDArray[np.float64]
        ``(n,)``.
    """
    inverse = np.linalg.inv(grid.affine)
    out = np.empty(len(points))
    _growth_loop(points, _rows(inverse @ before), vectors, np.ascontiguousarray(inverse[:3, :3]), out)
    return out


def _rows(matrix: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The first three rows of a 4 x 4 matrix, as the loops take them."""
    return np.ascontiguousarray(matrix[:3], dtype=np.float64)


@compiled()
def _move_loop(
    points: Points,
    before: NDArray[np.float64],
    to_index: NDArray[np.float64],
    vectors: NDArray[np.float32],
    after: NDArray[np.float64],
    out: Points,
) -> None:
    for n in range(points.shape[0]):
        x, y, z = _affine(before, points[n, 0], points[n, 1], points[n, 2])
        i, j, k = _affine(to_index, x, y, z)
        u, v, w = _displacement(vectors, i, j, k)
        out[n, 0], out[n, 1], out[n, 2] = _affine(after, x + u, y + v, z + w)


@compiled()
def _affine_loop(points: Points, matrix: NDArray[np.float64], out: Points) -> None:
    for n in range(points.shape[0]):
        out[n, 0], out[n, 1], out[n, 2] = _affine(matrix, points[n, 0], points[n, 1], points[n, 2])


@compiled()
def _growth_loop(
    points: Points,
    to_index: NDArray[np.float64],
    vectors: NDArray[np.float32],
    slope: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """``slope`` is the change of the field's voxel index along each axis of the world, 3 x 3."""
    size_i, size_j, size_k, _ = vectors.shape
    last = (size_i - 1.0, size_j - 1.0, size_k - 1.0)
    along = np.empty((3, 3))  # [a, b]: change of component a by one voxel along axis b of the field
    total = np.empty((3, 3))
    above, below = np.empty(3), np.empty(3)
    for n in range(points.shape[0]):
        i, j, k = _affine(to_index, points[n, 0], points[n, 1], points[n, 2])
        if not (-0.5 <= i < size_i - 0.5 and -0.5 <= j < size_j - 0.5 and -0.5 <= k < size_k - 0.5):
            out[n] = 1.0
            continue
        for axis in range(3):
            above[0], above[1], above[2] = i, j, k
            below[0], below[1], below[2] = i, j, k
            above[axis] = min(above[axis] + 0.5, last[axis])
            below[axis] = max(below[axis] - 0.5, 0.0)
            step = above[axis] - below[axis]
            share = 1.0 / step if step > 0.0 else 0.0
            u1, v1, w1 = _displacement(vectors, above[0], above[1], above[2])
            u0, v0, w0 = _displacement(vectors, below[0], below[1], below[2])
            along[0, axis], along[1, axis], along[2, axis] = (
                share * (u1 - u0),
                share * (v1 - v0),
                share * (w1 - w0),
            )
        for a in range(3):
            for b in range(3):
                change = along[a, 0] * slope[0, b] + along[a, 1] * slope[1, b] + along[a, 2] * slope[2, b]
                total[a, b] = change + 1.0 if a == b else change
        out[n] = (
            total[0, 0] * (total[1, 1] * total[2, 2] - total[1, 2] * total[2, 1])
            - total[0, 1] * (total[1, 0] * total[2, 2] - total[1, 2] * total[2, 0])
            + total[0, 2] * (total[1, 0] * total[2, 1] - total[1, 1] * total[2, 0])
        )


@compiled()
def _affine(rows: NDArray[np.float64], x: float, y: float, z: float) -> tuple[float, float, float]:
    """One point through the upper three rows of an affine."""
    return (
        rows[0, 0] * x + rows[0, 1] * y + rows[0, 2] * z + rows[0, 3],
        rows[1, 0] * x + rows[1, 1] * y + rows[1, 2] * z + rows[1, 3],
        rows[2, 0] * x + rows[2, 1] * y + rows[2, 2] * z + rows[2, 3],
    )


@compiled()
def _displacement(vectors: NDArray[np.float32], i: float, j: float, k: float) -> tuple[float, float, float]:
    """Interpolate one vector linearly; zero beyond ITK's buffer."""
    size_i, size_j, size_k, _ = vectors.shape
    if not (-0.5 <= i < size_i - 0.5 and -0.5 <= j < size_j - 0.5 and -0.5 <= k < size_k - 0.5):
        return 0.0, 0.0, 0.0
    i0, i1, wi = neighbours(i, size_i)
    j0, j1, wj = neighbours(j, size_j)
    k0, k1, wk = neighbours(k, size_k)
    u = v = w = 0.0
    for p, wp in ((i0, 1.0 - wi), (i1, wi)):
        for q, wq in ((j0, 1.0 - wj), (j1, wj)):
            for r, wr in ((k0, 1.0 - wk), (k1, wk)):
                weight = wp * wq * wr
                u += weight * vectors[p, q, r, 0]
                v += weight * vectors[p, q, r, 1]
                w += weight * vectors[p, q, r, 2]
    return u, v, w
