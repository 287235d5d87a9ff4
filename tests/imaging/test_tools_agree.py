"""Other programs, given our transform files and the original images, produce our images.

Tolerances are shares of the moving image's intensity range (0 to 1000). A wrong sign or order of
anything costs tens of percent, which ``test_a_wrong_sign_would_be_seen`` shows.
"""

from __future__ import annotations

import nibabel as nib
import nitransforms
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses
from scipy.ndimage import map_coordinates

from bids_nodereg.geometry import apply_affine
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap, forward_map
from bids_nodereg.imaging.resample import warp_image, warp_labels
from bids_nodereg.imaging.transforms import (
    write_affine_txt,
    write_composite_h5,
    write_displacement_nifti,
)
from bids_nodereg.imaging.volume import read_image, write_image

ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")

EXACT = 0.005 * 1000
LPS = np.array([-1, -1, 1])


class Case:
    """One direction: what is resampled onto what, by which map, and all of it on disk."""

    def __init__(self, folder, image, source, reference, mapping, scene) -> None:
        self.mapping, self.source, self.reference = mapping, source, reference
        self.image_path, self.reference_path = folder / "image.nii.gz", folder / "reference.nii.gz"
        self.h5, self.warp, self.affine = folder / "map.h5", folder / "warp.nii.gz", folder / "affine.txt"
        write_image(image, source, self.image_path)
        write_image(np.ones(reference.shape), reference, self.reference_path)
        write_composite_h5(self.h5, mapping)
        write_displacement_nifti(self.warp, mapping.field)
        write_affine_txt(self.affine, mapping.affine)
        self.ours = warp_image(read_image(self.image_path), reference, mapping)
        self.inside = scene.interior(source, mapping(scene.points(reference)))
        assert self.inside.mean() > 0.3

    def difference(self, theirs: np.ndarray) -> np.ndarray:
        return np.abs(theirs.reshape(self.ours.shape) - self.ours)[self.inside]


@pytest.fixture(scope="module", params=["forward", "inverse"])
def case(request, scene, tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "forward":
        return Case(folder, scene.image, scene.moving, scene.fixed, scene.forward_map(), scene)
    fixed = scene.fixed_volume()
    return Case(folder, fixed.data, scene.fixed, scene.moving, scene.inverse_map(), scene)


def by_simpleitk(case: Case, interpolator=sitk.sitkLinear, image=None) -> np.ndarray:
    image = sitk.ReadImage(str(case.image_path)) if image is None else image
    reference = sitk.ReadImage(str(case.reference_path))
    warped = sitk.Resample(image, reference, sitk.ReadTransform(str(case.h5)), interpolator, 0.0)
    return sitk.GetArrayFromImage(warped).T


def by_ants(case: Case, transforms: list[str], interpolator: str = "linear") -> np.ndarray:
    warped = ants.apply_transforms(
        ants.image_read(str(case.reference_path)),
        ants.image_read(str(case.image_path)),
        transforms,
        interpolator=interpolator,
        whichtoinvert=[False] * len(transforms),
    )
    return warped.numpy()


def test_simpleitk_applies_the_composite(case):
    theirs = by_simpleitk(case)
    assert case.difference(theirs).max() < 0.05
    # also outside the image: the same voxels are zero, up to rounding at the buffer's edge
    assert np.mean((theirs == 0) != (case.ours == 0)) < 1e-3


def test_simpleitk_maps_points_as_we_do(case, scene):
    transform = sitk.ReadTransform(str(case.h5))
    points = scene.points(case.reference).reshape(-1, 3)[::97]
    theirs = np.array([transform.TransformPoint(point) for point in (points * LPS).tolist()]) * LPS
    moved = np.linalg.norm(case.mapping(points) - apply_affine(case.mapping.affine, points), axis=1)
    assert moved.max() > 1.0  # the field takes part
    np.testing.assert_allclose(case.mapping(points), theirs, atol=1e-4)


def test_simpleitk_applies_the_parts(case):
    field = sitk.DisplacementFieldTransform(sitk.Cast(sitk.ReadImage(str(case.warp)), sitk.sitkVectorFloat64))
    affine = sitk.ReadTransform(str(case.affine))
    parts = [field, affine] if case.mapping.affine_first else [affine, field]
    composite = sitk.CompositeTransform(parts)
    point = case.reference.centre + np.array([1.0, 2.0, 3.0])
    theirs = np.array(composite.TransformPoint((point * LPS).tolist())) * LPS
    np.testing.assert_allclose(case.mapping(point), theirs, atol=1e-4)


def test_ants_applies_the_composite(case):
    assert case.difference(by_ants(case, [str(case.h5)])).max() < EXACT


def test_ants_applies_the_parts(case):
    """In ANTs' list the first acts first on the points of the reference."""
    order = [case.affine, case.warp] if case.mapping.affine_first else [case.warp, case.affine]
    assert case.difference(by_ants(case, [str(path) for path in order])).max() < EXACT


def by_cubic_splines(mapping):
    """The map with its field read as nitransforms reads it: splines through the *positions* x + u(x)."""
    grid = mapping.field.grid
    nodes = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) + mapping.field.vectors

    def moved(points):
        points = apply_affine(mapping.affine, points) if mapping.affine_first else points
        index = grid.to_index(points).T
        there = [map_coordinates(nodes[..., axis], index, order=3, cval=np.nan) for axis in range(3)]
        there = np.where(np.isnan(np.stack(there, -1)), points, np.stack(there, -1))
        return there if mapping.affine_first else apply_affine(mapping.affine, there)

    return moved


