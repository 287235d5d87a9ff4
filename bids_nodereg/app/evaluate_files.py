"""Evaluations from files to files: one, or one for each row of a table."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.evaluate import Evidence, LabelPair, evaluate_maps
from bids_nodereg.app.evaluate_results import Result, write_results
from bids_nodereg.app.labels import read_lookup
from bids_nodereg.errors import NodeRegError, UsageError
from bids_nodereg.imaging.chain_files import TransformFile, read_chain, transform_file
from bids_nodereg.imaging.points import pair_points, read_points
from bids_nodereg.imaging.volume import read_image, read_labels, read_mask
from bids_nodereg.tables import read_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bids_nodereg.app.evaluate import Evaluation
    from bids_nodereg.app.evaluate_results import Outputs
    from bids_nodereg.geometry import Grid

LOG = logging.getLogger("nodereg")

TOGETHER = (("fixed_dseg", "moving_dseg"), ("fixed_points", "moving_points"))
LISTS = ("transform", "inverse", "truth")
SEPARATOR = ";"
"""Between the transforms in one cell of a table."""


@dataclass(frozen=True)
class Request:
    """One evaluation, in files.

    Attributes
    ----------
    name
        What the row is called.
    fixed, moving
        Images; only their grids are looked at.
    transform, inverse, truth
        Map from fixed to moving points, the map back, and the true map, in ANTs order.
    fixed_dseg, moving_dseg, lookup
        Label maps, and the table of their names (columns ``index``, ``name``).
    fixed_mask
        Where the map is measured.
    fixed_points, moving_points
        Landmarks.

    Raises
    ------
    UsageError
        If there is no transform, or one of two files that belong together is missing.
    """

    name: str
    fixed: Path
    transform: tuple[TransformFile, ...]
    moving: Path | None = None
    inverse: tuple[TransformFile, ...] = ()
    truth: tuple[TransformFile, ...] = ()
    fixed_dseg: Path | None = None
    moving_dseg: Path | None = None
    lookup: Path | None = None
    fixed_mask: Path | None = None
    fixed_points: Path | None = None
    moving_points: Path | None = None

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if not self.transform:
            msg = "a transform is missing: give --transform, or fill the column transform."
            raise UsageError(msg)
        for pair in TOGETHER:
            given = [name for name in pair if getattr(self, name) is not None]
            if len(given) == 1:
                msg = f"{given[0]} is given alone; {pair[0]} and {pair[1]} belong together."
                raise UsageError(msg)
        if self.lookup is not None and self.fixed_dseg is None:
            msg = "lookup names the labels of fixed_dseg and moving_dseg, which are missing."
            raise UsageError(msg)

    def files(self) -> list[Path]:
        """Every file that is read."""
        values = [getattr(self, field.name) for field in fields(self)]
        chains = [file.path for value in values if isinstance(value, tuple) for file in value]
        return chains + [value for value in values if isinstance(value, Path)]


COLUMNS = tuple(field.name for field in fields(Request))


def evaluate_one(request: Request, outputs: Outputs, *, threads: int = 1) -> None:
    """Read, measure and write one evaluation.

    Raises
    ------
    NodeRegError
        If a file is missing or cannot be used or written.
    """
    outputs.refuse_to_replace(request.files())
    write_results([Result(request.name, evaluate_request(request, threads=threads))], outputs)


def evaluate_table(path: Path, outputs: Outputs, *, threads: int = 1) -> int:
    """Do every row of a table; one that fails is told and the others go on.

    Parameters
    ----------
    path
        Tab-separated, with the fields of :class:`Request` as columns. Paths are relative to the folder
        of the table; several transforms in a cell are separated by semicolons.
    outputs, threads
        As in :func:`evaluate_one`.

    Returns
    -------
    int
        Exit code: 1 when a row failed, else 0.

    Raises
    ------
    NodeRegError
        If the table cannot be read or the results cannot be written.
    """
    rows = read_tasks(path, ("fixed", "transform"), COLUMNS, "evaluation")
    named = (
        path.parent / cell.strip() for _, row in rows for text in row.values() for cell in text.split(";")
    )
    outputs.refuse_to_replace([path, *named])
    results = [_isolated(path, number, row, threads) for number, row in rows]
    write_results(results, outputs)
    return int(any(result.evaluation is None for result in results))


def evaluate_request(request: Request, *, threads: int = 1) -> Evaluation:
    """Read the files of a request and measure its map.

    Raises
    ------
    NodeRegError
        If a file is missing or cannot be used.
    """
    grid = _grid(request.fixed)
    evidence = Evidence(
        mask=None if request.fixed_mask is None else read_mask(request.fixed_mask, grid),
        labels=_labels(request),
        points=(
            pair_points(read_points(request.fixed_points), read_points(request.moving_points))
            if request.fixed_points is not None and request.moving_points is not None
            else None
        ),
        truth=read_chain(request.truth) if request.truth else None,
        moving_grid=None if request.moving is None else _grid(request.moving),
    )
    inverse = read_chain(request.inverse) if request.inverse else None
    return evaluate_maps(read_chain(request.transform), grid, evidence, inverse=inverse, threads=threads)


def request_from_row(row: Mapping[str, str], folder: Path) -> Request:
    """Turn the cells of a table into a request; relative paths start in ``folder``.

    Raises
    ------
    UsageError
        If a required cell is empty, or as :class:`Request`.
    """
    if not row.get("fixed"):
        msg = "the column fixed is empty."
        raise UsageError(msg)
    values: dict[str, Any] = {}
    for column, cell in row.items():
        if not cell:
            continue
        if column in LISTS:
            values[column] = tuple(
                transform_file(part, folder) for part in cell.split(SEPARATOR) if part.strip()
            )
        else:
            values[column] = cell if column == "name" else folder / cell
    values.setdefault("transform", ())
    values.setdefault("name", default_name(values["transform"]))
    return Request(**values)


def default_name(transform: Sequence[TransformFile]) -> str:
    """Name an evaluation after the file of its first transform, without the ending."""
    return transform[0].path.name.split(".")[0] if transform else "unnamed"


def _isolated(path: Path, number: int, row: Mapping[str, str], threads: int) -> Result:
    """One row of a table; an expected error becomes one line and the row's result."""
    name = row.get("name") or f"line {number}"
    try:
        request = request_from_row(row, path.parent)
        return Result(request.name, evaluate_request(request, threads=threads))
    except NodeRegError as error:
        LOG.error("%s: line %d: %s", path, number, error)  # noqa: TRY400 - one clear line, no traceback
        return Result(name, problem=str(error))


def _grid(path: Path) -> Grid:
    volume = read_image(path)
    for note in volume.notes:
        LOG.warning("%s: %s", path, note)
    return volume.grid


def _labels(request: Request) -> LabelPair | None:
    if request.fixed_dseg is None or request.moving_dseg is None:
        return None
    names = {} if request.lookup is None else read_lookup(request.lookup)
    return LabelPair(read_labels(request.fixed_dseg), read_labels(request.moving_dseg), names)
