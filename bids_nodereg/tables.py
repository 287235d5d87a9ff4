"""Tables as text: rows by the names of their columns, and a JSON dictionary beside a TSV file."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from bids_nodereg.bounded import read_bounded
from bids_nodereg.errors import DataError, MissingInputError
from bids_nodereg.files import write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from bids_nodereg.errors import NodeRegError

    Row = dict[str, str]
    Lines = list[tuple[int, list[str]]]

NOT_AVAILABLE = "n/a"


def read_table(path: Path, required: Collection[str] = (), *, delimiter: str = "\t") -> list[tuple[int, Row]]:
    """Read the rows of a table with a heading.

    Parameters
    ----------
    path
        A UTF-8 text file. Cells are not quoted in a tab-separated table, and may be in others.
    required
        Columns that have to be there; others may be.
    delimiter
        What separates the cells.

    Returns
    -------
    list of (int, dict)
        Line number, and cell by column; ``n/a`` and missing cells are empty. Empty lines are left out.

    Raises
    ------
    MissingInputError
        If the file cannot be read.
    DataError
        If it is not text, larger than any table, a column is missing or there twice, or a row has too many
        cells.
    """
    columns, lines = read_cells(path, delimiter=delimiter)
    missing = sorted(set(required) - set(columns))
    if missing or len(set(columns)) != len(columns):
        kind = "tab" if delimiter == "\t" else delimiter
        wanted = ", ".join(required)
        msg = f"{path}: the columns (separated by {kind}) are {columns}; expected {wanted}, each name once."
        raise DataError(msg)
    return as_rows(path, columns, lines)


def read_tasks(
    path: Path, required: Collection[str], columns: Collection[str], each: str
) -> list[tuple[int, Row]]:
    """Read a tab-separated table that says what to do: as :func:`read_table`, and nothing unknown in it.

    Parameters
    ----------
    path, required
        As in :func:`read_table`.
    columns
        All columns that mean something.
    each
        What a row is, for the message, such as ``file``.

    Raises
    ------
    MissingInputError, DataError
        As :func:`read_table`; also if there is another column, or no row.
    """
    rows = read_table(path, required)
    unknown = sorted({name for _, row in rows for name in row} - set(columns))
    if unknown or not rows:
        what = f"unknown columns {', '.join(unknown)}" if unknown else "no rows"
        msg = f"{path}: the table has {what}; expected one {each} a row, with {', '.join(columns)}."
        raise DataError(msg)
    return rows


def read_cells(
    path: Path, *, delimiter: str = "\t", what: str = "table", problem: type[NodeRegError] = DataError
) -> tuple[list[str], Lines]:
    """Split a table into its heading, and its other lines with their numbers; nothing is checked of them.

    ``what`` is how messages call it.

    Raises
    ------
    MissingInputError
        If the file cannot be read.
    NodeRegError
        ``problem``, if it is not text, or larger than any table.
    """
    lines_of_text = io.StringIO(_text(path, what, problem), newline=None)
    if delimiter == "\t":
        reader = csv.reader(lines_of_text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines_of_text, delimiter=delimiter)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        msg = f"{path}: line {reader.line_num} cannot be read ({error})."
        raise problem(msg) from error
    return (lines[0][1], lines[1:]) if lines else ([], [])


def as_rows(
    path: Path, columns: Sequence[str], lines: Lines, problem: type[NodeRegError] = DataError
) -> list[tuple[int, Row]]:
    """Put the cells of the lines under their columns, as :func:`read_table` returns them.

    Raises
    ------
    NodeRegError
        ``problem``, if a line has too many cells.
    """
    rows = []
    for number, cells in lines:
        if len(cells) > len(columns):
            msg = f"{path}: line {number} has {len(cells)} cells, expected {len(columns)}."
            raise problem(msg)
        if any(cells):
            known = ["" if cell == NOT_AVAILABLE else cell for cell in cells]
            padded = [*known, *[""] * (len(columns) - len(cells))]
            rows.append((number, dict(zip(columns, padded, strict=True))))
    return rows


def write_table(
    final: Path, rows: Sequence[Mapping[str, str]], dictionary: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write a TSV file and, under the same name with ``.json``, what its columns mean, both atomically.

    Parameters
    ----------
    final
        The file, ending in ``.tsv``.
    rows
        Cell by column; one that a row lacks is ``n/a``.
    dictionary
        Description by column, in the order of the columns, as BIDS has it: ``LongName``,
        ``Description``, ``Units``, ``Levels``.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    text = io.StringIO()
    columns = list(dictionary)
    writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n", restval=NOT_AVAILABLE)
    writer.writeheader()
    writer.writerows({column: _cell(row[column]) for column in row} for row in rows)
    write_json(final.with_suffix(".json"), dictionary)
    write_text(final, text.getvalue())


def _cell(value: str) -> str:
    """One line, no tab: what BIDS allows in a cell, which knows no quotes."""
    return " ".join(value.split()).replace('"', "'") or NOT_AVAILABLE


def _text(path: Path, what: str, problem: type[NodeRegError]) -> str:
    try:
        return read_bounded(path).decode("utf-8-sig")
    except OSError as error:
        msg = f"{path}: the {what} cannot be read ({error.strerror or error}). Check the path."
        raise MissingInputError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: the {what} is not UTF-8 text ({error})."
        raise problem(msg) from error
    except ValueError as error:
        msg = f"{path}: the {what} cannot be read: {error}. Is it the right file?"
        raise problem(msg) from error
