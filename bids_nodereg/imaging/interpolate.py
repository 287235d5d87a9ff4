"""Sampling arrays at fractional voxel indices with ITK's rules; compiled loops over points.

ITK's buffer rule (checked against SimpleITK): a point is inside when its index lies in
``[-0.5, n - 0.5)`` along every axis; within the outer half voxel the edge value continues.

The loops release the interpreter lock, so callers may run them in threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from scipy import ndimage

from bids_nodereg.compiled import compiled
from bids_nodereg.geometry import apply_affine
from bids_nodereg.imaging.neighbours import neighbours
from bids_nodereg.imaging.slabs import index_between

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid


def linear(
    values: NDArray[np.float32], index: NDArray[np.float64], *, outside: float | None = 0.0
) -> NDArray[np.float32]:
    """Interpolate channels-last values linearly.

    Parameters
    ----------
    values
        ``(i, j, k, c)`` float32.
    index
        ``(n, 3)`` fractional voxel indices.
    outside
        Value beyond the buffer; None continues the edge values for ever.

    Returns
    -------
    NDArray[np.float32]
        ``(n, c)``.
    """
    out = np.empty((len(index), values.shape[3]), np.float32)
    fill = np.float32(0.0 if outside is None else outside)
    _linear_loop(np.ascontiguousarray(values), index, outside is None, fill, out)
    return out


def label_vote(labels: NDArray[np.int32], index: NDArray[np.float64]) -> NDArray[np.int32]:
    """Give each point the label whose indicator image, linearly interpolated, is largest there.

    This is one-hot linear interpolation followed by argmax, without the one-hot images. On a tie
    the smaller label wins. Outside the buffer the label is 0.

    Parameters
    ----------
    labels
        ``(i, j, k)`` int32.
    index
        ``(n, 3)`` fractional voxel indices.

    Returns
    -------
    NDArray[np.int32]
        ``(n,)``.
    """
    out = np.empty(len(index), np.int32)
    _label_loop(np.ascontiguousarray(labels), index, out)
    return out


def nearest_on_grid(mask: NDArray[np.bool_], own: Grid, wanted: Grid) -> NDArray[np.bool_]:
    """Carry a mask ``(i, j, k)`` from its own grid to another by the nearest voxel; False outside."""
    index = index_between(wanted, own, slice(0, wanted.shape[0]))
    nearest = cast("NDArray[np.int64]", np.rint(index).astype(np.int64))
    inside = np.all((nearest >= 0) & (nearest < np.asarray(own.shape)), axis=1)
    i, j, k = np.where(inside[:, None], nearest, 0).T
    carried: NDArray[np.bool_] = (mask[i, j, k] & inside).reshape(wanted.shape)
    return carried


def whole_on_grid(mask: NDArray[np.bool_], own: Grid, wanted: Grid) -> NDArray[np.bool_]:
    """Carry a mask as :func:`nearest_on_grid`, but lose no piece of it that lies in the grid.

    A piece (connected through faces) of which no nearest voxel knows, because it lies between the
    centres of larger voxels, marks each voxel in which it has a voxel's centre.
    """
    carried = nearest_on_grid(mask, own, wanted)
    places = np.argwhere(mask)
    index = np.rint(apply_affine(np.linalg.inv(wanted.affine) @ own.affine, places)).astype(np.int64)
    inside = np.all((index >= 0) & (index < np.asarray(wanted.shape)), axis=1)
    index, places = index[inside], places[inside]
    pieces, count = ndimage.label(mask)
    piece = pieces[tuple(places.T)]
    known = np.bincount(piece, carried[tuple(index.T)], minlength=count + 1) > 0
    carried[tuple(index[~known[piece]].T)] = True
    return carried


def inside_buffer(index: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Tell which indices ``(n, 3)`` lie inside ITK's buffer."""
    return cast("NDArray[np.bool_]", ((index >= -0.5) & (index < np.asarray(shape) - 0.5)).all(axis=1))


@compiled()
def _linear_loop(
    values: NDArray[np.float32],
    index: NDArray[np.float64],
    endless: bool,  # noqa: FBT001 - numba's compiled functions are called by position
    fill: np.float32,
    out: NDArray[np.float32],
) -> None:
    size_i, size_j, size_k, channels = values.shape
    for point in range(index.shape[0]):
        i, j, k = index[point, 0], index[point, 1], index[point, 2]
        inside = -0.5 <= i < size_i - 0.5 and -0.5 <= j < size_j - 0.5 and -0.5 <= k < size_k - 0.5
        if not (inside or endless):
            for channel in range(channels):
                out[point, channel] = fill
            continue
        i0, i1, wi = neighbours(i, size_i)
        j0, j1, wj = neighbours(j, size_j)
        k0, k1, wk = neighbours(k, size_k)
        for c in range(channels):
            v00 = values[i0, j0, k0, c] * (1.0 - wk) + values[i0, j0, k1, c] * wk
            v01 = values[i0, j1, k0, c] * (1.0 - wk) + values[i0, j1, k1, c] * wk
            v10 = values[i1, j0, k0, c] * (1.0 - wk) + values[i1, j0, k1, c] * wk
            v11 = values[i1, j1, k0, c] * (1.0 - wk) + values[i1, j1, k1, c] * wk
            v0 = v00 * (1.0 - wj) + v01 * wj
            v1 = v10 * (1.0 - wj) + v11 * wj
            out[point, c] = v0 * (1.0 - wi) + v1 * wi


@compiled()
def _label_loop(labels: NDArray[np.int32], index: NDArray[np.float64], out: NDArray[np.int32]) -> None:
    size_i, size_j, size_k = labels.shape
    corner = np.empty(8, np.int32)
    weight = np.empty(8, np.float64)
    for point in range(index.shape[0]):
        i, j, k = index[point, 0], index[point, 1], index[point, 2]
        if not (-0.5 <= i < size_i - 0.5 and -0.5 <= j < size_j - 0.5 and -0.5 <= k < size_k - 0.5):
            out[point] = 0
            continue
        i0, i1, wi = neighbours(i, size_i)
        j0, j1, wj = neighbours(j, size_j)
        k0, k1, wk = neighbours(k, size_k)
        for n in range(8):
            upper_i, upper_j, upper_k = n & 4, n & 2, n & 1
            corner[n] = labels[i1 if upper_i else i0, j1 if upper_j else j0, k1 if upper_k else k0]
            weight[n] = (
                (wi if upper_i else 1 - wi) * (wj if upper_j else 1 - wj) * (wk if upper_k else 1 - wk)
            )
        best, best_weight = corner[0], -1.0
        for n in range(8):
            total = 0.0
            for m in range(8):
                if corner[m] == corner[n]:
                    total += weight[m]
            if total > best_weight or (total == best_weight and corner[n] < best):
                best, best_weight = corner[n], total
        out[point] = best
