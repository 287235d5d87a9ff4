"""Participant and session labels as users give them: with a prefix, or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bids_nodereg.bids.names import strip_prefix
from bids_nodereg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADINGS = {"participant_id", "session_id"}


def expand_labels(given: Iterable[str], key: str, known: Iterable[str]) -> tuple[str, ...]:
    """Strip ``sub-``/``ses-`` from labels, and replace the name of a file by the labels in it.

    Parameters
    ----------
    given
        Labels, or files with one label a line: the first column of a TSV file; blank lines,
        ``#`` comments and a heading ``participant_id`` or ``session_id`` are skipped.
    key
        ``sub`` or ``ses``.
    known
        Labels that exist; one of these is never taken for a file.

    Raises
    ------
    UsageError
        If a file is not text or cannot be read.
    """
    known = set(known)
    labels: list[str] = []
    for each in given:
        label = strip_prefix(each, key)
        is_file = label not in known and Path(each).is_file()
        labels += _labels_in_file(Path(each), key) if is_file else [label]
    return tuple(dict.fromkeys(labels))


def _labels_in_file(path: Path, key: str) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: the file of labels cannot be read ({error})."
        raise UsageError(msg) from error
    cells = [line.split("\t")[0].strip() for line in lines]
    return [
        strip_prefix(cell, key)
        for cell in cells
        if cell and not cell.startswith("#") and cell not in _HEADINGS
    ]
