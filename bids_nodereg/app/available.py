"""How much memory may still be taken: what the user, the container, the system and the machine allow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

MB = 10**6
ROOT = Path("/")
NO_LIMIT = 2**60
"""Control groups of version 1 say "no limit" by a number as large as this."""

SHARE_OF_MACHINE = 0.75
"""Of the memory built in, where the system does not say how much is free."""


@dataclass(frozen=True)
class Room:
    """Memory that may still be taken, in bytes, and who says so."""

    bytes: int
    source: str


def host_room(mem_mb: int | None, processes: int = 1, root: Path = ROOT) -> Room | None:
    """The smallest of all that limit this process; None where nothing is known.

    Parameters
    ----------
    mem_mb
        What the user allows to the run, in MB (10^6 bytes).
    processes
        How many share it; a limit of the process itself (``RLIMIT_AS``) is not shared.
    root
        Where ``proc`` and ``sys`` are.
    """
    shared = [*_of_control_groups(root), *_of_machine(root)]
    rooms = [Room(room.bytes // processes, room.source) for room in shared]
    if mem_mb is not None:
        rooms.append(Room(mem_mb * MB // processes - _status(root, "VmRSS"), "--mem-mb"))
    rooms.extend(_of_process(root))
    return min(rooms, key=lambda room: room.bytes, default=None)


def device_room(device: torch.device, processes: int = 1) -> Room | None:
    """What a GPU has free, with what torch holds of it and does not use; None on a CPU.

    Of several processes each has an equal share of the whole GPU, whatever the others hold just now: what a
    pair is given is not to depend on who comes first.
    """
    if device.type != "cuda":
        return None
    free, whole = torch.cuda.mem_get_info(device)
    used = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - used
    rooms = [Room(free + unused, "free memory of the GPU")]
    if processes > 1:
        rooms.append(Room(whole // processes - used, f"memory of the GPU, shared by {processes} processes"))
    return min(rooms, key=lambda room: room.bytes)


def _of_control_groups(root: Path) -> Iterator[Room]:
    """Limits of the control groups that the process is in, of either version: of a container or a job."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not path:
            continue
        if not controllers:
            yield from _of_groups(root / "sys/fs/cgroup", path, ("max", "current", "inactive_file"))
        elif "memory" in controllers.split(","):
            names = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file")
            yield from _of_groups(root / "sys/fs/cgroup/memory", path, names)


def _of_groups(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[Room]:
    """Limits of a group and of all above it; in a container the path may be that of the host."""
    limit_name, usage_name, cache_name = names
    own = mount / path.strip("/")
    group = own if own.is_dir() else mount
    while group.is_relative_to(mount):
        limit = _number(group / f"memory.{limit_name}")
        if limit is not None and limit < NO_LIMIT:
            cache = _table(group / "memory.stat").get(cache_name, 0)  # is given up when memory is short
            used = (_number(group / f"memory.{usage_name}") or 0) - cache
            yield Room(limit - used, "memory limit of the container or job (cgroup)")
        group = group.parent


def _of_process(root: Path) -> Iterator[Room]:
    """The limit of the address space (``ulimit -v``)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield Room(limit - _status(root, "VmSize"), "limit of the address space (ulimit -v)")


def _of_machine(root: Path) -> Iterator[Room]:
    available = _table(root / "proc/meminfo").get("MemAvailable")
    if available is not None:
        yield Room(available * 1024, "free memory of the machine")
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        built_in = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield Room(int(SHARE_OF_MACHINE * built_in), "memory of the machine")


def _status(root: Path, name: str) -> int:
    """A size of this process, in bytes; 0 where the system does not say."""
    return _table(root / "proc/self/status").get(name, 0) * 1024


def _table(path: Path) -> dict[str, int]:
    """Lines ``name: number unit`` or ``name number``; other lines are left out."""
    rows = (line.replace(":", " ").split() for line in _lines(path))
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _number(path: Path) -> int | None:
    """The number that a file holds; None where it holds a word or is not there."""
    word = next(iter(_lines(path)), "").strip()
    return int(word) if word.isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
