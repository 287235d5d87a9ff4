"""Let one process at a time change the files that all workers share."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
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


@contextmanager
def locked(folder: Path, *, patience_s: float = 60.0) -> Iterator[None]:
    """Hold the lock of a folder; the folder is made when missing, the lock file removed afterwards.

    The system frees the lock of a process that dies. Where it knows no locks (Windows, some network
    file systems), or the holder does not end in time, the work is done without: better a line lost
    than a run.

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
        held = _acquire(path, time.monotonic() + patience_s)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror or error}). Check the free space and permissions."
        raise OutputError(msg) from error
    try:
        yield
    finally:
        if held is not None:
            with suppress(OSError):  # must not hide an error of the work
                path.unlink(missing_ok=True)  # while held, so that nobody else's is removed
            os.close(held)


def _acquire(path: Path, deadline: float) -> int | None:
    """Descriptor of the locked file; None when there is no lock to be had."""
    while fcntl is not None and time.monotonic() < deadline:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if not path.exists():
                raise
            time.sleep(_PAUSE_S)  # another user's: wait until it is gone
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                return descriptor
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        except OSError:  # this file system has no locks
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        os.close(descriptor)  # another's lock, or a file that its holder has removed: try anew
    return None


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was opened is the one that has the name now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
