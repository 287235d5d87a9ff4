"""Names of temporary files that say which process writes them, so that those of the dead can be removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_NAME = 255
"""Bytes that a file name may have on every file system in use."""
FORGOTTEN_S = 24 * 3600.0
"""Age at which the temporary file of a process that cannot be seen from here counts as left behind."""

_OURS = re.compile(r"\.([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}\.tmp-")


def temporary_name(final: Path) -> Path:
    """Give a name in the same folder that nobody else has, and that tells who writes it.

    It starts with a dot and ends as the final name does, because writers such as nibabel choose the
    format by it: ``.<machine>-<process>-<its start>-<random>.tmp-<final name>``. Where that would be
    too long for a file system, the front of the final name is left out.
    """
    pid = os.getpid()
    start = f".{_machine()}-{pid}-{_started(pid) or 0}-{secrets.token_hex(4)}.tmp-"
    end = final.name
    while len(os.fsencode(start + end)) > LONGEST_NAME:
        end = end[1:]
    return final.with_name(start + end)


def remove_forgotten(folder: Path) -> list[Path]:
    """Remove the temporary files that dead processes have left in a folder; those of living ones stay.

    A process of this machine, since its start and in this container, can be looked for: a number that is
    free, or that another process has by now, is that of a dead one. Of another machine or container, and
    of another user's process that the system hides, only the age is known, by the clock of the file system:
    a file that nobody has touched for a day goes.

    Returns
    -------
    list of Path
        What was removed. Nothing where the folder is not there or cannot be read: a leftover is no
        reason to stop.
    """
    removed = []
    for path, machine, pid, started in _temporaries(folder):
        is_dead = _is_dead(pid, started) if machine == _machine() else None
        if _is_forgotten(path) if is_dead is None else is_dead:
            with suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _temporaries(folder: Path) -> Iterator[tuple[Path, str, int, int]]:
    """Path, machine, process and start of the process of each temporary file in a folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(".")]
    except OSError:
        return
    for name in names:
        if found := _OURS.match(name):
            yield folder / name, found[1], int(found[2]), int(found[3])


def _is_dead(pid: int, started: int) -> bool | None:
    """Whether the process that had this number, and began at that time, is there no more; None if unknown."""
    found = _started(pid)
    if found is not None:
        return found != started
    try:
        os.kill(pid, 0)  # sends nothing, and asks
    except ProcessLookupError:
        return True
    except OSError:  # another user's: it has the number, and the system may hide the rest (hidepid)
        return None
    return _has_processes()  # one's own is never hidden: it has ended, and nobody has waited for it


def _is_forgotten(path: Path) -> bool:
    """Whether nobody has touched a file for long, by the clock that gave it its time."""
    probe = temporary_name(path.with_name("clock"))
    try:
        probe.touch()
        now = probe.stat().st_mtime
        return now - path.stat().st_mtime > FORGOTTEN_S
    except OSError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """Eight digits for this machine since its start and, within it, this space of process numbers."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


@cache
def _has_processes() -> bool:
    """Whether the system tells of its processes by files, as Linux does."""
    return Path("/proc/self/stat").exists()


def _started(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine started; None where there is none, or no more.

    A process that has ended and whose parent has not looked yet counts as gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()  # the name before may hold anything
    return None if state in {"Z", "X"} else int(rest[18])
