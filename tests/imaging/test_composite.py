"""Several maps, one after the other, as one ITK composite that all programs read alike."""

from __future__ import annotations

import h5py
import nibabel as nib
import nitransforms
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.chain import Chain, chain_of
from bids_nodereg.imaging.chain_files import read_chain
from bids_nodereg.imaging.maps import DisplacementField, forward_map, inverse_map
from bids_nodereg.imaging.resample import warp_image
from bids_nodereg.imaging.transforms import write_composite_h5
from bids_nodereg.imaging.volume import read_image, write_image

ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")

LPS = np.array([-1.0, -1.0, 1.0])
RANGE = 1000.0


def wave_field(scene, grid, amplitude_mm, phase):
    """A smooth displacement of some millimetres on a grid."""
    points = scene.points(grid) / 17.0 + phase
    vectors = amplitude_mm * np.stack(
        [np.sin(points[..., n]) * np.cos(points[..., n - 1]) for n in range(3)], -1
    )
    return DisplacementField(grid, vectors.astype(np.float32))


def affine(*, degrees, scale, shift):
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = shift
    return matrix


@pytest.fixture(scope="module")
def maps(scene):
    """Template to the image between, and from there to the moving image; on different grids."""
    first = forward_map(scene.affine, wave_field(scene, scene.fixed, 3.0, 0.4))
    between = Grid(
        (17, 19, 23), np.array([[4.0, 0, 0, -40], [0, 3.5, 0, -30], [0, 0, 3.0, -35], [0, 0, 0, 1]])
    )
    second = forward_map(
        affine(degrees=5, scale=1.03, shift=(1, -2, 0.5)), wave_field(scene, between, 2.0, 1.7)
    )
    return second, first


@pytest.fixture(scope="module")
def composite(maps, tmp_path_factory):
    chain = Chain(tuple(part for mapping in maps for part in chain_of(mapping).parts))
    path = tmp_path_factory.mktemp("composite") / "map.h5"
    write_composite_h5(path, chain)
    return path, chain


def test_it_is_one_map_after_the_other(maps, composite, scene):
    _, chain = composite
    points = scene.points(scene.fixed)[::3, ::3, ::3]
    second, first = maps
    np.testing.assert_allclose(chain(points), first(second(points)), atol=1e-9)


def test_simpleitk_takes_points_where_we_do(composite, scene):
    path, chain = composite
    points = scene.points(scene.fixed)[::4, ::4, ::4].reshape(-1, 3)
    transform = sitk.ReadTransform(str(path))
    theirs = np.array([transform.TransformPoint(point) for point in (points * LPS).tolist()]) * LPS
    np.testing.assert_allclose(theirs, chain(points), atol=1e-3)
    single = Chain(chain.parts[:2])
    assert np.abs(theirs - single(points)).max() > 3  # the rest of the chain takes part


def test_all_programs_make_our_image(composite, scene, tmp_path):
    path, chain = composite
    image, reference = tmp_path / "image.nii.gz", tmp_path / "reference.nii.gz"
    write_image(scene.image, scene.moving, image)
    write_image(np.ones(scene.fixed.shape), scene.fixed, reference)
    ours = warp_image(read_image(image), scene.fixed, chain)
    inside = scene.interior(scene.moving, chain(scene.points(scene.fixed)))
    assert inside.mean() > 0.2

    itk = sitk.Resample(
        sitk.ReadImage(str(image)),
        sitk.ReadImage(str(reference)),
        sitk.ReadTransform(str(path)),
        sitk.sitkLinear,
        0.0,
    )
    by_ants = ants.apply_transforms(
        ants.image_read(str(reference)), ants.image_read(str(image)), [str(path)], interpolator="linear"
    )
    loaded = nitransforms.manip.load(path, fmt="itk")
    pulled = nitransforms.resampling.apply(loaded, nib.load(image), reference=nib.load(reference), order=1)
    for theirs in (sitk.GetArrayFromImage(itk).T, by_ants.numpy()):
        assert np.abs(theirs - ours)[inside].max() < 0.001 * RANGE
    # cubic interpolation of the fields, which ITK and we do linearly
    assert np.abs(np.asarray(pulled.dataobj) - ours)[inside].mean() < 0.005 * RANGE
    wrong = warp_image(read_image(image), scene.fixed, Chain(chain.parts[2:] + chain.parts[:2]))
    assert np.abs(wrong - ours)[inside].mean() > 0.01 * RANGE  # the order matters, and would be seen


def test_the_file_reads_back_and_the_inverse_is_the_inverses_the_other_way_round(composite, maps, tmp_path):
    path, chain = composite
    again = read_chain([path])
    points = np.random.default_rng(2).uniform(-15, 15, (50, 3))
    np.testing.assert_allclose(again(points), chain(points), atol=1e-5)
    back = Chain(tuple(part for each in maps[::-1] for part in chain_of(inverse_map(each.affine)).parts))
    plain = Chain(tuple(part for part in chain.parts if not isinstance(part, DisplacementField)))
    np.testing.assert_allclose(back(plain(points)), points, atol=1e-9)
    write_composite_h5(tmp_path / "back.h5", back)
    with h5py.File(tmp_path / "back.h5") as file:
        assert sorted(file["TransformGroup"]) == ["0", "1", "2"]


def test_more_parts_than_all_programs_order_alike_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 9 parts"):
        write_composite_h5(tmp_path / "long.h5", Chain((np.eye(4),) * 10))
    assert not list(tmp_path.iterdir())
