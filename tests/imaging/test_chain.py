"""Chains of transforms of other programs map points as those programs do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.errors import DataError, MissingInputError, UsageError
from bids_nodereg.imaging.chain import Chain, chain_of, non_affine_part, sample_displacement
from bids_nodereg.imaging.chain_files import TransformFile, read_chain, transform_file
from bids_nodereg.imaging.transforms import write_affine_txt, write_composite_h5, write_displacement_nifti

if TYPE_CHECKING:
    from bids_nodereg.geometry import Grid

LPS = np.array([-1.0, -1.0, 1.0])


def inner_points(grid: Grid, number: int = 60) -> np.ndarray:
    """Random world points in the middle half of a grid."""
    share = np.random.default_rng(8).uniform(0.25, 0.75, (number, 3))
    return grid.to_world(share * (np.asarray(grid.shape) - 1))


def by_simpleitk(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Points carried by ITK, which works in LPS."""
    return np.array([transform.TransformPoint(tuple(point)) for point in points * LPS]) * LPS


def itk_affine(seed: int) -> sitk.AffineTransform:
    """An affine near the identity, with a centre that is not the origin."""
    random = np.random.default_rng(seed)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((np.eye(3) + 0.05 * random.standard_normal((3, 3))).ravel())
    affine.SetTranslation(3 * random.standard_normal(3))
    affine.SetCenter((20.0, -9.0, 4.0))
    return affine


def itk_field(folder, scene) -> sitk.Transform:
    """The scene's displacements as ITK's own transform, through ITK's reader."""
    write_displacement_nifti(folder / "itk.nii.gz", scene.forward)
    image = sitk.ReadImage(str(folder / "itk.nii.gz"), sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(image)


def test_a_composite_of_many_parts_is_read_whole(tmp_path, scene):
    parts = [itk_affine(1), itk_field(tmp_path, scene), itk_affine(2), itk_field(tmp_path, scene)]
    composite = sitk.CompositeTransform(parts)
    sitk.WriteTransform(composite, str(tmp_path / "many.h5"))
    points = inner_points(scene.working)

    chain = read_chain([tmp_path / "many.h5"])

    assert len(chain.parts) == 4
    np.testing.assert_allclose(chain(points), by_simpleitk(composite, points), atol=1e-3)
    assert np.linalg.norm(chain(points) - points, axis=1).max() > 3


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_our_composite_is_the_map_that_was_written(tmp_path, scene, direction):
    mapping = scene.forward_map() if direction == "forward" else scene.inverse_map()
    write_composite_h5(tmp_path / "map.h5", mapping)
    points = inner_points(scene.fixed if direction == "forward" else scene.moving)

    chain = read_chain([tmp_path / "map.h5"])

    np.testing.assert_allclose(chain(points), mapping(points), atol=1e-5)
    np.testing.assert_allclose(chain_of(mapping)(points), mapping(points), atol=1e-9)


def test_files_in_a_row_act_as_ants_lets_them(tmp_path, scene):
    ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")
    pandas = pytest.importorskip("pandas")
    write_displacement_nifti(tmp_path / "warp.nii.gz", scene.forward)
    write_affine_txt(tmp_path / "affine.txt", scene.affine)
    sitk.WriteTransform(itk_affine(3), str(tmp_path / "more.mat"))
    names = [str(tmp_path / name) for name in ("warp.nii.gz", "affine.txt", "more.mat")]
    points = inner_points(scene.fixed)
    table = pandas.DataFrame(points * LPS, columns=list("xyz"))

    for invert in (False, True):
        theirs = ants.apply_transforms_to_points(3, table, names, whichtoinvert=[False, False, invert])
        last = TransformFile(tmp_path / "more.mat", invert)
        ours = read_chain([tmp_path / "warp.nii.gz", tmp_path / "affine.txt", last])(points)
        np.testing.assert_allclose(ours, theirs[list("xyz")].to_numpy() * LPS, atol=2e-3)


def test_an_affine_of_ants_in_matlab_form(tmp_path, scene):
    ants = pytest.importorskip("ants", reason="antspyx has no wheel for this Python")
    transform = itk_affine(4)
    theirs = ants.create_ants_transform(
        transform_type="AffineTransform",
        precision="double",
        dimension=3,
        matrix=np.array(transform.GetMatrix()).reshape(3, 3),
        translation=transform.GetTranslation(),
        center=transform.GetCenter(),
    )
    ants.write_transform(theirs, str(tmp_path / "a.mat"))
    points = inner_points(scene.fixed)

    forward = read_chain([tmp_path / "a.mat"])(points)
    there_and_back = read_chain([transform_file(f"[{tmp_path}/a.mat,1]"), tmp_path / "a.mat"])(points)

    np.testing.assert_allclose(forward, by_simpleitk(transform, points), atol=1e-4)
    np.testing.assert_allclose(there_and_back, points, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "path", "invert"),
    [("a b.h5", "a b.h5", False), ("[a.mat,1]", "a.mat", True), ("[ a.txt , 0 ]", "a.txt", False)],
)
def test_names_of_transforms_as_ants_writes_them(text, path, invert, tmp_path):
    file = transform_file(text, tmp_path)
    assert (file.path, file.invert) == (tmp_path / path, invert)
    absolute = transform_file(str(tmp_path / "x.h5"), tmp_path / "other")
    assert absolute.path == tmp_path / "x.h5"


