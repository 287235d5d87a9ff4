"""One file to carry for each row of a table."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.apply_files import GROUPS, Request, apply_request, with_sidecars
from bids_nodereg.errors import NodeRegError, UsageError
from bids_nodereg.imaging.chain_files import transform_file
from bids_nodereg.tables import read_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bids_nodereg.imaging.chain_files import TransformFile
    from bids_nodereg.imaging.resample import Interpolation

LOG = logging.getLogger("nodereg")

REQUIRED = ("input", "kind", "transform", "out")
OPTIONAL = ("reference", "interpolation")
INTERPOLATIONS = ("linear", "cubic", "nearest")
SEPARATOR = ";"
"""Between the transforms in one cell."""

FIELDS: dict[str, str] = {**{kind: group for group, kind in GROUPS.items()}, "points": "points"}
"""Field of a request by the kind of a row."""


def apply_table(path: Path, *, interpolation: Interpolation | None = None, threads: int = 1) -> int:
    """Do every row of a table; one that fails is told and the others go on.

    Parameters
    ----------
    path
        Tab-separated, with columns :data:`REQUIRED` and :data:`OPTIONAL`; paths are relative to its
        folder, several transforms in a cell are separated by semicolons.
    interpolation
        Of the rows that do not say it; None: linear.
    threads
        Number of slabs worked on at a time.

    Returns
    -------
    int
        Exit code: 1 when a row failed, else 0.

    Raises
    ------
    NodeRegError
        If the table cannot be read, two rows have one result or one sidecar of it, or a result would
        replace what another row reads.
    """
    rows = read_tasks(path, REQUIRED, (*REQUIRED, *OPTIONAL), "file")
    _check_results(path, rows)
    word = interpolation or INTERPOLATIONS[0]
    failures = [_failed(path, number, row, word, threads) for number, row in rows]
    return int(any(failures))


def _check_results(path: Path, rows: Sequence[tuple[int, Mapping[str, str]]]) -> None:
    """See that no row writes what belongs to an input of any row, or to the result of another."""
    inputs = set(with_sidecars([path, *(file for _, row in rows for file in _files_read(row, path.parent))]))
    seen: dict[Path, int] = {}
    for number, row in rows:
        if not row["out"]:
            continue  # told when the row is done
        for written in with_sidecars([path.parent / row["out"]]):
            if written in inputs or written in seen:
                what = f"line {seen[written]} writes" if written in seen else "some row reads"
                msg = (
                    f"{path}: line {number}: {row['out']} or its JSON sidecar is what {what}, or a sidecar "
                    "of that. Each row needs a name of its own."
                )
                raise UsageError(msg)
            seen[written] = number


def _files_read(row: Mapping[str, str], folder: Path) -> list[Path]:
    files = [folder / row[column] for column in ("input", "reference") if row.get(column)]
    return [*files, *(file.path for file in _transforms(row, folder))]


def _transforms(row: Mapping[str, str], folder: Path) -> tuple[TransformFile, ...]:
    parts = (part for part in row["transform"].split(SEPARATOR) if part.strip())
    return tuple(transform_file(part, folder) for part in parts)


def request_from_row(row: Mapping[str, str], folder: Path, interpolation: str) -> Request:
    """Turn the cells of a row into a request; relative paths start in ``folder``.

    ``interpolation`` is that of a row that does not say it.

    Raises
    ------
    UsageError
        If a cell is empty or holds a word that is not known, or as :class:`Request`.
    """
    empty = [name for name in REQUIRED if not row[name]]
    if empty:
        msg = f"the column {empty[0]} is empty."
        raise UsageError(msg)
    interpolation = row.get("interpolation") or interpolation
    for word, words in ((row["kind"], tuple(FIELDS)), (interpolation, INTERPOLATIONS)):
        if word not in words:
            msg = f"{word!r} is not known here; expected one of {', '.join(words)}."
            raise UsageError(msg)
    values: dict[str, Any] = {FIELDS[row["kind"]]: (folder / row["input"],), "interpolation": interpolation}
    reference = folder / row["reference"] if row.get("reference") else None
    return Request(transform=_transforms(row, folder), reference=reference, out=folder / row["out"], **values)


def _failed(path: Path, number: int, row: Mapping[str, str], interpolation: str, threads: int) -> bool:
    """Do one row; an expected error becomes one line."""
    try:
        apply_request(request_from_row(row, path.parent, interpolation), threads=threads)
    except NodeRegError as error:
        LOG.error("%s: line %d: %s", path, number, error)  # noqa: TRY400 - one clear line, no traceback
        return True
    return False
