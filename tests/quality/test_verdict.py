from __future__ import annotations

import math

import pytest

from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.plausible import PairKind, limits_for, with_doubts
from bids_nodereg.quality.verdict import LIMITS, Verdict, verdict, with_parts

SESSION = PairKind("one session", "T1w", "T2w")
KINDS = (
    SESSION,
    PairKind("one session", "T1w", "FLAIR"),
    PairKind("one person", "T1w", "T1w"),
    PairKind("two people", "T1w", "T2w"),
    PairKind("two people", "PDw", "T2starw"),
)

GOOD = {
    "turned_distance_ratio": 4.0,
    "mirrored_distance_ratio": 1.8,
    "affine_rotation_deg": 2.0,
    "affine_translation_mm": 3.0,
    "affine_scale_min": 0.99,
    "affine_scale_max": 1.01,
    "displacement_p95_mm": 2.0,
    "sd_log_jacobian": 0.1,
    "inner_rank_correlation": -0.4,
    "folded_fraction": 0.0,
    "moving_coverage_fraction": 1.0,
    "foreground_dice_after": 0.97,
    "inverse_consistency_forward_p95_mm": 0.02,
    "inverse_consistency_backward_p95_mm": 0.02,
    "jacobian_p01": 0.7,
    "jacobian_p99": 1.4,
    "nmi_gain": 0.1,
}


def test_good_values_pass_and_missing_ones_are_not_judged() -> None:
    limits = limits_for(SESSION)

    assert verdict(GOOD, limits).status == "pass"
    assert verdict(GOOD, limits).reasons == ()
    assert verdict({}, limits).status == "pass"
    assert verdict(dict.fromkeys(GOOD), limits).status == "pass"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_limit_has_a_key_and_gives_check_then_fail_with_a_reason(kind) -> None:
    for limit in limits_for(kind):
        assert limit.key in DICTIONARY
        step = 1e-6 if limit.beyond == "above" else -1e-6
        at = verdict({limit.key: limit.check}, (limit,))
        beyond = verdict({limit.key: limit.check + step}, (limit,))
        assert (at.status, beyond.status) == ("pass", "check"), limit.key
        assert len(beyond.reasons) == 1
        assert "{" not in beyond.reasons[0]
        if math.isfinite(limit.fail):
            assert verdict({limit.key: limit.fail + step}, (limit,)).status == "fail", limit.key


def test_no_gain_over_the_affine_is_to_be_looked_at() -> None:
    found = verdict({**GOOD, "nmi_gain": -0.01})

    assert found.status == "check"
    assert "--transform rigid" in found.reasons[0]


def test_the_worst_limit_decides() -> None:
    found = verdict({**GOOD, "nmi_gain": -0.01, "folded_fraction": 0.04})

    assert found.status == "fail"
    assert "4.000%" in found.reasons[0]
    assert len(found.reasons) == 2


def test_the_optimised_similarity_never_decides() -> None:
    """A similarity that was optimised is not evidence (and is what a wrong pair has, too)."""
    keys = {limit.key for kind in KINDS for limit in limits_for(kind)} | {limit.key for limit in LIMITS}

    assert not [key for key in keys if key.startswith("mind_distance")]


@pytest.mark.parametrize(
    ("change", "relation", "status", "words"),
    [
        ({"mirrored_distance_ratio": 0.6}, "one session", "fail", "left and right are likely swapped"),
        ({"mirrored_distance_ratio": 1.0}, "one person", "check", "both images are of this person"),
        ({"mirrored_distance_ratio": 0.6}, "two people", "pass", ""),
        ({"affine_rotation_deg": 89.0}, "one session", "check", "headers"),
        ({"affine_rotation_deg": 40.0}, "two people", "pass", ""),
        ({"affine_scale_max": 1.12}, "one session", "check", "voxel sizes"),
        ({"affine_scale_max": 1.12}, "two people", "pass", ""),
        ({"displacement_p95_mm": 6.2}, "one session", "check", "this person"),
        ({"displacement_p95_mm": 6.2}, "two people", "pass", ""),
        ({"turned_distance_ratio": 1.0}, "two people", "fail", "no brain"),
        ({"moving_coverage_fraction": 0.6}, "one session", "check", "field of view"),
    ],
)
def test_what_is_usual_between_two_people_is_not_within_one(change, relation, status, words) -> None:
    found = verdict({**GOOD, **change}, limits_for(PairKind(relation, "T1w", "T2w")))

    assert found.status == status
    assert len(found.reasons) == (status != "pass")
    assert words in "".join(found.reasons)


@pytest.mark.parametrize(
    ("fixed", "moving", "correlation", "status"),
    [
        ("T1w", "T1w", 0.8, "pass"),
        ("T1w", "UNIT1", 0.8, "pass"),
        ("T1w", "T1w", -0.4, "check"),
        ("T1w", "T2w", -0.7, "pass"),
        ("T2w", "T1w", 0.6, "check"),
        ("T1w", "FLAIR", -0.2, "pass"),
        ("T1w", "FLAIR", 0.8, "check"),
        ("T1w", "FLAIR", -0.8, "check"),
        ("T2w", "FLAIR", 0.4, "pass"),
        ("T1w", "T2starw", 0.9, "pass"),
    ],
)
def test_names_of_contrasts_promise_how_bright_goes_with_bright(fixed, moving, correlation, status) -> None:
    limits = limits_for(PairKind("one session", fixed, moving))

    found = verdict({**GOOD, "inner_rank_correlation": correlation}, limits)

    assert found.status == status
    assert all(fixed in reason and moving in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("own", "parts", "status", "named"),
    [
        ("pass", {"a": "pass", "b": "pass"}, "pass", []),
        ("pass", {"a": "check", "b": ""}, "check", ["a"]),
        ("check", {"a": "pass", "b": "fail"}, "fail", ["b"]),
        ("fail", {"a": "check"}, "fail", ["a"]),
    ],
)
def test_a_composed_map_is_no_better_than_its_parts(own, parts, status, named) -> None:
    found = with_parts(Verdict(own, ("own reason",)), parts)

    assert found.status == status
    assert found.reasons[0] == "own reason"
    assert [reason.split()[4].strip(",") for reason in found.reasons[1:]] == named


@pytest.mark.parametrize(
    ("relation", "turned", "expected"),
    [
        ("one session", None, "check"),
        ("one person", None, "check"),
        ("one person", 2.0, "pass"),
        ("two people", None, "pass"),
    ],
)
def test_without_any_ratio_images_of_one_person_do_not_pass(relation, turned, expected):
    measures = {"mirrored_distance_ratio": None, "turned_distance_ratio": turned}
    found = with_doubts(Verdict("pass", ()), PairKind(relation, "T1w", "T2w"), measures)
    assert found.status == expected
    assert len(found.reasons) == (expected == "check")
    assert with_doubts(Verdict("fail", ("Bad.",)), PairKind(relation, "T1w", "T2w"), {}).status == "fail"
