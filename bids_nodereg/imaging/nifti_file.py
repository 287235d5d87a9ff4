"""Opening a NIfTI file: nothing is believed before it is checked against what the file can hold.

The header is read here, at most 540 bytes of it, and given to nibabel only to be understood. nibabel's own
``load`` also reads the header's extensions, whose sizes stand in the file itself and can be anything;
nothing of them is needed. Voxels are read in pieces into memory that the system gives page by page, so that
a header which promises more than is there costs no more than what is there.
"""

from __future__ import annotations

import gzip
import logging
import stat
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.volumeutils import apply_read_scaling

from bids_nodereg.errors import DataError, MissingInputError, NodeRegError
from bids_nodereg.imaging.gzip_files import open_compressed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_VOXELS = 2**30  # a cube of 1024; more is a broken header or needs cropping first
MAX_GZIP_RATIO = 1040  # deflate cannot do better than 1032 : 1
MAX_OFFSET = 2**26  # bytes of header extensions before the voxels; DICOM headers take a few MiB
MAX_REST = 2**26  # bytes after the voxels that are read to reach the checksum at the end of a gzip file
PIECE = 2**22  # bytes read at a time
GZIP_MAGIC = b"\x1f\x8b"
NIFTI_1, NIFTI_2 = 348, 540
"""Bytes of the header, which are its first number."""

ANNEX_POINTER = b"/annex/objects/"  # first bytes of a git-annex file without its content
LFS_POINTER = b"version https://git-lfs"

# first bytes (and where they stand) -> what the file is
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "a DICOM file"),
    (0, b"\x00\x00\x00\x01\x00\x00", "a FreeSurfer .mgh file"),
    (0, GZIP_MAGIC, "a compressed file (such as FreeSurfer's .mgz)"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x89HDF", "an HDF5 file (MINC 2, transforms)"),
    (0, b"CDF", "a MINC 1 file"),
    (0, b"NRRD", "an NRRD file"),
    (0, b"<", "a web page or XML"),
    (0, b"{", "JSON text"),
)

_SILENT = logging.Logger("nibabel's remarks on a header", logging.CRITICAL + 1)


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """A NIfTI file whose header has been read and checked, and whose voxels have not.

    Attributes
    ----------
    path
        The file.
    header
        nibabel's header.
    shape
        Voxels along each axis, one to seven.
    dtype
        Type of a voxel as stored, with its byte order.
    offset
        Bytes before the first voxel.
    scaling
        Factor and summand that make intensities of stored values.
    """

    path: Path
    header: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    scaling: tuple[float, float]

    def read(self) -> tuple[NDArray[Any], int]:
        """Read all voxels, with the header's scaling, and the file to its end, where gzip's checksum is.

        Returns
        -------
        NDArray
            ``shape``, in Fortran order.
        int
            Number of bytes that follow the voxels.

        Raises
        ------
        DataError
            If the file breaks off, does not decompress, or goes on for long after the voxels.
        """
        raw = np.empty(int(np.prod(self.shape)), self.dtype)
        try:
            with opened_stream(self.path) as stream:
                stream.seek(self.offset)
                fill(stream, raw, self.path)
                rest = read_rest(stream, self.path)
            return apply_read_scaling(raw.reshape(self.shape, order="F"), *self.scaling), rest
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(self.path, error) from error


def open_nifti(path: Path) -> NiftiFile:
    """Read the header of a NIfTI-1 or NIfTI-2 file and check it against the file's size.

    Raises
    ------
    MissingInputError
        If the file is not there, cannot be read, or its content was not fetched (git-annex, Git LFS).
    DataError
        If the file is damaged, is no single-file NIfTI, or its header promises what the file cannot hold.
    """
    check_present(path)
    try:
        with opened_stream(path) as stream:
            first = stream.read(NIFTI_2)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error
    size = _header_size(first)
    if size is None or len(first) < size:
        raise _not_nifti(path, first, size)
    try:
        return _understood(first[:size], size, path)
    except (nib.spatialimages.HeaderDataError, ValueError, OverflowError, KeyError) as error:
        msg = f"{path}: not a readable NIfTI image ({error}). Its header is damaged: export the image again."
        raise DataError(msg) from error


