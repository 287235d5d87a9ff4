"""Make memory short in a process of the tests, by the limit of its address space (``ulimit -v``)."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from bids_nodereg.app import attempt, memory

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20
ROOM_MIB = 400
"""For one pair, when it is planned; 300 of them are kept by the plan for what nobody counts."""
CRUMBS_MIB = 8
"""For one pair that was planned by nobody: some small arrays."""


def _address_space() -> int:
    """Size of the address space of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def leave_little() -> None:
    """Leave little to each registration; the plans are to see it."""
    _leave(ROOM_MIB, ("01", "02", "03"))


def leave_crumbs_to_01() -> None:
    """Leave next to nothing to the registration of participant 01, unseen by its plan."""
    _leave(CRUMBS_MIB, ("01",))
    memory.host_room = lambda *_: None


def _leave(more_mib: int, subjects: Sequence[str]) -> None:
    """Allow so much more than there is when a pair of these participants is about to be solved."""
    solve_pair = attempt.solve_pair

    def narrow(opened, *rest):
        if opened.job.pair.moving.subject not in subjects:
            return solve_pair(opened, *rest)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + more_mib * MIB, hard))
        try:
            return solve_pair(opened, *rest)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    attempt.solve_pair = narrow
