"""Writing files so that a final name never holds half a file."""

from __future__ import annotations

import errno
import json
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from bids_nodereg.errors import OutputError
from bids_nodereg.temporaries import temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR}
"""What systems answer that cannot flush a folder, or need not."""


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder and move it to its final name when all went well.

    The file is flushed to the disk before the rename, and its folder afterwards: the final name shows
    either the old whole file or the new whole file, also after a power cut, and it shows the new one
    before the next file is begun. The temporary name is that of
    :func:`bids_nodereg.temporaries.temporary_name`.

    Parameters
    ----------
    final
        Where the file is to be; its folder is made when missing.

    Yields
    ------
    Path
        The temporary name to write to.

    Raises
    ------
    OutputError
        If the folder or the file cannot be written.
    """
    temporary = temporary_name(final)
    try:
        make_folder(final.parent)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(final)
        _flush_folder(final.parent)
    except (OSError, RuntimeError) as error:
        number = system_error(error)
        if number is None and not isinstance(error, OSError):
            raise
        why = os.strerror(number) if number else error
        msg = f"{final}: cannot be written ({why}). Check the free space and permissions."
        raise OutputError(msg) from error
    finally:
        with suppress(OSError):  # must not hide why the file could not be written
            temporary.unlink(missing_ok=True)


def system_error(error: BaseException) -> int | None:
    """Number of the system's error that an error comes from; None for none.

    HDF5 has it in the text only, of errors of any class.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = re.search(r"errno = (\d+)", str(error))
    return int(told[1]) if told else None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, and flush the names that are new.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_FOLDER_SYNC:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises
    ------
    OutputError
        If it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{path}: cannot be removed ({error.strerror or error}). Check the permissions."
        raise OutputError(msg) from error


def write_text(final: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(final) as temporary:
        # what UTF-8 has no bytes for comes from names and JSON of others; JSON spells it so too
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(final: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, indented, with non-finite numbers refused."""
    write_text(final, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
