"""Grids: indices to the world and back, and the isotropic lattice over any image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_nodereg.geometry import Grid, apply_affine, isotropic_grid

sizes = st.integers(2, 40)
spacings = st.floats(0.3, 6.0)
angles = st.floats(-180.0, 180.0)
positions = st.floats(-200.0, 200.0)


def make_grid(shape, spacing, euler_deg, origin, order=(0, 1, 2), signs=(1, 1, 1)) -> Grid:
    """A grid whose axes are any permutation, flipped at will, and then rotated."""
    axes = np.eye(3)[:, list(order)] * signs
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", euler_deg, degrees=True).as_matrix() @ axes * spacing
    affine[:3, 3] = origin
    return Grid(shape, affine)


grids = st.builds(
    make_grid,
    st.tuples(sizes, sizes, sizes),
    st.tuples(spacings, spacings, spacings),
    st.tuples(angles, angles, angles),
    st.tuples(positions, positions, positions),
    st.permutations((0, 1, 2)),
    st.tuples(*[st.sampled_from((-1, 1))] * 3),
)
HARD = make_grid((24, 31, 19), (1.0, 1.7, 2.3), (12, -8, 20), (5, -7, 11), signs=(-1, 1, 1))
BENT = make_grid((24, 31, 19), (1.0, 1.7, 2.3), (0, 0, 45), (5, -7, 11))


@given(grids)
def test_world_and_index_undo_one_another(grid):
    index = np.random.default_rng(0).uniform(-5, 40, (4, 5, 3))
    world = grid.to_world(index)
    assert world.shape == index.shape
    np.testing.assert_allclose(grid.to_index(world), index, atol=1e-6)
    np.testing.assert_allclose(grid.affine @ [*index[0, 0], 1], [*world[0, 0], 1])


@given(grids)
def test_spacing_direction_and_volume_are_those_of_the_affine(grid):
    np.testing.assert_allclose(grid.direction * grid.spacing, grid.affine[:3, :3], atol=1e-9)
    np.testing.assert_allclose(grid.direction.T @ grid.direction, np.eye(3), atol=1e-9)
    assert grid.voxel_volume == pytest.approx(np.prod(grid.spacing))
    step = grid.to_world([0, 1, 0]) - grid.to_world([0, 0, 0])
    assert np.linalg.norm(step) == pytest.approx(grid.spacing[1])


@given(grids)
def test_the_corners_surround_the_centre(grid):
    corners = grid.corners()
    assert corners.shape == (8, 3)
    np.testing.assert_allclose(corners.mean(axis=0), grid.centre, atol=1e-6)
    index = np.sort(np.round(grid.to_index(corners)).astype(int), axis=0)
    np.testing.assert_array_equal(index[[0, -1]], [[0, 0, 0], np.asarray(grid.shape) - 1])


@given(grids, st.floats(0.4, 5.0), st.integers(0, 12), st.floats(-6.0, 6.0))
def test_an_isotropic_grid_holds_the_box_and_no_more(grid, spacing_mm, width, start):
    low = np.full(3, start)
    high = np.add(low, [width, width + 0.5, width + 1.25])
    made = isotropic_grid(grid, low, high, spacing_mm)
    np.testing.assert_allclose(made.spacing, spacing_mm)
    assert np.linalg.det(made.direction) == pytest.approx(1)  # right-handed, not sheared
    ends = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(8, 3)
    index = made.to_index(grid.to_world(ends))
    slack = 2e-3  # of a voxel: a box longer by rounding does not cost one more plane
    assert index.min() > -slack
    assert (index < np.asarray(made.shape) - 1 + slack).all()
    whole = (np.ceil(high) - np.floor(low)) * grid.spacing  # whole own voxels are covered
    covered = (np.asarray(made.shape) - 1) * spacing_mm
    assert (np.sort(covered) < np.sort(whole) + spacing_mm).all()


@given(grids)
def test_an_isotropic_grid_keeps_the_axes(grid):
    """Its axes are the image's own, reordered and flipped to be nearest to R, A, S."""
    made = isotropic_grid(grid, (0, 0, 0), (9, 9, 9), 1.0)
    between = np.abs(made.direction.T @ grid.direction)
    np.testing.assert_allclose(np.sort(between, axis=0), [[0, 0, 0], [0, 0, 0], [1, 1, 1]], atol=1e-6)
    turned = [np.trace(np.abs(made.direction[:, list(order)])) for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0))]
    assert turned[0] >= max(turned) - 1e-9