def test_nitransforms_applies_the_composite_and_the_parts(case):
    """nitransforms interpolates the *field* by cubic splines off its grid, ITK and we linearly.

    That alone is the difference: with the same splines the usual tolerance holds, and without
    them the curvature of this (coarse) field within a voxel costs up to 3 %.
    """
    as_they_do = warp_image(read_image(case.image_path), case.reference, by_cubic_splines(case.mapping))
    composite = nitransforms.manip.load(case.h5, fmt="itk")
    field = nitransforms.io.itk.ITKDisplacementsField.from_filename(case.warp)
    warp = nitransforms.nonlinear.DenseFieldTransform(field)
    affine = nitransforms.linear.load(case.affine, fmt="itk")
    chain = nitransforms.TransformChain([affine, warp] if case.mapping.affine_first else [warp, affine])
    for transform in (composite, chain):
        warped = nitransforms.resampling.apply(
            transform, nib.load(case.image_path), reference=nib.load(case.reference_path), order=1
        )
        theirs = np.asarray(warped.dataobj)
        assert np.abs(theirs - as_they_do)[case.inside].max() < EXACT
        assert case.difference(theirs).max() < 6 * EXACT
        assert case.difference(theirs).mean() < 0.2 * EXACT


def test_cubic_is_itks_bspline(case):
    theirs = by_simpleitk(case, sitk.sitkBSpline3)
    ours = warp_image(read_image(case.image_path), case.reference, case.mapping, interpolation="cubic")
    assert np.abs(theirs - ours)[case.inside].max() < EXACT
    assert np.abs(ours - case.ours)[case.inside].max() > EXACT  # it is not linear


def test_labels_follow_ants_generic_label(scene, tmp_path):
    mapping = scene.forward_map()
    case = Case(tmp_path, scene.labels, scene.moving, scene.fixed, mapping, scene)
    ours = warp_labels(scene.label_volume(), scene.fixed, mapping)
    theirs = by_ants(case, [str(case.h5)], "genericLabel")
    assert set(np.unique(ours[case.inside])) == {0, 7, 41, 2000}
    assert np.mean(ours[case.inside] != theirs[case.inside]) < 1e-3


@pytest.mark.parametrize("wrong", ["order", "sign x", "sign z", "direction"])
def test_a_wrong_sign_would_be_seen(case, wrong):
    """The scene is sensitive: each classical mistake moves intensities far beyond every tolerance."""
    mapping = case.mapping
    signs = {"sign x": [-1, 1, 1], "sign z": [1, 1, -1], "direction": [-1, -1, -1], "order": [1, 1, 1]}[wrong]
    field = DisplacementField(mapping.field.grid, mapping.field.vectors * np.float32(signs))
    first = mapping.affine_first != (wrong == "order")
    mistaken = warp_image(
        read_image(case.image_path), case.reference, SpatialMap(mapping.affine, field, affine_first=first)
    )
    assert case.difference(mistaken).max() > 20 * EXACT
    assert case.difference(mistaken).mean() > 2 * EXACT


def test_affine_alone(scene, tmp_path):
    """A map without a field is one affine for every reader."""
    write_composite_h5(tmp_path / "affine.h5", forward_map(scene.affine))
    transform = sitk.ReadTransform(str(tmp_path / "affine.h5"))
    theirs = np.array(transform.TransformPoint((10.0, -20.0, 30.0))) * LPS
    np.testing.assert_allclose(apply_affine(scene.affine, [-10.0, 20.0, 30.0]), theirs, atol=1e-9)
