"""The door to ITK's transform conventions: the only place where LPS exists.

Inside the program world points are RAS+; ITK's are LPS (x and y negated). All tools agree on the
files written here (SimpleITK, ANTs, nitransforms; tests hold them together):

* composite ``.h5``: group 0 the composite, then its parts; the part added *last* acts first;
* affine as ITK text: matrix row by row, translation, centre 0;
* displacement NIfTI: five axes ``(i, j, k, 1, 3)``, LPS mm, float32, unscaled, intent 1007
  (vector). Intent 1006 would make newer ITK read RAS, older ITK LPS.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.files import atomic_path, write_text
from bids_nodereg.geometry import Grid
from bids_nodereg.imaging.chain import Chain, chain_of
from bids_nodereg.imaging.gzip_files import LEVEL, deflated
from bids_nodereg.imaging.h5_parts import read_h5
from bids_nodereg.imaging.h5_program import FIELD_GRID_NUMBERS
from bids_nodereg.imaging.header import SCANNER_CODE, read_header
from bids_nodereg.imaging.maps import DisplacementField, SpatialMap
from bids_nodereg.imaging.nifti_file import check_real, check_size, open_nifti
from bids_nodereg.imaging.volume import save_nifti

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.imaging.chain import Part
    from bids_nodereg.imaging.h5_parts import H5Part

FLIP = np.diag([-1.0, -1.0, 1.0])  # RAS <-> LPS, its own inverse
FLIP_VECTOR = np.array([-1, -1, 1], dtype=np.float32)
VECTOR_INTENT = 1007
AFFINE_TYPES = ("AffineTransform", "MatrixOffsetTransformBase")
FIELD_TYPE = "DisplacementFieldTransform"
PRECISION = "_double_3_3"  # so that readers keep the affine exact; the field is stored as float32
LONGEST_TEXT = 2**16  # bytes of a text file that are looked at; an affine has some hundred
MOST_PARTS = 9  # nitransforms sorts the groups of a file as strings, and the composite itself is group 0
CHUNK = 2**18  # values in one compressed piece of an h5 field (1 MiB)


def write_composite_h5(final: Path, mapping: SpatialMap | Chain) -> None:
    """Write a total map as an ITK composite transform, float32 displacements, compressed.

    Parameters
    ----------
    final
        The file, ending in ``.h5``.
    mapping
        Forward or inverse map, or several of them one after the other; without a field the composite
        holds affines alone.

    Raises
    ------
    OutputError
        If the file cannot be written.
    ValueError
        If a field's grid is sheared, which ITK cannot express, or there are more parts than all
        programs read in order.
    """
    chain = chain_of(mapping)
    parts = chain.parts[::-1]  # the one added last acts first
    if len(parts) > MOST_PARTS:
        msg = f"a composite may have at most {MOST_PARTS} parts, got {len(parts)}: compose some of them first"
        raise ValueError(msg)
    for part in parts:
        if isinstance(part, DisplacementField):
            _check_orthogonal(part.grid)
    content = _composite(parts)
    with atomic_path(final) as temporary:
        temporary.write_bytes(content)


def _composite(parts: Sequence[Part]) -> bytes:
    """Content of an ITK file, made in memory: the HDF5 library can crash where a disk is full."""
    with h5py.File("composite", "w", driver="core", backing_store=False) as file:
        for name, value in _ORIGIN_OF_FILE.items():
            _write_strings(file, name, value)
        _write_strings(file, "TransformGroup/0/TransformType", "CompositeTransform" + PRECISION)
        for number, part in enumerate(parts, start=1):
            group = file.create_group(f"TransformGroup/{number}")
            if isinstance(part, DisplacementField):
                _write_field_group(group, part)
            else:
                _write_affine_group(group, np.asarray(part, np.float64))
        file.flush()
        return bytes(file.id.get_file_image())


def read_composite_h5(path: Path) -> SpatialMap:
    """Read an ITK transform file with at most one affine and one displacement field.

    Files of this program, SimpleITK and ANTs are understood, in either precision.

    Raises
    ------
    MissingInputError
        If there is no such file.
    DataError
        If the file is damaged or holds other transforms.
    """
    check_file(path)
    return _as_map([part for part in read_parts_h5(path) if part is not None], path)


def read_parts_h5(path: Path) -> list[NDArray[np.float64] | DisplacementField | None]:
    """All transforms of an ITK file in their order: 4 x 4 (RAS+ mm), a field, or None for a composite's own.

    Raises
    ------
    DataError
        If the file is damaged or holds other transforms.
    """
    try:
        return [_from_part(part, path) for part in read_h5(path)]
    except ValueError as error:
        msg = f"{path}: not a readable ITK transform file ({error}). Write it again."
        raise DataError(msg) from error


def write_affine_txt(final: Path, affine: NDArray[np.float64]) -> None:
    """Write a 4 x 4 affine (RAS+ mm, fixed to moving points) as ITK text, atomically."""
    numbers = " ".join(repr(float(value)) for value in _affine_parameters(affine))
    write_text(
        final,
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n",
    )


def read_affine_txt(path: Path) -> NDArray[np.float64]:
    """Read an ITK text file with one affine; returns 4 x 4, RAS+ mm.

    Raises
    ------
    MissingInputError
        If there is no such file.
    DataError
        If the file holds anything but one affine of three dimensions.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            lines = file.read(LONGEST_TEXT).decode("ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
        kind = fields["Transform"].strip().split("_")[0]
        parameters, centre = (
            np.array(fields[name].split(), dtype=np.float64) for name in ("Parameters", "FixedParameters")
        )
    except (KeyError, ValueError) as error:
        msg = f"{path}: not a readable ITK text transform ({error!r}). Write it again."
        raise DataError(msg) from error
    several = sum(line.startswith("Transform:") for line in lines) != 1
    if several or kind not in AFFINE_TYPES:
        msg = f"{path}: expected one affine transform, got {'several' if several else kind}."
        raise DataError(msg)
    return affine_from_parameters(parameters, centre, path)


def write_displacement_nifti(final: Path, field: DisplacementField) -> None:
    """Write a displacement field as the one NIfTI form that all ITK programs read alike, atomically.

    Raises
    ------
    OutputError
        If the file cannot be written.
    ValueError
        If the field's grid is sheared, which ITK cannot express.
    """
    _check_orthogonal(field.grid)
    lps = (field.vectors * FLIP_VECTOR)[:, :, :, np.newaxis, :]
    save_nifti(lps, field.grid, final, code=SCANNER_CODE, intent="vector")


def read_displacement_nifti(path: Path) -> DisplacementField:
    """Read a displacement field in the form :func:`write_displacement_nifti` gives.

    Raises
    ------
    MissingInputError
        If there is no such file.
    DataError
        If the file is not a five-axis vector image of intent 1007.
    """
    check_file(path)
    file = open_nifti(path)
    check_real(file)
    intent = int(file.header["intent_code"])
    if len(file.shape) != 5 or file.shape[3:] != (1, 3) or intent != VECTOR_INTENT:
        msg = (
            f"{path}: got shape {file.shape} and intent {intent}; a displacement field needs (i, j, k, 1, 3) "
            f"and intent {VECTOR_INTENT} (vectors in LPS mm). Convert it with an ITK program."
        )
        raise DataError(msg)
    check_size(file)
    grid = read_header(replace(file, shape=file.shape[:3]), path, least=1).grid
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
        vectors = np.asarray(file.read()[0], dtype=np.float32)[:, :, :, 0, :] * FLIP_VECTOR
    return DisplacementField(grid, _finite(vectors, path))


_ORIGIN_OF_FILE = {"HDFVersion": h5py.version.hdf5_version, "ITKVersion": "5", "OSName": "", "OSVersion": ""}


def _write_strings(group: Any, name: str, value: str) -> None:
    """Write text the way ITK does: an array of one string."""
    group.create_dataset(name, data=np.array([value], dtype=object), dtype=h5py.string_dtype("ascii"))


def _write_affine_group(group: Any, affine: NDArray[np.float64]) -> None:
    _write_strings(group, "TransformType", "AffineTransform" + PRECISION)
    group.create_dataset("TransformFixedParameters", data=np.zeros(3))
    group.create_dataset("TransformParameters", data=_affine_parameters(affine))


def _write_field_group(group: Any, field: DisplacementField) -> None:
    """Write grid and vectors: component fastest, then i, j, k."""
    grid = field.grid
    lps = FLIP @ grid.direction
    fixed = [*grid.shape, *(FLIP @ grid.affine[:3, 3]), *grid.spacing, *lps.ravel()]
    _write_strings(group, "TransformType", FIELD_TYPE + PRECISION)
    group.create_dataset("TransformFixedParameters", data=np.array(fixed, dtype=np.float64))
    count = 3 * int(np.prod(grid.shape))
    size = min(CHUNK, count)
    values = group.create_dataset(
        "TransformParameters",
        shape=(count,),
        dtype="<f4",
        chunks=(size,),
        compression="gzip",
        compression_opts=LEVEL,
        shuffle=True,
    )
    # HDF5 would compress by zlib, and keep all other threads waiting meanwhile.
    for number, piece in enumerate(_pieces(field, size)):
        bytes_apart = np.ascontiguousarray(piece.astype("<f4").view(np.uint8).reshape(-1, 4).T)
        values.id.write_direct_chunk((number * size,), deflated(bytes_apart.tobytes()))


def _pieces(field: DisplacementField, size: int) -> Iterator[NDArray[np.float32]]:
    """All components in the order of the file (LPS), so many at a time; zeros fill the last piece."""
    rest = np.empty(0, np.float32)
    for k in range(field.grid.shape[2]):
        plane = (field.vectors[:, :, k] * FLIP_VECTOR).transpose(1, 0, 2)
        rest = np.concatenate([rest, plane.ravel()])
        while rest.size >= size:
            yield rest[:size]
            rest = rest[size:]
    if rest.size:
        yield np.pad(rest, (0, size - rest.size))


def _from_part(part: H5Part, path: Path) -> NDArray[np.float64] | DisplacementField | None:
    """Make a transform of what the file tells; None for the composite's own, empty entry."""
    kind, fixed = part.kind.split("_")[0], part.fixed
    if kind == "CompositeTransform":
        return None
    if kind in AFFINE_TYPES:
        return affine_from_parameters(part.parameters, fixed, path)
    if kind != FIELD_TYPE or len(fixed) != FIELD_GRID_NUMBERS:
        msg = f"{path}: holds a {kind}; only affine transforms and displacement fields of 3-D are understood."
        raise DataError(msg)
    i, j, k = (int(size) for size in fixed[:3])
    affine = np.eye(4)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused below
        affine[:3, :3] = FLIP @ fixed[9:].reshape(3, 3) * fixed[6:9]
        affine[:3, 3] = FLIP @ fixed[3:6]
        vectors = part.parameters.reshape(k, j, i, 3).transpose(2, 1, 0, 3) * FLIP_VECTOR
    return DisplacementField(Grid((i, j, k), affine), _finite(vectors, path))


def _as_map(parts: list[NDArray[np.float64] | DisplacementField], path: Path) -> SpatialMap:
    """Put the parts, in the order of the file, into one map."""
    kinds = ["field" if isinstance(part, DisplacementField) else "affine" for part in parts]
    if kinds not in (["affine"], ["field"], ["affine", "field"], ["field", "affine"]):
        msg = f"{path}: holds {kinds or 'nothing'}; expected at most one affine and one displacement field."
        raise DataError(msg)
    affine, field = np.eye(4), None
    for part in parts:
        if isinstance(part, DisplacementField):
            field = part
        else:
            affine = part
    return SpatialMap(affine, field, affine_first=kinds == ["field", "affine"])


def _affine_parameters(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twelve ITK parameters (LPS): the matrix row by row, then the translation."""
    return np.concatenate([(FLIP @ affine[:3, :3] @ FLIP).ravel(), FLIP @ affine[:3, 3]])


def affine_from_parameters(
    parameters: NDArray[np.float64], centre: NDArray[np.float64], path: Path
) -> NDArray[np.float64]:
    """Undo :func:`_affine_parameters`, for any centre c: y = M (x - c) + c + t."""
    if parameters.shape != (12,) or centre.shape != (3,):
        got = f"{parameters.size} and {centre.size}"
        msg = f"{path}: an affine of 3-D needs 12 parameters and a centre of 3 numbers, got {got}."
        raise DataError(msg)
    matrix = parameters[:9].reshape(3, 3)
    if not (
        np.isfinite(parameters).all() and np.isfinite(centre).all() and np.linalg.matrix_rank(matrix) == 3
    ):
        msg = f"{path}: the affine has numbers that are none, or no inverse. Make the transform again."
        raise DataError(msg)
    affine = np.eye(4)
    affine[:3, :3] = FLIP @ matrix @ FLIP
    affine[:3, 3] = FLIP @ (parameters[9:] + centre - matrix @ centre)
    return affine


def _finite(vectors: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Refuse displacements that are no numbers."""
    bad = vectors.size - int(np.count_nonzero(np.isfinite(vectors)))
    if bad:
        msg = f"{path}: {bad} of {vectors.size} displacements are NaN or infinite. Make the transform again."
        raise DataError(msg)
    return vectors


def _check_orthogonal(grid: Grid) -> None:
    if not np.allclose(grid.direction.T @ grid.direction, np.eye(3), atol=1e-4):
        msg = (
            f"a displacement field needs a grid with right angles for ITK, got affine {grid.affine.tolist()}"
        )
        raise ValueError(msg)


def check_file(path: Path) -> None:
    """Refuse a transform file that is not there or may not be read.

    Raises
    ------
    MissingInputError
        If it is one.
    """
    if not path.is_file():
        msg = f"{path}: no such transform file. Check the path."
        raise MissingInputError(msg)
    try:
        path.open("rb").close()
    except OSError as error:
        msg = f"{path}: the transform file cannot be read ({error.strerror or error}). Check its permissions."
        raise MissingInputError(msg) from error
