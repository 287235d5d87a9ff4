"""Which processes of a run are alive."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def alive_in(group: int) -> set[int]:
    """Numbers of the processes of a process group that have not ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, own_group = path.read_text("ascii", "replace").rpartition(")")[2].split()[:3]
            if int(own_group) == group and state not in "ZX":
                found.add(int(path.parent.name))
    return found


def wait_for_the_end(group: int, seconds: float = 10.0) -> set[int]:
    """Wait until all processes of a group have ended; those that have not in that time."""
    deadline = time.monotonic() + seconds
    while (left := alive_in(group)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left
