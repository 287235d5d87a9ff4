"""Names that differ in upper and lower case only, which some file systems take for one."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from bids_nodereg.bids.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def clashes(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of names that are one to a file system which does not tell upper from lower case.

    Examples
    --------
    >>> clashes(["a1", "b", "A1", "b"])
    (('A1', 'a1'),)
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[name.casefold()].add(name)
    return tuple(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def misspelt_participants(root: Path) -> tuple[str, ...]:
    """Folders of a data set that would be participants, were they not called ``Sub-`` or ``SUB-``.

    None where the folder cannot be listed: that is told where its participants are asked for.
    """
    found: list[str] = []
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            is_one = entry.name.casefold().startswith("sub-") and not entry.name.startswith("sub-")
            if is_one and entry.is_dir():
                found.append(entry.name)
    return tuple(sorted(found, key=natural_key))


def takes_cases_for_one(file: Path) -> bool:
    """Whether the file system of a file that is there does not tell upper from lower case."""
    try:
        return file.samefile(file.with_name(file.name.swapcase()))
    except OSError:
        return False
