"""Reading and writing NIfTI volumes: every trap of a file met here, and said in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_nodereg.errors import DataError
from bids_nodereg.files import atomic_path
from bids_nodereg.imaging.gzip_files import open_to_write
from bids_nodereg.imaging.header import SCANNER_CODE, read_header
from bids_nodereg.imaging.interpolate import nearest_on_grid, whole_on_grid
from bids_nodereg.imaging.nifti_file import check_real, check_size, open_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from bids_nodereg.geometry import Grid

MAX_NON_FINITE = 0.95  # some programs write the whole background as NaN


@dataclass(frozen=True, eq=False)
class Volume:
    """One three-dimensional image and where it is."""

    data: NDArray[Any]
    """Values ``(i, j, k)``, C order: float32 for an image, integer for labels."""
    grid: Grid
    """Where the voxels are, RAS+ mm, as ITK programs read it."""
    path: Path
    """The file it came from."""
    dtype: np.dtype[Any]
    """Type of the values as stored in the file."""
    notes: tuple[str, ...] = ()
    """What was unusual about the file, one sentence each."""


def read_image(path: Path) -> Volume:
    """Read an intensity image as float32.

    NaN and infinite voxels become 0, with a note. Intensities are those after the header's scaling.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file with one volume.

    Returns
    -------
    Volume
        Image with finite values that are not all the same.

    Raises
    ------
    MissingInputError
        If the file is not there, or its content was not fetched (git-annex).
    DataError
        If the file is damaged, is not a real-valued three-dimensional NIfTI volume, its affine
        cannot be used (:func:`~bids_nodereg.imaging.header.read_header`), or it holds no image.
    """
    raw, grid, stored, notes = _read(path)
    with np.errstate(over="ignore"):  # what float32 cannot hold counts as infinite
        data = np.ascontiguousarray(raw, dtype=np.float32)
    bad = int(data.size - np.count_nonzero(np.isfinite(data)))
    if bad > MAX_NON_FINITE * data.size:
        msg = f"{path}: {bad} of {data.size} voxels are NaN or infinite; there is no image. Check the file."
        raise DataError(msg)
    if bad:
        data = np.nan_to_num(data, copy=True, nan=0.0, posinf=0.0, neginf=0.0)
        notes = (*notes, f"{bad} voxels ({bad / data.size:.2%}) were NaN or infinite and are set to 0.")
    if data.min() == data.max():
        others = f" but for {bad} that are NaN or infinite" if bad else ""
        msg = (
            f"{path}: every voxel has the value {data.flat[0]:g}{others}; there is no image. Check the file."
        )
        raise DataError(msg)
    return Volume(data, grid, path, stored, notes)


def read_labels(path: Path) -> Volume:
    """Read a label map (segmentation) with integer values.

    An integer type is kept. A floating-point file is accepted when every value is whole, and
    read as int32.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file with one volume.

    Raises
    ------
    MissingInputError, DataError
        As :func:`read_image`; also when values are not whole numbers of at most 32 bits.
    """
    raw, grid, stored, notes = _read(path)
    limits = np.iinfo(np.int32)
    with np.errstate(invalid="ignore"):  # of a NaN that signals
        whole = np.issubdtype(raw.dtype, np.integer) or bool((np.isfinite(raw) & (raw == np.rint(raw))).all())
    if not whole or raw.min() < limits.min or raw.max() > limits.max:
        msg = (
            f"{path}: a label map needs whole numbers of at most 32 bits, got {raw.dtype} values between "
            f"{raw.min():g} and {raw.max():g}. A probability map has to be thresholded first."
        )
        raise DataError(msg)
    dtype = raw.dtype if np.issubdtype(raw.dtype, np.integer) else np.dtype(np.int32)
    return Volume(np.ascontiguousarray(raw, dtype=dtype.newbyteorder("=")), grid, path, stored, notes)


def read_mask(path: Path, grid: Grid, *, whole: bool = False) -> NDArray[np.bool_]:
    """Read a mask onto a grid; inside is where the stored value is above 0.5.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file: a mask or a probability map.
    grid
        Where the mask is wanted. When the file's grid differs, each voxel takes the value of the
        nearest voxel of the file, and what the file does not cover is outside.
    whole
        Lose no piece of the file's mask that is smaller than a voxel, such as a lesion between thick
        slices (:func:`~bids_nodereg.imaging.interpolate.whole_on_grid`).

    Returns
    -------
    NDArray[np.bool_]
        ``(i, j, k)`` on ``grid``, with at least one voxel inside.

    Raises
    ------
    MissingInputError, DataError
        As :func:`read_image`; also when the mask is empty on the grid.
    """
    raw, own_grid, _, _ = _read(path)
    mask = np.ascontiguousarray(raw > 0.5)
    if not own_grid.is_close(grid):
        mask = (whole_on_grid if whole else nearest_on_grid)(mask, own_grid, grid)
    if not mask.any():
        msg = f"{path}: the mask has no voxel inside the image it is for. Check that the two belong together."
        raise DataError(msg)
    return mask


def write_image(
    data: NDArray[Any], grid: Grid, final: Path, *, dtype: DTypeLike = np.float32, code: int = SCANNER_CODE
) -> None:
    """Write a volume atomically as NIfTI-1 with equal qform and sform, in mm, without scaling.

    The same data always gives the same bytes.

    Parameters
    ----------
    data
        Values ``(i, j, k)``; a Boolean mask counts as 0 and 1.
    grid
        Where the voxels are; its affine is written to both forms.
    final
        The file, ending in ``.nii`` or ``.nii.gz``.
    dtype
        Type on disk.
    code
        What the affine is, for both forms: 1 scanner, 2 aligned to another image, 4 MNI152.

    Raises
    ------
    OutputError
        If the file cannot be written.
    ValueError
        If the shapes differ, or a value does not fit an integer ``dtype``.
    """
    dtype = np.dtype(dtype)
    if data.shape != grid.shape:
        msg = f"write_image: data of shape {data.shape} do not fit a grid of shape {grid.shape}"
        raise ValueError(msg)
    stored = data.astype(dtype)
    if np.issubdtype(dtype, np.integer) and not np.array_equal(stored, data):
        msg = f"write_image: values between {data.min()} and {data.max()} do not fit {dtype}"
        raise ValueError(msg)
    save_nifti(stored, grid, final, code=code)


def save_nifti(data: NDArray[Any], grid: Grid, final: Path, *, code: int, intent: str = "none") -> None:
    """Save an array as it is (type, extra axes) on a grid, atomically; see :func:`write_image`."""
    nifti_image: Any = nib.Nifti1Image  # nibabel's classes are only partly typed
    image = nifti_image(data, None, dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.set_qform(grid.affine, code)
    image.set_sform(grid.affine, code)
    with atomic_path(final) as temporary, open_to_write(temporary) as file:
        image.to_stream(file)


def _read(path: Path) -> tuple[NDArray[Any], Grid, np.dtype[Any], tuple[str, ...]]:
    """Read real values (i, j, k), the grid, the stored type and the notes of a NIfTI file."""
    file = open_nifti(path)
    check_real(file)
    grid, notes = read_header(file, path)
    check_size(file)
    raw, rest = file.read()
    if rest:
        notes = (*notes, f"{rest} bytes follow the voxels that the header declares; they are not used.")
    return raw.reshape(grid.shape, order="F"), grid, file.dtype, notes
