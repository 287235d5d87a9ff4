"""Maps from fixed to moving points and back, as functions of world points (RAS+ mm).

With an affine ``A`` (fixed world to moving world) and displacements ``u`` and ``w`` on the
working grid, the two total maps are

    forward  y = A (x + u(x))                     x in the fixed, y in the moving world
    inverse  x = z + w(z)  with  z = A^-1 y
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.imaging.interpolate import linear
from bids_nodereg.imaging.moves import move, move_by_affine

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from bids_nodereg.geometry import Grid


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacements in mm on a grid: linear between voxels, zero outside (as in ITK).

    Raises
    ------
    ValueError
        If the vectors do not fit the grid.
    """

    grid: Grid
    """Where the vectors are."""
    vectors: NDArray[np.float32]
    """``(i, j, k, 3)`` float32, C order, RAS+ mm."""

    def __post_init__(self) -> None:
        """Check the shape; make the storage what the interpolation needs."""
        if self.vectors.shape != (*self.grid.shape, 3):
            msg = (
                f"DisplacementField: vectors of shape {self.vectors.shape} do not fit the grid, "
                f"expected {(*self.grid.shape, 3)}"
            )
            raise ValueError(msg)
        object.__setattr__(self, "vectors", np.ascontiguousarray(self.vectors, dtype=np.float32))

    def at(self, points: ArrayLike) -> NDArray[np.float64]:
        """Interpolate the displacement (mm) at world points ``(..., 3)``; same shape."""
        points = np.asarray(points, dtype=np.float64)
        index = self.grid.to_index(points).reshape(-1, 3)
        return linear(self.vectors, index).reshape(points.shape).astype(np.float64)


@dataclass(frozen=True, eq=False)
class SpatialMap:
    """An affine and a displacement, in a stated order: calling it maps world points.

    Examples
    --------
    >>> shift = np.eye(4); shift[:3, 3] = 1, 2, 3
    >>> SpatialMap(shift)([[10.0, 10.0, 10.0]])
    array([[11., 12., 13.]])
    """

    affine: NDArray[np.float64]
    """4 x 4, RAS+ mm."""
    field: DisplacementField | None = None
    """None: the affine is the whole map."""
    affine_first: bool = False
    """Whether the affine acts before the displacement (inverse map) or after it (forward map)."""

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map world points ``(..., 3)`` in mm; same shape."""
        shape, flat = flattened(points)
        if self.field is None:
            return move_by_affine(flat, self.affine).reshape(shape)
        before, after = (self.affine, np.eye(4)) if self.affine_first else (np.eye(4), self.affine)
        return move(flat, before, self.field.grid, self.field.vectors, after).reshape(shape)


def flattened(points: ArrayLike) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """The shape of points ``(..., 3)``, and the points as ``(n, 3)`` float64 in C order.

    Raises
    ------
    ValueError
        If the last axis has another length.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape[-1:] != (3,):
        msg = f"points of shape {points.shape}, expected (..., 3)"
        raise ValueError(msg)
    return points.shape, np.ascontiguousarray(points).reshape(-1, 3)


def forward_map(affine: NDArray[np.float64], field: DisplacementField | None = None) -> SpatialMap:
    """Build the total map from fixed to moving points, ``y = A (x + u(x))``.

    Parameters
    ----------
    affine
        ``A``: 4 x 4, fixed world to moving world.
    field
        ``u`` on the working grid.
    """
    return SpatialMap(np.asarray(affine, dtype=np.float64), field, affine_first=False)


def inverse_map(affine: NDArray[np.float64], field: DisplacementField | None = None) -> SpatialMap:
    """Build the total map from moving to fixed points, ``x = z + w(z)`` with ``z = A^-1 y``.

    Parameters
    ----------
    affine
        The *forward* ``A``: 4 x 4, fixed world to moving world; it is inverted here.
    field
        ``w`` on the working grid: the inverse displacement, which acts in the fixed world.
    """
    return SpatialMap(np.linalg.inv(np.asarray(affine, dtype=np.float64)), field, affine_first=True)
