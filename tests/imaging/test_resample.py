from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from bids_nodereg.geometry import Grid, isotropic_grid
from bids_nodereg.imaging import slabs
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.resample import (
    jacobian_determinant,
    warp_image,
    warp_labels,
    warp_stack,
)

IDENTITY = SpatialMap(np.eye(4))


def test_identity_on_the_same_grid_copies(scene):
    moving = scene.moving_volume()
    np.testing.assert_array_equal(warp_image(moving, scene.moving, IDENTITY), scene.image)
    np.testing.assert_array_equal(warp_labels(scene.label_volume(), scene.moving, IDENTITY), scene.labels)


def test_coinciding_voxels_of_another_grid_are_copied(scene):
    """Reordered and flipped axes with the same voxel centres: no neighbour is mixed in."""
    source = Grid((9, 8, 7), scene.fixed.affine @ np.diag([1, 1 / 1.7, 1 / 2.3, 1]))
    image = np.random.default_rng(0).random(source.shape).astype(np.float32)
    same = isotropic_grid(source, (0, 0, 0), (8, 7, 6), 1.0)
    assert not same.is_close(source)
    volume = replace(scene.moving_volume(), data=image, grid=source)
    warped = warp_image(volume, same, IDENTITY)
    np.testing.assert_array_equal(np.sort(warped.ravel()), np.sort(image.ravel()))


def test_a_stack_is_its_images_one_by_one(scene):
    mapping = scene.forward_map()
    volumes = [replace(scene.moving_volume(), data=data) for data in (scene.image, scene.image[::-1].copy())]
    stack = np.stack([volume.data for volume in volumes], axis=-1)
    warped = warp_stack(stack, scene.moving, scene.fixed, mapping, threads=2)
    for channel, volume in enumerate(volumes):
        np.testing.assert_array_equal(warped[..., channel], warp_image(volume, scene.fixed, mapping))


def test_linear_equals_scipy_inside(scene):
    mapping = scene.forward_map()
    points = mapping(scene.points(scene.fixed))
    index = np.moveaxis(scene.moving.to_index(points), -1, 0)
    expected = map_coordinates(scene.image.astype(np.float64), index, order=1, mode="nearest")
    ours = warp_image(scene.moving_volume(), scene.fixed, mapping)
    inside = scene.interior(scene.moving, points)
    np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-2)


def test_labels_are_the_argmax_of_linear_indicator_images(scene):
    mapping = scene.forward_map()
    labels = scene.label_volume()
    names = np.unique(labels.data)
    shares = [
        warp_image(replace(labels, data=(labels.data == name).astype(np.float32)), scene.fixed, mapping)
        for name in names
    ]
    ours = warp_labels(labels, scene.fixed, mapping)
    ranked = np.sort(shares, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-5  # not a tie
    assert clear.mean() > 0.7
    np.testing.assert_array_equal(ours[clear], names[np.argmax(shares, axis=0)][clear])
    assert ours.dtype == labels.data.dtype
    assert set(np.unique(ours)) <= set(names)


def test_label_tie_takes_the_smaller_and_outside_is_zero(scene):
    data = np.full((4, 4, 4), 9, np.uint8)
    data[2:] = 3
    volume = replace(scene.label_volume(), data=data, grid=Grid((4, 4, 4), np.eye(4)))
    halfway = np.eye(4)
    halfway[0, 3] = 1.5
    line = Grid((4, 1, 1), halfway)
    np.testing.assert_array_equal(warp_labels(volume, line, IDENTITY).ravel(), [3, 3, 0, 0])


@pytest.mark.parametrize("threads", [1, 3])
def test_slabs_and_threads_do_not_change_anything(scene, monkeypatch, threads):
    mapping = scene.forward_map()
    whole = warp_image(scene.moving_volume(), scene.fixed, mapping)
    whole_labels = warp_labels(scene.label_volume(), scene.fixed, mapping)
    monkeypatch.setattr(slabs, "POINTS_PER_SLAB", 5 * scene.fixed.shape[1] * scene.fixed.shape[2])
    again = warp_image(scene.moving_volume(), scene.fixed, mapping, threads=threads)
    np.testing.assert_array_equal(again, whole)
    np.testing.assert_array_equal(
        warp_labels(scene.label_volume(), scene.fixed, mapping, threads=threads), whole_labels
    )


def test_jacobian_determinant_of_a_known_map(scene):
    """u = g (x - c) with an affine: det A * det(I + g) everywhere inside the field."""
    gradient = np.array([[0.1, 0.02, 0], [0, -0.2, 0.05], [0.03, 0, 0.15]])
    vectors = (scene.points(scene.working) - scene.working.centre) @ gradient.T
    field = DisplacementField(scene.working, vectors.astype(np.float32))
    expected = np.linalg.det(scene.affine) * np.linalg.det(np.eye(3) + gradient)
    inner = isotropic_grid(scene.working, (8, 8, 8), (18, 20, 20), 1.1)
    ours = jacobian_determinant(SpatialMap(scene.affine, field), inner)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    assert abs(expected - 1) > 0.05


def test_unknown_interpolation_is_an_error(scene):
    with pytest.raises(KeyError):
        warp_image(scene.moving_volume(), scene.fixed, IDENTITY, interpolation="sinc")


def test_quick_enough_for_a_brain(scene):
    """96^3 through a full map in well under 2 s, so 200^3 takes seconds, not minutes."""
    grid = Grid((96, 96, 96), np.diag([0.4, 0.4, 0.4, 1]) @ scene.fixed.affine)
    warp_image(scene.moving_volume(), scene.fixed, scene.forward_map())  # compile
    start = time.perf_counter()
    warp_image(scene.moving_volume(), grid, scene.forward_map())
    assert time.perf_counter() - start < 2
