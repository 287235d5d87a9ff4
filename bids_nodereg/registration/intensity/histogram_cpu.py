"""The joint histograms in numba: one thread per patch, so the bits do not depend on the threads.

The Parzen window is the cubic B-spline (P. Thevenaz and M. Unser, "Optimization of mutual information
for multiresolution image registration", IEEE Transactions on Image Processing 9(12), 2000; D. Mattes et
al., "PET-CT image registration in the chest using free-form deformations", IEEE Transactions on Medical
Imaging 22(1), 2003). It is plain arithmetic, which the torch operations use too. It stands in this
file because numba's cache notices a change of a loop's own file only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from numba import prange

from bids_nodereg.compiled import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.floating[Any]]
    Boxes = NDArray[np.int64]

Value = TypeVar("Value", float, "Tensor")

# Contraction only, as in the other kernels: reassociation would change the order of sums.
_FAST = {"contract", "arcp", "nsz"}


def windows(t: Value) -> tuple[Value, Value, Value, Value]:
    """Cubic B-spline at ``1 + t, t, 1 - t, 2 - t`` for ``t`` in [0, 1]; they sum to 1."""
    s = 1 - t
    return s * s * s / 6, (3 * t - 6) * t * t / 6 + 2 / 3, (3 * s - 6) * s * s / 6 + 2 / 3, t * t * t / 6


def slopes(t: Value) -> tuple[Value, Value, Value, Value]:
    """Derivatives of :func:`windows` with respect to ``t``; they sum to 0."""
    s = 1 - t
    return -s * s / 2, (3 * t - 4) * t / 2, (4 - 3 * s) * s / 2, t * t / 2


_windows = compiled(inline="always", fastmath=_FAST)(windows)
_slopes = compiled(inline="always", fastmath=_FAST)(slopes)


@compiled(inline="always", fastmath=_FAST)
def _position(value: Any, bins: int) -> tuple[int, Any, bool]:
    """First of the four bins, place between the middle two, and whether there is a slope.

    Every comparison is false for a NaN: it keeps a valid bin and goes on in the place.
    """
    if value > 0:
        position = min(value * (bins - 3), bins - 3.0)
        first = min(int(position), bins - 4)
        return first, position - first, value <= 1
    return 0, value * 0.0, value == 0


@compiled(parallel=True, fastmath=_FAST)
def count(fixed: Array, moving: Array, weight: Array, boxes: Boxes, joint: Array) -> None:
    """Add the voxels of each box (``patches 6``: start and end along i, j, k) to its bins."""
    bins = joint.shape[-1]
    for number in prange(joint.shape[0]):
        mine = joint[number]
        i0, i1, j0, j1, k0, k1 = boxes[number]
        for i in range(i0, i1):
            for j in range(j0, j1):
                for k in range(k0, k1):
                    w = weight[i, j, k]
                    if w > 0:
                        a, t, _ = _position(fixed[i, j, k], bins)
                        b, s, _ = _position(moving[i, j, k], bins)
                        f, m = _windows(t), _windows(s)
                        for row in range(4):
                            for column in range(4):
                                mine[a + row, b + column] += w * (f[row] * m[column])


@compiled(parallel=True, fastmath=_FAST)
def gather(
    fixed: Array,
    moving: Array,
    weight: Array,
    boxes: Boxes,
    slope: Array,
    grad_fixed: Array,
    grad_moving: Array,
) -> None:
    """Write for each voxel what the slope of its patch's bins means for both intensities."""
    bins = slope.shape[-1]
    for number in prange(slope.shape[0]):
        mine = slope[number]
        i0, i1, j0, j1, k0, k1 = boxes[number]
        for i in range(i0, i1):
            for j in range(j0, j1):
                for k in range(k0, k1):
                    w = weight[i, j, k]
                    if w > 0:
                        a, t, fixed_inside = _position(fixed[i, j, k], bins)
                        b, s, moving_inside = _position(moving[i, j, k], bins)
                        f, m = _windows(t), _windows(s)
                        df, dm = _slopes(t), _slopes(s)
                        of_fixed = 0.0
                        of_moving = 0.0
                        for row in range(4):
                            for column in range(4):
                                value = mine[a + row, b + column]
                                of_fixed += value * (df[row] * m[column])
                                of_moving += value * (f[row] * dm[column])
                        if fixed_inside:
                            grad_fixed[i, j, k] = of_fixed * w * (bins - 3)
                        if moving_inside:
                            grad_moving[i, j, k] = of_moving * w * (bins - 3)