def test_what_cannot_be_read_is_told_by_its_name(tmp_path, scene):
    write_displacement_nifti(tmp_path / "warp.nii.gz", scene.forward)
    (tmp_path / "noise.mat").write_bytes(b"\x89\x00noise" * 100)
    (tmp_path / "noise.h5").write_bytes(b"\x89\x00noise" * 100)
    (tmp_path / "a.lta").write_text("type = 1")
    sitk.WriteTransform(sitk.Euler3DTransform(), str(tmp_path / "euler.mat"))
    wrong = [
        ([tmp_path / "absent.h5"], MissingInputError, "absent"),
        ([tmp_path / "noise.mat"], DataError, "noise.mat"),
        ([tmp_path / "noise.h5"], DataError, "noise.h5"),
        ([tmp_path / "euler.mat"], DataError, "Euler3DTransform"),
        ([tmp_path / "a.lta"], UsageError, "ending"),
        ([TransformFile(tmp_path / "warp.nii.gz", invert=True)], UsageError, "only an affine"),
    ]
    for files, kind, told in wrong:
        with pytest.raises(kind, match=told):
            read_chain(files)


def test_the_non_affine_part_of_one_field_is_that_field(scene):
    before, after = np.diag([1.1, 0.9, 1.0, 1.0]), scene.affine
    part = non_affine_part(Chain((before, scene.forward, after)), scene.fixed)
    assert part.field is scene.forward
    assert part.own
    np.testing.assert_allclose(part.entry, before)
    assert non_affine_part(Chain((before, after)), scene.fixed).field is None


def test_the_non_affine_part_of_several_fields_is_what_the_affines_leave(scene):
    middle, after = np.diag([1.1, 0.9, 1.0, 1.0]), scene.affine
    chain = Chain((scene.forward, middle, scene.forward, after))
    part = non_affine_part(chain, scene.fixed, threads=2)
    points = scene.points(scene.fixed)
    assert not part.own
    assert part.field.grid is scene.fixed
    whole = points + part.field.vectors
    found = whole @ (after @ middle)[:3, :3].T + (after @ middle)[:3, 3]
    np.testing.assert_allclose(found, chain(points), atol=1e-4)


def test_a_sampled_map_is_the_map_at_the_voxels(scene):
    field = sample_displacement(scene.forward_map(), scene.fixed, threads=2)
    points = scene.points(scene.fixed)
    np.testing.assert_allclose(points + field.vectors, scene.forward_map()(points), atol=1e-4)
