"""Between the world and voxels: known answers in voxels must come out right in the world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_nodereg.app import stages
from bids_nodereg.app.images import read_inputs
from bids_nodereg.app.inputs import Inputs, looks_skull_stripped
from bids_nodereg.app.jobs import find_jobs, open_input
from bids_nodereg.cli import parse
from bids_nodereg.imaging.prepare import onto_grid, prepare, working_grid
from bids_nodereg.registration.affine import Alignment
from bids_nodereg.registration.register import Registration
from bids_nodereg.registration.velocity import boundary_window
from tests.app import phantom

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config(study):
    return parse(study.arguments(study.raw.with_name("nothing"), "--participant-label", "01"))


@pytest.fixture(scope="module")
def inputs(config) -> Inputs:
    (participant,) = find_jobs(config, open_input(config), ("01",))
    return read_inputs(participant.jobs[0].pair)


def test_a_matrix_in_voxels_becomes_one_in_the_world(config, inputs, monkeypatch):
    """Each pair of voxels that the matrix ties together is tied together in the world."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] += torch.from_numpy(np.random.default_rng(0).normal(0, 0.2, (3, 4)))
    seen = {}

    def align(pair, spacing_mm, *rest):
        seen.update(shapes=(pair.fixed.shape[2:], pair.moving.shape[2:]), spacing_mm=spacing_mm)
        return Alignment(matrix, 0.0, 1)

    monkeypatch.setattr(stages, "align", align)
    affine = stages.find_affine(inputs, config.settings, CPU, print)
    fixed, moving = (working_grid(prepared, 3.0, 10.0) for prepared in (inputs.fixed, inputs.moving))
    assert seen == {"shapes": (fixed.shape, moving.shape), "spacing_mm": 3.0}
    index = np.random.default_rng(1).uniform(0, 20, (9, 3))
    moved = index @ matrix[:3, :3].numpy().T + matrix[:3, 3].numpy()
    world = fixed.to_world(index) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(world, moving.to_world(moved), atol=1e-9)


def test_displacements_in_voxels_become_millimetres_along_the_worlds_axes(config, inputs, monkeypatch):
    """Both ways, on an oblique grid: a step along an axis of the array is not one along x, y or z."""
    steps = {"forward": (1.0, 2.0, -0.5), "inverse": (-0.25, 0.5, 3.0)}

    def register(pair, *rest):
        shape = pair.fixed.shape[2:]
        forward, inverse = (
            torch.tensor(step).view(1, 3, 1, 1, 1).expand(1, 3, *shape) for step in steps.values()
        )
        return Registration(forward, inverse, forward, (), None, 1.0, 0.5, remarks=("a remark",))

    monkeypatch.setattr(stages, "find_affine", lambda *rest: np.eye(4))
    monkeypatch.setattr(stages, "register", register)
    solution = stages.solve(inputs, config.settings, CPU, print)
    assert solution.remarks == ("a remark",)
    # Eight voxels of rim ask for more room than the margin of 10 mm.
    assert solution.grid.is_close(working_grid(inputs.fixed, 3.0, 24.0))
    assert np.abs(solution.grid.direction).max() < 0.95
    inner = np.array([5.0, 6.0, 7.0])
    for mapping, step in ((solution.forward, steps["forward"]), (solution.inverse, steps["inverse"])):
        expected = solution.grid.to_world(inner + step)
        np.testing.assert_allclose(mapping(solution.grid.to_world(inner)), expected, atol=1e-4)


def test_the_pair_for_registration_lies_on_the_fixed_grid(config, inputs, monkeypatch):
    """Through the true affine both images show the same head at the same voxels."""
    seen = {}

    def register(pair, *rest):
        seen["pair"] = pair
        zero = torch.zeros(1, 3, *pair.fixed.shape[2:])
        return Registration(zero, zero, zero, (), None, 1.0, 0.5)

    monkeypatch.setattr(stages, "find_affine", lambda *rest: phantom.truth().affine)
    monkeypatch.setattr(stages, "register", register)
    solution = stages.solve(inputs, config.settings, CPU, print)
    pair = seen["pair"]
    assert pair.fixed.shape == pair.moving.shape == (1, 1, *solution.grid.shape)
    assert pair.fixed.dtype == pair.moving_mask.dtype == torch.float32
    both = (pair.fixed_mask * pair.moving_mask).sum()
    assert 2 * both / (pair.fixed_mask.sum() + pair.moving_mask.sum()) > 0.93
    shares = phantom.soft_labels(phantom.points_of(solution.grid.shape, solution.grid.affine))
    truth_mask = torch.from_numpy(shares[..., 0] < 0.5)
    assert (truth_mask == (pair.fixed_mask[0, 0] > 0.5)).float().mean() > 0.97


@pytest.mark.parametrize("transform", ["rigid", "affine"])
def test_without_a_field_the_map_is_the_matrix(transform, config, inputs, monkeypatch):
    affine = np.diag([1.1, 0.9, 1.0, 1.0])
    monkeypatch.setattr(stages, "find_affine", lambda *rest: affine)
    solution = stages.solve(inputs, replace(config.settings, transform=transform), CPU, print)
    assert solution.forward.field is None
    assert solution.repair is None
    np.testing.assert_array_equal(solution.forward([10.0, 10, 10]), [11, 9, 10])
    np.testing.assert_allclose(solution.inverse([11.0, 9, 10]), [10, 10, 10])


def test_a_finer_working_grid_than_the_image_is_not_made(config, inputs, monkeypatch):
    monkeypatch.setattr(stages, "find_affine", lambda *rest: np.eye(4))
    coarse = replace(config.settings, transform="rigid", working_resolution_mm=0.5)
    assert stages.solve(inputs, coarse, CPU, print).grid.spacing == pytest.approx((2.4, 2.4, 2.4))


def test_a_head_with_a_noisy_background_is_not_called_skull_stripped(inputs):
    assert looks_skull_stripped(inputs.fixed)
    noise = np.random.default_rng(0).uniform(1, 9, inputs.fixed.mask.shape).astype(np.float32)
    noisy = replace(inputs.fixed.volume, data=inputs.fixed.volume.data + noise)
    assert not looks_skull_stripped(prepare(noisy, inputs.fixed.mask))
    large = np.ones_like(inputs.fixed.mask)
    huge = replace(inputs.fixed.volume, data=noisy.data)
    assert not looks_skull_stripped(prepare(huge, large))


def test_the_rim_where_the_velocity_falls_does_not_reach_into_the_mask(config, inputs, monkeypatch):
    grids = []

    def deform(inputs, affine, grid, *rest):
        grids.append(grid)
        return stages.Solution(grid, affine, None, None)

    monkeypatch.setattr(stages, "find_affine", lambda *rest: np.eye(4))
    monkeypatch.setattr(stages, "deform", deform)
    for spacing in (3.0, 4.0):
        stages.solve(inputs, replace(config.settings, working_resolution_mm=spacing), CPU, print)
        _, mask = onto_grid(inputs.fixed, grids[-1])
        window = boundary_window(grids[-1].shape, 1.0)[0, 0].numpy()
        assert window[mask].min() > 0.99
