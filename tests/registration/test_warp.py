from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_nodereg.quality.jacobian import digital_diffeomorphism
from bids_nodereg.registration.determinants import corner_determinants, tetrahedron_determinants
from bids_nodereg.registration.diffeomorphism import folded_cells
from bids_nodereg.registration.lattice import identity, lattice_ratio
from bids_nodereg.registration.warp import compose, fixed_point_inverse, resize, resize_vectors
from tests.registration.fields import SHAPE, lattice_points, linear_field, noise, smooth_velocity

RNG = np.random.default_rng(11)
MATRICES = [
    np.zeros((3, 3)),
    0.3 * RNG.normal(size=(3, 3)),
    np.diag([-0.5, 0.2, 1.0]),
    np.diag([0.0, -1.6, 0.0]),  # turns space inside out
]

# One cell with no bad corner whose middle tetrahedron is turned inside out; (component, i, j, k).
HIDDEN_FOLD = [
    [[[-0.78, 0.38], [-0.43, 0.78]], [[0.27, 0.53], [0.48, 0.24]]],
    [[[-0.65, 0.49], [0.68, 0.66]], [[-0.65, -0.30], [-0.16, -0.41]]],
    [[[0.36, 0.39], [0.37, -0.11]], [[-0.02, -0.60], [0.71, 0.31]]],
]


def test_identity_holds_the_index_of_every_voxel() -> None:
    points = identity(SHAPE, noise(1))

    assert points.dtype == torch.float64
    np.testing.assert_array_equal(points[0].movedim(0, -1).numpy(), lattice_points(SHAPE))


def test_composition_of_affine_maps_is_their_affine_map() -> None:
    middle = (np.asarray(SHAPE) - 1) / 2
    outer_matrix, shift = 0.3 * RNG.normal(size=(3, 3)), np.array([0.5, -2.0, 1.5])
    # The inner map draws every point towards the middle: none leaves the lattice.
    inner_matrix = np.array([[-0.4, 0.1, 0.05], [-0.1, -0.5, 0.1], [0.05, 0.0, -0.3]])
    outer = linear_field(outer_matrix, SHAPE) + torch.from_numpy(shift).view(1, 3, 1, 1, 1)
    inner = linear_field(inner_matrix, SHAPE)

    got = compose(outer, inner)

    eye, x = np.eye(3), lattice_points(SHAPE) - middle
    truth = x @ ((eye + outer_matrix) @ (eye + inner_matrix)).T + shift - x
    np.testing.assert_allclose(got[0].movedim(0, -1).numpy(), truth, atol=1e-11)


def test_composition_with_identity_changes_nothing() -> None:
    field = smooth_velocity(SHAPE, 3, 2.5)
    zero = torch.zeros_like(field)

    torch.testing.assert_close(compose(field, zero), field, rtol=0, atol=1e-12)
    assert torch.equal(compose(zero, field), field)


@pytest.mark.parametrize("shape", [(12, 16, 10), (47, 61, 37), (23, 40, 11), SHAPE])
def test_a_resized_linear_displacement_is_the_same_map_in_new_voxels(shape: tuple[int, int, int]) -> None:
    matrix = 0.4 * RNG.normal(size=(3, 3))
    ratio = (np.asarray(shape) - 1) / (np.asarray(SHAPE) - 1)

    got = resize_vectors(linear_field(matrix, SHAPE), shape)

    truth = linear_field(np.diag(ratio) @ matrix @ np.diag(1 / ratio), shape)
    torch.testing.assert_close(got, truth, rtol=0, atol=1e-11)


def test_resize_is_interpolation_with_corner_on_corner() -> None:
    image, shape = noise(1, 1, *SHAPE), (13, 40, 10)

    got = resize(image, shape)

    axes = [np.linspace(0, old - 1, new) for old, new in zip(SHAPE, shape, strict=True)]
    truth = ndimage.map_coordinates(image[0, 0].numpy(), np.meshgrid(*axes, indexing="ij"), order=1)
    np.testing.assert_allclose(got[0, 0].numpy(), truth, atol=1e-12)


def test_lattice_ratio_counts_steps_between_corners() -> None:
    assert lattice_ratio((11, 21, 3), (21, 11, 3), noise(1)).flatten().tolist() == [2.0, 0.5, 1.0]


