"""Fast gzip: any other program reads it, it reads any other's, and damage is told in the same words."""

import gzip
import struct
import sys
import zlib
from importlib import reload

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation gives it

from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging import gzip_files
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.transforms import read_composite_h5, write_composite_h5, write_displacement_nifti
from bids_nodereg.imaging.volume import read_image, write_image

SHAPE = (23, 19, 21)
GRID = Grid(SHAPE, np.diag([2.0, 1.5, 3.0, 1.0]))


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    """Each test with the package, and as on a machine without it."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(gzip_files, "IsalFile", gzip.GzipFile)
        monkeypatch.setattr(gzip_files, "compress", zlib.compress)
    return request.param


@pytest.fixture
def values():
    return np.random.default_rng(3).normal(100, 20, SHAPE).astype(np.float32)


def written(path, content: bytes) -> bytes:
    with gzip_files.open_to_write(path) as file:
        file.write(content)
    return path.read_bytes()


def read(path) -> bytes:
    with gzip_files.open_compressed(path) as file:
        return file.read()


@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_001])
def test_the_standard_library_reads_what_is_written_and_the_other_way_round(tmp_path, library, size):
    content = np.random.default_rng(size).integers(0, 40, size, np.uint8).tobytes()
    path = tmp_path / "a.nii.gz"
    assert gzip.decompress(written(path, content)) == content
    assert read(path) == content
    path.write_bytes(gzip.compress(content, 9))
    assert read(path) == content
    half = size // 2
    path.write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]) + bytes(512))
    assert read(path) == content, "two members and padding, as bgzip and tape leave them"


def test_neither_name_nor_time_is_in_a_file(tmp_path, library):
    first, second = (written(tmp_path / name, b"voxels" * 99) for name in ("a.gz", "another.gz"))
    assert first == second
    flags, time = first[3], struct.unpack("<I", first[4:8])[0]
    assert (flags, time) == (0, 0)


def test_the_name_says_whether_a_file_is_compressed(tmp_path, library):
    assert written(tmp_path / "a.nii", b"voxels") == b"voxels"


def test_a_stream_can_be_read_from_a_place_onwards(tmp_path, library):
    written(tmp_path / "a.gz", bytes(range(256)) * 400)
    with gzip_files.open_compressed(tmp_path / "a.gz") as file:
        file.seek(352)
        room = bytearray(100)
        assert file.readinto(room) == 100
        assert bytes(room) == bytes(i % 256 for i in range(352, 452))


DAMAGES = {
    "cut short": lambda whole: whole[: len(whole) // 2],
    "cut before the checksum": lambda whole: whole[:-8],
    "another checksum": lambda whole: whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
    "another length": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "a bit in the middle": lambda whole: (
        whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 4]) + whole[len(whole) // 2 + 1 :]
    ),
    "an invalid block": lambda whole: whole[:10] + b"\xff" * 40 + whole[50:],
    "text behind": lambda whole: whole + b"text that is no gzip member",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_in_the_standard_librarys_words(tmp_path, library, values, damage):
    path = tmp_path / "sub-01_T1w.nii.gz"
    write_image(values, GRID, path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises((OSError, EOFError, zlib.error)):
        read(path)
    with pytest.raises(DataError, match=r"sub-01_T1w.nii.gz: the gzip data are damaged or cut short"):
        read_image(path)


def test_nibabel_and_itk_read_the_images(tmp_path, library, values):
    path = tmp_path / "image.nii.gz"
    write_image(values, GRID, path)
    assert np.array_equal(nib.load(path).get_fdata(dtype=np.float32), values)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, values)
    assert np.array_equal(read_image(path).data, values)


def test_what_nibabel_writes_is_what_is_written(tmp_path, library, values):
    """Only the compression is ours: the bytes inside are those that nibabel's own saving gives."""
    write_image(values, GRID, tmp_path / "ours.nii.gz")
    nib.save(nib.load(tmp_path / "ours.nii.gz"), tmp_path / "theirs.nii.gz")
    files = [tmp_path / f"{name}.nii.gz" for name in ("ours", "theirs")]
    ours, theirs = (gzip.decompress(file.read_bytes()) for file in files)
    assert ours == theirs


def test_a_field_reads_alike_in_every_form(tmp_path, library):
    vectors = np.random.default_rng(5).normal(0, 2, (*SHAPE, 3)).astype(np.float32)
    field = DisplacementField(GRID, vectors)
    write_displacement_nifti(tmp_path / "warp.nii.gz", field)
    write_composite_h5(tmp_path / "map.h5", SpatialMap(np.eye(4), field))
    lps = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "warp.nii.gz"))).transpose(2, 1, 0, 3)
    assert np.array_equal(lps * [-1, -1, 1], vectors)
    assert np.array_equal(read_composite_h5(tmp_path / "map.h5").field.vectors, vectors)
    composite = sitk.ReadTransform(str(tmp_path / "map.h5"))
    point = np.array([20.0, 12.0, 30.0])  # a voxel centre: (10, 8, 10)
    moved = np.array(composite.TransformPoint((point * [-1, -1, 1]).tolist())) * [-1, -1, 1]
    assert np.allclose(moved - point, vectors[10, 8, 10], atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 5, 6), (64, 64, 50), (300, 300, 4)])
def test_h5_pieces_hold_every_value_in_order(tmp_path, library, shape):
    """HDF5's own filters give back what was compressed beside them, also in a last piece that is not full."""
    vectors = np.arange(3 * np.prod(shape), dtype=np.float32).reshape(*shape, 3)
    path = tmp_path / "map.h5"
    write_composite_h5(path, SpatialMap(np.eye(4), DisplacementField(Grid(shape, np.eye(4)), vectors)))
    with h5py.File(path) as file:
        values = next(
            group["TransformParameters"]
            for group in file["TransformGroup"].values()
            if len(group.get("TransformParameters", ())) > 12
        )
        assert (values.compression, values.shuffle, values.dtype) == ("gzip", True, np.dtype("<f4"))
        expected = (vectors * [-1, -1, 1]).transpose(2, 1, 0, 3).ravel()
        assert np.array_equal(values[:], expected)
    assert path.stat().st_size < vectors.nbytes + 20_000, "what HDF5 itself needs"


def test_a_machine_without_the_package_takes_the_standard_library(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "bids_nodereg.imaging.isal_files", None)
        assert reload(gzip_files).IsalFile is gzip.GzipFile
    reload(gzip_files)
