"""One interpolation of the original through a total map, slab by slab.

The result on a reference grid is ``moving(mapping(x))`` for every voxel centre ``x``, computed
with ITK's rules, so that ITK programs given the same transform produce the same image. Memory
beyond the result stays at a few slabs whatever the size; slabs may run in threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from bids_nodereg.imaging.chain import Chain, chain_of
from bids_nodereg.imaging.interpolate import inside_buffer, label_vote, linear
from bids_nodereg.imaging.maps import SpatialMap
from bids_nodereg.imaging.slabs import by_slabs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from bids_nodereg.geometry import Grid
    from bids_nodereg.imaging.chain import PointMap
    from bids_nodereg.imaging.volume import Volume

    Interpolation = Literal["linear", "cubic", "nearest"]
    Sampler = Callable[[NDArray[np.float64]], NDArray[Any]]

LOG_FLOOR = 1e-3  # a determinant below it counts as this much in its logarithm


def pull(
    samplers: Sequence[Sampler],
    grid: Grid,
    reference: Grid,
    mapping: PointMap,
    out: NDArray[Any],
    threads: int,
) -> NDArray[Any]:
    """Read several arrays that share a grid at ``mapping(x)`` for every voxel ``x`` of a reference.

    The points are mapped once for all, which is where most of the time goes.

    Parameters
    ----------
    samplers
        One for each array: from voxel indices ``(n, 3)`` to values ``(n,)``.
    grid
        Grid of the arrays.
    reference
        Grid of the result.
    mapping
        Takes world points of the reference to world points of the arrays, RAS+ mm.
    out
        ``(i, j, k, c)`` on ``reference``, one channel for each sampler; filled and returned.
    threads
        Number of slabs worked on at a time.
    """
    places = _index_map(mapping, reference, grid)

    def slab_values(voxels: NDArray[np.float64]) -> NDArray[Any]:
        index = places(voxels)
        return np.stack([sample(index) for sample in samplers], axis=-1)

    return by_slabs(slab_values, reference, out, threads)


def warp_image(
    moving: Volume,
    reference: Grid,
    mapping: PointMap,
    *,
    interpolation: Interpolation = "linear",
    threads: int = 1,
) -> NDArray[np.float32]:
    """Pull an image onto a reference grid: the value at ``x`` is ``moving(mapping(x))``.

    Parameters
    ----------
    moving
        The original image.
    reference
        Grid of the result.
    mapping
        Takes world points of the reference to world points of the image.
    interpolation
        Linear, cubic B-spline with mirrored edges (ITK's BSpline of order 3), or nearest voxel.
    threads
        Number of slabs worked on at a time.

    Returns
    -------
    NDArray[np.float32]
        ``(i, j, k)`` on ``reference``; 0 beyond the outer half voxel of the image.
    """
    sampler = SAMPLERS[interpolation](moving.data)
    out = np.empty((*reference.shape, 1), np.float32)
    return pull([sampler], moving.grid, reference, mapping, out, threads)[..., 0]


def warp_stack(
    images: NDArray[np.float32], grid: Grid, reference: Grid, mapping: PointMap, *, threads: int = 1
) -> NDArray[np.float32]:
    """Pull several images that share a grid at once: :func:`warp_image` (linear) per channel.

    The points are mapped once for all, which is where most of the time goes.

    Parameters
    ----------
    images
        ``(i, j, k, c)`` on ``grid``.

    Returns
    -------
    NDArray[np.float32]
        ``(i, j, k, c)`` on ``reference``.
    """
    places = _index_map(mapping, reference, grid)

    def slab_values(voxels: NDArray[np.float64]) -> NDArray[np.float32]:
        return linear(images, places(voxels))

    return by_slabs(
        slab_values, reference, np.empty((*reference.shape, images.shape[3]), np.float32), threads
    )


def warp_labels(
    labels: Volume, reference: Grid, mapping: PointMap, *, threads: int = 1
) -> NDArray[np.integer[Any]]:
    """Pull a label map onto a reference grid; the set of labels and the type stay.

    Each voxel takes the label whose indicator image, interpolated linearly, is largest there
    (ITK's and ANTs' "generic label" rule); codes are never averaged.

    Parameters
    ----------
    labels
        Label map with integer values.
    reference, mapping, threads
        As in :func:`warp_image`.

    Returns
    -------
    NDArray[np.integer]
        ``(i, j, k)`` on ``reference``, type of ``labels``; 0 outside the label map.
    """
    out = np.empty((*reference.shape, 1), labels.data.dtype)
    return pull([label_sampler(labels.data)], labels.grid, reference, mapping, out, threads)[..., 0]


def jacobian_determinant(mapping: SpatialMap | Chain, grid: Grid, *, threads: int = 1) -> NDArray[np.float32]:
    """Sample the determinant of the map's world Jacobian at the voxel centres of any grid.

    Above 1 the map expands, between 0 and 1 it shrinks, below 0 it folds. It is that of
    :meth:`Chain.determinant` (central differences over one voxel of the field), for pictures and
    statistics; it is not the proof that a map does not fold.

    Returns
    -------
    NDArray[np.float32]
        ``(i, j, k)`` on ``grid``.
    """
    from_voxels = Chain((grid.affine, *chain_of(mapping).parts))
    voxel = float(np.linalg.det(grid.affine[:3, :3]))

    def slab_values(voxels: NDArray[np.float64]) -> NDArray[np.float64]:
        return from_voxels.determinant(voxels) / voxel

    return by_slabs(slab_values, grid, np.empty(grid.shape, np.float32), threads)


def log_determinant(determinant: NDArray[np.float32]) -> NDArray[np.float32]:
    """Natural logarithm of a determinant, which is raised to at least :data:`LOG_FLOOR` before.

    Growth and shrinkage by the same factor then have the same size; a fold reads as the floor.
    """
    logarithm: NDArray[np.float32] = np.log(np.maximum(determinant, np.float32(LOG_FLOOR)))
    return logarithm


def label_sampler(labels: NDArray[Any]) -> Sampler:
    """Read a label map ``(i, j, k)`` of at most 32 bits by :func:`label_vote`."""
    codes = np.ascontiguousarray(labels, dtype=np.int32)
    return lambda index: label_vote(codes, index)


def _linear_sampler(data: NDArray[Any]) -> Sampler:
    image = np.ascontiguousarray(data, dtype=np.float32)[..., np.newaxis]
    return lambda index: linear(image, index)[:, 0]


def _cubic_sampler(data: NDArray[Any]) -> Sampler:
    shape = data.shape[0], data.shape[1], data.shape[2]
    coefficients = ndimage.spline_filter(data, order=3, output=np.float32, mode="mirror")

    def cubic(index: NDArray[np.float64]) -> NDArray[np.float32]:
        values = ndimage.map_coordinates(
            coefficients, index.T, output=np.float32, order=3, mode="mirror", prefilter=False
        )
        return np.where(inside_buffer(index, shape), values, np.float32(0))

    return cubic


def _nearest_sampler(data: NDArray[Any]) -> Sampler:
    image = np.ascontiguousarray(data, dtype=np.float32)

    def nearest(index: NDArray[np.float64]) -> NDArray[np.float32]:
        inside = inside_buffer(index, (image.shape[0], image.shape[1], image.shape[2]))
        whole = np.floor(index + 0.5).astype(np.int64)  # halves go up, as in ITK
        i, j, k = np.where(inside[:, None], whole, 0).T
        return np.where(inside, image[i, j, k], np.float32(0))

    return nearest


# each prepares an image for being read at indices (n, 3), with 0 outside the buffer
SAMPLERS: dict[str, Callable[[NDArray[Any]], Sampler]] = {
    "linear": _linear_sampler,
    "cubic": _cubic_sampler,
    "nearest": _nearest_sampler,
}


def _index_map(mapping: PointMap, reference: Grid, grid: Grid) -> PointMap:
    """From voxel indices of a reference to those of a grid; affines that follow one another become one."""
    if isinstance(mapping, (SpatialMap, Chain)):
        to_index = np.asarray(np.linalg.inv(grid.affine), np.float64)
        return Chain((reference.affine, *chain_of(mapping).parts, to_index))
    return lambda index: grid.to_index(mapping(reference.to_world(index)))
