"""How far landmarks are from where they should be after a registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.floating]


def target_registration_error_mm(mapped: Points, moving: Points) -> NDArray[np.float64]:
    """Distance in mm between landmarks carried by a map and the same landmarks in the moving image.

    The target registration error of Fitzpatrick, West and Maurer (IEEE TMI 17, 1998), with the map
    from fixed to moving points, measured in the moving image.

    Parameters
    ----------
    mapped
        ``(n, 3)`` fixed landmarks carried into the moving world, mm.
    moving
        ``(n, 3)`` the same landmarks in the moving image, mm.

    Returns
    -------
    ndarray
        ``(n,)``.

    Raises
    ------
    ValueError
        If the shapes are not the same.
    """
    if mapped.shape != moving.shape or mapped.ndim != 2:
        msg = f"landmarks of shape {mapped.shape} and {moving.shape}: expected the same (n, 3) twice"
        raise ValueError(msg)
    return np.asarray(np.linalg.norm(np.asarray(mapped, float) - moving, axis=1), np.float64)


def landmark_measures(errors_mm: NDArray[np.floating], when: str) -> dict[str, float]:
    """Mean, median, 95th percentile and maximum as ``tre_<which>_<when>_mm``; empty without landmarks.

    The percentile is interpolated linearly between the errors in order.
    """
    if errors_mm.size == 0:
        return {}
    return {
        f"tre_mean_{when}_mm": float(np.mean(errors_mm)),
        f"tre_median_{when}_mm": float(np.median(errors_mm)),
        f"tre_p95_{when}_mm": float(np.percentile(errors_mm, 95)),
        f"tre_max_{when}_mm": float(np.max(errors_mm)),
    }
