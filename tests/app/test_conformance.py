"""Other programs, given the files that a run wrote and the original images, get the run's images.

The truth is known too, so that two errors of sign that cancel between writing and reading are seen.
"""

from __future__ import annotations

import nibabel as nib
import nitransforms
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.transforms import read_composite_h5
from bids_nodereg.imaging.volume import read_image
from tests.app import phantom

ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")

LPS = np.array([-1.0, -1.0, 1.0])
RANGE = 1000.0  # of the intensities of both images
TOLERANCE = 0.005 * RANGE


def sitk_points(path, points: np.ndarray) -> np.ndarray:
    """World points (RAS+ mm) through a transform file by SimpleITK."""
    transform = sitk.ReadTransform(str(path))
    flat = (points.reshape(-1, 3) * LPS).tolist()
    return (np.array([transform.TransformPoint(point) for point in flat]) * LPS).reshape(points.shape)


def by_simpleitk(image, reference, transform) -> np.ndarray:
    pulled = sitk.Resample(
        sitk.ReadImage(str(image), sitk.sitkFloat32),
        sitk.ReadImage(str(reference)),
        sitk.ReadTransform(str(transform)),
        sitk.sitkLinear,
        0.0,
    )
    return sitk.GetArrayFromImage(pulled).T


def by_ants(image, reference, *transforms) -> np.ndarray:
    pulled = ants.apply_transforms(
        ants.image_read(str(reference)),
        ants.image_read(str(image)),
        [str(path) for path in transforms],
        interpolator="linear",
        whichtoinvert=[False] * len(transforms),
    )
    return pulled.numpy()


def by_nitransforms(image, reference, transform) -> np.ndarray:
    loaded = nitransforms.manip.load(transform, fmt="itk") if not isinstance(transform, list) else None
    chain = loaded or nitransforms.TransformChain(transform)
    pulled = nitransforms.resampling.apply(chain, nib.load(image), reference=nib.load(reference), order=1)
    return np.asarray(pulled.dataobj, np.float64)


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    return phantom.fixed_shares()[..., 0] < 0.5


@pytest.fixture(scope="module")
def moving_brain() -> np.ndarray:
    return phantom.moving_shares()[..., 0] < 0.5


@pytest.fixture(scope="module")
def warped(done) -> np.ndarray:
    return nib.load(done.warped).get_fdata()


@pytest.fixture(scope="module")
def points(brain) -> np.ndarray:
    """World points in the brain, well away from voxel centres of any grid."""
    inside = phantom.points_of(phantom.FIXED_SHAPE, phantom.FIXED)[brain]
    random = np.random.default_rng(0)
    return random.permutation(inside)[:300] + random.uniform(-1, 1, (300, 3))


def test_the_grids_are_hard():
    """Oblique, anisotropic, one left-handed, one right-handed, and different."""
    assert np.linalg.det(phantom.FIXED[:3, :3]) < 0 < np.linalg.det(phantom.MOVING[:3, :3])
    for affine in (phantom.FIXED, phantom.MOVING):
        cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
        assert (np.sort(cosines, axis=0)[-1] < 0.98).all()
        assert len(set(np.round(np.linalg.norm(affine[:3, :3], axis=0), 6))) == 3


def test_the_warped_image_is_on_the_fixed_grid(done):
    fixed, warped = nib.load(done.study.fixed), nib.load(done.warped)
    assert warped.shape == fixed.shape
    for form in (warped.get_sform(), warped.get_qform()):
        np.testing.assert_allclose(form, fixed.affine, atol=1e-4)
    assert (warped.header["sform_code"], warped.header["qform_code"]) == (2, 2)


def test_simpleitk_reproduces_the_warped_image(done, warped, brain):
    theirs = by_simpleitk(done.study.moving, done.study.fixed, done.forward_h5)
    assert np.abs(theirs - warped)[brain].max() < TOLERANCE


def test_ants_reproduces_the_warped_image_from_the_composite(done, warped, brain):
    theirs = by_ants(done.study.moving, done.study.fixed, done.forward_h5)
    assert np.abs(theirs - warped)[brain].max() < TOLERANCE


def test_ants_reproduces_the_warped_image_from_the_parts(done, warped, brain):
    theirs = by_ants(done.study.moving, done.study.fixed, done.warp, done.affine)
    assert np.abs(theirs - warped)[brain].max() < TOLERANCE


def test_nitransforms_reproduces_the_warped_image(done, warped, brain):
    """It interpolates the field by cubic splines and ITK linearly, hence the mean beside the maximum."""
    field = nitransforms.io.itk.ITKDisplacementsField.from_filename(done.warp)
    parts = [
        nitransforms.nonlinear.DenseFieldTransform(field),
        nitransforms.linear.load(done.affine, fmt="itk"),
    ]
    for transform in (done.forward_h5, parts):
        difference = np.abs(by_nitransforms(done.study.moving, done.study.fixed, transform) - warped)[brain]
        assert difference.mean() < TOLERANCE
        assert np.percentile(difference, 99) < 4 * TOLERANCE


