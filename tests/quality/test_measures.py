from __future__ import annotations

import json

import numpy as np
import pytest

from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.measures import RegisteredPair, json_ready, measure_pair, text
from bids_nodereg.quality.overlap import overlap_measures
from bids_nodereg.quality.verdict import LIMITS, verdict
from tests.quality.grids import SHAPE, awkward_grid

GOOD = {
    "folded_fraction": 0.0,
    "moving_coverage_fraction": 1.0,
    "foreground_dice_after": 0.97,
    "inverse_consistency_forward_p95_mm": 0.02,
    "inverse_consistency_backward_p95_mm": 0.02,
    "jacobian_p01": 0.7,
    "jacobian_p99": 1.4,
    "nmi_before": 1.1,
    "nmi_after": 1.2,
}


def registered_pair(**changes: object) -> RegisteredPair:
    rng = np.random.default_rng(0)
    fixed = rng.normal(size=SHAPE)
    shift = np.broadcast_to([0.5, 0.0, 0.0], (*SHAPE, 3))
    mask = np.zeros(SHAPE, bool)
    mask[3:-3, 3:-3, 3:-3] = True
    values = {
        "affine": awkward_grid().affine,
        "mask": mask,
        "fixed": fixed,
        "before": fixed + rng.normal(size=SHAPE),
        "after": 2 * fixed,
        "forward_mm": shift,
        "inverse_mm": -shift,
        "before_mask": mask,
        "after_mask": mask,
        "moving_view": np.ones(SHAPE, bool),
        "truth_mm": shift + np.array([0.0, 0.2, 0.0]),
    }
    return RegisteredPair(**{**values, **changes})


def test_every_measure_is_in_the_dictionary_and_survives_json() -> None:
    values = measure_pair(registered_pair())

    assert set(values) <= set(DICTIONARY)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["displacement_mean_mm"] == pytest.approx(0.5)
    assert values["endpoint_error_max_mm"] == pytest.approx(0.2)
    assert values["inverse_consistency_forward_max_mm"] == pytest.approx(0, abs=1e-9)
    assert values["foreground_dice_after"] == values["moving_coverage_fraction"] == 1


def test_the_dictionary_knows_every_key_that_is_made_elsewhere() -> None:
    assert set(overlap_measures((), "before")) | set(overlap_measures((), "after")) <= set(DICTIONARY)
    assert {limit.key for limit in LIMITS} <= set(DICTIONARY)


def test_keys_end_in_their_unit() -> None:
    endings = {
        "mm": "_mm",
        "s": "_s",
        "MiB": "_mib",
        "nat": "_nat",
        "fraction": "_fraction",
        "voxels": "_voxels",
    }
    for key, description in DICTIONARY.items():
        assert key.endswith(endings.get(description.units, "")), key
        assert description.text.endswith("."), key


def test_what_was_not_given_is_not_measured() -> None:
    nothing = dict.fromkeys(("inverse_mm", "before_mask", "after_mask", "moving_view", "truth_mm"))

    values = measure_pair(registered_pair(**nothing))

    assert not [key for key in values if key.startswith(("inverse", "foreground", "moving", "endpoint"))]
    assert "nmi_after" in values


def test_what_is_no_number_becomes_none_and_n_a() -> None:
    ready = json_ready({"a": float("nan"), "b": np.float32(0.5), "c": None, "d": float("inf")})

    assert ready == {"a": None, "b": 0.5, "c": None, "d": None}
    assert type(ready["b"]) is float
    assert [text(value) for value in (None, 0.123456789, 1e-9)] == ["n/a", "0.123457", "1e-09"]


def test_good_values_pass_and_missing_ones_are_not_judged() -> None:
    assert verdict(GOOD).status == "pass"
    assert verdict(GOOD).reasons == ()
    assert verdict({}).status == "pass"
    assert verdict(dict.fromkeys(GOOD)).status == "pass"


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.key)
def test_every_limit_gives_check_then_fail_with_a_reason(limit) -> None:
    step = 1e-6 if limit.beyond == "above" else -1e-6
    at = verdict({**GOOD, limit.key: limit.check})
    beyond = verdict({**GOOD, limit.key: limit.check + step})
    far = verdict({**GOOD, limit.key: limit.fail + step})

    assert (at.status, beyond.status, far.status) == ("pass", "check", "fail")
    assert len(beyond.reasons) == len(far.reasons) == 1


def test_no_gain_over_the_affine_is_to_be_looked_at() -> None:
    found = verdict({**GOOD, "nmi_after": 1.1})

    assert found.status == "check"
    assert "affine" in found.reasons[0]


def test_the_worst_limit_decides() -> None:
    found = verdict({**GOOD, "nmi_after": 1.0, "folded_fraction": 0.04})

    assert found.status == "fail"
    assert "4.000%" in found.reasons[0]
    assert len(found.reasons) == 2
