"""Points in tiles, so that threads can add to one lattice without meeting.

The way back of an interpolation adds to the voxels around every point. A tile of points reaches no further
than its border and a margin. Tiles of one colour lie so far apart that they share no voxel: threads work on
them at once, and the colours follow one another. No thread needs a copy of the lattice, and as the tiles
depend on the points alone, the sums have one order whatever the number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Integers = NDArray[np.int64]

_MARGIN = 3.0
"""Voxels between the outermost points of two tiles, beside twice the reach: the two cells of either, and one
for the last cell, to which points beyond the lattice are drawn."""


@dataclass(frozen=True)
class PointTiles:
    """Any points, sorted into slabs along the first axis.

    Attributes
    ----------
    order
        Numbers of the points, slab after slab.
    colours
        For each colour the slabs ``n 2``: start and end in ``order``.
    """

    order: Integers
    colours: tuple[Integers, ...]


def lattice_tiles(
    shape: Sequence[int], spacing: Sequence[float], reach: Sequence[float]
) -> tuple[Integers, ...]:
    """Cut a lattice of points into boxes along the first two axes, over all of the third.

    Parameters
    ----------
    shape
        Points along each axis.
    spacing
        Distance of two points along each axis, in voxels of the lattice that is added to.
    reach
        How far a point moves at most along each axis, in the same voxels.

    Returns
    -------
    tuple
        For each colour the boxes ``n 4``: start and end along the first and the second axis.
    """
    axes = []
    for size, step, far in zip(shape[:2], spacing, reach, strict=False):
        width = _width(far, step, size)
        starts = range(0, size, width)
        axes.append([[(s, min(s + width, size)) for s in starts[colour::2]] for colour in (0, 1)])
    return tuple(
        np.array([[*i, *j] for i, j in product(first, second)], np.int64).reshape(-1, 4)
        for first, second in product(*axes)
    )


def point_tiles(first_index: Floats, size: int, reach: float) -> PointTiles:
    """Sort points by where they start.

    Parameters
    ----------
    first_index
        Position of each point along the first axis, in voxels. One that is no number lies in the first slab:
        the loops add what it means to the first cell (:func:`.rows.cell`, :func:`.cells.find`).
    size
        Voxels along it.
    reach
        How far a point moves at most along it.
    """
    width = _width(reach, 1.0, size)
    inside = np.clip(np.nan_to_num(first_index, nan=0.0), 0, size - 1)
    slab = (inside / width).astype(np.uint16)  # which NumPy sorts by counting
    order = np.argsort(slab, kind="stable")
    edges = np.searchsorted(slab[order], np.arange(math.ceil(size / width) + 1))
    slabs = np.stack([edges[:-1], edges[1:]], 1)
    return PointTiles(order, (slabs[::2], slabs[1::2]))


def _width(reach: float, step: float, size: int) -> int:
    """Points of a tile along an axis: enough to keep its two neighbours apart."""
    apart = (2 * reach * 1.001 + _MARGIN) / step
    return max(1, min(size, math.ceil(apart))) if math.isfinite(apart) else size
