"""Small sound files to begin with, made here so that none has to be kept: bytes by target."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from safetensors.numpy import save as save_tensors
from scipy.io import savemat

from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.transforms import write_affine_txt, write_composite_h5, write_displacement_nifti

SHAPE = (4, 5, 6)
AFFINE = np.array([[-2.0, 0.1, 0, 5], [0.1, 2, 0, -3], [0, 0, 3, 1], [0, 0, 0, 1]])


def niftis() -> list[bytes]:
    """NIfTI-1 and -2, both byte orders, several types, three to five axes, with and without an extension."""
    random = np.random.default_rng(0)
    whole = random.integers(0, 200, SHAPE)
    files = [_nifti(whole.astype(kind)) for kind in ("u1", "i2", "i8", "f4", "f8", "c8")]
    files += [_nifti(whole.astype("i2"), big=True), _nifti(whole.astype("f4"), version=2)]
    files += [_nifti(np.stack([whole, whole], -1).astype("i2")), _nifti(whole.astype("i2"), extension=True)]
    return files


def fields() -> list[bytes]:
    """Displacement fields as NIfTI."""
    return [_written(lambda path: write_displacement_nifti(path, _field()), ".nii")]


def composites() -> list[bytes]:
    """ITK transforms in HDF5: a field and an affine, and an affine alone."""
    maps = (SpatialMap(np.eye(4), _field()), SpatialMap(AFFINE))
    return [_written(lambda path, each=each: write_composite_h5(path, each), ".h5") for each in maps]


def affine_texts() -> list[bytes]:
    """ITK transforms as text."""
    return [_written(lambda path: write_affine_txt(path, AFFINE), ".txt")]


def matlab() -> list[bytes]:
    """ITK transforms as MATLAB 4 files."""
    content = {"AffineTransform_double_3_3": np.arange(12.0)[:, None], "fixed": np.zeros((3, 1))}
    forms = ("4", "5")
    return [_written(lambda path, form=form: savemat(path, content, format=form), ".mat") for form in forms]


def json_texts() -> list[bytes]:
    """Descriptions, filter files, sidecars."""
    contents = (
        {"Name": "x", "BIDSVersion": "1.10.0", "License": "CC0", "GeneratedBy": [{"Name": "y"}]},
        {"t1w": {"session": "A", "acquisition": ["x", None]}, "t2w": {"run": 1}, "bold": {}},
        {"age": {"Units": "months"}, "Sources": ["bids::sub-01"], "SpatialReference": "bids::x"},
    )
    return [json.dumps(content).encode() for content in contents]


def tables() -> list[bytes]:
    """Tables of pairs, of landmarks, of sessions, of things to do."""
    return [
        b"fixed\tmoving\tfixed_mask\nsub-01/anat/sub-01_T1w.nii.gz\tbids::sub-01/anat/sub-01_T2w.nii.gz\tn/a\n",
        b"name\tx\ty\tz\na\t1.5\t-2\t3e1\nb\t0\t0\t0\n",
        b"session_id\tacq_time\tage\nses-A\t2020-01-02T03:04:05\t1.5\nses-B\tn/a\t2\n",
        b"\xef\xbb\xbffixed\tmoving\r\na\tb\r\n",
    ]


def settings() -> list[bytes]:
    """Settings files."""
    return [
        b'[settings]\nworking_resolution_mm = 1.5\ntransform = "rigid"\n[settings.affine]\nkeep = 2\n',
        b"[settings.registration.weights]\ngradient = 1\n[settings.registration.velocity]\nname = 'grid'\n",
    ]


def weights() -> list[bytes]:
    """Weights of a network."""
    return [save_tensors({"a": np.ones((2, 3), np.float32), "b": np.zeros(1, np.int64)})]


def _nifti(data: np.ndarray, *, big: bool = False, version: int = 1, extension: bool = False) -> bytes:
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=">" if big else "<")
    header.set_data_dtype(data.dtype)
    image = (nib.Nifti1Image if version == 1 else nib.Nifti2Image)(data, AFFINE, header)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm", "sec")
    if extension:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"words"))
    return bytes(image.to_bytes())


def _field() -> DisplacementField:
    return DisplacementField(Grid(SHAPE, np.diag([2.0, 2, 2, 1])), np.zeros((*SHAPE, 3), np.float32))


def _written(write: object, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"seed{suffix}"
        write(path)  # type: ignore[operator]
        return path.read_bytes()


def compressed(content: bytes) -> bytes:
    """The same bytes for the same content."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, mtime=0) as file:
        file.write(content)
    return stream.getvalue()
