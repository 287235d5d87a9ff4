"""Where voxels are: the one record that ties a voxel index to a world position.

World is RAS+ millimetres everywhere in the program, as nibabel gives it. An index is
``(i, j, k)`` in the order of the array's axes; an integer index is a voxel's *centre*.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxel centres in the world.

    Attributes
    ----------
    shape
        Number of voxels along ``(i, j, k)``.
    affine
        4 x 4 matrix from homogeneous voxel index to RAS+ mm; kept as a read-only float64 copy.

    Raises
    ------
    ValueError
        If the shape is not three positive sizes, or the affine is not a finite, invertible
        4 x 4 matrix with last row ``0 0 0 1``.

    Examples
    --------
    >>> grid = Grid((10, 20, 30), np.diag([2.0, 1.0, 1.0, 1.0]))
    >>> grid.to_world([[1, 0, 0]])
    array([[2., 0., 0.]])
    >>> grid.spacing
    (2.0, 1.0, 1.0)
    """

    shape: Shape
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the fields and freeze the matrix."""
        shape = tuple(int(size) for size in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            msg = f"Grid: shape needs three positive sizes, got {self.shape}"
            raise ValueError(msg)
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            msg = f"Grid: affine needs to be a finite 4 x 4 matrix, got {self.affine!r}"
            raise ValueError(msg)
        if not np.array_equal(affine[3], [0, 0, 0, 1]) or np.linalg.det(affine[:3, :3]) == 0:
            msg = f"Grid: affine needs to be invertible with last row 0 0 0 1, got {affine.tolist()}"
            raise ValueError(msg)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxel centres along each axis."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(i), float(j), float(k))

    @property
    def direction(self) -> NDArray[np.float64]:
        """3 x 3 matrix whose columns are the unit vectors of the array axes in the world."""
        direction: NDArray[np.float64] = self.affine[:3, :3] / np.asarray(self.spacing)
        return direction

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def centre(self) -> NDArray[np.float64]:
        """World position (mm) of the middle of the lattice."""
        return self.to_world((np.asarray(self.shape) - 1) / 2)

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map voxel indices ``(..., 3)`` to world positions in mm, same shape."""
        return apply_affine(self.affine, index)

    def to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Map world positions ``(..., 3)`` in mm to (fractional) voxel indices, same shape."""
        return apply_affine(np.linalg.inv(self.affine), world)

    def corners(self) -> NDArray[np.float64]:
        """World positions ``(8, 3)`` in mm of the centres of the eight corner voxels."""
        ends = [(0, size - 1) for size in self.shape]
        return self.to_world(np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(8, 3))

    def is_close(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same shape and no corner differs by more than the tolerance."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)


def apply_affine(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Apply a 4 x 4 affine to points ``(..., 3)``; the result has the points' shape."""
    homogeneous = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ homogeneous[:3, :3].T + homogeneous[:3, 3]


def isotropic_grid(grid: Grid, low: ArrayLike, high: ArrayLike, spacing_mm: float) -> Grid:
    """Cover a box of a grid by an isotropic lattice along the grid's own axes.

    The axes are reordered and flipped to the closest RAS+ ones, so the result is right-handed
    whatever the input was. Where ``grid`` already has the wanted spacing, the voxel centres
    coincide with its own, so that an image sampled on it is copied and not blurred.

    Parameters
    ----------
    grid
        Lattice of the image; may be oblique, anisotropic and left-handed, but not sheared.
    low, high
        Opposite corners of the box, as (fractional) voxel index of ``grid``.
    spacing_mm
        Wanted distance between voxel centres.

    Returns
    -------
    Grid
        Smallest such lattice that holds the whole box.
    """
    first, last = np.floor(np.asarray(low, float)), np.ceil(np.asarray(high, float))
    order = np.argsort(_closest_world_axes(grid.direction))
    flip = np.sign(np.diag(grid.direction[:, order]))
    direction = grid.direction[:, order] * flip
    start = np.where(flip > 0, first[order], last[order])
    origin_index = np.empty(3)
    origin_index[order] = start
    extent_mm = (last - first)[order] * np.asarray(grid.spacing)[order]
    shape = np.ceil(extent_mm / spacing_mm - 1e-3).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing_mm
    affine[:3, 3] = grid.to_world(origin_index)
    i, j, k = (int(size) for size in shape)
    return Grid((i, j, k), affine)


def _closest_world_axes(direction: NDArray[np.float64]) -> tuple[int, ...]:
    """Give each array axis its own world axis so that the summed |cosine| is largest."""
    return max(
        permutations(range(3)),
        key=lambda world: sum(abs(direction[world[axis], axis]) for axis in range(3)),
    )
