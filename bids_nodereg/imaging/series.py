"""NIfTI files of one or many volumes, read and written one volume at a time.

A series may be far larger than the memory: neither it nor its result is ever held whole.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.volumeutils import apply_read_scaling

from bids_nodereg.errors import DataError
from bids_nodereg.files import atomic_path
from bids_nodereg.imaging.gzip_files import open_to_write
from bids_nodereg.imaging.header import read_header, units
from bids_nodereg.imaging.nifti_file import (
    NiftiFile,
    check_real,
    check_size,
    damaged,
    fill,
    open_nifti,
    opened_stream,
    read_rest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from bids_nodereg.geometry import Grid

DATA_OFFSET = 352  # of a NIfTI-1 file: the header of 348 bytes, and four that say that no extension follows


@dataclass(frozen=True)
class Times:
    """The fourth axis of a file."""

    count: int
    """Number of volumes."""
    step: float
    """From one volume to the next, in ``unit``."""
    unit: str
    """As NIfTI calls it, such as ``sec``."""


@dataclass(frozen=True, eq=False)
class Series:
    """A NIfTI file whose volumes have not been read yet.

    Attributes
    ----------
    path
        The file.
    grid
        Where the voxels of each volume are, RAS+ mm, as ITK programs read it.
    dtype
        Type of the values once the header's scaling is applied.
    times
        The fourth axis; None for a file of three axes.
    notes
        What was unusual about the header, one sentence each.
    file
        The file with its header.
    """

    path: Path
    grid: Grid
    dtype: np.dtype[Any]
    times: Times | None
    notes: tuple[str, ...]
    file: NiftiFile

    @property
    def count(self) -> int:
        """Number of volumes."""
        return 1 if self.times is None else self.times.count

    def volumes(self) -> Iterator[NDArray[Any]]:
        """Read one volume ``(i, j, k)`` after the other, with the header's scaling.

        Raises
        ------
        DataError
            If the file breaks off or does not decompress.
        """
        file = self.file
        try:
            with opened_stream(self.path) as stream:
                stream.seek(file.offset)
                for _ in range(self.count):
                    raw = np.empty(self.grid.shape, file.dtype, order="F")
                    fill(stream, raw, self.path)
                    yield apply_read_scaling(raw, *file.scaling)
                read_rest(stream, self.path)  # gzip's checksum is at the end
        except (OSError, EOFError, zlib.error) as error:
            raise damaged(self.path, error) from error


def open_series(path: Path) -> Series:
    """Look at the header of a NIfTI file of three or four axes.

    Raises
    ------
    MissingInputError
        If the file is not there, or its content was not fetched (git-annex).
    DataError
        If the file is damaged, is no NIfTI image of real numbers in three or four axes, or its affine
        cannot be used (:func:`~bids_nodereg.imaging.header.read_header`).
    """
    file = open_nifti(path)
    check_real(file)
    shape = file.shape
    if any(size != 1 for size in shape[4:]):
        msg = (
            f"{path}: the shape is {shape}; expected a NIfTI image of real numbers with three or four axes. "
            "A displacement field is given as a transform. Convert others."
        )
        raise DataError(msg)
    check_size(file)
    grid, notes = read_header(replace(file, shape=shape[:3]), path, least=1)
    times = None
    if len(shape) > 3 and shape[3] > 1:
        step = float(file.header["pixdim"][4])
        times = Times(shape[3], step, units(file.header)[1])
    dtype = file.dtype if file.scaling == (1, 0) else np.dtype(np.float64)
    return Series(path, grid, dtype, times, notes, file)


@contextmanager
def write_series(
    final: Path, grid: Grid, times: Times | None, *, dtype: DTypeLike, code: int
) -> Iterator[Callable[[NDArray[Any]], object]]:
    """Write a NIfTI-1 file volume by volume, atomically, with equal qform and sform and no scaling.

    Parameters
    ----------
    final
        The file, ending in ``.nii`` or ``.nii.gz``.
    grid
        Where the voxels are.
    times
        The fourth axis, or None.
    dtype
        Type on disk.
    code
        What the affine is, for both forms: 1 scanner, 2 aligned to another image, 4 MNI152.

    Yields
    ------
    callable
        Takes the next volume, ``(i, j, k)``; as many as ``times`` has are to be given.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    create: Any = nib.Nifti1Header
    header = create()
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape(grid.shape if times is None else (*grid.shape, times.count))
    header.set_qform(grid.affine, code)
    header.set_sform(grid.affine, code)
    header.set_xyzt_units("mm", None if times is None else times.unit)
    header.set_slope_inter(1, 0)
    header.set_data_offset(DATA_OFFSET)
    if times is not None:
        header["pixdim"][4] = times.step
    with atomic_path(final) as temporary, open_to_write(temporary) as file:
        header.write_to(file)
        file.write(bytes(DATA_OFFSET - file.tell()))
        yield lambda volume: file.write(np.asarray(volume, dtype).tobytes(order="F"))