@given(grids, st.floats(0.5, 4.0))
def test_voxels_coincide_where_the_image_is_isotropic_already(grid, spacing_mm):
    assume(spacing_mm > 0.4)
    own = Grid(
        grid.shape,
        np.block([[grid.direction * spacing_mm, grid.affine[:3, 3:]], [np.zeros(3), np.ones(1)]]),
    )
    last = np.asarray(own.shape) - 1
    made = isotropic_grid(own, (0, 0, 0), last, spacing_mm)
    assert sorted(made.shape) == sorted(own.shape)
    index = own.to_index(made.corners())
    np.testing.assert_allclose(index, np.round(index), atol=1e-4)
    np.testing.assert_allclose([index.min(axis=0), index.max(axis=0)], [[0, 0, 0], last], atol=1e-4)
    beyond = isotropic_grid(own, (-2.3, 0.4, 1), last + 1.2, spacing_mm)
    index = own.to_index(beyond.corners())
    np.testing.assert_allclose(index, np.round(index), atol=1e-4)


@pytest.mark.parametrize("grid", [HARD, BENT], ids=["left-handed", "45 degrees"])
def test_hard_grids_become_right_handed_and_ras(grid):
    made = isotropic_grid(grid, (0, 0, 0), np.asarray(grid.shape) - 1, 1.0)
    assert np.linalg.det(made.affine[:3, :3]) == pytest.approx(1)
    assert (np.diag(made.direction) > 0.7).all()
    inside = made.to_index(grid.corners())
    assert inside.min() > -2e-3
    assert (inside < np.asarray(made.shape) - 1 + 2e-3).all()


def test_an_axis_is_never_used_twice():
    """At 45 degrees two axes are nearest to the same direction of the world; each gets its own."""
    grid = make_grid((5, 6, 7), (1, 1, 1), (35, 40, 45), (0, 0, 0), order=(2, 0, 1))
    made = isotropic_grid(grid, (0, 0, 0), (4, 5, 6), 1.0)
    assert sorted(made.shape) == [5, 6, 7]
    assert abs(np.linalg.det(made.affine[:3, :3])) == pytest.approx(1)


def test_equal_places_are_close_and_others_are_not():
    moved = np.array(HARD.affine)
    moved[0, 3] += 5e-4
    assert HARD.is_close(Grid(HARD.shape, moved))
    assert not HARD.is_close(Grid(HARD.shape, moved), tolerance_mm=1e-4)
    assert not HARD.is_close(Grid((24, 31, 20), HARD.affine))
    flipped = HARD.affine @ np.diag([1, -1, 1, 1])  # same box, other way round
    flipped[:3, 3] = HARD.to_world([0, 30, 0])
    assert not HARD.is_close(Grid(HARD.shape, flipped))


@pytest.mark.parametrize(
    ("shape", "affine", "match"),
    [
        ((3, 4), np.eye(4), "three positive sizes"),
        ((3, 4, 0), np.eye(4), "three positive sizes"),
        ((3, 4, 5), np.eye(3), "finite 4 x 4"),
        ((3, 4, 5), np.diag([1, np.nan, 1, 1]), "finite 4 x 4"),
        ((3, 4, 5), np.diag([1, 0, 1, 1]), "invertible"),
        ((3, 4, 5), np.diag([1, 1, 1, 2]), "last row"),
    ],
)
def test_what_is_no_grid_is_refused(shape, affine, match):
    with pytest.raises(ValueError, match=match):
        Grid(shape, affine)


def test_a_grid_does_not_change_under_the_hands():
    affine = np.eye(4)
    grid = Grid((2, 3, 4), affine)
    affine[0, 3] = 9
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1


def test_apply_affine_on_one_point_and_on_many():
    matrix = np.array([[0, -2, 0, 1], [3, 0, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1.0]])
    np.testing.assert_array_equal(apply_affine(matrix, (1, 2, 3)), [-3, 5, 15])
    np.testing.assert_array_equal(apply_affine(matrix, np.zeros((2, 1, 3))), np.tile([1, 2, 3], (2, 1, 1)))
