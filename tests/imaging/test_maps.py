from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.geometry import apply_affine
from bids_nodereg.imaging.chain import Chain, chain_of
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap, inverse_map

LPS = np.array([-1, -1, 1])


def linear_field(scene, gradient: np.ndarray) -> DisplacementField:
    """u(x) = gradient (x - centre) on the working grid."""
    points = scene.points(scene.working)
    return DisplacementField(scene.working, ((points - scene.working.centre) @ gradient.T).astype(np.float32))


def test_field_is_exact_between_voxels_when_it_is_linear(scene):
    gradient = np.array([[0.1, 0.02, 0], [0, -0.2, 0.05], [0.03, 0, 0.15]])
    field = linear_field(scene, gradient)
    points = scene.working.centre + np.random.default_rng(0).uniform(-12, 12, (5, 7, 3))
    np.testing.assert_allclose(field.at(points), (points - scene.working.centre) @ gradient.T, atol=1e-5)
    growth = Chain((field,)).determinant(points)
    np.testing.assert_allclose(growth, np.full((5, 7), np.linalg.det(np.eye(3) + gradient)), atol=1e-5)


def test_edge_of_the_field_is_that_of_itk(scene):
    """Constant within the outer half voxel, zero beyond, even if the field is not zero at its edge."""
    grid = scene.working
    vectors = np.random.default_rng(1).uniform(1, 2, (*grid.shape, 3)).astype(np.float32)
    image = sitk.GetImageFromArray((vectors * LPS).transpose(2, 1, 0, 3).astype(np.float64), isVector=True)
    image.SetOrigin((grid.affine[:3, 3] * LPS).tolist())
    image.SetSpacing(grid.spacing)
    image.SetDirection((np.diag(LPS) @ grid.direction).ravel().tolist())
    theirs = sitk.DisplacementFieldTransform(image)
    index = np.array([[x, 7.3, 20.6] for x in (-0.6, -0.49, -0.2, 0.4, 25.7, 26.3, 26.49, 26.6)])
    points = grid.to_world(index)
    moved = np.array([theirs.TransformPoint(point) for point in (points * LPS).tolist()]) * LPS
    field = DisplacementField(grid, vectors)
    np.testing.assert_allclose(field.at(points), moved - points, atol=1e-4)
    np.testing.assert_allclose(SpatialMap(np.eye(4), field)(points), moved, atol=1e-4)
    np.testing.assert_allclose(Chain((field, np.eye(4), field))(points), Chain((field,))(moved), atol=1e-4)
    still = np.linalg.norm(moved - points, axis=1) < 1e-9
    np.testing.assert_array_equal(still, [True, *[False] * 6, True])


def test_order_of_affine_and_field(scene):
    points = scene.fixed.centre + np.random.default_rng(2).uniform(-8, 8, (40, 3))
    forward = apply_affine(scene.affine, points + scene.forward.at(points))
    np.testing.assert_allclose(scene.forward_map()(points), forward, atol=1e-5)
    back = apply_affine(np.linalg.inv(scene.affine), forward)
    expected = back + scene.inverse.at(back)
    np.testing.assert_allclose(inverse_map(scene.affine, scene.inverse)(forward), expected, atol=1e-5)


def test_inverse_undoes_forward(scene):
    points = scene.fixed.centre + np.random.default_rng(3).uniform(-15, 15, (200, 3))
    moved = scene.forward_map()(points)
    assert np.abs(moved - apply_affine(scene.affine, points)).max() > 1
    # both fields are linear between voxels, so the inverse is exact only at its own voxels
    assert np.linalg.norm(scene.inverse_map()(moved) - points, axis=1).max() < 0.3
    nodes = scene.points(scene.working)[5:-5, 5:-5, 5:-5]
    moved = apply_affine(scene.affine, nodes)
    np.testing.assert_allclose(scene.forward_map()(scene.inverse_map()(moved)), moved, atol=1e-4)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_determinant_is_that_of_the_slope_of_the_map(scene, direction):
    """Against central differences of the whole map, of the same width as a voxel of the field."""
    mapping = scene.forward_map() if direction == "forward" else scene.inverse_map()
    points = scene.points(scene.working)[6:-6:3, 6:-6:3, 6:-6:3]
    step = scene.working.affine[:3, :3]  # along the field's axes, one voxel
    if mapping.affine_first:
        points = apply_affine(np.linalg.inv(mapping.affine), points)
        step = np.linalg.inv(mapping.affine[:3, :3]) @ step
    slope = np.stack([mapping(points + half) - mapping(points - half) for half in step.T / 2], -1)
    expected = np.linalg.det(slope @ np.linalg.inv(step))
    ours = chain_of(mapping).determinant(points)
    assert ours.shape == points.shape[:-1]
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_the_jump_at_the_border_of_a_field_is_no_part_of_its_determinant(scene):
    """A constant field that ends at its oblique grid: on its voxels, between them, and beyond."""
    still = DisplacementField(scene.working, np.full((*scene.working.shape, 3), 3.0, np.float32))
    index = np.moveaxis(np.indices(scene.working.shape), 0, -1).reshape(-1, 3)
    for shift in (0.0, 0.3, -0.45, 20.0):
        ours = Chain((still,)).determinant(scene.working.to_world(index + shift))
        np.testing.assert_allclose(ours, 1.0, atol=1e-5)


def test_the_determinant_of_a_linear_field_is_right_up_to_its_border(scene):
    gradient = np.array([[0.1, 0.02, 0], [0, -0.2, 0.05], [0.03, 0, 0.15]])
    ours = Chain((linear_field(scene, gradient),)).determinant(scene.points(scene.working))
    np.testing.assert_allclose(ours, np.linalg.det(np.eye(3) + gradient), atol=1e-4)


def test_points_of_another_shape_are_refused(scene):
    for mapping in (SpatialMap(np.eye(4)), Chain((scene.forward,))):
        with pytest.raises(ValueError, match=r"expected \(\.\.\., 3\)"):
            mapping(np.zeros((3, 2)))


def test_determinant_of_affines_alone(scene):
    ours = Chain((scene.affine, np.diag([2.0, 1, 1, 1]))).determinant(np.zeros((2, 3)))
    np.testing.assert_allclose(ours, [2 * np.linalg.det(scene.affine[:3, :3])] * 2)


@pytest.mark.parametrize("affine_first", [False, True])
def test_one_pass_is_the_parts_one_after_the_other(scene, affine_first):
    """Inside the field, beyond its buffer, and in the half voxel at its edge."""
    index = np.random.default_rng(5).uniform(-1.5, 27.5, (4000, 3))
    points = scene.working.to_world(index)
    if affine_first:
        points = apply_affine(np.linalg.inv(scene.affine), points)
        middle = apply_affine(scene.affine, points)
        expected = middle + scene.forward.at(middle)
    else:
        expected = apply_affine(scene.affine, points + scene.forward.at(points))
    mapping = SpatialMap(scene.affine, scene.forward, affine_first)
    np.testing.assert_allclose(mapping(points), expected, atol=1e-5)
    np.testing.assert_allclose(chain_of(mapping)(points), mapping(points), atol=1e-12)
    sides = mapping(points[::2].reshape(20, 100, 3)), mapping(np.asfortranarray(points[::2]))
    np.testing.assert_array_equal(sides[0].reshape(-1, 3), sides[1])


def test_vectors_must_fit_the_grid(scene):
    with pytest.raises(ValueError, match="do not fit the grid"):
        DisplacementField(scene.fixed, scene.forward.vectors)
