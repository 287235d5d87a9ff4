from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from peers.known import Residual, _from_lps, rigid_residual, true_displacement, warped_by

from bids_nodereg.data.demo_motion import Motion, random_velocity, rigid_about, scale_to_reach
from bids_nodereg.geometry import Grid, apply_affine
from bids_nodereg.imaging.prepare import prepare
from bids_nodereg.imaging.volume import Volume

GRID = Grid((48, 52, 44), np.array([[2.0, 0, 0, -47], [0, 2, 0, -51], [0, 0, 2, -43], [0, 0, 0, 1]]))


def waves(points):
    """A smooth image given by a formula, bright in the middle."""
    inside = np.exp(-((np.linalg.norm(points, axis=-1) / 32) ** 6))
    ripples = np.sin(points[..., 0] / 7) * np.cos(points[..., 1] / 9) + np.sin(points[..., 2] / 8)
    return (inside * (3 + ripples)).astype(np.float32)


def world(grid):
    return grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))


def volume(values):
    return Volume(values, GRID, Path("formula"), values.dtype)


@pytest.fixture(scope="module")
def motion():
    corners = GRID.corners()
    velocity = random_velocity(np.random.default_rng(1), corners.min(0), corners.max(0), {18.0: 1.0})
    inside = np.random.default_rng(4).uniform(-25, 25, (500, 3))
    return Motion(scale_to_reach(velocity, inside, 6.0), np.eye(4))


def test_true_displacement_is_that_of_the_flow(motion):
    points = np.random.default_rng(2).uniform(-25, 25, (200, 3))
    truth = true_displacement(motion, GRID)
    nodes = np.rint(GRID.to_index(points)).astype(int)
    exact = motion.forward(GRID.to_world(nodes)) - GRID.to_world(nodes)
    assert np.linalg.norm(exact, axis=-1).max() > 3
    assert np.abs(truth.vectors[tuple(nodes.T)] - exact).max() < 0.01


def test_warped_image_shows_the_fixed_anatomy_where_the_truth_says(motion):
    rigid = rigid_about(np.zeros(3), (0, 0, 1), 2.0, (1.0, -0.5, 0.3))
    old = volume(waves(world(GRID)))
    new = warped_by(motion, Residual(rigid, {}), old, GRID)
    y = world(GRID)[12:36, 12:36, 12:32]
    expected = waves(apply_affine(rigid, motion.inverse(y)))
    error = np.abs(new.data[12:36, 12:36, 12:32] - expected)
    assert np.abs(old.data[12:36, 12:36, 12:32] - expected).max() > 0.5
    assert error.max() < 0.03


def test_rigid_residual_is_found_by_both_programs():
    pytest.importorskip("ants")
    pytest.importorskip("SimpleITK")
    rigid = rigid_about(np.zeros(3), (1, 1, 0), 1.0, (0.6, -0.4, 0.5))
    points = world(GRID)
    fixed = prepare(volume(waves(points)), np.linalg.norm(points, axis=-1) < 30)
    # what the fixed image shows at x, the other one shows at R x, in another contrast
    other = waves(apply_affine(np.linalg.inv(rigid), points))
    moving = prepare(volume(np.sqrt(5 - other)), np.linalg.norm(points, axis=-1) < 30)
    brain = points[np.linalg.norm(points, axis=-1) < 30]
    found = rigid_residual(fixed, moving, brain)
    error = np.linalg.norm(apply_affine(found.matrix, brain) - apply_affine(rigid, brain), axis=-1)
    assert found.about["removed_mean_mm"] > 0.5
    assert error.mean() < 0.1
    assert found.about["programs_differ_mean_mm"] < 0.1


def test_itk_transform_becomes_ras():
    sitk = pytest.importorskip("SimpleITK")
    transform = sitk.Euler3DTransform((3.0, -4.0, 5.0), 0.1, -0.2, 0.3, (1.0, 2.0, 3.0))
    lps = np.array([10.0, 20.0, -30.0])
    matrix = np.asarray(transform.GetMatrix()).reshape(3, 3)
    ras = _from_lps(matrix, np.asarray(transform.GetTranslation()), np.asarray(transform.GetCenter()))
    flip = np.array([-1, -1, 1])
    assert apply_affine(ras, lps * flip) == pytest.approx(np.array(transform.TransformPoint(lps)) * flip)
