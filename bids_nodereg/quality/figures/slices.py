"""Which slices to show, and how they lie on the screen.

The only place that knows how array axes become rows and columns of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Convention = Literal["neurological", "radiological"]
Plane = Literal["axial", "coronal", "sagittal"]

NORMAL_AXIS: dict[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
IN_PLANE_AXES: dict[Plane, tuple[int, int]] = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
"""Array axes that run across and up the screen."""
ENDS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Letters at the low and the high end of each canonical axis."""


@dataclass(frozen=True, eq=False)
class View:
    """How a canonical grid is shown.

    Attributes
    ----------
    affine
        4 x 4 matrix of the grid, voxel index to RAS mm; its axes point to R, A and S, more or less.
    box
        Index ranges that are shown, one slice per axis.
    convention
        ``neurological``: left of the head on the left of the screen, faces look to the right;
        ``radiological``: the other way round.
    """

    affine: NDArray[np.float64]
    box: tuple[slice, slice, slice]
    convention: Convention = "neurological"

    def __post_init__(self) -> None:
        """Refuse a grid that is not canonical: its letters would be wrong."""
        if (np.diag(self.affine)[:3] <= 0).any():
            msg = f"View: axes need to point to R, A and S, got the affine {np.asarray(self.affine).tolist()}"
            raise ValueError(msg)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel size in mm along each axis."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def extent_mm(self, plane: Plane) -> tuple[float, float]:
        """Width and height in mm of the picture of a plane."""
        across, up = IN_PLANE_AXES[plane]
        sizes = [self.box[axis].stop - self.box[axis].start for axis in (across, up)]
        return (float(sizes[0] * self.spacing[across]), float(sizes[1] * self.spacing[up]))

    @property
    def mirrored(self) -> bool:
        """Whether the across axis runs from right to left on the screen.

        Sagittal pictures look to the right in the neurological, to the left in the radiological way.
        """
        return self.convention == "radiological"

    def picture(self, volume: NDArray[np.generic], plane: Plane, index: int) -> NDArray[np.generic]:
        """Cut one slice of ``(i, j, k, ...)`` as ``(row, column, ...)``, top row first."""
        box: list[slice | int] = list(self.box)
        box[NORMAL_AXIS[plane]] = index
        # (across, up, ...) -> (row from the top, column, ...)
        picture = np.swapaxes(volume[tuple(box)], 0, 1)[::-1]
        return picture[:, ::-1] if self.mirrored else picture

    def letters(self, plane: Plane) -> tuple[str, str, str, str]:
        """Letters at the left, right, top and bottom of a picture."""
        across, up = IN_PLANE_AXES[plane]
        left, right = ENDS[across]
        if self.mirrored:
            left, right = right, left
        return (left, right, ENDS[up][1], ENDS[up][0])

    def position_mm(self, plane: Plane, index: int) -> float:
        """World coordinate along the plane's normal at the middle of a slice."""
        axis = NORMAL_AXIS[plane]
        centre = np.array([(part.start + part.stop - 1) / 2 for part in self.box])
        centre[axis] = index
        return float(self.affine[axis, :3] @ centre + self.affine[axis, 3])

    def position_label(self, plane: Plane, index: int) -> str:
        """Say where a slice is, as ``z +12``, in whole mm of the world."""
        millimetres = round(self.position_mm(plane, index))
        return (
            f"{'xyz'[NORMAL_AXIS[plane]]} {millimetres:+d}"
            if millimetres
            else f"{'xyz'[NORMAL_AXIS[plane]]} 0"
        )


def view_of_mask(
    mask: NDArray[np.bool_],
    affine: NDArray[np.floating],
    margin_mm: float = 9.0,
    convention: Convention = "neurological",
) -> View:
    """Frame the bounding box of a mask and a margin; the whole grid when the mask is empty."""
    matrix = np.array(affine, dtype=np.float64)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    parts = []
    for axis in range(3):
        low, high = _extent(mask, axis)
        margin = int(np.ceil(margin_mm / spacing[axis]))
        parts.append(slice(max(low - margin, 0), min(high + margin + 1, mask.shape[axis])))
    return View(matrix, (parts[0], parts[1], parts[2]), convention)


def slice_indices(
    mask: NDArray[np.bool_], plane: Plane, count: int, include: int | None = None
) -> tuple[int, ...]:
    """Choose slices evenly inside the bounding box of a mask.

    Parameters
    ----------
    mask
        ``(i, j, k)``.
    plane
        Which way to cut.
    count
        How many slices; fewer when the box is thinner.
    include
        A slice that has to be there; it takes the place of the nearest one.
    """
    low, high = _extent(mask, NORMAL_AXIS[plane])
    # The outermost part at either end shows little but scalp or a sliver of cortex.
    edge = 0.12 * (high - low)
    even = np.unique(np.linspace(low + edge, high - edge, count).round().astype(int))
    if include is not None:
        even[np.abs(even - include).argmin()] = include
    return tuple(int(index) for index in even)


def _extent(mask: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """First and last index of a mask along an axis; the whole axis when it is empty."""
    others = tuple(other for other in range(3) if other != axis)
    where = np.flatnonzero(mask.any(axis=others))
    return (int(where[0]), int(where[-1])) if where.size else (0, mask.shape[axis] - 1)
