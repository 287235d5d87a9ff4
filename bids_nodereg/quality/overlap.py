"""How well label maps and foregrounds cover each other: Dice, surface distance, coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Labels = NDArray[np.integer]
    Mask = NDArray[np.bool_]
    Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class LabelOverlap:
    """Agreement of one label of the fixed and of the moved label map.

    Attributes
    ----------
    label
        Its code.
    name
        Its name, or the code in words.
    dice
        ``2 |A and B| / (|A| + |B|)``; none when the label is in neither map.
    hd95_mm
        95th percentile surface distance, see :func:`hd95_mm`; none when the label is missing in one.
    fixed_volume_ml, moved_volume_ml
        Its volume in the fixed and in the moved map.
    """

    label: int
    name: str
    dice: float | None
    hd95_mm: float | None
    fixed_volume_ml: float
    moved_volume_ml: float


def dice(a: Mask, b: Mask) -> float | None:
    """Dice coefficient of two masks; none when both are empty."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2 * int(np.count_nonzero(a & b)) / total if total else None


def hd95_mm(a: Mask, b: Mask, spacing: Spacing) -> float | None:
    """95th percentile Hausdorff distance of the surfaces of two masks in mm.

    The larger of the two directed 95th percentiles. A surface is the voxels of a mask with a face on
    its outside (or on the border of the grid); distances are between voxel centres and allow for
    anisotropic spacing.

    Parameters
    ----------
    a, b
        ``(i, j, k)`` masks on one grid.
    spacing
        Distance in mm of neighbouring voxels along each axis; axes are orthogonal.

    Returns
    -------
    float or None
        None when a mask is empty.
    """
    if not a.any() or not b.any():
        return None
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    surface_a, surface_b = _surface(a[box]), _surface(b[box])
    directed = [
        float(np.percentile(ndimage.distance_transform_edt(~other, sampling=spacing)[surface], 95))
        for surface, other in ((surface_a, surface_b), (surface_b, surface_a))
    ]
    return max(directed)


def label_overlap(
    fixed: Labels, moved: Labels, spacing: Spacing, names: Mapping[int, str] | None = None
) -> tuple[LabelOverlap, ...]:
    """Compare two label maps label by label; 0 is background.

    Parameters
    ----------
    fixed, moved
        ``(i, j, k)`` label codes on one grid.
    spacing
        Voxel size in mm.
    names
        Name of each code, as far as known.

    Returns
    -------
    tuple of LabelOverlap
        One for each label found in either map, by code.
    """
    voxel_ml = float(np.prod(spacing)) / 1000
    codes = np.union1d(np.unique(fixed), np.unique(moved))
    rows = []
    for code in (int(value) for value in codes if value != 0):
        a, b = fixed == code, moved == code
        rows.append(
            LabelOverlap(
                label=code,
                name=(names or {}).get(code, f"label {code}"),
                dice=dice(a, b),
                hd95_mm=hd95_mm(a, b, spacing),
                fixed_volume_ml=float(a.sum()) * voxel_ml,
                moved_volume_ml=float(b.sum()) * voxel_ml,
            )
        )
    return tuple(rows)


def overlap_measures(rows: Sequence[LabelOverlap], when: str) -> dict[str, float | None]:
    """Mean Dice and HD95 over labels as ``dice_mean_<when>`` and ``hd95_mean_<when>_mm``.

    A label that one map lacks counts as Dice 0 and is left out of the mean distance.
    """
    scores = [row.dice for row in rows if row.dice is not None]
    distances = [row.hd95_mm for row in rows if row.hd95_mm is not None]
    return {
        f"dice_mean_{when}": float(np.mean(scores)) if scores else None,
        f"hd95_mean_{when}_mm": float(np.mean(distances)) if distances else None,
    }


def jaccard(a: Mask, b: Mask) -> float | None:
    """Intersection over union of two masks; none when both are empty."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else None


def coverage(mask: Mask, by: Mask) -> float | None:
    """Fraction of a mask that another one covers; none when the mask is empty."""
    total = int(np.count_nonzero(mask))
    return int(np.count_nonzero(mask & by)) / total if total else None


def _surface(mask: Mask) -> Mask:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))
