"""Pass, check or fail, from physical limits alone.

Whether a value is unusual for a cohort is decided at group level; here only what is wrong in
itself counts: folded space, a map and an inverse that disagree, images that do not overlap, a deformation
that did not make the images agree better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Status = Literal["pass", "check", "fail"]


@dataclass(frozen=True)
class Verdict:
    """Outcome of a pair and the sentences that led to it; no sentence when it passes."""

    status: Status
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Limit:
    """One physical limit on one measure.

    Attributes
    ----------
    key
        Key of the measure in the dictionary.
    beyond
        Whether values above or below the limits are bad.
    check, fail
        Bounds beyond which a person should look, and beyond which the result should not be used.
    sentence
        Reason in words; ``{value}`` and ``{limit}`` are filled in.
    """

    key: str
    beyond: Literal["above", "below"]
    check: float
    fail: float
    sentence: str

    def status(self, value: float) -> Status:
        """Judge one value."""
        sign = 1.0 if self.beyond == "above" else -1.0
        if sign * value > sign * self.fail:
            return "fail"
        return "check" if sign * value > sign * self.check else "pass"


LIMITS: tuple[Limit, ...] = (
    Limit(
        "folded_fraction",
        "above",
        0.0,
        0.01,
        "The map folds at {value:.3%} of the voxels in the mask (limit {limit:.0%}).",
    ),
    Limit(
        "moving_coverage_fraction",
        "below",
        0.95,
        0.5,
        "Only {value:.0%} of the fixed mask lies in the moving image's field of view (limit {limit:.0%}).",
    ),
    Limit(
        "foreground_dice_after",
        "below",
        0.85,
        0.6,
        "The foregrounds overlap with a Dice of {value:.2f} only (limit {limit:.2f}).",
    ),
    Limit(
        "inverse_consistency_forward_p95_mm",
        "above",
        0.5,
        2.0,
        "Forward and inverse map disagree: {value:.2f} mm at the 95th percentile (limit {limit:.2f} mm).",
    ),
    Limit(
        "inverse_consistency_backward_p95_mm",
        "above",
        0.5,
        2.0,
        "Inverse and forward map disagree: {value:.2f} mm at the 95th percentile (limit {limit:.2f} mm).",
    ),
    Limit(
        "jacobian_p01",
        "below",
        0.2,
        0.0,
        "Tissue is squeezed hard: 1 % of the mask has a Jacobian below {value:.2f} (limit {limit:.2f}).",
    ),
    Limit(
        "jacobian_p99",
        "above",
        5.0,
        20.0,
        "Tissue is stretched hard: 1 % of the mask has a Jacobian above {value:.2f} (limit {limit:.2f}).",
    ),
)
"""Limits with their reasons, in the order in which a reader should hear of them."""


def verdict(measures: Mapping[str, float | None]) -> Verdict:
    """Judge the measures of one pair; a measure that is missing is not judged.

    Parameters
    ----------
    measures
        Values by key of the dictionary; None for a value that could not be had.

    Returns
    -------
    Verdict
        The worst status of any limit, and a sentence for each limit that was crossed.
    """
    statuses: list[Status] = ["pass"]
    reasons = []
    for limit in LIMITS:
        value = measures.get(limit.key)
        if value is None:
            continue
        status = limit.status(value)
        if status != "pass":
            bound = limit.fail if status == "fail" else limit.check
            statuses.append(status)
            reasons.append(limit.sentence.format(value=value, limit=bound))
    before, after = measures.get("nmi_before"), measures.get("nmi_after")
    was_deformed = measures.get("displacement_max_mm") != 0
    if was_deformed and before is not None and after is not None and after <= before:
        statuses.append("check")
        reasons.append(
            f"The images agree no better than by the affine alone: NMI {before:.4f}, then {after:.4f}."
        )
    worst = max(statuses, key=("pass", "check", "fail").index)
    return Verdict(worst, tuple(reasons))
