from __future__ import annotations

import json

import numpy as np
import pytest

from bids_nodereg.quality.dictionary import DICTIONARY
from bids_nodereg.quality.measures import RegisteredPair, json_ready, measure_pair, text
from bids_nodereg.quality.overlap import overlap_measures
from bids_nodereg.quality.verdict import LIMITS
from tests.quality.grids import SHAPE, awkward_grid


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


def test_the_whole_map_counts_the_volume_of_the_affine_too() -> None:
    values = measure_pair(registered_pair(alignment=np.diag([1.1, 0.9, 1.2, 1.0])))

    for which in ("min", "p01", "median", "p99", "max"):
        assert values[f"whole_jacobian_{which}"] == pytest.approx(
            1.1 * 0.9 * 1.2 * values[f"jacobian_{which}"]
        )
    assert values["affine_determinant"] == pytest.approx(1.1 * 0.9 * 1.2)
    assert set(values) <= set(DICTIONARY)


def test_overlap_of_the_foregrounds_in_four_ways() -> None:
    half = np.zeros(SHAPE, bool)
    half[3:7, 3:-3, 3:-3] = True  # 4 of the 8 planes of the mask

    values = measure_pair(registered_pair(before_mask=half))

    assert values["foreground_dice_before"] == pytest.approx(2 / 3)
    assert values["foreground_jaccard_before"] == values["foreground_coverage_before_fraction"] == 0.5
    assert values["foreground_jaccard_after"] == values["foreground_coverage_after_fraction"] == 1


def test_local_correlation_is_for_images_of_one_contrast_only() -> None:
    assert "lncc_after" not in measure_pair(registered_pair())

    values = measure_pair(registered_pair(same_contrast=True))

    assert values["lncc_after"] == pytest.approx(1)
    assert values["lncc_before"] < 0.9


def ball(shape: tuple[int, int, int], radius: float) -> np.ndarray:
    middle = (np.array(shape) - 1) / 2
    distance = np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - middle, axis=-1)
    return distance <= radius


def test_the_inner_rank_correlation_does_not_see_the_outside() -> None:
    """A ball of 45 mm: the outer 20 mm agree, the inner 25 mm are turned over."""
    shape = (40, 40, 40)
    mask, inside = ball(shape, 15), ball(shape, 16 - 20 / 3)
    fixed = np.random.default_rng(3).normal(size=shape)
    after = np.where(inside, -np.exp(fixed), fixed)
    nothing = dict.fromkeys(("inverse_mm", "before_mask", "after_mask", "moving_view", "truth_mm"))
    given = {"affine": np.diag([3.0, 3, 3, 1]), "mask": mask, "fixed": fixed, "before": after, "after": after}

    values = measure_pair(registered_pair(**nothing, **given, forward_mm=np.zeros((*shape, 3))))
    shallow = measure_pair(
        registered_pair(**nothing, **{**given, "mask": ball(shape, 6)}, forward_mm=np.zeros((*shape, 3)))
    )

    assert values["inner_rank_correlation"] < -0.95
    assert values["ncc_after"] > 0
    assert shallow["inner_rank_correlation"] is None


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
