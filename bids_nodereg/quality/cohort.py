"""Which pairs of a cohort are unusual: robust z-scores within pairs of the same kind."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

KEY_MEASURES = (
    "nmi_after",
    "dice_mean_after",
    "foreground_dice_after",
    "moving_coverage_fraction",
    "affine_rotation_deg",
    "affine_translation_mm",
    "turned_distance_ratio",
    "folded_fraction",
    "jacobian_p01",
    "jacobian_p99",
    "sd_log_jacobian",
    "bending_energy_per_mm2",
    "displacement_p95_mm",
    "inverse_consistency_forward_p95_mm",
)
"""Measures that are compared across a cohort, in the order of the page."""
LEAST_PAIRS = 8
"""Fewer pairs of a kind say nothing about what is usual."""
UNUSUAL = 3.5
"""Modified z-score beyond which a value is an outlier (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True)
class CohortRow:
    """One registered pair as the group level sees it.

    Attributes
    ----------
    pair
        Stem of its output files, such as ``sub-01_from-T2w_to-T1w``.
    rule, moving, fixed
        Pair rule and BIDS suffixes: pairs that agree in all three are of one kind.
    verdict
        ``pass``, ``check`` or ``fail``.
    reasons
        Sentences that led to the verdict.
    measures
        Value by key of the dictionary; None is ``n/a``.
    """

    pair: str
    rule: str
    moving: str
    fixed: str
    verdict: str
    reasons: tuple[str, ...]
    measures: Mapping[str, float | None]

    @property
    def kind(self) -> tuple[str, str, str]:
        """What tells pairs that can be compared with one another."""
        return (self.rule, self.moving, self.fixed)

    @property
    def participant(self) -> str:
        """Participant of the moving image, with ``sub-``."""
        return self.pair.split("_")[0]

    @property
    def session(self) -> str | None:
        """Session of the moving image, with ``ses-``."""
        return next((part for part in self.pair.split("_") if part.startswith("ses-")), None)


@dataclass(frozen=True)
class Outlier:
    """A value that is far from those of the other pairs of its kind."""

    key: str
    z: float


def kinds(rows: Sequence[CohortRow]) -> dict[tuple[str, str, str], list[int]]:
    """Give the places of the rows of each kind, kinds in order of their names."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(row.kind, []).append(place)
    return dict(sorted(found.items()))


def find_outliers(
    rows: Sequence[CohortRow], keys: Sequence[str] = KEY_MEASURES
) -> list[tuple[Outlier, ...] | None]:
    """Find the unusual values of each pair, judged among the pairs of its kind.

    Returns
    -------
    list
        As long as ``rows``: the outliers of each pair, the farthest first; None where there are too few
        pairs of its kind to say.
    """
    found: list[tuple[Outlier, ...] | None] = [None] * len(rows)
    for places in kinds(rows).values():
        scores = {key: robust_z(column(rows, places, key)) for key in keys}
        if all(score is None for score in scores.values()):
            continue
        for number, place in enumerate(places):
            far = [
                Outlier(key, round(float(score[number]), 1))
                for key, score in scores.items()
                if score is not None and abs(score[number]) > UNUSUAL
            ]
            found[place] = tuple(sorted(far, key=lambda outlier: -abs(outlier.z)))
    return found


def column(rows: Sequence[CohortRow], places: Sequence[int], key: str) -> NDArray[np.float64]:
    """Values of one measure, NaN where a pair lacks it."""
    values = (rows[place].measures.get(key) for place in places)
    return np.array([math.nan if value is None else value for value in values], float)


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Modified z-scores ``0.6745 (x - median) / MAD`` (Iglewicz and Hoaglin 1993, How to Detect Outliers).

    Where more than half of the values are equal the MAD is zero; then the mean absolute deviation takes
    its place, ``(x - median) / (1.2533 MeanAD)``, as the same authors advise.

    Parameters
    ----------
    values
        ``(n,)``; NaN is no value.

    Returns
    -------
    ndarray or None
        ``(n,)``, NaN where there is no value; None with fewer than eight values, or all equal.
    """
    middle, scale = centre_and_scale(values)
    return None if scale == 0 else (values - middle) / scale


def centre_and_scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Give the median and the robust standard deviation; 0 for the latter where it cannot be had."""
    known = values[np.isfinite(values)]
    if known.size < LEAST_PAIRS:
        return (math.nan, 0.0)
    middle = float(np.median(known))
    distance = np.abs(known - middle)
    median_distance = float(np.median(distance))
    scale = median_distance / 0.6745 if median_distance > 0 else 1.2533 * float(distance.mean())
    # Rounding errors of values that are equal in truth are no spread.
    return (middle, scale if scale > 1e-9 * max(abs(middle), 1e-9) else 0.0)