def test_the_inverse_pulls_the_fixed_image_alike_everywhere(done, moving_brain):
    fixed, moving = read_image(done.study.fixed), read_image(done.study.moving)
    ours = warp_image(fixed, moving.grid, read_composite_h5(done.inverse_h5))
    for tool in (by_simpleitk, by_ants):
        theirs = tool(done.study.fixed, done.study.moving, done.inverse_h5)
        assert np.abs(theirs - ours)[moving_brain].max() < TOLERANCE
    theirs = by_nitransforms(done.study.fixed, done.study.moving, done.inverse_h5)
    difference = np.abs(theirs - ours)[moving_brain]
    assert difference.mean() < TOLERANCE
    assert np.percentile(difference, 99) < 4 * TOLERANCE


def test_forward_and_inverse_undo_one_another(done, points):
    there_and_back = sitk_points(done.inverse_h5, sitk_points(done.forward_h5, points))
    error_mm = np.linalg.norm(there_and_back - points, axis=1)
    assert error_mm.mean() < 0.1
    back_and_there = sitk_points(done.forward_h5, sitk_points(done.inverse_h5, phantom.truth()(points)))
    assert np.linalg.norm(back_and_there - phantom.truth()(points), axis=1).mean() < 0.1


def test_the_maps_are_near_the_truth(done, points):
    """Both directions, in the world: without registration the error is several times as large."""
    true = phantom.truth()(points)
    forward_mm = np.linalg.norm(sitk_points(done.forward_h5, points) - true, axis=1)
    inverse_mm = np.linalg.norm(sitk_points(done.inverse_h5, true) - points, axis=1)
    unregistered_mm = np.linalg.norm(points - true, axis=1)
    assert unregistered_mm.mean() > 6
    assert forward_mm.mean() < 2
    assert inverse_mm.mean() < 2


def test_the_field_takes_part(done, points):
    """The composite is nearer to the truth than its affine alone, so neither half is idle."""
    true = phantom.truth()(points)
    whole_mm = np.linalg.norm(sitk_points(done.forward_h5, points) - true, axis=1).mean()
    affine_mm = np.linalg.norm(sitk_points(done.affine, points) - true, axis=1).mean()
    assert whole_mm < 0.75 * affine_mm


@pytest.mark.parametrize("wrong", [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_a_wrong_sign_of_the_field_would_be_seen(done, warped, brain, wrong):
    """The tolerance separates right from wrong: a mistaken field costs many times as much."""
    field = sitk.ReadImage(str(done.warp))
    flipped = sitk.GetImageFromArray(sitk.GetArrayFromImage(field).astype(float) * wrong, isVector=True)
    flipped.CopyInformation(field)
    mistaken = sitk.CompositeTransform(
        [sitk.ReadTransform(str(done.affine)), sitk.DisplacementFieldTransform(flipped)]
    )
    image, reference = (
        sitk.ReadImage(str(p), sitk.sitkFloat32) for p in (done.study.moving, done.study.fixed)
    )
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, reference, mistaken, sitk.sitkLinear, 0.0)).T
    assert np.abs(theirs - warped)[brain].max() > 20 * TOLERANCE


def test_left_stays_left_and_lands_where_truth_says(done):
    """The landmark (label 5) is on the subject's left: smaller x than the middle of the head."""
    image = nib.load(done.labels)
    carried = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) == 5)).mean(axis=0)
    head = nib.affines.apply_affine(image.affine, np.argwhere(np.asarray(image.dataobj) > 0)).mean(axis=0)
    assert carried[0] < head[0] - 8
    np.testing.assert_allclose(carried, phantom.CENTRE + phantom.BLOB, atol=2.0)
    moved = sitk_points(done.forward_h5, phantom.CENTRE + phantom.BLOB)
    assert np.linalg.norm(moved - phantom.truth()(phantom.CENTRE + phantom.BLOB)) < 2.0


def test_the_jacobian_is_that_of_the_whole_map(done, brain):
    """Finite differences of SimpleITK's points over one voxel of the working grid."""
    centres = phantom.points_of(phantom.FIXED_SHAPE, phantom.FIXED)
    chosen = np.random.default_rng(1).permutation(np.argwhere(brain))[:25]
    steps = phantom.FIXED[:3, :3] / np.linalg.norm(phantom.FIXED[:3, :3], axis=0)  # columns: axes of the grid
    step_mm = nib.load(done.warp).header.get_zooms()[0]
    at = centres[tuple(chosen.T)]
    columns = [
        (
            sitk_points(done.forward_h5, at + axis * step_mm / 2)
            - sitk_points(done.forward_h5, at - axis * step_mm / 2)
        )
        / step_mm
        for axis in steps.T
    ]
    expected = np.linalg.det(np.stack(columns, -1) @ steps.T)
    written = nib.load(
        done.stem.with_name(done.stem.name + "_mode-image_desc-jacobian_xfm.nii.gz")
    ).get_fdata()
    np.testing.assert_allclose(written[tuple(chosen.T)], expected, atol=2e-3)
    assert np.ptp(expected) > 0.1
