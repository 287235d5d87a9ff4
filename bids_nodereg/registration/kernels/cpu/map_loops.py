"""The loops over maps: composition forth and back, and the fixed point of the inverse.

Arguments that the loops share:

field
    ``n 4``: a packed displacement; see :mod:`.cells`.
shape
    Voxels of the lattice along each axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.cells import FAST, add, find, inside, slope, total, value
from bids_nodereg.registration.kernels.cpu.vectors import four, is_zero, lane0, lane1, lane2, rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Integers = NDArray[np.int64]
    Shape = tuple[int, int, int]


@compiled(forceinline=True, fastmath=FAST)
def _vector(array: Array, x: int, y: int, z: int) -> Any:
    """One vector of ``3 x y z``."""
    return four(array[0, x, y, z], array[1, x, y, z], array[2, x, y, z])


@compiled(forceinline=True, fastmath=FAST)
def _write(array: Array, x: int, y: int, z: int, vector: Any) -> None:
    array[0, x, y, z] = lane0(vector)
    array[1, x, y, z] = lane1(vector)
    array[2, x, y, z] = lane2(vector)


@compiled(forceinline=True, fastmath=FAST)
def _voxel(like: Array, x: int, y: int, z: int) -> Any:
    """A voxel's index as a vector."""
    kind = like.dtype.type
    return four(kind(x), kind(y), kind(z))


@compiled(forceinline=True, fastmath=FAST)
def _read(field: Any, shape: Shape, last: Any, base: Any, shift: Any) -> Any:
    """The displacement at a place."""
    plane, line = shape[1] * shape[2], shape[2]
    row, fraction = find(base, shift, last, plane, line)
    return value(field, row, fraction, plane, line)


@compiled(parallel=True, fastmath=FAST)
def compose_forth(field: Array, shape: Shape, inner: Array, out: Array) -> None:
    """``inner`` and the field at where it leads, ``3 x y z``."""
    for row in prange(shape[0] * shape[1]):
        x, y = row // shape[1], row % shape[1]
        last = _voxel(inner, shape[0] - 1, shape[1] - 1, shape[2] - 1)
        outer = rows(field)
        for z in range(shape[2]):
            shift = _vector(inner, x, y, z)
            moved = _read(outer, shape, last, _voxel(inner, x, y, z), shift)
            _write(out, x, y, z, shift + moved)


@compiled(parallel=True, fastmath=FAST)
def compose_back(
    field: Array, shape: Shape, inner: Array, slopes: Array, boxes: Integers, gradient: Array, pulls: Array
) -> None:
    """What the voxels of some boxes mean for the field (added) and for ``inner`` (written).

    ``gradient`` has no rows, and ``pulls`` no planes, where it is not wanted.
    """
    plane, line = shape[1] * shape[2], shape[2]
    wants_outer, wants_inner = gradient.shape[0] > 0, pulls.shape[1] > 0
    for box in prange(boxes.shape[0]):
        last = _voxel(inner, shape[0] - 1, shape[1] - 1, shape[2] - 1)
        outer, gradients = rows(field), rows(gradient)
        for x in range(boxes[box, 0], boxes[box, 1]):
            for y in range(boxes[box, 2], boxes[box, 3]):
                for z in range(shape[2]):
                    along = _vector(slopes, x, y, z)
                    pull = along
                    if not is_zero(along):
                        base, shift = _voxel(inner, x, y, z), _vector(inner, x, y, z)
                        row, fraction = find(base, shift, last, plane, line)
                        if wants_outer:
                            add(gradients, row, fraction, plane, line, along)
                        if wants_inner:
                            here = slope(outer, row, fraction, plane, line, along)
                            pull = along + here * inside(base, shift, last)
                    if wants_inner:
                        _write(pulls, x, y, z, pull)


@compiled(parallel=True, fastmath=FAST)
def invert(field: Array, shape: Shape, start: Array, iterations: int, out: Array) -> None:
    """Fixed point of ``w = -u(id + w)`` from ``start``; see :func:`reference.fixed_point_inverse`."""
    for row in prange(shape[0] * shape[1]):
        x, y = row // shape[1], row % shape[1]
        last = _voxel(start, shape[0] - 1, shape[1] - 1, shape[2] - 1)
        forward = rows(field)
        for z in range(shape[2]):
            base, inverse = _voxel(start, x, y, z), _vector(start, x, y, z)
            proposal = _read(forward, shape, last, base, inverse) * -1
            step = proposal - inverse
            error = total(step * step)
            for _ in range(iterations):
                following = _read(forward, shape, last, base, proposal) * -1
                step = following - proposal
                following_error = total(step * step)
                if following_error < error:
                    inverse, error = proposal, following_error
                proposal = following
            _write(out, x, y, z, inverse)
