from __future__ import annotations

import gzip
import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its own documentation uses

from bids_nodereg.errors import DataError, MissingInputError, OutputError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.volume import read_image, read_labels, read_mask, write_image

SHAPE = (6, 7, 8)
DATA = np.random.default_rng(0).random(SHAPE).astype(np.float32)


@pytest.fixture
def affines(scene) -> tuple[np.ndarray, np.ndarray]:
    """An oblique left-handed and an oblique right-handed affine, centimetres apart."""
    return scene.fixed.affine, scene.working.affine


def save(path, *, data=DATA, qform=None, sform=None, codes=(0, 0), unit="mm", pixdim=None):
    image = nib.Nifti1Image(data, None, dtype=data.dtype)
    image.header.set_xyzt_units(unit)
    if qform is not None:
        image.set_qform(qform, codes[0])
    if sform is not None:
        image.set_sform(sform, codes[1])
        if qform is None:
            image.header["pixdim"][1:4] = Grid(SHAPE, sform).spacing
    if pixdim is not None:
        image.header["pixdim"][1:4] = pixdim
    nib.save(image, path)
    return path


def itk_affine(path) -> np.ndarray:
    """Voxel index to RAS+ mm as ITK reads it."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def sheared(affine: np.ndarray, amount: float) -> np.ndarray:
    shear = np.eye(4)
    shear[0, 1] = amount
    return affine @ shear


# --- which affine counts -----------------------------------------------------------------------


@pytest.mark.parametrize("codes", list(itertools.product(range(5), range(5))))
def test_grid_is_the_one_itk_reads_for_every_pair_of_codes(tmp_path, affines, codes):
    qform, sform = affines
    sizes = Grid(SHAPE, qform).spacing
    sform = Grid(SHAPE, sform).affine.copy()
    sform[:3, :3] *= np.array(sizes) / Grid(SHAPE, sform).spacing  # same voxel size, other place
    path = save(tmp_path / "image.nii", qform=qform, sform=sform, codes=codes)
    volume = read_image(path)
    np.testing.assert_allclose(volume.grid.affine, itk_affine(path), atol=1e-4)
    nibabel_differs = not np.allclose(nib.load(path).affine, volume.grid.affine, atol=1e-3)
    both = min(codes) > 0
    assert bool(volume.notes) == (both or codes == (0, 0))
    if both:
        assert "mm apart" in volume.notes[0]
        assert ("the qform is used" in volume.notes[0]) == nibabel_differs
    if codes == (0, 0):
        assert "no position or orientation" in volume.notes[0]


def test_equal_forms_are_silent_and_bit_exact(tmp_path, affines):
    path = save(tmp_path / "image.nii.gz", qform=affines[0], sform=affines[0], codes=(1, 1))
    volume = read_image(path)
    assert volume.notes == ()
    np.testing.assert_array_equal(volume.grid.affine, nib.load(path).affine)
    np.testing.assert_array_equal(volume.data, DATA)


@pytest.mark.parametrize("unit", ["meter", "micron"])
@pytest.mark.parametrize("form", ["qform", "sform"])
def test_other_units_become_millimetres_as_in_itk(tmp_path, affines, unit, form):
    codes = (1, 0) if form == "qform" else (0, 1)
    per_mm = np.diag([*[{"meter": 1e-3, "micron": 1e3}[unit]] * 3, 1])
    path = save(tmp_path / "image.nii", **{form: per_mm @ affines[0]}, codes=codes, unit=unit)
    volume = read_image(path)
    np.testing.assert_allclose(volume.grid.affine, itk_affine(path), rtol=1e-5)
    assert unit in volume.notes[0]


@pytest.mark.parametrize("unit", ["meter", "mm"])
def test_a_size_that_no_voxel_has_is_refused(tmp_path, affines, unit):
    """Millimetres that are called metres would make a grid of metres; so would a broken number."""
    far = np.diag([1e6, 1e6, 1e6, 1]) if unit == "mm" else np.eye(4)
    path = save(tmp_path / "image.nii", sform=far @ affines[0], codes=(0, 1), unit=unit)
    with pytest.raises(DataError, match=rf"voxel size .* \(unit in the header: {unit}\)"):
        read_image(path)


def test_voxel_size_of_pixdim_wins_as_in_itk(tmp_path, affines):
    path = save(tmp_path / "image.nii", sform=affines[0], codes=(0, 1), pixdim=(1.5, 1.7, 2.3))
    volume = read_image(path)
    np.testing.assert_allclose(volume.grid.affine, itk_affine(path), atol=1e-4)
    assert "1.5 x 1.7 x 2.3" in volume.notes[0]


def test_sheared_sform_yields_to_a_qform_as_in_itk(tmp_path, affines):
    path = save(tmp_path / "i.nii", qform=affines[0], sform=sheared(affines[0], 0.1), codes=(1, 1))
    volume = read_image(path)
    np.testing.assert_allclose(volume.grid.affine, itk_affine(path), atol=1e-4)
    assert "the qform is used" in volume.notes[0]


@pytest.mark.parametrize(("amount", "accepted"), [(5e-5, True), (1e-3, True), (1e-2, False)])
def test_lone_sheared_sform(tmp_path, affines, amount, accepted):
    path = save(tmp_path / "i.nii", sform=sheared(affines[0], amount), codes=(0, 1))
    if accepted:
        volume = read_image(path)
        assert any("sheared" in note for note in volume.notes) == (amount > 1e-4)
    else:
        with pytest.raises(DataError, match="sheared"):
            read_image(path)


@pytest.mark.parametrize("sform", [np.zeros((4, 4)), np.diag([1, 1, np.nan, 1]), np.diag([1, 0, 1, 1])])
def test_singular_affine_is_refused(tmp_path, sform):
    path = save(tmp_path / "i.nii", sform=np.eye(4), codes=(0, 1))
    raw = nib.load(path)
    raw.header["vox_offset"] = 352  # nibabel forgets it
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        raw.header[name] = sform[row]
    content = bytearray(path.read_bytes())
    content[:348] = raw.header.binaryblock
    path.write_bytes(content)
    with pytest.raises(DataError, match="invertible"):
        read_image(path)


def with_raw_pixdim(path, value: float):
    """Put a voxel size into the second axis of a file that nibabel would not write."""
    content = bytearray(path.read_bytes())
    content[84:88] = np.float32(value).tobytes()
    path.write_bytes(content)
    return path


def test_zero_voxel_size_counts_as_one_as_in_itk(tmp_path, affines):
    path = with_raw_pixdim(save(tmp_path / "i.nii", sform=affines[0], codes=(0, 1)), 0)
    volume = read_image(path)
    np.testing.assert_allclose(volume.grid.affine, itk_affine(path), atol=1e-4)
    assert "voxel size 1 x 1 x 2.3 differs" in volume.notes[0]


def test_voxel_size_that_is_no_number_is_refused(tmp_path, affines):
    path = with_raw_pixdim(save(tmp_path / "i.nii", sform=affines[0], codes=(0, 1)), np.nan)
    with pytest.raises(DataError, match="voxel sizes"):
        read_image(path)


# --- what the file holds -----------------------------------------------------------------------


def test_one_volume_of_four_axes_is_squeezed(tmp_path, affines):
    path = save(tmp_path / "i.nii.gz", data=DATA[..., None], sform=affines[0], codes=(0, 1))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.data, DATA)
    assert "single volume" in volume.notes[0]


@pytest.mark.parametrize("shape", [(6, 7, 8, 2), (6, 7, 8, 1, 3), (6, 7), (6, 7, 1), (6, 7, 3)])
def test_not_one_volume_is_refused(tmp_path, shape):
    data = np.random.default_rng(1).random(shape).astype(np.float32)
    path = save(tmp_path / "i.nii", data=data, sform=np.eye(4), codes=(0, 1))
    with pytest.raises(DataError, match="volume"):
        read_image(path)


def test_complex_and_rgb_are_refused(tmp_path):
    path = save(tmp_path / "c.nii", data=DATA.astype(np.complex64), sform=np.eye(4), codes=(0, 1))
    with pytest.raises(DataError, match="complex"):
        read_image(path)
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = save(tmp_path / "rgb.nii", data=rgb, sform=np.eye(4), codes=(0, 1))
    with pytest.raises(DataError, match="RGB"):
        read_image(path)


def test_non_finite_voxels_become_zero_with_their_number(tmp_path):
    data = DATA.astype(np.float64)
    data[0, 0, :3] = np.nan, np.inf, -1e300  # the last is infinite as float32
    volume = read_image(save(tmp_path / "i.nii", data=data, sform=np.eye(4), codes=(0, 1)))
    np.testing.assert_array_equal(volume.data[0, 0, :3], 0)
    assert volume.notes[0].startswith("3 voxels")
    assert volume.dtype == np.float64
    assert volume.data.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.full(SHAPE, np.nan, np.float32), "NaN"),
        (np.zeros(SHAPE, np.int16), "no image"),
        (np.full(SHAPE, 7, np.int16), "no image"),
    ],
)
def test_images_without_an_image_are_refused(tmp_path, data, words):
    path = save(tmp_path / "i.nii", data=data, sform=np.eye(4), codes=(0, 1))
    with pytest.raises(DataError, match=words):
        read_image(path)


def test_header_scaling_is_applied(tmp_path):
    path = tmp_path / "i.nii"
    image = nib.Nifti1Image((DATA * 1000).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, path)
    expected = nib.load(path).get_fdata()
    volume = read_image(path)
    np.testing.assert_allclose(volume.data, expected, rtol=1e-6)
    assert expected.max() > 100
    assert volume.dtype == np.int16


# --- files that are not there or not whole -------------------------------------------------------


def test_missing_file(tmp_path):
    with pytest.raises(MissingInputError, match="no such file"):
        read_image(tmp_path / "absent.nii.gz")


def test_annex_link_and_pointer_name_the_remedy(tmp_path):
    link = tmp_path / "link.nii.gz"
    link.symlink_to(".git/annex/objects/aa/bb/MD5E-s1--x.nii.gz")
    pointer = tmp_path / "pointer.nii.gz"
    pointer.write_text("/annex/objects/MD5E-s1--x.nii.gz\n")
    for path in (link, pointer):
        with pytest.raises(MissingInputError, match="datalad get"):
            read_image(path)


@pytest.mark.parametrize("kept", [0, 30, 400, -20])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_files_are_refused(tmp_path, kept, suffix):
    path = save(tmp_path / f"i{suffix}", sform=np.eye(4), codes=(0, 1))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"i\.nii"):
        read_image(path)


def test_corrupt_gzip_is_refused(tmp_path):
    path = save(tmp_path / "i.nii.gz", sform=np.eye(4), codes=(0, 1))
    content = bytearray(path.read_bytes())
    content[700] ^= 0x40  # one flipped bit: only the checksum at the end tells
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_image(path)


@pytest.mark.parametrize("name", ["i.nii", "i.nii.gz", "note.txt.gz"])
def test_other_content_is_refused(tmp_path, name):
    path = tmp_path / name
    text = b"this is not an image " * 50
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    with pytest.raises(DataError, match="NIfTI"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_promises_too_much_is_refused_before_allocation(tmp_path, suffix):
    path = save(tmp_path / f"i{suffix}", sform=np.eye(4), codes=(0, 1))
    content = bytearray(gzip.decompress(path.read_bytes()) if suffix == ".nii.gz" else path.read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()  # 108 TB
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    with pytest.raises(DataError, match="declares"):
        read_image(path)


def test_other_formats_are_refused(tmp_path):
    path = tmp_path / "i.mgz"
    nib.save(nib.MGHImage(DATA, np.eye(4)), path)
    with pytest.raises(DataError, match="expected NIfTI"):
        read_image(path)


# --- labels and masks ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_integer_labels_keep_their_type(tmp_path, dtype):
    data = np.random.default_rng(2).integers(0, 200, SHAPE).astype(dtype)
    volume = read_labels(save(tmp_path / "l.nii.gz", data=data, sform=np.eye(4), codes=(0, 1)))
    np.testing.assert_array_equal(volume.data, data)
    assert volume.data.dtype == dtype
    assert volume.data.flags.c_contiguous


def test_whole_floats_are_labels_and_fractions_are_not(tmp_path):
    whole = np.random.default_rng(2).integers(0, 2036, SHAPE).astype(np.float64)
    volume = read_labels(save(tmp_path / "l.nii", data=whole, sform=np.eye(4), codes=(0, 1)))
    np.testing.assert_array_equal(volume.data, whole)
    assert volume.data.dtype == np.int32
    for bad in (DATA, np.where(whole > 100, np.nan, whole), whole * 1e9):
        path = save(tmp_path / "bad.nii", data=bad, sform=np.eye(4), codes=(0, 1))
        with pytest.raises(DataError, match="whole numbers"):
            read_labels(path)


def test_mask_on_its_own_and_on_another_grid(tmp_path, scene):
    probability = np.zeros(scene.fixed.shape, np.float32)
    probability[5:18, 8:25, 4:16] = 0.9
    path = tmp_path / "mask.nii.gz"
    write_image(probability, scene.fixed, path)
    np.testing.assert_array_equal(read_mask(path, scene.fixed), probability > 0.5)
    carried = read_mask(path, scene.working)
    image, reference = sitk.ReadImage(str(path)), tmp_path / "reference.nii.gz"
    write_image(np.ones(scene.working.shape), scene.working, reference)
    theirs = sitk.Resample(image, sitk.ReadImage(str(reference)), sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.mean(carried != (sitk.GetArrayFromImage(theirs).T > 0.5)) < 1e-4
    assert carried.any()


def test_of_a_lesion_between_thick_slices_nothing_is_lost(tmp_path):
    fine = Grid((20, 20, 30), np.diag([1.0, 1, 1, 1]))
    thick = Grid((20, 20, 6), np.diag([1.0, 1, 5, 1]))  # slices at 0, 5, 10, ... mm
    lesion = np.zeros(fine.shape, bool)
    lesion[8:10, 8:10, 12] = True  # 2 mm beside the slice at 10 mm
    write_image(lesion, fine, tmp_path / "lesion.nii.gz")

    with pytest.raises(DataError, match="no voxel inside"):
        read_mask(tmp_path / "lesion.nii.gz", thick)
    found = read_mask(tmp_path / "lesion.nii.gz", thick, whole=True)

    assert np.argwhere(found).tolist() == [[8, 8, 2], [8, 9, 2], [9, 8, 2], [9, 9, 2]]


def test_empty_or_unrelated_mask_is_refused(tmp_path, scene):
    path = tmp_path / "mask.nii.gz"
    write_image(np.zeros(scene.fixed.shape), scene.fixed, path)
    with pytest.raises(DataError, match="no voxel inside"):
        read_mask(path, scene.fixed)
    far = scene.fixed.affine.copy()
    far[:3, 3] += 1000
    write_image(np.ones(scene.fixed.shape), Grid(scene.fixed.shape, far), path)
    with pytest.raises(DataError, match="belong together"):
        read_mask(path, scene.fixed)


# --- writing -------------------------------------------------------------------------------------


def test_written_image_comes_back_and_every_reader_agrees(tmp_path, scene):
    path = tmp_path / "new" / "folder" / "image.nii.gz"
    write_image(scene.image, scene.moving, path, code=2)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.data, scene.image)
    assert volume.notes == ()
    assert volume.grid.is_close(scene.moving, tolerance_mm=1e-4)
    np.testing.assert_allclose(itk_affine(path), scene.moving.affine, atol=1e-4)
    header = nib.load(path).header
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-5)
    assert (int(header["qform_code"]), int(header["sform_code"])) == (2, 2)
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_slope_inter() in {(1.0, 0.0), (None, None)}
    assert header.get_data_dtype() == np.float32
    assert [entry.name for entry in path.parent.iterdir()] == ["image.nii.gz"]


def test_affine_of_a_copied_grid_is_bit_exact(tmp_path, scene):
    """Read, write, read: the reference's affine does not drift."""
    write_image(scene.image, scene.moving, tmp_path / "a.nii.gz")
    first = read_image(tmp_path / "a.nii.gz")
    write_image(first.data, first.grid, tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "b.nii.gz").grid.affine, first.grid.affine)


def test_same_data_same_bytes(tmp_path, scene):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_image(scene.image, scene.moving, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_written_integers_are_kept_or_refused(tmp_path, scene):
    write_image(scene.labels, scene.moving, tmp_path / "l.nii.gz", dtype=np.int16)
    np.testing.assert_array_equal(read_labels(tmp_path / "l.nii.gz").data, scene.labels)
    with pytest.raises(ValueError, match="do not fit uint8"):
        write_image(scene.labels, scene.moving, tmp_path / "x.nii.gz", dtype=np.uint8)
    with pytest.raises(ValueError, match="do not fit a grid"):
        write_image(scene.labels, scene.fixed, tmp_path / "x.nii.gz")
    assert not (tmp_path / "x.nii.gz").exists()


def test_unwritable_place_is_an_output_error(tmp_path, scene):
    (tmp_path / "image.nii.gz").mkdir()  # a folder is in the way
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(scene.image, scene.moving, tmp_path / "image.nii.gz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.nii.gz"]
