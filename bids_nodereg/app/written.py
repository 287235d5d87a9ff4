"""What was written for a pair, so that a file that is lost, cut short or edited later is noticed."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bids_nodereg.app.provenance import SETTLED_S, sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

OUTPUTS = "OutputFiles"
"""Key in the sidecar of size (bytes) and SHA-256 of each file of the pair, by path in the output folder."""


def record(paths: Iterable[Path], out_dir: Path) -> dict[str, dict[str, int | str]]:
    """Size and digest of those of the files that are there, as the sidecar keeps them."""
    there = sorted({path for path in paths if path.is_file()})
    return {
        path.relative_to(out_dir).as_posix(): {"Size": path.stat().st_size, "SHA256": sha256(path)}
        for path in there
    }


def recorded(sidecar: Mapping[str, Any], out_dir: Path) -> list[Path]:
    """Give the files that a sidecar has a record of."""
    kept = sidecar.get(OUTPUTS)
    return [out_dir / name for name in kept] if isinstance(kept, dict) else []


def why_changed(sidecar: Mapping[str, Any], mark: Path, out_dir: Path) -> str:
    """Say which file is not as it was written; empty where all that are there are.

    The sidecar is the last file to be written. So a file of the size on record that is older than the
    sidecar is taken for the one that was written; any other is read and compared by its digest. The times
    of a copy may be in any order, which costs the reading, once: where all files agree, the sidecar is given
    a time after theirs.

    Parameters
    ----------
    sidecar
        Of the pair.
    mark
        Its file.
    out_dir
        Root of the output data set.
    """
    kept = sidecar.get(OUTPUTS)
    if not isinstance(kept, dict):
        return "there is no record of its files"
    finished_ns = mark.stat().st_mtime_ns
    found = {name: _stat(out_dir / name) for name in kept}
    changed = (name for name in kept if _is_changed(out_dir / name, found[name], kept[name], finished_ns))
    first = next(changed, None)
    if first is not None:
        return f"{first.rpartition('/')[2]} is not as it was written"
    newest_ns = max((each.st_mtime_ns for each in found.values() if each is not None), default=0)
    _date_after(mark, newest_ns, finished_ns)
    return ""


def _stat(path: Path) -> os.stat_result | None:
    """What the system says of a file; None where it is not there, which is told elsewhere."""
    with suppress(FileNotFoundError):
        return path.stat()
    return None


def _date_after(mark: Path, newest_ns: int, finished_ns: int) -> None:
    """Give the sidecar a time after that of all files that were compared, so that they need not be again.

    `newest_ns` was taken before the comparison, and the new time has passed already: whoever changes a file
    from here on makes it younger. A sidecar that may not be touched stays, and the files are read again.
    """
    dated = newest_ns + int(SETTLED_S * 1e9)
    if finished_ns <= newest_ns and dated < time.time_ns():
        with suppress(OSError):
            os.utime(mark, ns=(dated, dated))


def _is_changed(path: Path, found: os.stat_result | None, known: object, finished_ns: int) -> bool:
    """Whether a file that is there is another one than the record says."""
    if not isinstance(known, dict):
        return True
    if found is None:
        return False
    if found.st_size != known.get("Size"):
        return True
    try:
        return found.st_mtime_ns >= finished_ns and sha256(path) != known.get("SHA256")
    except FileNotFoundError:
        return False
