"""Our Jacobian maps, and their logarithms, as SimpleITK computes them from the files we write."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.chain import chain_of
from bids_nodereg.imaging.resample import jacobian_determinant, log_determinant
from bids_nodereg.imaging.transforms import write_displacement_nifti


@pytest.fixture(scope="module")
def by_simpleitk(scene, tmp_path_factory) -> np.ndarray:
    """Determinant of the displacement part at the voxels of its own, oblique grid.

    ITK's filter differentiates along the axes of the image and leaves the vectors in the axes of the
    world, so that on an oblique grid the vectors have to be turned into the axes of the image first.
    """
    path = tmp_path_factory.mktemp("field") / "warp.nii.gz"
    write_displacement_nifti(path, scene.forward)
    field = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    turned = sitk.GetArrayFromImage(field) @ np.reshape(field.GetDirection(), (3, 3))
    image = sitk.GetImageFromArray(turned, isVector=True)
    image.SetSpacing(field.GetSpacing())
    return sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image)).T


def test_the_jacobian_is_simpleitks_times_that_of_the_affine(scene, by_simpleitk):
    """At the voxels of the field both are central differences; the edge is left out."""
    ours = jacobian_determinant(scene.forward_map(), scene.working)
    expected = by_simpleitk * np.linalg.det(scene.affine[:3, :3])
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(ours[inner], expected[inner], atol=2e-4)
    assert np.ptp(expected[inner]) > 0.5
    assert abs(np.linalg.det(scene.affine[:3, :3]) - 1) > 0.05  # leaving the affine out would be seen


def test_the_logarithm_is_that_of_simpleitks(scene, by_simpleitk):
    ours = log_determinant(jacobian_determinant(scene.forward_map(), scene.working))
    expected = np.log(by_simpleitk * np.linalg.det(scene.affine[:3, :3]))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(ours[inner], expected[inner], atol=1e-3)


def test_a_fold_reads_as_the_floor():
    folded = np.array([-0.5, 0.0, 1e-4, 1.0, np.e], np.float32)
    np.testing.assert_allclose(log_determinant(folded), [*[np.log(1e-3)] * 3, 0.0, 1.0], atol=1e-6)


def test_the_jacobian_of_a_chain_of_one_is_that_of_its_map(scene):
    grid = Grid((5, 6, 7), scene.fixed.affine)
    for mapping in (scene.forward_map(), scene.inverse_map()):
        ours = jacobian_determinant(chain_of(mapping), grid)
        np.testing.assert_allclose(ours, jacobian_determinant(mapping, grid), rtol=1e-6)
