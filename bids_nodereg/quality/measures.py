"""All measures of one registered pair, as flat names and numbers ready for JSON and TSV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bids_nodereg.quality.alignment import affine_measures, affine_parts
from bids_nodereg.quality.displacement import (
    bending_energy,
    endpoint_error_mm,
    error_measures,
    inverse_consistency_error_mm,
    magnitude_mm,
)
from bids_nodereg.quality.jacobian import digital_diffeomorphism, jacobian_measures, whole_map_measures
from bids_nodereg.quality.overlap import coverage, dice, jaccard
from bids_nodereg.quality.similarity import local_correlation, rank_correlation, similarity_measures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bids_nodereg.quality.alignment import AffineParts
    from bids_nodereg.quality.jacobian import DigitalDiffeomorphism

INNER_MM = 20.0
"""How far inside the fixed mask contrasts are compared."""

LEAST_INNER_MM3 = 20_000.0
"""Less than this volume inside tells nothing of a contrast."""

THINNED_MM = 3.0
"""Voxels are thinned out to about this distance where a measure needs no more."""

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
    alignment
        4 x 4, fixed world to moving world (RAS+ mm): the affine alone; None when it is not known.
    same_contrast
        Whether both images are of one contrast, so that their intensities may be compared.
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
    alignment: NDArray[np.floating] | None = None
    same_contrast: bool = False

    @property
    def affine_parts(self) -> AffineParts | None:
        """The affine taken apart at the centre of the fixed mask; None when it is not known."""
        if self.alignment is None or not self.mask.any():
            return None
        centre = np.asarray(self.affine, float) @ [*np.argwhere(self.mask).mean(0), 1.0]
        return affine_parts(self.alignment, centre[:3])

    @cached_property
    def determinants(self) -> DigitalDiffeomorphism:
        """Determinants of the forward map; measures and pictures share them."""
        return digital_diffeomorphism(self.forward_mm, self.affine)

    @cached_property
    def inverse_error_mm(self) -> NDArray[np.float32] | None:
        """What the forward map and then the inverse leave, ``(i, j, k)`` in mm; None without an inverse."""
        if self.inverse_mm is None:
            return None
        return inverse_consistency_error_mm(self.forward_mm, self.inverse_mm, self.affine, self.mask)


def measure_pair(pair: RegisteredPair) -> dict[str, float | None]:
    """Compute every measure that needs no labels; those of absent inputs are left out.

    Returns
    -------
    dict
        Keys of the dictionary; add :func:`~bids_nodereg.quality.overlap.overlap_measures` and the cost.
    """
    values: dict[str, float | None] = {}
    values.update(similarity_measures(pair.fixed, pair.before, pair.after, pair.mask))
    values.update(_contrast_measures(pair))
    residual = jacobian_measures(pair.determinants, pair.mask)
    values.update(residual)
    if (parts := pair.affine_parts) is not None:
        values.update(affine_measures(parts))
        values.update(whole_map_measures(residual, parts.determinant))
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
    if pair.inverse_mm is None or pair.inverse_error_mm is None:
        return {}
    backward = inverse_consistency_error_mm(pair.inverse_mm, pair.forward_mm, pair.affine, pair.mask)
    return {
        **error_measures(pair.inverse_error_mm, pair.mask, "inverse_consistency_forward"),
        **error_measures(backward, pair.mask, "inverse_consistency_backward"),
    }


def _contrast_measures(pair: RegisteredPair) -> dict[str, float]:
    """How the intensities go together, where both images have some."""
    values = {"inner_rank_correlation": _inner_rank_correlation(pair)}
    if pair.same_contrast:
        values["lncc_before"] = local_correlation(pair.fixed, pair.before, pair.mask)
        values["lncc_after"] = local_correlation(pair.fixed, pair.after, pair.mask)
    return values


def _inner_rank_correlation(pair: RegisteredPair) -> float:
    """Rank correlation deep in the fixed mask, on every so many voxels; not a number where nothing is deep.

    Skull, scalp and the fluid around the brain are bright or dark together in most contrasts, and a mask
    may or may not hold them. Deep inside there is the brain alone.
    """
    spacing = np.linalg.norm(np.asarray(pair.affine, float)[:3, :3], axis=0)
    thinned = tuple(slice(None, None, max(1, int(THINNED_MM / size))) for size in spacing)
    steps = [size * (part.step or 1) for size, part in zip(spacing, thinned, strict=True)]
    padded = np.pad(pair.mask[thinned], 1)
    deep = ndimage.distance_transform_edt(padded, sampling=steps)[1:-1, 1:-1, 1:-1] > INNER_MM
    if pair.moving_view is not None:
        deep &= pair.moving_view[thinned]
    if np.count_nonzero(deep) * np.prod(steps) < LEAST_INNER_MM3:
        return float("nan")
    return rank_correlation(pair.fixed[thinned], pair.after[thinned], deep)


def _overlap_measures(pair: RegisteredPair) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for when, moved in (("before", pair.before_mask), ("after", pair.after_mask)):
        if moved is not None:
            values[f"foreground_dice_{when}"] = dice(pair.mask, moved)
            values[f"foreground_jaccard_{when}"] = jaccard(pair.mask, moved)
            values[f"foreground_coverage_{when}_fraction"] = coverage(pair.mask, moved)
    if pair.moving_view is not None:
        values["moving_coverage_fraction"] = coverage(pair.mask, pair.moving_view)
    return values
