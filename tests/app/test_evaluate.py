"""Evaluations of maps whose every number is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_nodereg.app.evaluate import Evidence, LabelPair, evaluate_maps
from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid, apply_affine
from bids_nodereg.imaging.chain import Chain
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap, forward_map, inverse_map
from bids_nodereg.imaging.points import PointPair
from bids_nodereg.imaging.volume import Volume
from bids_nodereg.quality.evaluation_dictionary import EVALUATION
from bids_nodereg.quality.jacobian import digital_diffeomorphism
from tests.quality.grids import awkward_grid, canonical_grid, world_points

POINTS = np.random.default_rng(2).uniform(-30, 30, (25, 3))


def shift(vector) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = vector
    return affine


def labels(data: np.ndarray, grid: Grid) -> Volume:
    return Volume(data.astype(np.int16), grid, Path("labels.nii.gz"), np.dtype(np.int16))


def boxes(grid: Grid, by: tuple[int, int, int]) -> np.ndarray:
    """Two labels, moved by whole voxels."""
    data = np.zeros(grid.shape, int)
    data[8:14, 10:20, 6:12] = 3
    data[18:25, 22:30, 12:16] = 8
    return np.roll(data, by, (0, 1, 2))


def stretch(grid: Grid, amount: float) -> DisplacementField:
    """``u = amount (x.x) e_x`` around the centre: determinant ``1 + 2 amount x``."""
    away = world_points(grid) - grid.centre
    vectors = np.zeros((*grid.shape, 3))
    vectors[..., 0] = amount * np.einsum("...c,...c->...", away, away)
    return DisplacementField(grid, vectors.astype(np.float32))


def inner_mask(grid: Grid) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    mask[2:-2, 2:-2, 2:-2] = True
    return mask


def test_a_translation_is_scored_by_its_voxels_and_millimetres():
    grid, by = canonical_grid(), (2, -3, 1)
    step = grid.affine[:3, :3] @ by
    fixed, moving = boxes(grid, (0, 0, 0)), boxes(grid, by)
    pair = LabelPair(labels(fixed, grid), labels(moving, grid), {3: "three"})
    evidence = Evidence(labels=pair, points=PointPair(POINTS, POINTS + step))

    found = evaluate_maps(SpatialMap(shift(step)), grid, evidence)

    direct = [
        2 * np.count_nonzero((fixed == code) & (moving == code))
        / (np.count_nonzero(fixed == code) + np.count_nonzero(moving == code))
        for code in (3, 8)
    ]  # fmt: skip
    values = found.measures
    assert [row.dice for row in found.labels_identity] == pytest.approx(direct)
    assert values["dice_mean_identity"] == pytest.approx(np.mean(direct))
    assert 0 < values["dice_mean_identity"] < 0.6
    assert (values["dice_mean_after"], values["hd95_mean_after_mm"]) == (1, 0)
    assert [row.name for row in found.labels_after] == ["three", "label 8"]
    assert values["tre_mean_identity_mm"] == pytest.approx(np.linalg.norm(step))
    assert values["tre_max_after_mm"] == pytest.approx(0, abs=1e-9)
    assert values["landmarks"] == len(POINTS)
    assert found.lattice == "none"
    assert (values["folded_voxels"], values["jacobian_min"], values["sd_log_jacobian"]) == (0, 1, 0)
    assert values["affine_determinant"] == pytest.approx(1)


def test_a_scaling_misses_each_landmark_by_what_it_adds():
    grid, scale = awkward_grid(), np.diag([1.2, 0.9, 1.5, 1.0])
    evidence = Evidence(points=PointPair(POINTS, POINTS))

    values = evaluate_maps(SpatialMap(scale), grid, evidence).measures

    missed = np.linalg.norm(POINTS * [0.2, -0.1, 0.5], axis=1)
    assert values["tre_mean_identity_mm"] == 0
    assert values["tre_mean_after_mm"] == pytest.approx(missed.mean())
    assert values["tre_median_after_mm"] == pytest.approx(np.median(missed))
    assert values["tre_p95_after_mm"] == pytest.approx(np.percentile(missed, 95))
    assert values["tre_max_after_mm"] == pytest.approx(missed.max())
    assert values["affine_determinant"] == pytest.approx(1.2 * 0.9 * 1.5)


@pytest.mark.parametrize("kind", ["field", "affine after", "affine before", "function", "two fields"])
def test_a_known_map_has_its_jacobian_whatever_affines_are_around(kind):
    grid, amount = canonical_grid(), 0.004
    field, affine = stretch(grid, amount), np.array(shift([3, -5, 2]) @ np.diag([1.3, 0.9, 1.1, 1]))
    nothing = DisplacementField(grid, np.zeros((*grid.shape, 3), np.float32))
    mask, seen = inner_mask(grid), grid
    if kind == "affine before":  # then the fixed image lies where the affine takes it from
        seen = Grid(grid.shape, np.linalg.inv(affine) @ grid.affine)
    mapping = {
        "field": SpatialMap(np.eye(4), field),
        "affine after": forward_map(affine, field),
        "affine before": SpatialMap(affine, field, affine_first=True),
        "function": lambda points: points + field.at(points),
        "two fields": Chain((nothing, field, affine)),
    }[kind]

    found = evaluate_maps(mapping, seen, Evidence(mask=mask), threads=2)

    truth = 1 + 2 * amount * (world_points(grid) - grid.centre)[..., 0][mask]
    assert truth.min() > 0.5
    assert found.lattice == ("fixed" if kind in {"function", "two fields"} else "field")
    assert found.measures["folded_voxels"] == 0
    assert found.measures["jacobian_min"] == pytest.approx(truth.min(), abs=1e-3)
    assert found.measures["jacobian_max"] == pytest.approx(truth.max(), abs=1e-3)
    assert found.measures["sd_log_jacobian"] == pytest.approx(np.log(truth).std(), abs=1e-3)


@pytest.mark.parametrize("with_mask", [False, True])
def test_folds_are_counted_on_the_grid_of_the_field(with_mask):
    fixed = canonical_grid()
    affine = fixed.affine.copy()
    affine[:3, :3] /= 2
    lattice = Grid((63, 79, 47), affine)  # twice as fine, over the same box
    vectors = np.zeros((*lattice.shape, 3), np.float32)
    vectors[30:33, 10:40, 20] = 5 * affine[:3, 0]  # pushed past its neighbours
    field = DisplacementField(lattice, vectors)
    folded = digital_diffeomorphism(vectors, affine).folded
    mask = np.zeros(fixed.shape, bool)
    mask[:, :10] = True
    on_lattice = np.zeros(lattice.shape, bool)
    on_lattice[:, :19] = True  # j = 19 lies half-way between 9 and 10, and goes to the even one

    found = evaluate_maps(SpatialMap(np.eye(4), field), fixed, Evidence(mask=mask if with_mask else None))

    expected = np.count_nonzero(folded & on_lattice) if with_mask else np.count_nonzero(folded)
    assert 0 < np.count_nonzero(folded & on_lattice) < np.count_nonzero(folded)
    assert found.lattice == "field"
    assert found.measures["folded_voxels"] == expected


def test_an_exact_inverse_has_no_error_and_a_wrong_one_its_own():
    grid, affine = awkward_grid(), shift([3, -4, 12]) @ np.diag([1.2, 0.8, 1.1, 1.0])
    forward = SpatialMap(affine)
    exact = evaluate_maps(forward, grid, inverse=inverse_map(affine), threads=2).measures
    off = evaluate_maps(forward, grid, inverse=SpatialMap(shift([3, 4, 0]) @ np.linalg.inv(affine)))

    for way in ("forward", "backward"):
        assert exact[f"inverse_consistency_{way}_max_mm"] == pytest.approx(0, abs=1e-9)
    assert off.measures["inverse_consistency_forward_mean_mm"] == pytest.approx(5)
    by = np.linalg.norm([3 * 1.2, 4 * 0.8, 0])
    assert off.measures["inverse_consistency_backward_max_mm"] == pytest.approx(by)


def test_the_endpoint_error_and_the_field_of_view_are_those_of_the_mask():
    grid = canonical_grid()
    mask = np.zeros(grid.shape, bool)
    mask[4:8] = True
    truth = SpatialMap(shift([0, 3, 4]))
    into_half = SpatialMap(shift(grid.affine[:3, :3] @ [-6, 0, 0]))  # planes 4, 5 leave, 6, 7 stay

    still = evaluate_maps(SpatialMap(np.eye(4)), grid, Evidence(mask=mask, truth=truth)).measures
    moved = evaluate_maps(into_half, grid, Evidence(mask=mask, moving_grid=grid)).measures

    assert still["endpoint_error_mean_mm"] == pytest.approx(5)
    assert still["endpoint_error_max_mm"] == pytest.approx(5)
    assert moved["moving_coverage_fraction"] == pytest.approx(0.5)


def test_labels_of_another_grid_are_compared_on_the_fixed_one():
    grid = canonical_grid()
    fixed = boxes(grid, (0, 0, 0))
    flipped = Grid(grid.shape, grid.affine @ flip_of_first_axis(grid))
    pair = LabelPair(labels(fixed[::-1], flipped), labels(fixed, grid))
    assert evaluate_maps(SpatialMap(np.eye(4)), grid, Evidence(labels=pair)).measures["dice_mean_after"] == 1
    wrong = replace(pair, fixed=labels(fixed[::-1], grid))
    assert (
        evaluate_maps(SpatialMap(np.eye(4)), grid, Evidence(labels=wrong)).measures["dice_mean_after"] < 0.9
    )


def flip_of_first_axis(grid: Grid) -> np.ndarray:
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = grid.shape[0] - 1
    return flip


def test_a_mirror_is_seen_in_the_determinant():
    mirror = SpatialMap(np.diag([-1.0, 1, 1, 1]))
    assert evaluate_maps(mirror, awkward_grid()).measures["affine_determinant"] == -1


def test_a_map_of_any_kind_gives_keys_of_the_dictionary_that_mean_the_same():
    grid = canonical_grid()
    affine = shift([1, 2, 3])
    evidence = Evidence(
        labels=LabelPair(labels(boxes(grid, (0, 0, 0)), grid), labels(boxes(grid, (1, 0, 0)), grid)),
        points=PointPair(POINTS, apply_affine(affine, POINTS)),
        truth=SpatialMap(affine),
        moving_grid=grid,
    )
    values = evaluate_maps(
        forward_map(affine, stretch(grid, 1e-4)), grid, evidence, inverse=SpatialMap(affine)
    )
    assert set(values.measures) == set(EVALUATION)
    assert all(value is not None for value in values.measures.values())


def test_what_does_not_fit_is_refused():
    grid = awkward_grid()
    far = SpatialMap(np.eye(4), stretch(Grid((5, 5, 5), shift([900, 0, 0])), 0.0))
    with pytest.raises(DataError, match="No voxel of the displacement field"):
        evaluate_maps(far, grid)
    for mask in (np.ones((3, 3, 3), bool), np.zeros(grid.shape, bool)):
        with pytest.raises(ValueError, match="mask"):
            evaluate_maps(far, grid, Evidence(mask=mask))
