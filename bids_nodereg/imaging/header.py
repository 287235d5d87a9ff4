"""From an image header to one grid: which affine counts, in which unit, and what to tell the user.

A NIfTI header can carry two affines (qform, sform), a third set of voxel sizes (pixdim) and a
unit. nibabel and ITK read some combinations differently. The transforms this program writes are
ITK's, and are to give the same result when ITK programs apply them to the original files, so
**ITK's reading decides**; wherever nibabel would read another position a note says so.

ITK's rule, measured with SimpleITK 2.5 (ITK 5.4) and held by a test over all pairs of codes:
the sform counts when its code is 1 (scanner) and it is not sheared, or when there is no qform;
else the qform; with both codes 0, the axes are L, P, S with the first voxel at the origin. The
voxel sizes are always those of ``pixdim``; metres and microns are scaled to millimetres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import nibabel as nib
import numpy as np

from bids_nodereg.errors import DataError
from bids_nodereg.geometry import Grid, apply_affine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SCANNER_CODE = 1
MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
ITK_SHEAR_LIMIT = 1e-4  # ITK takes an sform whose unit axes are orthogonal to about this much
SHEAR_LIMIT = 1e-3  # about 0.2 mm at the end of a 200 mm axis
DISAGREEMENT_MM = 0.1  # float32 quaternions near half a turn are off by up to a few 0.01 mm
SIZE_TOLERANCE = 1e-3  # relative, between pixdim and the length of the affine's columns
VOXEL_SIZES_MM = (1e-4, 500.0)  # beyond, the header's unit is wrong: no scanner, microscope or field has such
LEAST_EXTENT_MM = 1.0  # along the longest axis; below it is no brain, and no working grid fits in
FARTHEST_MM = 1e6  # of the first voxel from the origin: beyond, float32 headers are off by millimetres
MIN_VOXELS_ALONG_AXIS = 4
"""What registration needs."""


class Header(NamedTuple):
    """What a header says once its traps are dealt with."""

    grid: Grid
    """Where the voxels are, RAS+ mm."""
    notes: tuple[str, ...]
    """What the user should know about it, one sentence each."""


def read_header(image: Any, path: Path, *, least: int = MIN_VOXELS_ALONG_AXIS) -> Header:
    """Decide the grid of a NIfTI image as ITK programs would.

    Parameters
    ----------
    image
        A ``nibabel`` NIfTI image (its voxels are not touched).
    path
        The file, for messages.
    least
        Fewest voxels along each axis that the caller can do with.

    Returns
    -------
    Header
        The grid and the notes.

    Raises
    ------
    DataError
        If the image is not three-dimensional (one volume is fine), is a thin slab, or its
        affine is sheared, singular, not finite or without voxel sizes.
    """
    shape, shape_notes = _spatial_shape(image.shape, path, least)
    with np.errstate(all="ignore"):  # numbers that overflow are refused in the end
        matrix, choice_notes = _chosen_affine(image.header, shape, path)
        matrix, size_notes = _with_header_sizes(matrix, image.header, path)
        matrix, unit_notes = _in_millimetres(matrix, image.header)
        _check_sizes(matrix, shape, image.header, path)
    return Header(Grid(shape, matrix), (*shape_notes, *choice_notes, *size_notes, *unit_notes))


def _spatial_shape(
    shape: tuple[int, ...], path: Path, least: int
) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Take the three spatial sizes; a fourth axis may only hold one volume."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) < 3 or min(sizes[:3]) < least:
        msg = (
            f"{path}: the image is {' x '.join(map(str, sizes))} voxels; expected a volume with at least "
            f"{least} along each of three axes. Leave this image out."
        )
        raise DataError(msg)
    if any(size != 1 for size in sizes[3:]):
        msg = (
            f"{path}: the image holds {int(np.prod(sizes[3:]))} volumes (shape {sizes}); expected one. "
            "Extract or average one volume first."
        )
        raise DataError(msg)
    notes: tuple[str, ...] = ()
    if len(sizes) > 3:
        notes = (f"The image has {len(sizes)} axes with a single volume; it is read as three-dimensional.",)
    i, j, k = sizes[:3]
    return (i, j, k), notes


def _chosen_affine(
    header: Any, shape: tuple[int, int, int], path: Path
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Choose between qform and sform by ITK's rule."""
    try:
        sform = header.get_sform(coded=True)[0]
        qform = header.get_qform(coded=True)[0]
    except (nib.spatialimages.HeaderDataError, ValueError) as error:
        msg = f"{path}: the header's qform cannot be read ({error}). Repair the header."
        raise DataError(msg) from error
    if sform is None and qform is None:
        return _without_affine(header, path)
    if qform is None:
        return _lone_sform(sform, path)
    if sform is None:
        _check_invertible(qform, "qform", path)
        return qform, ()
    itk_takes_sform = int(header["sform_code"]) == SCANNER_CODE and _shear(sform) <= ITK_SHEAR_LIMIT
    name, chosen = ("sform", sform) if itk_takes_sform else ("qform", qform)
    _check_invertible(chosen, name, path)
    apart_mm = _largest_distance(sform, qform, shape)
    if apart_mm <= DISAGREEMENT_MM:
        return chosen, ()
    others = "nibabel does too" if itk_takes_sform else "nibabel and programs built on it use the sform"
    note = (
        f"The sform (code {int(header['sform_code'])}) and the qform (code {int(header['qform_code'])}) "
        f"place voxels up to {apart_mm:.1f} mm apart; the {name} is used, as ITK programs (ANTs) do; "
        f"{others}."
    )
    return chosen, (note,)


