from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid, apply_affine
from bids_nodereg.imaging.mask import find_mask, otsu_threshold
from bids_nodereg.imaging.prepare import anti_alias_sigma, normalise, onto_grid, prepare, working_grid

SPACING = (1.0, 1.7, 2.3)


@pytest.fixture
def head(scene):
    """An ellipsoid with a dark shell, a dark inside piece and noise around, on the fixed grid."""
    i, j, k = np.indices(scene.fixed.shape)
    radius = np.sqrt(((i - 11.5) / 9) ** 2 + ((j - 15) / 11) ** 2 + ((k - 9) / 7) ** 2)
    data = np.where(radius <= 1, 500.0, 0.0) + 50 * np.random.default_rng(0).random(radius.shape)
    data[(radius > 0.8) & (radius < 0.87)] = 5  # dark shell, closed
    data[11:13, 14:16, 8:10] = 5  # a hole
    data[1, 1, 1] = 900  # a speck
    return data.astype(np.float32), radius <= 1


def test_otsu_is_the_best_threshold_by_brute_force():
    rng = np.random.default_rng(0)
    data = np.concatenate([rng.normal(100, 20, 4000), rng.normal(300, 30, 2000)]).astype(np.float32)

    def within(threshold):
        low, high = data[data <= threshold], data[data > threshold]
        return low.size * low.var() + high.size * high.var()

    best = min(np.linspace(110, 290, 400), key=within)
    assert within(otsu_threshold(data)) <= within(best) * 1.001


def test_head_in_noise_by_otsu(head):
    data, truth = head
    mask, origin = find_mask(data, SPACING)
    assert "Otsu" in origin
    np.testing.assert_array_equal(mask, truth)  # shell and hole filled, speck gone


def test_fine_voxels_give_the_same_head(head):
    """Thinning out for the closing changes nothing but the outermost voxels."""
    data, truth = (np.kron(array, np.ones((3, 3, 3))) for array in head)
    mask, _ = find_mask(data.astype(np.float32), tuple(size / 10 for size in SPACING))
    rim = ndimage.binary_dilation(truth > 0, iterations=3) & ~ndimage.binary_erosion(truth > 0, iterations=3)
    np.testing.assert_array_equal(mask[~rim], truth[~rim] > 0)


def test_zero_background(head):
    data, truth = head
    stripped = np.where(truth, data, 0).astype(np.float32)
    stripped[1, 1, 1] = 3
    stripped[11:13, 14:16, 8:10] = 0
    mask, origin = find_mask(stripped, SPACING)
    assert "constant background (0)" in origin
    np.testing.assert_array_equal(mask, truth)


def test_constant_background_need_not_be_zero(head):
    data, truth = head
    mask, origin = find_mask(np.where(truth, data, -1024).astype(np.float32), SPACING)
    assert "(-1024)" in origin
    np.testing.assert_array_equal(mask, truth)


def test_the_halo_of_a_spline_is_no_foreground(head):
    """A stripped brain that was resampled with cubic splines is ringed by faint non-zero values."""
    data, truth = head
    stripped = np.where(truth, np.maximum(data, 100), 0).astype(np.float32)
    shifted = ndimage.shift(stripped, (0.4, 0.3, 0.2), order=3)
    mask, _ = find_mask(np.maximum(shifted, 0), SPACING)
    far = ~ndimage.binary_dilation(truth, iterations=4)
    assert np.count_nonzero((shifted > 0) & far) > 0.2 * np.count_nonzero(far)
    assert np.count_nonzero(mask & far) == 0


def test_given_mask_and_its_origin_are_kept(scene):
    mask = np.zeros(scene.fixed.shape, bool)
    mask[4:20, 5:25, 3:15] = True
    prepared = prepare(scene.fixed_volume(), mask, mask_origin="pairs file")
    assert prepared.mask_origin == "pairs file"
    np.testing.assert_array_equal(prepared.mask, mask)
    np.testing.assert_allclose(prepared.window, np.percentile(prepared.volume.data[mask], [0.5, 99.5]))


def test_useless_masks_are_refused(scene):
    volume = scene.fixed_volume()
    tiny = np.zeros(scene.fixed.shape, bool)
    for size in (0, 5):
        tiny[:size, :size, :size] = True
        with pytest.raises(DataError, match=r"fixed\.nii\.gz.*voxels, expected at least"):
            prepare(volume, tiny, mask_origin="pairs file")
    with pytest.raises(ValueError, match="does not fit"):
        prepare(volume, tiny[1:])
    flat = np.where(np.indices(scene.fixed.shape)[0] < 12, np.float32(3), volume.data)
    half = np.indices(scene.fixed.shape)[0] < 12
    with pytest.raises(DataError, match="nothing to register"):
        prepare(replace(volume, data=flat), half)


