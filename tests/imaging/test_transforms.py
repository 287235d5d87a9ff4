from __future__ import annotations

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.transforms import (
    read_affine_txt,
    read_composite_h5,
    read_displacement_nifti,
    write_affine_txt,
    write_composite_h5,
    write_displacement_nifti,
)


@pytest.fixture(params=["forward", "inverse", "affine only", "field only"])
def mapping(request, scene) -> SpatialMap:
    return {
        "forward": scene.forward_map(),
        "inverse": scene.inverse_map(),
        "affine only": SpatialMap(scene.affine),
        "field only": SpatialMap(np.eye(4), scene.forward),
    }[request.param]


def test_composite_comes_back(tmp_path, scene, mapping):
    path = tmp_path / "map.h5"
    write_composite_h5(path, mapping)
    again = read_composite_h5(path)
    points = scene.points(scene.fixed)
    np.testing.assert_allclose(again(points), mapping(points), atol=1e-5)
    if mapping.field is not None:
        np.testing.assert_array_equal(again.field.vectors, mapping.field.vectors)
        assert again.affine_first == mapping.affine_first


def test_composite_written_by_simpleitk_is_read(tmp_path, scene, mapping):
    """Through ITK and back: read our file with SimpleITK, let it write one, read that."""
    write_composite_h5(tmp_path / "ours.h5", mapping)
    sitk.WriteTransform(sitk.ReadTransform(str(tmp_path / "ours.h5")), str(tmp_path / "theirs.h5"))
    points = scene.points(scene.fixed)
    np.testing.assert_allclose(read_composite_h5(tmp_path / "theirs.h5")(points), mapping(points), atol=1e-5)


def test_composite_is_small(tmp_path, scene):
    """float32 and compressed: well below the float64 that SimpleITK writes."""
    write_composite_h5(tmp_path / "map.h5", scene.forward_map())
    assert (tmp_path / "map.h5").stat().st_size < 0.6 * scene.forward.vectors.size * 8
    with h5py.File(tmp_path / "map.h5") as file:
        assert file["TransformGroup/2/TransformParameters"].dtype == np.float32


def test_same_map_same_bytes(tmp_path, scene):
    for name in ("a.h5", "b.h5"):
        write_composite_h5(tmp_path / name, scene.forward_map())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_affine_text_comes_back_and_accepts_a_centre(tmp_path, scene):
    write_affine_txt(tmp_path / "ours.txt", scene.affine)
    np.testing.assert_allclose(read_affine_txt(tmp_path / "ours.txt"), scene.affine, atol=1e-12)
    about = sitk.AffineTransform(3)
    about.SetCenter((10.0, -20.0, 5.0))
    about.Rotate(0, 2, 0.3)
    about.SetTranslation((1.0, 2.0, 3.0))
    sitk.WriteTransform(about, str(tmp_path / "centre.txt"))
    lps = np.array([-1, -1, 1])
    theirs = np.array(about.TransformPoint((7.0, 8.0, 9.0))) * lps
    ours = SpatialMap(read_affine_txt(tmp_path / "centre.txt"))(np.array([7.0, 8.0, 9.0]) * lps)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_displacement_comes_back_in_the_one_form(tmp_path, scene):
    path = tmp_path / "warp.nii.gz"
    write_displacement_nifti(path, scene.forward)
    again = read_displacement_nifti(path)
    np.testing.assert_array_equal(again.vectors, scene.forward.vectors)
    assert again.grid.is_close(scene.working, tolerance_mm=1e-4)
    header = nib.load(path).header
    assert header["dim"].tolist() == [5, *scene.working.shape, 1, 3, 1, 1]
    assert int(header["intent_code"]) == 1007
    assert header.get_data_dtype() == np.float32
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0, 3)
    np.testing.assert_array_equal(theirs, scene.forward.vectors * [-1, -1, 1])


def test_wrong_displacement_files_are_refused(tmp_path, scene):
    good = tmp_path / "warp.nii"
    write_displacement_nifti(good, scene.forward)
    image = nib.load(good)
    image.header.set_intent("displacement vector")  # 1006: ITK versions disagree about its axes
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), tmp_path / "1006.nii")
    nib.save(nib.Nifti1Image(scene.forward.vectors, scene.working.affine), tmp_path / "4d.nii")
    (tmp_path / "cut.nii").write_bytes(good.read_bytes()[:5000])
    for name in ("1006.nii", "4d.nii", "cut.nii"):
        with pytest.raises(DataError, match=name):
            read_displacement_nifti(tmp_path / name)


def test_other_transforms_are_refused(tmp_path):
    euler = sitk.Euler3DTransform()
    two = sitk.CompositeTransform([sitk.AffineTransform(3), sitk.AffineTransform(3)])
    for name, transform in (("euler", euler), ("two", two)):
        sitk.WriteTransform(transform, str(tmp_path / f"{name}.h5"))
        with pytest.raises(DataError, match=name):
            read_composite_h5(tmp_path / f"{name}.h5")
        sitk.WriteTransform(transform, str(tmp_path / f"{name}.txt"))
        with pytest.raises(DataError, match=name):
            read_affine_txt(tmp_path / f"{name}.txt")
    sitk.WriteTransform(sitk.AffineTransform(2), str(tmp_path / "flat.txt"))
    with pytest.raises(DataError, match="12 parameters"):
        read_affine_txt(tmp_path / "flat.txt")


@pytest.mark.parametrize("read", [read_composite_h5, read_affine_txt, read_displacement_nifti])
def test_missing_and_damaged_files(tmp_path, read):
    with pytest.raises(MissingInputError, match="no such transform"):
        read(tmp_path / "absent")
    (tmp_path / "noise").write_bytes(b"\x89\x00noise" * 100)
    with pytest.raises(DataError, match="noise"):
        read(tmp_path / "noise")


def test_sheared_grid_cannot_be_written(tmp_path, scene):
    affine = scene.working.affine.copy()
    affine[:3, 1] += 0.1 * affine[:3, 0]
    field = DisplacementField(Grid(scene.working.shape, affine), scene.forward.vectors)
    with pytest.raises(ValueError, match="right angles"):
        write_composite_h5(tmp_path / "map.h5", SpatialMap(np.eye(4), field))
    with pytest.raises(ValueError, match="right angles"):
        write_displacement_nifti(tmp_path / "warp.nii.gz", field)
    assert list(tmp_path.iterdir()) == []
