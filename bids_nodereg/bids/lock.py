"""Locks between processes: one at a time changes what all share, and one at a time does a pair."""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bids_nodereg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".nodereg.lock"
_PAUSE_S = 0.02
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""A link would make the file elsewhere."""
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK}
"""What file systems answer that have no locks; ENOLCK is that of a network one without its lock service."""


@dataclass(frozen=True)
class Held:
    """A lock that this process holds until :func:`let_go`, or until it dies.

    Attributes
    ----------
    path
        The lock file.
    descriptor
        Of the locked file; None where the system knows no locks, and the work is done without.
    """

    path: Path
    descriptor: int | None


def hold(path: Path) -> Held | None:
    """Take the lock of a file, which is made when missing; its folder must be there.

    The system frees the lock of a process that dies, whatever kills it; the file that it leaves is no
    lock, whoever owns it. Where the system knows no locks (Windows, some network file systems) everybody
    gets it.

    Returns
    -------
    Held or None
        None where another has it.

    Raises
    ------
    OSError
        If the file cannot be made, or the storage does not answer.
    """
    if not _has_locks():
        return Held(path, None)
    while True:
        opened = _open(path)
        if opened is None:
            return None
        held = _lock(path, opened[0], is_made=opened[1])
        if held is None or held.descriptor is None or _is_still(path, held.descriptor):
            return held
        os.close(held.descriptor)  # its holder has removed it in between


def let_go(held: Held) -> None:
    """Free a lock, and remove its file."""
    if held.descriptor is None:
        return
    with suppress(OSError):  # must not hide an error of the work
        held.path.unlink(missing_ok=True)  # while held, so that nobody else's is removed
    os.close(held.descriptor)


@contextmanager
def locked(folder: Path, *, patience_s: float = 60.0) -> Iterator[None]:
    """Hold the lock of a folder; the folder is made when missing, the lock file removed afterwards.

    Where the system knows no locks, or the holder does not end in time, the work is done without: better
    a line lost than a run.

    Parameters
    ----------
    folder
        The folder.
    patience_s
        How long to wait for another holder, in seconds.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _wait_for(path, time.monotonic() + patience_s)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}). Check the free space and permissions."
        raise OutputError(msg) from error
    try:
        yield
    finally:
        if held is not None:
            let_go(held)


def _wait_for(path: Path, deadline: float) -> Held | None:
    """Take a lock as soon as it is free; None when it is not by then."""
    while time.monotonic() < deadline:
        if held := hold(path):
            return held
        time.sleep(_PAUSE_S)
    return None


def _open(path: Path) -> tuple[int, bool] | None:
    """Open a lock file, and say whether it was made here; None for another user's that may not be read."""
    make = os.O_RDWR | os.O_CREAT | _NO_FOLLOW
    try:
        return os.open(path, make | os.O_EXCL, 0o666), True
    except FileExistsError:
        pass
    try:
        return os.open(path, make, 0o666), False
    except PermissionError:
        return _open_anothers(path)


def _open_anothers(path: Path) -> tuple[int, bool] | None:
    """Open the lock file of another user, which need not be written to be locked; None where it cannot be."""
    try:
        return os.open(path, os.O_RDONLY | _NO_FOLLOW), False
    except (PermissionError, FileNotFoundError):  # or it was removed in between
        return None


def _lock(path: Path, descriptor: int, *, is_made: bool) -> Held | None:
    """Lock an open file; None where another has it.

    Where there are no locks the file goes only if it was made here: another machine may hold a lock on it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError) or error.errno == errno.EBADF:
            return None  # network file systems lock no file that is open for reading alone
        if error.errno not in _NO_LOCKS:
            raise
        if is_made:
            path.unlink(missing_ok=True)
        return Held(path, None)
    return Held(path, descriptor)


def _has_locks() -> bool:
    return fcntl is not None


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was opened is the one that has the name now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
