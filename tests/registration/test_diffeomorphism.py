from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_nodereg.registration.determinants import corner_determinants, tetrahedron_determinants
from bids_nodereg.registration.diffeomorphism import (
    diffeomorphic_maps,
    flow_on,
    folded_cells,
)
from bids_nodereg.registration.ode import flow
from bids_nodereg.registration.settings import SolverSettings
from bids_nodereg.registration.warp import fixed_point_inverse, resize_vectors
from tests.registration.fields import SHAPE, inverse_consistency, linear_field, noise, smooth_velocity

FINE = (47, 61, 37)


def isolated_fold(shape: tuple[int, int, int], voxel: tuple[int, int, int], push: float) -> torch.Tensor:
    """A field that is zero but at one voxel."""
    field = torch.zeros(1, 3, *shape, dtype=torch.float64)
    field[(0, 0, *voxel)] = push
    return field


def least_folding(velocity: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Multiple of a field, at the point where the very first cell of either map folds."""
    low, high = 0.5, 12.0
    for _ in range(12):
        scale = (low + high) / 2
        folds = [folded_cells(flow_on(sign * scale * velocity, shape, 4)).any() for sign in (1, -1)]
        low, high = (low, scale) if any(folds) else (scale, high)
    return high * velocity


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_and_inverse_of_a_smooth_field_undo_each_other(dtype: torch.dtype) -> None:
    velocity = smooth_velocity(SHAPE, 5, 2.0).to(dtype)

    maps = diffeomorphic_maps(velocity, FINE, 4)

    assert maps.forward.dtype == dtype
    assert float(maps.forward.norm(dim=1).max()) > 3
    for outer, inner in ((maps.forward, maps.inverse), (maps.inverse, maps.forward)):
        assert float(inverse_consistency(outer, inner).mean()) < 0.01
        assert float(inverse_consistency(outer, inner).max()) < 0.1
    assert not folded_cells(maps.forward).any()
    assert not folded_cells(maps.inverse).any()
    assert torch.equal(maps.velocity, velocity)
    assert (maps.repair.folded_before, maps.repair.rounds, maps.repair.smoothed_fraction) == (0, 0, 0.0)


def test_the_inverse_of_a_steep_field_closes_both_orders_better_than_one_that_serves_one() -> None:
    velocity = smooth_velocity(SHAPE, 4, 3.0)

    maps = diffeomorphic_maps(velocity, FINE, 4)

    def worse_order(inverse: torch.Tensor) -> float:
        pairs = ((maps.forward, inverse), (inverse, maps.forward))
        return max(float(inverse_consistency(*pair).mean()) for pair in pairs)

    raw = flow_on(-velocity, FINE, 4)
    one_sided = fixed_point_inverse(maps.forward, raw, 3)
    assert float(inverse_consistency(maps.forward, one_sided).mean()) < 0.001
    assert worse_order(maps.inverse) < 0.7 * worse_order(one_sided)
    assert worse_order(maps.inverse) < 1.1 * worse_order(raw)
    # It stays the flow of the negative field, up to the interpolation of the forward map.
    gap = (maps.inverse - flow_on(-velocity, FINE, 4)).norm(dim=1)
    assert float(gap.mean()) < 0.01


def test_flow_on_its_own_lattice_is_the_flow() -> None:
    velocity = smooth_velocity(SHAPE, 3, 3.0)

    own = flow_on(velocity, SHAPE, 3)

    torch.testing.assert_close(own, flow(velocity, SolverSettings("rk4", 3)), rtol=0, atol=1e-11)


def test_flow_on_a_finer_lattice_passes_the_same_points_in_its_own_voxels() -> None:
    velocity = smooth_velocity(SHAPE, 3, 3.0)

    fine = flow_on(velocity, FINE, 4)  # 2 n - 1: every second fine voxel is a coarse one

    coarse = flow_on(velocity, SHAPE, 4)
    torch.testing.assert_close(fine[:, :, ::2, ::2, ::2], 2 * coarse, rtol=0, atol=1e-11)
    # Between them it follows the flow, not the interpolation of the coarse displacement.
    assert float((fine - resize_vectors(coarse, FINE)).norm(dim=1).max()) > 0.01


def test_a_resting_field_gives_two_zero_maps() -> None:
    maps = diffeomorphic_maps(torch.zeros(1, 3, *SHAPE), FINE, 4)

    assert maps.forward.shape == maps.inverse.shape == (1, 3, *FINE)
    assert not maps.forward.any()
    assert not maps.inverse.any()
    assert maps.repair.folded_before == 0


def test_folded_cells_are_the_cells_around_a_voxel_pushed_too_far() -> None:
    voxel = (16, 14, 9)  # slabs of 16 cells meet here

    folds = folded_cells(isolated_fold(FINE, voxel, 1.5))[0, 0]

    assert folds.shape == tuple(size - 1 for size in FINE)
    truth = torch.zeros_like(folds)
    truth[16, 13:15, 8:10] = True  # pushed towards larger i, through the next plane
    assert torch.equal(folds, truth)
    assert not folded_cells(isolated_fold(FINE, voxel, 0.4)).any()


def test_folded_cells_does_not_depend_on_its_slabs() -> None:
    field = smooth_velocity(FINE, 1.5, 6.0)

    least = torch.minimum(corner_determinants(field).amin(1), tetrahedron_determinants(field).amin(1))

    assert torch.equal(folded_cells(field)[:, 0], least <= 0)
    assert bool((least <= 0).any())


def test_a_map_turned_inside_out_is_folded_everywhere() -> None:
    assert bool(folded_cells(linear_field(np.diag([0.0, 0.0, -1.1]), SHAPE)).all())


@pytest.mark.parametrize("largest", [6.0, 20.0])
def test_an_extreme_field_is_repaired_until_nothing_folds(largest: float) -> None:
    lattice, shape = (13, 17, 11), (24, 31, 21)
    velocity = smooth_velocity(lattice, 1.5, largest, seed=1, rim=3)
    naive = folded_cells(flow_on(velocity, shape, 4)) | folded_cells(flow_on(-velocity, shape, 4))

    maps = diffeomorphic_maps(velocity, shape, 4)

    assert int(naive.sum()) == maps.repair.folded_before > 0
    assert maps.repair.rounds > 0
    assert 0 < maps.repair.smoothed_fraction <= 1
    assert not folded_cells(maps.forward).any()
    assert not folded_cells(maps.inverse).any()
    assert float(maps.forward.norm(dim=1).max()) > 0.5
    for axis in (2, 3, 4):
        for end in (0, -1):
            assert not maps.velocity.select(axis, end).any()


@pytest.mark.parametrize("seed", [0, 1, 2, 19, 32])
def test_a_single_folded_cell_is_found_and_repaired_where_it_is(seed: int) -> None:
    """Four cells of the working grid to a voxel of the velocity: none may fall between two voxels."""
    lattice, shape = (9, 12, 8), (33, 45, 29)
    velocity = least_folding(smooth_velocity(lattice, 1.2, 1.0, seed=seed, rim=2), shape)

    maps = diffeomorphic_maps(velocity, shape, 4)

    assert 0 < maps.repair.folded_before <= 2
    assert maps.repair.rounds <= 3
    assert not folded_cells(maps.forward).any()
    assert not folded_cells(maps.inverse).any()
    changed = (maps.velocity != velocity).any(1)
    assert 0 < float(changed.double().mean()) < 0.75
    assert float(maps.velocity.norm()) > 0.8 * float(velocity.norm())


def test_maps_are_made_without_a_graph() -> None:
    velocity = smooth_velocity(SHAPE, 3, 2.0).requires_grad_()

    maps = diffeomorphic_maps(velocity.detach(), SHAPE, 2)

    assert not maps.forward.requires_grad
    assert not flow_on(velocity, SHAPE, 2).requires_grad


def test_noise_alone_folds_and_is_repaired() -> None:
    shape = (12, 15, 9)
    velocity = torch.zeros(1, 3, *shape, dtype=torch.float64)
    velocity[..., 2:-2, 2:-2, 2:-2] = 4 * (noise(1, 3, *(n - 4 for n in shape)) - 0.5)

    maps = diffeomorphic_maps(velocity, shape, 4)

    assert maps.repair.folded_before > 100
    assert not folded_cells(maps.forward).any()
    assert not folded_cells(maps.inverse).any()


def test_a_number_that_is_none_counts_as_folded() -> None:
    displacement = torch.zeros(1, 3, 9, 8, 7)
    displacement[0, 0, 4, 4, 4] = float("nan")
    assert folded_cells(displacement).any()
