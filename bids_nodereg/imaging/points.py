"""Landmarks: named points in the world, from tables in RAS+ or in LPS mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.errors import DataError, UsageError
from bids_nodereg.files import write_text
from bids_nodereg.imaging.transforms import FLIP
from bids_nodereg.tables import NOT_AVAILABLE, read_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bids_nodereg.imaging.chain import PointMap

AXES = ("x", "y", "z")
DELIMITERS = {".tsv": "\t", ".csv": ","}
NAMES = ("name", "index")
"""Columns that tell points apart, the first that is there."""


@dataclass(frozen=True, eq=False)
class Points:
    """Landmarks of one image.

    Attributes
    ----------
    world
        ``(n, 3)``, RAS+ mm.
    names
        One each, all different; None when they are told apart by their order alone.
    path
        The file they came from.
    """

    world: NDArray[np.float64]
    names: tuple[str, ...] | None
    path: Path


@dataclass(frozen=True, eq=False)
class PointPair:
    """The same landmarks in both images: ``(n, 3)`` each, RAS+ mm, row by row."""

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]


def read_points(path: Path) -> Points:
    """Read landmarks, with columns ``x``, ``y``, ``z`` in mm and optionally ``name`` or ``index``.

    A ``.tsv`` file holds RAS+ coordinates, as all of BIDS; a ``.csv`` file ITK's LPS coordinates, as
    ``antsApplyTransformsToPoints`` reads it. Other columns are not looked at.

    Raises
    ------
    MissingInputError
        If the file is not there.
    DataError
        If a column is missing, a coordinate is not a finite number, a name is missing or there twice, or
        there is no point.
    UsageError
        If the name of the file ends otherwise.
    """
    if path.suffix not in DELIMITERS:
        msg = f"{path}: landmarks need a name ending in .tsv (RAS mm) or .csv (LPS mm, as ANTs)."
        raise UsageError(msg)
    rows = read_table(path, AXES, delimiter=DELIMITERS[path.suffix])
    if not rows:
        msg = f"{path}: there is no landmark in the file."
        raise DataError(msg)
    world = np.array([_position(path, number, row) for number, row in rows])
    if path.suffix == ".csv":
        world = world @ FLIP
    return Points(world, _names(path, [row for _, row in rows]), path)


def pair_points(fixed: Points, moving: Points) -> PointPair:
    """Bring landmarks of two images together: by name where both have names, else by their order.

    Raises
    ------
    DataError
        If one has a point that the other lacks.
    """
    if fixed.names is None or moving.names is None:
        if len(fixed.world) != len(moving.world):
            msg = (
                f"{fixed.path} has {len(fixed.world)} landmarks, {moving.path} has {len(moving.world)}. "
                "Without names (column name or index in both) they are matched by their order: give as many."
            )
            raise DataError(msg)
        return PointPair(fixed.world, moving.world)
    alone = sorted(set(fixed.names) ^ set(moving.names))
    if alone:
        msg = f"{fixed.path} and {moving.path}: landmarks in one of them only: {', '.join(alone)}."
        raise DataError(msg)
    place = {name: number for number, name in enumerate(moving.names)}
    return PointPair(fixed.world, moving.world[[place[name] for name in fixed.names]])


def carry_points(path: Path, mapping: PointMap, final: Path) -> None:
    """Send the landmarks of a file through a map; other columns stay as they are.

    Parameters
    ----------
    path
        As for :func:`read_points`.
    mapping
        From the world of the landmarks to that of the result, RAS+ mm.
    final
        The result, with the ending of ``path`` and its coordinates: RAS+ mm in ``.tsv``, LPS mm in ``.csv``.

    Raises
    ------
    NodeRegError
        As :func:`read_points`; also if the result cannot be written, or a cell holds what would need quotes.
    """
    moved = mapping(read_points(path).world)
    delimiter = DELIMITERS[path.suffix]
    if path.suffix == ".csv":
        moved = moved @ FLIP
    rows = [row for _, row in read_table(path, AXES, delimiter=delimiter)]
    columns = list(rows[0])
    if any(delimiter in cell or '"' in cell for row in rows for cell in row.values()):
        msg = f"{path}: a cell holds a quotation mark or {delimiter!r}. Take it out, or use a .tsv file."
        raise DataError(msg)
    lines = [delimiter.join(columns)]
    empty = NOT_AVAILABLE if path.suffix == ".tsv" else ""  # BIDS has no empty cells; other tables do
    for row, position in zip(rows, moved, strict=True):
        cells = {**row, **{axis: f"{value:.6f}" for axis, value in zip(AXES, position, strict=True)}}
        lines.append(delimiter.join(cells[column] or empty for column in columns))
    write_text(final, "\n".join(lines) + "\n")


def _position(path: Path, number: int, row: dict[str, str]) -> list[float]:
    cells = [row[axis] for axis in AXES]
    try:
        position = [float(cell) for cell in cells]
    except ValueError:
        position = [float("nan")]
    if not np.isfinite(position).all():
        msg = f"{path}: line {number}: x, y, z are {cells}; expected three numbers in mm."
        raise DataError(msg)
    return position


def _names(path: Path, rows: list[dict[str, str]]) -> tuple[str, ...] | None:
    column = next((name for name in NAMES if name in rows[0]), None)
    if column is None:
        return None
    names = tuple(row[column] for row in rows)
    if "" in names or len(set(names)) != len(names):
        msg = f"{path}: column {column} needs a different entry for each landmark, got {list(names)}."
        raise DataError(msg)
    return names