def check_present(path: Path) -> None:
    """Tell a missing file from one whose content is elsewhere, and whether its name fits what it is.

    Raises
    ------
    MissingInputError
        If it is not there, is a folder, may not be read, or git-annex or Git LFS have not fetched it.
    DataError
        If it is empty, or its name says compressed and it is not, or the other way round.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for somebody to write to it
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            msg = f"{path}: {what}, expected a NIfTI file. Check the path."
            raise MissingInputError(msg)
        with path.open("rb") as file:
            first = file.read(NIFTI_2)
    except OSError as error:
        raise _unreadable(path, error) from error
    if first.startswith(ANNEX_POINTER):
        msg = (
            f"{path}: a git-annex pointer; the content has not been fetched. Run 'datalad get' "
            "(or 'git annex get') on it."
        )
        raise MissingInputError(msg)
    if first.startswith(LFS_POINTER):
        msg = f"{path}: a Git LFS pointer; the content has not been fetched. Run 'git lfs pull'."
        raise MissingInputError(msg)
    if not first:
        msg = f"{path}: the file is empty (0 bytes); not a readable NIfTI image. Fetch or export it again."
        raise DataError(msg)
    is_named, is_gzip = path.suffix == ".gz", first.startswith(GZIP_MAGIC)
    if is_named and not is_gzip and _header_size(first) is None:
        raise _not_nifti(path, first, None)
    if is_named and not is_gzip:
        msg = (
            f"{path}: the name ends in .gz and the file is not compressed. Rename it to .nii, or compress it."
        )
        raise DataError(msg)
    if is_gzip and path.suffix == ".nii":
        msg = f"{path}: the file is compressed (gzip) and its name does not end in .gz. Rename it to .nii.gz."
        raise DataError(msg)


def opened_stream(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed where its name ends in ``.gz``."""
    return open_compressed(path) if path.suffix == ".gz" else path.open("rb")


def fill(stream: IO[bytes], values: NDArray[Any], path: Path) -> None:
    """Fill a contiguous array from a stream, piece by piece.

    Raises
    ------
    DataError
        If the stream ends before.
    """
    flat: Any = values.reshape(-1, order="A").view(np.uint8)
    room = memoryview(flat)
    done = 0
    while done < len(room):
        count = stream.readinto(room[done : done + PIECE])  # type: ignore[attr-defined]
        if not count:
            raise damaged(path, EOFError(f"it ends after {done} of {len(room)} bytes of voxels"))
        done += count


def read_rest(stream: IO[bytes], path: Path) -> int:
    """Read a stream to its end; returns how many bytes there were.

    Raises
    ------
    DataError
        If there are more than a writer's padding can explain: what decompresses without end is given up.
    """
    count = 0
    while piece := stream.read(PIECE):
        count += len(piece)
        if count > MAX_REST:
            msg = (
                f"{path}: more than {MAX_REST} bytes follow the voxels that the header declares. The header "
                "does not belong to this file: export it again."
            )
            raise DataError(msg)
    return count


def check_size(file: NiftiFile) -> None:
    """Refuse a header that promises more than the file can hold, before any memory is asked for.

    The number of voxels is limited in one volume; a series may have any number of volumes.

    Raises
    ------
    DataError
        If it does.
    """
    voxels, volumes = (int(np.prod(each, dtype=object)) for each in (file.shape[:3], file.shape[3:]))
    on_disk = file.path.stat().st_size
    needed = voxels * volumes * file.dtype.itemsize
    capacity = on_disk * MAX_GZIP_RATIO if file.path.suffix == ".gz" else on_disk
    if voxels > MAX_VOXELS or file.offset + needed > capacity:
        msg = (
            f"{file.path}: the header declares {volumes} volumes of {voxels} voxels ({needed} bytes), the "
            f"file has {on_disk} bytes (limit {MAX_VOXELS} voxels in a volume). The file is cut short or "
            "its header is damaged: fetch it again."
        )
        raise DataError(msg)


def check_real(file: NiftiFile) -> None:
    """Refuse voxels that are not one real number each.

    Raises
    ------
    DataError
        If they are complex, colours, or of no type.
    """
    if file.dtype.kind not in "iufb":
        kinds = {"c": "complex", "V": "RGB"}
        kind = kinds.get(file.dtype.kind, "no numbers") if file.dtype.itemsize else "of no type"
        msg = f"{file.path}: the voxels are {kind} ({file.dtype}); expected one real number each. Convert it."
        raise DataError(msg)


