"""The one evaluator: what a field is worth, the same for every method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from bids_nodereg.imaging.maps import forward_map
from bids_nodereg.imaging.resample import warp_labels
from bids_nodereg.quality.displacement import (
    endpoint_error_mm,
    error_measures,
    inverse_consistency_error_mm,
    magnitude_mm,
)
from bids_nodereg.quality.jacobian import digital_diffeomorphism, jacobian_measures
from bids_nodereg.quality.overlap import LabelOverlap, label_overlap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bids_nodereg.imaging.maps import DisplacementField
    from peers.prepare import Truth

RIM_MM = 6.0
"""Depth of the brain's rim: the two contrasts were stripped differently, the truth is least sure there."""


def score(truth: Truth, forward: DisplacementField, inverse: DisplacementField | None) -> dict[str, Any]:
    """Every measure of a field; folds, spread and errors inside the fixed brain.

    Returns
    -------
    dict
        ``measures``: name -> number; ``structures``: label code -> Dice and HD95 in mm.
    """
    vectors, affine, mask = forward.vectors, truth.grid.affine, truth.mask
    measures = dict(jacobian_measures(digital_diffeomorphism(vectors, affine), mask))
    measures |= error_measures(magnitude_mm(vectors), mask, "displacement")
    if inverse is not None:
        error = inverse_consistency_error_mm(vectors, inverse.vectors, affine, mask)
        measures |= error_measures(error, mask, "inverse_error")
    if truth.displacement is not None:
        error = endpoint_error_mm(vectors, truth.displacement.vectors)
        measures |= error_measures(error, mask, "endpoint_error")
        inner = ndimage.distance_transform_edt(mask, sampling=truth.grid.spacing) > RIM_MM
        measures |= error_measures(error, inner, "endpoint_error_inner")
    structures: dict[str, dict[str, float | None]] = {}
    if truth.fixed_labels is not None and truth.moving_labels is not None:
        rows = _overlap(truth, forward)
        structures = {str(row.label): {"dice": row.dice, "hd95_mm": row.hd95_mm} for row in rows}
        measures |= _means(rows, truth.headline, "") | _means(rows, truth.classes, "_all")
    return {"measures": measures, "structures": structures}


def _overlap(truth: Truth, forward: DisplacementField) -> list[LabelOverlap]:
    """Compare the original moving labels, carried once through affine and field, with the fixed ones."""
    if truth.moving_labels is None or truth.fixed_labels is None:
        return []
    moved = warp_labels(truth.moving_labels, truth.grid, forward_map(truth.affine, forward))
    rows = label_overlap(truth.fixed_labels, moved, truth.grid.spacing)
    return [row for row in rows if row.label in truth.classes]


def _means(rows: Iterable[LabelOverlap], classes: Sequence[int], end: str) -> dict[str, float]:
    """Mean Dice and HD95 over some classes; a class that the moved map lost has Dice 0 and no distance."""
    chosen = [row for row in rows if row.label in classes]
    distances = [row.hd95_mm for row in chosen if row.hd95_mm is not None]
    return {
        f"dice{end}": float(np.mean([row.dice or 0.0 for row in chosen])),
        f"hd95_mm{end}": float(np.mean(distances)) if distances else float("nan"),
    }
