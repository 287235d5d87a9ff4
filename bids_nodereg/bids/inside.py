"""Nothing is written outside of the output folder: the one place where names and links are checked.

Names of outputs are made of what files of the data set are called, and of what other programs called
theirs. Whatever those hold, a name that is written is letters, digits, ``+``, ``-`` and ``_`` with an
extension, in folders of the same kind.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from bids_nodereg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LONGEST_NAME = 255
"""Characters of a file name that every file system takes; ours are ASCII, so these are bytes too."""

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_-]*(\.[A-Za-z0-9]+){1,2}")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+-]*")


def checked_name(name: str) -> str:
    """Give the name of an output file back, if it is one that may be written.

    Raises
    ------
    OutputError
        If it could lead elsewhere, or is longer than file systems take.

    Examples
    --------
    >>> checked_name("sub-01_T1w.nii.gz")
    'sub-01_T1w.nii.gz'
    """
    if not _FILE.fullmatch(name):
        msg = (
            f"{name!r}: no name for an output; expected letters, digits, '+', '-', '_' and an extension. "
            "Rename the images that it is made of."
        )
        raise OutputError(msg)
    if len(name) > LONGEST_NAME:
        msg = (
            f"{name}: {len(name)} characters, and file systems take {LONGEST_NAME}. "
            "Shorten the names of the images that it is made of."
        )
        raise OutputError(msg)
    return name


def checked_folder(folder: Path, out_dir: Path) -> Path:
    """Give a folder for outputs back, if its path below the output folder is of plain names.

    Raises
    ------
    OutputError
        If it is not below the output folder, or could lead elsewhere.
    """
    is_below = folder.is_relative_to(out_dir)
    if not is_below or not all(map(_FOLDER.fullmatch, folder.relative_to(out_dir).parts)):
        msg = (
            f"{str(folder)!r}: no folder for outputs; expected one below {out_dir}, of letters, digits, '+' "
        )
        raise OutputError(msg + "and '-'. Rename the images that it is made of.")
    return folder


def refuse_links_out(out_dir: Path, folders: Iterable[Path]) -> None:
    """Refuse folders of the output that a symbolic link brings to somewhere outside of it.

    The output folder itself may be a link; that is the user's own word.

    Raises
    ------
    OutputError
        If one leads outside.
    """
    real = os.path.realpath(out_dir)
    for folder in folders:
        there = os.path.realpath(folder)
        if os.path.commonpath([real, there]) != real:
            msg = (
                f"{folder}: a symbolic link leads to {there}, outside of the output folder {out_dir}, where "
            )
            raise OutputError(msg + "nothing is written. Remove the link, or give that folder as output.")
