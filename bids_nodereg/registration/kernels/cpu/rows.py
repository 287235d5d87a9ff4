"""A displacement on a coarser lattice, read row by row where the images are, and its gradient brought back.

Loops over the voxels of an image take it plane by plane (``i``), row by row (``j``), voxel by voxel
(``k``). The displacement is interpolated in the same order, one axis at a time, into buffers of a plane and
a row, so that no volume of vectors is ever made. The gradient takes the same way back: every plane of the
image fills a coarse plane of its own (``part``), which one thread writes in a fixed order; the coarse
planes are then added along ``i`` in a fixed order. So the bits do not depend on the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numba import prange

from bids_nodereg.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float32]
    Integers = NDArray[np.int64]

FAST = {"contract", "arcp", "nsz"}
"""Contraction only: reassociation would let the compiler change the order of sums."""


class Coarse(NamedTuple):
    """A displacement on its own lattice, and where the voxels of an image lie on it.

    Attributes
    ----------
    u
        ``3 x y z``, in voxels of its lattice.
    ratio
        Voxels of the image per voxel of that lattice, along i, j, k.
    lows, fractions
        Lower coarse point beside each voxel along i, then j, then k, and the place between it and the
        next: one array each, of as many entries as the three axes have voxels.
    """

    u: Array
    ratio: Array
    lows: Integers
    fractions: Array


def coarse_of(displacement: Tensor, shape: Sequence[int]) -> Coarse:
    """The displacement ``1 3 x y z`` as the loops take it, for an image of a shape."""
    lows, fractions, ratio = [], [], []
    for few, many in zip(displacement.shape[2:], shape, strict=True):
        at = np.arange(many) * ((few - 1) / (many - 1))
        low = np.minimum(at.astype(np.int64), few - 2)
        lows.append(low)
        fractions.append((at - low).astype(np.float32))
        ratio.append((many - 1) / (few - 1))
    return Coarse(
        array(displacement[0]),
        np.array(ratio, np.float32),
        np.concatenate(lows),
        np.concatenate(fractions),
    )


def planes_of(coarse: Coarse, shape: Sequence[int]) -> Array:
    """Room for the gradient of every plane of the image, each on a coarse plane: ``i 3 y z``."""
    return np.empty((shape[0], 3, *coarse.u.shape[2:]), np.float32)


def gradient_of(coarse: Coarse, part: Array, factor: float) -> Tensor:
    """Gradient of the displacement, ``1 3 x y z``, out of those of the planes, times a factor."""
    gradient = np.empty_like(coarse.u)
    scale = (factor * coarse.ratio).astype(np.float32)
    _add_planes(part, coarse.lows, coarse.fractions, scale, gradient)
    return torch.from_numpy(gradient)[None]


def array(tensor: Tensor) -> Any:
    """The numbers of a tensor, in C order."""
    return tensor.detach().contiguous().numpy()


@compiled(inline="always", fastmath=FAST)
def cell(position: Any, size: int) -> tuple[int, Any, bool]:
    """Lower voxel and fraction of a position clamped to the lattice, and whether it was inside.

    On the edge itself it was not: there is no slope, as in torch's ``grid_sample``. A position that is no
    number is in the first cell and goes on in the fraction: every comparison with it is false, so that of
    two numbers the first one remains.
    """
    # All in float32: with integers it would be compared in float64, a quarter of the time of sample.
    zero, last = np.float32(0), np.float32(size - 1)
    inside = (zero < position) & (position < last)
    clamped = min(max(position, zero), last)
    low = min(int(max(zero, clamped)), size - 2)
    return low, clamped - np.float32(low), inside


@compiled(inline="always", fastmath=FAST)
def moved(row: Array, at: int, f: Any, voxel: tuple[int, int, int], shape: tuple[int, int, int]) -> Any:
    """Where a voxel is read: :func:`cell` along i, j, k, given the displacement of its row, ``3 z``."""
    x, y, z = voxel
    i, fi, in_i = cell(np.float32(x) + (row[0, at] + f * (row[0, at + 1] - row[0, at])), shape[0])
    j, fj, in_j = cell(np.float32(y) + (row[1, at] + f * (row[1, at + 1] - row[1, at])), shape[1])
    k, fk, in_k = cell(np.float32(z) + (row[2, at] + f * (row[2, at + 1] - row[2, at])), shape[2])
    return i, fi, in_i, j, fj, in_j, k, fk, in_k


@compiled(inline="always", fastmath=FAST)
def any_counts(weight: Array) -> bool:
    """Whether a voxel of a row has a positive weight."""
    found = False
    for z in range(weight.shape[0]):
        found |= weight[z] > 0
    return found


@compiled(inline="always", fastmath=FAST)
def value_and_slopes(
    image: Array, i: int, j: int, k: int, fi: Any, fj: Any, fk: Any
) -> tuple[Any, Any, Any, Any]:
    """Trilinear value of ``image`` (``i j k``) in a cell, and its derivatives along the three axes."""
    # Unsigned: no place is negative, and the compiler need not ask.
    i0, j0, k0 = np.uint64(i), np.uint64(j), np.uint64(k)
    i1, j1, k1 = np.uint64(i + 1), np.uint64(j + 1), np.uint64(k + 1)
    v000, v001, v010, v011 = image[i0, j0, k0], image[i0, j0, k1], image[i0, j1, k0], image[i0, j1, k1]
    v100, v101, v110, v111 = image[i1, j0, k0], image[i1, j0, k1], image[i1, j1, k0], image[i1, j1, k1]
    d00, d01, d10, d11 = v001 - v000, v011 - v010, v101 - v100, v111 - v110
    v00, v01, v10, v11 = v000 + fk * d00, v010 + fk * d01, v100 + fk * d10, v110 + fk * d11
    e0, e1 = v01 - v00, v11 - v10
    v0, v1 = v00 + fj * e0, v10 + fj * e1
    d0, d1 = d00 + fj * (d01 - d00), d10 + fj * (d11 - d10)
    return v0 + fi * (v1 - v0), v1 - v0, e0 + fi * (e1 - e0), d0 + fi * (d1 - d0)


@compiled(inline="always", fastmath=FAST)
def blend_planes(coarse: Coarse, x: int, plane: Array) -> None:
    """The displacement at a plane of the image, in its voxels: ``plane``, ``3 y z``."""
    u, ratio, lows, fractions = coarse
    low, fraction = lows[x], fractions[x]
    for axis in range(3):
        for j in range(plane.shape[1]):
            for k in range(plane.shape[2]):
                here, next_one = u[axis, low, j, k], u[axis, low + 1, j, k]
                plane[axis, j, k] = (here + fraction * (next_one - here)) * ratio[axis]


@compiled(inline="always", fastmath=FAST)
def blend_rows(plane: Array, low: int, fraction: Any, row: Array) -> None:
    """The plane at a place along j: ``row``, ``3 z``."""
    for axis in range(3):
        for k in range(row.shape[1]):
            here, next_one = plane[axis, low, k], plane[axis, low + 1, k]
            row[axis, k] = here + fraction * (next_one - here)


@compiled(inline="always", fastmath=FAST)
def add_to_row(row: Array, low: int, fraction: Any, gi: Any, gj: Any, gk: Any) -> None:
    """Share the gradient of a voxel between the two coarse points beside it along k."""
    row[0, low] += gi - fraction * gi
    row[0, low + 1] += fraction * gi
    row[1, low] += gj - fraction * gj
    row[1, low + 1] += fraction * gj
    row[2, low] += gk - fraction * gk
    row[2, low + 1] += fraction * gk


@compiled(inline="always", fastmath=FAST)
def add_to_plane(row: Array, low: int, fraction: Any, plane: Array) -> None:
    """Share the gradient of a row between the two coarse rows beside it, and clear it."""
    for axis in range(3):
        for k in range(row.shape[1]):
            above = fraction * row[axis, k]
            plane[axis, low, k] += row[axis, k] - above
            plane[axis, low + 1, k] += above
            row[axis, k] = 0


@compiled(parallel=True, fastmath=FAST)
def _add_planes(part: Array, lows: Integers, fractions: Array, scale: Array, gradient: Array) -> None:
    """Share the gradient of every plane, ``i 3 y z``, between the planes of ``gradient``, ``3 x y z``.

    ``scale`` is a factor for each of the three components.
    """
    for low in prange(gradient.shape[1]):
        mine = gradient[:, low]
        mine[:] = 0
        for i in range(part.shape[0]):
            share = np.float32(0)
            if lows[i] == low:
                share = np.float32(1) - fractions[i]
            elif lows[i] == low - 1:
                share = fractions[i]
            if share > 0:
                for axis in range(3):
                    factor = share * scale[axis]
                    for j in range(part.shape[2]):
                        for k in range(part.shape[3]):
                            mine[axis, j, k] += factor * part[i, axis, j, k]


@compiled(inline="always", fastmath=FAST)
def add_row(row: Array, tap: Any, out: Array, is_first: Any) -> None:
    """Add a row times a tap; the first one replaces what was there."""
    if is_first:
        for k in range(out.shape[0]):
            out[k] = tap * row[k]
    else:
        for k in range(out.shape[0]):
            out[k] += tap * row[k]


@compiled(inline="always", fastmath=FAST)
def combine(rows: Array, first: int, taps: Array, out: Array) -> None:
    """Sum of rows, each with its tap, from row ``first`` on; behind the last row comes row 0 again."""
    for t in range(taps.shape[0]):
        add_row(rows[(first + t) % rows.shape[0]], taps[t], out, t == 0)


@compiled(inline="always", fastmath=FAST)
def band_row(row: Array, band: Any, out: Array) -> None:
    """A band along one row: where all taps are the same, over many entries at once."""
    starts, taps, same_from, same_to = band
    width = taps.shape[1]
    for o in range(same_from):
        total = np.float32(0)
        for t in range(width):
            total += taps[o, t] * row[starts[o] + t]
        out[o] = total
    for o in range(same_to, out.shape[0]):
        total = np.float32(0)
        for t in range(width):
            total += taps[o, t] * row[starts[o] + t]
        out[o] = total
    if same_to > same_from:
        first, inner = starts[same_from], out[same_from:same_to]
        for t in range(width):
            add_row(row[first + t : first + t + same_to - same_from], taps[same_from, t], inner, t == 0)
