"""Reading transforms of any program that writes ITK's files, as one chain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.errors import DataError, UsageError
from bids_nodereg.imaging.chain import Chain
from bids_nodereg.imaging.maps import DisplacementField
from bids_nodereg.imaging.matlab4 import read_matrices
from bids_nodereg.imaging.transforms import (
    AFFINE_TYPES,
    affine_from_parameters,
    check_file,
    read_affine_txt,
    read_displacement_nifti,
    read_parts_h5,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bids_nodereg.imaging.chain import Part


@dataclass(frozen=True)
class TransformFile:
    """One transform as it is named on a command line: ``FILE``, or ``[FILE,1]`` for its inverse."""

    path: Path
    invert: bool = False


def transform_file(text: str, folder: Path = Path()) -> TransformFile:
    """Read the way ANTs names a transform; a relative path starts in ``folder``.

    Examples
    --------
    >>> transform_file("[affine.mat, 1]").invert
    True
    """
    match = re.fullmatch(r"\[\s*(.+?)\s*,\s*([01])\s*\]", text.strip())
    if match is None:
        return TransformFile(folder / text.strip())
    return TransformFile(folder / match[1], match[2] == "1")


def read_chain(files: Sequence[TransformFile | Path]) -> Chain:
    """Read transforms in the order of ``antsApplyTransforms -t``: the first acts first on fixed points.

    Understood by the ending of the name: ``.h5`` (ITK composite of any number of parts), ``.txt`` and
    ``.tfm`` (ITK text, one affine), ``.mat`` (ITK's binary affine, as ANTs writes it), ``.nii`` and
    ``.nii.gz`` (displacements, five axes, LPS mm).

    Raises
    ------
    MissingInputError
        If a file is not there or may not be read.
    DataError
        If a file is damaged or holds a transform of another kind.
    UsageError
        If the ending is another one, or the inverse of something not affine is asked for.
    """
    parts: list[Part] = []
    for file in (each if isinstance(each, TransformFile) else TransformFile(each) for each in files):
        own = _read_parts(file.path)
        parts += _inverted(own, file.path) if file.invert else own
    return Chain(tuple(parts))


def _inverted(parts: list[Part], path: Path) -> list[Part]:
    matrix = Chain(tuple(parts)).affine
    if any(isinstance(part, DisplacementField) for part in parts) or np.linalg.det(matrix[:3, :3]) == 0:
        msg = f"[{path},1]: only an affine can be inverted. Give the file with the inverse displacement."
        raise UsageError(msg)
    return [np.asarray(np.linalg.inv(matrix), np.float64)]


def _read_parts(path: Path) -> list[Part]:
    """Parts of one file, in the order in which they act."""
    check_file(path)
    for endings, read in _READERS.items():
        if path.name.lower().endswith(endings):
            try:
                return read(path)
            except ValueError as error:  # a grid that cannot be
                msg = f"{path}: not a usable transform ({error}). Write it again."
                raise DataError(msg) from error
    known = ", ".join(ending for endings in _READERS for ending in endings)
    msg = f"{path}: a transform is known by its ending, expected one of {known}."
    raise UsageError(msg)


def _read_composite(path: Path) -> list[Part]:
    """All parts of an ITK file; of a composite the part that was added last acts first."""
    read = read_parts_h5(path)
    parts = [part for part in read if part is not None]
    if not parts or (len(parts) > 1 and read[0] is not None):
        msg = f"{path}: holds {len(parts)} transforms; expected one, or one composite. Write it again."
        raise DataError(msg)
    return parts[::-1]


def _read_mat(path: Path) -> list[Part]:
    """One affine in the MATLAB 4 form of ITK: its parameters, and the centre as ``fixed``."""
    try:
        content = read_matrices(path)
    except (OSError, ValueError) as error:
        msg = f"{path}: not a readable ITK .mat transform ({error}). Write it again."
        raise DataError(msg) from error
    kinds = [name for name in content if name != "fixed"]
    if len(kinds) != 1 or kinds[0].split("_")[0] not in AFFINE_TYPES or "fixed" not in content:
        msg = f"{path}: holds {kinds or 'nothing'}; expected one of {', '.join(AFFINE_TYPES)}. Convert it."
        raise DataError(msg)
    return [affine_from_parameters(content[kinds[0]], content["fixed"], path)]


_READERS: dict[tuple[str, ...], Callable[[Path], list[Part]]] = {
    (".h5", ".hdf5"): _read_composite,
    (".txt", ".tfm"): lambda path: [read_affine_txt(path)],
    (".mat",): _read_mat,
    (".nii.gz", ".nii"): lambda path: [read_displacement_nifti(path)],
}