def test_normalised_range(scene):
    prepared = prepare(scene.fixed_volume(), np.ones(scene.fixed.shape, bool))
    image = normalise(prepared)
    low, high = prepared.window
    np.testing.assert_allclose(image, np.clip((prepared.volume.data - low) / (high - low), 0, 1), atol=1e-6)
    assert image.dtype == np.float32
    assert (image.min(), image.max()) == (0, 1)


def test_working_grid_holds_mask_and_margin(scene):
    mask = np.zeros(scene.fixed.shape, bool)
    mask[2:20, 1:25, 3:18] = True
    grid = working_grid(prepare(scene.fixed_volume(), mask), 1.5, 6.0)
    np.testing.assert_allclose(grid.spacing, 1.5)
    assert np.linalg.det(grid.affine[:3, :3]) > 0
    room_mm = 1.5 * np.minimum(
        grid.to_index(scene.points(scene.fixed)[mask]).min(axis=0),
        np.asarray(grid.shape) - 1 - grid.to_index(scene.points(scene.fixed)[mask]).max(axis=0),
    )
    assert (room_mm >= 6.0 - 1e-2).all()
    assert (room_mm < 6.0 + 2 * 2.3 + 1.5).all()


def test_onto_coinciding_grid_copies(scene):
    mask = scene.image > 400
    prepared = prepare(scene.moving_volume(), mask)
    image, inside = onto_grid(prepared, scene.moving)
    np.testing.assert_array_equal(image, normalise(prepared))
    np.testing.assert_array_equal(inside, mask)


def test_onto_finer_grid_is_linear_through_the_affine(scene):
    """A linear image stays exactly linear; the affine takes grid points to the image's world."""
    slope = np.array([1.0, -2.0, 0.5])
    data = (scene.points(scene.moving) @ slope).astype(np.float32)
    mask = np.ones(scene.moving.shape, bool)
    prepared = replace(
        prepare(replace(scene.moving_volume(), data=data), mask),
        window=(float(data.min()), float(data.max())),
    )
    grid = Grid((15, 12, 13), scene.fixed.affine @ np.diag([1.0, 0.6, 0.5, 1.0]))
    image, inside = onto_grid(prepared, grid, scene.affine)
    points = apply_affine(scene.affine, scene.points(grid))
    interior = scene.interior(scene.moving, points)
    assert interior.sum() > 100
    low, high = prepared.window
    np.testing.assert_allclose(image[interior], ((points @ slope - low) / (high - low))[interior], atol=1e-5)
    assert inside[interior].all()


def test_outside_the_image_edge_values_and_no_mask(scene):
    prepared = prepare(scene.moving_volume(), np.ones(scene.moving.shape, bool))
    far = scene.moving.affine.copy()
    far[:3, 3] -= far[:3, 0] * 10  # ten voxels before the first
    image, inside = onto_grid(prepared, Grid(scene.moving.shape, far))
    edge = normalise(prepared)[0]
    np.testing.assert_array_equal(image[:10], np.broadcast_to(edge, (10, *edge.shape)))
    assert not inside[:10].any()
    assert inside[10:].all()


def test_anti_alias_matches_the_missing_variance():
    fine = Grid((40, 40, 40), np.diag([1.0, 1.0, 3.0, 1.0]))
    coarse = Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
    i, j, k = anti_alias_sigma(fine, coarse)
    to_fwhm = 2 * np.sqrt(2 * np.log(2))
    assert (i * to_fwhm) ** 2 + 1.0**2 == pytest.approx(2.0**2)
    assert (j, k) == (i, 0.0)
    assert anti_alias_sigma(coarse, coarse) == (0.0, 0.0, 0.0)


def test_coarse_grid_does_not_alias(scene):
    """A checkerboard of single voxels becomes grey, not a pattern of its own."""
    grid = Grid((40, 40, 40), np.eye(4))
    board = (np.indices(grid.shape).sum(axis=0) % 2).astype(np.float32)
    prepared = prepare(replace(scene.moving_volume(), data=board, grid=grid), np.ones(grid.shape, bool))
    coarse = Grid((12, 12, 12), np.diag([3.0, 3.0, 3.0, 1.0]))
    image, _ = onto_grid(prepared, coarse)
    np.testing.assert_allclose(image[1:-1, 1:-1, 1:-1], 0.5, atol=0.02)


def test_hole_filling_equals_scipy(scene):
    """Our single labelling against scipy's repeated dilation, on random blobs."""
    noise = ndimage.gaussian_filter(np.random.default_rng(4).standard_normal((20, 21, 22)), 1.0)
    data = np.where(noise > -0.05, 1 + np.abs(noise), 0).astype(np.float32)
    data[[0, -1]] = data[:, [0, -1]] = data[:, :, [0, -1]] = 0
    mask, _ = find_mask(data, SPACING)
    pieces, _ = ndimage.label(data != 0)
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    np.testing.assert_array_equal(mask, ndimage.binary_fill_holes(largest))
    assert mask.sum() > largest.sum()
