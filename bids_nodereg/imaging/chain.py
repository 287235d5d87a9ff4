"""Any number of affines and displacement fields as one map on world points.

:class:`~bids_nodereg.imaging.maps.SpatialMap` is what a registration makes: one affine and one field. What
is read from files (:mod:`bids_nodereg.imaging.chain_files`), or composed, can be longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.imaging.maps import DisplacementField, SpatialMap, flattened
from bids_nodereg.imaging.moves import growth, move, move_by_affine
from bids_nodereg.imaging.slabs import by_slabs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from bids_nodereg.geometry import Grid

    Part = NDArray[np.float64] | DisplacementField
    PointMap = Callable[[ArrayLike], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Chain:
    """Affines and displacement fields, one after the other: calling it maps world points.

    Examples
    --------
    >>> double, shift = np.diag([2.0, 2, 2, 1]), np.eye(4)
    >>> shift[:3, 3] = 1, 0, 0
    >>> Chain((double, shift))([10.0, 10.0, 10.0])
    array([21., 20., 20.])
    """

    parts: tuple[Part, ...]
    """4 x 4 matrices (RAS+ mm) and fields, in the order in which they act on a point."""

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map world points ``(..., 3)`` in mm; same shape."""
        shape, moved = flattened(points)
        steps, last = self._steps()
        for before, field in steps[:-1]:
            moved = move(moved, before, field.grid, field.vectors, np.eye(4))
        for before, field in steps[-1:]:
            moved = move(moved, before, field.grid, field.vectors, last)
        return (moved if steps else move_by_affine(moved, last)).reshape(shape)

    def determinant(self, points: ArrayLike) -> NDArray[np.float64]:
        """Determinant of the map's Jacobian at points ``(..., 3)``, without the last axis; no unit.

        By the chain rule it is the product of those of the parts, each where the parts before it take the
        points. For the displacements see :func:`bids_nodereg.imaging.moves.growth`.
        """
        shape, moved = flattened(points)
        steps, last = self._steps()
        total = np.full(len(moved), np.linalg.det(last[:3, :3]))
        for number, (before, field) in enumerate(steps):
            total *= np.linalg.det(before[:3, :3]) * growth(moved, before, field.grid, field.vectors)
            if number < len(steps) - 1:
                moved = move(moved, before, field.grid, field.vectors, np.eye(4))
        return total.reshape(shape[:-1])

    def _steps(self) -> tuple[list[tuple[NDArray[np.float64], DisplacementField]], NDArray[np.float64]]:
        """Each field with the product of the affines right before it, and that of those after the last."""
        steps, affine = [], np.eye(4)
        for part in self.parts:
            if isinstance(part, DisplacementField):
                steps.append((affine, part))
                affine = np.eye(4)
            else:
                affine = np.asarray(part, np.float64) @ affine
        return steps, affine

    @property
    def affine(self) -> NDArray[np.float64]:
        """Product of the affines, 4 x 4: the whole map where the displacements are zero."""
        matrix = np.eye(4)
        for part in self.parts:
            if not isinstance(part, DisplacementField):
                matrix = part @ matrix
        return matrix


def chain_of(mapping: SpatialMap | Chain) -> Chain:
    """Write one affine and one field as a chain; the map stays the same, and a chain is one already."""
    if isinstance(mapping, Chain):
        return mapping
    if mapping.field is None:
        return Chain((mapping.affine,))
    parts: tuple[Part, ...] = (mapping.field, mapping.affine)
    return Chain(parts[::-1] if mapping.affine_first else parts)


@dataclass(frozen=True, eq=False)
class NonAffinePart:
    """What a map does beyond its affines, as displacements on a lattice.

    Attributes
    ----------
    field
        The displacements; None when the map has none.
    entry
        4 x 4: takes fixed world points to the world of ``field``, which affines may act before.
    own
        Whether ``field`` is the map's own field, and not sampled on the fixed grid.
    """

    field: DisplacementField | None
    entry: NDArray[np.float64]
    own: bool


def non_affine_part(mapping: PointMap, fixed: Grid, *, threads: int = 1) -> NonAffinePart:
    """Take the affines off a map.

    A map with one displacement field gives that field, on its own grid, whatever affines come before
    and after. Of several fields, or of a function nothing is known about, the total is sampled on the
    fixed grid, followed by the inverse of the product of the affines.

    Parameters
    ----------
    mapping
        Fixed to moving points, RAS+ mm.
    fixed
        Grid of the fixed image.
    threads
        Number of slabs sampled at a time.
    """
    if not isinstance(mapping, (SpatialMap, Chain)):
        return NonAffinePart(sample_displacement(mapping, fixed, threads=threads), np.eye(4), own=False)
    mapping = chain_of(mapping)
    places = [n for n, part in enumerate(mapping.parts) if isinstance(part, DisplacementField)]
    if not places:
        return NonAffinePart(None, np.eye(4), own=True)
    if len(places) == 1:
        field = mapping.parts[places[0]]
        assert isinstance(field, DisplacementField)  # noqa: S101 - for the type checker; chosen so above
        return NonAffinePart(field, Chain(mapping.parts[: places[0]]).affine, own=True)
    undo = np.asarray(np.linalg.inv(mapping.affine), np.float64)
    whole = Chain((*mapping.parts, undo))
    return NonAffinePart(sample_displacement(whole, fixed, threads=threads), np.eye(4), own=False)


def sample_displacement(mapping: PointMap, grid: Grid, *, threads: int = 1) -> DisplacementField:
    """Sample ``mapping(x) - x`` at the voxel centres of a grid, in slabs so that memory stays small.

    Between the centres the result is only the linear interpolation of the map.
    """

    def displacement(voxels: NDArray[np.float64]) -> NDArray[np.float64]:
        points = grid.to_world(voxels)
        return mapping(points) - points

    vectors = by_slabs(displacement, grid, np.empty((*grid.shape, 3), np.float32), threads)
    return DisplacementField(grid, vectors)
