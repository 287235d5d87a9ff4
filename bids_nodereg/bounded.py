"""Reading small files that somebody else wrote: regular ones only, and none that is too large to be meant."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 2**26
"""The largest sidecars (of motion and EEG) and tables have a few MiB."""


def read_bounded(path: Path) -> bytes:
    """Read a file of at most :data:`MAX_BYTES` bytes.

    Raises
    ------
    OSError
        If it cannot be read, or is no regular file: reading a pipe would wait for somebody to write to it.
    ValueError
        If it is larger.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says it itself
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        msg = f"it is larger than {MAX_BYTES} bytes"
        raise ValueError(msg)
    return content