def damaged(path: Path, error: BaseException) -> DataError:
    """Build the error for a file whose content breaks off or does not decompress."""
    kind = "gzip data are" if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error) else "file is"
    return DataError(f"{path}: the {kind} damaged or cut short ({error}). Fetch or export it again.")


def _understood(content: bytes, size: int, path: Path) -> NiftiFile:
    """Let nibabel read the bytes of a header, and check what a file must have."""
    kind: Any = nib.Nifti1Header if size == NIFTI_1 else nib.Nifti2Header
    header = kind(content, check=False)
    _check_kind(header, path)
    header.check_fix(logger=_SILENT)
    axes = int(header["dim"][0])
    shape = tuple(int(length) for length in header.get_data_shape())
    if not 1 <= axes <= 7 or len(shape) != axes or min(shape) < 1:
        msg = f"{axes} axes of {' x '.join(map(str, shape))} voxels, expected one to seven of at least 1"
        raise ValueError(msg)
    start = float(header["vox_offset"])
    if not size <= start <= MAX_OFFSET:
        msg = f"the voxels start at byte {start:g}, expected {size + 4} to {MAX_OFFSET}"
        raise ValueError(msg)
    slope, summand = header.get_slope_inter()
    scaling = (1.0 if slope is None else float(slope), 0.0 if summand is None else float(summand))
    return NiftiFile(path, header, shape, header.get_data_dtype(), int(start), scaling)


def _check_kind(header: Any, path: Path) -> None:
    """Refuse half of a pair of files, and types of voxels that cannot be read.

    Raises
    ------
    DataError
        If the file is one of these.
    """
    magic = bytes(header["magic"].item())
    if not magic.startswith(b"n+"):
        msg = (
            f"{path}: the header's magic is {magic[:4]!r}; expected b'n+1' or b'n+2', a NIfTI in one file. "
            "Half of a .hdr/.img pair or an Analyze image has to be converted; another header is damaged."
        )
        raise DataError(msg)
    code = int(header["datatype"])
    known: Any = nib.nifti1.data_type_codes
    if code not in known.dtype or not known.dtype[code].itemsize:
        label = f" ({known.label[code]})" if code in known.label else ""
        msg = (
            f"{path}: the voxels are of NIfTI type {code}{label}, which cannot be read; expected whole "
            "numbers or floating point numbers of 32 or 64 bits. Convert it."
        )
        raise DataError(msg)


def _header_size(first: bytes) -> int | None:
    """Size of the header that the first number tells, in either byte order; None when it is none."""
    told = {int.from_bytes(first[:4], "little"), int.from_bytes(first[:4], "big")}
    return next((size for size in (NIFTI_1, NIFTI_2) if size in told), None)


def _not_nifti(path: Path, first: bytes, size: int | None) -> NodeRegError:
    """Say what a file without a NIfTI header is, where its first bytes tell."""
    if size is not None:
        return DataError(
            f"{path}: not a readable NIfTI image: its header of {size} bytes ends after {len(first)}. The "
            "file is cut short: fetch or export it again."
        )
    known = (name for start, magic, name in _OTHERS if first[start:].startswith(magic))
    is_what = next(known, f"a file that begins with {first[:8]!r}")
    return DataError(
        f"{path}: not a readable NIfTI image but {is_what}; expected NIfTI (.nii or .nii.gz). Convert it."
    )


def _unreadable(path: Path, error: OSError) -> MissingInputError:
    """Say why a file cannot be opened."""
    reason = error.strerror or str(error)
    if path.is_symlink() and isinstance(error, FileNotFoundError):
        return MissingInputError(
            f"{path}: a link to {path.readlink()}, which is not there: the content has not been fetched. "
            "Run 'datalad get' (or 'git annex get') on it; in a container, bind the whole data set."
        )
    if isinstance(error, FileNotFoundError):
        return MissingInputError(
            f"{path}: no such file. Check the path; in a container, check that the folder is bound."
        )
    return MissingInputError(f"{path}: cannot be read ({reason}). Check its permissions and links.")
