"""All measures of one registered pair, as flat names and numbers ready for JSON and TSV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg.quality.displacement import (
    bending_energy,
    endpoint_error_mm,
    error_measures,
    inverse_consistency_error_mm,
    magnitude_mm,
)
from bids_nodereg.quality.jacobian import jacobian_measures
from bids_nodereg.quality.overlap import coverage, dice
from bids_nodereg.quality.similarity import similarity_measures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Measures = Mapping[str, float | None]
"""Value by key of :data:`~bids_nodereg.quality.dictionary.DICTIONARY`; None is ``n/a``."""


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """What the measures of one pair are computed from: arrays on one grid, all of one shape.

    Attributes
    ----------
    affine
        4 x 4 matrix of the grid, voxel index to RAS mm.
    mask
        ``(i, j, k)`` bool, the fixed image's brain or foreground.
    fixed
        ``(i, j, k)`` fixed image.
    before, after
        ``(i, j, k)`` moving image carried by the affine alone, and by the whole map.
    forward_mm
        ``u``, ``(i, j, k, 3)`` RAS mm, fixed points to affinely aligned moving points.
    inverse_mm
        ``w``, its inverse on the same grid; None when there is none.
    before_mask, after_mask
        ``(i, j, k)`` bool, the moving image's mask carried the same two ways; None when there is none.
    moving_view
        ``(i, j, k)`` bool, voxels that the whole map sends into the moving image's field of view.
    truth_mm
        ``(i, j, k, 3)`` RAS mm, known true ``u``.
    """

    affine: NDArray[np.floating]
    mask: NDArray[np.bool_]
    fixed: NDArray[np.floating]
    before: NDArray[np.floating]
    after: NDArray[np.floating]
    forward_mm: NDArray[np.floating]
    inverse_mm: NDArray[np.floating] | None = None
    before_mask: NDArray[np.bool_] | None = None
    after_mask: NDArray[np.bool_] | None = None
    moving_view: NDArray[np.bool_] | None = None
    truth_mm: NDArray[np.floating] | None = None


def measure_pair(pair: RegisteredPair) -> dict[str, float | None]:
    """Compute every measure that needs no labels; those of absent inputs are left out.

    Returns
    -------
    dict
        Keys of the dictionary; add :func:`~bids_nodereg.quality.overlap.overlap_measures` and the cost.
    """
    values: dict[str, float | None] = {}
    values.update(similarity_measures(pair.fixed, pair.before, pair.after, pair.mask))
    values.update(jacobian_measures(pair.forward_mm, pair.affine, pair.mask))
    values["bending_energy_per_mm2"] = bending_energy(pair.forward_mm, pair.affine, pair.mask)
    values.update(error_measures(magnitude_mm(pair.forward_mm), pair.mask, "displacement"))
    values.update(_inverse_measures(pair))
    values.update(_overlap_measures(pair))
    if pair.truth_mm is not None:
        error = endpoint_error_mm(pair.forward_mm, pair.truth_mm)
        values.update(error_measures(error, pair.mask, "endpoint_error"))
    return json_ready(values)


def json_ready(measures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Turn what is not a finite number into None, and NumPy numbers into Python's."""
    return {
        key: float(value) if value is not None and math.isfinite(value) else None
        for key, value in measures.items()
    }


def text(value: float | None) -> str:
    """Write a value for a TSV cell: up to six significant digits, ``n/a`` for None."""
    return "n/a" if value is None else f"{value:.6g}"


def _inverse_measures(pair: RegisteredPair) -> dict[str, float]:
    if pair.inverse_mm is None:
        return {}
    there, back = pair.forward_mm, pair.inverse_mm
    forward = inverse_consistency_error_mm(there, back, pair.affine, pair.mask)
    backward = inverse_consistency_error_mm(back, there, pair.affine, pair.mask)
    return {
        **error_measures(forward, pair.mask, "inverse_consistency_forward"),
        **error_measures(backward, pair.mask, "inverse_consistency_backward"),
    }


def _overlap_measures(pair: RegisteredPair) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    if pair.before_mask is not None:
        values["foreground_dice_before"] = dice(pair.mask, pair.before_mask)
    if pair.after_mask is not None:
        values["foreground_dice_after"] = dice(pair.mask, pair.after_mask)
    if pair.moving_view is not None:
        values["moving_coverage_fraction"] = coverage(pair.mask, pair.moving_view)
    return values
