"""One file to carry for each row of a table."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.apply_files import GROUPS, Request, apply_request
from bids_nodereg.errors import DataError, NodeRegError, UsageError
from bids_nodereg.imaging.chain_files import transform_file
from bids_nodereg.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOG = logging.getLogger("nodereg")

REQUIRED = ("input", "kind", "transform", "out")
OPTIONAL = ("reference", "interpolation")
INTERPOLATIONS = ("linear", "cubic", "nearest")
SEPARATOR = ";"
"""Between the transforms in one cell."""

FIELDS: dict[str, str] = {**{kind: group for group, kind in GROUPS.items()}, "points": "points"}
"""Field of a request by the kind of a row."""


def apply_table(path: Path, *, threads: int = 1) -> int:
    """Do every row of a table; one that fails is told and the others go on.

    Parameters
    ----------
    path
        Tab-separated, with columns :data:`REQUIRED` and :data:`OPTIONAL`; paths are relative to its
        folder, several transforms in a cell are separated by semicolons.
    threads
        Number of slabs worked on at a time.

    Returns
    -------
    int
        Exit code: 1 when a row failed, else 0.

    Raises
    ------
    NodeRegError
        If the table cannot be read, or two rows have one result.
    """
    rows = read_table(path, REQUIRED)
    unknown = sorted({name for _, row in rows for name in row} - {*REQUIRED, *OPTIONAL})
    outs = [(path.parent / row["out"]).resolve() for _, row in rows]
    inputs = {(path.parent / row["input"]).resolve() for _, row in rows} | {path.resolve()}
    if unknown or not rows:
        what = f"unknown columns {', '.join(unknown)}" if unknown else "no rows"
        columns = ", ".join((*REQUIRED, *OPTIONAL))
        msg = f"{path}: the table has {what}; expected one file a row, with {columns}."
        raise DataError(msg)
    if len(set(outs)) < len(outs) or inputs & set(outs):
        msg = f"{path}: column out has a name twice, or one that is an input. Each row needs its own name."
        raise UsageError(msg)
    failures = [_failed(path, number, row, threads) for number, row in rows]
    return int(any(failures))


def request_from_row(row: Mapping[str, str], folder: Path) -> Request:
    """Turn the cells of a row into a request; relative paths start in ``folder``.

    Raises
    ------
    UsageError
        If a cell is empty or holds a word that is not known, or as :class:`Request`.
    """
    empty = [name for name in REQUIRED if not row[name]]
    if empty:
        msg = f"the column {empty[0]} is empty."
        raise UsageError(msg)
    interpolation = row.get("interpolation") or INTERPOLATIONS[0]
    for word, words in ((row["kind"], tuple(FIELDS)), (interpolation, INTERPOLATIONS)):
        if word not in words:
            msg = f"{word!r} is not known here; expected one of {', '.join(words)}."
            raise UsageError(msg)
    values: dict[str, Any] = {FIELDS[row["kind"]]: (folder / row["input"],), "interpolation": interpolation}
    parts = [part for part in row["transform"].split(SEPARATOR) if part.strip()]
    transform = tuple(transform_file(part, folder) for part in parts)
    reference = folder / row["reference"] if row.get("reference") else None
    return Request(transform=transform, reference=reference, out=folder / row["out"], **values)


def _failed(path: Path, number: int, row: Mapping[str, str], threads: int) -> bool:
    """Do one row; an expected error becomes one line."""
    try:
        apply_request(request_from_row(row, path.parent), threads=threads)
    except NodeRegError as error:
        LOG.error("%s: line %d: %s", path, number, error)  # noqa: TRY400 - one clear line, no traceback
        return True
    return False
