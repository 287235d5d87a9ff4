from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_nodereg.quality.displacement import (
    bending_energy,
    endpoint_error_mm,
    error_measures,
    inverse_consistency_error_mm,
    magnitude_mm,
)
from tests.quality.grids import SHAPE, awkward_grid, world_points


def test_length_of_vectors() -> None:
    field = np.zeros((*SHAPE, 3), np.float32)
    field[..., 0], field[..., 2] = 3, -4

    np.testing.assert_array_equal(magnitude_mm(field), np.full(SHAPE, 5, np.float32))


def test_a_rotation_and_its_inverse_undo_each_other_on_an_awkward_grid() -> None:
    grid = awkward_grid()
    points = world_points(grid) - grid.centre
    turn = Rotation.from_euler("y", 4, degrees=True).as_matrix()
    there, back = points @ (turn - np.eye(3)).T, points @ (turn.T - np.eye(3)).T
    mask = np.zeros(SHAPE, bool)
    mask[3:-3, 3:-3, 3:-3] = True

    error = inverse_consistency_error_mm(there, back, grid.affine, mask)

    assert magnitude_mm(there)[mask].max() > 0.5
    assert error[mask].max() < 1e-9
    assert (error[~mask] == 0).all()


def test_the_error_of_an_inexact_inverse_is_its_length_in_mm() -> None:
    grid = awkward_grid()
    there = np.broadcast_to([1.0, -0.5, 0.7], (*SHAPE, 3))
    back = -there + [0.3, 0.0, -0.4]
    mask = np.zeros(SHAPE, bool)
    mask[4:-4, 4:-4, 4:-4] = True

    error = inverse_consistency_error_mm(there, back, grid.affine, mask)

    np.testing.assert_allclose(error[mask], 0.5, rtol=1e-6)


def test_the_inverse_is_zero_outside_the_grid() -> None:
    there = np.zeros((*SHAPE, 3))
    there[..., 0] = 100.0
    mask = np.ones(SHAPE, bool)

    error = inverse_consistency_error_mm(there, -there, np.eye(4), mask)

    np.testing.assert_allclose(error, 100.0)


def test_bending_energy_of_a_quadratic_and_of_an_affine() -> None:
    grid = awkward_grid()
    points = world_points(grid) - grid.centre
    mask = np.ones(SHAPE, bool)
    bent = np.zeros((*SHAPE, 3))
    bent[..., 1] = 0.01 * points[..., 0] ** 2 + 0.02 * points[..., 0] * points[..., 2]
    linear = points @ np.random.default_rng(0).normal(size=(3, 3))

    # (2 * 0.01)^2 for xx, and 0.02^2 twice for xz and zx
    assert bending_energy(bent, grid.affine, mask) == pytest.approx(0.02**2 * 3, rel=2e-3)
    assert bending_energy(linear, grid.affine, mask) < 1e-8


def test_bending_energy_without_an_inner_voxel_is_zero() -> None:
    assert bending_energy(np.ones((*SHAPE, 3)), np.eye(4), np.zeros(SHAPE, bool)) == 0


def test_endpoint_error_and_its_summary() -> None:
    field, truth = np.zeros((10, 10, 1, 3)), np.zeros((10, 10, 1, 3))
    truth[..., 1] = np.arange(100).reshape(10, 10, 1)
    mask = np.ones((10, 10, 1), bool)

    values = error_measures(endpoint_error_mm(field, truth), mask, "endpoint_error")

    assert values == pytest.approx(
        {
            "endpoint_error_mean_mm": 49.5,
            "endpoint_error_p95_mm": np.percentile(np.arange(100), 95),
            "endpoint_error_max_mm": 99.0,
        }
    )
    assert error_measures(np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool), "x") == {}
