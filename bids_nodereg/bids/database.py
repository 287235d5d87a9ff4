"""Look at a pybids database before pybids opens it: it may come from anywhere.

pybids believes what a database says. One that names derivatives makes it walk through those folders and
write databases of its own, under names that the folders tell; triggers and views run as the maker wished.
So only a database of the one data set is opened, and it is looked at without a change first.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {"layout_info", "configs", "files", "entities", "tags", "associations", "config_to_entity_map"}
"""All that pybids makes."""

NO_DERIVATIVES: tuple[object, ...] = (None, False, [])
"""How a database says that it has none."""


def check_database(path: Path, root: Path) -> None:
    """Make sure that a file is a pybids database of one data set and of nothing else.

    Parameters
    ----------
    path
        The file.
    root
        Root of the data set.

    Raises
    ------
    UsageError
        If it is none, is of another data set, or would have pybids look or write elsewhere.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as database:
            others = _others(database)
            rows = database.execute("SELECT root, _derivatives FROM layout_info").fetchmany(2)
        ((told_root, told_derivatives),) = rows
        derivatives = json.loads(told_derivatives)
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        msg = f"{path}: no usable pybids database ({error}). Delete it to remake it."
        raise UsageError(msg) from error
    if others:
        msg = f"{path}: this pybids database has {', '.join(map(repr, others))} in it, which pybids does not "
        msg += "make. Do not trust it; delete it to remake it."
        raise UsageError(msg)
    if not _is_same(root, told_root):
        msg = f"{path.parent}: this pybids database is of {told_root!r}, not of {root}. Give another folder."
        raise UsageError(msg)
    if derivatives not in NO_DERIVATIVES:
        msg = f"{path.parent}: this pybids database has derivatives ({derivatives!r}), and reading it would "
        msg += "write there. Give a folder with one of the raw data alone; it is made where there is none."
        raise UsageError(msg)


def _others(database: sqlite3.Connection) -> list[str]:
    """Views, triggers and tables that are not of pybids."""
    entries = database.execute("SELECT type, name FROM sqlite_master").fetchall()
    return [
        f"{kind} {name}"
        for kind, name in entries
        if kind != "index" and (kind != "table" or name not in TABLES)
    ]


def _is_same(root: Path, told: object) -> bool:
    try:
        return isinstance(told, str) and root.samefile(told)
    except (OSError, ValueError):
        return False
