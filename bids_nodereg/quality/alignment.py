"""The affine in numbers and words: how far it turns, moves and scales against what the headers say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class AffineParts:
    """An affine between two worlds, taken apart about a point.

    Attributes
    ----------
    rotation_deg
        Angle of the rotation nearest to the linear part (its polar factor), in degrees.
    translation_mm
        How far the point is moved, in mm.
    scales
        Principal stretches (singular values of the linear part), smallest first; a shear shows here too.
    determinant
        Volume in the moving world for each unit of volume in the fixed world; negative for a mirror.
    """

    rotation_deg: float
    translation_mm: float
    scales: tuple[float, float, float]
    determinant: float


def affine_parts(affine: NDArray[np.floating], centre_mm: ArrayLike) -> AffineParts:
    """Take an affine apart.

    Where the headers of both images are right and the head has not moved, the affine between the two
    worlds is the identity. So the parts tell what the registration says against the headers.

    Parameters
    ----------
    affine
        4 x 4, fixed world to moving world, RAS+ mm.
    centre_mm
        World point (3) at which the translation is taken, such as the centre of the fixed mask. The
        translation column of the matrix itself is that of the origin, which may lie far outside.

    Notes
    -----
    The rotation of the polar decomposition is the nearest one in the least-squares sense (Higham,
    SIAM Journal on Scientific and Statistical Computing 7, 1986). A mirror is taken out first, along
    the axis of least stretch, so that the angle is always that of a proper rotation.
    """
    linear = np.asarray(affine, float)[:3, :3]
    left, stretches, right = np.linalg.svd(linear)
    if np.linalg.det(left @ right) < 0:
        left[:, 2] *= -1
    cosine = (np.trace(left @ right) - 1) / 2
    centre = np.asarray(centre_mm, float)
    moved = linear @ centre + np.asarray(affine, float)[:3, 3]
    largest, middle, smallest = (float(value) for value in stretches)
    return AffineParts(
        rotation_deg=float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        translation_mm=float(np.linalg.norm(moved - centre)),
        scales=(smallest, middle, largest),
        determinant=float(np.linalg.det(linear)),
    )


def affine_measures(parts: AffineParts) -> dict[str, float]:
    """Give the parts their keys in the dictionary."""
    return {
        "affine_rotation_deg": parts.rotation_deg,
        "affine_translation_mm": parts.translation_mm,
        "affine_scale_min": parts.scales[0],
        "affine_scale_max": parts.scales[2],
        "affine_determinant": parts.determinant,
    }


def affine_words(parts: AffineParts) -> str:
    """Say in one line what the affine does, seen from the headers."""
    volume = 100 * (parts.determinant - 1)
    return (
        f"turned by {parts.rotation_deg:.1f} degrees and moved by {parts.translation_mm:.1f} mm at "
        "the centre "
        f"of the mask; lengths times {parts.scales[0]:.3f} to {parts.scales[2]:.3f}, volume {volume:+.1f} %"
    )