@pytest.mark.parametrize("matrix", MATRICES)
def test_all_ten_determinants_of_a_linear_map_are_its_own(matrix: np.ndarray) -> None:
    field, truth = linear_field(matrix, SHAPE), np.linalg.det(np.eye(3) + matrix)
    cells = tuple(size - 1 for size in SHAPE)

    corners, middles = corner_determinants(field), tetrahedron_determinants(field)

    assert corners.shape == (1, 8, *cells)
    assert middles.shape == (1, 2, *cells)
    np.testing.assert_allclose(corners.numpy(), truth, atol=1e-10)
    np.testing.assert_allclose(middles.numpy(), truth, atol=1e-10)


def test_corner_determinants_are_ordered_by_corner() -> None:
    # Only the edge along i at the corner row (j, k) = (1, 0) of the middle cell changes its length.
    field = torch.zeros(1, 3, 2, 2, 2, dtype=torch.float64)
    field[0, 0, 1, 1, 0] = 0.25

    determinants = corner_determinants(field).flatten().view(2, 2, 2)

    truth = torch.ones(2, 2, 2, dtype=torch.float64)
    truth[:, 1, 0] = 1.25
    assert torch.equal(determinants, truth)


def test_a_fold_that_central_differences_miss() -> None:
    shape = (9, 8, 7)
    field = torch.zeros(1, 3, *shape, dtype=torch.float64)
    field[0, 0] = 0.6 * torch.tensor([(-1.0) ** i for i in range(9)], dtype=torch.float64).view(-1, 1, 1)

    central = 1 + np.gradient(field[0, 0].numpy(), axis=0)[1:-1]
    corners = corner_determinants(field)

    np.testing.assert_allclose(central, 1, atol=1e-12)
    assert float(corners.min()) == pytest.approx(1 - 1.2)
    assert bool(folded_cells(field)[0, 0, ::2].all())
    assert not bool(folded_cells(field)[0, 0, 1::2].any())


def test_a_fold_that_corners_miss_and_the_middle_tetrahedron_shows() -> None:
    field = torch.tensor(HIDDEN_FOLD, dtype=torch.float64)[None]

    assert float(corner_determinants(field).min()) > 0.05
    assert float(tetrahedron_determinants(field).min()) < -0.05
    assert bool(folded_cells(field).all())


@pytest.mark.parametrize(("largest", "folds"), [(0.8, False), (2.5, True), (5.0, True)])
def test_folds_are_those_of_the_quality_room(largest: float, folds: bool) -> None:
    # Zero on the two outer layers, where the other implementation extrapolates.
    field = smooth_velocity(SHAPE, 1.2, largest, seed=5)
    field[:, :, [0, 1, -2, -1]] = 0
    field[:, :, :, [0, 1, -2, -1]] = 0
    field[..., [0, 1, -2, -1]] = 0

    cells = folded_cells(field)
    least = torch.minimum(corner_determinants(field).amin(), tetrahedron_determinants(field).amin())

    digital = digital_diffeomorphism(field[0].movedim(0, -1).numpy(), np.eye(4))
    voxels = torch.from_numpy(digital.folded)[None, None]
    assert bool(cells.any()) is bool(voxels.any()) is folds
    assert float(least) == pytest.approx(float(digital.smallest.min()), abs=1e-4)
    corners_of_folded = torch.nn.functional.max_pool3d(
        torch.nn.functional.pad(cells.double(), [1] * 6), 2, 1
    ).bool()
    cells_of_folded = torch.nn.functional.max_pool3d(voxels.double(), 2, 1).bool()
    assert not bool((voxels & ~corners_of_folded).any())
    assert not bool((cells & ~cells_of_folded).any())


def test_fixed_point_inverse_converges_for_a_contraction() -> None:
    forward = smooth_velocity(SHAPE, 3, 2.0, seed=2)

    errors = [
        float(compose(forward, fixed_point_inverse(forward, -forward, n)).norm(dim=1).max())
        for n in (0, 3, 10, 40)
    ]

    assert errors[0] > 0.3
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.1 * errors[1]
    assert errors[3] < 1e-6


def test_fixed_point_inverse_never_makes_a_voxel_worse() -> None:
    # Far too steep for the fixed point to converge everywhere.
    forward = smooth_velocity(SHAPE, 1.2, 5.0, seed=3)
    start = -0.5 * forward

    before = compose(forward, start).norm(dim=1)
    after = compose(forward, fixed_point_inverse(forward, start, 6)).norm(dim=1)

    assert bool((after <= before + 1e-12).all())
    assert float(after.mean()) < 0.8 * float(before.mean())


def test_determinants_have_their_gradients() -> None:
    field = (0.2 * noise(1, 3, 3, 4, 3)).requires_grad_()

    assert torch.autograd.gradcheck(corner_determinants, (field,))
    assert torch.autograd.gradcheck(tetrahedron_determinants, (field,))
