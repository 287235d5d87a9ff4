"""Score maps by what is known of a pair: labels, landmarks, a true map, and the maps themselves.

The maps may come from any program. Nothing here reads a file; :mod:`bids_nodereg.app.evaluate_files` does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from bids_nodereg.app.overlaps import IDENTITY, overlaps_under
from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.chain import Chain, chain_of, non_affine_part, sample_displacement
from bids_nodereg.imaging.interpolate import inside_buffer, nearest_on_grid
from bids_nodereg.imaging.maps import SpatialMap
from bids_nodereg.imaging.slabs import POINTS_PER_SLAB
from bids_nodereg.quality.displacement import error_measures
from bids_nodereg.quality.jacobian import digital_diffeomorphism, jacobian_measures
from bids_nodereg.quality.landmarks import landmark_measures, target_registration_error_mm
from bids_nodereg.quality.measures import json_ready
from bids_nodereg.quality.overlap import LabelOverlap, overlap_measures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from bids_nodereg.imaging.chain import NonAffinePart, PointMap
    from bids_nodereg.imaging.points import PointPair
    from bids_nodereg.imaging.volume import Volume

    Lattice = Literal["field", "fixed", "none"]
    Mask = NDArray[np.bool_]

NOTHING_MOVES = np.zeros((4, 4, 4, 3), np.float32)
"""A displacement that stands for every affine map: its determinants are 1 on a lattice of any size."""


@dataclass(frozen=True, eq=False)
class LabelPair:
    """The same structures in both images.

    Attributes
    ----------
    fixed, moving
        Label maps, each on its own grid.
    names
        Name of each code, as far as known.
    """

    fixed: Volume
    moving: Volume
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of a pair, all of it optional.

    Attributes
    ----------
    mask
        ``(i, j, k)`` on the fixed grid, where the maps are measured; None: everywhere.
    labels
        Label maps of both images.
    points
        Landmarks in both images.
    truth
        The true map from fixed to moving points.
    moving_grid
        Grid of the moving image.
    """

    mask: Mask | None = None
    labels: LabelPair | None = None
    points: PointPair | None = None
    truth: PointMap | None = None
    moving_grid: Grid | None = None


@dataclass(frozen=True)
class Evaluation:
    """What the evidence says about a map.

    Attributes
    ----------
    measures
        Value by key of :data:`~bids_nodereg.quality.evaluation_dictionary.EVALUATION`; those that the
        evidence does not allow are left out, and None is what cannot be said.
    labels_identity, labels_after
        Overlap of each label where the headers place the images, and by the map.
    lattice
        Where folds and Jacobians were computed: on the map's own ``field``, on the ``fixed`` grid, or
        ``none`` for an affine map, which needs no lattice.
    """

    measures: dict[str, float | None]
    labels_identity: tuple[LabelOverlap, ...]
    labels_after: tuple[LabelOverlap, ...]
    lattice: Lattice


def evaluate_maps(
    forward: PointMap,
    fixed_grid: Grid,
    evidence: Evidence | None = None,
    *,
    inverse: PointMap | None = None,
    threads: int = 1,
) -> Evaluation:
    """Measure a map from fixed to moving points.

    Parameters
    ----------
    forward
        Takes world points ``(..., 3)`` of the fixed image to the moving one, RAS+ mm: a
        :class:`~bids_nodereg.imaging.maps.SpatialMap`, a :class:`~bids_nodereg.imaging.chain.Chain`,
        or any other function. It is called in threads.
    fixed_grid
        Where labels are compared.
    evidence
        What else is known.
    inverse
        The map back.
    threads
        Number of pieces worked on at a time.

    Returns
    -------
    Evaluation
        Folds and Jacobian always; the rest as far as the evidence goes.

    Raises
    ------
    DataError
        If the displacement field lies outside the mask altogether.
    ValueError
        If the mask is empty or does not have the shape of the fixed grid.
    """
    known = Evidence() if evidence is None else evidence
    mask = np.ones(fixed_grid.shape, bool) if known.mask is None else known.mask
    if mask.shape != fixed_grid.shape or not mask.any():
        msg = (
            f"evaluate_maps: a mask of shape {mask.shape} with {int(mask.sum())} voxels does not fit a grid "
            f"of shape {fixed_grid.shape}"
        )
        raise ValueError(msg)
    part = non_affine_part(forward, fixed_grid, threads=threads)
    values: dict[str, float | None] = {}
    before, after = _labels(forward, fixed_grid, known.labels, threads)
    if known.labels is not None:
        values |= overlap_measures(before, "identity") | overlap_measures(after, "after")
    values |= _landmarks(forward, known.points)
    values |= _in_mask(forward, inverse, known, fixed_grid.to_world(np.argwhere(mask)), threads)
    values |= _affine_determinant(forward) | _regularity(part, fixed_grid, mask)
    lattice: Lattice = "none" if part.field is None else "field" if part.own else "fixed"
    return Evaluation(json_ready(values), before, after, lattice)


