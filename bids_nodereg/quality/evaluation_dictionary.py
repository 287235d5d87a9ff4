"""What the columns of an evaluation are called, mean, and are measured in."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from bids_nodereg.quality.dictionary import DICTIONARY, Description

if TYPE_CHECKING:
    from collections.abc import Mapping

_AS_FOUND = "without any transform"
_LANDMARKS = "Landmarks"


def _same(*starts: str) -> dict[str, Description]:
    """Entries of the common dictionary whose keys start so."""
    return {key: entry for key, entry in DICTIONARY.items() if key.startswith(starts)}


def _overlap(key: str, name: str) -> dict[str, Description]:
    """Give a mean over labels its two entries: as the headers place the images, and by the map."""
    after = DICTIONARY[key.format("after")]
    return {
        key.format("identity"): replace(after, name=f"{name}, mean of the labels, {_AS_FOUND}"),
        key.format("after"): after,
    }


def _landmarks() -> dict[str, Description]:
    kinds = {"mean": "mean", "median": "median", "p95": "95th percentile", "max": "maximum"}
    places = {"identity": _AS_FOUND, "after": "registered"}
    text = "Distance between a fixed landmark carried by the map and the same landmark in the moving image."
    return {
        f"tre_{short}_{when}_mm": Description(
            f"Target registration error, {long}, {place}", "mm", text, "lower", _LANDMARKS
        )
        for when, place in places.items()
        for short, long in kinds.items()
    }


EVALUATION: Mapping[str, Description] = MappingProxyType(
    {
        **_overlap("dice_mean_{}", "Dice"),
        **_overlap("hd95_mean_{}_mm", "Surface distance (HD95)"),
        "landmarks": Description("Landmarks", "1", "Number of landmark pairs.", "neither", _LANDMARKS),
        **_landmarks(),
        **_same("endpoint_error_", "inverse_consistency_", "moving_coverage_"),
        "affine_determinant": Description(
            "Determinant of the affine part",
            "1",
            "Volume change of all affines of the map together; below 0 they mirror. The Jacobian columns do "
            "not include it.",
            "neither",
            "Displacement",
        ),
        **_same("folded_", "non_diffeomorphic_", "central_folded_", "jacobian_", "sd_log_jacobian"),
    }
)
"""Every measure of an evaluation by its key, in the order of the columns."""
