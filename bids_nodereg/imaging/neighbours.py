"""The two voxels around a position along an axis: what every interpolation here begins with."""

from __future__ import annotations

import numpy as np

from bids_nodereg.compiled import compiled

SNAP = 1e-6  # voxels; grids that coincide up to rounding copy values and do not mix neighbours


@compiled()
def neighbours(position: float, size: int) -> tuple[int, int, float]:
    """Find the two voxels around a position and the weight of the second; beyond the edge, the edge.

    They are unsigned: no place is negative, and the compiler need not ask at each of them. A position that is
    no number is in the first voxel, as of two numbers that do not compare the first one remains.
    """
    whole = np.floor(position + 0.5)
    position = whole if abs(position - whole) < SNAP else position
    position = min(max(0.0, position), size - 1.0)
    low = np.floor(position)
    below = np.uint64(low)
    return below, min(below + np.uint64(1), np.uint64(size - 1)), position - low  # type: ignore[return-value] # as numba has them
