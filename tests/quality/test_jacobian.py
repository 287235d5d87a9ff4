from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from bids_nodereg.imaging import resample
from bids_nodereg.quality import jacobian
from bids_nodereg.quality.jacobian import digital_diffeomorphism, jacobian_measures
from tests.quality.grids import SHAPE, awkward_grid, world_points

RNG = np.random.default_rng(4)
LINEAR = [
    np.zeros((3, 3)),
    0.4 * RNG.normal(size=(3, 3)),
    np.diag([-0.5, 0.2, 1.0]),
    np.diag([-1.6, 0.0, 0.0]),  # turns space inside out
]


def planar_fold(step: float = 1.5) -> np.ndarray:
    """Plane i = 6 of a 1 mm grid pushed forward past its neighbour."""
    displacement = np.zeros((*SHAPE, 3), np.float32)
    displacement[6, ..., 0] = step
    return displacement


@pytest.mark.parametrize("matrix", LINEAR)
def test_a_linear_map_has_its_determinant_at_every_voxel(matrix: np.ndarray) -> None:
    grid = awkward_grid()
    displacement = world_points(grid) @ matrix.T
    truth = np.linalg.det(np.eye(3) + matrix)

    digital = digital_diffeomorphism(displacement, grid.affine)

    np.testing.assert_allclose(digital.central, truth, atol=2e-4)
    np.testing.assert_allclose(digital.smallest, truth, atol=2e-4)


def test_a_smooth_map_has_its_analytic_determinant_in_world_space() -> None:
    grid = awkward_grid()
    points = world_points(grid) - grid.centre
    # u = a (x.x) e_x has det(I + grad u) = 1 + 2 a x, exact for central differences of a quadratic.
    displacement = np.zeros((*grid.shape, 3))
    displacement[..., 0] = 0.01 * np.einsum("...c,...c->...", points, points)

    central = digital_diffeomorphism(displacement, grid.affine).central

    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(central[inner], (1 + 0.02 * points[..., 0])[inner], atol=1e-3)


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    displacement = ndimage.gaussian_filter(RNG.normal(size=(*SHAPE, 3)), (2, 2, 2, 0)) * 9
    affine = awkward_grid().affine
    whole = digital_diffeomorphism(displacement, affine)

    monkeypatch.setattr(jacobian, "SLAB_VOXELS", 1)
    sliced = digital_diffeomorphism(displacement, affine)

    np.testing.assert_array_equal(whole.smallest, sliced.smallest)
    np.testing.assert_array_equal(whole.negative_volume, sliced.negative_volume)
    np.testing.assert_array_equal(whole.central, sliced.central)


def test_a_fold_that_central_differences_miss_is_counted_exactly() -> None:
    values = jacobian_measures(digital_diffeomorphism(planar_fold(), np.eye(4)), np.ones(SHAPE, bool))

    plane = SHAPE[1] * SHAPE[2]
    assert values["central_folded_fraction"] == 0
    assert values["folded_voxels"] == 2 * plane  # the plane looking ahead, its neighbour looking back
    assert values["folded_fraction"] == pytest.approx(2 / SHAPE[0])
    assert values["jacobian_smallest_of_ten"] == pytest.approx(-0.5)
    # One layer of cubes is turned inside out, half a voxel thick.
    assert values["non_diffeomorphic_volume_fraction"] == pytest.approx(0.5 / SHAPE[0])


def tetrahedra(voxel: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """The ten tetrahedra at a voxel: undeformed volume, and corners with the voxel first."""
    corners = [
        (1 / 6, voxel + np.vstack([np.zeros(3), np.diag(signs)]).astype(int))
        for signs in product((-1, 1), repeat=3)
    ]
    # In the middle of the cube ahead (behind): the corners an even number of steps away.
    even = np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    return [*corners, (1 / 3, voxel + even), (1 / 3, voxel - even)]


def signed_part(corners: np.ndarray, displacement: np.ndarray) -> float:
    """Volume of a displaced tetrahedron over its volume at rest, negative when turned inside out."""
    displaced = corners + displacement[tuple(corners.T)]
    return float(np.linalg.det(displaced[1:] - displaced[0]) / np.linalg.det(corners[1:] - corners[0]))


def test_ten_determinants_are_those_of_ten_tetrahedra() -> None:
    displacement = 0.45 * RNG.normal(size=(5, 6, 7, 3))
    digital = digital_diffeomorphism(displacement, np.eye(4))

    by_middles = 0
    for voxel in np.argwhere(np.ones((3, 4, 5))) + 1:
        parts = [(rest, signed_part(corners, displacement)) for rest, corners in tetrahedra(voxel)]
        smallest = min(part for _, part in parts)
        volume = sum(-0.5 * rest * min(part, 0) for rest, part in parts)
        assert digital.smallest[tuple(voxel)] == pytest.approx(smallest, abs=1e-4)
        assert digital.negative_volume[tuple(voxel)] == pytest.approx(volume, abs=1e-4)
        by_middles += smallest == min(part for _, part in parts[8:])
    assert by_middles > 0


def test_only_the_mask_counts() -> None:
    mask = np.ones(SHAPE, bool)
    mask[6:8] = False

    values = jacobian_measures(digital_diffeomorphism(planar_fold(), np.eye(4)), mask)

    assert values["folded_voxels"] == 0
    assert values["non_diffeomorphic_volume_fraction"] == 0


def test_spread_of_the_logarithm_plain_and_learn2reg() -> None:
    # Half of the grid stretched by e along i, half by 1/e.
    stretch = np.where(np.arange(40) < 20, np.e, 1 / np.e)
    displacement = np.zeros((40, 8, 8, 3))
    displacement[..., 0] = (np.cumsum(stretch) - np.arange(40))[:, None, None]
    mask = np.ones((40, 8, 8), bool)
    mask[:3] = mask[18:22] = mask[-3:] = False  # where differences mix both halves, and the L2R border

    values = jacobian_measures(digital_diffeomorphism(displacement, np.eye(4)), mask)

    assert values["sd_log_jacobian"] == pytest.approx(1.0, abs=1e-4)
    expected = np.std(np.log([np.e + 3, 1 / np.e + 3]))
    assert values["sd_log_jacobian_learn2reg"] == pytest.approx(expected, abs=1e-4)


def test_an_empty_mask_has_no_measures() -> None:
    assert jacobian_measures(digital_diffeomorphism(planar_fold(), np.eye(4)), np.zeros(SHAPE, bool)) == {}


def test_the_map_that_is_written_has_the_floor_that_is_measured_with() -> None:
    assert jacobian.LOG_FLOOR == resample.LOG_FLOOR
