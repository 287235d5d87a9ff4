"""Reading and writing NIfTI volumes: every trap of a file met here, and said in words."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.files import atomic_path
from bids_nodereg.imaging.header import SCANNER_CODE, read_header
from bids_nodereg.imaging.interpolate import nearest_on_grid, whole_on_grid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from bids_nodereg.geometry import Grid

MAX_VOXELS = 2**30  # a cube of 1024; more is a broken header or needs cropping first
MAX_GZIP_RATIO = 1040  # deflate cannot do better than 1032 : 1
MAX_NON_FINITE = 0.95  # some programs write the whole background as NaN
ANNEX_POINTER = b"/annex/objects/"  # first bytes of a git-annex file without its content


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
        msg = f"{path}: every voxel has the value {data.flat[0]:g}; there is no image. Check the file."
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
    with atomic_path(final) as temporary:
        nib.save(image, temporary)


def opened(path: Path) -> Any:
    """Open an image file with nibabel; its voxels are not read yet.

    Raises
    ------
    MissingInputError
        If the file is not there, or its content was not fetched (git-annex).
    DataError
        If the file is damaged or of no format that nibabel knows.
    """
    check_present(path)
    try:
        return nib.load(path)
    except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, ValueError) as error:
        msg = f"{path}: not a readable NIfTI image ({error}). Expected .nii or .nii.gz."
        raise DataError(msg) from error
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error


def _read(path: Path) -> tuple[NDArray[Any], Grid, np.dtype[Any], tuple[str, ...]]:
    """Read real values (i, j, k), the grid, the stored type and the notes of a NIfTI file."""
    image = opened(path)
    known: Any = nib.Nifti1Image  # Nifti2Image is a child of it
    if not isinstance(image, known):
        msg = f"{path}: the format is {type(image).__name__}; expected NIfTI (.nii or .nii.gz). Convert it."
        raise DataError(msg)
    stored = image.get_data_dtype()
    if stored.kind not in "iufb":
        kind = "complex" if stored.kind == "c" else "RGB"
        msg = f"{path}: the voxels are {kind} ({stored}); expected one real number each. Convert it."
        raise DataError(msg)
    grid, notes = read_header(image, path)
    check_size(image, path)
    try:
        raw = np.asanyarray(image.dataobj)
        _check_whole(path)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise damaged(path, error) from error
    return raw.reshape(grid.shape, order="F"), grid, stored, notes


def check_present(path: Path) -> None:
    """Tell a missing file from one whose content git-annex has not fetched."""
    if path.is_symlink() and not path.exists():
        msg = (
            f"{path}: a link to {path.readlink()}, which is not there: the content has not been fetched. "
            "Run 'datalad get' (or 'git annex get') on it; in a container, bind the whole data set."
        )
        raise MissingInputError(msg)
    if not path.is_file():
        msg = f"{path}: no such file. Check the path; in a container, check that the folder is bound."
        raise MissingInputError(msg)
    with path.open("rb") as file:
        if file.read(len(ANNEX_POINTER)) == ANNEX_POINTER:
            msg = f"{path}: a git-annex pointer; the content has not been fetched. Run 'datalad get' on it."
            raise MissingInputError(msg)


def check_size(image: Any, path: Path) -> None:
    """Refuse a header that promises more than the file can hold, before any memory is asked for.

    The number of voxels is limited in one volume; a series may have any number of volumes.
    """
    sizes = [int(size) for size in image.shape]
    voxels, volumes = (int(np.prod(each, dtype=object)) for each in (sizes[:3], sizes[3:]))
    on_disk = path.stat().st_size
    needed = voxels * volumes * image.get_data_dtype().itemsize
    capacity = on_disk * MAX_GZIP_RATIO if path.suffix == ".gz" else on_disk - int(image.dataobj.offset)
    if voxels > MAX_VOXELS or needed > capacity:
        msg = (
            f"{path}: the header declares {volumes} volumes of {voxels} voxels ({needed} bytes), the file "
            f"has {on_disk} bytes (limit {MAX_VOXELS} voxels in a volume). The file is cut short or its "
            "header is damaged: fetch it again."
        )
        raise DataError(msg)


def _check_whole(path: Path) -> None:
    """Read a compressed file to its end, where gzip's checksum is; nibabel stops before it."""
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            while file.read(2**20):
                pass


def damaged(path: Path, error: BaseException) -> DataError:
    """Build the error for a file whose content breaks off or does not decompress."""
    kind = "gzip data are" if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error) else "file is"
    return DataError(f"{path}: the {kind} damaged or cut short ({error}). Fetch or export it again.")
