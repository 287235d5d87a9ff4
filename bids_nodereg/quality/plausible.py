"""Which limits a pair has to keep, given what its images are said to be.

Two images of one person differ by the hold of the head, a little distortion and noise. Two people differ in
the size of the head and in every gyrus. So what is normal between two people is a reason to look at two
images that are named as one person's. The limits stand between what was measured on good pairs and on pairs
made wrong on purpose; docs/quality.md has the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bids_nodereg.quality.verdict import LIMITS, STATUSES, Limit, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

Relation = Literal["one session", "one person", "two people"]


@dataclass(frozen=True)
class PairKind:
    """What the images of a pair are, by their names.

    Attributes
    ----------
    relation
        Of ``one session`` of a person, of ``one person`` in different sessions, or of ``two people`` (a
        template counts as another person).
    fixed_contrast, moving_contrast
        BIDS suffixes.
    """

    relation: Relation
    fixed_contrast: str
    moving_contrast: str

    @property
    def same_contrast(self) -> bool:
        """Whether bright means the same in both images."""
        return _family(self.fixed_contrast) == _family(self.moving_contrast)


ONE_SESSION = (
    Limit(
        "affine_rotation_deg",
        "above",
        30.0,
        math.inf,
        "The moving image is turned by {value:.0f} degrees against what the headers of this session say "
        "(limit {limit:.0f}): a header is likely wrong. Look at the orientation letters of both originals, "
        "and convert the image again if they are wrong.",
    ),
    Limit(
        "affine_translation_mm",
        "above",
        150.0,
        math.inf,
        "The headers put the two images of this session {value:.0f} mm apart (limit {limit:.0f} mm): one "
        "may come from another session or was processed before. Check where it comes from.",
    ),
)
"""Within one session the head is held alike and the headers share one world."""

ONE_PERSON = (
    Limit(
        "mirrored_distance_ratio",
        "below",
        1.2,
        0.88,
        "The moving image matches hardly better than its own mirror image (ratio {value:.2f}, limit "
        "{limit:.2f}), as is usual between two people: look whether both images are of this person and "
        "whether they are aligned at all.",
        "The mirror image of the moving image matches better than the image itself (ratio {value:.2f}, "
        "limit {limit:.2f}): left and right are likely swapped in one of the two. Compare both with another "
        "image of this person, or with a mark on one side, before any use.",
    ),
    Limit(
        "affine_scale_min",
        "below",
        0.93,
        0.8,
        "One of the axes is shrunk to {value:.2f} of its length (limit {limit:.2f}), and a head does not "
        "change its size: look whether both images are of this person and whether the voxel sizes in the "
        "headers are right.",
    ),
    Limit(
        "affine_scale_max",
        "above",
        1.07,
        1.25,
        "One of the axes is stretched to {value:.2f} times its length (limit {limit:.2f}), and a head does "
        "not change its size: look whether both images are of this person and whether the voxel sizes in "
        "the headers are right.",
    ),
    Limit(
        "displacement_p95_mm",
        "above",
        5.0,
        math.inf,
        "The deformation moves tissue by {value:.1f} mm at the 95th percentile (limit {limit:.1f} mm), as "
        "is usual between two people: look whether both images are of this person and the same way round. "
        "If nothing is wrong with them and nothing has changed in the brain, use --transform rigid.",
    ),
    Limit(
        "sd_log_jacobian",
        "above",
        0.22,
        math.inf,
        "Volume changes from place to place (spread of the log-Jacobian {value:.2f}, limit {limit:.2f}) as "
        "it does between two people: look whether both images are of this person and the same way round. If "
        "nothing is wrong with them, do not read local volume from this map; --transform rigid is safer.",
    ),
)
"""A brain keeps its gyri, and nearly its size."""

TURNED = Limit(
    "affine_rotation_deg",
    "above",
    45.0,
    math.inf,
    "The moving image is turned by {value:.0f} degrees against what the headers say (limit "
    "{limit:.0f}): look at the orientation letters of both originals, and at the registered image.",
)
"""Between sessions, and between two people, a head may lie in another way."""

TWO_PEOPLE = (
    TURNED,
    Limit(
        "affine_scale_min",
        "below",
        0.7,
        0.5,
        "One of the axes is shrunk to {value:.2f} of its length (limit {limit:.2f}): look whether both "
        "masks show the same part of the head.",
    ),
    Limit(
        "affine_scale_max",
        "above",
        1.4,
        2.0,
        "One of the axes is stretched to {value:.2f} times its length (limit {limit:.2f}): look whether "
        "both masks show the same part of the head.",
    ),
)

FAMILIES = {"T1w": "T1", "UNIT1": "T1", "T2w": "T2", "FLAIR": "FLAIR"}
"""Contrasts of which it is known how their intensities go together deep in the brain."""

SAME_CONTRAST_AT_LEAST = 0.3
"""Rank correlation below which two images are hardly of one contrast."""

OTHER_CONTRASTS = {frozenset(("T1", "T2")): (-math.inf, -0.1), frozenset(("T1", "FLAIR")): (-0.5, 0.5)}
"""Lowest and highest rank correlation of two contrasts."""


RATIOS = ("mirrored_distance_ratio", "turned_distance_ratio")
"""Measures that say whether two images belong together."""

NO_RATIO = (
    "The images hardly overlap after the affine, so that neither could be compared with a mirrored or turned "
    "one: look at the registered image, and whether both masks show the same part of the head."
)


def limits_for(kind: PairKind) -> tuple[Limit, ...]:
    """Choose the limits of a kind of pair, in the order in which a reader should hear of them."""
    of_relation = {
        "one session": (*ONE_PERSON, *ONE_SESSION),
        "one person": (*ONE_PERSON, TURNED),
        "two people": TWO_PEOPLE,
    }
    return (*of_relation[kind.relation], *_contrast_limits(kind), *LIMITS)


def with_doubts(own: Verdict, kind: PairKind, measures: Mapping[str, float | None]) -> Verdict:
    """Judge a searched map: of one person, it does not pass where nothing could say whether the images match.

    Parameters
    ----------
    own
        Verdict by the limits.
    kind
        What the images are.
    measures
        Values by key of the dictionary.
    """
    if kind.relation == "two people" or any(measures.get(key) is not None for key in RATIOS):
        return own
    return Verdict(max(own.status, "check", key=STATUSES.index), (*own.reasons, NO_RATIO))


def _family(contrast: str) -> str:
    return FAMILIES.get(contrast, contrast)


def _contrast_limits(kind: PairKind) -> tuple[Limit, ...]:
    """What the names of the contrasts promise of the intensities."""
    names = f"{kind.moving_contrast} and {kind.fixed_contrast}"
    if kind.same_contrast:
        said = f"Named {names}, the images should be bright in the same places"
        return (_contrast_limit("below", SAME_CONTRAST_AT_LEAST, f"{said}, and are not"),)
    families = frozenset((_family(kind.fixed_contrast), _family(kind.moving_contrast)))
    if families not in OTHER_CONTRASTS:
        return ()
    least, most = OTHER_CONTRASTS[families]
    alike = _contrast_limit("above", most, f"The images are bright in the same places, as {names} are not")
    if least == -math.inf:
        return (alike,)
    said = f"Where one image is bright the other is dark, more than in {names}"
    return (alike, _contrast_limit("below", least, said))


def _contrast_limit(beyond: Literal["above", "below"], bound: float, finding: str) -> Limit:
    """Only a reason to look: scanners and sequences differ."""
    return Limit(
        "inner_rank_correlation",
        beyond,
        bound,
        math.inf if beyond == "above" else -math.inf,
        f"{finding} (rank correlation deep inside {{value:.2f}}, limit {{limit:.2f}}): one of them may be of "
        "another contrast than its name says. Look at both.",
    )
