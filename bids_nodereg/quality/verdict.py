"""Pass, check or fail, from physical limits alone.

Whether a value is unusual for a cohort is decided at group level; here only what is wrong in
itself counts: folded space, a map and an inverse that disagree, images that do not overlap, a deformation
that did not make the images agree better. What else is wrong for images of one person stands in
:mod:`~bids_nodereg.quality.plausible`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Status = Literal["pass", "check", "fail"]

STATUSES: tuple[Status, ...] = ("pass", "check", "fail")
"""Best first."""


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
        Bounds beyond which a person should look, and beyond which the result should not be used; infinite
        where there is no such bound.
    sentence
        Reason in words, with what to do; ``{value}`` and ``{limit}`` are filled in.
    fail_sentence
        Reason where the value is beyond ``fail``; empty for the same as ``sentence``.
    """

    key: str
    beyond: Literal["above", "below"]
    check: float
    fail: float
    sentence: str
    fail_sentence: str = ""

    def status(self, value: float) -> Status:
        """Judge one value."""
        sign = 1.0 if self.beyond == "above" else -1.0
        if sign * value > sign * self.fail:
            return "fail"
        return "check" if sign * value > sign * self.check else "pass"

    def reason(self, value: float) -> str:
        """Say what is wrong with a value beyond the limit."""
        failed = self.status(value) == "fail"
        sentence = (failed and self.fail_sentence) or self.sentence
        return sentence.format(value=value, limit=self.fail if failed else self.check)


LIMITS: tuple[Limit, ...] = (
    Limit(
        "turned_distance_ratio",
        "below",
        1.35,
        1.15,
        "The moving image matches hardly better than when it is turned over (ratio {value:.2f}, limit "
        "{limit:.2f}): the alignment has likely failed, or one image shows little. Look at both originals.",
        "The moving image matches no better than when it is turned over (ratio {value:.2f}, limit "
        "{limit:.2f}): the alignment has failed, or there is no brain in one of the images. Look at both "
        "originals; do not use this result.",
    ),
    Limit(
        "affine_alone",
        "above",
        0.0,
        math.inf,
        "Nothing was deformed: the objective was never a finite number, and the map is the affine alone. "
        "Look at the intensities and masks of both originals.",
    ),
    Limit(
        "nonfinite_attempts",
        "above",
        0.0,
        math.inf,
        "The objective was not a finite number in {value:.0f} attempt(s) at a level, which went on from the "
        "last good state: look at the registered image, and at the intensities of both originals.",
    ),
    Limit(
        "folded_fraction",
        "above",
        0.0,
        0.01,
        "The map folds at {value:.3%} of the voxels in the mask (limit {limit:.0%}): do not read volume "
        "there; register again with a larger --smoothness.",
    ),
    Limit(
        "moving_coverage_fraction",
        "below",
        0.95,
        0.5,
        "Only {value:.0%} of the fixed mask lies in the moving image's field of view (limit {limit:.0%}): "
        "the rest of the registered image is empty and the map there is a guess. Use no more than the part "
        "that is covered.",
    ),
    Limit(
        "foreground_dice_after",
        "below",
        0.85,
        0.6,
        "The foregrounds overlap with a Dice of {value:.2f} only (limit {limit:.2f}): look whether both "
        "masks show the same part of the head, and give masks of the brain (--derivatives or --pairs-file) "
        "if not.",
    ),
    Limit(
        "inverse_consistency_forward_p95_mm",
        "above",
        0.5,
        2.0,
        "Forward and inverse map disagree: {value:.2f} mm at the 95th percentile (limit {limit:.2f} mm). "
        "Look where, and do not carry points or labels back there.",
    ),
    Limit(
        "inverse_consistency_backward_p95_mm",
        "above",
        0.5,
        2.0,
        "Inverse and forward map disagree: {value:.2f} mm at the 95th percentile (limit {limit:.2f} mm). "
        "Look where, and do not carry points or labels back there.",
    ),
    Limit(
        "jacobian_p01",
        "below",
        0.2,
        0.0,
        "Tissue is squeezed hard: 1 % of the mask has a Jacobian below {value:.2f} (limit {limit:.2f}). "
        "Look at the Jacobian map; register again with a larger --smoothness if it is not anatomy.",
    ),
    Limit(
        "jacobian_p99",
        "above",
        5.0,
        20.0,
        "Tissue is stretched hard: 1 % of the mask has a Jacobian above {value:.2f} (limit {limit:.2f}). "
        "Look at the Jacobian map; register again with a larger --smoothness if it is not anatomy.",
    ),
    Limit(
        "nmi_gain",
        "below",
        -0.002,
        -math.inf,
        "The images agree less than by the affine alone (NMI changed by {value:+.4f}): use --transform "
        "rigid or affine, unless the pictures show a gain.",
    ),
)
"""Limits of every pair with their reasons, in the order in which a reader should hear of them."""


def verdict(measures: Mapping[str, float | None], limits: Sequence[Limit] = LIMITS) -> Verdict:
    """Judge the measures of one pair; a measure that is missing is not judged.

    Parameters
    ----------
    measures
        Values by key of the dictionary; None for a value that could not be had.
    limits
        What the pair has to keep; see :func:`~bids_nodereg.quality.plausible.limits_for`.

    Returns
    -------
    Verdict
        The worst status of any limit, and a sentence for each limit that was crossed.
    """
    values = [(limit, measures.get(limit.key)) for limit in limits]
    judged = [(limit.status(value), limit.reason(value)) for limit, value in values if value is not None]
    worst = max((status for status, _ in judged), key=STATUSES.index, default=STATUSES[0])
    return Verdict(worst, tuple(reason for status, reason in judged if status != STATUSES[0]))


def with_parts(own: Verdict, parts: Mapping[str, str]) -> Verdict:
    """Judge a composed map: no better than the worst of the maps it is composed of.

    Parameters
    ----------
    own
        Verdict of the composed map itself.
    parts
        Verdict of each part by its name; a part without one is passed over.
    """
    bad = {name: status for name, word in parts.items() for status in STATUSES[1:] if word == status}
    worst = max(own.status, *bad.values(), key=STATUSES.index) if bad else own.status
    reasons = (
        f"It is composed of {name}, whose verdict is {status}: read the reasons there."
        for name, status in bad.items()
    )
    return Verdict(worst, (*own.reasons, *reasons))
