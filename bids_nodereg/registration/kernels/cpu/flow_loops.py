"""The loops of the flows: a row of points goes its whole way at once, forth or back, inside the cache.

Stage after stage for all points of the row, not point after point: the interpolations of one stage do not
wait for one another, and a processor then works on several of them.

Arguments that the loops share:

field
    ``n 4``: the packed velocity fields one after the other; see :mod:`.cells`.
shape
    Voxels of their lattice along each axis.
way
    The steps; see :class:`.flows.Way`.
starts
    For each axis the voxel below each point and the rest, ``n 2``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import prange

from bids_nodereg.compiled import compiled
from bids_nodereg.registration.kernels.cpu.cells import FAST, add, find, inside, slope, value
from bids_nodereg.registration.kernels.cpu.vectors import (
    clamp,
    floor,
    four,
    is_zero,
    lane0,
    lane1,
    lane2,
    load4,
    number,
    rows,
    store4,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]
    Integers = NDArray[np.int64]
    Shape = tuple[int, int, int]
    Steps = tuple[Integers, Array]
    Starts = tuple[Array, Array, Array]

BLOCK = 64
"""Points in a row where they have no lattice."""


@compiled(forceinline=True, fastmath=FAST)
def _room(way: Steps, size: int) -> Array:
    """Room for a row of ``size`` points.

    The rows in it: voxel below each start, the rest, the slope (:func:`_back`), the displacement before
    each step and at the end, then for each stage of a step its rate and its place.
    """
    firsts, weights = way
    return np.empty(((4 + firsts.shape[0] + 2 * weights.shape[2]) * size, 4), weights.dtype)


@compiled(forceinline=True, fastmath=FAST)
def _inside(shape: Shape, way: Steps) -> tuple[Any, Any]:
    """Last voxel, rows to a step along ``i`` and ``j``; numbers of steps and stages, and addresses."""
    firsts, weights = way
    kind = weights.dtype.type
    last = four(kind(shape[0] - 1), kind(shape[1] - 1), kind(shape[2] - 1))
    sizes = (last, shape[1] * shape[2], shape[2])
    return sizes, (firsts.shape[0], weights.shape[2], rows(firsts), rows(weights))


@compiled(forceinline=True, fastmath=FAST)
def _stages(
    field: Any, sizes: Any, way: Any, n: int, last_rate: int, count: int, size: int, room: Any
) -> None:
    """Places of all stages of step ``n``, and the first ``last_rate`` of their rates."""
    steps, stages, firsts, weights = way
    last, plane, line = sizes
    rates, places = (4 + steps) * size, (4 + steps + stages) * size
    first = number(firsts, n)
    for s in range(stages):
        w = (n * (stages + 1) + s) * stages
        for z in range(count):
            at = load4(room, size + z) + load4(room, (3 + n) * size + z)
            for m in range(s):
                at = at + load4(room, rates + m * size + z) * number(weights, w + m)
            store4(room, places + s * size + z, at)
            if s < last_rate:
                row, fraction = find(load4(room, z), at, last, plane, line)
                store4(room, rates + s * size + z, value(field, first + row, fraction, plane, line))


@compiled(forceinline=True, fastmath=FAST)
def _forth(field: Any, sizes: Any, way: Any, steps: int, count: int, size: int, room: Any) -> None:
    """Displacement of a row of points before each of the steps and after them."""
    stages, weights = way[1], way[3]
    rates = (4 + way[0]) * size
    for z in range(count):
        store4(room, 3 * size + z, load4(room, z) * 0)
    for n in range(steps):
        _stages(field, sizes, way, n, stages, count, size, room)
        w = (n * (stages + 1) + stages) * stages
        for z in range(count):
            moved = load4(room, (3 + n) * size + z)
            for m in range(stages):
                moved = moved + load4(room, rates + m * size + z) * number(weights, w + m)
            store4(room, (4 + n) * size + z, moved)


@compiled(forceinline=True, fastmath=FAST)
def _step_back(
    field: Any, wanted: Any, sizes: Any, way: Any, n: int, count: int, size: int, room: Any
) -> None:
    """From the slopes with respect to the ends of step ``n`` to those of its starts, stage by stage."""
    steps, stages, firsts, weights = way
    gradient, is_wanted = wanted
    last, plane, line = sizes
    rates, places = (4 + steps) * size, (4 + steps + stages) * size
    first, w = number(firsts, n), n * (stages + 1) * stages
    for m in range(stages):
        for z in range(count):
            pull = load4(room, 2 * size + z) * number(weights, w + stages * stages + m)
            store4(room, rates + m * size + z, pull)
    for s in range(stages - 1, -1, -1):
        for z in range(count):
            base, at = load4(room, z), load4(room, places + s * size + z)
            along = load4(room, rates + s * size + z)
            row, fraction = find(base, at, last, plane, line)
            if is_wanted:
                add(gradient, first + row, fraction, plane, line, along)
            here = slope(field, first + row, fraction, plane, line, along) * inside(base, at, last)
            for m in range(s):
                pull = load4(room, rates + m * size + z)
                store4(room, rates + m * size + z, pull + here * number(weights, w + s * stages + m))
            store4(room, 2 * size + z, load4(room, 2 * size + z) + here)


@compiled(forceinline=True, fastmath=FAST)
def _back(field: Any, wanted: Any, sizes: Any, way: Any, count: int, size: int, room: Any) -> None:
    """From the slopes with respect to the ends of a row to those of the starts; adds those of the fields.

    ``wanted`` are the address of these and whether they are wanted.
    """
    steps, stages = way[0], way[1]
    _forth(field, sizes, way, steps - 1, count, size, room)
    for n in range(steps - 1, -1, -1):
        # No place depends on the rate of the last stage.
        _stages(field, sizes, way, n, stages - 1, count, size, room)
        _step_back(field, wanted, sizes, way, n, count, size, room)


@compiled(parallel=True, fastmath=FAST)
def lattice_forth(field: Array, shape: Shape, way: Steps, starts: Starts, ratio: Array, out: Array) -> None:
    """Displacement of each point of a lattice, times ``ratio`` along each axis, into ``out``: ``3 x y z``."""
    nx, ny, nz = out.shape[1:]
    of_i, of_j, of_k = starts
    for line in prange(nx * ny):
        x, y = line // ny, line % ny
        sizes, steps = _inside(shape, way)
        array = _room(way, nz)
        room = rows(array)
        for z in range(nz):
            store4(room, z, four(of_i[x, 0], of_j[y, 0], of_k[z, 0]))
            store4(room, nz + z, four(of_i[x, 1], of_j[y, 1], of_k[z, 1]))
        _forth(rows(field), sizes, steps, steps[0], nz, nz, room)
        for z in range(nz):
            moved = load4(room, (3 + steps[0]) * nz + z)
            out[0, x, y, z] = lane0(moved) * ratio[0]
            out[1, x, y, z] = lane1(moved) * ratio[1]
            out[2, x, y, z] = lane2(moved) * ratio[2]
        array[0, 0] = 0  # numba frees an array after its last use, and an address is none


@compiled(parallel=True, fastmath=FAST)
def lattice_back(
    field: Array,
    shape: Shape,
    way: Steps,
    starts: Starts,
    ratio: Array,
    slopes: Array,
    boxes: Integers,
    gradient: Array,
) -> None:
    """Add what the points of some boxes mean for the fields, given the slopes at their ends, ``3 x y z``."""
    of_i, of_j, of_k = starts
    nz = slopes.shape[3]
    for box in prange(boxes.shape[0]):
        sizes, steps = _inside(shape, way)
        array = _room(way, nz)
        room = rows(array)
        for x in range(boxes[box, 0], boxes[box, 1]):
            for y in range(boxes[box, 2], boxes[box, 3]):
                count = 0
                for z in range(nz):
                    pull = four(
                        slopes[0, x, y, z] * ratio[0],
                        slopes[1, x, y, z] * ratio[1],
                        slopes[2, x, y, z] * ratio[2],
                    )
                    if not is_zero(pull):
                        store4(room, count, four(of_i[x, 0], of_j[y, 0], of_k[z, 0]))
                        store4(room, nz + count, four(of_i[x, 1], of_j[y, 1], of_k[z, 1]))
                        store4(room, 2 * nz + count, pull)
                        count += 1
                _back(rows(field), (rows(gradient), True), sizes, steps, count, nz, room)
        array[0, 0] = 0  # as above


@compiled(forceinline=True, fastmath=FAST)
def _place(positions: Array, n: int, last: Any, place: int, room: Any) -> None:
    """Write the voxel below a point, and the rest; the voxel is one of the lattice whatever the point is."""
    at = four(positions[0, n], positions[1, n], positions[2, n])
    base = clamp(floor(at), last * 0, last)  # not at * 0, which may be no number
    store4(room, place, base)
    store4(room, BLOCK + place, at - base)


@compiled(parallel=True, fastmath=FAST)
def points_forth(field: Array, shape: Shape, way: Steps, positions: Array, out: Array) -> None:
    """Where each of the points ``3 n`` ends."""
    for block in prange((positions.shape[1] + BLOCK - 1) // BLOCK):
        sizes, steps = _inside(shape, way)
        array = _room(way, BLOCK)
        room = rows(array)
        start = block * BLOCK
        count = min(BLOCK, positions.shape[1] - start)
        for z in range(count):
            _place(positions, start + z, sizes[0], z, room)
        _forth(rows(field), sizes, steps, steps[0], count, BLOCK, room)
        for z in range(count):
            moved = load4(room, (3 + steps[0]) * BLOCK + z)
            out[0, start + z] = positions[0, start + z] + lane0(moved)
            out[1, start + z] = positions[1, start + z] + lane1(moved)
            out[2, start + z] = positions[2, start + z] + lane2(moved)
        array[0, 0] = 0  # as above


@compiled(parallel=True, fastmath=FAST)
def points_back(
    field: Array,
    shape: Shape,
    way: Steps,
    positions: Array,
    slopes: Array,
    tiles: tuple[Integers, Integers],
    gradient: Array,
    pulls: Array,
) -> None:
    """As :func:`lattice_back` for the points of some tiles; also the slopes at their starts, ``3 n``.

    ``tiles`` are the order of the points and the slabs of one colour, see :class:`.tiles.PointTiles`.
    ``gradient`` has no rows where it is not wanted.
    """
    order, slabs = tiles
    is_wanted = gradient.shape[0] > 0
    for slab in prange(slabs.shape[0]):
        sizes, steps = _inside(shape, way)
        array = _room(way, BLOCK)
        room = rows(array)
        for start in range(slabs[slab, 0], slabs[slab, 1], BLOCK):
            count = min(BLOCK, slabs[slab, 1] - start)
            for z in range(count):
                n = order[start + z]
                _place(positions, n, sizes[0], z, room)
                store4(room, 2 * BLOCK + z, four(slopes[0, n], slopes[1, n], slopes[2, n]))
            _back(rows(field), (rows(gradient), is_wanted), sizes, steps, count, BLOCK, room)
            for z in range(count):
                n = order[start + z]
                pull = load4(room, 2 * BLOCK + z)
                pulls[0, n] = lane0(pull)
                pulls[1, n] = lane1(pull)
                pulls[2, n] = lane2(pull)
        array[0, 0] = 0  # as above