def _without_affine(header: Any, path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Place the voxels as ITK does when neither form is set."""
    affine = np.diag([*(np.array([-1.0, -1.0, 1.0]) * _header_sizes(header, path)), 1.0])
    note = (
        "The header gives no position or orientation (both form codes are 0); axes L, P, S with the first "
        "voxel at the origin are assumed, as ITK programs (ANTs) do. Left and right may be swapped: check."
    )
    return affine, (note,)


def _lone_sform(sform: NDArray[np.float64], path: Path) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Take the sform where there is no qform to fall back on, unless it is sheared."""
    _check_invertible(sform, "sform", path)
    shear = _shear(sform)
    if shear > SHEAR_LIMIT:
        msg = (
            f"{path}: the sform is sheared (axes off a right angle by up to {shear:.2g} in cosine, at most "
            f"{SHEAR_LIMIT:g} is allowed) and there is no qform. ITK programs cannot read such a file: "
            "resample it to a grid with right angles."
        )
        raise DataError(msg)
    if shear > ITK_SHEAR_LIMIT:
        note = f"The sform is slightly sheared ({shear:.1g}); some ITK programs refuse to read this file."
        return sform, (note,)
    return sform, ()


def _with_header_sizes(
    matrix: NDArray[np.float64], header: Any, path: Path
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Give the affine the voxel sizes of ``pixdim`` where the two differ, as ITK does."""
    sizes = _header_sizes(header, path)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if np.allclose(lengths, sizes, rtol=SIZE_TOLERANCE, atol=0):
        return matrix, ()
    resized = matrix.copy()
    resized[:3, :3] *= sizes / lengths
    note = (
        f"The voxel size {_in_words(sizes)} differs from that of the affine, {_in_words(lengths)}; the "
        "former is used, as ITK programs (ANTs) do; nibabel and programs built on it use the latter."
    )
    return resized, (note,)


def _in_millimetres(matrix: NDArray[np.float64], header: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Convert an affine in metres or microns, as ITK does."""
    unit = units(header)[0]
    if unit not in MM_PER_UNIT:  # millimetres, or not said: then millimetres
        return matrix, ()
    converted = matrix.copy()
    converted[:3] *= MM_PER_UNIT[unit]
    note = f"The header's unit is {unit}; positions are converted to millimetres, which nibabel does not do."
    return converted, (note,)


def units(header: Any) -> tuple[str, str]:
    """Units of space and time as NIfTI calls them; ``unknown`` also for codes that it does not have."""
    space = int(header["xyzt_units"]) % 8
    codes = (space, int(header["xyzt_units"]) - space)
    known: Any = nib.nifti1.unit_codes.label
    of_space, of_time = (known.get(code, "unknown") for code in codes)
    return of_space, of_time


def _header_sizes(header: Any, path: Path) -> NDArray[np.float64]:
    """Read the voxel sizes of ``pixdim``, which must be positive."""
    sizes = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    if not (np.isfinite(sizes).all() and sizes.min() > 0):
        msg = (
            f"{path}: the header's voxel sizes are {_in_words(sizes)}; expected positive. Repair the header."
        )
        raise DataError(msg)
    return sizes


def _check_sizes(matrix: NDArray[np.float64], shape: tuple[int, int, int], header: Any, path: Path) -> None:
    """Refuse voxel sizes that cannot be: a grid would have no end, or no extent."""
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    least, most = VOXEL_SIZES_MM
    unit = f"unit in the header: {units(header)[0]}"
    if not (sizes.min() >= least and sizes.max() <= most):
        msg = (
            f"{path}: the voxel size is {_in_words(sizes)} mm ({unit}); expected between {least:g} and "
            f"{most:g}. Repair the header."
        )
        raise DataError(msg)
    if not np.abs(matrix[:3, 3]).max() <= FARTHEST_MM:
        msg = (
            f"{path}: the first voxel lies at {matrix[:3, 3].tolist()} mm ({unit}); expected at most "
            f"{FARTHEST_MM:g} from the origin. Repair the header."
        )
        raise DataError(msg)
    extent = sizes * shape
    if extent.max() < LEAST_EXTENT_MM:
        msg = (
            f"{path}: the whole image is {_in_words(extent)} mm ({unit}); expected {LEAST_EXTENT_MM:g} mm "
            "or more. Repair the header."
        )
        raise DataError(msg)


def _check_invertible(matrix: NDArray[np.float64], name: str, path: Path) -> None:
    """Refuse an affine that does not give every voxel its own place."""
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix[:3, :3]) < 3:
        msg = (
            f"{path}: the header's {name} is not an invertible matrix: {matrix.tolist()}. Repair the header."
        )
        raise DataError(msg)


def _shear(matrix: NDArray[np.float64]) -> float:
    """Largest |cosine| between two different axes of an affine; 0 is orthogonal, NaN counts as sheared."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        return float("inf")
    direction = matrix[:3, :3] / lengths
    return float(np.abs(direction.T @ direction - np.eye(3)).max())


def _largest_distance(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, int, int]
) -> float:
    """Largest distance in mm between the places two affines give to a corner voxel."""
    ends = [(0, size - 1) for size in shape]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(8, 3)
    return float(np.linalg.norm(apply_affine(one, corners) - apply_affine(other, corners), axis=1).max())


def _in_words(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
