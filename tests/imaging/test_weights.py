"""What counts at each place of a grid: checked against functions of the world point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.prepare import prepare
from bids_nodereg.imaging.volume import Volume
from bids_nodereg.imaging.weights import STIFFNESS_RANGE, cost_onto_grid, stiffness_onto_grid


def ball(grid: Grid, centre, radius_mm: float) -> np.ndarray:
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.linalg.norm(points - centre, axis=-1) < radius_mm


def with_lesion(scene, radius_mm: float = 9.0):
    whole = np.ones(scene.fixed.shape, bool)
    return prepare(scene.fixed_volume(), whole, lesion=ball(scene.fixed, scene.fixed.centre, radius_mm))


def test_without_a_lesion_there_is_no_cost(scene):
    assert (
        cost_onto_grid(prepare(scene.fixed_volume(), np.ones(scene.fixed.shape, bool)), scene.working) is None
    )


def test_the_lesion_is_zero_and_a_little_wide(scene):
    """Nothing of the ball counts; what counts for nothing beside it is within a voxel diagonal of it."""
    cost = cost_onto_grid(with_lesion(scene), scene.working)
    assert set(np.unique(cost)) == {0, 1}
    diagonal_mm = np.linalg.norm(scene.fixed.spacing)
    assert not cost[ball(scene.working, scene.fixed.centre, 9 - diagonal_mm / 2)].any()
    assert cost[~ball(scene.working, scene.fixed.centre, 9 + diagonal_mm)].all()


def test_the_lesion_goes_through_the_affine_and_ends_where_the_image_ends(scene):
    """Points of the grid map to the image's world; beyond the image nothing is known to be ill."""
    affine = np.eye(4)
    affine[:3, 3] = [6.0, -4.0, 3.0]
    cost = cost_onto_grid(with_lesion(scene), scene.working, affine)
    moved = scene.fixed.centre - affine[:3, 3]
    diagonal_mm = np.linalg.norm(scene.fixed.spacing)
    assert not cost[ball(scene.working, moved, 9 - diagonal_mm / 2)].any()
    assert cost[~ball(scene.working, moved, 9 + diagonal_mm)].all()
    far = scene.working.affine.copy()
    far[:3, 3] += 500
    assert cost_onto_grid(with_lesion(scene), Grid(scene.working.shape, far)).all()


def test_on_the_own_grid_the_cost_is_the_mask(scene):
    prepared = with_lesion(scene)
    np.testing.assert_array_equal(cost_onto_grid(prepared, scene.fixed), ~prepared.lesion)


def test_volume_in_the_mask_and_intensities_outside_the_lesion(scene):
    volume = scene.fixed_volume()
    lesion = ball(scene.fixed, scene.fixed.centre, 9)
    mask = np.indices(scene.fixed.shape)[0] < 12
    data = np.where(lesion, np.float32(1e6), volume.data)
    prepared = prepare(replace(volume, data=data), mask, lesion=lesion)
    assert prepared.excluded_ml == pytest.approx((lesion & mask).sum() * np.prod(scene.fixed.spacing) / 1000)
    assert prepared.window[1] < 1001
    with pytest.raises(ValueError, match="does not fit"):
        prepare(volume, mask, lesion=lesion[1:])
    with pytest.raises(DataError, match=r"covers \d+%.*inverted"):
        prepare(volume, mask, lesion=~lesion)


def slope_map(grid: Grid) -> Volume:
    """Values that are a linear function of the world point, all positive."""
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    values = 50 + points @ [0.3, -0.2, 0.25]
    assert values.min() > 0
    return Volume(values.astype(np.float32), grid, None, np.dtype(np.float32))


def test_stiffness_is_linear_in_space_with_mean_one_in_the_mask(scene):
    """Of the map's grid nothing is left but the function: every covered voxel has it, divided by the mean."""
    own = Grid((12, 14, 11), np.diag([3.0, 3.0, 3.0, 1.0]))
    centred = own.affine.copy()
    centred[:3, 3] = scene.working.centre - own.centre
    own = Grid(own.shape, centred)
    grid = scene.working
    mask = ball(grid, grid.centre, 14)
    stiffness = stiffness_onto_grid(slope_map(own), grid, mask)
    assert stiffness[mask].mean(dtype=float) == pytest.approx(1, abs=1e-5)
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    true = 50 + points @ [0.3, -0.2, 0.25]
    index = own.to_index(points)
    covered = ((index >= 0) & (index <= np.asarray(own.shape) - 1)).all(-1)
    assert 0.2 < covered.mean() < 0.9
    np.testing.assert_allclose(stiffness[covered], (true / true[mask].mean())[covered], rtol=1e-5)
    beyond = ((index < -0.5) | (index >= np.asarray(own.shape) - 0.5)).any(-1)
    assert (stiffness[beyond] == 1).all()


def test_extreme_stiffness_is_clipped(scene):
    values = np.ones(scene.fixed.shape, np.float32)
    values[:, :4], values[:, 4:8] = 1e-6, 1e6
    volume = Volume(values, scene.fixed, None, np.dtype(np.float32))
    mask = np.indices(scene.fixed.shape)[1] > 10
    stiffness = stiffness_onto_grid(volume, scene.fixed, mask)
    assert (stiffness.min(), stiffness.max()) == pytest.approx(STIFFNESS_RANGE)
    assert (stiffness[mask] == 1).all()


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_stiffness_has_to_be_positive_and_here(scene, bad, tmp_path):
    volume = replace(slope_map(scene.fixed), path=tmp_path / "map.nii.gz")
    mask = np.ones(scene.fixed.shape, bool)
    far = scene.fixed.affine.copy()
    far[:3, 3] += 500
    with pytest.raises(DataError, match=r"map\.nii\.gz: .*beside the mask"):
        stiffness_onto_grid(volume, Grid(scene.fixed.shape, far), mask)
    volume.data[3, 4, 5] = bad
    with pytest.raises(DataError, match=r"map\.nii\.gz: 1 of \d+ values .* not above 0"):
        stiffness_onto_grid(volume, scene.fixed, mask)
