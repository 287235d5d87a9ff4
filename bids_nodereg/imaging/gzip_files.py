"""Compressed files, fast where the isal package is installed, and the same in content where it is not.

Intel's ISA-L compresses images and fields six to ten times faster than zlib at its lowest level, to a size
that is at most an eighth larger, and decompresses them up to twice as fast. It runs on x86-64 and ARM64.
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

try:
    from bids_nodereg.imaging.isal_files import IsalFile, compress
except ImportError:  # a machine that isal was not built for
    IsalFile, compress = gzip.GzipFile, zlib.compress  # type: ignore[misc, assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEVEL = 1
"""Of compression. On images and fields the next ones gain next to nothing, by either library."""


def deflated(content: bytes) -> bytes:
    """Compress bytes into zlib's format (RFC 1950); other threads run meanwhile."""
    return compress(content, LEVEL)


def open_compressed(path: Path) -> IO[bytes]:
    """Open a gzip file for reading, decompressed.

    Reading raises `OSError`, `EOFError` or `zlib.error` where the file is damaged.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    reader: Any = IsalFile
    return cast("IO[bytes]", reader(path, "rb"))


@contextmanager
def open_to_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing, compressed where its name ends in ``.gz``.

    The same content gives the same bytes: neither name nor time is in a gzip file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    writer: Any = IsalFile
    with path.open("wb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with writer(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0) as file:
            yield file
