"""Writing files so that a final name never holds half a file."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from bids_nodereg.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder and move it to its final name when all went well.

    The file is flushed to the disk before the rename, so the final name shows either the old
    whole file, or the new whole file. The temporary name starts with a dot and keeps every
    suffix of the final one, because writers such as nibabel choose the format by it.

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
    temporary = final.with_name(f".{secrets.token_hex(4)}.tmp-{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(final)
    except OSError as error:
        msg = f"{final}: cannot be written ({error.strerror or error}). Check the free space and permissions."
        raise OutputError(msg) from error
    finally:
        with suppress(OSError):  # must not hide why the file could not be written
            temporary.unlink(missing_ok=True)


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
        temporary.write_text(text, encoding="utf-8")


def write_json(final: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, indented, with non-finite numbers refused."""
    write_text(final, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
