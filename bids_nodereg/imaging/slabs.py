"""The voxels of a grid, a slab of planes at a time, so that memory for their points stays small."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_nodereg.imaging.moves import move_by_affine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid

POINTS_PER_SLAB = 2**18  # about 25 MB of float64 points and intermediates


def slabs_of(grid: Grid) -> list[slice]:
    """Slices of the first axis that cover a grid, each of about :data:`POINTS_PER_SLAB` voxels."""
    planes = max(1, POINTS_PER_SLAB // (grid.shape[1] * grid.shape[2]))
    return [slice(first, min(first + planes, grid.shape[0])) for first in range(0, grid.shape[0], planes)]


def slab_index(grid: Grid, slab: slice) -> NDArray[np.float64]:
    """List the voxel indices ``(n, 3)`` of the planes ``slab`` of the first axis, last axis fastest."""
    _, columns, rows = grid.shape
    axes = np.arange(slab.start, slab.stop), np.arange(columns), np.arange(rows)
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.float64)


def index_between(
    grid: Grid, other: Grid, slab: slice, affine: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Find where the voxels of a slab of ``grid`` are in ``other``, as its fractional index ``(n, 3)``.

    ``affine`` (4 x 4) takes world points of ``grid`` to world points of ``other``; None: the same world.
    """
    between = np.eye(4) if affine is None else affine
    whole = np.asarray(np.linalg.inv(other.affine) @ between @ grid.affine, np.float64)
    return move_by_affine(slab_index(grid, slab), whole)


def by_slabs(
    values_at: Callable[[NDArray[np.float64]], NDArray[Any]], grid: Grid, out: NDArray[Any], threads: int
) -> NDArray[Any]:
    """Fill ``out`` ``(i, j, k, ...)`` with a function of the voxel indices ``(n, 3)`` of a grid."""

    def fill(slab: slice) -> None:
        target = out[slab]
        target[...] = values_at(slab_index(grid, slab)).reshape(target.shape)

    if threads <= 1:
        for slab in slabs_of(grid):
            fill(slab)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, slabs_of(grid)))
    return out