def _labels(
    forward: PointMap, grid: Grid, labels: LabelPair | None, threads: int
) -> tuple[tuple[LabelOverlap, ...], tuple[LabelOverlap, ...]]:
    """Overlap on the fixed grid, without any transform and by the map."""
    if labels is None:
        return (), ()
    # at the voxel centres, which is where it is read, the sampled map is the map
    sampled = SpatialMap(np.eye(4), sample_displacement(forward, grid, threads=threads))
    return overlaps_under((IDENTITY, sampled), (labels.fixed, labels.moving), grid, labels.names, threads)


def _landmarks(forward: PointMap, points: PointPair | None) -> dict[str, float]:
    if points is None:
        return {}
    before = target_registration_error_mm(points.fixed, points.moving)
    after = target_registration_error_mm(forward(points.fixed), points.moving)
    return {
        "landmarks": float(len(after)),
        **landmark_measures(before, "identity"),
        **landmark_measures(after, "after"),
    }


def _in_mask(
    forward: PointMap, inverse: PointMap | None, known: Evidence, points: NDArray[np.float64], threads: int
) -> dict[str, float]:
    """What is measured at the voxel centres ``(n, 3)`` of the mask: errors in mm, and the field of view."""

    def each(function: PointMap) -> NDArray[np.float64]:
        return _by_pieces(function, points, threads)

    values: dict[str, float] = {}
    everywhere = np.ones(len(points), bool)
    if known.truth is not None:
        truth = known.truth
        error = each(lambda x: _distance(forward(x), truth(x)))
        values |= error_measures(error, everywhere, "endpoint_error")
    if inverse is not None:
        back = inverse
        there = each(lambda x: _distance(back(forward(x)), x))
        values |= error_measures(there, everywhere, "inverse_consistency_forward")
        # starts at the moving points that the mask is sent to
        home = each(lambda x: _distance(forward(back(forward(x))), forward(x)))
        values |= error_measures(home, everywhere, "inverse_consistency_backward")
    if known.moving_grid is not None:
        view = known.moving_grid
        inside = each(lambda x: inside_buffer(view.to_index(forward(x)), view.shape).astype(np.float64))
        values["moving_coverage_fraction"] = float(inside.mean())
    return values


def _affine_determinant(forward: PointMap) -> dict[str, float]:
    """Volume change of the affines of a map; nothing of a function that has no such part."""
    if not isinstance(forward, (SpatialMap, Chain)):
        return {}
    return {"affine_determinant": float(np.linalg.det(chain_of(forward).affine[:3, :3]))}


def _regularity(part: NonAffinePart, grid: Grid, mask: Mask) -> dict[str, float]:
    """Folds and Jacobians of the map without its affines, where its lattice lies in the mask."""
    if part.field is None:
        everywhere = np.ones(NOTHING_MOVES.shape[:3], bool)
        return jacobian_measures(digital_diffeomorphism(NOTHING_MOVES, np.eye(4)), everywhere)
    seen = Grid(grid.shape, part.entry @ grid.affine)  # the fixed grid in the world of the field
    lattice = part.field.grid
    inside = mask if seen.is_close(lattice) else nearest_on_grid(mask, seen, lattice)
    if not inside.any():
        msg = (
            "No voxel of the displacement field lies in the mask of the fixed image, so there is nothing to "
            "measure. Check that the transform belongs to this fixed image, and its direction."
        )
        raise DataError(msg)
    return jacobian_measures(digital_diffeomorphism(part.field.vectors, lattice.affine), inside)


def _distance(a: NDArray[np.float64], b: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(a - np.asarray(b), axis=-1), np.float64)


def _by_pieces(function: PointMap, points: NDArray[np.float64], threads: int) -> NDArray[np.float64]:
    """Call a function that gives one number a point on pieces of the points."""
    pieces = np.array_split(points, max(1, len(points) // POINTS_PER_SLAB))
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(function, pieces)))
